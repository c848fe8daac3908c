"""The history of a program's measurements: commits, and one series of values for each thing measured.

`io.asv_results` and `io.record_history` read it from files; `analysis.regress` finds what changed in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hdrmx.analysis.changes_segments import Floats, Ints

TIME, MEMORY, COUNT, INSTRUCTIONS, RATE = "time", "memory", "count", "instructions", "rate"
EXPONENT, ANSWER, OTHER = "exponent", "answer", "other"
STAGES = ("find_spots", "index", "refine", "predict", "integrate", "symmetry", "scale", "merge", "export")
NOT_A_STAGE = "everything else"


@dataclass(frozen=True)
class Commit:
    """`number` is the place in history from 0; `files` are those it changed, where a repository told."""

    hash: str
    date_ms: int
    subject: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """A change of machine, interpreter or libraries: what was measured before isn't compared with what comes after."""

    at: int  # number of the first commit measured afterwards
    machine: str
    text: str


@dataclass(frozen=True, eq=False)
class Series:
    """One measured thing over the commits.

    Attributes
    ----------
    name, params : the benchmark and the values of its axes
    kind : what is measured, one of the constants above: it decides which direction is worse
    at : (n,) numbers of commits, growing
    values : (n,) NaN where it failed; low, high: (n,) what each sample's spread was, NaN where unknown
    era : (n,) number that grows where machine, libraries or the benchmark itself changed
    """

    name: str
    params: tuple[str, ...]
    unit: str
    kind: str
    machine: str
    at: Ints
    values: Floats
    low: Floats
    high: Floats
    era: Ints

    @property
    def label(self) -> str:
        return f"{self.name}({', '.join(self.params)})" if self.params else self.name

    @property
    def stage(self) -> str:
        """The pipeline's stage that it belongs to, as far as its name tells."""
        return stage_of(self.label)


@dataclass(frozen=True, eq=False)
class History:
    """All of a results folder. `links`: for a commit's hash, files to look into, by name."""

    source: str
    commits: tuple[Commit, ...]
    series: tuple[Series, ...]
    events: tuple[Event, ...] = ()
    project: str = ""
    commit_url: str = ""  # what a hash is put behind
    links: dict[str, dict[str, str]] = field(default_factory=dict)


def stage_of(label: str) -> str:
    """`bench_stages.FindSpots.time_stage(90)` or `... ('find_spots:spots', 90)`: find_spots."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", label).lower()
    for stage in STAGES:
        if re.search(rf"(?<![a-z]){stage}(?![a-z])", words):
            return stage
    return "pipeline" if "pipeline" in words else NOT_A_STAGE


def kind_of(name: str, unit: str, params: Iterable[str] = ()) -> str:
    """What an asv benchmark measures, from its prefix, and for `track_` from its name and unit."""
    last = name.rpartition(".")[2].lower()
    if last.startswith(("time", "timeraw")):
        return TIME
    if last.startswith(("mem", "peakmem")):
        return MEMORY
    words = " ".join([name, *params]).lower()
    if "exponent" in words:
        return EXPONENT
    if "instruction" in words:
        return INSTRUCTIONS
    if "answer" in words:
        return ANSWER
    if unit.endswith("/s") or "per second" in unit or "per_second" in last or "frames_per_s" in last:
        return RATE
    if unit in ("seconds", "s"):
        return TIME
    if unit in ("bytes", "MB"):
        return MEMORY
    return COUNT if "count" in words or "per_frame" in last or unit in ("calls", "count", "a frame") else OTHER


def is_worse(kind: str, ratio: float) -> bool:
    """A result of the science has no better side: any change asks for a look."""
    return kind == ANSWER or (ratio < 1 if kind == RATE else ratio > 1)


def ordered(commits: Sequence[Commit], known: Sequence[Commit] = ()) -> tuple[Commit, ...]:
    """By the order of `known` (a repository's history, oldest first), else by date; with its subjects and files."""
    place = {commit.hash: i for i, commit in enumerate(known)}
    if all(commit.hash in place for commit in commits):
        return tuple(known[place[commit.hash]] for commit in sorted(commits, key=lambda c: place[c.hash]))
    named = [replace(known[place[c.hash]], date_ms=c.date_ms) if c.hash in place else c for c in commits]
    return tuple(sorted(named, key=lambda commit: (commit.date_ms, commit.hash)))


def gathered(
    points: Sequence[tuple[int, float, float, float, int]],
) -> tuple[Ints, Floats, Floats, Floats, Ints]:
    """Points (commit, value, low, high, era) as columns; several of one commit and era become their median."""
    rows = np.array(sorted(points, key=lambda p: (p[0], p[4])), float).reshape(-1, 5)
    at, era = rows[:, 0].astype(np.int64), rows[:, 4].astype(np.int64)
    if len(at) > 1 and (np.diff(at) == 0).any():
        keys = sorted(set(zip(at.tolist(), era.tolist())))
        joined = []
        for commit, e in keys:
            same = rows[(at == commit) & (era == e)]
            values = same[:, 1][np.isfinite(same[:, 1])]
            if len(values) == 0:
                joined.append([commit, np.nan, np.nan, np.nan, e])
            elif len(values) == 1:
                joined.append([commit, *same[np.isfinite(same[:, 1])][0, 1:4], e])
            else:
                joined.append([commit, float(np.median(values)), values.min(), values.max(), e])
        rows = np.array(joined, float)
        at, era = rows[:, 0].astype(np.int64), rows[:, 4].astype(np.int64)
    return at, rows[:, 1], rows[:, 2], rows[:, 3], era
