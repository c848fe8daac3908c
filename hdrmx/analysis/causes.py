"""Changes brought together: one group for each commit and cause, so that a person reads a list and not a wall.

Changes are gathered at the commit that could have made most of them. Those of one commit are split by direction and by
what was changed: a stage of the pipeline, or a module of benchmarks. Where a large share of all series moves
at one commit by about the same ratio, the cause is nothing that a single benchmark measures, and they stay together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hdrmx.analysis.history import (
    ANSWER,
    COUNT,
    EXPONENT,
    INSTRUCTIONS,
    MEMORY,
    NOT_A_STAGE,
    RATE,
    TIME,
    History,
    Series,
)

if TYPE_CHECKING:
    from hdrmx.analysis.regress import Finding

BROAD = 0.15  # share of the series then measured that makes a cause a broad one
FEWEST_BROAD = 20  # series


@dataclass(frozen=True)
class Group:
    """Changes with one commit and one cause.

    Attributes
    ----------
    at : number of the commit; before: of the last one measured without the change
    what : the stage or module that changed, or "many benchmarks at once"
    cause : why, as far as the other series of the same commit tell; plain text
    findings : those that stand first, changed results before others, then the largest first
    worse, alarm : for the worse; that, standing, new enough, and settled
    provisional : for the worse and standing, but too new to be told from a spike without a fresh run
    rank : for ordering, larger is first
    confirmed : None: not asked; else whether a fresh run showed it again; `confirmation`: what was said
    """

    at: int
    before: int
    what: str
    cause: str
    findings: tuple[Finding, ...]
    worse: bool
    alarm: bool
    rank: float
    confirmed: bool | None = None
    confirmation: str = ""
    provisional: bool = False


def grouped(history: History, findings: Sequence[Finding], since: int = 0) -> tuple[Group, ...]:
    """Groups, ranked: alarms first, then by how much changed in how many series."""
    steps = [f for f in findings if f.form == "step"]
    groups = []
    for at, members in at_commits([(f.first, f.at, f.last) for f in steps]):
        groups += _of_commit(history, at, [steps[i] for i in members], since)
    by_family: dict[tuple[str, bool], list[Finding]] = {}
    for f in findings:
        if f.form == "drift":
            by_family.setdefault((_family(history.series[f.series]), f.worse), []).append(f)
    for (what, _), drifting in by_family.items():
        groups.append(
            _group(
                history,
                drifting[0].at,
                what,
                "far from the baseline and no step explains it: a slow drift, or steps too close to be told apart",
                drifting,
                since,
            )
        )
    return tuple(sorted(groups, key=lambda g: (not g.alarm, -g.rank, g.at, g.what)))


def at_commits(places: Sequence[tuple[int, int, int]]) -> list[tuple[int, list[int]]]:
    """Each change (first, likeliest, last) is given the commit that could have made most of those that are left.

    Returns
    -------
    (commit, places of the changes), commits in the order they were found: those with most changes first.
    """
    left = set(range(len(places)))
    out = []
    while left:
        votes: Counter[int] = Counter()
        for i in left:
            first, at, last = places[i]
            votes.update(range(first, min(last, first + 200) + 1))
            votes[at] += 2
        commit = min(votes, key=lambda c: (-votes[c], c))
        members = sorted(i for i in left if places[i][0] <= commit <= places[i][2])
        out.append((commit, members))
        left -= set(members)
    return out


def _of_commit(history: History, at: int, findings: list[Finding], since: int) -> list[Group]:
    out = []
    measured = max(sum(1 for s in history.series if s.at[0] < at <= s.at[-1]), 1)
    for worse in (True, False):
        same = [f for f in findings if f.worse == worse]
        if (
            len(same) >= max(BROAD * measured, FEWEST_BROAD)
            and len({_family(history.series[f.series]) for f in same}) > 3
        ):
            cause = f"{len(same)} of {measured} series moved at this commit: a cause they share, not one function"
            out.append(_group(history, at, "many benchmarks at once", cause, same, since))
            continue
        families: dict[str, list[Finding]] = {}
        for f in same:
            families.setdefault(_family(history.series[f.series]), []).append(f)
        for what, members in families.items():
            out.append(_group(history, at, what, _cause(history, members, findings), members, since))
    return out


def _group(history: History, at: int, what: str, cause: str, findings: list[Finding], since: int) -> Group:
    from hdrmx.analysis.regress import size_of

    def order(f: Finding) -> tuple[bool, bool, float, str]:
        series = history.series[f.series]
        return f.undone is not None, series.kind != ANSWER, -size_of(f), series.label

    findings = sorted(findings, key=order)
    worse = findings[0].worse
    stands = any(f.undone is None for f in findings)
    before = max((f.before for f in findings if f.before < at), default=max(at - 1, 0))
    counting = [f for f in findings if f.undone is None] or findings
    rank = max(size_of(f) for f in counting) * math.log2(1 + len(counting))
    if any(history.series[f.series].kind == ANSWER for f in findings):
        rank += 100  # a changed result comes before any time
    new = worse and stands and at >= since
    provisional = new and all(f.provisional for f in findings if f.undone is None)
    alarm = new and not provisional
    return Group(at, before, what, cause, tuple(findings), worse, alarm, rank, provisional=provisional)


def _family(series: Series) -> str:
    stage = series.stage
    return stage if stage != NOT_A_STAGE else series.name.split(".")[0]


def _cause(history: History, members: list[Finding], all_of_commit: list[Finding]) -> str:
    """What the exact series of the same stage and commit say about the others."""
    family = _family(history.series[members[0].series])
    kinds: dict[str, list[Finding]] = {}
    for f in all_of_commit:
        if _family(history.series[f.series]) == family:
            kinds.setdefault(history.series[f.series].kind, []).append(f)
    said = []
    if ANSWER in kinds:
        said.append(f"the results changed: {_named(history, kinds[ANSWER])}")
    if EXPONENT in kinds:
        e = max(kinds[EXPONENT], key=lambda f: abs(f.new - f.old))
        said.append(f"it grows differently: exponent {e.old:.2f} → {e.new:.2f} ({_short(history, e)})")
    work = kinds.get(COUNT, []) + kinds.get(INSTRUCTIONS, [])
    if work:
        more = sum(f.ratio > 1 for f in work if math.isfinite(f.ratio)) * 2 >= len(work)
        said.append(f"{'more' if more else 'less'} work: {_named(history, work)}")
    elif (TIME in kinds or RATE in kinds) and EXPONENT not in kinds:
        counted = any(
            s.kind in (COUNT, INSTRUCTIONS) and _family(s) == family and s.at[0] < members[0].at <= s.at[-1]
            for s in history.series
        )
        if counted:
            said.append("as much work as before, at another price each")
    if set(kinds) == {MEMORY}:
        said.append("memory alone")
    return "; ".join(said)


def _named(history: History, findings: list[Finding], most: int = 3) -> str:
    ordered = sorted(findings, key=lambda f: -abs(math.log(f.ratio)) if f.ratio > 0 else -math.inf)
    names = [f"{_short(history, f)} {f.old:.4g} → {f.new:.4g}" for f in ordered[:most]]
    return ", ".join(names) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")


def _short(history: History, f: Finding) -> str:
    series = history.series[f.series]
    last = series.name.rpartition(".")[2]
    return f"{last}({', '.join(series.params)})" if series.params else last
