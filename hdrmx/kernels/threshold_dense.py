"""Screening of a dense frame: which windows might be too dispersed for background.

A panel is screened in tiles. Each row of a tile is cleaned (untrusted and masked pixels become 0) and turned into
terms p^2 - slope p, which are summed down the columns through a ring of rows, then along the row; a window whose sum
is above the line's floor is marked. The sums are exact in 16-bit lanes where the mean is a few counts or less, and
in 32-bit lanes above. What is marked holds every candidate and little else (`threshold_limits`), and is
tested exactly by `threshold_exact`.

Slices are taken before every loop that should vectorise: an index that numba can't prove to be positive is
wrapped round, which costs a factor of five.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.intrinsics import gather_plane

TILE_ROWS = 64
TILE_COLUMNS = 1024  # a multiple of 64; ring and sums of a tile stay in the nearest caches
MANY_GAPS = 24  # masked runs in a row, above which the mask is looked at pixel by pixel
_SAMPLE_STEP = 16


class Lanes(NamedTuple):
    """Work buffers of one thread, in one lane width."""

    ring: npt.NDArray  # terms of the last 2 reach + 1 rows
    column: npt.NDArray  # their sums down the columns
    sums: npt.NDArray  # floor - window sum, of one row


def make_lanes(reach: int, dtype: npt.DTypeLike) -> Lanes:
    """Buffers for windows of half-width `reach`."""
    n = TILE_COLUMNS + 2 * reach + 64
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
    bits.clear(marked)
    for r0 in range(0, height, TILE_ROWS):
        r1 = min(height, r0 + TILE_ROWS)
        for c0 in range(0, columns, TILE_COLUMNS):
            c1 = min(columns, c0 + TILE_COLUMNS)
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
    reach, height = test.limits.reach, len(place.valid)
    a, b = max(0, c0 - reach), min(place.columns, c1 + reach)
    stride, rows = len(column), 2 * reach + 1
    ring[:] = 0
    column[:] = 0
    part = column[a - c0 + reach : b - c0 + reach]
    slot = 0
    for t in range(max(0, r0 - reach), r1 + reach):
        terms = ring[slot * stride : slot * stride + b - a]
        if t < height:
            at = place.first + t * place.width + a
            _add_row(frame[at : at + b - a], mask[at : at + b - a], place, t, a, terms, part, test, line)
        else:
            _drop(terms, part)
        slot = slot + 1 if slot < rows - 1 else 0
        if t - reach >= r0:
            _sum_along(column, sums, c1 - c0, reach, line[1])
            _pack(sums, place.valid[t - reach], marked, t - reach, c0 // 64, (c1 + 63) // 64)


@njit(cache=True, nogil=True)
def _add_row(pixels, mask, place, t, a, terms, column, test, line):
    """Row t from column a on: its terms into the ring, and what they change into the column sums."""
    low, high = test.limit
    slope = terms.dtype.type(line[0])
    cap = pixels.dtype.type(min(line[2], np.int64(high)))
    bottom = pixels.dtype.type(max(line[0] - line[2], np.int64(low)))  # above `low` only where counts can be negative
    first, last = place.gap_first[t], place.gap_first[t + 1]
    if last - first > MANY_GAPS:
        _add_masked(pixels, mask, terms, column, low, high, bottom, cap, slope)
        return
    done = 0
    for g in range(first, last):
        begin, end = max(place.gaps[g, 0] - a, done), min(place.gaps[g, 1] - a, len(pixels))
        if begin < end:
            _add(pixels[done:begin], terms[done:begin], column[done:begin], low, high, bottom, cap, slope)
            _drop(terms[begin:end], column[begin:end])
            done = end
    _add(pixels[done:], terms[done:], column[done:], low, high, bottom, cap, slope)


@njit(cache=True, nogil=True)
def _add(pixels, terms, column, low, high, bottom, cap, slope):
    """Pixels that the mask allows."""
    for j in range(len(pixels)):
        v = pixels[j]
        trusted = (v >= low) & (v <= high)
        p = terms.dtype.type(min(max(v, bottom), cap)) if trusted else terms.dtype.type(0)
        new = terms.dtype.type(p * terms.dtype.type(p - slope))
        column[j] = terms.dtype.type(column[j] + terms.dtype.type(new - terms[j]))
        terms[j] = new


@njit(cache=True, nogil=True)
def _add_masked(pixels, mask, terms, column, low, high, bottom, cap, slope):
    """Pixels of which the mask allows some here and there."""
    for j in range(len(pixels)):
        v = pixels[j]
        trusted = (v >= low) & (v <= high) & mask[j]
        p = terms.dtype.type(min(max(v, bottom), cap)) if trusted else terms.dtype.type(0)
        new = terms.dtype.type(p * terms.dtype.type(p - slope))
        column[j] = terms.dtype.type(column[j] + terms.dtype.type(new - terms[j]))
        terms[j] = new


@njit(cache=True, nogil=True)
def _drop(terms, column):
    """Where pixels are masked, and below the last row, nothing is added."""
    for j in range(len(terms)):
        column[j] = terms.dtype.type(column[j] - terms[j])
        terms[j] = 0


@njit(cache=True, nogil=True)
def _sum_along(column, sums, n, reach, floor):
    """floor - sum over 2 reach + 1 neighbouring columns: negative where the window is marked."""
    if reach == 3:
        _sum_7(column, sums[:n], sums.dtype.type(floor))
        return
    sums[:n] = floor
    for k in range(2 * reach + 1):
        _subtract(sums[:n], column[k : k + n])


@njit(cache=True, nogil=True)
def _subtract(sums, column):
    for j in range(len(sums)):
        sums[j] = sums.dtype.type(sums[j] - column[j])


@njit(cache=True, nogil=True)
def _sum_7(column, sums, floor):
    kind, n = sums.dtype.type, len(sums)
    a, b, c, d = column[0:n], column[1 : n + 1], column[2 : n + 2], column[3 : n + 3]
    e, f, g = column[4 : n + 4], column[5 : n + 5], column[6 : n + 6]
    for j in range(n):
        left = kind(kind(a[j] + b[j]) + c[j])
        right = kind(kind(e[j] + f[j]) + g[j])
        sums[j] = kind(floor - kind(kind(left + right) + d[j]))


@njit(cache=True, nogil=True)
def _pack(sums, valid, marked, i, first, last):
    """The signs of the sums as words first to last of row i."""
    sign = 8 * sums.itemsize - 1
    for j in range(first, last):
        word = gather_plane(sums, 64 * (j - first), sign) & valid[j]
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
