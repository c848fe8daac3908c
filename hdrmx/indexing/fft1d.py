"""Candidate lattice vectors from one-dimensional transforms along many directions."""

from __future__ import annotations

import numpy as np
import scipy.fft

from hdrmx.indexing.reciprocal import Floats

STEP_RAD = 0.029  # between directions: about 7500 on the half sphere
REACH = 5.0  # the line resolves max_cell by this many points
KEPT = 60  # directions whose best peak is kept


def half_sphere(step_rad: float) -> Floats:
    """(n, 3) unit vectors on rings of equal polar angle, about `step_rad` apart, one of each pair u, -u."""
    rings = []
    n_rings = int(np.ceil(0.5 * np.pi / step_rad))
    for polar in np.linspace(0.0, 0.5 * np.pi, n_rings + 1):
        n = max(1, int(np.ceil(2.0 * np.pi * np.sin(polar) / step_rad)))
        n = n if polar < 0.5 * np.pi - 1e-9 else max(1, n // 2)
        azimuth = np.arange(n) * (2.0 * np.pi if polar < 0.5 * np.pi - 1e-9 else np.pi) / n
        rings.append(
            np.column_stack(
                [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.full(n, np.cos(polar))]
            )
        )
    return np.concatenate(rings)


def fft1d_vectors(r: Floats, max_cell: float) -> Floats:
    """(m, 3) A: for the best directions, the direction times the period of the points' projections on it.

    Projections r . u are binned on a line that resolves periods up to `max_cell`; the highest peak of the transform
    beyond the origin's is the period. Time ~ directions * (points + line length).

    After Steller, Bolotovsky & Rossmann (1997) J. Appl. Cryst. 30, 1036-1040.
    """
    directions = half_sphere(STEP_RAD)
    top = float(np.linalg.norm(r, axis=1).max(initial=0.0))
    if top == 0.0:
        return np.zeros((0, 3))
    spacing = 1.0 / (REACH * max_cell)
    n = scipy.fft.next_fast_len(2 * int(np.ceil(top / spacing)) + 2, real=True)
    heights = np.empty(len(directions))
    periods = np.empty(len(directions))
    first = max(2, int(np.ceil(0.02 * n)))
    for i, u in enumerate(directions):
        where = np.rint(np.einsum("ij,j->i", r, u) / spacing).astype(np.int64) % n
        transform = scipy.fft.rfft(np.bincount(where, minlength=n).astype(np.float32)).real
        last = min(len(transform) - 1, int(np.ceil(1.1 * max_cell * n * spacing)))
        # beyond the first fall from the origin's own peak
        start = first
        while start < last - 1 and transform[start + 1] < transform[start]:
            start += 1
        best = start + int(np.argmax(transform[start : last + 1]))
        heights[i], periods[i] = transform[best], best / (n * spacing)
    order = np.lexsort((np.arange(len(heights)), -heights))
    return _spread(directions[order] * periods[order, None])


def _spread(vectors: Floats) -> Floats:
    """The first vectors of the list that are not near to an earlier one."""
    kept: list[Floats] = []
    for v in vectors:
        length = np.linalg.norm(v)
        if all(min(np.linalg.norm(v - w), np.linalg.norm(v + w)) > 3.0 * STEP_RAD * length for w in kept):
            kept.append(v)
        if len(kept) == KEPT:
            break
    return np.array(kept).reshape(-1, 3)
