"""The intrinsics against the plain functions that stand in for them when bounds are checked."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import config, njit

from hdrmx.kernels import intrinsics

RNG = np.random.default_rng(1)
BYTES = RNG.integers(0, 256, 200).astype(np.uint8)
WORDS = RNG.integers(0, 2**64, 4, dtype=np.uint64)


@njit
def read(kind, array, at):
    if kind == 8:
        return np.uint64(intrinsics.load8(array, at))
    if kind == 16:
        return np.uint64(intrinsics.load16(array, at))
    return intrinsics.load64(array, at)


@njit
def write(kind, target, at, value):
    if kind == 8:
        intrinsics.store64(target, at, value)
    elif kind == 32:
        intrinsics.fill32(target, at, value)


@njit
def copy(kind, target, to, source, start):
    if kind == 16:
        intrinsics.copy16(target, to, source, start)
    else:
        intrinsics.copy32(target, to, source, start)


@njit
def spread(values, at, a, b, c, d):
    intrinsics.spread4(values, at, a, b, c, d, 0)
    intrinsics.add4(values, at, d, c, b, a, 4)


@njit
def gather(values, at, bit):
    return intrinsics.gather_plane(values, at, bit)


@njit
def above(values, at):
    return intrinsics.above_zero(values, at)


@njit
def merge(target, to, words, at, stride, n_rows):
    intrinsics.or_rows(target, to, words, at, stride, n_rows)


@njit
def bits(value):
    return intrinsics.count_trailing_zeros(value), intrinsics.count_ones(value)


@pytest.mark.parametrize("at", [0, 1, 7, 13, 100])
def test_loads(at):
    for kind, dtype in ((8, "<u1"), (16, "<u2"), (64, "<u8")):
        assert read(kind, BYTES, at) == BYTES[at : at + kind // 8].view(dtype)[0]


@pytest.mark.parametrize("at", [0, 1, 7, 13, 100])
def test_stores_and_copies(at):
    value = np.uint64(0x0123456789ABCDEF)
    for kind, n in ((8, 8), (32, 32)):
        target = np.zeros(200, np.uint8)
        write(kind, target, at, value)
        assert target[at : at + n].tobytes() == value.tobytes() * (n // 8)
        assert not target[:at].any()
        assert not target[at + n :].any()
    for n in (16, 32):
        target = np.zeros(200, np.uint8)
        copy(n, target, at, BYTES, 5)
        assert target[at : at + n].tobytes() == BYTES[5 : 5 + n].tobytes()
        assert not target[:at].any()
        assert not target[at + n :].any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_planes_to_elements_and_back(dtype):
    values = np.full(80, 9, dtype)
    spread(values, 3, *WORDS)
    planes = [*WORDS, *WORDS[::-1]]
    bit = np.array([[int(plane) >> k & 1 for plane in planes] for k in range(64)])
    np.testing.assert_array_equal(values[3:67], bit @ (1 << np.arange(8)))
    assert (values[:3] == 9).all()
    assert (values[67:] == 9).all()
    assert [gather(values, 3, k) for k in range(8)] == planes


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32"])
def test_what_is_above_zero(dtype):
    values = RNG.choice(np.array([0, 0, 1, 2, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype), 80)
    assert above(values, 9) == sum(1 << k for k in range(64) if values[9 + k] > 0)


def test_rows_or_ed():
    words = RNG.integers(0, 2**64, 40, dtype=np.uint64)
    target = np.zeros(20, np.uint64)
    merge(target, 5, words, 3, 7, 4)
    np.testing.assert_array_equal(target[5:13], np.bitwise_or.reduce([words[3 + 7 * k : 11 + 7 * k] for k in range(4)]))
    assert not target[:5].any()
    assert not target[13:].any()


def test_bits():
    for value in (1, 8, 2**63, 2**63 + 16, 2**64 - 1):
        zeros, ones = bits(np.uint64(value))
        assert (zeros, ones) == ((value & -value).bit_length() - 1, value.bit_count())


@pytest.mark.skipif(not config.BOUNDSCHECK, reason="NUMBA_BOUNDSCHECK is not set")
def test_compiled_code_refuses_what_lies_outside():
    for at in (193, -1):
        with pytest.raises(IndexError):
            read(64, BYTES, at)
    with pytest.raises(IndexError):
        spread(np.zeros(70, np.uint8), 7, *WORDS)


def test_every_access_is_checked_where_numba_checks_bounds():
    """In a process of its own, with a cache of its own: numba's cache does not know of the variable."""
    code = """
import numpy as np
from numba import njit
from hdrmx.kernels import intrinsics as i
a, w, v = np.zeros(40, np.uint8), np.uint64(1), np.zeros(70, np.uint16)
cases = {
    "load8": (i.load8, (a, 40)), "load16": (i.load16, (a, 39)), "load64": (i.load64, (a, 33)),
    "store64": (i.store64, (a, 33, w)), "fill32": (i.fill32, (a, 9, w)), "copy16": (i.copy16, (a, 25, a, 0)),
    "copy32": (i.copy32, (a, 0, a, 9)), "gather_plane": (i.gather_plane, (v, 7, 0)),
    "spread4": (i.spread4, (v, 7, w, w, w, w, 0)), "add4": (i.add4, (v, -1, w, w, w, w, 0)),
    "above_zero": (i.above_zero, (v, 7)), "or_rows": (i.or_rows, (v, 0, v, 0, 9, 8)),
    "backwards": (i.load64, (a, -1)),
}
for name, (function, arguments) in cases.items():
    try:
        function(*arguments)
    except IndexError:
        print(name)
"""
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 13, done.stdout
