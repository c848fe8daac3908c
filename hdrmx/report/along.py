"""Charts along the scan, or the scans, of tables with a row a frame; and charts against resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hdrmx.report.figures import Axis, Floats, Tick
from hdrmx.report.page import number, table
from hdrmx.report.spot_statistics import resolution_ticks

MOST_STEPS = 400
MOST_ROWS = 40
MOST_SWEEP_TICKS = 12


@dataclass(frozen=True)
class Steps:
    """Runs of frames, none across two sweeps.

    Attributes
    ----------
    axis : images of one sweep; of several, the frames one after the other
    row_of : (n,) step of each row of the table
    """

    axis: Axis
    row_of: np.ndarray

    def total(self, values: Floats) -> Floats:
        return np.asarray(np.bincount(self.row_of, np.nan_to_num(values), len(self.axis.names)), float)

    def mean(self, values: Floats, weight: Floats | None = None) -> Floats:
        """Weighted means of finite values; NaN in steps without any."""
        known = np.isfinite(values)
        w = np.where(known, 1.0 if weight is None else weight, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.total(w * np.nan_to_num(values)) / self.total(w))


def steps_of(frames: pd.DataFrame, most: int = MOST_STEPS) -> Steps:
    """Steps of equally many frames, at most about so many, from columns sweep and frame in order, none absent twice."""
    sweep, frame = frames["sweep"].to_numpy(), frames["frame"].to_numpy(np.int64)
    each = max(-(-len(frames) // most), 1)
    names: list[str] = []
    edges: list[float] = []
    ticks: list[Tick] = []
    row_of = np.zeros(len(frames), np.int64)
    numbers = np.unique(sweep)
    many = len(numbers) > 1
    at = 0.0
    for s in numbers:
        rows = np.flatnonzero(sweep == s)
        first, last = int(frame[rows].min()), int(frame[rows].max())
        n = last - first + 1
        starts = np.arange(first, last + 1, each)
        row_of[rows] = len(names) + (frame[rows] - first) // each
        ends = np.append(starts[1:], last + 1)
        word = f"sweep {s + 1}, " if many else ""
        names += [word + _images(int(a) + 1, int(b)) for a, b in zip(starts, ends)]
        begin = at if many else first + 0.5
        edges += (begin + (starts - first)).tolist()
        ticks.append((begin, f"{s + 1}"))
        at += n
    edges.append(at if many else edges[0] + (last - first) + 1 if len(frames) else 1.0)
    across = np.array(edges, float)
    thinned = ticks[:: -(-len(ticks) // MOST_SWEEP_TICKS)] if many else None
    axis = Axis("sweep" if many else "image", (across[:-1] + across[1:]) / 2, names, across, thinned)
    return Steps(axis, row_of)


def _images(first: int, last: int) -> str:
    return f"image {first}" if first == last else f"images {first}–{last}"


def shell_axis(shells: pd.DataFrame) -> Axis:
    """Of a table with d_max and d_min, lowest resolution first."""
    edges = np.append(shells["d_max"].to_numpy(float), shells["d_min"].to_numpy(float)[-1:]) ** -2.0
    names = [f"{a:.2f}–{b:.2f} Å" for a, b in zip(shells["d_max"], shells["d_min"])]
    return s2_axis((edges[:-1] + edges[1:]) / 2, names, edges)


def s2_axis(at: Floats, names: Sequence[str] | None = None, edges: Floats | None = None) -> Axis:
    """An axis of 1/d^2 with resolutions as its ticks."""
    top = float((at if edges is None else edges).max()) if len(at) else 1.0
    words = [f"{number(v**-0.5 if v > 0 else None, 2)} Å" for v in at.tolist()] if names is None else names
    return Axis("resolution, Å (even in 1/d²)", at, words, edges, resolution_ticks(top))


def within_scans(frames: pd.DataFrame, scans: pd.DataFrame) -> pd.DataFrame:
    """Rows of the frames of the scans (columns sweep, frame): centres of partial reflections may lie outside."""
    ends = scans.groupby("sweep")["frame"].agg(["min", "max"])
    known = frames[frames["sweep"].isin(ends.index)]
    low, high = (ends[name].loc[known["sweep"]].to_numpy() for name in ("min", "max"))
    return known[(known["frame"].to_numpy() >= low) & (known["frame"].to_numpy() <= high)]


def rows_of(axis: Axis, columns: Sequence[tuple[str, Floats, int]], head: str) -> str:
    """The numbers of a chart, thinned to a table that can be read: (name, values, decimals)."""
    n = len(axis.names)
    chosen = range(n) if n <= MOST_ROWS else sorted(set(np.rint(np.linspace(0, n - 1, MOST_ROWS)).astype(int).tolist()))
    rows = [(axis.names[i], *(number(float(v[i]), digits) for _, v, digits in columns)) for i in chosen]
    note = f"{len(rows)} of {n} steps, evenly through the list" if len(rows) < n else ""
    return table((head, *(name for name, _, _ in columns)), rows, caption=note)


def in_pairs(figures: Sequence[str]) -> str:
    """Figures two by two where there is room; empty ones are left out."""
    drawn = "".join(figures)
    return f'<div class="pair">{drawn}</div>' if drawn else ""
