"""What changed over a history: the steps of all series that stand together, and slow drift from a fixed baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hdrmx.analysis.causes import Group, grouped
from hdrmx.analysis.changes import ALARM_RATE, Found, drift, find_steps, passed
from hdrmx.analysis.history import ANSWER, EXPONENT, History, Series, is_worse
from hdrmx.errors import InputError

STEP, DRIFT = "step", "drift"
BASE_POINTS = 20  # commits from the baseline on whose values make its level
LEAST_DRIFT = 0.03  # a slow drift smaller than this isn't told
SIZE_OF_EXPONENT = 0.05  # an exponent's change counts absolutely: smaller ones aren't told


@dataclass(frozen=True)
class Rules:
    """When a change is told, and when it is an alarm.

    Attributes
    ----------
    alarm_rate : probability of a step in a series that has none
    false_rate : expected share of false findings among all that are told
    least : relative change below which none is told, of noisy series
    baseline : hash, or its beginning, of the commit that slow drift is measured from; None: the first of each era
    since : hash, or its beginning, of the first commit whose changes alarm; None: all
    """

    alarm_rate: float = ALARM_RATE
    false_rate: float = 0.01
    least: float = 0.005
    baseline: str | None = None
    since: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Finding:
    """One change of one series.

    Attributes
    ----------
    series : place in `History.series`
    form : "step" or "drift"
    at : number of the first commit of the new level; first, last: where it could lie as well
    before : number of the last commit measured before `first`
    old, new, ratio : levels, new / old (NaN where it has no meaning)
    undone : number of the commit from which on the old level is reached again; None: it stands
    worse : in the direction that nobody wants; any change of a scientific result is
    provisional : too new to tell from a spike; no alarm unless a fresh run shows it again
    """

    series: int
    form: str
    at: int
    first: int
    last: int
    before: int
    old: float
    new: float
    ratio: float
    p: float
    points: int
    worse: bool
    undone: int | None = None
    provisional: bool = False


@dataclass(frozen=True)
class Regressed:
    """All that was found; `found[i]` is what series i says, era after era; `groups` are ranked, the worst first."""

    history: History
    rules: Rules
    found: tuple[tuple[Found, ...], ...]
    findings: tuple[Finding, ...]
    groups: tuple[Group, ...]
    looked_at: int  # series with values enough
    threshold: float  # probability up to which findings stand

    @property
    def alarms(self) -> list[Group]:
        """Groups that are for the worse, stand, and are new enough."""
        return [group for group in self.groups if group.alarm]


def regress(
    history: History, rules: Rules | None = None, progress: Callable[[int, int], None] | None = None
) -> Regressed:
    """Look at every series of a history and at all of them together.

    Returns
    -------
    The findings, in groups of one commit and cause each. The same history and rules give the same answer.
    """
    rules = rules or Rules()
    found: list[tuple[Found, ...]] = []
    candidates: list[Finding] = []
    smallest: list[float] = []
    base = number_of(history, rules.baseline)
    for i, series in enumerate(history.series):
        if progress is not None:
            progress(i, len(history.series))
        eras = []
        for rows in eras_of(series):
            one = find_steps(series.values[rows], alarm_rate=rules.alarm_rate, seed=rules.seed)
            eras.append(one)
            drifting = _drifts(i, series, rows, one, base, rules.alarm_rate)
            steps = _steps(i, series, rows, one, rules)
            candidates += steps + drifting
            if one.kind != "short":
                smallest.append(min([f.p for f in steps + drifting], default=1.0))
        found.append(tuple(eras))
    stands = passed(smallest, rules.false_rate)
    threshold = max((p for p, ok in zip(smallest, stands) if ok), default=0.0)
    findings = tuple(f for f in candidates if f.p <= threshold)
    since = number_of(history, rules.since) or 0
    return Regressed(
        history, rules, tuple(found), findings, grouped(history, findings, since), len(smallest), threshold
    )


def eras_of(series: Series) -> list[np.ndarray]:
    """Places of the values between two changes of machine, libraries or benchmark, in order."""
    return [np.flatnonzero(series.era == era) for era in np.unique(series.era)]


def number_of(history: History, name: str | None) -> int | None:
    """The commit that a hash, or its beginning, names; the next one in order where it was measured by none."""
    if name is None:
        return None
    for number, commit in enumerate(history.commits):
        if commit.hash.startswith(name):
            return number
    raise InputError(name, "is no commit of this history", "give the hash of one that was measured, or its beginning")


def _steps(i: int, series: Series, rows: np.ndarray, found: Found, rules: Rules) -> list[Finding]:
    out = []
    at = series.at[rows]
    for k, step in enumerate(found.steps):
        size = abs(step.ratio - 1) if np.isfinite(step.ratio) else np.inf
        if found.kind == "noisy" and size < rules.least:
            continue
        if series.kind == EXPONENT and abs(step.new - step.old) < SIZE_OF_EXPONENT:
            continue
        before = at[max(_known_before(series.values[rows], step.first), 0)]
        ratio = step.ratio
        worse = is_worse(series.kind, ratio if np.isfinite(ratio) else 1 + np.sign(step.new - step.old))
        halfway = (step.old + step.new) / 2
        back = [s for s in found.steps[k + 1 :] if (s.new > halfway) != (step.new > halfway)]
        undone = int(at[back[0].at]) if back else None
        out.append(
            Finding(
                i,
                STEP,
                int(at[step.at]),
                int(at[step.first]),
                int(at[step.last]),
                int(before),
                step.old,
                step.new,
                ratio,
                step.p,
                step.points,
                bool(worse),
                undone,
                step.provisional,
            )
        )
    return out


def _known_before(values: np.ndarray, place: int) -> int:
    known = np.flatnonzero(np.isfinite(values[:place]))
    return int(known[-1]) if len(known) else 0


def _drifts(
    i: int, series: Series, rows: np.ndarray, found: Found, base: int | None, alarm_rate: float
) -> list[Finding]:
    """A level far from the baseline's that no step explains."""
    if (
        found.kind != "noisy"
        or series.kind in (ANSWER, EXPONENT)
        or len(rows) < 3 * BASE_POINTS
        or series.era[rows[0]] != series.era.max()
    ):
        return []
    at = series.at[rows]
    begin = 0 if base is None else int(np.searchsorted(at, base))
    if begin + 2 * BASE_POINTS > len(rows):
        return []
    seen = drift(series.values[rows], found, slice(begin, begin + BASE_POINTS), BASE_POINTS)
    if seen is None:
        return []
    ratio, p = seen
    explained = [np.log(s.ratio) for s in found.steps if s.at > begin and np.isfinite(s.ratio)]
    rest = np.log(ratio) - sum(explained)
    if p > alarm_rate or abs(ratio - 1) < LEAST_DRIFT or abs(rest) < max(np.log1p(LEAST_DRIFT), abs(np.log(ratio)) / 2):
        return []
    values = series.values[rows]
    old = float(np.nanmedian(values[begin : begin + BASE_POINTS]))
    first, last = int(at[begin]), int(at[-1])
    worse = bool(is_worse(series.kind, ratio))
    return [Finding(i, DRIFT, last, first, last, first, old, old * ratio, ratio, p, BASE_POINTS, worse)]


def size_of(finding: Finding) -> float:
    """For ranking: how many times over, whichever the direction; a change without ratio counts as tenfold."""
    return abs(float(np.log(finding.ratio))) if finding.ratio > 0 else float(np.log(10.0))
