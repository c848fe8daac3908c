"""Maps of bits against scipy's morphology."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hdrmx.kernels import bits

SHAPES = st.tuples(st.integers(1, 20), st.sampled_from([1, 5, 63, 64, 65, 128, 130, 200]))


def as_map(mask: np.ndarray) -> bits.BitMap:
    bitmap = bits.empty_map(*mask.shape)
    words = bits.pack(mask)
    for i, j in np.argwhere(words):
        bits.put(bitmap, i, j, words[i, j])
    return bitmap


def a_mask(shape: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < rng.choice([0.02, 0.5, 0.95, 1.0])


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, r=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_erode_and_dilate(shape, r, seed):
    mask, valid = a_mask(shape, seed), a_mask(shape, seed + 1)
    source, out = as_map(mask), as_map(a_mask(shape, seed + 2))  # what was in `out` goes
    size = 2 * r + 1
    bits.erode(source, *shape, r, out)
    eroded = ndimage.minimum_filter(mask.astype(np.uint8), size, mode="constant", cval=1)
    np.testing.assert_array_equal(bits.unpack(out.words, shape[1]), eroded)
    bits.dilate(source, r, bits.pack(valid), out)
    dilated = ndimage.maximum_filter(mask.astype(np.uint8), size, mode="constant", cval=0)
    np.testing.assert_array_equal(bits.unpack(out.words, shape[1]), dilated & valid)


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_runs(shape, seed):
    mask = a_mask(shape, seed)
    starts, stops = np.zeros((2, shape[1] // 2 + 33), np.int64)
    for i, row in enumerate(mask):
        n = bits.runs(as_map(mask), i, starts, stops)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]]).astype(int)))
        np.testing.assert_array_equal(np.column_stack([starts[:n], stops[:n]]), edges.reshape(-1, 2))


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_unset_runs(shape, seed):
    mask = a_mask(shape, seed)
    first = np.zeros(shape[0] + 1, np.int64)
    n = bits.unset_runs(bits.pack(mask), shape[1], first, np.zeros((0, 2), np.int64))
    found = np.zeros((n, 2), np.int64)
    assert bits.unset_runs(bits.pack(mask), shape[1], first, found) == n == first[-1]
    for i, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ~row, [0]]).astype(int)))
        np.testing.assert_array_equal(found[first[i] : first[i + 1]], edges.reshape(-1, 2))


@pytest.mark.parametrize("columns", [1, 64, 100, 5000])
def test_pack_and_clear(columns):
    mask = a_mask((3, columns), columns)
    assert (bits.unpack(bits.pack(mask), columns) == mask).all()
    bitmap = as_map(mask)
    bits.clear(bitmap)
    assert not bitmap.words.any()
    assert not bitmap.flags.any()
