"""The front door to the decoders: a frame into the caller's buffer, or into events.

Whatever a payload contains, the answer is pixels or `errors.BadFrame`; nothing outside of the buffers is touched.
(LZ4 has no checksum: damage that leaves a chunk decodable gives wrong pixels, in every program.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.errors import BadFrame
from hdrmx.frames import Codec, Frame
from hdrmx.kernels import bitshuffle, byte_offset, lz4
from hdrmx.kernels.bitshuffle import DEFAULT_BLOCK_BYTES, HEADER_BYTES
from hdrmx.kernels.workspace import Events, Workspace, pack_valid

__all__ = ["Events", "Workspace", "can_decode_events", "decode_dense", "decode_events", "pack_valid", "payload_of"]

_REASONS = {
    lz4.TRUNCATED: "ends within an LZ4 sequence",
    lz4.BAD_OFFSET: "has an LZ4 match that begins before the block",
    lz4.TOO_LONG: "gives more bytes than a block holds",
    lz4.TOO_SHORT: "gives fewer bytes than a block holds",
    lz4.NO_LENGTH: "is missing: the chunk ends before it",
    lz4.SHORT_CHUNK: "is truncated: its length goes beyond the end of the chunk",
    bitshuffle.NO_REST: "is followed by too few bytes for the last elements",
}


def can_decode_events(frame: Frame) -> bool:
    """Whether events come straight from the chunk; otherwise `decode_events` lays out the frame first."""
    return frame.codec is Codec.BSLZ4


def payload_of(frame: Frame) -> npt.NDArray[np.uint8]:
    """Load a frame's payload, as the kernels take it; BadFrame where it can't be had."""
    payload = np.ascontiguousarray(frame.load(), np.uint8).reshape(-1)
    if payload.flags.writeable:  # numba compiles again for the other kind
        payload = payload[:]
        payload.flags.writeable = False
    return payload


def decode_dense(frame: Frame, out: npt.NDArray, work: Workspace, payload: npt.NDArray[np.uint8] | None = None) -> int:
    """Unpack a frame into `out`.

    Parameters
    ----------
    out : (slow, fast) of the frame's shape and dtype, C order, written over
    work : scratch memory of this thread, made for this shape and dtype
    payload : of `payload_of`, where it has been loaded before

    Returns
    -------
    Bytes of payload

    Raises
    ------
    BadFrame : the payload can't be had or can't be unpacked; `out` then holds anything
    ValueError : `out` or `work` is not for frames of this shape and dtype
    """
    _check_buffers(frame, work)
    if out.shape != frame.shape or out.dtype != frame.dtype or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}; the frame is {frame.dtype} {frame.shape}, in C order")
    payload = payload_of(frame) if payload is None else payload
    if frame.codec is Codec.BSLZ4:
        _dense_bslz4(frame, payload, out, work)
    elif frame.codec is Codec.LZ4:
        _dense_lz4(frame, payload, out, work)
    elif frame.codec is Codec.BYTE_OFFSET:
        _dense_byte_offset(frame, payload, out)
    else:
        _dense_raw(frame, payload, out)
    return payload.size


def decode_events(
    frame: Frame,
    valid: npt.NDArray[np.uint8],
    events: Events,
    work: Workspace,
    payload: npt.NDArray[np.uint8] | None = None,
) -> int:
    """Unpack a frame into events: the valid pixels above zero.

    Parameters
    ----------
    valid : of `pack_valid`
    events : filled; made for this shape
    work : scratch memory of this thread, made for this shape and dtype
    payload : of `payload_of`, where it has been loaded before

    Returns
    -------
    Bytes of payload

    Raises
    ------
    BadFrame : the payload can't be had or can't be unpacked; `events` then holds none
    ValueError : `valid`, `events` or `work` is not for frames of this shape and dtype
    """
    _check_buffers(frame, work)
    if events.n_pixels != work.n_pixels or valid.size < work.n_pixels // 8 + 8:
        raise ValueError(f"events or mask are not for frames of {frame.shape} px")
    events.finish(0)
    payload = payload_of(frame) if payload is None else payload
    if frame.codec is Codec.BSLZ4:
        block_bytes = _block_bytes(frame, payload, work)
        if block_bytes % (64 * work.dtype.itemsize) == 0:
            n = _events_bslz4(frame, payload, block_bytes, valid, events, work)
        else:
            _dense_bslz4(frame, payload, work.dense, work)
            n = _events_of(work.dense, valid, events)
    else:
        decode_dense(frame, work.dense, work, payload)
        n = _events_of(work.dense, valid, events)
    events.finish(n)
    return payload.size


def _check_buffers(frame: Frame, work: Workspace) -> None:
    if work.shape != frame.shape or work.dtype != frame.dtype:
        raise ValueError(f"work is for {work.dtype} {work.shape}; the frame is {frame.dtype} {frame.shape}")


def _bad(frame: Frame, reason: str) -> BadFrame:
    return BadFrame(frame.where, frame.index, reason)


def _unsigned(pixels: npt.NDArray) -> npt.NDArray:
    """Flat, and without sign: one specialisation of a kernel for each size of element."""
    return pixels.reshape(-1).view(f"u{pixels.dtype.itemsize}")


def _header(frame: Frame, payload: npt.NDArray[np.uint8]) -> int:
    """Bytes of a block, after the 12-byte header that both LZ4 filters write."""
    if payload.size < HEADER_BYTES:
        raise _bad(frame, f"the chunk has {payload.size} bytes, fewer than its header of {HEADER_BYTES}")
    n_bytes = int.from_bytes(payload[:8].tobytes(), "big")
    wanted = frame.shape[0] * frame.shape[1] * frame.dtype.itemsize
    if n_bytes != wanted:
        raise _bad(frame, f"the chunk's header announces {n_bytes} bytes of pixels, the frame has {wanted}")
    return int.from_bytes(payload[8:12].tobytes(), "big")


def _block_bytes(frame: Frame, payload: npt.NDArray[np.uint8], work: Workspace) -> int:
    """Bytes of a bitshuffle block, for which `work` then has room."""
    itemsize = frame.dtype.itemsize
    block_bytes = _header(frame, payload) or DEFAULT_BLOCK_BYTES
    if block_bytes % (8 * itemsize):
        raise _bad(frame, f"bitshuffle block size is {block_bytes} bytes, not a multiple of 8 elements")
    work.fit(min(block_bytes, work.n_pixels * itemsize))
    return block_bytes


def _dense_bslz4(frame: Frame, payload: npt.NDArray[np.uint8], out: npt.NDArray, work: Workspace) -> None:
    block_bytes = _block_bytes(frame, payload, work)
    end, block = bitshuffle.bslz4_dense(
        payload, HEADER_BYTES, block_bytes, _unsigned(out), work.words, work.scratch, work.summary
    )
    _check_block(frame, "bitshuffle-LZ4", end, block, block_bytes)


def _events_bslz4(
    frame: Frame,
    payload: npt.NDArray[np.uint8],
    block_bytes: int,
    valid: npt.NDArray[np.uint8],
    events: Events,
    work: Workspace,
) -> int:
    """Number of events of a chunk with blocks of 64 k elements; those too few for a word of 64 go through pixels."""
    buffers = (work.words, work.scratch, work.summary)
    kind = (work.n_pixels, work.dtype.itemsize, work.dtype.kind == "i")
    while True:
        room = (events.index, events.count, events.offset)
        end, block, first, n = bitshuffle.bslz4_events(payload, block_bytes, *kind, valid, *room, *buffers)
        if end != bitshuffle.FULL:
            _check_block(frame, "bitshuffle-LZ4", end, block, block_bytes)
            last = np.empty(work.n_pixels - first, work.dtype)
            end, further = bitshuffle.bslz4_dense(payload, end, block_bytes, _unsigned(last), *buffers)
            _check_block(frame, "bitshuffle-LZ4", end, block + further, block_bytes)
            n = bitshuffle.events_of_pixels(last, first, valid, *room, n)
        if n != bitshuffle.FULL and end != bitshuffle.FULL:
            return n
        events.grow()


def _dense_lz4(frame: Frame, payload: npt.NDArray[np.uint8], out: npt.NDArray, work: Workspace) -> None:
    block_bytes = _header(frame, payload)
    if block_bytes == 0:
        raise _bad(frame, "LZ4 block size is 0")
    work.fit(min(block_bytes, out.nbytes))
    end, block = lz4.lz4_blocks(payload, HEADER_BYTES, block_bytes, out.reshape(-1).view(np.uint8), work.scratch)
    _check_block(frame, "LZ4", end, block, block_bytes)


def _check_block(frame: Frame, codec: str, end: int, block: int, block_bytes: int) -> None:
    """Raise BadFrame, naming the block, where `end` is an error."""
    if end < 0:
        n_blocks = -(-frame.shape[0] * frame.shape[1] * frame.dtype.itemsize // block_bytes)
        raise _bad(frame, f"{codec} block {block + 1} of {n_blocks} {_REASONS[end]}")


def _dense_byte_offset(frame: Frame, payload: npt.NDArray[np.uint8], out: npt.NDArray) -> None:
    limits = np.iinfo(out.dtype)
    end, pixel = byte_offset.byte_offset(payload, out.reshape(-1), limits.min, limits.max)
    if end < 0:
        slow, fast = divmod(pixel, frame.shape[1])
        at = f"pixel {pixel} of {out.size} (slow {slow}, fast {fast})"
        if end == byte_offset.TRUNCATED:
            raise _bad(frame, f"byte-offset data of {payload.size} bytes end at {at}")
        raise _bad(frame, f"byte-offset data give a value beyond {out.dtype} near {at}")


def _dense_raw(frame: Frame, payload: npt.NDArray[np.uint8], out: npt.NDArray) -> None:
    if payload.size != out.nbytes:
        raise _bad(frame, f"there are {payload.size} bytes of uncompressed pixels, the frame has {out.nbytes}")
    out.reshape(-1).view(np.uint8)[:] = payload


def _events_of(pixels: npt.NDArray, valid: npt.NDArray[np.uint8], events: Events) -> int:
    """Number of events of a frame that is laid out."""
    while True:
        n = bitshuffle.events_of_pixels(pixels.reshape(-1), 0, valid, events.index, events.count, events.offset, 0)
        if n != bitshuffle.FULL:
            return n
        events.grow()
