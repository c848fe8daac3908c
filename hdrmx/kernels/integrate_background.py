"""Mean background of a set of counts: robust for Poisson counts, by Tukey's rule, or plain."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

TUNING = 1.345  # Huber's constant: 95 % efficient for a normal distribution
MOST_STEPS = 100
TOLERANCE = 1e-6
TABLE = 256  # counts below this are tallied, others listed
MEAN, TUKEY, ROBUST = 0, 1, 2
TUKEY_IQR = 1.5
_SMALLEST = 1e-8


@njit(cache=True, nogil=True)
def poisson_tail(mean: float, j: int) -> tuple[float, float]:
    """(P(Y <= j), P(Y = j)) of a Poisson variable."""
    if j < 0:
        return 0.0, 0.0
    if mean > 1e5:  # normal, with continuity correction
        z = (j + 0.5 - mean) / math.sqrt(mean)
        density = math.exp(-0.5 * (j - mean) ** 2 / mean) / math.sqrt(2.0 * math.pi * mean)
        return 0.5 * math.erfc(-z / math.sqrt(2.0)), density
    first = max(int(mean - 12.0 * math.sqrt(mean)), 0)  # nothing to speak of lies below
    term = math.exp(first * math.log(mean) - mean - math.lgamma(first + 1.0))
    total = term
    for k in range(first + 1, j + 1):
        term *= mean / k
        total += term
    return total, term


@njit(cache=True, nogil=True)
def expected_psi(mean: float) -> float:
    """E[psi(r)] of a Poisson variable Y, r = (Y - mean) / sqrt(mean), psi(r) = r clipped to +-TUNING."""
    root = math.sqrt(mean)
    below, above = math.floor(mean - TUNING * root), math.floor(mean + TUNING * root)
    to_below, at_below = poisson_tail(mean, below)
    to_above, at_above = poisson_tail(mean, above)
    return TUNING * (1.0 - to_above - to_below) + root * (at_below - at_above)


@njit(cache=True, nogil=True)
def _excess(mean: float, tally: npt.NDArray[np.int64], large: npt.NDArray[np.int64], n_large: int, n: int) -> float:
    """Mean of psi over the counts less its expectation: falls as `mean` grows."""
    root = math.sqrt(mean)
    result = 0.0
    for count in range(len(tally)):
        if tally[count]:
            result += tally[count] * min(max((count - mean) / root, -TUNING), TUNING)
    for k in range(n_large):
        result += min(max((large[k] - mean) / root, -TUNING), TUNING)
    return result / n - expected_psi(mean)


@njit(cache=True, nogil=True)
def quantile(tally: npt.NDArray[np.int64], large: npt.NDArray[np.int64], n_large: int, rank: int) -> float:
    """The count of this rank, from 0."""
    seen = 0
    for count in range(TABLE):
        seen += tally[count]
        if seen > rank:
            return float(count)
    return float(np.sort(large[:n_large])[min(rank - seen, n_large - 1)])


@njit(cache=True, nogil=True)
def mean_background(
    tally: npt.NDArray[np.int64], large: npt.NDArray[np.int64], n_large: int, kind: int
) -> tuple[float, float, int]:
    """(mean, its variance, steps taken) of counts: `tally` of those below TABLE, and `large` others.

    ROBUST solves mean psi((y - m) / sqrt(m)) = E[psi]: Cantoni & Ronchetti (2001) J. Am. Stat. Assoc. 96, 1022-1030, of
    a constant, as used for backgrounds by Parkhurst et al. (2016) J. Appl. Cryst. 49, 1912-1921.
    """
    n, total, top = n_large, 0.0, 0
    for count in range(TABLE):
        n += tally[count]
        total += tally[count] * count
        if tally[count]:
            top = count
    for k in range(n_large):
        total += large[k]
        top = max(top, large[k])
    if total == 0.0 or n == 0:
        return 0.0, 1.0 / max(n, 1) ** 2, 0  # one count more would have given 1 / n
    plain = total / n
    if kind == MEAN:
        return plain, plain / n, 0
    if kind == TUKEY:
        lower, upper = quantile(tally, large, n_large, n // 4), quantile(tally, large, n_large, (3 * n) // 4)
        low, high = lower - TUKEY_IQR * (upper - lower), upper + TUKEY_IQR * (upper - lower)
        kept, total = 0, 0.0
        for count in range(TABLE):
            if low <= count <= high:
                kept += tally[count]
                total += tally[count] * count
        for k in range(n_large):
            if low <= large[k] <= high:
                kept += 1
                total += large[k]
        return total / kept, max(total, 1.0) / kept**2, 0
    return _robust(plain, float(top), tally[: min(top + 1, TABLE)], large, n_large, n)


@njit(cache=True, nogil=True)
def _robust(
    plain: float, top: float, tally: npt.NDArray[np.int64], large: npt.NDArray[np.int64], n_large: int, n: int
) -> tuple[float, float, int]:
    """Secant steps in ln m, kept within a bracket."""
    lower, upper = _SMALLEST, max(top, plain) * 1.5 + 1.0
    at = plain
    value = _excess(at, tally, large, n_large, n)
    slope = math.sqrt(plain)  # of -excess against ln m, near enough to begin with
    steps = 1
    while steps < MOST_STEPS:
        if value > 0:
            lower = at
        else:
            upper = at
        new = at * math.exp(min(max(value / slope, -1.0), 1.0))
        if not lower < new < upper:
            new = math.sqrt(lower * upper)
        if abs(new - at) <= TOLERANCE * at:
            at = new
            break
        new_value = _excess(new, tally, large, n_large, n)
        steps += 1
        change = math.log(new / at)
        if change != 0.0 and (value - new_value) / change > 0.0:
            slope = (value - new_value) / change
        at, value = new, new_value
    return at, at / (0.95 * n), steps
