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
    tally: npt.NDArray[np.int64],
    large: npt.NDArray[np.int64],
    out: npt.NDArray[np.float64],
) -> None:
    """Fill `out` (n, COLUMNS) for the boxes begin:end.

    Parameters
    ----------
    kind : of background, as `mean_background` takes it
    shares : use background pixels that neighbours cover
    tally, large : work space: TABLE, and as many as the largest box has voxels

    Notes
    -----
    FRAME, SLOW and FAST are the centroid of the foreground less background; NaN where nothing is left.
    """
    sums = np.zeros(6)  # of the foreground's places along frame, slow, fast: weighted by count, then by 1
    for i in range(begin, end):
        n_slow, n_fast = box[i, 3] - box[i, 2], box[i, 5] - box[i, 4]
        tally[:] = 0
        row = out[i]
        row[:] = 0.0
        n_large = 0
        sums[:] = 0.0
        v = voxel_at[i]
        for z in range(box[i, 1] - box[i, 0]):
            k = pixel_at[i]
            for y in range(n_slow):
                for x in range(n_fast):
                    voxel = voxels[v]
                    mine = foreground[k]
                    v += 1
                    k += 1
                    if mine:
                        row[N_FOREGROUND] += 1
                        if voxel == UNUSABLE:
                            continue
                        count = voxel & COUNT
                        row[N_VALID] += 1
                        row[TOTAL] += count
                        row[PEAK] = max(row[PEAK], count)
                        if voxel & OVERLAPPED:
                            row[N_OVERLAPPED] += 1
                        sums[0] += count * z
                        sums[1] += count * y
                        sums[2] += count * x
                        sums[3] += z
                        sums[4] += y
                        sums[5] += x
                    elif voxel == UNUSABLE:
                        row[N_BACKGROUND_BAD] += 1
                    elif voxel & OVERLAPPED and not shares:
                        row[N_BACKGROUND_OVERLAPPED] += 1
                    else:
                        count = voxel & COUNT
                        row[N_BACKGROUND] += 1
                        if count < TABLE:
                            tally[count] += 1
                        else:
                            large[n_large] = count
                            n_large += 1
        if row[N_BACKGROUND] > 0:
            b, variance, steps = mean_background(tally, large, n_large, kind)
            row[BACKGROUND], row[BACKGROUND_VARIANCE], row[STEPS] = b, variance, steps
        net = row[TOTAL] - row[BACKGROUND] * row[N_VALID]
        for axis in range(3):
            inside = (sums[axis] - row[BACKGROUND] * sums[axis + 3]) / net + 0.5 if net > 0 else np.nan
            longest = box[i, 2 * axis + 1] - box[i, 2 * axis]
            row[FRAME + axis] = box[i, 2 * axis] + inside if 0 <= inside <= longest else np.nan
