"""Screening of a dense frame: which windows might be too dispersed for background.

A panel is screened in tiles. Each row of a tile is cleaned (untrusted and masked pixels become 0); counts and squared
counts are summed down the columns through a ring of rows, then along the row; a window whose squares exceed
the bound for its counts is marked. The sums are in 16-bit lanes where the mean is a few counts or less, and in 32-bit
lanes above. What is marked holds every candidate and little else (`threshold_limits`), and is tested
exactly by `threshold_exact`.

Inner functions take plain arrays and unsigned indices: numba wraps signed ones round, which costs a factor of five
where a loop would vectorise, and counts references to every slice and every member of a tuple.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.intrinsics import count_ones, gather_plane

TILE_ROWS = 128
TILE_COLUMNS = 1024  # about; ring and sums of a tile stay in the nearest caches
MANY_MARKED = 32  # 1 of so many windows marked in 16-bit lanes: counts may be too high for them
MANY_GAPS = 24  # masked runs in a row, above which the mask is looked at pixel by pixel
_SAMPLE_STEP = 16


class Lanes(NamedTuple):
    """Work buffers of one thread, in one lane width. x: counts, y: squared counts."""

    ring: npt.NDArray  # counts of the last 2 reach + 1 rows
    column_x: npt.NDArray  # sums down the columns
    column_y: npt.NDArray
    sum_x: npt.NDArray  # over the windows of a row; where `reach` is 3, the flags
    sum_y: npt.NDArray


def make_lanes(reach: int, dtype: npt.DTypeLike) -> Lanes:
    """Buffers for windows of half-width `reach`, in uint16 or int32."""
    n = 3 * TILE_COLUMNS // 2 + 2 * reach + 64  # the widest tile, its surroundings, and what is packed beyond it
    column_x, column_y, sum_x, sum_y = np.zeros((4, n), dtype)
    return Lanes(np.zeros((2 * reach + 1) * n, dtype), column_x, column_y, sum_x, sum_y)


@njit(cache=True, nogil=True)
def _even(n, about, unit):
    """Size of equal parts of n that are `about` so long (at most half as long again), a multiple of the unit."""
    parts = max(1, (n + about // 2) // about)
    return (n + parts * unit - 1) // (parts * unit) * unit


def make_tiles(rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """(down, across) room for a flag of each tile of so many rows (or fewer) and columns."""
    return np.zeros((2 * rows // TILE_ROWS + 2, 2 * columns // TILE_COLUMNS + 2), bool)


@njit(cache=True, nogil=True)
def screen(frame, mask, place, test, bound, lanes, done, marked):
    """Mark the windows of a panel (or some of its rows) that might be too dispersed; returns the tiles left over.

    In 16-bit lanes, tiles whose counts are too high for them are left over; 32-bit lanes do all that are left.

    Parameters
    ----------
    frame, mask : (pixels,) counts; bool, True where a pixel may be used
    place : `threshold_limits.Place`
    test : `threshold_limits.Test`
    bound, lanes : its `narrow` and lanes of uint16, or its `wide` and lanes of int32
    done : of `make_tiles`, False for the tiles to be screened, set here
    marked : `bits.BitMap`, empty at first
    """
    height, columns = len(place.valid), place.columns
    rows, step = _even(height, TILE_ROWS, 1), _even(columns, TILE_COLUMNS, 64)
    is_narrow = lanes.ring.itemsize == 2
    left = 0
    for r0 in range(0, height, rows):
        r1 = min(height, r0 + rows)
        for c0 in range(0, columns, step):
            c1 = min(columns, c0 + step)
            if done[r0 // rows, c0 // step]:
                continue
            if is_narrow:
                at = place.first + r0 * place.width + c0
                mean = _sample(frame, mask, at, place.width, r1 - r0, c1 - c0, test)
                if mean > test.narrow_mean or test.limits.low < 0:
                    left += 1
                    continue
            n = _tile(frame, mask, place, test, bound, lanes, r0, r1, c0, c1, marked)
            if is_narrow and n * MANY_MARKED > (r1 - r0) * (c1 - c0):
                left += 1
                continue
            done[r0 // rows, c0 // step] = True
    return left


@njit(cache=True, nogil=True)
def _tile(frame, mask, place, test, bound, lanes, r0, r1, c0, c1, marked):
    """Screen rows r0 to r1 and columns c0 to c1; returns the windows marked."""
    ring, column_x, column_y, sum_x, sum_y = lanes
    valid, gap_first, gaps = place.valid, place.gap_first, place.gaps
    low, high = test.limit
    reach, height, rows = test.limits.reach, len(valid), 2 * test.limits.reach + 1
    # cut where counts can be negative; else `bottom` is `low`
    bottom, cap = frame.dtype.type(max(np.int64(low), -bound.cap)), frame.dtype.type(min(np.int64(high), bound.cap))
    trust = (low, high, bottom, cap)
    a, b = max(0, c0 - reach), min(place.columns, c1 + reach)
    ring[:], column_x[:], column_y[:] = 0, 0, 0
    stride, to = len(column_x), a - c0 + reach  # place of column a in the column sums
    slot, n_marked = 0, 0
    for t in range(max(0, r0 - reach), r1 + reach):
        terms = slot * stride + to
        slot = slot + 1 if slot < rows - 1 else 0
        if t >= height:
            _drop(b - a, ring, terms, column_x, column_y, to)
        elif gap_first[t + 1] - gap_first[t] > MANY_GAPS:
            _add_masked(
                frame, mask, place.first + t * place.width + a, b - a, ring, terms, column_x, column_y, to, trust
            )
        else:
            at, done = place.first + t * place.width + a, 0
            for g in range(gap_first[t], gap_first[t + 1]):
                begin, end = max(gaps[g, 0] - a, done), min(gaps[g, 1] - a, b - a)
                if begin < end:
                    _add(frame, at + done, begin - done, ring, terms + done, column_x, column_y, to + done, trust)
                    _drop(end - begin, ring, terms + begin, column_x, column_y, to + begin)
                    done = end
            _add(frame, at + done, b - a - done, ring, terms + done, column_x, column_y, to + done, trust)
        if t - reach >= r0:
            n = c1 - c0
            if reach == 3 and ring.itemsize == 2:
                _mark_7(column_x, column_y, n, bound, sum_x)
            elif reach == 3:
                _sum_7(column_x, n, sum_x)
                _sum_7(column_y, n, sum_y)
                _mark(sum_x, sum_y, n, bound)
            else:
                _sum_along(column_x, n, rows, sum_x)
                _sum_along(column_y, n, rows, sum_y)
                _mark(sum_x, sum_y, n, bound)
            n_marked += _pack(sum_x, valid, marked, t - reach, c0 // 64, (c1 + 63) // 64)
    return n_marked


@njit(cache=True, nogil=True)
def _add(frame, at, n, ring, terms, column_x, column_y, to, trust):
    """Pixels from frame[at] into the ring, and what they change into the sums down the columns."""
    kind = ring.dtype.type
    low, high, bottom, cap = trust
    at, terms, to = np.uint64(at), np.uint64(terms), np.uint64(to)
    for j in range(n):
        u = np.uint64(j)
        v = frame[at + u]
        new = kind(min(max(v, bottom), cap)) if (v >= low) & (v <= high) else kind(0)
        old = ring[terms + u]
        change = kind(new - old)
        column_x[to + u] = kind(column_x[to + u] + change)
        column_y[to + u] = kind(column_y[to + u] + kind(change * kind(new + old)))
        ring[terms + u] = new


@njit(cache=True, nogil=True)
def _add_masked(frame, mask, at, n, ring, terms, column_x, column_y, to, trust):
    """The same where the mask takes pixels out here and there."""
    kind = ring.dtype.type
    low, high, bottom, cap = trust
    at, terms, to = np.uint64(at), np.uint64(terms), np.uint64(to)
    for j in range(n):
        u = np.uint64(j)
        v = frame[at + u]
        new = kind(min(max(v, bottom), cap)) if (v >= low) & (v <= high) & mask[at + u] else kind(0)
        old = ring[terms + u]
        change = kind(new - old)
        column_x[to + u] = kind(column_x[to + u] + change)
        column_y[to + u] = kind(column_y[to + u] + kind(change * kind(new + old)))
        ring[terms + u] = new


@njit(cache=True, nogil=True)
def _drop(n, ring, terms, column_x, column_y, to):
    """Where pixels are masked, and below the last row, nothing is added."""
    kind = ring.dtype.type
    terms, to = np.uint64(terms), np.uint64(to)
    for j in range(n):
        u = np.uint64(j)
        old = ring[terms + u]
        column_x[to + u] = kind(column_x[to + u] - old)
        column_y[to + u] = kind(column_y[to + u] - kind(old * old))
        ring[terms + u] = kind(0)


@njit(cache=True, nogil=True)
def _mark_7(column_x, column_y, n, bound, flags):
    """Sums over 7 columns and y > x (x + slope) / window, in 16 bits throughout; the sign bit is the flag."""
    kind, one = np.uint16, np.uint64(1)
    slope, most, reciprocal = kind(bound.slope), kind(bound.most), kind(65536 // bound.window)
    for j in range(n):
        u = np.uint64(j)
        x, y = column_x[u], column_y[u]
        for _ in range(6):
            u += one
            x, y = kind(x + column_x[u]), kind(y + column_y[u])
        bounded = (np.uint32(kind(x * kind(x + slope))) * np.uint32(reciprocal)) >> np.uint32(16)
        flags[np.uint64(j)] = kind(0x8000) if (y > kind(bounded)) | (x > most) else kind(0)


@njit(cache=True, nogil=True)
def _sum_7(column, n, sums):
    """Sums over 7 columns."""
    kind, one = sums.dtype.type, np.uint64(1)
    for j in range(n):
        u = np.uint64(j)
        total = column[u]
        for _ in range(6):
            u += one
            total = kind(total + column[u])
        sums[np.uint64(j)] = total


@njit(cache=True, nogil=True)
def _sum_along(column, n, width, sums):
    """Sums over `width` columns."""
    kind = sums.dtype.type
    sums[:n] = 0
    for k in range(width):
        for j in range(n):
            u = np.uint64(j)
            sums[u] = kind(sums[u] + column[np.uint64(k) + u])


@njit(cache=True, nogil=True)
def _mark(sum_x, sum_y, n, bound):
    """The same of any sums, by products in single precision, with an allowance for their rounding."""
    flag = sum_x.dtype.type(-1)
    slope, window = np.float32(bound.slope), np.float32(bound.window * (1.0 + 2e-6))
    for j in range(n):
        u = np.uint64(j)
        x, y = np.float32(sum_x[u]), np.float32(sum_y[u])
        passes = (np.float32(y * window) > np.float32(x * np.float32(x + slope))) | (sum_x[u] > bound.most)
        sum_x[u] = flag if passes else sum_x.dtype.type(0)


@njit(cache=True, nogil=True)
def _pack(flags, valid, marked, i, first, last):
    """The sign bits of the flags as words first to last of row i; returns how many are set."""
    sign, n = 8 * flags.itemsize - 1, 0
    words = marked.words
    for j in range(first, last):
        word = gather_plane(flags, 64 * (j - first), sign) & valid[i, j]
        if word != words[i, j]:
            words[i, j] = bits.ZERO
            bits.put(marked, i, j, word)
            n += int(count_ones(word))
    return n


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
