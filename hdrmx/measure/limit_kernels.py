"""Loops that do nothing but what their name says, to find what one core and the memory can do at best."""

from __future__ import annotations

import numpy as np
from numba import njit

OPS = 16  # of `int_ops` and `float_ops` for each element and pass


@njit(cache=True, nogil=True)
def read_words(words, times):
    """Sum of all words, `times` over: as fast as memory can be read."""
    total = np.uint64(0)
    for k in range(times):
        for i in range(words.size):
            total += words[i]
        total ^= np.uint64(k)
    return total


@njit(cache=True, nogil=True)
def copy_words(words, out, times):
    """Copy, `times` over."""
    for k in range(times):
        for i in range(words.size):
            out[i] = words[i] + np.uint64(k)


@njit(cache=True, nogil=True)
def int_ops(values, times):
    """Eight additions and eight exclusive-ors of 32-bit integers on each element, `times` over."""
    a, b = np.int32(3), np.int32(7)
    for _ in range(times):
        for i in range(values.size):
            v = values[i]
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            v = np.int32(v + a) ^ b
            values[i] = v


@njit(cache=True, nogil=True)
def float_ops(values, times):
    """Eight multiplications and eight additions of 64-bit floats on each element, `times` over; they stay bounded."""
    a, b = 0.5, 1.0
    for _ in range(times):
        for i in range(values.size):
            v = values[i]
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            v = v * a + b
            values[i] = v
