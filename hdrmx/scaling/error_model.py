"""How large errors really are: sigma'^2 = a^2 (sigma^2 + (b I)^2), with a and b from the scatter of equivalents.

Two ways. "exact": the likelihood of what is left once the mean of each group is taken off (restricted maximum
likelihood, Patterson & Thompson (1971) Biometrika 58, 545-554), which has no bias in groups of any size. "dials": as
DIALS 3.12 does it, for comparison; there a is the slope of a normal-probability plot of sqrt((n - 1) / n) (J / g - I) /
sigma'. As the mean of a group follows its observations, the variance of J / g - I alone is already (n - 1) / n that of
J / g, so that this a is too small by (n - 1) / n: by half in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from hdrmx.kernels import scaling as kernels

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FEWEST = 250  # observations
START_B = 0.02
N_BINS = 10
CENTRE = 1.5  # sigma; the part of the normal-probability plot whose slope is a
LEAST_I_OVER_VARIANCE = 0.85  # mean of a group that "dials" makes use of
LEAST_INTENSITY = 1e-3  # of an observation that "dials" makes use of
LEAST_A = 0.4  # of "dials"; below, a is held at 1
LARGEST_B = 1.0
TRIM = 5.0  # sigma; "exact" leaves out observations beyond, which happens by chance to 6 in 10 million
MOST_TRIMS = 10


@dataclass(frozen=True)
class ErrorModel:
    """a and b, and how they came about.

    Attributes
    ----------
    kind : dials, exact or none
    n : observations it was found from; 0 where there were too few
    bins : columns low, high (of expected intensity before scaling), n, before, after: variances of normalised
        deviations with a, b = 1, 0 and as found; 1 where errors are right
    """

    kind: str
    a: float
    b: float
    n: int
    bins: pd.DataFrame

    @property
    def i_over_sigma_limit(self) -> float:
        """I/sigma of an infinitely strong reflection (ISa of Diederichs (2010) Acta Cryst. D66, 733-740)."""
        return 1.0 / (self.a * self.b) if self.a * self.b > 0 else float("inf")

    def variance(self, variance: Floats, intensity: Floats) -> Floats:
        """Of observations before scaling; `intensity` the observed ("dials") or expected ("exact")."""
        return self.a**2 * (variance + (self.b * intensity) ** 2)


@dataclass(frozen=True)
class Scatter:
    """Observations in the order of groups."""

    start: Ints
    intensity: Floats  # corrected, not scaled
    variance: Floats
    scale: Floats
    usable: Mask

    @property
    def group(self) -> Ints:
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def means(self, variance: Floats, usable: Mask) -> tuple[Floats, Floats, Ints]:
        """Best intensity, its weight, and number of observations, of the group of each observation."""
        n_groups = len(self.start) - 1
        mean, total = np.empty(n_groups), np.empty(n_groups)
        weight = np.where(usable, 1.0 / variance, 0.0)
        kernels.means(self.start, self.intensity, weight, self.scale, mean, total)
        group = self.group
        n = np.bincount(group[usable], minlength=n_groups)
        return mean[group], total[group], n[group]


def first_error_model(kind: str) -> ErrorModel:
    """What is assumed until errors have been looked at."""
    return ErrorModel(kind, 1.0, 0.0 if kind == "none" else START_B, 0, _bins(*[np.zeros(0)] * 3))


def find_error_model(kind: str, scatter: Scatter, min_expected: float) -> ErrorModel:
    """Find a and b; those assumed at first where there are too few observations, "exact" then with b 0.

    Time ~ observations (log of them for "dials").
    """
    nothing = first_error_model(kind)
    if kind == "none":
        return nothing
    chosen = _strong_groups(scatter)
    if kind == "exact":
        chosen &= _largest_expected(scatter) > min_expected  # of a group as a whole: nothing is chosen by its error
    plot = None if kind == "exact" else _DialsPlot(scatter, chosen, min_expected)
    if (np.count_nonzero(chosen) if plot is None else len(plot.mean)) < FEWEST:
        return ErrorModel(kind, 1.0, 0.0, 0, nothing.bins) if plot is None else nothing
    return _exact(scatter, chosen) if plot is None else _dials(plot)


def _strong_groups(scatter: Scatter) -> Mask:
    """Observations of groups of two or more that are strong enough for errors to be normal."""
    group, usable = scatter.group, scatter.usable
    n_groups = len(scatter.start) - 1
    ratio = np.where(usable, scatter.intensity / scatter.variance, 0.0)
    n = np.bincount(group, usable, n_groups)
    strength = np.bincount(group, ratio, n_groups) / np.maximum(n, 1)
    return usable & (strength > LEAST_I_OVER_VARIANCE)[group] & (n > 1)[group]


def _largest_expected(scatter: Scatter) -> Floats:
    """Largest expected intensity, before scaling, of each observation's group."""
    mean, _, _ = scatter.means(scatter.variance, scatter.usable)
    expected = np.zeros(len(scatter.start) - 1)
    np.maximum.at(expected, scatter.group, np.where(scatter.usable, mean * scatter.scale, 0.0))
    return expected[scatter.group]


def _exact(scatter: Scatter, used: Mask) -> ErrorModel:
    """Likelihood of contrasts, a in closed form and b by search; observations far off are left out in turn."""
    chosen, n_left = used, -1
    expected = scatter.means(scatter.variance, used)[0] * scatter.scale
    for _ in range(MOST_TRIMS):
        a, b = _most_likely(scatter, used, expected)
        variance = a**2 * (scatter.variance + (b * expected) ** 2)
        used = used & (np.abs(_exact_deviation(scatter, used, variance)) < TRIM)
        expected = scatter.means(variance, used)[0] * scatter.scale
        if np.count_nonzero(used) == n_left:
            break
        n_left = int(np.count_nonzero(used))
    before = _exact_deviation(scatter, used, scatter.variance)
    after = _exact_deviation(scatter, used, a**2 * (scatter.variance + (b * expected) ** 2))
    ok = used & (scatter.means(scatter.variance, used)[2] > 1)
    return ErrorModel("exact", a, b, int(np.count_nonzero(chosen)), _bins(expected[ok], before[ok], after[ok]))


def _most_likely(scatter: Scatter, used: Mask, expected: Floats) -> tuple[float, float]:
    def parts(b: float) -> tuple[float, float, int]:
        return kernels.restricted_sums(
            scatter.start, scatter.intensity, scatter.variance, expected, scatter.scale, used, b * b
        )

    def criterion(b: float) -> float:
        logarithms, squares, freedom = parts(b)
        return logarithms + freedom * np.log(squares / freedom)

    found = optimize.minimize_scalar(criterion, bounds=(0.0, LARGEST_B), method="bounded", options={"xatol": 1e-5})
    b = float(found.x) if found.fun < criterion(0.0) else 0.0
    _, squares, freedom = parts(b)
    return float(np.sqrt(squares / freedom)), b


def _exact_deviation(scatter: Scatter, used: Mask, variance: Floats) -> Floats:
    """(J - g I) / its standard deviation, sigma'^2 - g^2 / sum g^2 / sigma'^2; 0 in groups of one."""
    mean, total, n = scatter.means(variance, used)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_residual = variance - scatter.scale**2 / total
        deviation = (scatter.intensity - scatter.scale * mean) / np.sqrt(np.maximum(of_residual, 1e-12 * variance))
    return np.where(used & (n > 1), deviation, 0.0)


def _dials(plot: _DialsPlot) -> ErrorModel:
    """a from the normal-probability plot and b from variances in bins of intensity, in turn."""
    a, b, before = 1.0, START_B, 0.0
    for _ in range(20):
        a *= plot.slope(a, b)
        b = plot.best_b(a)
        if before and abs(before - a) < 0.01 * before:
            break
        before = a
    else:
        a = 0.0
    if a > LEAST_A:
        a *= plot.slope(a, b)
    else:
        a = 1.0
        b = plot.best_b(a)
    bins = _bins(plot.expected, plot.deviations(1.0, 0.0), plot.deviations(a, b))
    return ErrorModel("dials", a, b, len(plot.mean), bins)


class _DialsPlot:
    """Deviations of the observations that DIALS would choose: one by one, the means being those of all."""

    def __init__(self, scatter: Scatter, chosen: Mask, min_expected: float) -> None:
        mean, _, _ = scatter.means(scatter.variance, scatter.usable)
        chosen = chosen & (mean * scatter.scale > min_expected) & (scatter.intensity > LEAST_INTENSITY)
        chosen &= _multiplicity(scatter.group, chosen) > 1
        chosen &= _calm(scatter, mean, chosen)
        self.n = _multiplicity(scatter.group, chosen)[chosen]
        self.intensity, self.variance = scatter.intensity[chosen], scatter.variance[chosen]
        self.scale, self.mean = scatter.scale[chosen], mean[chosen]
        self.expected = self.mean * self.scale
        self.bin = _bin_of(self.expected) if len(self.expected) else np.zeros(0, np.int64)

    def deviations(self, a: float, b: float) -> Floats:
        sigma = a * np.sqrt(self.variance + (b * self.intensity) ** 2) / self.scale
        return np.sqrt((self.n - 1) / self.n) * (self.intensity / self.scale - self.mean) / sigma

    def slope(self, a: float, b: float) -> float:
        """Slope of the middle of the normal-probability plot."""
        ordered = np.sort(self.deviations(a, b))
        n = len(ordered)
        low, high = (int(np.ceil(stats.norm.cdf(x) * n - 0.5)) for x in (-CENTRE, CENTRE))
        normal = stats.norm.ppf((np.arange(low, high) + 0.5) / n)
        return float(np.polyfit(normal, ordered[low:high], 1)[0])

    def best_b(self, a: float) -> float:
        """b that brings the variances of bins nearest to 1, strong bins counting most."""
        count = np.bincount(self.bin)
        weight = np.bincount(self.bin, self.expected) / count
        weight = np.maximum(weight, 0.0) / np.maximum(weight, 0.0).sum()

        def criterion(b: float) -> float:
            deviation = self.deviations(a, b)
            variance = np.bincount(self.bin, deviation**2) / count - (np.bincount(self.bin, deviation) / count) ** 2
            return float((((0.5 - variance) ** 2 + 1.0 / variance - 1.25) * weight).sum())

        return float(optimize.minimize_scalar(criterion, bounds=(0.0, LARGEST_B), method="bounded").x)


def _multiplicity(group: Ints, chosen: Mask) -> Ints:
    """Chosen observations of each observation's group."""
    return np.bincount(group, chosen, int(group.max()) + 1).astype(np.int64)[group]


def _calm(scatter: Scatter, mean: Floats, chosen: Mask) -> Mask:
    """Observations of groups whose scatter isn't beyond all that errors could explain."""
    if not chosen.any():
        return chosen
    group, n_groups = scatter.group, len(scatter.start) - 1
    n = np.bincount(group, chosen, n_groups)
    square = np.where(chosen, (scatter.intensity / scatter.scale - mean) ** 2, 0.0)
    variance = np.where(chosen, scatter.variance / scatter.scale**2, 0.0)
    spread = np.bincount(group, square, n_groups) / np.maximum(n - 1, 1)
    average = np.bincount(group, variance, n_groups) / np.maximum(n, 1)
    limit = max(50.0, float(mean[chosen].max()) / 40.0)
    return (spread < limit * average)[group] & chosen


def _bin_of(expected: Floats) -> Ints:
    """Bins, strongest first, even in the logarithm of intensity but with at least some observations in each."""
    n = len(expected)
    least = min(max(FEWEST, n // 100 if n > 100 * FEWEST else 0), n // (3 * N_BINS))
    order = np.argsort(-expected, kind="stable")
    ordered = expected[order]
    top, bottom = ordered[0], max(1.0, float(ordered[-1]))
    limits = top * (bottom / top) ** (np.arange(1, N_BINS + 1) / N_BINS)
    ends, begin = [], 0
    for limit in limits[:-1]:
        end = int(np.searchsorted(-ordered, -limit, side="left"))
        end = max(end, begin + least)
        if n - end < least:
            break
        ends.append(end)
        begin = end
    bins = np.zeros(n, np.int64)
    bins[order] = np.searchsorted(np.array(ends, np.int64), np.arange(n), side="right")
    return bins


def _bins(expected: Floats, before: Floats, after: Floats) -> pd.DataFrame:
    rows = []
    if len(expected):
        number = _bin_of(expected)
        for k in range(int(number.max()) + 1):
            here = number == k
            low, high = float(expected[here].min()), float(expected[here].max())
            rows.append((low, high, int(here.sum()), float(before[here].var()), float(after[here].var())))
    return pd.DataFrame(rows, columns=["low", "high", "n", "before", "after"])
