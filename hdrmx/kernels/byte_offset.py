"""CBF byte-offset pixels: the difference from the pixel before, in one byte where it fits, else in two or four.

Format: International Tables G, chapter 2.3, `x-CBF_BYTE_OFFSET`. A byte of -128 announces a 16-bit difference, which,
if it is -32768, announces one of 32 bits, which, if it is -2^31, announces one of 64; all little-endian.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hdrmx.kernels.intrinsics import load64

TRUNCATED = -1  # the payload ends before the last pixel
OUT_OF_RANGE = -2  # a pixel, or a difference, is beyond 32 bits

_ESCAPE_8 = np.int64(-128)
_ESCAPE_16 = np.int64(-32768)
_ESCAPE_32 = np.int64(-(2**31))
_LOW_BITS = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)


@njit(cache=True, nogil=True)
def byte_offset(payload, out, lowest, highest):
    """Unpack a payload that starts at the first difference.

    Parameters
    ----------
    payload : uint8
    out : (n,) pixels, int32
    lowest, highest : values a pixel may have

    Returns
    -------
    (error or bytes read, number of the pixel)
    """
    n = out.size
    at, i = 0, 0
    value = np.int64(0)
    while i < n:
        if i + 8 <= n and at + 8 <= payload.size:
            eight = load64(payload, at)
            marked = eight ^ _HIGH_BITS  # a zero byte where there is an escape
            if not (marked - _LOW_BITS) & ~marked & _HIGH_BITS:
                low, high = value, value
                for k in range(8):
                    value += np.int64(np.int8(eight >> np.uint64(8 * k) & np.uint64(255)))
                    low, high = min(low, value), max(high, value)
                    out[i + k] = value
                if low < lowest or high > highest:
                    return OUT_OF_RANGE, i
                i += 8
                at += 8
                continue
        step, at = _difference(payload, at)
        if at < 0:
            return at, i
        value += step
        if value < lowest or value > highest:
            return OUT_OF_RANGE, i
        out[i] = value
        i += 1
    return at, i


@njit(cache=True, nogil=True)
def _difference(payload, at):
    """(the difference at `at`, where the next one is, or an error)."""
    step, at = _signed(payload, at, 1)
    if at >= 0 and step == _ESCAPE_8:
        step, at = _signed(payload, at, 2)
        if at >= 0 and step == _ESCAPE_16:
            step, at = _signed(payload, at, 4)
            if at >= 0 and step == _ESCAPE_32:
                return step, OUT_OF_RANGE
    return step, at


@njit(cache=True, nogil=True)
def _signed(payload, at, n_bytes):
    """(little-endian signed number of n_bytes, where it ends, or an error)."""
    if at + n_bytes > payload.size:
        return np.int64(0), TRUNCATED
    value = np.int64(0)
    for k in range(n_bytes):
        value |= np.int64(payload[at + k]) << (8 * k)
    sign = np.int64(1) << (8 * n_bytes - 1)
    return (value ^ sign) - sign, at + n_bytes
