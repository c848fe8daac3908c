"""The Kaizen ledger: every gain and loss with its measured size, and what they come to; and whether we keep up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hdrmx.analysis.causes import Group
from hdrmx.analysis.history import RATE, TIME, History, Series
from hdrmx.analysis.regress import Regressed, number_of

DETECTORS = (  # name, frames/s at full speed, pixels
    ("EIGER2 X 16M", 133.0, 4148 * 4362),
    ("EIGER2 XE 16M", 560.0, 4148 * 4362),
    ("JUNGFRAU 4M", 2000.0, 2068 * 2164),
)
NOW = 10  # values whose median is the present level


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes
    ----------
    series : how many series of time it moved; typical : the middle one of their ratios new / old
    effect : on the geometric mean over all series of time; product : of all effects up to and with this one
    """

    group: Group
    series: int
    typical: float
    effect: float
    product: float


@dataclass(frozen=True)
class Ledger:
    """Entries in order of history. `gains` and `losses` are the products of effects below and above 1."""

    entries: tuple[Entry, ...]
    since: int
    series: int
    gains: float
    losses: float

    @property
    def product(self) -> float:
        return self.gains * self.losses


def ledger(result: Regressed, since: str | None = None) -> Ledger:
    """All lasting changes of time since a commit (default: the first), and their product.

    An entry's effect is the change of the geometric mean over all series of time, those that did not move included:
    so effects can be multiplied, and their product is what the whole suite has gained.
    """
    history = result.history
    begin = number_of(history, since) or 0
    timed = {i for i, s in enumerate(history.series) if s.kind == TIME and s.at[-1] >= begin}
    entries: list[Entry] = []
    product, gains, losses = 1.0, 1.0, 1.0
    for group in sorted(result.groups, key=lambda g: (g.at, g.what, g.worse)):
        moved = [f for f in group.findings if f.series in timed and f.form == "step" and f.at > begin and f.ratio > 0]
        if not moved:
            continue
        logs = [math.log(f.ratio) for f in moved]
        effect = math.exp(sum(logs) / len(timed))
        product *= effect
        gains, losses = (gains * effect, losses) if effect < 1 else (gains, losses * effect)
        entries.append(Entry(group, len({f.series for f in moved}), math.exp(float(np.median(logs))), effect, product))
    return Ledger(tuple(entries), begin, len(timed), gains, losses)


@dataclass(frozen=True)
class Keeping:
    """A measured rate held against a detector; `share` of its full speed; `cores` that would keep up, where known."""

    series: int
    detector: str
    needed: float
    measured: float
    unit: str
    share: float
    cores: float | None


def keeping_up(history: History) -> list[Keeping]:
    """Each series of a rate, at its present level, against each detector's rate.

    A rate in pixels/s is held against the detector's pixels; one in frames/s against its frames, whatever the
    benchmark's are. Cores are those of a run with as many as its parameters say (`threads=4`, `4 cores`).
    """
    out = []
    for i, series in enumerate(history.series):
        if series.kind != RATE or not is_of_frames(series):
            continue
        seen = series.values[np.isfinite(series.values)][-NOW:]
        if len(seen) == 0 or np.median(seen) <= 0:
            continue
        measured = float(np.median(seen))
        for name, hertz, pixels in DETECTORS:
            needed = hertz * pixels if "pixel" in series.unit else hertz
            cores = cores_of(series)
            share = measured / needed
            out.append(Keeping(i, name, needed, measured, series.unit, share, None if cores is None else cores / share))
    return out


def is_of_frames(series: Series) -> bool:
    return "frame" in series.unit or "pixel" in series.unit or "frames_per" in series.name


def cores_of(series: Series) -> float | None:
    """Of parameters such as `4 cores` or `threads=4`."""
    for text in series.params:
        words = text.replace("=", " ").split()
        numbers = [float(w) for w in words if w.replace(".", "", 1).isdigit()]
        if numbers and any(w.startswith(("core", "thread")) for w in words):
            return numbers[0]
    return None
