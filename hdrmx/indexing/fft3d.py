"""Candidate lattice vectors from a three-dimensional Fourier transform of the reciprocal-space points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from hdrmx.indexing.reciprocal import Floats

GRID = 256
REACH = 5.0  # the grid resolves max_cell by n / REACH points, so that it spans 2.5 times max_cell
DAMPING = -4.0 * np.log(0.05)  # B factor in units of d_min^2: a point at the limit weighs 0.05
PEAK_RMS = 8.0  # a peak stands this many rms over zero
PEAK_SHARE = 0.04  # or has this share of the origin's height: few grid points make the rms one of the peaks themselves
MAX_PEAKS = 200
MAX_POINTS = 20000  # of the map that are looked at as peaks

Map = npt.NDArray[np.float32]


class Grid(NamedTuple):
    """A cube of n^3 points of reciprocal space, (0, 0, 0) at index 0, negative indices wrapped round."""

    n: int
    d_min: float  # A; points of higher resolution are left out
    spacing: float  # 1/A

    @property
    def real_spacing(self) -> float:
        """A, between points of the transformed grid."""
        return 1.0 / (self.n * self.spacing)


def choose_grid(max_cell: float, d_min: float | None = None, n: int = GRID) -> Grid:
    """The grid for edges up to `max_cell` (A): resolution limit 5 max_cell / n, or the coarser one given.

    A coarser limit needs fewer points for the same span of real space: n is then the next good size for the
    transform at or above 5 max_cell / d_min, at least 64.
    """
    finest = REACH * max_cell / n
    limit = finest if d_min is None else max(finest, d_min)
    points = min(n, max(64, 2 * scipy.fft.next_fast_len(int(np.ceil(0.5 * REACH * max_cell / limit)), real=True)))
    return Grid(points, limit, 2.0 / (limit * points))


def fft3d_vectors(r: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """Peaks of the transform of the points r (n, 3) as vectors, strongest first.

    Each point adds exp(-B |r|^2 / 4) to its nearest grid point; the square of the real part of the transform
    is searched for maxima. Of each pair v, -v one is given.

    Returns
    -------
    vectors : (m, 3) A, m <= 200, without the zero vector
    heights : (m,) in units of the map's rms

    Notes
    -----
    Time ~ n^3 log n + points, memory ~ 16 n^3 bytes at most (n = 256: 200 MB), whatever the number of points.
    After Steller, Bolotovsky & Rossmann (1997) J. Appl. Cryst. 30, 1036-1040, in three dimensions as in DIALS.
    """
    density = grid_points(r, grid)
    transform = scipy.fft.rfftn(density, overwrite_x=True, workers=1)
    del density
    power = np.square(transform.real)
    del transform
    return _peaks(power, grid)


def grid_points(r: Floats, grid: Grid) -> Map:
    """(n, n, n) float32: the sum of the weights of the points nearest to each grid point."""
    length2 = np.einsum("ij,ij->i", r, r)
    index = np.rint(r / grid.spacing).astype(np.int64)
    inside = (length2 <= 1.0 / grid.d_min**2) & (np.abs(index) < grid.n // 2).all(axis=1)
    weight = np.exp(-DAMPING * grid.d_min**2 * length2[inside] / 4.0)
    flat = np.ravel_multi_index(tuple((index[inside] % grid.n).T), (grid.n,) * 3)
    density = np.zeros(grid.n**3, np.float32)
    np.add.at(density, flat, weight.astype(np.float32))
    return density.reshape((grid.n,) * 3)


def _peaks(power: Map, grid: Grid) -> tuple[Floats, Floats]:
    """Local maxima of the half map (n, n, n/2 + 1), refined by a parabola along each axis."""
    rms = float(np.sqrt(np.mean(np.square(power, dtype=np.float32), dtype=np.float64)))
    if rms == 0.0:
        return np.zeros((0, 3)), np.zeros(0)
    n = grid.n
    where = np.flatnonzero(power.ravel() > min(PEAK_RMS * rms, PEAK_SHARE * float(power[0, 0, 0])))
    if len(where) > MAX_POINTS:  # spots without order: the highest points will do
        height = power.ravel()[where]
        where = where[height >= np.partition(height, -MAX_POINTS)[-MAX_POINTS]]
    index = np.array(np.unravel_index(where, power.shape)).T
    # the last plane has no upper neighbour in the half map, and the first none below: v and -v mirror
    index = index[index[:, 2] < n // 2]
    centre = power[tuple(index.T)]
    is_peak = np.ones(len(index), bool)
    for shift in np.ndindex(3, 3, 3):
        step = np.array(shift) - 1
        if not step.any():
            continue
        other = _at(power, index + step)
        # ties go to the first in the order of the map
        is_peak &= centre >= other if tuple(step) > (0, 0, 0) else centre > other
    index, centre = index[is_peak], centre[is_peak]
    keep = _one_of_each_pair(index, n)
    index, centre = index[keep], centre[keep]
    position = index + _parabola(power, index)
    position = np.where(position >= n / 2, position - n, position)
    order = np.lexsort((*position.T, -centre))[:MAX_PEAKS]
    return position[order] * grid.real_spacing, centre[order].astype(float) / rms


def _at(power: Map, index: npt.NDArray[np.int64]) -> Map:
    """Values at any indices, through the symmetry P(-v) = P(v)."""
    n = power.shape[0]
    index = index % n
    mirrored = index[:, 2] > n // 2
    index = np.where(mirrored[:, None], -index % n, index)
    return power[tuple(index.T)]


def _one_of_each_pair(index: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.bool_]:
    """False for the zero vector, and in the plane where v and -v both stand, for one of them."""
    signed = np.where(index > n // 2, index - n, index)
    in_plane = index[:, 2] == 0
    first = (signed[:, 0] > 0) | ((signed[:, 0] == 0) & (signed[:, 1] > 0))
    return ~in_plane | first


def _parabola(power: Map, index: npt.NDArray[np.int64]) -> Floats:
    """(m, 3) grid steps from a maximum to the top of the parabola through it and its neighbours on each axis."""
    centre = power[tuple(index.T)].astype(float)
    shift = np.zeros(index.shape)
    for axis in range(3):
        step = np.eye(3, dtype=np.int64)[axis]
        below, above = _at(power, index - step).astype(float), _at(power, index + step).astype(float)
        curvature = below - 2.0 * centre + above
        top = 0.5 * (below - above) / np.where(curvature < 0, curvature, -1.0)
        shift[:, axis] = np.clip(np.where(curvature < 0, top, 0.0), -0.5, 0.5)
    return shift
