"""Intensities by summation, with variances from the counts that are to be expected rather than from those seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincc

from hdrmx.integration.profile_model import Floats
from hdrmx.kernels import integrate_sum as s

SHELL_REFLECTIONS = 200
FEWEST_IN_SHELL, FEW_SHELLS = 30, 12  # where there are few reflections, down to so many in a shell for so many shells


@dataclass(frozen=True)
class Summed:
    """Intensities of n reflections: value (NaN where it can't be had) and the background taken off, with variances."""

    value: Floats
    background: Floats
    background_variance: Floats


def summed(sums: Floats, min_background_px: int) -> Summed:
    """Counts of the foreground less background; not where a foreground pixel can't be used or background is lacking."""
    background = sums[:, s.BACKGROUND] * sums[:, s.N_VALID]
    value = sums[:, s.TOTAL] - background
    is_fine = (sums[:, s.N_VALID] == sums[:, s.N_FOREGROUND]) & (sums[:, s.N_VALID] > 0)
    is_fine &= sums[:, s.N_BACKGROUND] >= min_background_px
    variance = sums[:, s.BACKGROUND_VARIANCE] * sums[:, s.N_VALID] ** 2
    return Summed(np.where(is_fine, value, np.nan), background, variance)


def expected_intensity(value: Floats, partiality: Floats, d: Floats) -> Floats:
    """(n,) mean intensity of fully recorded reflections of like resolution: what one of them is like before it is seen.

    Shells of about SHELL_REFLECTIONS, or fewer; logarithms linear in between. Never below half the standard error of
    the shell's mean, so that it stays positive where nothing diffracts. Ones everywhere when no value is finite.
    """
    known = np.flatnonzero(np.isfinite(value) & (partiality > 0.5))
    if len(known) == 0:
        return np.ones(len(value))
    by_resolution = known[np.argsort(d[known], kind="stable")]
    n_shells = max(len(known) // SHELL_REFLECTIONS, min(len(known) // FEWEST_IN_SHELL, FEW_SHELLS), 1)
    means, centres = [], []
    for shell in np.array_split(by_resolution, n_shells):
        full = value[shell] / partiality[shell]
        error = np.std(full) / np.sqrt(len(shell))
        means.append(max(float(np.mean(full)), 0.5 * float(error), 1e-3))
        centres.append(float(np.mean(d[shell] ** -2.0)))
    return np.asarray(np.exp(np.interp(d**-2.0, centres[::-1], np.log(means[::-1]))))


def believed(value: Floats, variance_0: Floats, variance_1: Floats, expected: Floats) -> Floats:
    """(n,) posterior mean of the true intensity J, given an estimate of it of variance `variance_0 + J variance_1`.

    The estimate is taken for Poisson counts: (value / k + B) about J / k + B with k = variance_1, B = variance_0 / k^2,
    which is exact for summation. The prior is Wilson's for acentric reflections (exponential, of mean `expected`) times
    Jeffreys' for a Poisson mean, so J + k B is of a gamma distribution cut off below k B. Never negative: a variance
    made from it is never 0. In the manner of French & Wilson (1978) Acta Cryst. A34, 517-525, who take Gaussian errors.
    """
    k = np.maximum(variance_1, 1e-12)
    base = variance_0 / k**2
    counts = np.maximum(np.nan_to_num(value) / k + base, 0.0)
    rate = 1.0 + k / np.maximum(expected, 1e-12)
    norm = gammaincc(counts + 0.5, rate * base)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = (counts + 0.5) / rate * gammaincc(counts + 1.5, rate * base) / norm
        far_below = base + 1.0 / (rate - counts / base)  # an exponential from the cut on
    total = np.where(norm > 1e-200, total, far_below)
    return np.where(np.isfinite(value), np.maximum(k * (total - base), 0.0), np.nan)


def sum_variance(found: Summed, partiality: Floats, expected: Floats) -> Floats:
    """(n,) variance of summation: Poisson of intensity and background, and that of the background's estimate."""
    base = found.background + found.background_variance
    here = expected * np.maximum(partiality, 0.0)
    return base + believed(found.value, base, np.ones_like(base), here)


def is_overloaded(sums: Floats, high: float) -> npt.NDArray[np.bool_]:
    """A foreground pixel stands at the limit of what can be trusted."""
    return np.asarray(sums[:, s.PEAK] >= high)
