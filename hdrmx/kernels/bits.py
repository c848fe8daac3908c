"""Maps of one bit a pixel, mostly empty: rows of 64-bit words, and a flag for every word that may hold a bit.

Pixel 64 w + b of a row stands in bit b of word w; word 64 f + g of a row has its flag in bit g of flags[f]. A word
without flag is zero. Each function goes from flag to flag, so that its cost is that of what is set (and of a flag word
for 4096 pixels), not of the size of the frame.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.intrinsics import count_trailing_zeros

Words = npt.NDArray[np.uint64]
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
ZERO, ONE = np.uint64(0), np.uint64(1)


class BitMap(NamedTuple):
    """A map of a panel."""

    words: Words  # (slow, words)
    flags: Words  # (slow, words / 64)


def words_of(columns: int) -> int:
    """Words in a row."""
    return (columns + 63) // 64


def empty_map(height: int, columns: int) -> BitMap:
    """A map without a bit."""
    n = words_of(columns)
    return BitMap(np.zeros((height, n), np.uint64), np.zeros((height, words_of(n)), np.uint64))


def pack(mask: npt.NDArray[np.bool_]) -> Words:
    """(slow, words) of a (slow, fast) mask; the bits beyond the last column are 0."""
    slow, fast = mask.shape
    padded = np.zeros((slow, 64 * words_of(fast)), bool)
    padded[:, :fast] = mask
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def unpack(words: Words, fast: int) -> npt.NDArray[np.bool_]:
    """Inverse of `pack`."""
    flat = np.unpackbits(np.ascontiguousarray(words, "<u8").view(np.uint8), axis=1, bitorder="little")
    return flat[:, :fast].astype(bool)


@njit(cache=True, nogil=True)
def put(bitmap, i, j, word):
    """Or a word into row i."""
    bitmap.words[i, j] |= word
    bitmap.flags[i, j // 64] |= ONE << np.uint64(j % 64)


@njit(cache=True, nogil=True)
def clear(bitmap):
    """Take all bits out."""
    words, flags = bitmap
    for i in range(len(flags)):
        for f in range(flags.shape[1]):
            left = flags[i, f]
            while left != ZERO:
                words[i, 64 * f + np.int64(count_trailing_zeros(left))] = ZERO
                left &= left - ONE
            flags[i, f] = ZERO


@njit(cache=True, nogil=True)
def erode(source, height, columns, r, out):
    """Keep a pixel whose (2r + 1)^2 neighbourhood is set wholly; beyond the edges everything counts as set.

    The maps may have more rows than `height`; those are empty.
    """
    clear(out)
    words, flags = source
    for i in range(len(flags)):
        for f in range(flags.shape[1]):
            left = flags[i, f]
            while left != ZERO:
                j = 64 * f + np.int64(count_trailing_zeros(left))
                left &= left - ONE
                middle = _column(words, i, j, height, columns, r)
                if middle == ZERO:
                    continue
                w = middle
                before, after = (
                    _column(words, i, j - 1, height, columns, r),
                    _column(words, i, j + 1, height, columns, r),
                )
                for k in range(1, r + 1):
                    up, down = np.uint64(k), np.uint64(64 - k)
                    w &= ((middle << up) | (before >> down)) & ((middle >> up) | (after << down))
                w &= ~_beyond(j, columns)
                if w != ZERO:
                    put(out, i, j, w)


@njit(cache=True, nogil=True)
def _column(words, i, j, height, columns, r):
    """Words j of rows i - r to i + r and-ed, with everything beyond the edges set."""
    if j < 0 or 64 * j >= columns:
        return ALL
    w = words[i, j]
    if w == ZERO:
        return w | _beyond(j, columns)
    for k in range(max(0, i - r), min(height, i + r + 1)):
        w &= words[k, j]
    return w | _beyond(j, columns)


@njit(cache=True, nogil=True)
def _beyond(j, columns):
    """The bits of word j that stand for no column."""
    last = columns - 64 * j
    return ALL << np.uint64(last) if last < 64 else ZERO


@njit(cache=True, nogil=True)
def dilate(source, r, valid, out):
    """Set the (2r + 1)^2 neighbourhood of every pixel of the source, so far as it is valid; `valid` has the rows."""
    clear(out)
    words, flags = source
    n = words.shape[1]
    for i in range(len(flags)):
        for f in range(flags.shape[1]):
            left = flags[i, f]
            while left != ZERO:
                j = 64 * f + np.int64(count_trailing_zeros(left))
                left &= left - ONE
                w = words[i, j]
                wide, before, after = w, ZERO, ZERO
                for k in range(1, r + 1):
                    up, down = np.uint64(k), np.uint64(64 - k)
                    wide |= (w << up) | (w >> up)
                    before |= w << down
                    after |= w >> down
                for k in range(max(0, i - r), min(len(valid), i + r + 1)):
                    put(out, k, j, wide & valid[k, j])
                    if before != ZERO and j > 0:
                        put(out, k, j - 1, before & valid[k, j - 1])
                    if after != ZERO and j + 1 < n:
                        put(out, k, j + 1, after & valid[k, j + 1])


@njit(cache=True, nogil=True)
def runs(bitmap, i, starts, stops):
    """Runs of set bits of row i into starts and stops; returns their number."""
    words, flags = bitmap
    n = 0
    end = np.int64(-1)  # of a run that reached the end of the word before
    for f in range(flags.shape[1]):
        left = flags[i, f]
        while left != ZERO:
            j = 64 * f + np.int64(count_trailing_zeros(left))
            left &= left - ONE
            word = words[i, j]
            while word != ZERO:
                low = count_trailing_zeros(word)
                gap = ~(word >> low)
                length = count_trailing_zeros(gap) if gap != ZERO else np.uint64(64)
                begin = 64 * j + np.int64(low)
                if begin == end:
                    n -= 1
                else:
                    starts[n] = begin
                end = begin + np.int64(length)
                stops[n] = end
                n += 1
                done = low + length
                word = word >> done << done if done < np.uint64(64) else ZERO
    return n


@njit(cache=True, nogil=True)
def unset_runs(words, columns, first, begin_end):
    """Runs of unset bits: those of row i become begin_end[first[i] : first[i + 1]], so far as there is room.

    Parameters
    ----------
    words : (rows, words)
    first : (rows + 1,), set here
    begin_end : (n, 2), set here

    Returns
    -------
    Number of runs
    """
    n = 0
    for i in range(len(words)):
        first[i] = n
        within = False
        for j in range(words.shape[1]):
            word = words[i, j] | _beyond(j, columns)
            position = ZERO
            while True:
                ahead = (word if within else ~word) & (ALL << position)
                if ahead == ZERO:
                    break
                position = count_trailing_zeros(ahead)
                if n < len(begin_end):
                    begin_end[n, 1 if within else 0] = 64 * j + np.int64(position)
                if within:
                    n += 1
                within = not within
        if within:
            if n < len(begin_end):
                begin_end[n, 1] = columns
            n += 1
    first[len(words)] = n
    return n
