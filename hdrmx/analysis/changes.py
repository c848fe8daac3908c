"""Steps in one series, each with the probability that noise alone made it. Pure: values in, findings out.

Three kinds of series are told apart: exact ones (counts), where any lasting difference is a step; noisy ones, whose
penalised fit has its penalty from the series' own noise (`changes_noise`); and those too short to say anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from hdrmx.analysis.changes_noise import Noise, fitted_noise
from hdrmx.analysis.changes_segments import (
    Floats,
    Ints,
    clipped,
    gains,
    segmentations,
    spread_of_differences,
    where,
)

ALARM_RATE = 0.001  # a series without a step is given one as often as this, before all series are looked at together
SETTLED = 4  # points of a noisy last level; with fewer it may be a spike, and only a fresh run can tell
FEWEST = 8  # values below which a noisy series says nothing


@dataclass(frozen=True)
class Step:
    """A lasting change of level.

    Attributes
    ----------
    at : first point of the new level, as index into the series
    first, last : where it could lie as well
    old, new : levels before and after, medians
    ratio : new / old; NaN where that has no meaning (levels of different sign, or 0)
    p : probability that noise alone does as much anywhere in the series; 0 for exact series
    points : of the new level
    provisional : of a noisy series whose new level has fewer than SETTLED points, and no more to come
    """

    at: int
    first: int
    last: int
    old: float
    new: float
    ratio: float
    p: float
    points: int
    provisional: bool = False


@dataclass(frozen=True)
class Found:
    """What one series says.

    Attributes
    ----------
    kind : "exact", "noisy" or "short"
    starts : first points of the segments, 0 first, of the finite values' own numbering mapped back to the series
    level : (n,) median of each point's segment; NaN where there is no value
    spread : of one point about its level: of the logarithm where `relative`, else in the series' unit
    p : smallest probability of its steps that aren't provisional; 1 without any
    """

    kind: str
    steps: tuple[Step, ...]
    level: Floats
    spread: float
    relative: bool
    p: float = 1.0
    noise: Noise | None = None


def find_steps(values: npt.ArrayLike, *, alarm_rate: float = ALARM_RATE, seed: int = 0) -> Found:
    """The lasting changes of level in a series.

    Parameters
    ----------
    values : (n,) in order of history; NaN where nothing was measured
    alarm_rate : probability of any step in a series without one
    seed : of the draws; the same seed gives the same answer

    Returns
    -------
    Found; no step where the values are too few.

    Notes
    -----
    Values that are all above 0 are looked at as logarithms: a change is a ratio, and so is noise.
    """
    y = np.asarray(values, np.float64)
    known = np.flatnonzero(np.isfinite(y))
    seen = y[known]
    relative = bool(len(seen)) and bool((seen > 0).all())
    x = np.log(seen) if relative else seen
    if is_exact(seen):
        starts = _exact_starts(seen)
        return _found("exact", y, known, starts, np.zeros(len(starts) - 1), relative, 0.0, None, x)
    if len(seen) < FEWEST:
        return _found("short", y, known, np.zeros(min(len(seen), 1), np.int64), np.zeros(0), relative, np.nan, None, x)
    spread = spread_of_differences(x)
    cut = clipped(x, spread)
    noise, _ = fitted_noise(cut, spread, seed=seed)
    starts, p = significant(cut, noise, alarm_rate)
    starts = _newest(x, starts)
    return _found("noisy", y, known, starts, p, relative, noise.spread, noise, cut)


def significant(x: Floats, noise: Noise, alarm_rate: float) -> tuple[Ints, Floats]:
    """Segments of the fit, the least significant step taken out until all pass; and the steps' probabilities."""
    starts = segmentations(x, np.array([noise.penalty(alarm_rate)]))[0]
    while len(starts) > 1:
        p = noise.probability(gains(x, starts), len(x))
        worst = int(p.argmax())
        if p[worst] <= alarm_rate:
            return starts, p
        starts = np.delete(starts, worst + 1)
    return starts, np.zeros(0)


def _newest(x: Floats, starts: Ints) -> Ints:
    """A last level of few points may have lost its first ones to the clipping of spikes: they are given back."""
    if len(starts) > 1 and len(x) - starts[-1] < SETTLED:
        old, new = np.median(x[starts[-2] : starts[-1]]), np.median(x[starts[-1] :])
        while starts[-1] - 1 > starts[-2] and abs(x[starts[-1] - 1] - new) < abs(x[starts[-1] - 1] - old) / 2:
            starts[-1] -= 1
    return starts


def is_exact(y: Floats) -> bool:
    """Values that repeat to the last digit but for a few lasting changes, such as counts do."""
    if len(y) < 2:
        return False
    changes = int((np.diff(y) != 0).sum())
    if len(y) < 4:
        return bool(changes == 0 or (y == np.rint(y)).all())
    return changes <= max(2, len(y) // 8) and 2 * changes < len(y) - 1


def _exact_starts(y: Floats) -> Ints:
    return np.concatenate([[0], np.flatnonzero(np.diff(y) != 0) + 1]).astype(np.int64)


def _found(
    kind: str,
    y: Floats,
    known: Ints,
    starts: Ints,
    p: Floats,
    relative: bool,
    spread: float,
    noise: Noise | None,
    x: Floats,
) -> Found:
    seen = y[known]
    level = np.full(len(y), np.nan)
    ends = np.append(starts[1:], len(known)) if len(starts) else starts
    middles = [float(np.median(seen[a:b])) for a, b in zip(starts, ends)]
    for a, b, middle in zip(starts, ends, middles):
        level[known[a:b]] = middle
    steps = []
    for i, start in enumerate(starts[1:]):
        low, high = where(x, starts, i, noise.long_run) if noise else (int(start), int(start))
        old, new = middles[i], middles[i + 1]
        ratio = new / old if old * new > 0 else float("nan")
        at = int(known[start])
        points = int(ends[i + 1] - start)
        provisional = noise is not None and i == len(starts) - 2 and points < SETTLED
        place = (at, min(int(known[low]), at), max(int(known[high]), at))
        steps.append(Step(*place, old, new, ratio, float(p[i]), points, provisional))
    smallest = min((s.p for s in steps if not s.provisional), default=1.0)
    return Found(kind, tuple(steps), level, spread, relative, smallest, noise)


def passed(p: npt.ArrayLike, rate: float) -> npt.NDArray[np.bool_]:
    """Which of many findings stand, so that the expected share of false ones among them is at most `rate`.

    Benjamini and Hochberg (1995) J. R. Stat. Soc. B57, 289-300.
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / max(len(p), 1))
    stand = np.zeros(len(p), bool)
    if len(below):
        stand[order[: below[-1] + 1]] = True
    return stand


def drift(values: npt.ArrayLike, found: Found, base: slice, now: int = 10) -> tuple[float, float] | None:
    """Ratio of the newest values to those of a fixed baseline, and the probability that noise alone makes it.

    Parameters
    ----------
    base : indices of the baseline's values
    now : how many of the newest values are taken

    Returns
    -------
    None where there are too few values, or they can't be compared as a ratio.
    """
    y = np.asarray(values, np.float64)
    old, tail = y[base], y[np.isfinite(y)][-now:]
    old = old[np.isfinite(old)]
    if len(old) < 3 or len(tail) < 3 or not found.relative:
        return None
    shift = float(np.median(np.log(tail)) - np.median(np.log(old)))
    if found.noise is None:
        return (float(np.exp(shift)), float(shift == 0)) if found.kind == "exact" else None
    # the median of few points spreads pi/2 as much as their mean
    width = np.sqrt(np.pi / 2 * found.noise.long_run * (1 / len(old) + 1 / len(tail)))
    return float(np.exp(shift)), float(2 * stats.t.sf(abs(shift) / width, found.noise.free))
