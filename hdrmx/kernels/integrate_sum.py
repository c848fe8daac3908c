"""Background and summation of closed boxes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.integrate_background import TABLE, mean_background
from hdrmx.kernels.integrate_collect import COUNT, OVERLAPPED, UNUSABLE

# columns of the results
TOTAL, N_FOREGROUND, N_VALID, N_OVERLAPPED, BACKGROUND, BACKGROUND_VARIANCE, N_BACKGROUND = range(7)
N_BACKGROUND_BAD, N_BACKGROUND_OVERLAPPED, STEPS, FRAME, SLOW, FAST, PEAK = range(7, 14)
COLUMNS = 14


@njit(cache=True, nogil=True)
def sum_boxes(
    begin: int,
    end: int,
    box: npt.NDArray[np.int32],
    pixel_at: npt.NDArray[np.int64],
    voxel_at: npt.NDArray[np.int64],
    foreground: npt.NDArray[np.uint8],
    voxels: npt.NDArray[np.int32],
    kind: int,
    shares: bool,
    room: npt.NDArray[np.int64],
    out: npt.NDArray[np.float64],
) -> None:
    """Fill `out` (n, COLUMNS) for the boxes begin:end.

    Parameters
    ----------
    kind : of background, as `mean_background` takes it
    shares : use background pixels that neighbours cover
    room : work space: TABLE + 3 * (pixels of the largest box) + its voxels

    Notes
    -----
    FRAME, SLOW and FAST are the centroid of the foreground less background; NaN where nothing is left.
    """
    tally = room[:TABLE]
    for i in range(begin, end):
        n_fast, n_frames = box[i, 5] - box[i, 4], box[i, 1] - box[i, 0]
        area = (box[i, 3] - box[i, 2]) * n_fast
        inside, outside = room[TABLE : TABLE + area], room[TABLE + area : TABLE + 2 * area]
        columns, large = room[TABLE + 2 * area : TABLE + 3 * area], room[TABLE + 3 * area :]
        n_inside, n_outside = split(foreground[pixel_at[i] : pixel_at[i] + area], inside, outside)
        row, mine = out[i], voxels[voxel_at[i] : voxel_at[i] + area * n_frames]
        row[:] = 0.0
        tally[:] = 0
        n_large = _tally(mine, area, outside[:n_outside], shares, tally, large, row)
        if row[N_BACKGROUND] > 0:
            b, variance, steps = mean_background(tally, large, n_large, kind)
            row[BACKGROUND], row[BACKGROUND_VARIANCE], row[STEPS] = b, variance, steps
        _add_up(mine, area, inside[:n_inside], n_fast, columns, row)
        for axis in range(3):
            centre = row[FRAME + axis] + 0.5
            longest = box[i, 2 * axis + 1] - box[i, 2 * axis]
            row[FRAME + axis] = box[i, 2 * axis] + centre if 0 <= centre <= longest else np.nan


@njit(cache=True, nogil=True)
def split(
    foreground: npt.NDArray[np.uint8], inside: npt.NDArray[np.int64], outside: npt.NDArray[np.int64]
) -> tuple[int, int]:
    """List the pixels of the foreground and the others; returns how many they are."""
    n_inside, n_outside = 0, 0
    for k in range(len(foreground)):
        inside[n_inside] = k
        outside[n_outside] = k
        n_inside += foreground[k]
        n_outside += 1 - foreground[k]
    return n_inside, n_outside


@njit(cache=True, nogil=True)
def _tally(
    voxels: npt.NDArray[np.int32],
    area: int,
    outside: npt.NDArray[np.int64],
    shares: bool,
    tally: npt.NDArray[np.int64],
    large: npt.NDArray[np.int64],
    row: npt.NDArray[np.float64],
) -> int:
    """Count the background's counts; returns the number of those of TABLE and more, which are listed."""
    n_large, n_bad, n_shared = 0, 0, 0
    for begin in range(0, len(voxels), area):
        for k in outside:
            voxel = voxels[begin + k]
            if 0 <= voxel < TABLE:
                tally[voxel] += 1
            elif voxel == UNUSABLE:
                n_bad += 1
            elif voxel & OVERLAPPED and not shares:
                n_shared += 1
            elif voxel & COUNT < TABLE:
                tally[voxel & COUNT] += 1
            else:
                large[n_large] = voxel & COUNT
                n_large += 1
    row[N_BACKGROUND_BAD], row[N_BACKGROUND_OVERLAPPED] = n_bad, n_shared
    row[N_BACKGROUND] = len(voxels) // area * len(outside) - n_bad - n_shared
    return n_large


@njit(cache=True, nogil=True)
def _add_up(
    voxels: npt.NDArray[np.int32],
    area: int,
    inside: npt.NDArray[np.int64],
    n_fast: int,
    columns: npt.NDArray[np.int64],
    row: npt.NDArray[np.float64],
) -> None:
    """Sums over the foreground, and its centroid from the box's first corner, in FRAME, SLOW, FAST."""
    total, n_valid, n_shared, peak, along = 0, 0, 0, 0, 0.0
    b = row[BACKGROUND]
    for j in range(len(inside)):
        columns[j] = 0
    missing_slow, missing_fast, z = 0.0, 0.0, 0
    for begin in range(0, len(voxels), area):
        before, valid = total, n_valid
        for j in range(len(inside)):
            voxel = voxels[begin + inside[j]]
            if voxel == UNUSABLE:
                missing_slow += b * (inside[j] // n_fast)
                missing_fast += b * (inside[j] % n_fast)
                continue
            count = voxel & COUNT
            n_shared += voxel >> 30
            n_valid += 1
            total += count
            columns[j] += count
            peak = max(peak, count)
        along += z * (total - before - b * (n_valid - valid))
        z += 1
    slow, fast = missing_slow, missing_fast
    for j in range(len(inside)):
        net = columns[j] - b * z
        slow += net * (inside[j] // n_fast)
        fast += net * (inside[j] % n_fast)
    net = total - b * n_valid
    row[TOTAL], row[N_FOREGROUND], row[N_VALID], row[N_OVERLAPPED] = total, z * len(inside), n_valid, n_shared
    row[PEAK] = peak
    row[FRAME] = along / net if net > 0 else np.nan
    row[SLOW] = slow / net if net > 0 else np.nan
    row[FAST] = fast / net if net > 0 else np.nan
