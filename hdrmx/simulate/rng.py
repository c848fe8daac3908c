"""Random numbers by counter: each is a hash of (key, counter), so that none depends on the order of the work.

The hash is the finaliser of splitmix64 (Steele, Lea & Flood (2014) OOPSLA '14, 453-472) over a Weyl
sequence. A key is made of the seed and of what the numbers are for: frame, reflection, pixel block.
"""

from __future__ import annotations

import enum
import math

import numpy as np
import numpy.typing as npt
from numba import njit

U64 = np.uint64
GOLDEN = U64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = U64(0xBF58476D1CE4E5B9), U64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11, _ONE = U64(27), U64(30), U64(31), U64(11), U64(1)
_TO_UNIT = 2.0**-53
_MASK = (1 << 64) - 1


class For(enum.IntEnum):
    """What a stream of numbers is for: no two purposes share numbers."""

    BACKGROUND = 1
    SPOTS = 2
    AMPLITUDES = 3
    DEFECTS = 4
    SCALES = 5
    ORIENTATION = 6
    LEVELS = 7


def make_key(*labels: int) -> np.uint64:
    """A key from the seed and other labels (integers)."""
    key = 0
    for label in labels:
        key = _mix_int((key ^ _mix_int((int(label) + int(GOLDEN)) & _MASK)) & _MASK)
    return U64(key)


def _mix_int(x: int) -> int:
    x = ((x ^ (x >> 30)) * int(_MIX_1)) & _MASK
    x = ((x ^ (x >> 27)) * int(_MIX_2)) & _MASK
    return x ^ (x >> 31)


@njit(cache=True, nogil=True)
def mix(x):  # type: ignore[no-untyped-def]
    """The finaliser, a bijection of uint64."""
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@njit(cache=True, nogil=True)
def draw(key, counter):  # type: ignore[no-untyped-def]
    """64 random bits."""
    return mix(key + (U64(counter) + _ONE) * GOLDEN)


@njit(cache=True, nogil=True)
def to_unit(bits):  # type: ignore[no-untyped-def]
    """Uniform in (0, 1), never 0 or 1."""
    return (float(bits >> _S11) + 0.5) * _TO_UNIT


@njit(cache=True, nogil=True)
def poisson(key, mean):  # type: ignore[no-untyped-def]
    """One Poisson number. Search through the distribution below a mean of 12, else PTRS of Hoermann (1993)
    Insurance: Mathematics and Economics 12, 39-45."""
    if mean <= 0.0:
        return 0
    if mean < 12.0:
        u, n, p = to_unit(draw(key, 0)), 0, math.exp(-mean)
        while u > p and n < 200:
            u -= p
            n += 1
            p *= mean / n
        return n
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    counter = 0
    while True:
        u = to_unit(draw(key, counter)) - 0.5
        v = to_unit(draw(key, counter + 1))
        counter += 2
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return int(k)
        if k < 0 or (us < 0.013 and v > us):
            continue
        inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= k * math.log(mean) - mean - math.lgamma(k + 1.0):
            return int(k)


def uniforms(key: np.uint64, counters: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Uniform numbers in (0, 1), one a counter."""
    x = np.asarray(key, U64) + (np.asarray(counters, U64) + _ONE) * GOLDEN
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    x ^= x >> _S31
    return ((x >> _S11).astype(np.float64) + 0.5) * _TO_UNIT


def normals(key: np.uint64, counters: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Normal numbers of unit variance, one a counter (Box & Muller)."""
    pair = np.asarray(counters, U64) * U64(2)
    radius = np.sqrt(-2.0 * np.log(uniforms(key, pair)))
    return radius * np.cos(2.0 * np.pi * uniforms(key, pair + _ONE))


def generator(*labels: int) -> np.random.Generator:
    """A numpy generator for what is drawn once a data set."""
    return np.random.Generator(np.random.Philox(key=[int(make_key(*labels)), 0]))
