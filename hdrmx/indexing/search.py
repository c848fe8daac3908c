"""The search for lattices: from points of reciprocal space to fitted cells, by the method asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdrmx.indexing import combine
from hdrmx.indexing.fft1d import fft1d_vectors
from hdrmx.indexing.fft3d import choose_grid, fft3d_vectors
from hdrmx.indexing.real_space import real_space_vectors
from hdrmx.indexing.reciprocal import Floats
from hdrmx.indexing.score import Fit
from hdrmx.indexing.vectors import choose, sharpen

MAX_SHARPEN = 4000  # points on which vectors are sharpened
START = 0.5  # of the highest resolution, where the fit of a cell begins
LONGEST = 2.0  # candidate vectors may be this many times as long as the longest edge


@dataclass(frozen=True)
class Found:
    """Fitted lattices, most informative first, and exact counts of the work done."""

    fits: list[Fit]
    counts: dict[str, int]


def find_lattices(
    r: Floats,
    max_cell: float,
    *,
    method: str,
    min_cell: float,
    tolerance: float,
    axes: Floats | None = None,
) -> Found:
    """Lattices of the points r (n, 3).

    Parameters
    ----------
    max_cell : longest cell edge, A
    method : "fft3d", "fft1d" or "real_space", which needs `axes` (3, 3), rows of a known primitive cell
    """
    d_star = np.linalg.norm(r, axis=1)
    top = float(d_star.max(initial=0.0))
    if top <= 0:
        return Found([], {})
    few = combine.thinned(r, MAX_SHARPEN)
    if method == "real_space" and axes is not None:
        vectors = real_space_vectors(few, np.linalg.norm(axes, axis=1))
    elif method == "fft1d":
        vectors = fft1d_vectors(few, max_cell)
    else:
        vectors, _ = fft3d_vectors(r, choose_grid(max_cell, 1.0 / top))
    sharp = sharpen(vectors, few)
    chosen = choose(sharp, min_cell, LONGEST * max_cell)
    fits, counts = combine.cells(chosen, r, tolerance, START * top)
    counts = {"candidate_vectors": len(vectors), "combined_vectors": len(chosen), **counts}
    return Found([f for f in fits if _longest_edge(f) <= LONGEST * max_cell], counts)


def chance_gain(n: int) -> float:
    """Nats that the best of many lattices gains on n points without any order; see docs/indexing.md for the trials."""
    return 100.0 + 6.0 * float(np.sqrt(n)) + 0.35 * n


def _longest_edge(fit: Fit) -> float:
    return float(np.linalg.norm(np.linalg.inv(fit.A), axis=1).max())
