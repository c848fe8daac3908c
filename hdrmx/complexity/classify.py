"""What a series of costs says: class, exponent, crossover, forecast, and whether a declared class is exceeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hdrmx.complexity.exponent import Exponent, Profile
from hdrmx.complexity.fit import Hypothesis, Series, fit_shapes
from hdrmx.complexity.growth import CANDIDATES, COMMON, Growth
from hdrmx.complexity.solve import non_negative

WITHIN, EXCEEDS, UNKNOWN = "within", "exceeds", "not identifiable"
MIN_SIZES = 4
_REJECT = 0.995  # a class is no longer plausible when it is worse at this level
_SHADOW = 0.1  # a faster term of this share that explains as much casts doubt on a class
_LEVEL = 0.95  # of intervals
_SURE = 1e-4  # of an excess that is none
_EXCESS_EXACT, _EXCESS_NOISY = 0.05, 0.25  # least share of what is above the declared class, at the largest size
_KNOWN = 100  # degrees of freedom of noise that is known, as that of rounding
_RISE = 2.0  # rise of the cost of an allowed unit that a timing must show; caches and branches alone give up to 1.5
_FAR_RISE, _FAR_STEEPER = 4.0, 0.4  # the same, and the exponent, beyond what any disturbance has given
_STEEPER = 0.2  # exponent above the declared one that a timing must show; caches alone give about 0.15


@dataclass(frozen=True)
class Fitted:
    """What a series says.

    Attributes
    ----------
    growth : the class; None where it can't be told
    plausible : classes that can't be told apart at these sizes; none where no term holds half of the cost
    exponent : of the top term
    hypothesis : the fit that speaks for the series (forecasts, local exponent)
    best_misfit : of the best fit of all
    inflation : variance of the scatter in units of that of the noise
    freedom : degrees of freedom of the noise
    """

    series: Series
    growth: Growth | None
    plausible: tuple[Growth, ...]
    exponent: Exponent
    hypothesis: Hypothesis
    best_misfit: float
    inflation: float
    freedom: int

    @property
    def local_exponent(self) -> float:
        return self.hypothesis.exponent_at(self.series.largest)

    @property
    def crossover(self) -> float:
        """The size from which on the top term is half of the cost; beyond the sizes measured it is an estimate."""
        return self.hypothesis.crossover

    @property
    def unclear_below(self) -> float | None:
        """Where the class can't be told: the size from which on it could be; None: told, or nobody knows."""
        if self.growth is not None:
            return None
        largest = self.series.largest
        return max(self.crossover, largest) if not self.plausible else 4.0 * largest

    def limit(self, level: float) -> float:
        """The largest misfit that isn't significantly worse than the best."""
        return self.best_misfit + self.inflation * float(stats.f.ppf(level, 1, self.freedom))


def fit(series: Series, prior: Growth | None = None) -> Fitted:
    """Fit a series.

    Parameters
    ----------
    prior : the class found on counts of the same work; taken where it is among several plausible ones

    Raises
    ------
    ValueError : fewer than `MIN_SIZES` sizes
    """
    if len(series.n) < MIN_SIZES:
        raise ValueError(f"{len(series.n)} sizes; at least {MIN_SIZES} are needed")
    dominated, every = Profile(series, dominated=True), Profile(series, dominated=False)
    shapes = fit_shapes(series, CANDIDATES, dominated=True)
    loose = fit_shapes(series, CANDIDATES, dominated=False)
    best = min([*shapes, *loose, every.best], key=lambda h: h.misfit)
    inflation, freedom = _scatter(series, best)
    limit = best.misfit + inflation * float(stats.f.ppf(_REJECT, 1, freedom))
    kept = [h for h in shapes if h.misfit <= limit]
    kept = [h for h in kept if h.top in COMMON] or kept
    named = kept[0] if len(kept) == 1 else next((h for h in kept if h.top == prior), None)
    if named is not None and named.top != prior and _is_shadowed(named, loose, series.largest):
        named = None
    chosen = dominated if dominated.best.misfit <= limit else every
    exponent = chosen.interval(inflation * float(stats.f.ppf(_LEVEL, 1, freedom)))
    if named is not None and (named.top.logs or named.top.power == 0):  # its slope isn't the power of a pure power law
        slope = named.top.exponent_at(series.largest)
        exponent = Exponent(slope, min(slope, exponent.low), max(slope, exponent.high))
    return Fitted(
        series=series,
        growth=None if named is None else named.top,
        plausible=tuple(h.top for h in kept),
        exponent=exponent,
        hypothesis=named or _simplest(kept, [*loose, every.best], limit),
        best_misfit=best.misfit,
        inflation=inflation,
        freedom=freedom,
    )


def _simplest(kept: list[Hypothesis], loose: list[Hypothesis], limit: float) -> Hypothesis:
    """Who speaks where no class is named: the best of the plausible, else the slowest growth that will do."""
    if kept:
        return min(kept, key=lambda h: h.misfit)
    enough = [h for h in loose if h.misfit <= limit]
    return min(enough, key=lambda h: (h.top not in COMMON, h.top))


def _scatter(series: Series, best: Hypothesis) -> tuple[float, int]:
    """Inflation of the variance, and degrees of freedom."""
    of_fit = max(len(series.n) - len(best.terms) - 1, 1)
    if series.freedom:
        return max(best.misfit / of_fit, 1.0), series.freedom + of_fit
    if series.exact:
        return max(best.misfit / of_fit, 1.0), of_fit if best.misfit > of_fit else _KNOWN
    return max(best.misfit / of_fit, 1e-4), of_fit


def _is_shadowed(named: Hypothesis, loose: list[Hypothesis], largest: float) -> bool:
    """A faster term that is still less than half of the cost explains the values better."""
    faster = [h for h in loose if h.top in COMMON and h.top > named.top]
    return any(h.misfit < named.misfit and h.share_at(largest) >= _SHADOW for h in faster)


def forecast_error(series: Series, prior: Growth | None = None) -> float | None:
    """Predicted over measured - 1 at the largest size, from all sizes below it; None with too few."""
    if len(series.n) <= MIN_SIZES:
        return None
    before = fit(series.without_largest(), prior)
    return float(before.hypothesis.at(series.largest)) / float(series.y[-1]) - 1.0


def predict(fitted: Fitted, n: float, level: float = _LEVEL) -> tuple[float, float, float]:
    """Cost at a size, with an interval over all shapes that the values allow: (value, low, high)."""
    series = fitted.series
    limit = fitted.limit(level)
    shapes = fit_shapes(series, fitted.plausible or CANDIDATES, dominated=bool(fitted.plausible))
    if fitted.growth is not None:
        shapes = [h for h in shapes if h.top == fitted.growth]
    values = [float(h.at(n)) for h in shapes if h.misfit <= limit]
    value = float(fitted.hypothesis.at(n))
    spread = _spread(fitted, n, level)
    return value, min([*values, value]) * (1 - spread), max([*values, value]) * (1 + spread)


def _spread(fitted: Fitted, n: float, level: float) -> float:
    """Relative half-width that the noise of the coefficients gives a forecast."""
    series, shape = fitted.series, fitted.hypothesis
    used = [t for t, c in zip(shape.terms, shape.coefficients) if c != 0]
    columns = np.array([t.at(series.n) / t.at(shape.scale) for t in used]).T / (series.y * series.noise)[:, None]
    there = np.array([float(t.at(n) / t.at(shape.scale)) for t in used])
    variance = float(there @ np.linalg.pinv(columns.T @ columns) @ there) * fitted.inflation
    value = float(shape.at(n))
    if value <= 0:
        return 0.0
    return min(float(stats.t.ppf(0.5 + level / 2, fitted.freedom)) * float(np.sqrt(variance)) / value, 1.0)


def verdict(fitted: Fitted, declared: Growth) -> str:
    """Whether the cost keeps to a declared class, one logarithm allowed: WITHIN, EXCEEDS or UNKNOWN."""
    allowed, largest = declared.allowed, fitted.series.largest
    if _is_excess(fitted, allowed):
        return EXCEEDS
    if fitted.growth is not None or fitted.plausible:
        known = [fitted.growth] if fitted.growth is not None else list(fitted.plausible)
        if any(g <= allowed for g in known):
            return WITHIN
        return UNKNOWN
    shape = fitted.hypothesis
    if shape.top <= allowed or shape.share_at(largest) < _SHADOW:
        return WITHIN
    return UNKNOWN


def _is_excess(fitted: Fitted, allowed: Growth) -> bool:
    """Terms above the allowed ones are needed, make up a part of the cost, and it is steeper for them."""
    series = fitted.series
    if not series.exact and fitted.plausible and min(fitted.plausible) > allowed:  # noisy, but far
        low = fitted.exponent.low > allowed.power + _FAR_STEEPER
        if low and _rise(series, allowed) >= _FAR_RISE:
            return True
    if _allowed_misfit(series, allowed) <= fitted.limit(1.0 - _SURE):
        return False
    faster = [g for g in CANDIDATES if g > allowed]
    limit = fitted.limit(_REJECT)
    fits = [h for h in fit_shapes(series, faster, dominated=False) if h.misfit <= limit]
    if not fits:
        free = Profile(series, dominated=False).best
        fits = [free] if free.top > allowed else []
    if not fits:
        return False
    share = min(h.share_above(allowed, series.largest) for h in fits)
    if series.exact:
        return share >= _EXCESS_EXACT
    steep = fitted.exponent.low > allowed.power + _STEEPER
    return share >= _EXCESS_NOISY and steep and (series.freedom == 0 or _rise(series, allowed) >= _RISE)


def _rise(series: Series, allowed: Growth) -> float:
    """By how much the cost of an allowed unit of work rises, from where it is lowest to the largest size."""
    per_unit = series.y / np.maximum(allowed.at(series.n), 1e-300)
    return float(per_unit[-1] / per_unit.min())


def _allowed_misfit(series: Series, allowed: Growth) -> float:
    """Of the best sum of all classes up to the allowed one."""
    below = [g for g in CANDIDATES if g < allowed]
    terms = sorted({CANDIDATES[0], *below[-2:], allowed})
    columns = np.array([t.at(series.n) / t.at(series.largest) for t in terms]).T
    weight = 1.0 / (series.y * series.noise)
    _, misfit = non_negative((columns * weight[:, None])[None], 1.0 / series.noise)
    shapes = fit_shapes(series, [g for g in CANDIDATES if g <= allowed], dominated=False)
    return min([float(misfit[0]), *(h.misfit for h in shapes)])
