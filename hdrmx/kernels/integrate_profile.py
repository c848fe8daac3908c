"""Reference profiles learned from boxes, and fitted to them.

A profile is a density over eps1, eps2 (nodes of a square grid, linear in between) times one over eps3 (bins), in units
of sigma_b and sigma_m; its weights add up to 1. What a pixel catches of it is its integral over the pixel, by a
grid of points within it; what a frame catches is exact. The boxes are those of `integrate_collect`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.integrate_collect import COUNT, OVERLAPPED, UNUSABLE, corner_angles
from hdrmx.kernels.integrate_sum import BACKGROUND, BACKGROUND_VARIANCE

STEP, REACH = 0.5, 5.0  # of the grid, in sigma_b
NODES = int(2 * REACH / STEP) + 1
BIN = 0.5  # in sigma_m
BINS = int(2 * REACH / BIN)

# columns of the results of fits
VALUE, VARIANCE_B, VARIANCE_I, FRACTION, FOREGROUND_FRACTION, CORRELATION, ITERATIONS, BACKGROUND_USED = range(8)
COLUMNS = 8

MOST_ITERATIONS = 20
CONVERGED = 1e-4
STRONG = 5.0  # excess over what is expected, in sigmas, from which on a reflection is weighted by its own intensity
_TINY = 1e-12

Floats = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def _pixel_share(
    eps1: Floats, eps2: Floats, c: int, stride: int, scale: float, points: int, weights: Floats, share: Floats
) -> float:
    """Fraction of a profile on the pixel whose first corner is c.

    `weights` (NODES * NODES,); `share`, where it has a length, gains each node's part of the pixel (points of the
    grid on it), so that the fraction is share . weights.
    """
    x0, y0 = eps1[c] * scale + REACH, eps2[c] * scale + REACH
    ax, ay = (eps1[c + 1] - eps1[c]) * scale, (eps2[c + 1] - eps2[c]) * scale
    bx, by = (eps1[c + stride] - eps1[c]) * scale, (eps2[c + stride] - eps2[c]) * scale
    per_point = abs(ax * by - ay * bx) / (points * points * STEP * STEP)
    result = 0.0
    for i in range(points):
        u = (i + 0.5) / points
        for j in range(points):
            v = (j + 0.5) / points
            x, y = (x0 + u * ax + v * bx) / STEP, (y0 + u * ay + v * by) / STEP
            if not (0.0 <= x < NODES - 1 and 0.0 <= y < NODES - 1):
                continue
            m, n = int(x), int(y)
            fx, fy = x - m, y - n
            g = n * NODES + m
            w00, w01 = (1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx
            w10, w11 = fy * (1.0 - fx), fy * fx
            result += w00 * weights[g] + w01 * weights[g + 1] + w10 * weights[g + NODES] + w11 * weights[g + NODES + 1]
            if len(share):
                share[g] += w00 * per_point
                share[g + 1] += w01 * per_point
                share[g + NODES] += w10 * per_point
                share[g + NODES + 1] += w11 * per_point
    return result * per_point


@njit(cache=True, nogil=True)
def frame_shares(
    first: int, n: int, frame: float, per_frame: float, weights: Floats, out: Floats, shares: Floats
) -> None:
    """Fraction of a profile in each of n frames from `first` on; `per_frame` is eps3 / sigma_m of a frame, above 0.

    `shares` (n, BINS), where it has rows, is set to each bin's part in each frame.
    """
    for z in range(n):
        begin = ((first + z - frame) * per_frame + REACH) / BIN
        end = begin + per_frame / BIN
        out[z] = 0.0
        if len(shares):
            shares[z, :] = 0.0
        for g in range(max(math.floor(begin), 0), min(math.ceil(end), BINS)):
            part = min(end, g + 1.0) - max(begin, float(g))
            if part > 0:
                out[z] += part * weights[g]
                if len(shares):
                    shares[z, g] = part


@njit(cache=True, nogil=True)
def learn_across(
    rows: npt.NDArray[np.int64],
    ray: Floats,
    box: npt.NDArray[np.int32],
    pixel_at: npt.NDArray[np.int64],
    voxel_at: npt.NDArray[np.int64],
    foreground: npt.NDArray[np.uint8],
    voxels: npt.NDArray[np.int32],
    sigma_b: float,
    points: int,
    intensity: Floats,
    background: Floats,
    weights: Floats,
    eps1: Floats,
    eps2: Floats,
    gained: Floats,
    exposed: Floats,
) -> None:
    """One step of expectation and maximisation over the reflections `rows`, for the profile over eps1, eps2.

    Counts summed over a box's frames are Poisson with mean n b + I p. Adds to `gained` the intensity ascribed to each
    node, and to `exposed` what would be gained by a node of weight 1; also betters `intensity` and `background` (of a
    voxel) of each row, given in the order of `rows`.
    """
    share = np.zeros(NODES * NODES)
    for r in range(len(rows)):
        i = rows[r]
        n_frames = box[i, 1] - box[i, 0]
        n_slow, n_fast = box[i, 3] - box[i, 2], box[i, 5] - box[i, 4]
        area = n_slow * n_fast
        corner_angles(ray[i], box[i, 2], box[i, 4], n_slow, n_fast, eps1, eps2)
        amount, base = intensity[r], background[r] * n_frames
        from_profile, from_base, caught, n_pixels = 0.0, 0.0, 0.0, 0
        for y in range(n_slow):
            for x in range(n_fast):
                k = y * n_fast + x
                count, is_whole = 0, True
                for z in range(n_frames):
                    voxel = voxels[voxel_at[i] + z * area + k]
                    if voxel == UNUSABLE or voxel & OVERLAPPED:
                        is_whole = False
                        break
                    count += voxel
                if not is_whole:
                    continue
                c = y * (n_fast + 1) + x
                p = _pixel_share(eps1, eps2, c, n_fast + 1, 1.0 / sigma_b, points, weights, share)
                ratio = count / (base + amount * p + _TINY)
                n_pixels += 1
                caught += p
                from_profile += ratio * p
                from_base += ratio
                if p > 0:
                    _pour(eps1, eps2, c, n_fast + 1, sigma_b, amount, ratio, weights, share, gained, exposed)
        if caught > 0:
            intensity[r] = amount * from_profile / caught
        if n_pixels > 0:
            background[r] *= from_base / n_pixels


@njit(cache=True, nogil=True)
def _pour(
    eps1: Floats,
    eps2: Floats,
    c: int,
    stride: int,
    sigma_b: float,
    amount: float,
    ratio: float,
    weights: Floats,
    share: Floats,
    gained: Floats,
    exposed: Floats,
) -> None:
    """Empty `share`, which one pixel has filled, into `gained` and `exposed`."""
    low_x, high_x, low_y, high_y = math.inf, -math.inf, math.inf, -math.inf
    for corner in (c, c + 1, c + stride, c + stride + 1):
        low_x, high_x = min(low_x, eps1[corner]), max(high_x, eps1[corner])
        low_y, high_y = min(low_y, eps2[corner]), max(high_y, eps2[corner])
    m0, m1 = int((low_x / sigma_b + REACH) / STEP) - 1, int((high_x / sigma_b + REACH) / STEP) + 2
    n0, n1 = int((low_y / sigma_b + REACH) / STEP) - 1, int((high_y / sigma_b + REACH) / STEP) + 2
    for n in range(max(n0, 0), min(n1, NODES - 1) + 1):
        for m in range(max(m0, 0), min(m1, NODES - 1) + 1):
            g = n * NODES + m
            if share[g] > 0:
                exposed[g] += amount * share[g]
                gained[g] += amount * share[g] * ratio * weights[g]
                share[g] = 0.0


@njit(cache=True, nogil=True)
def learn_along(
    rows: npt.NDArray[np.int64],
    box: npt.NDArray[np.int32],
    pixel_at: npt.NDArray[np.int64],
    voxel_at: npt.NDArray[np.int64],
    foreground: npt.NDArray[np.uint8],
    voxels: npt.NDArray[np.int32],
    frame: Floats,
    per_frame: Floats,
    background: Floats,
    weights: Floats,
    gained: Floats,
    exposed: Floats,
) -> None:
    """As `learn_across`, for the profile over eps3, from the counts of the foreground in each frame."""
    longest = 1
    for i in rows:
        longest = max(longest, box[i, 1] - box[i, 0])
    share, shares, counts = np.zeros(longest), np.zeros((longest, BINS)), np.zeros(longest)
    for r in range(len(rows)):
        i = rows[r]
        n_frames, area = box[i, 1] - box[i, 0], (box[i, 3] - box[i, 2]) * (box[i, 5] - box[i, 4])
        frame_shares(box[i, 0], n_frames, frame[i], per_frame[i], weights, share, shares)
        n_pixels, total, caught = 0, 0.0, 0.0
        for k in range(area):
            n_pixels += foreground[pixel_at[i] + k]
        base = background[r] * n_pixels
        for z in range(n_frames):
            counts[z] = 0.0
            for k in range(area):
                voxel = voxels[voxel_at[i] + z * area + k]
                if foreground[pixel_at[i] + k] and voxel != UNUSABLE:
                    counts[z] += voxel & COUNT
            total += counts[z] - base
            caught += share[z]
        amount = max(total, 0.0) / max(caught, 0.1)
        for z in range(n_frames):
            ratio = counts[z] / (base + amount * share[z] + _TINY)
            for g in range(BINS):
                exposed[g] += amount * shares[z, g]
                gained[g] += amount * shares[z, g] * ratio * weights[g]


@njit(cache=True, nogil=True)
def fit_boxes(
    rows: npt.NDArray[np.int64],
    ray: Floats,
    box: npt.NDArray[np.int32],
    pixel_at: npt.NDArray[np.int64],
    voxel_at: npt.NDArray[np.int64],
    foreground: npt.NDArray[np.uint8],
    voxels: npt.NDArray[np.int32],
    sums: Floats,
    frame: Floats,
    per_frame: Floats,
    expected: Floats,
    cell: npt.NDArray[np.int64],
    across: Floats,
    along: Floats,
    sigma_b: float,
    points: int,
    shares: bool,
    eps1: Floats,
    eps2: Floats,
    part: Floats,
    slice_part: Floats,
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
    eps1, eps2, part, slice_part : work space for the largest box: its corners, pixels, frames

    Notes
    -----
    I = sum(w p (c - b)) / sum(w p^2), w = 1 / (b + J p), with the expected intensity for J: linear in the counts,
    so unbiased however few they are. Only where I exceeds J by STRONG standard deviations is J = I, iterated.
    Its variance is VARIANCE_B + I * VARIANCE_I with the true I. The part of a strong reflection that falls on the
    background's pixels is taken off the background.
    """
    nothing = np.empty(0)
    for i in rows:
        n_frames = box[i, 1] - box[i, 0]
        n_slow, n_fast = box[i, 3] - box[i, 2], box[i, 5] - box[i, 4]
        area = n_slow * n_fast
        mine = foreground[pixel_at[i] : pixel_at[i] + area]
        corner_angles(ray[i], box[i, 2], box[i, 4], n_slow, n_fast, eps1, eps2)
        frame_shares(box[i, 0], n_frames, frame[i], per_frame[i], along[cell[i]], slice_part, np.empty((0, 0)))
        inside, within = 0.0, 0.0
        for k in range(area):
            if mine[k]:
                c = (k // n_fast) * (n_fast + 1) + k % n_fast
                part[k] = _pixel_share(eps1, eps2, c, n_fast + 1, 1.0 / sigma_b, points, across[cell[i]], nothing)
                inside += part[k]
        for z in range(n_frames):
            within += slice_part[z]
        row, b, variance_b = out[i], sums[i, BACKGROUND], sums[i, BACKGROUND_VARIANCE]
        row[:] = 0.0
        row[VALUE], row[CORRELATION] = np.nan, np.nan
        row[FOREGROUND_FRACTION], row[BACKGROUND_USED] = inside * within, b
        weighted_by, is_strong = expected[i], False
        for iteration in range(MOST_ITERATIONS):
            wxy, wxx, w1, ww, wwp, used = _moments(
                voxels[voxel_at[i] : voxel_at[i] + n_frames * area],
                mine,
                part,
                slice_part,
                n_frames,
                b,
                weighted_by,
                shares,
            )
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
                outside = 0.0
                for k in range(area):
                    if not mine[k]:
                        c = (k // n_fast) * (n_fast + 1) + k % n_fast
                        outside += _pixel_share(
                            eps1, eps2, c, n_fast + 1, 1.0 / sigma_b, points, across[cell[i]], nothing
                        )
                leak = outside * within / max(n_frames * (area - mine.sum()), 1)
                b = max(b - value * leak, 0.0)
                row[BACKGROUND_USED] = b
            weighted_by = max(value, _TINY)
        if row[VALUE] == row[VALUE]:
            row[CORRELATION] = _correlation(
                voxels[voxel_at[i] : voxel_at[i] + n_frames * area], mine, part, slice_part, n_frames, b, shares
            )


@njit(cache=True, nogil=True)
def _moments(
    voxels: npt.NDArray[np.int32],
    mine: npt.NDArray[np.uint8],
    part: Floats,
    slice_part: Floats,
    n_frames: int,
    b: float,
    amount: float,
    shares: bool,
) -> tuple[float, float, float, float, float, float]:
    """Over the usable foreground, with w = p / (b + amount p): sums of w (c - b), w p, w, w^2, w^2 p, and p."""
    wxy, wxx, w1, ww, wwp, used = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    area = len(mine)
    for z in range(n_frames):
        for k in range(area):
            if not mine[k]:
                continue
            voxel = voxels[z * area + k]
            p = part[k] * slice_part[z]
            if voxel == UNUSABLE or p < _TINY or (voxel & OVERLAPPED and not shares):
                continue
            w = p / (b + amount * p + _TINY)
            wxy += w * ((voxel & COUNT) - b)
            wxx += w * p
            w1 += w
            ww += w * w
            wwp += w * w * p
            used += p
    return wxy, wxx, w1, ww, wwp, used


@njit(cache=True, nogil=True)
def _correlation(
    voxels: npt.NDArray[np.int32],
    mine: npt.NDArray[np.uint8],
    part: Floats,
    slice_part: Floats,
    n_frames: int,
    b: float,
    shares: bool,
) -> float:
    n, sx, sy, sxx, syy, sxy = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    area = len(mine)
    for z in range(n_frames):
        for k in range(area):
            voxel = voxels[z * area + k]
            if not mine[k] or voxel == UNUSABLE or (voxel & OVERLAPPED and not shares):
                continue
            x, y = part[k] * slice_part[z], (voxel & COUNT) - b
            n += 1
            sx += x
            sy += y
            sxx += x * x
            syy += y * y
            sxy += x * y
    spread = (n * sxx - sx * sx) * (n * syy - sy * sy)
    return (n * sxy - sx * sy) / math.sqrt(spread) if spread > 0 else 0.0
