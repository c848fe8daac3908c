"""Intensities by profile fitting: the foreground of a box laid out in a row, then weighted least squares over it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.integrate_collect import COUNT, OVERLAPPED, UNUSABLE
from hdrmx.kernels.integrate_profile import MOST_DEPTHS, depths, frame_shares, shifts, spread
from hdrmx.kernels.integrate_sum import BACKGROUND, BACKGROUND_VARIANCE

# columns of the results
VALUE, VARIANCE_B, VARIANCE_I, FRACTION, FOREGROUND_FRACTION, CORRELATION, ITERATIONS, BACKGROUND_USED = range(8)
COLUMNS = 8

MOST_ITERATIONS = 20
CONVERGED = 1e-4
STRONG = 5.0  # excess over what is expected, in sigmas, from which on a reflection is weighted by its own intensity
_TINY = 1e-12

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def fit_boxes(
    rows: Longs,
    lay: Floats,
    box: Ints,
    inner: Ints,
    pixel_at: Longs,
    voxel_at: Longs,
    foreground: npt.NDArray[np.uint8],
    voxels: Ints,
    sums: Floats,
    frame: Floats,
    per_frame: Floats,
    expected: Floats,
    cell: Longs,
    across: Floats,
    along: Floats,
    points: int,
    shares: bool,
    room: Floats,
    lines: Floats,
    index: Longs,
    out: Floats,
) -> None:
    """Fit profiles to the foreground of the boxes `rows`; `out` (n, COLUMNS), VALUE NaN where nothing can be fitted.

    Parameters
    ----------
    sums : of `sum_boxes`
    per_frame : (n,) eps3 / sigma_m of a frame
    expected : (n,) intensity that weights a reflection unless it is much stronger
    cell : (n,) which of the profiles `across` (cells, NODES * NODES) and `along` (cells, BINS)
    shares : use pixels that neighbours cover, too
    room, lines, index : work space: pixels and frames of the largest box and twice its voxels; `spread`'s; its pixels

    Notes
    -----
    I = sum(w p (c - b)) / sum(w p^2), w = 1 / (b + J p), with the expected intensity for J: linear in the counts,
    so unbiased however few they are. Only where I exceeds J by STRONG standard deviations is J = I, iterated.
    Its variance is VARIANCE_B + I * VARIANCE_I with the true I. The part of a strong reflection that falls on the
    background's pixels is taken off the background.
    """
    depth, shift, nothing = np.empty((3, MOST_DEPTHS)), np.empty((2, MOST_DEPTHS), np.int32), np.empty((0, 0))
    for i in rows:
        n_frames, area = box[i, 1] - box[i, 0], (box[i, 3] - box[i, 2]) * (box[i, 5] - box[i, 4])
        n = n_frames * area
        part, slices = room[:area], room[area : area + n_frames]
        p, y = room[area + n_frames : area + n_frames + n], room[area + n_frames + n :]
        n_depths = depths(lay[i], points, depth)
        shifts(depth, n_depths, points, shift)
        spread(across[cell[i]], lay[i], depth, shift, n_depths, points, box[i], inner[i], lines, part)
        frame_shares(box[i, 0], n_frames, frame[i], per_frame[i], along[cell[i]], slices, nothing)
        inside, n_inside = 0.0, 0
        for k in range(area):
            if foreground[pixel_at[i] + k]:
                inside += part[k]
                part[n_inside] = part[k]
                index[n_inside] = k
                n_inside += 1
        within = 0.0
        for z in range(n_frames):
            within += slices[z]
        row = out[i]
        row[:] = 0.0
        row[VALUE], row[FOREGROUND_FRACTION] = np.nan, inside * within
        mine = voxels[voxel_at[i] : voxel_at[i] + n]
        n_used = _lay_out(mine, area, index[:n_inside], part, slices, shares, p, y)
        outside = n_frames * (area - n_inside)
        leak = max(1.0 - inside, 0.0) * within / max(outside, 1)
        b, variance_b = sums[i, BACKGROUND], sums[i, BACKGROUND_VARIANCE]
        _fit(p[:n_used], y[:n_used], b, variance_b, expected[i], leak, row)
        row[CORRELATION] = correlation(p[:n_used], y[:n_used]) if row[VALUE] == row[VALUE] else np.nan


@njit(cache=True, nogil=True)
def _lay_out(
    voxels: Ints, area: int, index: Longs, part: Floats, slices: Floats, shares: bool, p: Floats, y: Floats
) -> int:
    """The usable voxels of the foreground's pixels, one after another: profile p and count y; returns their number."""
    n = 0
    hidden = np.int32(0) if shares else np.int32(OVERLAPPED)
    for z in range(len(voxels) // area):
        begin, height = z * area, slices[z]
        for j in range(len(index)):
            voxel = voxels[begin + index[j]]
            p[n] = part[j] * height
            y[n] = voxel & COUNT
            n += (voxel != UNUSABLE) & ((voxel & hidden) == 0)
    return n


@njit(cache=True, nogil=True)
def _fit(p: Floats, y: Floats, b: float, variance_b: float, expected: float, leak: float, row: Floats) -> None:
    """Fill a row of results; `leak` is the part of the reflection on each of the background's voxels."""
    weighted_by, is_strong = expected, False
    row[BACKGROUND_USED] = b
    for iteration in range(MOST_ITERATIONS):
        wxy, wxx, w1, ww, wwp, used = moments(p, y, b, weighted_by)
        if not wxx > 0:
            break
        value = wxy / wxx
        row[VALUE], row[FRACTION], row[ITERATIONS] = value, used, iteration + 1
        row[VARIANCE_B] = (b * ww) / wxx**2 + (w1 / wxx) ** 2 * variance_b
        row[VARIANCE_I] = wwp / wxx**2
        deviation = math.sqrt(row[VARIANCE_B] + max(weighted_by, 0.0) * row[VARIANCE_I])
        if not is_strong and value <= weighted_by + STRONG * deviation:
            break
        if is_strong and abs(value - weighted_by) <= CONVERGED * value:
            break
        if not is_strong:
            is_strong = True
            b = max(b - value * leak, 0.0)
            row[BACKGROUND_USED] = b
        weighted_by = max(value, _TINY)


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def moments(p: Floats, y: Floats, b: float, amount: float) -> tuple[float, float, float, float, float, float]:
    """With w = p / (b + amount p): sums of w (y - b), w p, w, w^2, w^2 p, and p."""
    wxy, wxx, w1, ww, wwp, used = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    base = b + _TINY
    for k in range(len(p)):
        w = p[k] / (base + amount * p[k])
        wp = w * p[k]
        wxy += w * (y[k] - b)
        wxx += wp
        w1 += w
        ww += w * w
        wwp += w * wp
        used += p[k]
    return wxy, wxx, w1, ww, wwp, used


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def correlation(p: Floats, y: Floats) -> float:
    """Pearson's, 0 where one of them doesn't vary."""
    n, sx, sy, sxx, syy, sxy = len(p), 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(p)):
        sx += p[k]
        sy += y[k]
        sxx += p[k] * p[k]
        syy += y[k] * y[k]
        sxy += p[k] * y[k]
    spread_ = (n * sxx - sx * sx) * (n * syy - sy * sy)
    return (n * sxy - sx * sy) / math.sqrt(spread_) if spread_ > 0 else 0.0
