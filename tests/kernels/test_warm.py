"""Warming up takes the real paths, and leaves nothing to compile for them."""

from __future__ import annotations

import numpy as np
import pytest

from hdrmx.frames import Codec, Frame
from hdrmx.kernels.decode import Workspace, decode_dense
from hdrmx.kernels.warm import SHAPE, _literal_bslz4, warm_up


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_warm_up_runs(dtype):
    seconds = warm_up(dtype)
    assert list(seconds) == ["dense", "bslz4, dense", "bslz4, events"]
    assert all(s >= 0 for s in seconds.values())


def test_the_chunk_is_a_real_one():
    pixels = np.random.default_rng(0).integers(0, 2**16, SHAPE, np.uint16)
    chunk = _literal_bslz4(pixels)
    out = np.zeros_like(pixels)
    frame = Frame(0, SHAPE, pixels.dtype, Codec.BSLZ4, lambda: chunk, "memory")
    decode_dense(frame, out, Workspace(SHAPE, pixels.dtype))
    np.testing.assert_array_equal(out, pixels)
