"""Signs of twinning in merged intensities: their second moment, and the L-test on neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import packed
from hdrmx.merging.wilson import local_mean

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEPS = ((2, 0, 0), (0, 2, 0), (0, 0, 2), (2, 2, 0), (2, 0, 2), (0, 2, 2), (2, -2, 0), (2, 0, -2), (0, 2, -2))
STRONG = 3.0  # I/sigma that a shell must have on average
FEWEST = 200  # reflections in a shell


@dataclass(frozen=True)
class TwinTests:
    """NaN where there are too few reflections.

    Attributes
    ----------
    moment_acentric, moment_centric : <I^2> / <I>^2; 2 and 3 untwinned, 1.5 and 2 for a perfect twin
    mean_abs_l, mean_l_squared : 1/2 and 1/3 untwinned, 3/8 and 1/5 for a perfect twin
    twin_fraction : that <|L|> corresponds to, 0 to 1/2
    n_acentric, n_centric, n_pairs : how many they were taken from
    d_min : resolution they were taken to
    """

    moment_acentric: float
    moment_centric: float
    mean_abs_l: float
    mean_l_squared: float
    twin_fraction: float
    n_acentric: int
    n_centric: int
    n_pairs: int
    d_min: float


def twin_tests(
    hkl: npt.NDArray[np.integer],
    d: Floats,
    intensity: Floats,
    sigma: Floats,
    epsilon: Ints,
    centric: npt.NDArray[np.bool_],
) -> TwinTests:
    """Second moments and L-test of merged intensities, to the resolution where I/sigma is 3 on average.

    Notes
    -----
    L = (I1 - I2) / (I1 + I2) of acentric neighbours whose indices differ by steps of two (Padilla & Yeates 2003 Acta
    Cryst. D59, 1124-1130), both within the asymmetric unit, so that pairs across its border are left out. Moments are
    taken about the local mean, the measurement's own variance taken off. The twin fraction a solves <|L|> as a
    mixture of two domains gives it. Pseudo-translation with an even step would pass for the contrary of twinning.
    """
    strong = d >= _strong_limit(d, intensity, sigma)
    hkl, d, intensity, sigma = hkl[strong], d[strong], intensity[strong], sigma[strong]
    epsilon, centric = epsilon[strong], centric[strong]
    e2 = np.divide(intensity, epsilon) / local_mean(d, intensity / epsilon, FEWEST) if len(d) else np.zeros(0)
    noise2 = (sigma / np.where(intensity != 0, intensity, np.nan) * e2) ** 2
    L = _neighbours(hkl[~centric], e2[~centric])
    enough = len(L) >= FEWEST
    mean_abs, mean_square = (float(np.abs(L).mean()), float((L**2).mean())) if enough else (np.nan, np.nan)
    n_centric = int(centric.sum())
    return TwinTests(
        moment_acentric=_moment(e2[~centric], noise2[~centric]),
        moment_centric=_moment(e2[centric], noise2[centric]),
        mean_abs_l=mean_abs,
        mean_l_squared=mean_square,
        twin_fraction=twin_fraction(mean_abs),
        n_acentric=len(d) - n_centric,
        n_centric=n_centric,
        n_pairs=len(L),
        d_min=float(d.min()) if len(d) else float("nan"),
    )


def _strong_limit(d: Floats, intensity: Floats, sigma: Floats) -> float:
    """Finest spacing down to which every shell of 200 reflections has I/sigma of 3 on average."""
    if len(d) < FEWEST:
        return float("inf")
    order = np.argsort(-d, kind="stable")
    n = len(d) // FEWEST
    ratio = np.array([part.mean() for part in np.array_split((intensity / sigma)[order], n)])
    weak = np.flatnonzero(ratio < STRONG)
    last = len(d) if len(weak) == 0 else sum(len(part) for part in np.array_split(order, n)[: weak[0]])
    return float(d[order[last - 1]]) if last else float("inf")


def _moment(e2: Floats, noise2: Floats) -> float:
    known = np.isfinite(noise2)
    if known.sum() < FEWEST:
        return float("nan")
    return float((e2[known] ** 2 - noise2[known]).mean() / e2[known].mean() ** 2)


def _neighbours(hkl: npt.NDArray[np.integer], e2: Floats) -> Floats:
    """L of all pairs of reflections that are one of the steps apart and sum to more than nothing."""
    if len(hkl) == 0:
        return np.zeros(0)
    key = packed(hkl)
    order = np.argsort(key, kind="stable")
    found = []
    for step in STEPS:
        wanted = packed(np.asarray(hkl, np.int64) + step)
        at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
        is_there = key[order][at] == wanted
        one, two = e2[is_there], e2[order[at[is_there]]]
        total = np.maximum(one, 0) + np.maximum(two, 0)
        found.append(((np.maximum(one, 0) - np.maximum(two, 0)) / np.where(total > 0, total, np.nan))[total > 0])
    return np.concatenate(found)


def expected_abs_l(fraction: npt.ArrayLike) -> Floats:
    """<|L|> of acentric reflections of a twin of this fraction, 0 to 1/2, its mates unrelated in the pair.

    Each intensity is a I1 + (1 - a) I2 of exponential I1 and I2; the mean over both pairs is taken numerically.
    """
    nodes, weights = np.polynomial.legendre.leggauss(80)
    u, w = (nodes + 1) / 2, weights / 2
    result = []
    for a in np.atleast_1d(np.asarray(fraction, float)):
        b = 1 - a
        if abs(b - a) < 1e-3:  # sum of two equal exponentials: <|L|> = 3/8
            result.append(0.375)
            continue
        # distribution of |L| from ratios of intensities; P(y > t x) for x, y ~ density (e^-x/b - e^-x/a) / (b - a)
        t = (1 - u) / (1 + u)  # |L| = u means the smaller is t times the larger

        def tail(t: Floats, a: float = float(a), b: float = float(b)) -> Floats:
            total = np.zeros_like(t)
            for p, sign_p in ((b, 1.0), (a, -1.0)):
                for q, sign_q in ((b, 1.0), (a, -1.0)):
                    if p > 0 and q > 0:
                        total += sign_p * sign_q * p * q * t * p / (t * p + q)
            return total / (b - a) ** 2

        # P(|L| > u) = 2 P(smaller < t larger) = 2 P(x < t y)
        result.append(float((w * 2 * tail(t)).sum()))
    return np.array(result)


def twin_fraction(mean_abs_l: float) -> float:
    """The fraction at which `expected_abs_l` is met; 0 above 1/2, 1/2 below 3/8, NaN for NaN."""
    if not np.isfinite(mean_abs_l):
        return float("nan")
    fractions = np.linspace(0, 0.499, 100)
    return float(np.interp(-mean_abs_l, -expected_abs_l(fractions), fractions, right=0.5))
