"""Screening of a frame given as events: only windows within reach of a bright enough pixel can be dispersed.

The bound (`threshold_limits.seed_count`) holds for any mask. Events near what it leaves are laid out in a frame that is
zero otherwise, and the exact test (`threshold_exact`) runs there. Cost goes with events and marked pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hdrmx.kernels import bits


@njit(cache=True, nogil=True)
def mark_seeds(index, count, n_events, seed, high, width, top, left, columns, reach, valid, marked):
    """Mark the windows of one panel that hold a pixel of at least `seed` counts; returns the seeds.

    Parameters
    ----------
    index, count : events: pixel of the frame (rising), counts
    seed, high : fewest and most counts of a seed; more than `high` isn't trusted
    width : pixels in a row of the frame
    top, left, columns : the panel's place in the frame and its width
    reach : half-width of a window
    valid : (panel height, words) uint64, the panel's mask
    marked : `bits.BitMap`, cleared first
    """
    height = len(valid)
    bits.clear(marked)
    n = 0
    for e in range(n_events):
        if count[e] >= seed and count[e] <= high:
            i, c = index[e] // width - top, index[e] % width - left
            if 0 <= i < height and 0 <= c < columns:
                n += 1
                for k in range(max(0, i - reach), min(height, i + reach + 1)):
                    _set(marked, k, valid[k], max(0, c - reach), min(columns, c + reach + 1))
    return n


@njit(cache=True, nogil=True)
def _set(marked, i, valid, begin, end):
    """Set bits begin to end of row i where they are valid; at most 63 of them."""
    j, b = begin // 64, np.uint64(begin % 64)
    ones = (bits.ONE << np.uint64(end - begin)) - bits.ONE
    bits.put(marked, i, j, (ones << b) & valid[j])
    if end > 64 * (j + 1):
        bits.put(marked, i, j + 1, (ones >> (np.uint64(64) - b)) & valid[j + 1])


@njit(cache=True, nogil=True)
def lay_out(index, count, n_events, offset, width, top, left, columns, near, sums, frame):
    """Write the events of the pixels in `near` into the frame, which is zero there.

    Parameters
    ----------
    offset : first event of each 256 pixels of the frame
    near : `bits.BitMap`
    frame : (pixels of the frame,) counts
    """
    for i in range(len(near.words)):
        n_runs = bits.runs(near, i, sums.starts, sums.stops)
        row = (top + i) * width + left
        for r in range(n_runs):
            begin, end = row + sums.starts[r], row + min(columns, sums.stops[r])
            e = offset[begin // 256]
            while e < n_events and index[e] < begin:
                e += 1
            while e < n_events and index[e] < end:
                frame[index[e]] = count[e]
                e += 1


@njit(cache=True, nogil=True)
def wipe(width, top, left, columns, near, sums, frame):
    """Make the frame zero again where `lay_out` wrote."""
    for i in range(len(near.words)):
        n_runs = bits.runs(near, i, sums.starts, sums.stops)
        row = (top + i) * width + left
        for r in range(n_runs):
            frame[row + sums.starts[r] : row + min(columns, sums.stops[r])] = 0
