"""Bitshuffle-LZ4 chunks (HDF5 filter 32008) to pixels, or straight to events: the pixels that have counts.

Format: Masui et al. (2015) Astronomy and Computing 12, 181-190. A chunk is a header of 12 bytes (8: bytes of pixels,
4: bytes of a block, both big-endian), then the blocks, each with a big-endian length of 4 bytes before it. Unpacked, a
block of n elements holds one plane of n / 8 bytes for each bit, lowest bit first; bit k of byte i belongs to element
8 i + k. The last block is as long as whole groups of 8 elements allow; what is left over follows as it is.

Each block is unpacked into a buffer that stays in the first cache. Photon counts are small, so all planes but the
lowest four are zero except at gaps and dead pixels: 64 pixels cost four planes, and the others only where one is set.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hdrmx.kernels.intrinsics import above_zero, add4, count_ones, count_trailing_zeros, load64, or_rows, spread4
from hdrmx.kernels.lz4 import block_end, lz4_block

HEADER_BYTES = 12
DEFAULT_BLOCK_BYTES = 8192
EVENT_BIN = 256  # pixels for each entry of the events' offsets
NO_REST = -7  # the chunk ends before the last few elements
FULL = -20  # more events than there is room for: not an error of the chunk


@njit(cache=True, nogil=True)
def bslz4_dense(chunk, at, block_bytes, out, words, scratch, summary):
    """Unpack the blocks from chunk[at] on into pixels.

    Parameters
    ----------
    chunk : uint8
    block_bytes : multiple of 8 elements
    out : (n,) uint8, uint16 or uint32
    words, scratch : one buffer as uint64 and as uint8, room for a block (or the frame where that is less) and padding
    summary : uint64, room for two of each 64 elements of a block

    Returns
    -------
    (error or bytes read, number of the block)
    """
    n, itemsize = out.size, out.itemsize
    first, block = 0, 0
    while n - first >= 8:
        n_block = min(block_bytes // itemsize, (n - first) // 8 * 8)
        end = block_end(chunk, at)
        if end < 0:
            return end, block
        result = lz4_block(chunk, at + 4, end, scratch, n_block * itemsize)
        if result < 0:
            return result, block
        if n_block % 64 == 0:
            _lay_out(words, n_block // 64, 8 * itemsize, summary, out, first)
        else:
            _lay_out_plainly(scratch, n_block, 8 * itemsize, out, first)
        at, first, block = end, first + n_block, block + 1
    return _rest(chunk, at, first, out), block


@njit(cache=True, nogil=True)
def _rest(chunk, at, first, out):
    """The last n % 8 elements, which are stored as they are; returns the end of the chunk."""
    itemsize = out.itemsize
    if (out.size - first) * itemsize > chunk.size - at:
        return NO_REST
    for i in range(first, out.size):
        value = np.uint64(0)
        for k in range(itemsize):
            value |= np.uint64(chunk[at]) << np.uint64(8 * k)
            at += 1
        out[i] = value
    return at


@njit(cache=True, nogil=True)
def _merge(words, n_words, first, last, merged, to):
    """merged[to + w] = word w of planes first..last - 1, or-ed. Writes up to 7 words too many."""
    for w in range(0, n_words, 8):
        or_rows(merged, to + w, words, first * n_words + w, n_words, last - first)


@njit(cache=True, nogil=True)
def _lay_out(words, n_words, n_bits, summary, out, first):
    """A block of 64 n_words elements to out[first:]."""
    _merge(words, n_words, 4, n_bits, summary, 0)
    for w in range(n_words):
        i = first + 64 * w
        spread4(out, i, words[w], words[n_words + w], words[2 * n_words + w], words[3 * n_words + w], 0)
        if summary[w]:
            for bit in range(4, n_bits, 4):
                p = bit * n_words + w
                a, b, c, d = words[p], words[p + n_words], words[p + 2 * n_words], words[p + 3 * n_words]
                if a | b | c | d:
                    add4(out, i, a, b, c, d, bit)


@njit(cache=True, nogil=True)
def _lay_out_plainly(scratch, n, n_bits, out, first):
    """A block of n elements, a multiple of 8, to out[first:], bit by bit."""
    n_bytes = n // 8
    for i in range(n):
        value = np.uint64(0)
        for bit in range(n_bits):
            byte = np.uint64(scratch[bit * n_bytes + i // 8])
            value |= (byte >> np.uint64(i % 8) & np.uint64(1)) << np.uint64(bit)
        out[first + i] = value


@njit(cache=True, nogil=True)
def bslz4_events(chunk, block_bytes, n, itemsize, is_signed, valid, index, count, offset, words, scratch, summary):
    """Unpack the blocks of 64 k elements of a chunk into events; the caller does the last elements, from `first` on.

    Parameters
    ----------
    chunk, block_bytes, words, scratch, summary : as for `bslz4_dense`; a block is a multiple of 64 elements
    n, itemsize, is_signed : pixels of the frame, and of which kind
    valid : uint8, bit k % 8 of byte k // 8 is set where pixel k is wanted; 8 bytes more than the pixels need
    index, count, offset : filled with the events, see `decode.Events`

    Returns
    -------
    (error or bytes read, number of the block, first pixel not done, events)
    """
    at, first, block, n_events = HEADER_BYTES, 0, 0, 0
    n_bits = 8 * itemsize
    while n - first >= 64:
        n_block = min(block_bytes // itemsize, (n - first) // 8 * 8)
        if n_block % 64:
            break
        if n_events + n_block + 64 > index.size:
            return FULL, block, first, n_events
        end = block_end(chunk, at)
        if end < 0:
            return end, block, first, n_events
        result = lz4_block(chunk, at + 4, end, scratch, n_block * itemsize)
        if result < 0:
            return result, block, first, n_events
        n_words = n_block // 64
        _merge(words, n_words, 1, 4, summary, 0)
        _merge(words, n_words, 4, n_bits, summary, n_words)
        n_events = _pick_events(
            words, n_words, n_bits, is_signed, summary, valid, first, index, count, offset, n_events
        )
        at, first, block = end, first + n_block, block + 1
    return at, block, first, n_events


@njit(cache=True, nogil=True)
def _pick_events(words, n_words, n_bits, is_signed, summary, valid, first, index, count, offset, n_events):
    """Append the events of one block; returns how many there are now."""
    # Slices and unsigned indices spare numba the thought of negative ones.
    lowest, second = words[:n_words], words[n_words : 2 * n_words]
    third, fourth = words[2 * n_words : 3 * n_words], words[3 * n_words : 4 * n_words]
    low, high = summary[:n_words], summary[n_words : 2 * n_words]
    one = np.uint64(1)
    for w in range(n_words):
        pixel = first + 64 * w
        if pixel % EVENT_BIN == 0:
            offset[pixel // EVENT_BIN] = n_events
        wanted = load64(valid, pixel >> 3)
        if is_signed:
            wanted &= ~words[(n_bits - 1) * n_words + w]
        many = high[w] & wanted
        several = low[w] & wanted | many
        bits = lowest[w] & wanted | several
        before = n_events
        n_events += np.int64(count_ones(bits))
        at = before
        left = bits
        while True:  # four at a time, needed or not: the number of events in a word can't be foreseen
            for k in range(4):
                index[np.uint64(at) + np.uint64(k)] = np.int32(pixel) + np.int32(count_trailing_zeros(left))
                count[np.uint64(at) + np.uint64(k)] = 1
                left &= left - one
            at += 4
            if at >= n_events:
                break
        while several:
            place = count_trailing_zeros(several)
            value = lowest[w] >> place & one | (second[w] >> place & one) << one
            value |= (third[w] >> place & one | (fourth[w] >> place & one) << one) << np.uint64(2)
            if many >> place & one:
                for bit in range(4, n_bits):
                    value |= (words[np.uint64(bit * n_words + w)] >> place & one) << np.uint64(bit)
            count[np.uint64(before) + count_ones(bits & ((one << place) - one))] = value
            several &= several - one
    return n_events


@njit(cache=True, nogil=True)
def events_of_pixels(pixels, base, valid, index, count, offset, n_events):
    """Append the events of pixels[:]; negative ones are left out.

    Parameters
    ----------
    pixels : (n,) integers
    base : number in the frame of the first, a multiple of 64
    valid, index, count, offset : as for `bslz4_events`

    Returns
    -------
    The number of events now, or FULL.
    """
    whole = pixels.size // 64 * 64
    for i in range(0, pixels.size, 64):
        pixel = base + i
        if pixel % EVENT_BIN == 0:
            offset[pixel // EVENT_BIN] = n_events
        if i < whole:
            bits = above_zero(pixels, i)
        else:
            bits = np.uint64(0)
            for k in range(pixels.size - whole):
                bits |= np.uint64(pixels[whole + k] > 0) << np.uint64(k)
        bits &= load64(valid, pixel >> 3)
        if n_events + np.int64(count_ones(bits)) > index.size:
            return FULL
        while bits:
            place = np.int64(count_trailing_zeros(bits))
            index[n_events] = pixel + place
            count[n_events] = pixels[i + place]
            n_events += 1
            bits &= bits - np.uint64(1)
    return n_events
