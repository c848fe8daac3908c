"""Warming up takes the real paths, and leaves nothing to compile for them."""

from __future__ import annotations

import numpy as np
import pytest

from hdrmx.frames import Codec, Frame
from hdrmx.kernels import (
    bits,
    bitshuffle,
    grouping,
    threshold_dense,
    threshold_exact,
    threshold_search,
    threshold_sparse,
)
from hdrmx.kernels.decode import Workspace, decode_dense
from hdrmx.kernels.encode import encode_bslz4
from hdrmx.kernels.warm import SHAPE, _literal_bslz4, warm_up
from hdrmx.models import Beam, Detector, Geometry, Panel, Scan
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots

MODULES = (bits, bitshuffle, grouping, threshold_dense, threshold_exact, threshold_search, threshold_sparse)


def compiled() -> int:
    """Specialisations of all kernels of spot finding."""
    kernels = [k for module in MODULES for k in vars(module).values() if hasattr(k, "signatures")]
    return sum(len(kernel.signatures) for kernel in kernels)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_warm_up_runs(dtype):
    seconds = warm_up(dtype)
    assert list(seconds) == ["dense", "bslz4, dense", "bslz4, events"]
    assert all(s >= 0 for s in seconds.values())


def test_nothing_is_left_to_compile():
    warm_up("uint16")
    before = compiled()
    assert before > 20
    panel = Panel("whole", (90, 150), (0.1, 0.1), (0.0, 0.0, -100.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    where = Geometry(Beam(1.0), Detector((panel,), (0.0, 60000.0)), scan=Scan(0, 3, 0.0, 0.01))
    stack = np.random.default_rng(0).poisson(np.array([0.01, 1.0, 30.0])[:, None, None], (3, 90, 150)).astype(np.uint16)
    stack[:, 40:44, 70:74] += 50
    payloads = [np.frombuffer(encode_bslz4(frame), np.uint8) for frame in stack]
    frames = [Frame(k, (90, 150), stack.dtype, Codec.BSLZ4, lambda p=p: p, "memory") for k, p in enumerate(payloads)]
    for threshold in ("dispersion_extended", "dispersion"):
        found = find_spots(frames, np.ones((90, 150), bool), where, FindSpots(threshold=threshold), threads=2)
        assert found.per_frame["sparse"].tolist() == [True, False, False]
    assert compiled() == before


def test_the_chunk_is_a_real_one():
    pixels = np.random.default_rng(0).integers(0, 2**16, SHAPE, np.uint16)
    chunk = _literal_bslz4(pixels)
    out = np.zeros_like(pixels)
    frame = Frame(0, SHAPE, pixels.dtype, Codec.BSLZ4, lambda: chunk, "memory")
    decode_dense(frame, out, Workspace(SHAPE, pixels.dtype))
    np.testing.assert_array_equal(out, pixels)
