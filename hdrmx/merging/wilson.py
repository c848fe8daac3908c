"""Mean intensity against resolution: Wilson's B, and the local means that priors need."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# atoms of an average residue of a protein
RESIDUE = {"C": 4.96, "N": 1.35, "O": 1.50, "S": 0.04, "H": 7.85}
PROTEIN_D_MAX = 4.0  # A; at lower resolution solvent and fold rule


@dataclass(frozen=True)
class Wilson:
    """ln(<I> / sum f^2) = ln k - 2 B s^2 / 4, s = 1/d; NaN where too few shells can be fitted."""

    b_A2: float
    b_sd_A2: float
    scale: float
    d_max: float
    d_min: float
    n_shells: int


def shells_of_equal_number(key: Floats, at_least: int, most: int) -> Ints:
    """(n,) shell of each value in the order of the key, each with about as many, no fewer than `at_least`."""
    n = max(1, min(most, len(key) // max(at_least, 1)))
    order = np.argsort(key, kind="stable")
    shell = np.empty(len(key), np.int64)
    shell[order] = np.arange(len(key)) * n // max(len(key), 1)
    return shell


def local_mean(d: Floats, value: Floats, at_least: int, most: int = 60) -> Floats:
    """Mean of `value` at each spacing: of shells of equal number, linear in 1/d^2 between their middles.

    A shell whose mean isn't positive takes that of its nearest neighbour towards low resolution; all of them failing,
    the mean is NaN.
    """
    s2 = d**-2.0
    shell = shells_of_equal_number(s2, at_least, most)
    n = np.bincount(shell)
    mean, middle = np.bincount(shell, value) / n, np.bincount(shell, s2) / n
    good = np.flatnonzero(mean > 0)
    if len(good) == 0:
        return np.full(len(d), np.nan)
    nearest = good[np.maximum(np.searchsorted(good, np.arange(len(mean)), side="right") - 1, 0)]
    return np.interp(s2, middle, mean[nearest])


def residue_f2(s2: Floats) -> Floats:
    """Sum of squared X-ray form factors of an average residue at s2 = 1/d^2 (International Tables C, 6.1.1.4)."""
    stol2 = np.asarray(s2) / 4
    total = np.zeros_like(stol2)
    for symbol, count in RESIDUE.items():
        coefficients = gemmi.Element(symbol).it92
        f = coefficients.c + sum(a * np.exp(-b * stol2) for a, b in zip(coefficients.a, coefficients.b))
        total += count * f**2
    return total


def wilson_b(d: Floats, intensity: Floats, epsilon: Ints, *, at_least: int = 50, most: int = 60) -> Wilson:
    """Overall B by Wilson's plot of merged intensities, for the composition of a protein.

    Shells from 4 A on are fitted where there are at least six of them, else all; weights are from the spread of the
    shells' means. Form factors are those for X-rays.

    Notes
    -----
    After Wilson (1942) Nature 150, 152. No account is taken of the departures of protein's intensities from a line.
    """
    nan = float("nan")
    nothing = Wilson(nan, nan, nan, nan, nan, 0)
    known = np.isfinite(d) & np.isfinite(intensity)
    d, value = d[known], (intensity / epsilon)[known]
    if len(d) < 3 * at_least:
        return nothing
    s2 = d**-2.0
    shell = shells_of_equal_number(s2, at_least, most)
    n = np.bincount(shell)
    mean, middle = np.bincount(shell, value) / n, np.bincount(shell, s2) / n
    mean_sd = np.sqrt(np.bincount(shell, (value - mean[shell]) ** 2)) / n
    good = mean > 3 * mean_sd
    from_4 = good & (middle > PROTEIN_D_MAX**-2)
    good = from_4 if from_4.sum() >= 6 else good
    if good.sum() < 3:
        return nothing
    y = np.log(mean[good] / residue_f2(middle[good]))
    weight = mean[good] / mean_sd[good]
    (slope, level), covariance = np.polyfit(middle[good], y, 1, w=weight, cov="unscaled")
    edges = middle[good] ** -0.5
    b, b_sd = -2 * float(slope), 2 * float(np.sqrt(covariance[0, 0]))
    return Wilson(b, b_sd, float(np.exp(level)), float(edges[0]), float(edges[-1]), int(good.sum()))
