"""The formats as their descriptions put them, for reading and for tests; thousands of times slower than `decode`.

Each function takes the payload as bytes and returns pixels, or raises Damaged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.frames import Codec


class Damaged(ValueError):
    """The payload is not what its format demands."""


def decode_plain(payload: bytes, shape: tuple[int, int], dtype: npt.DTypeLike, codec: Codec) -> npt.NDArray:
    """Pixels (slow, fast) of one payload. Raises Damaged."""
    unpack = {
        Codec.BSLZ4: unpack_bslz4,
        Codec.LZ4: unpack_lz4,
        Codec.BYTE_OFFSET: unpack_byte_offset,
        Codec.RAW: unpack_raw,
    }[codec]
    return unpack(payload, shape[0] * shape[1], np.dtype(dtype)).reshape(shape)


def events_plain(pixels: npt.NDArray, mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray, npt.NDArray]:
    """(index, count) of the valid pixels above zero."""
    index = np.flatnonzero((pixels > 0) & mask)
    return index, pixels.reshape(-1)[index]


def unpack_lz4_block(block: bytes, n: int) -> bytes:
    """The n bytes of one LZ4 block."""
    out = bytearray()
    i = 0

    def take(k: int) -> bytes:
        nonlocal i
        if i + k > len(block):
            raise Damaged("the block ends within a sequence")
        i += k
        return block[i - k : i]

    def length(first: int) -> int:
        total = first
        further = 255 if first == 15 else 0
        while further == 255:
            further = take(1)[0]
            total += further
        return total

    while True:
        token = take(1)[0]
        out += take(length(token >> 4))
        if i == len(block):
            break
        offset = int.from_bytes(take(2), "little")
        match = 4 + length(token & 15)
        if offset == 0 or offset > len(out):
            raise Damaged("a match begins before the block")
        if len(out) + match > n:
            raise Damaged("more bytes than the block holds")
        for _ in range(match):
            out.append(out[-offset])
    if len(out) != n:
        raise Damaged(f"{len(out)} bytes in a block of {n}")
    return bytes(out)


def unpack_bslz4(chunk: bytes, n: int, dtype: np.dtype) -> npt.NDArray:
    """HDF5 filter 32008."""
    block_bytes, rest = _header(chunk, n, dtype)
    block_bytes = block_bytes or 8192
    if block_bytes % (8 * dtype.itemsize):
        raise Damaged("a block is not a multiple of 8 elements")
    parts = []
    done = 0
    while n - done >= 8:
        n_block = min(block_bytes // dtype.itemsize, (n - done) // 8 * 8)
        packed, rest = _next_block(rest)
        shuffled = np.frombuffer(unpack_lz4_block(packed, n_block * dtype.itemsize), np.uint8)
        planes = np.unpackbits(shuffled.reshape(8 * dtype.itemsize, -1), axis=1, bitorder="little")
        parts.append(np.packbits(planes.T, axis=1, bitorder="little").tobytes())
        done += n_block
    last = (n - done) * dtype.itemsize
    if len(rest) < last:
        raise Damaged("the last elements are missing")
    return np.frombuffer(b"".join(parts) + rest[:last], dtype)


def unpack_lz4(chunk: bytes, n: int, dtype: np.dtype) -> npt.NDArray:
    """HDF5 filter 32004."""
    block_bytes, rest = _header(chunk, n, dtype)
    if block_bytes == 0:
        raise Damaged("the block size is 0")
    out = b""
    while len(out) < n * dtype.itemsize:
        n_block = min(block_bytes, n * dtype.itemsize - len(out))
        packed, rest = _next_block(rest)
        out += packed if len(packed) == n_block else unpack_lz4_block(packed, n_block)
    return np.frombuffer(out, dtype)


def unpack_byte_offset(payload: bytes, n: int, dtype: np.dtype) -> npt.NDArray:
    """CBF byte-offset."""
    limits = np.iinfo(dtype)
    values: list[int] = []
    value = i = 0
    while len(values) < n:
        for width in (1, 2, 4, 8):
            step = int.from_bytes(payload[i : i + width], "little", signed=True)
            if i + width > len(payload):
                raise Damaged("the payload ends before the last pixel")
            i += width
            if step != -(1 << 8 * width - 1):
                break
        value += step
        if width == 8 or not limits.min <= value <= limits.max:
            raise Damaged(f"a value beyond {dtype}")
        values.append(value)
    return np.array(values, dtype)


def unpack_raw(payload: bytes, n: int, dtype: np.dtype) -> npt.NDArray:
    """Pixels as they are."""
    if len(payload) != n * dtype.itemsize:
        raise Damaged(f"{len(payload)} bytes")
    return np.frombuffer(payload, dtype)


def _header(chunk: bytes, n: int, dtype: np.dtype) -> tuple[int, bytes]:
    """(bytes of a block, what follows the header) of the HDF5 filters."""
    if len(chunk) < 12 or int.from_bytes(chunk[:8], "big") != n * dtype.itemsize:
        raise Damaged("the header announces another size")
    return int.from_bytes(chunk[8:12], "big"), chunk[12:]


def _next_block(rest: bytes) -> tuple[bytes, bytes]:
    """(block, what follows it)."""
    if len(rest) < 4 or len(rest) - 4 < (n := int.from_bytes(rest[:4], "big")):
        raise Damaged("a block is truncated")
    return rest[4 : 4 + n], rest[4 + n :]
