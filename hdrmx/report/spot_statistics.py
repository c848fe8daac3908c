"""Spots counted by image and by resolution, for tables and charts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.report.figures import Axis, Tick
from hdrmx.report.page import number, percent, table
from hdrmx.report.processed import Processed

Floats = npt.NDArray[np.float64]
ROUND_A = (100, 50, 30, 20, 15, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3.2, 3, 2.8, 2.6, 2.4, 2.2, 2, 1.9, 1.8, 1.7, 1.6, 1.5)
FINE_A = (1.4, 1.3, 1.2, 1.1, 1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3)


@dataclass(frozen=True)
class Counts:
    """Spots in bins: all, those indexed, and strong pixels."""

    axis: Axis
    spots: Floats
    indexed: Floats
    pixels: Floats

    @property
    def fraction(self) -> Floats:
        """Indexed of all; NaN in bins without spots."""
        return np.divide(self.indexed, self.spots, out=np.full(len(self.spots), np.nan), where=self.spots > 0)

    def as_table(self, head: str) -> str:
        rows = [
            (name, f"{n:.0f}", f"{i:.0f}", percent(f), f"{p:.0f}")
            for name, n, i, f, p in zip(self.axis.names, self.spots, self.indexed, self.fraction, self.pixels)
        ]
        return table((head, "spots", "indexed", "fraction", "strong pixels"), rows)


def by_image(run: Processed, most: int) -> Counts:
    """In runs of equally many images, at most so many runs. A spot counts where its centroid is."""
    n = len(run.frames)
    each = -(-n // most)
    edges = np.append(np.arange(0, n, each), n) + run.frames.start
    which = np.searchsorted(edges, run.spots["frame"].to_numpy(), side="right") - 1
    names = [_images(int(a) + 1, int(b)) for a, b in itertools.pairwise(edges)]
    across = edges + 0.5  # image i's middle is at i
    axis = Axis("image", (across[:-1] + across[1:]) / 2, names, across)
    return _counted(run, axis, np.clip(which, 0, len(names) - 1))


def _images(first: int, last: int) -> str:
    return f"image {first}" if first == last else f"images {first}–{last}"


def by_resolution(run: Processed, most: int) -> Counts:
    """In shells of equal width in 1/d^2."""
    inverse = np.sum(run.r**2, axis=1)
    top = float(inverse.max()) if len(inverse) else 1.0
    edges = np.linspace(0.0, top * (1 + 1e-9), most + 1)
    d = 1.0 / np.sqrt(np.maximum(edges, 1e-12))
    names = [f"{'∞' if i == 0 else number(d[i], 2)}–{number(d[i + 1], 2)} Å" for i in range(most)]
    axis = Axis("resolution, Å (even in 1/d²)", (edges[:-1] + edges[1:]) / 2, names, edges, resolution_ticks(top))
    return _counted(run, axis, np.clip(np.searchsorted(edges, inverse, side="right") - 1, 0, most - 1))


def resolution_ticks(top: float, apart: float = 0.08) -> list[Tick]:
    """Round resolutions at their 1/d^2, up to `top`, no two nearer than a part of the axis."""
    ticks: list[Tick] = []
    for d in (*ROUND_A, *FINE_A):
        at = 1.0 / d**2
        if at <= top and at - (ticks[-1][0] if ticks else -top * apart / 2) >= apart * top:
            ticks.append((at, f"{d:g}"))
    return ticks


def rings(d_min: float, at_most: int = 4) -> Sequence[float]:
    """A few round resolutions, evenly in 1/d, for circles."""
    chosen = []
    for i in range(1, at_most + 1):
        wanted = i / at_most / d_min
        coarser = [d for d in (*ROUND_A, *FINE_A) if d >= d_min]
        if coarser:
            chosen.append(min(coarser, key=lambda d: abs(1 / d - wanted)))
    return sorted(set(chosen), reverse=True)


def _counted(run: Processed, axis: Axis, which: npt.NDArray[np.intp]) -> Counts:
    n = len(axis.names)
    return Counts(
        axis,
        np.bincount(which, minlength=n).astype(float),
        np.bincount(which[run.is_indexed], minlength=n).astype(float),
        np.bincount(which, weights=run.spots["n_pixels"].to_numpy(float), minlength=n).astype(float),
    )
