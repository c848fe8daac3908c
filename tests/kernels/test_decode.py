"""Decoders against the HDF5 filters, against a plain reading of the formats, and against one another."""

from __future__ import annotations

import numpy as np
import pytest
from decode_cases import frame_of, pack_by_hdf5, pack_byte_offset, photons, real_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.errors import BadFrame
from hdrmx.frames import Codec
from hdrmx.kernels.decode import Events, Workspace, can_decode_events, decode_dense, decode_events, pack_valid
from hdrmx.kernels.encode import encode_bslz4

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 150))
MEANS = st.sampled_from([0.0, 0.005, 0.1, 1.0, 60.0])
DTYPES = ["uint8", "uint16", "uint32", "int32"]


def dense(frame):
    """The frame's pixels, with canaries round the buffer."""
    n = frame.shape[0] * frame.shape[1]
    guarded = np.full(n + 2 * 64, 99, frame.dtype)
    out = guarded[64 : 64 + n].reshape(frame.shape)
    assert decode_dense(frame, out, Workspace(frame.shape, frame.dtype)) == frame.load().size
    assert (guarded[:64] == 99).all()
    assert (guarded[64 + n :] == 99).all()
    return out


def check_events(frame, pixels, mask):
    """The events of a frame are its valid pixels above zero, in order, and the offsets point to them."""
    events = Events(frame.shape)
    assert decode_events(frame, pack_valid(mask), events, Workspace(frame.shape, frame.dtype)) == frame.load().size
    wanted = np.flatnonzero((pixels > 0) & mask)
    np.testing.assert_array_equal(events.index[: events.n], wanted)
    np.testing.assert_array_equal(events.count[: events.n], pixels.reshape(-1)[wanted])
    bins = np.arange(len(events.offset)) * 256
    np.testing.assert_array_equal(events.offset, np.searchsorted(wanted, bins))


def a_mask(shape):
    return np.random.default_rng(0).random(shape) > 0.03


@given(dtype=st.sampled_from(DTYPES), shape=SHAPES, mean=MEANS, seed=st.integers(0, 99), eighths=st.integers(0, 700))
@settings(max_examples=120, deadline=None)
def test_bitshuffle_gives_what_hdf5_wrote(dtype, shape, mean, seed, eighths):
    pixels = photons(seed, shape, dtype, mean)
    frame = frame_of(pack_by_hdf5(pixels, Codec.BSLZ4, 8 * eighths), shape, dtype, Codec.BSLZ4)
    np.testing.assert_array_equal(dense(frame), pixels)
    check_events(frame, pixels, a_mask(shape))


@given(dtype=st.sampled_from(DTYPES), shape=SHAPES, mean=MEANS, words=st.sampled_from([1, 2, 5, 32, 64, 500]))
@settings(max_examples=60, deadline=None)
def test_events_of_any_block_of_whole_words(dtype, shape, mean, words):
    pixels = photons(3, shape, dtype, mean)
    frame = frame_of(encode_bslz4(pixels, 64 * words * pixels.itemsize), shape, dtype, Codec.BSLZ4)
    np.testing.assert_array_equal(dense(frame), pixels)
    check_events(frame, pixels, a_mask(shape))


@given(dtype=st.sampled_from(DTYPES), shape=SHAPES, mean=MEANS, block_bytes=st.sampled_from([0, 16, 100, 4096, 10**6]))
@settings(max_examples=60, deadline=None)
def test_lz4_gives_what_hdf5_wrote(dtype, shape, mean, block_bytes):
    pixels = photons(4, shape, dtype, mean)
    frame = frame_of(pack_by_hdf5(pixels, Codec.LZ4, block_bytes), shape, dtype, Codec.LZ4)
    np.testing.assert_array_equal(dense(frame), pixels)
    check_events(frame, pixels, a_mask(shape))


@given(values=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 300), min_size=1, max_size=200))
@settings(max_examples=120, deadline=None)
def test_byte_offset_gives_what_was_written(values):
    pixels = np.array([values], np.int32)
    frame = frame_of(pack_byte_offset(pixels) + b"tail", pixels.shape, np.int32, Codec.BYTE_OFFSET)
    if np.abs(np.diff(values, prepend=0)).max() >= 2**31:
        with pytest.raises(BadFrame, match="beyond int32"):
            dense(frame)
    else:
        np.testing.assert_array_equal(dense(frame), pixels)
        check_events(frame, pixels, np.ones(pixels.shape, bool))


def test_byte_offset_beyond_32_bits_is_refused():
    up = b"\x80\x00\x80" + (2**31 - 1).to_bytes(4, "little")
    for payload in (up + b"\x01" * 9, up + up):
        with pytest.raises(BadFrame, match="beyond int32 near pixel 1 of 10"):
            dense(frame_of(payload, (2, 5), np.int32, Codec.BYTE_OFFSET))


@pytest.mark.parametrize("dtype", DTYPES)
def test_uncompressed_frames(dtype):
    pixels = photons(2, (40, 61), dtype, 0.5)
    frame = frame_of(pixels.tobytes(), pixels.shape, dtype, Codec.RAW)
    np.testing.assert_array_equal(dense(frame), pixels)
    check_events(frame, pixels, a_mask(pixels.shape))


def test_negative_pixels_are_no_events():
    pixels = np.tile(np.array([-2, 5, 0, -1, 2**31 - 1], np.int32), 400).reshape(20, 100)
    for codec, payload in (
        (Codec.BSLZ4, encode_bslz4(pixels)),
        (Codec.BYTE_OFFSET, pack_byte_offset(pixels % 100 - 2)),
    ):
        frame = frame_of(payload, pixels.shape, np.int32, codec)
        check_events(frame, dense(frame), np.ones(pixels.shape, bool))


def test_events_make_room_for_themselves():
    pixels = np.full((300, 300), 3, np.uint16)
    for frame in (
        frame_of(encode_bslz4(pixels), pixels.shape, np.uint16, Codec.BSLZ4),
        frame_of(pixels.tobytes(), pixels.shape, np.uint16, Codec.RAW),
    ):
        check_events(frame, pixels, np.ones(pixels.shape, bool))


def test_workspace_and_events_serve_one_frame_after_another():
    work, events = Workspace((90, 100), np.uint16), Events((90, 100))
    mask = a_mask((90, 100))
    for seed, block in ((1, 8192), (2, 128), (3, 2**16), (4, 48), (5, 8192)):
        pixels = photons(seed, (90, 100), np.uint16, 0.3)
        frame = frame_of(encode_bslz4(pixels, block), (90, 100), np.uint16, Codec.BSLZ4)
        decode_events(frame, pack_valid(mask), events, work)
        np.testing.assert_array_equal(events.index[: events.n], np.flatnonzero((pixels > 0) & mask))


def test_real_chunks_as_through_hdf5(shared_data):
    n = 0
    for name, frame, pixels in real_frames(shared_data / "eiger_h5_chunks"):
        np.testing.assert_array_equal(dense(frame), pixels, err_msg=name)
        check_events(frame, pixels, pixels < np.iinfo(pixels.dtype).max)
        n += 1
    assert n > 50


def test_which_codecs_have_a_direct_way_to_events():
    assert can_decode_events(frame_of(b"", (1, 1), np.uint8, Codec.BSLZ4))
    assert not can_decode_events(frame_of(b"", (1, 1), np.int32, Codec.BYTE_OFFSET))


def damaged(chunk, at, new):
    return chunk[:at] + new + chunk[at + len(new) :]


def test_bad_chunks_are_described():
    pixels = photons(1, (100, 300), np.uint16, 0.1)
    chunk = encode_bslz4(pixels)
    bs, plain = Codec.BSLZ4, pack_by_hdf5(pixels, Codec.LZ4, 8192)
    cases = [
        (bs, b"", "the chunk has 0 bytes, fewer than its header of 12"),
        (bs, damaged(chunk, 0, b"\xff"), r"announces 18374686479671683680 bytes of pixels, the frame has 60000"),
        (bs, damaged(chunk, 8, b"\x00\x00\x00\x07"), "block size is 7 bytes"),
        (bs, chunk[:14], "bitshuffle-LZ4 block 1 of 8 is missing"),
        (bs, chunk[:-5], "bitshuffle-LZ4 block 8 of 8 is truncated"),
        (bs, damaged(chunk, 12, b"\x00\x00\x00\x00"), "block 1 of 8 ends within an LZ4 sequence"),
        (Codec.LZ4, damaged(plain, 8, bytes(4)), "LZ4 block size is 0"),
        (Codec.LZ4, plain[:-5], "LZ4 block 8 of 8 is truncated"),
        (Codec.RAW, bytes(59999), "59999 bytes of uncompressed pixels, the frame has 60000"),
    ]
    for codec, payload, reason in cases:
        frame = frame_of(payload, pixels.shape, np.uint16, codec)
        with pytest.raises(BadFrame, match=reason) as error:
            dense(frame)
        assert str(error.value).startswith("test.h5:/entry/data/data: frame 7: ")
        events = Events(pixels.shape)
        with pytest.raises(BadFrame, match=reason):
            decode_events(frame, pack_valid(pixels < 9), events, Workspace(pixels.shape, np.uint16))
        assert events.n == 0
    with pytest.raises(BadFrame, match=r"data of 0 bytes end at pixel 0 of 6 \(slow 0, fast 0\)"):
        dense(frame_of(b"", (2, 3), np.int32, Codec.BYTE_OFFSET))


def test_wrong_buffers_are_refused():
    frame = frame_of(bytes(12), (2, 3), np.uint16, Codec.RAW)
    work = Workspace((2, 3), np.uint16)
    for out in (np.zeros((2, 3), np.uint32), np.zeros((3, 2), np.uint16), np.zeros((2, 6), np.uint16)[:, ::2]):
        with pytest.raises(ValueError, match="in C order"):
            decode_dense(frame, out, work)
    with pytest.raises(ValueError, match="work is for"):
        decode_dense(frame, np.zeros((2, 3), np.uint16), Workspace((2, 3), np.int32))
    with pytest.raises(ValueError, match="not for frames"):
        decode_events(frame, np.zeros(0, np.uint8), Events((2, 3)), work)
    with pytest.raises(ValueError, match="float32"):
        Workspace((2, 3), np.float32)
