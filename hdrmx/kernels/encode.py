"""Packing of frames as bitshuffle-LZ4 (HDF5 filter 32008), for the simulator and the tests.

Formats: Masui et al. (2015) Astronomy and Computing 12, 181-190 (bitshuffle); LZ4 block format
description (Y. Collet). The match finder is greedy, with one hash table of the last position of each
four-byte sequence; runs of zeros, of which bit planes mostly consist, become one long match.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.intrinsics import PAD_BYTES, copy16, count_trailing_zeros, gather_plane, load64, store64

BLOCK_BYTES = 8192
HEADER_BYTES = 12
_HASH_BITS = 12
_MIN_MATCH = 4
_LAST_LITERALS = 5  # the format's rule: the last five bytes are literals,
_MATCH_LIMIT = 12  # and no match begins within the last twelve
_MAX_OFFSET = 65535
_per_thread = threading.local()


def encode_bslz4(array: npt.NDArray, block_bytes: int = BLOCK_BYTES) -> bytes:
    """Pack an array as one chunk that the HDF5 filter 32008 (bitshuffle, LZ4) reads.

    Parameters
    ----------
    array : any shape, uint8, uint16, uint32 or int32
    block_bytes : size of one block, a multiple of 8 elements

    Returns
    -------
    The 12-byte header, the blocks, and the last `array.size % 8` elements as they are. Safe to call from several
    threads at once; the interpreter lock is released while packing.

    Raises
    ------
    ValueError : another dtype, or a block that does not hold a multiple of 8 elements
    """
    if array.dtype not in (np.uint8, np.uint16, np.uint32, np.int32):
        raise ValueError(f"dtype is {array.dtype}; uint8, uint16, uint32 and int32 can be packed")
    itemsize = array.dtype.itemsize
    if block_bytes <= 0 or block_bytes % (8 * itemsize):
        raise ValueError(f"block_bytes is {block_bytes}; it must be a positive multiple of {8 * itemsize}")
    values = np.ascontiguousarray(array).reshape(-1).view(f"u{itemsize}")
    out, planes, table = _buffers(values.nbytes, block_bytes)
    table.fill(-(_MAX_OFFSET + 1))
    n = _encode(values, itemsize, block_bytes, out, planes, table)
    return out[:n].tobytes()


def _buffers(n_bytes: int, block_bytes: int) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """This thread's (output, planes of one block, hash table); made anew when the sizes change."""
    key = (n_bytes, block_bytes)
    if getattr(_per_thread, "key", None) != key:
        n_blocks = n_bytes // block_bytes + 1
        largest = HEADER_BYTES + n_bytes + n_bytes // 255 + 32 * n_blocks + PAD_BYTES
        _per_thread.buffers = (
            np.empty(largest, np.uint8),
            np.zeros(min(block_bytes, n_bytes) + PAD_BYTES, np.uint8),
            np.empty(1 << _HASH_BITS, np.int64),
        )
        _per_thread.key = key
    return _per_thread.buffers


@njit(cache=True, nogil=True)
def _encode(values, itemsize, block_bytes, out, planes, table):
    """Write header and blocks; returns their length."""
    n = values.size
    _store_big_endian(out, 0, n * itemsize, 8)
    _store_big_endian(out, 8, block_bytes, 4)
    at = HEADER_BYTES
    first = 0
    while n - first >= 8:
        n_block = min(block_bytes // itemsize, (n - first) // 8 * 8)
        _shuffle(values, first, n_block, itemsize, planes)
        # Positions in the hash table count from the beginning of the frame, so that it need not be cleared.
        end = _compress(planes, n_block * itemsize, out, at + 4, table, first * itemsize)
        _store_big_endian(out, at, end - at - 4, 4)
        at = end
        first += n_block
    for i in range(first, n):
        value = np.uint64(values[i])
        for k in range(itemsize):
            out[at] = np.uint8((value >> np.uint64(8 * k)) & np.uint64(255))
            at += 1
    return at


@njit(cache=True, nogil=True)
def _store_big_endian(out, at, value, n_bytes):
    for k in range(n_bytes):
        out[at + k] = (value >> (8 * (n_bytes - 1 - k))) & 255


@njit(cache=True, nogil=True)
def _shuffle(values, first, n, itemsize, planes):
    """Lay out n elements (a multiple of 8) as bit planes of n / 8 bytes, lowest bit first."""
    n_bits = 8 * itemsize
    stride = n // 8
    for i in range(0, n, 64):
        width = min(8, stride - i // 8)
        whole = first + i + 64 <= values.size
        for bit in range(n_bits):
            at = bit * stride + i // 8
            if whole and width == 8:
                store64(planes, at, gather_plane(values, first + i, bit))
                continue
            word = _gather_some(values, first + i, 8 * width, bit)
            for k in range(width):
                planes[at + k] = np.uint8((word >> np.uint64(8 * k)) & np.uint64(255))


@njit(cache=True, nogil=True)
def _gather_some(values, first, n, bit):
    """Bit `bit` of up to 64 elements."""
    word = np.uint64(0)
    for k in range(n):
        word |= ((np.uint64(values[first + k]) >> np.uint64(bit)) & np.uint64(1)) << np.uint64(k)
    return word


@njit(cache=True, nogil=True)
def _compress(source, n, out, at, table, base):
    """LZ4 block of source[:n] at out[at:]; returns its end. `base`: position of source[0] for the hash table."""
    anchor = 0
    i = 0
    misses = 1 << 6  # the search strides faster the longer it finds nothing
    while i <= n - _MATCH_LIMIT - 1:
        head = load64(source, i)
        slot = _slot(head)
        candidate = table[slot] - base
        table[slot] = base + i
        if candidate < 0 or i - candidate > _MAX_OFFSET or (load64(source, candidate) ^ head) & np.uint64(0xFFFFFFFF):
            i += misses >> 6
            misses += 1
            continue
        length = _MIN_MATCH + _common(source, i + _MIN_MATCH, candidate + _MIN_MATCH, n - _LAST_LITERALS)
        while i > anchor and candidate > 0 and source[i - 1] == source[candidate - 1]:
            i -= 1
            candidate -= 1
            length += 1
        at = _literals(source, anchor, i, out, at, min(length - _MIN_MATCH, 15))
        out[at] = (i - candidate) & 255
        out[at + 1] = (i - candidate) >> 8
        at = _length(out, at + 2, length - _MIN_MATCH)
        i += length
        anchor = i
        misses = 1 << 6
        table[_slot(load64(source, i - 2))] = base + i - 2
    return _literals(source, anchor, n, out, at, 0)


@njit(cache=True, nogil=True)
def _slot(head):
    """Place in the hash table of the low four bytes of `head`."""
    product = (head & np.uint64(0xFFFFFFFF)) * np.uint64(2654435761)
    return (product >> np.uint64(32 - _HASH_BITS)) & np.uint64((1 << _HASH_BITS) - 1)


@njit(cache=True, nogil=True)
def _common(source, i, j, limit):
    """Number of equal bytes from i and j on, with i < limit. Reads up to 7 bytes past the limit (padding)."""
    start = i
    while i < limit:
        differ = load64(source, i) ^ load64(source, j)
        if differ:
            i += np.int64(count_trailing_zeros(differ) >> np.uint64(3))
            break
        i += 8
        j += 8
    return min(i, limit) - start


@njit(cache=True, nogil=True)
def _literals(source, start, end, out, at, match_code):
    """Token, literal length, literals; returns the new end. Copies up to 15 bytes too many (padding)."""
    n = end - start
    out[at] = min(n, 15) << 4 | match_code
    at = _length(out, at + 1, n)
    for k in range(0, n, 16):
        copy16(out, at + k, source, start + k)
    return at + n


@njit(cache=True, nogil=True)
def _length(out, at, n):
    """The bytes that continue a length of 15 or more."""
    if n < 15:
        return at
    n -= 15
    while n >= 255:
        out[at] = 255
        at += 1
        n -= 255
    out[at] = n
    return at + 1
