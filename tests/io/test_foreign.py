"""Reading through HDF5 filters in a child process, and what becomes of it."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import h5py
import hdf5plugin
import numpy as np
import pytest

from hdrmx.errors import BadFrame
from hdrmx.io.foreign import ForeignReader

SHAPE = (60, 103)
PIXELS = np.random.default_rng(1).poisson(0.3, (4, *SHAPE)).astype(np.uint16)
PACKINGS = {
    "gzip": {"compression": "gzip", "shuffle": True},
    "zstd": hdf5plugin.Zstd(),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "blosc": hdf5plugin.Blosc(),
    "contiguous": {},
}


@pytest.fixture
def written(tmp_path):
    """A file with the same frames in each packing."""
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        for name, packing in PACKINGS.items():
            file.create_dataset(name, data=PIXELS, chunks=(1, *SHAPE) if packing else None, **packing)
        file["one"] = PIXELS[0]
        file["big-endian"] = PIXELS.astype(">u2")
    return tmp_path / "frames.h5"


@pytest.fixture
def reader(written):
    reader = ForeignReader(written, "gzip", SHAPE, np.uint16)
    yield reader
    reader.close()


@pytest.mark.parametrize("name", [*PACKINGS, "big-endian"])
def test_frames_of_any_codec(written, name):
    reader = ForeignReader(written, name, SHAPE, np.uint16)
    for index in (2, 0, 3):
        np.testing.assert_array_equal(reader.read(index, 100 + index).view(np.uint16).reshape(SHAPE), PIXELS[index])
    reader.close()


def test_a_data_set_of_one_frame(written):
    reader = ForeignReader(written, "one", SHAPE, np.uint16)
    np.testing.assert_array_equal(reader.read(0, 0).view(np.uint16).reshape(SHAPE), PIXELS[0])
    reader.close()


def test_threads_share_a_reader(reader):
    with ThreadPoolExecutor(4) as pool:
        for index, got in zip([0, 1, 2, 3] * 5, pool.map(lambda i: reader.read(i, i), [0, 1, 2, 3] * 5)):
            assert got.tobytes() == PIXELS[index].tobytes()


def test_what_can_not_be_read_is_a_bad_frame_and_the_child_lives_on(reader, written):
    child = reader.read(0, 0) is not None and reader._child
    with pytest.raises(BadFrame, match=r"frames.h5:gzip: frame 12: HDF5 can't read it: Index \(9\) out of range"):
        reader.read(9, 12)
    assert reader.read(1, 1).tobytes() == PIXELS[1].tobytes()
    assert reader._child is child
    for name, shape, dtype, reason in (
        ("none", SHAPE, np.uint16, "none"),
        ("gzip", (2, 2), np.uint16, "there are 12360 bytes of pixels, the frame has 8"),
        ("gzip", SHAPE, np.int16, "Cannot cast"),
    ):
        other = ForeignReader(written, name, shape, dtype)
        with pytest.raises(BadFrame, match=reason):
            other.read(0, 0)
        other.close()
    with pytest.raises(BadFrame, match="HDF5 can't read it"):
        ForeignReader(written.with_name("absent.h5"), "gzip", SHAPE, np.uint16).read(0, 0)


def test_a_dead_child_is_replaced(reader):
    reader.read(0, 0)
    os.kill(reader._child.pid, signal.SIGKILL)
    reader._child.wait()
    assert reader.read(1, 1).tobytes() == PIXELS[1].tobytes()
    reader.close()
    assert reader.read(2, 2).tobytes() == PIXELS[2].tobytes()


def test_a_child_that_dies_at_work_makes_one_bad_frame(reader):
    reader.read(0, 0)
    os.kill(reader._child.pid, signal.SIGSTOP)  # so that the request is pending when it dies
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(reader.read, 1, 31)
        os.kill(reader._child.pid, signal.SIGKILL)
        with pytest.raises(BadFrame, match=r"frame 31: the process .* was killed \(SIGKILL\)"):
            asked.result()
    assert reader.read(1, 31).tobytes() == PIXELS[1].tobytes()


def test_a_child_that_stalls_is_stopped(written):
    reader = ForeignReader(written, "gzip", SHAPE, np.uint16)
    reader.read(0, 0)
    reader.time_limit_s = 0.01
    stalled = reader._child
    os.kill(stalled.pid, signal.SIGSTOP)
    with pytest.raises(BadFrame, match=r"frame 5: reading it through HDF5 took longer than 0\.01 s"):
        reader.read(0, 5)
    assert stalled.returncode is not None
    reader.time_limit_s = 60
    assert reader.read(3, 3).tobytes() == PIXELS[3].tobytes()
    reader.close()


def test_damaged_chunks_do_not_kill_the_program(tmp_path):
    """Lengths of bitshuffle-LZ4 blocks that lie: hdf5plugin 7.1 dies of SIGSEGV on them."""
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "data", PIXELS.shape, np.uint16, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        for index in range(4):
            data[index] = PIXELS[index]
        for index, (at, new) in enumerate(
            ((12, b"\x7f\xff\xff\xff"), (8, b"\x7f\xff\xff\xf0"), (12, b"\xff\xff\xff\xff"))
        ):
            chunk = bytearray(data.id.read_direct_chunk((index, 0, 0))[1])
            chunk[at : at + 4] = new
            data.id.write_direct_chunk((index, 0, 0), bytes(chunk))
    reader = ForeignReader(path, "data", SHAPE, np.uint16)
    for index in range(3):
        with pytest.raises(BadFrame, match=f"frame {index}: (HDF5 can't read it|the process that reads it)"):
            reader.read(index, index)
        assert reader.read(3, 3).tobytes() == PIXELS[3].tobytes()
    reader.close()
