"""Screening of a dense frame: which windows might be too dispersed for background.

A panel is screened in tiles. Each row of a tile is cleaned (untrusted and masked pixels become 0) and turned into
terms p^2 - slope p, which are summed down the columns through a ring of rows, then along the row; a window whose sum
is above the line's floor is marked. The sums are exact in 16-bit lanes where the mean is a few counts or less, and
in 32-bit lanes above. What is marked holds every candidate and little else (`threshold_limits`), and is
tested exactly by `threshold_exact`.

Inner functions take plain arrays and unsigned indices: numba wraps signed ones round, which costs a factor of five
where a loop would vectorise, and counts references to every slice and every member of a tuple.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.intrinsics import gather_plane

TILE_ROWS = 128
TILE_COLUMNS = 1024  # about; ring and sums of a tile stay in the nearest caches
MANY_GAPS = 24  # masked runs in a row, above which the mask is looked at pixel by pixel
_SAMPLE_STEP = 16


class Lanes(NamedTuple):
    """Work buffers of one thread, in one lane width."""

    ring: npt.NDArray  # terms of the last 2 reach + 1 rows
    column: npt.NDArray  # their sums down the columns
    sums: npt.NDArray  # floor - window sum, of one row


@njit(cache=True, nogil=True)
def _even(n, about, unit):
    """Size of equal parts of n that are `about` so long (at most half as long again), a multiple of the unit."""
    parts = max(1, (n + about // 2) // about)
    return (n + parts * unit - 1) // (parts * unit) * unit


def make_lanes(reach: int, dtype: npt.DTypeLike) -> Lanes:
    """Buffers for windows of half-width `reach`."""
    n = 3 * TILE_COLUMNS // 2 + 2 * reach + 64  # the widest tile, its surroundings, and what is packed beyond it
    return Lanes(np.zeros((2 * reach + 1) * n, dtype), np.zeros(n, dtype), np.zeros(n, dtype))


@njit(cache=True, nogil=True)
def screen(frame, mask, place, test, narrow, wide, marked):
    """Mark the windows of a panel (or some of its rows) that might be too dispersed.

    Parameters
    ----------
    frame, mask : (pixels,) counts; bool, True where a pixel may be used
    place : `threshold_limits.Place`
    test : `threshold_limits.Test`
    narrow, wide : `Lanes` of 16 and 32 bits
    marked : `bits.BitMap`, set here
    """
    height, columns = len(place.valid), place.columns
    rows, step = _even(height, TILE_ROWS, 1), _even(columns, TILE_COLUMNS, 64)
    bits.clear(marked)
    for r0 in range(0, height, rows):
        r1 = min(height, r0 + rows)
        for c0 in range(0, columns, step):
            c1 = min(columns, c0 + step)
            mean = _sample(frame, mask, place.first + r0 * place.width + c0, place.width, r1 - r0, c1 - c0, test)
            line = test.lines[_nearest(test.lines, test.best_slope + 2.0 * mean)]
            if line[3] == 16:
                _tile(frame, mask, place, test, line, narrow, r0, r1, c0, c1, marked)
            elif line[3] == 32:
                _tile(frame, mask, place, test, line, wide, r0, r1, c0, c1, marked)
            else:
                for i in range(r0, r1):
                    for j in range(c0 // 64, (c1 + 63) // 64):
                        bits.put(marked, i, j, place.valid[i, j])


@njit(cache=True, nogil=True)
def _tile(frame, mask, place, test, line, lanes, r0, r1, c0, c1, marked):
    """Screen rows r0 to r1 and columns c0 to c1."""
    ring, column, sums = lanes
    valid, gap_first, gaps = place.valid, place.gap_first, place.gaps
    low, high = test.limit
    reach, height, width = test.limits.reach, len(valid), place.width
    kind = ring.dtype.type
    slope, floor = kind(line[0]), kind(line[1])
    cap = frame.dtype.type(min(line[2], np.int64(high)))
    bottom = frame.dtype.type(max(line[0] - line[2], np.int64(low)))  # above `low` only where counts can be negative
    a, b = max(0, c0 - reach), min(place.columns, c1 + reach)
    stride, rows = len(column), 2 * reach + 1
    ring[:] = 0
    column[:] = 0
    to = a - c0 + reach  # place of column a in the column sums
    slot = 0
    for t in range(max(0, r0 - reach), r1 + reach):
        terms = slot * stride + to
        if t < height:
            at = place.first + t * width + a
            masked = gap_first[t + 1] - gap_first[t] > MANY_GAPS
            done = 0
            for g in range(gap_first[t], gap_first[t] if masked else gap_first[t + 1]):
                begin, end = max(gaps[g, 0] - a, done), min(gaps[g, 1] - a, b - a)
                if begin < end:
                    n = begin - done
                    _add(frame, at + done, n, ring, terms + done, column, to + done, low, high, bottom, cap, slope)
                    _drop(end - begin, ring, terms + begin, column, to + begin)
                    done = end
            n = b - a - done
            if masked:
                _add_masked(frame, mask, at, n, ring, terms, column, to, low, high, bottom, cap, slope)
            else:
                _add(frame, at + done, n, ring, terms + done, column, to + done, low, high, bottom, cap, slope)
        else:
            _drop(b - a, ring, terms, column, to)
        slot = slot + 1 if slot < rows - 1 else 0
        row = t - reach
        if row >= r0:
            if reach == 3:
                _sum_7(column, c1 - c0, sums, floor)
            else:
                _sum_any(column, c1 - c0, rows, sums, floor)
            _pack(sums, valid, marked, row, c0 // 64, (c1 + 63) // 64)


@njit(cache=True, nogil=True)
def _add(frame, at, n, ring, terms, column, to, low, high, bottom, cap, slope):
    """Pixels from frame[at]: their terms into ring[terms:], and what they change into column[to:]."""
    kind = ring.dtype.type
    at, terms, to = np.uint64(at), np.uint64(terms), np.uint64(to)
    for j in range(n):
        u = np.uint64(j)
        v = frame[at + u]
        trusted = (v >= low) & (v <= high)
        p = kind(min(max(v, bottom), cap)) if trusted else kind(0)
        new = kind(p * kind(p - slope))
        column[to + u] = kind(column[to + u] + kind(new - ring[terms + u]))
        ring[terms + u] = new


@njit(cache=True, nogil=True)
def _add_masked(frame, mask, at, n, ring, terms, column, to, low, high, bottom, cap, slope):
    """The same where the mask takes pixels out here and there."""
    kind = ring.dtype.type
    at, terms, to = np.uint64(at), np.uint64(terms), np.uint64(to)
    for j in range(n):
        u = np.uint64(j)
        v = frame[at + u]
        trusted = (v >= low) & (v <= high) & mask[at + u]
        p = kind(min(max(v, bottom), cap)) if trusted else kind(0)
        new = kind(p * kind(p - slope))
        column[to + u] = kind(column[to + u] + kind(new - ring[terms + u]))
        ring[terms + u] = new


@njit(cache=True, nogil=True)
def _drop(n, ring, terms, column, to):
    """Where pixels are masked, and below the last row, nothing is added."""
    kind = ring.dtype.type
    terms, to = np.uint64(terms), np.uint64(to)
    for j in range(n):
        u = np.uint64(j)
        column[to + u] = kind(column[to + u] - ring[terms + u])
        ring[terms + u] = kind(0)


@njit(cache=True, nogil=True)
def _sum_7(column, n, sums, floor):
    """floor - sum over 7 neighbouring columns: negative where the window is marked."""
    kind = sums.dtype.type
    for j in range(n):
        u = np.uint64(j)
        left = kind(kind(column[u] + column[u + np.uint64(1)]) + column[u + np.uint64(2)])
        right = kind(kind(column[u + np.uint64(4)] + column[u + np.uint64(5)]) + column[u + np.uint64(6)])
        sums[u] = kind(floor - kind(kind(left + right) + column[u + np.uint64(3)]))


@njit(cache=True, nogil=True)
def _sum_any(column, n, width, sums, floor):
    """The same over `width` columns."""
    kind = sums.dtype.type
    sums[:n] = floor
    for k in range(width):
        for j in range(n):
            u = np.uint64(j)
            sums[u] = kind(sums[u] - column[np.uint64(k) + u])


@njit(cache=True, nogil=True)
def _pack(sums, valid, marked, i, first, last):
    """The signs of the sums as words first to last of row i."""
    sign = 8 * sums.itemsize - 1
    for j in range(first, last):
        word = gather_plane(sums, 64 * (j - first), sign) & valid[i, j]
        if word != bits.ZERO:
            bits.put(marked, i, j, word)


@njit(cache=True, nogil=True)
def _sample(frame, mask, first, width, rows, columns, test):
    """Mean counts of a tile, from every 16th pixel of every 16th row; bright pixels are cut to thrice the mean."""
    low, high = test.limit
    ceiling = np.inf
    mean = 0.0
    for _ in range(2):
        n, total = 0, 0.0
        for r in range(0, rows, _SAMPLE_STEP):
            for c in range(0, columns, _SAMPLE_STEP):
                at = first + r * width + c
                v = frame[at]
                if mask[at] and low <= v <= high:
                    n += 1
                    total += min(float(v), ceiling)
        mean = total / max(n, 1)
        ceiling = 3.0 * mean + 3.0
    return mean


@njit(cache=True, nogil=True)
def _nearest(lines, wanted):
    """Row of the line whose slope is nearest to the wanted one."""
    i = 0
    while i + 1 < len(lines) and abs(lines[i + 1, 0] - wanted) <= abs(lines[i, 0] - wanted):
        i += 1
    return i
