"""Cost against size: which class of growth, which exponent, how sure, and what it would cost at another size.

A cost is taken as c0 + c1 n + c2 top(n), the lower coefficients not negative (of either sign where values are exact
counts, such as n (n - 1) / 2), residuals relative to the values. A class is *plausible* when its fit, with the top
term at least half of the cost at the largest size, is not significantly worse than the best fit of all. One plausible
class is the answer; with none, or several, the answer is that the class can't be told at these sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.complexity.growth import CONSTANT, LINEAR, Growth
from hdrmx.complexity.solve import non_negative, residuals_squared, unconstrained

Floats = npt.NDArray[np.float64]
TOP_SHARE = 0.5  # of the cost at the largest size, that the named term must have
_NEGATIVE = 0.25  # of the cost at the largest size, that negative terms of exact counts may come to together
_ROUNDING = 0.3  # standard deviation of rounding to a whole number
_LEAST_NOISE = 1e-7  # relative, of exact values
_MIDMEAN_LOSS = 1.09  # standard deviation of the mean of the middle half, over that of the mean, of normal noise
_LOW_LOSS, _LEANING = 1.3, 0.3  # the same of `_low`; lean of the repeats from which on it is used
_STRAY = 4.0  # distance from the median, in widths of the middle half, that clean repeats don't reach
_POOLED = 20.0  # weight of the spread of all sizes, in degrees of freedom
_TYPICAL_NOISE = 0.02  # relative, of a timing that was taken once


@dataclass(frozen=True)
class Series:
    """One cost at several sizes, rising; repeats at each.

    Attributes
    ----------
    n : (k,) sizes
    y : (k,) typical values: `typical` of the repeats
    noise : (k,) relative standard deviations of y
    freedom : degrees of freedom of that noise; 0: known from the nature of the values (exact counts)
    exact : whole numbers that come out the same in every run
    """

    n: Floats
    y: Floats
    noise: Floats
    freedom: int
    exact: bool

    @property
    def largest(self) -> float:
        return float(self.n[-1])

    def without_largest(self) -> Series:
        return Series(self.n[:-1], self.y[:-1], self.noise[:-1], self.freedom, self.exact)


def make_series(values: Mapping[int, Sequence[float]], exact: bool, noise: float | None = None) -> Series | None:
    """A series of repeated values by size; None where fewer than three sizes have a positive value.

    Parameters
    ----------
    exact : whole numbers that come out the same in every run
    noise : relative, where it is known from elsewhere; None: from the repeats
    """
    kept = {n: np.asarray(values[n], float) for n in sorted(values) if len(values[n]) and typical(values[n]) > 0}
    if len(kept) < 3:
        return None
    n, samples = np.array(list(kept), float), list(kept.values())
    if exact or noise is not None:
        y = np.array([typical(v) for v in samples])
        relative = np.maximum(_ROUNDING / y, _LEAST_NOISE) if exact else np.full(len(n), noise)
        return Series(n, y, relative, 0, exact)
    repeats = np.array([len(v) for v in samples])
    freedom = int((repeats - 1).sum())
    lean, is_clean = _look(samples)
    estimate, loss = (_low, _LOW_LOSS) if lean > _LEANING else (_mean, 1.0) if is_clean else (typical, _MIDMEAN_LOSS)
    y = np.array([estimate(v) for v in samples])
    spread = _pooled([_spread(v, is_clean) for v in samples], repeats) if freedom else np.full(len(n), _TYPICAL_NOISE)
    return Series(n, y, np.maximum(spread, 1e-4) * np.where(repeats >= 4, loss, 1.0) / np.sqrt(repeats), freedom, False)


def _look(samples: list[Floats]) -> tuple[float, bool]:
    """How far the repeats lean to the right, as times do on a busy machine; and that they neither do nor stray."""
    leans, strays = [0.0], [0.0]
    for values in samples:
        if len(values) >= 5:
            low, quarter, middle, three, high = np.percentile(values, (10, 25, 50, 75, 90))
            leans.append((high + low - 2 * middle) / (high - low) if high > low else 0.0)
            strays.append(float(np.abs(values - middle).max()) / (three - quarter) if three > quarter else 0.0)
    lean = float(np.sum(leans)) / max(len(leans) - 1, 1)
    return lean, lean <= _LEANING and max(strays) < _STRAY


def _mean(values: Floats) -> float:
    return float(values.mean())


def _low(values: Floats) -> float:
    """The mean of the lowest quarter: what the work takes when nothing disturbs it."""
    return float(np.sort(values)[: max(len(values) // 4, 1)].mean())


def _pooled(own: Sequence[float], repeats: npt.NDArray[np.int_]) -> Floats:
    """(k,) spread at each size: where there are many repeats its own, else that of all sizes."""
    freedom = np.maximum(repeats - 1.0, 0.0)
    squares = np.asarray(own) ** 2
    pooled = float((freedom * squares).sum() / freedom.sum())
    return np.sqrt((freedom * squares + _POOLED * pooled) / (freedom + _POOLED))


def _spread(values: Floats, is_clean: bool) -> float:
    """Relative standard deviation; of disturbed values from the lower side and the middle half."""
    if len(values) < 2:
        return 0.0
    if is_clean or len(values) < 8:
        return float(np.std(values, ddof=1) / np.mean(values))
    lowest, low, middle, high = np.percentile(values, (10, 25, 50, 75))
    return float(min((high - low) / 1.349, (middle - lowest) / 1.2816) / middle)


def typical(values: Sequence[float] | Floats) -> float:
    """The mean of the middle half: hardly moved by an outlier, and less noisy than the median."""
    ordered = np.sort(np.asarray(values, float))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


@dataclass(frozen=True)
class Hypothesis:
    """The best fit of one shape: constant, lower terms, and the top term."""

    top: Growth
    lower: tuple[Growth, ...]
    coefficients: Floats  # of the lower terms, then of the top one; each term is 1 at `scale`
    scale: float
    misfit: float  # sum of squared residuals in units of the noise

    @property
    def terms(self) -> tuple[Growth, ...]:
        return (*self.lower, self.top)

    def at(self, n: npt.ArrayLike) -> Floats:
        sizes = np.asarray(n, float)
        return sum(
            (c * (t.at(sizes) / t.at(self.scale)) for c, t in zip(self.coefficients, self.terms)), np.zeros(sizes.shape)
        )

    def share_at(self, n: float) -> float:
        """Of the top term in the cost."""
        total = float(self.at(n))
        return float(self.coefficients[-1] * self.top.at(n) / self.top.at(self.scale)) / total if total > 0 else 0.0

    def share_above(self, growth: Growth, n: float) -> float:
        """Of the terms that grow faster than a class."""
        total = float(self.at(n))
        parts = [c * float(t.at(n) / t.at(self.scale)) for c, t in zip(self.coefficients, self.terms) if t > growth]
        return sum(parts) / total if total > 0 else 0.0

    def exponent_at(self, n: float) -> float:
        """d log cost / d log n."""
        total = float(self.at(n))
        slopes = [
            c * float(t.at(n) / t.at(self.scale)) * t.exponent_at(n) for c, t in zip(self.coefficients, self.terms)
        ]
        return float(sum(slopes)) / total if total > 0 else 0.0

    @property
    def crossover(self) -> float:
        """The size from which on the top term is at least half of the cost; inf: never."""
        sizes = np.geomspace(1.0, max(self.scale, 1.0) * 1e6, 4000)
        top = self.coefficients[-1] * self.top.at(sizes) / self.top.at(self.scale)
        under = np.nonzero(top < TOP_SHARE * self.at(sizes))[0]
        if len(under) == 0:
            return float(sizes[0])
        return float("inf") if under[-1] + 1 == len(sizes) else float(sizes[under[-1] + 1])


def fit_shapes(series: Series, tops: Sequence[Growth], *, dominated: bool) -> list[Hypothesis]:
    """The best fit with each top term.

    Parameters
    ----------
    dominated : the top term is at least half of the cost at the largest size
    """
    found: list[Hypothesis | None] = [None] * len(tops)
    groups: dict[int, list[int]] = {}
    for i, top in enumerate(tops):
        groups.setdefault(len(_lower_terms(series, top)), []).append(i)
    for members in groups.values():
        for i, hypothesis in zip(members, _fit_group(series, [tops[i] for i in members], dominated)):
            found[i] = hypothesis
    return [h for h in found if h is not None]


def _lower_terms(series: Series, top: Growth) -> tuple[Growth, ...]:
    """What may stand below a top term; no more than the number of sizes bears."""
    if top <= CONSTANT:
        return ()
    if top <= LINEAR:
        return (CONSTANT,)
    wanted = [CONSTANT, LINEAR]
    if series.exact and top.power > 2:
        wanted.append(Growth(top.power - 1, top.logs))
    return tuple(wanted[: max(len(series.n) - 3, 0)])


def _fit_group(series: Series, tops: Sequence[Growth], dominated: bool) -> list[Hypothesis]:
    """Tops with the same number of terms below, solved together."""
    lowers = [_lower_terms(series, top) for top in tops]
    terms = [(*lower, top) for lower, top in zip(lowers, tops)]
    scale = series.largest
    columns = np.array([[t.at(series.n) / t.at(scale) for t in row] for row in terms]).transpose(0, 2, 1)
    weight = 1.0 / (series.y * series.noise)
    designs, y = columns * weight[:, None], 1.0 / series.noise
    cone = np.eye(columns.shape[2])
    if dominated:  # the cone {top >= lower terms together} is spanned by top and lower + top
        cone[-1, :] = TOP_SHARE / (1.0 - TOP_SHARE)
        cone[-1, -1] = 1.0
    steps, misfit = non_negative(designs @ cone, y)
    coefficients = steps @ cone.T
    if series.exact:
        _try_either_sign(designs, y, coefficients, misfit, dominated)
    return [Hypothesis(top, lower, c, scale, float(m)) for top, lower, c, m in zip(tops, lowers, coefficients, misfit)]


def _try_either_sign(designs: Floats, y: Floats, coefficients: Floats, misfit: Floats, dominated: bool) -> None:
    """Take lower coefficients of either sign where that fits better and the top term stays what it is called."""
    free = unconstrained(designs, y)
    share = free[:, -1] / np.maximum(free.sum(axis=1), 1e-300)
    left = residuals_squared(designs, free, y)
    negative = -np.minimum(free, 0.0).sum(axis=1) / np.maximum(free.sum(axis=1), 1e-300)
    usable = (left < misfit) & (negative <= _NEGATIVE) & (share > 0) & (share >= (TOP_SHARE if dominated else 0.0))
    coefficients[usable], misfit[usable] = free[usable], left[usable]
