"""Thousands of damaged chunks through every decoder: pixels or BadFrame, as the plain decoders say, and nothing else.

Payload and output stand directly before an unreadable page, so that an access beyond them kills the run.
With NUMBA_BOUNDSCHECK=1 every index inside the kernels is checked as well.
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from decode_cases import FILTERS, pack_by_hdf5, pack_byte_offset, photons
from guarded import CAN_GUARD, Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import damage

from hdrmx.errors import BadFrame
from hdrmx.frames import Codec, Frame
from hdrmx.kernels import lz4
from hdrmx.kernels.decode import Events, Workspace, decode_dense, decode_events, pack_valid
from hdrmx.kernels.decode_plain import Damaged, decode_plain, events_plain, unpack_lz4_block
from hdrmx.kernels.encode import encode_bslz4
from hdrmx.kernels.intrinsics import PAD_BYTES

CANARY = 0xA5


class Bench:
    """Decodes payloads of one kind of frame in guarded memory and compares with the plain decoder."""

    def __init__(self, shape, dtype, codec):
        self.shape, self.dtype, self.codec = shape, np.dtype(dtype), codec
        self.n_bytes = shape[0] * shape[1] * self.dtype.itemsize
        self.memory = Guarded(4 * self.n_bytes + 4096) if CAN_GUARD else None
        self.output = Guarded(self.n_bytes) if CAN_GUARD else None
        self.work, self.events = Workspace(shape, dtype), Events(shape)
        self.mask = np.random.default_rng(0).random(shape) > 0.05
        self.valid = pack_valid(self.mask)

    def frame(self, payload):
        if self.memory is None:
            data = np.frombuffer(payload, np.uint8)
        else:
            data = self.memory.at_end(len(payload))
            data[:] = np.frombuffer(payload, np.uint8)
        return Frame(0, self.shape, self.dtype, self.codec, lambda: data, "fuzz.h5:/data")

    def out(self):
        if self.output is None:
            return np.empty(self.shape, self.dtype)
        return self.output.at_end(self.n_bytes).view(self.dtype).reshape(self.shape)

    def run(self, payload):
        """True when the payload could be decoded."""
        try:
            wanted = decode_plain(payload, self.shape, self.dtype, self.codec)
        except Damaged:
            wanted = None
        frame, out = self.frame(payload), self.out()
        if wanted is None:
            with pytest.raises(BadFrame) as dense_error:
                decode_dense(frame, out, self.work)
            with pytest.raises(BadFrame) as events_error:
                decode_events(frame, self.valid, self.events, self.work)
            assert str(events_error.value) == str(dense_error.value)
            assert self.events.n == 0
            return False
        decode_dense(frame, out, self.work)
        np.testing.assert_array_equal(out, wanted)
        decode_events(frame, self.valid, self.events, self.work)
        index, count = events_plain(wanted, self.mask)
        np.testing.assert_array_equal(self.events.index[: self.events.n], index)
        np.testing.assert_array_equal(self.events.count[: self.events.n], count)
        return True


def undamaged(shape, dtype, codec):
    """A few good payloads of one kind of frame."""
    for seed, mean in enumerate((0.02, 0.7)):
        pixels = photons(seed, shape, dtype, mean)
        if codec is Codec.BSLZ4:
            yield pack_by_hdf5(pixels, codec)
            yield encode_bslz4(pixels, 64 * 3 * pixels.itemsize)
            yield encode_bslz4(pixels, 8 * 5 * pixels.itemsize)
        elif codec is Codec.LZ4:
            yield pack_by_hdf5(pixels, codec, 1024)
            yield pack_by_hdf5(pixels, codec)
        else:
            yield pack_byte_offset(pixels) if codec is Codec.BYTE_OFFSET else pixels.tobytes()


KINDS = [
    ((31, 67), "uint16", Codec.BSLZ4),
    ((31, 67), "uint32", Codec.BSLZ4),
    ((64, 64), "uint8", Codec.BSLZ4),
    ((9, 15), "int32", Codec.BSLZ4),
    ((31, 67), "uint16", Codec.LZ4),
    ((31, 67), "int32", Codec.BYTE_OFFSET),
    ((31, 67), "uint32", Codec.RAW),
]


@pytest.mark.parametrize(("shape", "dtype", "codec"), KINDS, ids=lambda value: str(getattr(value, "value", value)))
def test_damaged_payloads_are_decoded_or_refused(shape, dtype, codec):
    bench = Bench(shape, dtype, codec)
    payloads = list(undamaged(shape, dtype, codec))
    assert all(bench.run(payload) for payload in payloads)
    n_good = sum(bench.run(damage(payload, seed)) for payload in payloads for seed in range(600 // len(payloads)))
    assert n_good < 450  # most damage shows


def test_damaged_real_chunks(shared_data):
    """Only that the process lives: the plain decoder is too slow for a megapixel."""
    names = ["eiger2_simread7_2datafiles_4images_bslz4", "eiger2_simread7_2datafiles_4images_lz4"]
    names += ["eiger2_simread7_2datafiles_4images_bslz4_uint32", "eiger2_simread7_2datafiles_4images_bslz4_uint8"]
    for name in names:
        with h5py.File(shared_data / "eiger_h5_chunks" / f"{name}_data_000001.h5") as file:
            data = file["entry/data/data"]
            codec = FILTERS[int(next(iter(data._filters)))]
            chunk = data.id.read_direct_chunk((0, 0, 0))[1]
            bench = Bench(data.shape[1:], data.dtype, codec)
        n_bad = 0
        for seed in range(40):
            frame = bench.frame(damage(chunk, seed))
            dense = outcome(decode_dense, frame, bench.out(), bench.work)
            assert dense == outcome(decode_events, frame, bench.valid, bench.events, bench.work)
            n_bad += isinstance(dense, str)
        assert n_bad > 10


def outcome(decode, *arguments):
    """Bytes read, or the error's text."""
    try:
        return decode(*arguments)
    except BadFrame as error:
        return str(error)


@st.composite
def lz4_blocks(draw):
    """(block, n): sequences as LZ4 has them, nearly always valid, with all kinds of offsets and lengths."""
    block, n = bytearray(), 0
    lengths = st.integers(0, 9) | st.sampled_from([14, 15, 16, 17, 31, 32, 33, 47, 269, 270, 271, 600])
    for _ in range(draw(st.integers(0, 12))):
        literals = draw(lengths) if n else draw(st.integers(1, 20))
        n += literals
        offset = draw(st.integers(1, min(n, 40)) | st.integers(1, n)) + (1000 if draw(st.integers(0, 60)) == 60 else 0)
        match = draw(lengths)
        block += sequence(literals, match, draw(st.binary(min_size=literals, max_size=literals)), offset)
        n += 4 + match
    literals = draw(st.integers(0, 40))
    block += sequence(literals, 0, draw(st.binary(min_size=literals, max_size=literals)), None)
    return bytes(block), n + literals + draw(st.sampled_from([0] * 20 + [-1, 1, 30]))


def sequence(literals, match, content, offset):
    out = bytes([min(literals, 15) << 4 | min(match, 15)])
    out += continued(literals) + content
    return out if offset is None else out + (offset & 65535).to_bytes(2, "little") + continued(match)


def continued(length):
    return b"" if length < 15 else b"\xff" * ((length - 15) // 255) + bytes([(length - 15) % 255])


@given(lz4_blocks(), st.integers(0, 30))
@settings(max_examples=400, deadline=None)
def test_any_lz4_block_as_the_plain_decoder_has_it(case, ahead):
    block, n = case
    check_lz4(block, n, ahead)


@given(st.binary(max_size=80), st.integers(0, 300))
@settings(max_examples=300, deadline=None)
def test_random_bytes_as_an_lz4_block(block, n):
    check_lz4(block, n, 3)


def check_lz4(block, n, ahead):
    """The block, somewhere in a payload, gives what the plain decoder gives, and touches no more than the padding."""
    n = max(n, 0)
    source = np.frombuffer(bytes([255] * ahead) + block, np.uint8)
    target = np.full(n + PAD_BYTES + 32, CANARY, np.uint8)
    result = lz4.lz4_block(source, ahead, source.size, target[: n + PAD_BYTES], n)
    assert (target[n + PAD_BYTES :] == CANARY).all()
    try:
        wanted = unpack_lz4_block(block, n)
    except Damaged:
        assert result < 0
    else:
        assert result == n
        assert target[:n].tobytes() == wanted
