"""Maps of one bit a pixel: rows of 64-bit words, pixel 64 w + b of a row in bit b of word w."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.intrinsics import count_ones, count_trailing_zeros

ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ZERO = np.uint64(0)


def words_of(columns: int) -> int:
    """Words in a row."""
    return (columns + 63) // 64


def pack(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """(slow, words) map of a (slow, fast) mask; the bits beyond the last column are 0."""
    slow, fast = mask.shape
    padded = np.zeros((slow, 64 * words_of(fast)), bool)
    padded[:, :fast] = mask
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def unpack(words: npt.NDArray[np.uint64], fast: int) -> npt.NDArray[np.bool_]:
    """Inverse of `pack`."""
    flat = np.unpackbits(np.ascontiguousarray(words, "<u8").view(np.uint8), axis=1, bitorder="little")
    return flat[:, :fast].astype(bool)


@njit(cache=True, nogil=True)
def erode(source, columns, r, scratch, out):
    """Keep a pixel whose (2r + 1)^2 neighbourhood is set wholly; beyond the edges everything counts as set."""
    height, words = source.shape
    beyond = ALL << np.uint64(columns % 64) if columns % 64 else _ZERO  # of the last word
    for i in range(height):
        for j in range(words):
            w = source[i, j]
            if w:
                for k in range(max(0, i - r), min(height, i + r + 1)):
                    w &= source[k, j]
            scratch[i, j] = w
        if beyond:
            scratch[i, words - 1] |= beyond
        for j in range(words):
            w = scratch[i, j]
            if w:
                left = scratch[i, j - 1] if j > 0 else ALL
                right = scratch[i, j + 1] if j + 1 < words else ALL
                for k in range(1, r + 1):
                    up, down = np.uint64(k), np.uint64(64 - k)
                    w &= ((scratch[i, j] << up) | (left >> down)) & ((scratch[i, j] >> up) | (right << down))
            out[i, j] = w
        if beyond:
            out[i, words - 1] &= ~beyond


@njit(cache=True, nogil=True)
def dilate(source, r, valid, out):
    """Set the (2r + 1)^2 neighbourhood of every pixel of the source, so far as it is valid."""
    height, words = source.shape
    out[:] = _ZERO
    for i in range(height):
        for j in range(words):
            w = source[i, j]
            if not w:
                continue
            wide, before, after = w, _ZERO, _ZERO
            for k in range(1, r + 1):
                up, down = np.uint64(k), np.uint64(64 - k)
                wide |= (w << up) | (w >> up)
                before |= w << down
                after |= w >> down
            for k in range(max(0, i - r), min(height, i + r + 1)):
                out[k, j] |= wide & valid[k, j]
                if before and j > 0:
                    out[k, j - 1] |= before & valid[k, j - 1]
                if after and j + 1 < words:
                    out[k, j + 1] |= after & valid[k, j + 1]


@njit(cache=True, nogil=True)
def runs(row, starts, stops):
    """Runs of set bits of one row of words into starts and stops; returns their number."""
    n = 0
    begun = False
    for j in range(len(row)):
        word = row[j]
        position = _ZERO
        while True:
            ahead = (~word if begun else word) & (ALL << position)
            if ahead == _ZERO:
                break
            position = count_trailing_zeros(ahead)
            if begun:
                stops[n] = 64 * j + np.int64(position)
                n += 1
            else:
                starts[n] = 64 * j + np.int64(position)
            begun = not begun
    if begun:
        stops[n] = 64 * len(row)
        n += 1
    return n


@njit(cache=True, nogil=True)
def count(words):
    """Set bits of a map."""
    n = 0
    for i in range(len(words)):
        for j in range(words.shape[1]):
            if words[i, j]:
                n += int(count_ones(words[i, j]))
    return n
