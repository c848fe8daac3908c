"""Screening of a frame given as events: only windows within reach of a bright enough pixel can be dispersed.

The bound (`threshold_limits.seed_count`) holds for any mask. Events near what it leaves are laid out in a frame that is
zero otherwise, and the exact test (`threshold_exact`) runs there. Cost goes with events and marked pixels.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hdrmx.kernels import bits

_LONGEST = 24  # px from the first to the last seed of those marked together: with twice the reach still below 64


@njit(cache=True, nogil=True)
def mark_seeds(index, count, n_events, place, test, seeds, marked):
    """Mark the windows of a panel that hold a bright enough pixel.

    Parameters
    ----------
    index, count : events: pixel of the frame (rising), counts
    place, test : `threshold_limits.Place`, `threshold_limits.Test`
    seeds : (room for n_events,) int32 to work in
    marked : `bits.BitMap`, set here
    """
    bits.clear(marked)
    n = _find_seeds(count[:n_events], np.uint32(test.seed), np.uint32(test.limit[1]), seeds)
    height, reach = len(place.valid), test.limits.reach
    top, left = place.first // place.width, place.first % place.width
    begin, end, row = 0, 0, -1  # of neighbouring seeds in one row, marked together
    for s in range(n + 1):
        i, c = -2, 0
        if s < n:
            pixel = np.int64(index[seeds[s]])
            i = pixel // place.width
            c = pixel - i * place.width - left
            i -= top
            if c < 0 or c >= place.columns:
                continue
        if i == row and c - end <= 2 * reach and c - begin < _LONGEST:
            end = c
            continue
        if 0 <= row < height:
            a, b = max(0, begin - reach), min(place.columns, end + reach + 1)
            for k in range(max(0, row - reach), min(height, row + reach + 1)):
                _set(marked, k, place.valid[k], a, b)
        begin, end, row = c, c, i


@njit(cache=True, nogil=True)
def _find_seeds(count, seed, high, seeds):
    """Events of `seed` to `high` counts; returns their number."""
    n = 0
    for e in range(len(count)):
        seeds[n] = e
        n += int((count[e] >= seed) & (count[e] <= high))
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
def lay_out(index, count, n_events, offset, place, near, sums, frame):
    """Write the events of the pixels in `near` into the frame, which is zero there.

    Parameters
    ----------
    offset : first event of each 256 pixels of the frame
    near : `bits.BitMap` of the place
    frame : (pixels of the frame,) counts
    """
    for i in range(len(near.words)):
        n_runs = bits.runs(near, i, sums.starts, sums.stops)
        row = place.first + i * place.width
        for r in range(n_runs):
            begin, end = row + sums.starts[r], row + sums.stops[r]
            e = np.int64(offset[begin // 256])
            while e < n_events and index[e] < begin:
                e += 1
            while e < n_events and index[e] < end:
                frame[index[e]] = count[e]
                e += 1


@njit(cache=True, nogil=True)
def wipe(place, near, sums, frame):
    """Make the frame zero again where `lay_out` wrote."""
    for i in range(len(near.words)):
        n_runs = bits.runs(near, i, sums.starts, sums.stops)
        row = place.first + i * place.width
        for r in range(n_runs):
            frame[row + sums.starts[r] : row + sums.stops[r]] = 0
