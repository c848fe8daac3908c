"""Two random halves of the observations of every reflection, the same whatever the order of the rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_U = np.uint64


def scrambled(*keys: npt.NDArray[np.generic] | int) -> npt.NDArray[np.uint64]:
    """A hash of each row of the keys, which may be integers or 64-bit floats (by their bits).

    The mixing function is that of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA, 453-472).
    """
    length = max(len(k) for k in keys if isinstance(k, np.ndarray))
    state = np.zeros(length, _U)
    for key in keys:
        if isinstance(key, np.ndarray) and key.dtype.kind == "f":
            bits = (key.astype(np.float64) + 0.0).view(_U)  # -0.0 becomes 0.0
        else:
            bits = np.asarray(key).astype(np.int64).view(_U)
        state = _mixed(state ^ bits)
    return state


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = x + _U(0x9E3779B97F4A7C15)
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


def ranks(group: Ints, order_by: npt.NDArray[np.generic]) -> Ints:
    """Place of each row within its group, from 0, in the order of a key."""
    order = np.lexsort((order_by, group))
    sorted_group = group[order]
    starts = np.flatnonzero(np.diff(sorted_group, prepend=-1))
    lengths = np.diff(np.append(starts, len(group)))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(starts, lengths)
    return rank


def halves(group: Ints, identity: npt.NDArray[np.uint64], seed: int) -> Ints:
    """0 or 1 for each observation: halves that differ by at most one observation within each group.

    Parameters
    ----------
    group : (n,)
    identity : (n,) hash that tells observations apart, whatever row they stand in (`scrambled`)
    """
    if len(group) == 0:
        return np.zeros(0, np.int64)
    key = scrambled(identity.view(np.int64), seed)
    first = np.asarray(scrambled(group, seed + 1) & _U(1), np.int64)  # which half has the odd one
    return (ranks(group, key) + first) % 2
