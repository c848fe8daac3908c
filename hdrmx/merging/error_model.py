"""How much larger the scatter of equivalent observations is than their sigmas say, and the ISa that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST = 200_000  # observations looked at
FEWEST = 100
ROBUST_AT = 3.0  # sigma beyond which a deviation counts less


@dataclass(frozen=True)
class Scatter:
    """variance = a^2 (sigma^2 + (b I)^2) of the observations; NaN below a hundred of them.

    `isa` = 1 / (a b) is the I/sigma that the strongest observations tend to (Diederichs 2010 Acta Cryst. D66, 733-740);
    infinite where b is 0.
    """

    a: float
    b: float
    isa: float
    n: int


def fit_scatter(group: Ints, n_groups: int, intensity: Floats, sigma: Floats) -> Scatter:
    """Fit a and b to the deviations of observations from the means of the others of their group.

    Notes
    -----
    An observation less the unweighted mean of the other n - 1 has the variance v + (sum of the others' v) / (n - 1)^2,
    without the bias that a mean holding the observation itself has. The likelihood is normal, with Huber's loss
    beyond three sigma. At most 200,000 observations, evenly through the list, are looked at.
    """
    n = np.bincount(group, minlength=n_groups)
    rows = np.flatnonzero(n[group] > 1)
    if len(rows) < FEWEST:
        return Scatter(float("nan"), float("nan"), float("nan"), len(rows))
    g, others = group[rows], n[group[rows]] - 1
    total = np.bincount(group, intensity, n_groups)
    square = np.bincount(group, sigma**2, n_groups)
    deviation = intensity[rows] - (total[g] - intensity[rows]) / others
    own, rest = sigma[rows] ** 2, (square[g] - sigma[rows] ** 2) / others**2
    level = np.maximum(total[g] / n[g], 0.0) ** 2 * (1 + 1 / others)  # (b I)^2 with I the group's mean
    chosen = np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(np.int64)
    deviation, base, level = deviation[chosen], (own + rest)[chosen], level[chosen]

    def loss(p: Floats) -> float:
        variance = np.exp(2 * p[0]) * (base + np.exp(2 * p[1]) * level)
        z = np.abs(deviation) / np.sqrt(variance)
        rho = np.where(z <= ROBUST_AT, z * z, 2 * ROBUST_AT * z - ROBUST_AT**2)
        return float((np.log(variance) + rho).mean())

    best = minimize(
        loss, (0.0, np.log(0.03)), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-9, "maxiter": 400}
    )
    a, b = float(np.exp(best.x[0])), float(np.exp(best.x[1]))
    b = b if b > 1e-4 else 0.0
    return Scatter(a, b, 1 / (a * b) if b else float("inf"), len(rows))
