"""One LZ4 block, unpacked without trust in its contents.

Format: LZ4 block format description (Y. Collet). A block is a row of sequences: a token (4 bits literal length,
4 bits match length - 4; 15 goes on in further bytes), the literals, a two-byte offset back into the output, and
a match of that offset. The last sequence ends after its literals.

Bit planes of photon counts are mostly runs of zeros: on sparse 16-megapixel frames 70 % of the sequences
have no literals, 97 % at most 8, two thirds of the matches are at most 16 long and a third of them are longer than
120. The time goes into mispredicted branches, so that short copies are made with fixed length (beyond
their end, into what is written next or into padding) and lengths are picked without branching.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hdrmx.kernels.intrinsics import copy16, copy32, fill32, load8, load16, load64, store64

TRUNCATED = -1  # the block ends in the middle of a sequence
BAD_OFFSET = -2  # a match begins before the output does
TOO_LONG = -3  # more bytes than the block may hold
TOO_SHORT = -4  # fewer bytes than the block must hold
NO_LENGTH = -5  # the chunk ends before the length of a block
SHORT_CHUNK = -6  # the chunk ends before the end of a block

_NEAR_END = 20  # token + 14 literals + offset + one length byte, and a margin
# A match with an offset o below 8 repeats o bytes: (8 bytes & _KEEP[o]) * _REPEAT[o] is 8 bytes of the
# repetition, and the rest can be copied from _STEP[o] >= 8 (a multiple of o) bytes back.
_KEEP = np.array([0] + [(1 << 8 * o) - 1 for o in range(1, 9)], np.uint64)
_REPEAT = np.array([1] + [sum(1 << 8 * k for k in range(0, 8, o)) for o in range(1, 9)], np.uint64)
_STEP = np.array([8, 8, 8, 9, 8, 10, 12, 14, 8], np.int64)


@njit(cache=True, nogil=True)
def lz4_block(source, start, end, target, n):
    """Unpack source[start:end] into target[:n].

    Parameters
    ----------
    source : uint8; 0 <= start <= end <= source.size
    target : uint8, at least n + PAD_BYTES long; what stands beyond n afterwards means nothing
    n : bytes that the block must give

    Returns
    -------
    n, or TRUNCATED, BAD_OFFSET, TOO_LONG, TOO_SHORT. It reads nothing outside of `source` and writes nothing
    outside of `target`.
    """
    i = np.int64(start)
    o = np.int64(0)
    while i < end:
        token = np.int64(load8(source, i))
        literals = token >> 4
        more = token & 15
        if literals < 15 and i < end - _NEAR_END:  # nearly always: cannot be the last sequence, nor leave the source
            copy16(target, o, source, i + 1)
            i += 1 + literals
            o += literals
            offset = np.int64(load16(source, i))
            further = np.int64(load8(source, i + 2))
            is_long = np.int64(more == 15)
            i += 2 + is_long
            length = 4 + more + further * is_long
            go_on = is_long & np.int64(further == 255)
        else:
            i += 1
            if literals == 15:
                further = np.int64(255)
                while further == 255:
                    if i >= end:
                        return TRUNCATED
                    further = np.int64(load8(source, i))
                    literals += further
                    i += 1
            if literals > end - i:
                return TRUNCATED
            if literals > n - o:
                return TOO_LONG
            _copy(target, o, source, i, literals)
            i += literals
            o += literals
            if i == end:
                return n if o == n else TOO_SHORT
            if i + 2 > end:
                return TRUNCATED
            offset = np.int64(load16(source, i))
            i += 2
            length = 4 + more
            go_on = np.int64(more == 15)
        while go_on:
            if i >= end:
                return TRUNCATED
            further = np.int64(load8(source, i))
            length += further
            i += 1
            go_on = np.int64(further == 255)
        if offset == 0 or offset > o:
            return BAD_OFFSET
        if length > n - o:
            return TOO_LONG
        small = offset if offset < 8 else np.int64(8)
        first = (load64(target, o - offset) & _KEEP[small]) * _REPEAT[small]
        back = max(offset, _STEP[small])
        store64(target, o, first)
        store64(target, o + 8, load64(target, o + 8 - back))
        if length > 16:
            _long_match(target, o, length, offset, back, first)
        o += length
    return TRUNCATED


@njit(cache=True, nogil=True)
def _long_match(target, o, length, offset, back, first):
    """The rest of a match whose first 16 bytes are written; up to 31 bytes too many."""
    if 8 % offset == 0:  # 1, 2, 4, 8: `first` over and over
        for k in range(16, length, 32):
            fill32(target, o + k, first)
    elif offset >= 32:
        for k in range(16, length, 32):
            copy32(target, o + k, target, o + k - offset)
    else:
        for k in range(16, length, 8):
            store64(target, o + k, load64(target, o + k - back))


@njit(cache=True, nogil=True)
def _copy(target, to, source, start, n):
    """Exactly n bytes are read, up to 7 too many written."""
    k = 0
    while k + 8 <= n:
        store64(target, to + k, load64(source, start + k))
        k += 8
    while k < n:
        target[to + k] = source[start + k]
        k += 1


@njit(cache=True, nogil=True)
def block_end(chunk, at):
    """Where the block whose length stands at `at` ends, or an error."""
    if at + 4 > chunk.size:
        return NO_LENGTH
    length = np.int64(0)
    for k in range(4):
        length = length << 8 | np.int64(chunk[at + k])
    if length > chunk.size - at - 4:
        return SHORT_CHUNK
    return at + 4 + length


@njit(cache=True, nogil=True)
def lz4_blocks(chunk, at, block_bytes, out, scratch):
    """Unpack the blocks of the HDF5 filter 32004 from chunk[at] on.

    Each has a big-endian length of 4 bytes before it; one that takes as many bytes as it holds is stored as it is.

    Parameters
    ----------
    chunk, out : uint8
    block_bytes : above 0
    scratch : uint8, room for a block (or `out` where that is less) and PAD_BYTES

    Returns
    -------
    (error or bytes read, number of the block)
    """
    first, block = 0, 0
    while first < out.size:
        n = min(block_bytes, out.size - first)
        end = block_end(chunk, at)
        if end < 0:
            return end, block
        if end - at - 4 == n:
            out[first : first + n] = chunk[at + 4 : end]
        else:
            result = lz4_block(chunk, at + 4, end, scratch, n)
            if result < 0:
                return result, block
            out[first : first + n] = scratch[:n]
        at, first, block = end, first + n, block + 1
    return at, block
