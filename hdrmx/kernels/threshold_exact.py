"""The dispersion tests in double precision, for the few windows that a screen has marked.

The frame is given flat and need only be right within reach of the marked pixels, so that the same code serves dense
frames and frames laid out from events. Formulae and order of operations are those of `threshold_plain`; all sums
are of integers, and exact.

Marked pixels come in patches. A patch is taken in blocks of 48 columns: sums down the columns follow from row to row by
one row added and one dropped, and a window adds up its columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.intrinsics import count_ones, count_trailing_zeros
from hdrmx.kernels.threshold_limits import BIG, WIDER_px

BLOCK = 48  # columns of a block, with the reach of a window on either side
_BLOCK_BITS = np.uint64((1 << BLOCK) - 1)
_SLACK = 6  # columns that a block reaches to the left of the patch's first pixel, where later rows may go


class Sums(NamedTuple):
    """Work buffers: sums down the columns of a block, and runs of set bits of a row."""

    block: npt.NDArray[np.float64]  # (3, BLOCK): pixels, counts, squared counts
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]


def make_sums(columns: int) -> Sums:
    """Buffers for a panel of that many columns."""
    starts, stops = np.zeros((2, columns // 2 + 33), np.int64)
    return Sums(np.zeros((3, BLOCK)), starts, stops)


@njit(cache=True, nogil=True)
def dispersed(frame, place, test, marked, without, sums, found):
    """Set in `found` the marked pixels that pass the test of their window; returns the windows tested.

    For the extended test these are the candidates; for the simple one the strong pixels.

    Parameters
    ----------
    frame : (pixels,) counts
    place, test : `threshold_limits.Place`, `threshold_limits.Test`
    marked : `bits.BitMap` of unmasked pixels; emptied
    without : `bits.BitMap` of pixels that are left out of the sums, beside masked ones
    found : `bits.BitMap`, set here
    """
    bits.clear(found)
    words, flags = marked
    area = (place.first, place.width, place.columns)
    valid, left_out, block, spread = place.valid, without.words, sums.block, test.spread
    limit, limits, reach = test.limit, test.limits, test.limits.reach
    tested = 0
    for i in range(len(words)):
        for f in range(flags.shape[1]):
            left = flags[i, f]
            while left != bits.ZERO:
                j = 64 * f + np.int64(count_trailing_zeros(left))
                left &= left - bits.ONE
                while words[i, j] != bits.ZERO:
                    a = _block(words[i, j], j, reach)
                    row, wanted = i, _take(words, i, a, reach)
                    _fill(frame, area, valid, left_out, limit, row, reach, a, block)
                    while wanted != bits.ZERO:
                        tested += int(count_ones(wanted))
                        at = place.first + row * place.width + a
                        passed = _test_row(frame, at, wanted, limit, limits, spread, block)
                        _put_window(found, row, a, passed)
                        row += 1
                        wanted = _take(words, row, a, reach) if row < len(words) else bits.ZERO
                        if wanted != bits.ZERO:
                            _step(frame, area, valid, left_out, limit, row, reach, a, block)
    return tested


@njit(cache=True, nogil=True)
def outstanding(frame, place, test, foreground, bright, sums, found):
    """Set in `found` the foreground pixels that stand out from the background round them; returns windows tested.

    The background of a pixel is what is not foreground in a window wider by 2 px on each side.

    Parameters
    ----------
    frame, place, test : as for `dispersed`
    foreground : `bits.BitMap`, the eroded candidates
    bright : `bits.BitMap` to work in
    found : `bits.BitMap`, set here
    """
    bits.clear(found)
    _pick_bright(frame, place, test.limits.above, foreground, bright)
    words, flags = bright
    area = (place.first, place.width, place.columns)
    valid, left_out, block = place.valid, foreground.words, sums.block
    limit, limits, reach = test.limit, test.limits, test.limits.reach + WIDER_px
    tested = 0
    for i in range(len(words)):
        for f in range(flags.shape[1]):
            left = flags[i, f]
            while left != bits.ZERO:
                j = 64 * f + np.int64(count_trailing_zeros(left))
                left &= left - bits.ONE
                while words[i, j] != bits.ZERO:
                    a = _block(words[i, j], j, reach)
                    row, wanted = i, _take(words, i, a, reach)
                    _fill(frame, area, valid, left_out, limit, row, reach, a, block)
                    while wanted != bits.ZERO:
                        tested += int(count_ones(wanted))
                        at = place.first + row * place.width + a
                        passed = _stand_out(frame, at, wanted, limits, reach, block)
                        _put_window(found, row, a, passed)
                        row += 1
                        wanted = _take(words, row, a, reach) if row < len(words) else bits.ZERO
                        if wanted != bits.ZERO:
                            _step(frame, area, valid, left_out, limit, row, reach, a, block)
    return tested


@njit(cache=True, nogil=True)
def _block(word, j, reach):
    """First column of the block for the first pixel of word j."""
    return max(0, 64 * j + np.int64(count_trailing_zeros(word)) - _SLACK - reach)


@njit(cache=True, nogil=True)
def _window(words, i, a):
    """Bits of the 48 columns from a on."""
    j, shift = a // 64, np.uint64(a % 64)
    w = words[i, j] >> shift
    if a % 64 > 64 - BLOCK and j + 1 < words.shape[1]:
        w |= words[i, j + 1] << (np.uint64(64) - shift)
    return w & _BLOCK_BITS


@njit(cache=True, nogil=True)
def _take(words, i, a, reach):
    """Take out of the map the bits whose window lies within the block."""
    inner = _BLOCK_BITS >> np.uint64(reach)
    if a > 0:
        inner = inner >> np.uint64(reach) << np.uint64(reach)
    w = _window(words, i, a) & inner
    j, shift = a // 64, np.uint64(a % 64)
    words[i, j] &= ~(w << shift)
    if a % 64 > 64 - BLOCK and j + 1 < words.shape[1]:
        words[i, j + 1] &= ~(w >> (np.uint64(64) - shift))
    return w


@njit(cache=True, nogil=True)
def _put_window(bitmap, i, a, w):
    """Or the bits of the 48 columns from a on into row i."""
    j, shift = a // 64, np.uint64(a % 64)
    if w << shift != bits.ZERO:
        bits.put(bitmap, i, j, w << shift)
    if a % 64 > 64 - BLOCK and w >> (np.uint64(64) - shift) != bits.ZERO:
        bits.put(bitmap, i, j + 1, w >> (np.uint64(64) - shift))


@njit(cache=True, nogil=True)
def _fill(frame, area, valid, left_out, limit, row, reach, a, block):
    """Sums of rows row - reach to row + reach, over the pixels that are valid, trusted and not left out."""
    block[:] = 0.0
    for k in range(max(0, row - reach), min(len(valid), row + reach + 1)):
        _add_row(frame, area, valid, left_out, limit, k, a, 1.0, block)


@njit(cache=True, nogil=True)
def _step(frame, area, valid, left_out, limit, row, reach, a, block):
    """From row - 1 to row."""
    if row + reach < len(valid):
        _add_row(frame, area, valid, left_out, limit, row + reach, a, 1.0, block)
    if row - reach - 1 >= 0:
        _add_row(frame, area, valid, left_out, limit, row - reach - 1, a, -1.0, block)


@njit(cache=True, nogil=True)
def _add_row(frame, area, valid, left_out, limit, k, a, sign, block):
    """Row k into (or, with sign -1, out of) the sums. Unsigned indices: numba wraps no others round."""
    first, width, columns = area
    low, high = limit
    allowed = _window(valid, k, a) & ~_window(left_out, k, a)
    at = np.uint64(first + k * width + a)
    for j in range(min(BLOCK, columns - a)):
        c = np.uint64(j)
        v = frame[at + c]
        summed = (v >= low) & (v <= high) & (v < BIG) & ((allowed >> c) & bits.ONE != bits.ZERO)
        one = sign if summed else 0.0
        p = np.float64(v)
        block[0, c] += one
        block[1, c] += one * p
        block[2, c] += one * p * p


@njit(cache=True, nogil=True)
def _test_row(frame, at, wanted, limit, limits, spread, block):
    """Those of the wanted pixels whose window passes; the block's first pixel in this row is frame[at]."""
    low, high = limit
    reach = limits.reach
    passed = bits.ZERO
    while wanted != bits.ZERO:
        b = count_trailing_zeros(wanted)
        wanted &= wanted - bits.ONE
        c = np.int64(b)
        v = frame[np.uint64(at + c)]
        m, x, y = 0.0, 0.0, 0.0
        for k in range(max(0, c - reach), c + reach + 1):
            u = np.uint64(k)
            m, x, y = m + block[0, u], x + block[1, u], y + block[2, u]
        if v < low or v > high or m < limits.min_local or x < 0.0:
            continue
        root = spread[np.uint64(m)]
        if limits.unit_gain:
            passes = m * y - x * x - x * (m - 1.0) > x * limits.sigma_background * root
        else:
            passes = m * y - x * x > limits.gain * x * (m - 1.0 + limits.sigma_background * root)
        if passes and not limits.extended:
            passes = v > limits.above and m * v - x > limits.sigma_strong * np.sqrt(limits.gain * x * m)
        if passes:
            passed |= bits.ONE << b
    return passed


@njit(cache=True, nogil=True)
def _stand_out(frame, at, wanted, limits, reach, block):
    """Those of the wanted pixels that pass the final test; the block's first pixel in this row is frame[at]."""
    passed = bits.ZERO
    while wanted != bits.ZERO:
        b = count_trailing_zeros(wanted)
        wanted &= wanted - bits.ONE
        c = np.int64(b)
        m, x = 0.0, 0.0
        for k in range(max(0, c - reach), c + reach + 1):
            u = np.uint64(k)
            m, x = m + block[0, u], x + block[1, u]
        if x >= 0.0:
            mean = x / m if m >= 2.0 else 0.0
            if np.float64(frame[np.uint64(at + c)]) >= mean + limits.sigma_strong * np.sqrt(limits.gain * mean):
                passed |= bits.ONE << b
    return passed


@njit(cache=True, nogil=True)
def _pick_bright(frame, place, above, foreground, bright):
    """The foreground pixels with more counts than `above`."""
    bits.clear(bright)
    words, flags = foreground
    for i in range(len(flags)):
        row = place.first + i * place.width
        for f in range(flags.shape[1]):
            left = flags[i, f]
            while left != bits.ZERO:
                j = 64 * f + np.int64(count_trailing_zeros(left))
                left &= left - bits.ONE
                w, kept = words[i, j], bits.ZERO
                while w != bits.ZERO:
                    b = count_trailing_zeros(w)
                    w &= w - bits.ONE
                    if frame[row + 64 * j + np.int64(b)] > above:
                        kept |= bits.ONE << b
                bits.put(bright, i, j, kept)


@njit(cache=True, nogil=True)
def gather(frame, place, strong, begin, end, top, sums, n, room):
    """Append the strong pixels of rows begin to end, in raster order, to the n in the room; returns how many there are.

    `top` is added to the row. What doesn't fit the room is counted only.
    """
    slow, fast, counts = room
    for i in range(begin, end):
        n_runs = bits.runs(strong, i, sums.starts, sums.stops)
        for r in range(n_runs):
            for c in range(sums.starts[r], sums.stops[r]):
                if n < len(slow):
                    slow[n] = top + i
                    fast[n] = c
                    counts[n] = frame[place.first + i * place.width + c]
                n += 1
    return n
