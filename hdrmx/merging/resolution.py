"""The resolution at which CC1/2, as a smooth curve through its shells, falls to a limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from hdrmx.merging.statistics import ratios

Floats = npt.NDArray[np.float64]

MOST_SHELLS = 50
FEWEST_PAIRS = 10  # in a shell


@dataclass(frozen=True)
class ResolutionLimit:
    """`d_min` is None where no curve could be fitted; `reaches_edge`: CC1/2 is above the limit as far as data go."""

    d_min: float | None
    reaches_edge: bool
    s0: float = float("nan")  # 1/A^2, where the curve is one half
    r: float = float("nan")  # 1/A^2, its width


def n_shells(n_pairs: int) -> int:
    """How many shells the curve is fitted through: fifty, or fewer where they'd hold few reflections."""
    return int(np.clip(n_pairs // FEWEST_PAIRS, 1, MOST_SHELLS))


def resolution_limit(sums: pd.DataFrame, limit: float) -> ResolutionLimit:
    """Fit CC1/2 = (1/2) (1 - tanh((s - s0) / r)), s = 1/d^2, to shells with ten or more reflections.

    Parameters
    ----------
    sums : by shell, columns `tables.SHELL_SUMS`
    limit : CC1/2 at the resolution limit

    Notes
    -----
    Residuals have the spread 1 / sqrt(n - 3), that of Fisher's transform; big ones count less (soft L1). The limit
    lies within the data's range of resolution, never beyond it.
    """
    cc = ratios(sums)["cc_half"].to_numpy()
    n = sums["cc_n"].to_numpy(np.float64)
    edges = sums[["d_max", "d_min"]].to_numpy() ** -2.0
    s = edges.mean(axis=1)
    good = np.isfinite(cc) & (n >= FEWEST_PAIRS)
    if good.sum() < 3:
        return ResolutionLimit(None, False)
    s_good, cc_good, weight = s[good], cc[good], np.sqrt(n[good] - 3)

    def residuals(p: Floats) -> Floats:
        return (0.5 * (1 - np.tanh((s_good - p[0]) / p[1])) - cc_good) * weight

    span = float(edges[:, 1].max())
    best = least_squares(
        residuals, (0.8 * span, 0.4 * span), bounds=((-span, 1e-3 * span), (10 * span, 20 * span)), loss="soft_l1"
    )
    s0, r = (float(p) for p in best.x)
    at = s0 + r * float(np.arctanh(1 - 2 * limit))
    edge = float(edges[good, 1].max())
    first = float(edges[good, 0].min())
    if at >= edge:
        return ResolutionLimit(edge**-0.5, bool(edge >= span * (1 - 1e-9)), s0, r)
    if at <= first:
        return ResolutionLimit(None, False, s0, r)
    return ResolutionLimit(at**-0.5, False, s0, r)
