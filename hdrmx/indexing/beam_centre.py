"""The beam centre, when the header's is so far off that no lattice shows.

A wrong beam centre shifts all points of reciprocal space by a vector that is constant in the laboratory, and so
turns with the scan in the frame of the crystal. Differences between neighbouring points hardly feel it. From them comes
the lattice; then the shift is searched at which all points fall on its nodes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from hdrmx.indexing import combine
from hdrmx.indexing.fft3d import choose_grid, fft3d_vectors
from hdrmx.indexing.reciprocal import Floats, Points, map_sweeps
from hdrmx.indexing.search import LONGEST, START
from hdrmx.indexing.vectors import choose, sharpen
from hdrmx.kernels.indexing import shift_scores_fast
from hdrmx.models import Detector, Geometry, Vector
from hdrmx.params import Index

NEIGHBOURS = 12
MAX_ANGLE_RAD = np.radians(3.0)  # between spots whose difference is taken
MAX_DIFFERENCES = 40000
MAX_POINTS = 600  # that the shift is searched with
STEP = 0.12  # of a reciprocal spacing
LATTICES = 3  # tried, best first, until a score is clear
LEAST_SCORE, CLEAR_SCORE = 0.3, 0.7  # chance gives (8/15)^3 = 0.15
LOW_SHARE = 0.5  # of the spots, those of low resolution, on which errors of the lattice weigh least
ROUNDS = 4  # a large shift bends the differences too: the lattice is sought again with the shift applied
SETTLED_MM = 0.1
MAX_STEPS = 100  # of the search to either side

Sweep = tuple[pd.DataFrame, Geometry]


def search_beam_centre(
    sweeps: Sequence[Sweep], longest: float, params: Index
) -> tuple[list[Sweep] | None, tuple[float, float], Counter[str]]:
    """The sweeps with their detectors shifted so that the points fall on a lattice.

    Returns
    -------
    moved : None where the differences show no lattice
    shift_mm : (fast, slow) by which the beam centre moves on the detector
    counts : exact amounts of work

    Notes
    -----
    Shifts of up to `params.beam_search_mm` along fast and slow are scanned in steps of 0.12 reciprocal spacings, with
    the mean over spots of the product of (1 - 4 e^2)^2 of the three fractional indices, and then refined by halving.
    """
    counts: Counter[str] = Counter(beam_searches=1)
    total: tuple[float, float] = (0.0, 0.0)
    moved = list(sweeps)
    found = False
    for _ in range(ROUNDS):
        step = _one_round(moved, longest, params, counts)
        if step is None:
            break
        found = True
        total = (total[0] + step[0], total[1] + step[1])
        moved = [(spots, shifted(geometry, total)) for spots, geometry in sweeps]
        if max(abs(step[0]), abs(step[1])) < SETTLED_MM:
            break
    return (moved if found else None), total, counts


def _one_round(
    sweeps: Sequence[Sweep], longest: float, params: Index, counts: Counter[str]
) -> tuple[float, float] | None:
    """The shift (fast, slow) mm that the best of the lattices asks for."""
    points = map_sweeps(sweeps)
    if len(points) < params.min_spots:
        return None
    lattices, work = _lattices_of_differences(points, longest, params)
    counts.update(work)
    best_score, best_shift = LEAST_SCORE, None
    for A in lattices[:LATTICES]:
        score, shift, tried = _best_shift(sweeps, points, A, params.beam_search_mm)
        counts["beam_positions"] += tried
        if score > best_score:
            best_score, best_shift = score, shift
        if score > CLEAR_SCORE:
            break
    return best_shift


def shifted(geometry: Geometry, shift_mm: tuple[float, float]) -> Geometry:
    """The geometry with the beam centre moved on the detector by (fast, slow) mm: the panels move the other way."""
    fast, slow = np.asarray(geometry.detector.panels[0].fast_axis), np.asarray(geometry.detector.panels[0].slow_axis)
    offset = -shift_mm[0] * fast - shift_mm[1] * slow
    panels = tuple(
        dataclasses.replace(p, origin_mm=_vector(np.asarray(p.origin_mm) + offset)) for p in geometry.detector.panels
    )
    detector: Detector = geometry.detector.with_panels(panels)
    return dataclasses.replace(geometry, detector=detector)


def _vector(v: Floats) -> Vector:
    return float(v[0]), float(v[1]), float(v[2])


def _lattices_of_differences(points: Points, longest: float, params: Index) -> tuple[list[Floats], dict[str, int]]:
    differences = neighbour_differences(points)
    if len(differences) < params.min_spots:
        return [], {"differences": len(differences)}
    top = float(np.linalg.norm(differences, axis=1).max())
    vectors, _ = fft3d_vectors(differences, choose_grid(longest, 1.0 / top))
    chosen = choose(sharpen(vectors, differences), params.min_cell_A, LONGEST * longest)
    fits, counts = combine.cells(chosen, differences, params.tolerance, START * top)
    return [f.A for f in fits], {"differences": len(differences), **counts}


def neighbour_differences(points: Points) -> Floats:
    """(m, 3) 1/A: differences of each point and its 12 nearest of the same sweep and of nearly the same angle."""
    found = []
    for sweep in np.unique(points.sweep):
        mine = np.flatnonzero(points.sweep == sweep)
        k = min(NEIGHBOURS + 1, len(mine))
        near = np.asarray(cKDTree(points.r[mine]).query(points.r[mine], k=k)[1]).reshape(len(mine), k)
        a, b = np.repeat(mine, k - 1), mine[near[:, 1:].ravel()]
        keep = (a < b) & (np.abs(points.angle_rad[a] - points.angle_rad[b]) < MAX_ANGLE_RAD)
        found.append(points.r[a[keep]] - points.r[b[keep]])
    differences = np.concatenate(found) if found else np.zeros((0, 3))
    differences = differences[np.linalg.norm(differences, axis=1) > 1e-6]
    if len(differences) > MAX_DIFFERENCES:
        differences = differences[np.linspace(0, len(differences) - 1, MAX_DIFFERENCES).astype(np.int64)]
    return np.ascontiguousarray(differences)


def _best_shift(
    sweeps: Sequence[Sweep], points: Points, A: Floats, reach_mm: float
) -> tuple[float, tuple[float, float], int]:
    """Score (0..1), shift (fast, slow) mm of the beam centre, and positions tried."""
    start, along_fast, along_slow = _linear(sweeps, points, A)
    step = STEP / max(float(np.abs(along_fast).max()), float(np.abs(along_slow).max()), 1e-9)
    step = max(step, reach_mm / MAX_STEPS)
    n = int(np.ceil(reach_mm / step))
    grid = np.arange(-n, n + 1) * step
    scores = np.empty((len(grid), len(grid)))
    shift_scores_fast(start, along_fast, along_slow, grid, grid, scores)
    tried = scores.size
    i, j = np.unravel_index(int(np.argmax(scores)), scores.shape)
    fast, slow, best = float(grid[i]), float(grid[j]), float(scores[i, j])
    for _ in range(5):
        step *= 0.5
        x, y = fast + step * np.arange(-1, 2), slow + step * np.arange(-1, 2)
        small = np.empty((3, 3))
        shift_scores_fast(start, along_fast, along_slow, x, y, small)
        tried += small.size
        i, j = np.unravel_index(int(np.argmax(small)), small.shape)
        fast, slow, best = float(x[i]), float(y[j]), float(small[i, j])
    return best, (fast, slow), tried


def _linear(sweeps: Sequence[Sweep], points: Points, A: Floats) -> tuple[Floats, Floats, Floats]:
    """Fractional indices (n, 3) of a thinned set of points and their changes per mm of shift along fast and slow."""
    size = 0.5  # mm
    low = np.argsort(points.d_star, kind="stable")[: max(int(LOW_SHARE * len(points)), 50)]
    thin = np.sort(low)[np.linspace(0, len(low) - 1, min(len(low), MAX_POINTS)).astype(np.int64)]
    inverse = np.linalg.inv(A)

    def indices(shift: tuple[float, float]) -> Floats:
        moved = map_sweeps([(spots, shifted(geometry, shift)) for spots, geometry in sweeps])
        return np.ascontiguousarray(np.einsum("ij,nj->ni", inverse, moved.r[thin]))

    start = indices((0.0, 0.0))
    return start, (indices((size, 0.0)) - start) / size, (indices((0.0, size)) - start) / size
