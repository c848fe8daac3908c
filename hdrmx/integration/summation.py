"""Intensities by summation, with variances from the counts that are to be expected rather than from those seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx

from hdrmx.integration.profile_model import Floats
from hdrmx.kernels import integrate_sum as s

SHELL_REFLECTIONS = 200
_VARIANCE_ROUNDS = 3


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

    Shells of about SHELL_REFLECTIONS; never below half the standard error of the shell's mean, so that it stays
    positive where nothing diffracts. Ones everywhere when no value is finite.
    """
    known = np.flatnonzero(np.isfinite(value) & (partiality > 0.5))
    if len(known) == 0:
        return np.ones(len(value))
    by_resolution = known[np.argsort(d[known], kind="stable")]
    n_shells = max(len(known) // SHELL_REFLECTIONS, 1)
    means, centres = [], []
    for shell in np.array_split(by_resolution, n_shells):
        full = value[shell] / partiality[shell]
        error = np.std(full) / np.sqrt(len(shell))
        means.append(max(float(np.mean(full)), 0.5 * float(error), 1e-3))
        centres.append(float(np.mean(d[shell] ** -2.0)))
    return np.asarray(np.interp(d**-2.0, centres[::-1], means[::-1]))


def believed(value: Floats, variance_0: Floats, variance_1: Floats, expected: Floats) -> Floats:
    """(n,) posterior mean of the true intensity J: a Gaussian of variance `variance_0 + J variance_1` about `value`,
    and Wilson's exponential prior (acentric) of mean `expected`.

    After French & Wilson (1978) Acta Cryst. A34, 517-525. Never negative, so a variance made from it never is 0.
    """
    mean = np.maximum(value, expected)
    for _ in range(_VARIANCE_ROUNDS):
        variance = variance_0 + mean * variance_1
        sigma = np.sqrt(np.maximum(variance, 1e-12))
        centre = value - variance / np.maximum(expected, 1e-12)
        # of a Gaussian cut off at 0: centre + sigma * density / integral
        mean = centre + sigma * np.sqrt(2.0 / np.pi) / erfcx(-centre / (np.sqrt(2.0) * sigma))
    return np.asarray(np.maximum(mean, 0.0))


def sum_variance(found: Summed, partiality: Floats, expected: Floats) -> Floats:
    """(n,) variance of summation: Poisson of intensity and background, and that of the background's estimate."""
    base = found.background + found.background_variance
    here = expected * np.maximum(partiality, 0.0)
    return base + believed(found.value, base, np.ones_like(base), here)


def is_overloaded(sums: Floats, high: float) -> npt.NDArray[np.bool_]:
    """A foreground pixel stands at the limit of what can be trusted."""
    return np.asarray(sums[:, s.PEAK] >= high)
