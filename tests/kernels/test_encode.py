"""Chunks packed by us are read by the HDF5 filter."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.kernels.encode import encode_bslz4

DTYPES = [np.dtype(name) for name in ("uint8", "uint16", "uint32", "int32")]


def read_by_hdf5(chunk: bytes, shape: tuple[int, ...], dtype: np.dtype) -> npt.NDArray:
    """The array that h5py reads where `chunk` is the only chunk of a data set."""
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", shape, dtype, chunks=shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        data.id.write_direct_chunk((0,) * len(shape), chunk)
        return data[...]


def photons(seed: int, shape: tuple[int, ...], dtype: np.dtype, mean: float) -> npt.NDArray:
    """Poisson counts with a column of the highest value, as a detector's gap has it."""
    frame = np.random.default_rng(seed).poisson(mean, shape).clip(0, np.iinfo(dtype).max).astype(dtype)
    frame[..., -1] = np.iinfo(dtype).max
    return frame


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 150)),
    mean=st.sampled_from([0.0, 0.005, 0.3, 20.0, 1e5]),
    eighths=st.sampled_from([1, 3, 16, 128, 256, 3000]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_hdf5_reads_what_was_packed(dtype, shape, mean, eighths, seed):
    frame = photons(seed, shape, dtype, mean)
    chunk = encode_bslz4(frame, 8 * dtype.itemsize * eighths)
    np.testing.assert_array_equal(read_by_hdf5(chunk, shape, dtype), frame)


@given(
    values=st.lists(st.sampled_from([0, 0, 0, 1, 2, 255, 65535]), min_size=1, max_size=2000), repeat=st.integers(1, 20)
)
@settings(max_examples=80, deadline=None)
def test_hdf5_reads_repetitive_patterns(values, repeat):
    frame = np.tile(np.array(values, np.uint16), repeat)
    np.testing.assert_array_equal(read_by_hdf5(encode_bslz4(frame), frame.shape, frame.dtype), frame)


def test_sparse_frames_shrink():
    frame = photons(1, (514, 1030), np.dtype("uint16"), 0.02)
    assert len(encode_bslz4(frame)) < frame.nbytes / 12


def test_threads_do_not_disturb_each_other():
    frames = [photons(seed, (60, 1030), np.dtype("uint16"), 0.1 * seed) for seed in range(8)]
    alone = [encode_bslz4(frame) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode_bslz4, frames * 4)) == alone * 4


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="float64"):
        encode_bslz4(np.zeros(8))
    with pytest.raises(ValueError, match="multiple of 16"):
        encode_bslz4(np.zeros(8, np.uint16), 8200)
