"""Weighted means of equivalent observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Means:
    """One entry a group; NaN where a group has no observation."""

    n: Ints
    intensity: Floats
    sigma: Floats


def weighted_means(group: Ints, n_groups: int, intensity: Floats, sigma: Floats) -> Means:
    """Means with weights 1 / sigma^2; the sigma of a mean is 1 / sqrt(sum of weights).

    Parameters
    ----------
    group : (n,) the group of an observation, 0 to n_groups - 1
    intensity, sigma : (n,); every sigma above 0
    """
    weight = 1.0 / sigma**2
    n = np.bincount(group, minlength=n_groups)
    total = np.bincount(group, weight, n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, np.bincount(group, weight * intensity, n_groups) / total, np.nan)
        spread = np.where(n > 0, 1.0 / np.sqrt(total), np.nan)
    return Means(n, mean, spread)


def weighted_scatter(group: Ints, means: Means, intensity: Floats, sigma: Floats) -> Floats:
    """Variance of each group's mean as the scatter of its observations tells it; NaN below two observations.

    Weighted sample variance, sum w (I - <I>)^2 / sum w n / (n - 1), over n.
    """
    weight, n_groups = 1.0 / sigma**2, len(means.n)
    square = np.bincount(group, weight * (intensity - means.intensity[group]) ** 2, n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = square / np.bincount(group, weight, n_groups) / (means.n - 1)
    return np.where(means.n > 1, variance, np.nan)
