"""Intensities by profile fit and by summation, put together: the fit is better for weak ones, the sum for strong ones.

J = v P + (1 - v) S, v = 1 / (1 + (S / middle)^3), with the same weights for the variances (Evans (2011) Acta Cryst.
D67, 282-292); the middle with the lowest Rmeas of a ladder is taken, as DIALS does it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PROFILE, SUM = 0.0, 1.0  # middles that mean all of one kind
LEAST_I_OVER_SIGMA = 1.0  # of observations that Rmeas is made from


@dataclass(frozen=True)
class Measured:
    """Both intensities of observations, in counts, and what corrects them but for scales.

    `sum_value` is of whole reflections (divided by partiality), as its variance. `factor`: LP / QE.
    """

    profile: Floats
    profile_variance: Floats
    has_profile: Mask
    sum_value: Floats
    sum_variance: Floats
    has_sum: Mask
    factor: Floats

    def take(self, rows: Ints) -> Measured:
        return Measured(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def combined(measured: Measured, middle: float) -> tuple[Floats, Floats]:
    """Intensities and variances, corrected but not scaled. Where one kind is missing, the other is taken."""
    if middle == PROFILE:
        share = np.ones(len(measured.factor))
    elif middle == SUM:
        share = np.zeros(len(measured.factor))
    else:
        ratio = np.where(measured.has_sum, np.maximum(measured.sum_value, 0.0), 0.0) / middle
        share = 1.0 / (1.0 + ratio**3)
    share = np.where(measured.has_profile, np.where(measured.has_sum, share, 1.0), 0.0)
    by_fit = share > 0
    by_sum = share < 1
    intensity = np.where(by_fit, share * np.where(by_fit, measured.profile, 0.0), 0.0)
    intensity += np.where(by_sum, (1 - share) * np.where(by_sum, measured.sum_value, 0.0), 0.0)
    variance = np.where(by_fit, share * np.where(by_fit, measured.profile_variance, 0.0), 0.0)
    variance += np.where(by_sum, (1 - share) * np.where(by_sum, measured.sum_variance, 0.0), 0.0)
    return intensity * measured.factor, variance * measured.factor**2


def ladder(sums: Floats) -> list[float]:
    """Middles to try: all profile, all sum, the mean of sums (at least 10), and tenths of the largest down to it."""
    mean = max(10.0, float(np.mean(sums)))
    middle = float(np.max(sums)) / 10.0
    middles = [PROFILE, SUM, mean, middle]
    while middle > mean:
        middle /= 10.0
        middles.append(middle)
    return middles


def choose_middle(
    measured: Measured, group: Ints, n_groups: int, scale: Floats, usable: Mask
) -> tuple[float, pd.DataFrame]:
    """The middle with the lowest Rmeas, and a table of middle and r_meas. Time ~ observations.

    Parameters
    ----------
    group : (n,) group of each observation
    usable : observations that count
    """
    both = usable & measured.has_profile & measured.has_sum
    if not both.any():
        middle = PROFILE if (usable & measured.has_profile).any() else SUM
        return middle, pd.DataFrame({"middle": [middle], "r_meas": [np.nan]})
    rows = []
    for middle in ladder(measured.sum_value[usable & measured.has_sum]):
        intensity, variance = combined(measured, middle)
        r = r_meas(
            group[usable], n_groups, intensity[usable] / scale[usable], np.sqrt(variance[usable]) / scale[usable]
        )
        rows.append((middle, r))
    table = pd.DataFrame(rows, columns=["middle", "r_meas"])
    good = table[table["r_meas"] > 0]
    best = float(good["middle"].iloc[int(good["r_meas"].argmin())]) if len(good) else PROFILE
    return best, table


def r_meas(group: Ints, n_groups: int, intensity: Floats, sigma: Floats) -> float:
    """Rmeas of observations above one sigma; NaN where no reflection was measured twice."""
    keep = intensity > LEAST_I_OVER_SIGMA * sigma
    group, intensity, weight = group[keep], intensity[keep], 1.0 / sigma[keep] ** 2
    n = np.bincount(group, minlength=n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(group, weight * intensity, n_groups) / np.bincount(group, weight, n_groups)
        factor = np.sqrt(n / np.maximum(n - 1, 1))
    repeated = n[group] > 1
    bottom = float(intensity[repeated].sum())
    top = float((factor[group] * np.abs(intensity - mean[group]))[repeated].sum())
    return top / bottom if bottom > 0 else float("nan")
