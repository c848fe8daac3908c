"""Which commit made the change: a search that allows for noise and for commits that can't be measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SURE = 0.99  # probability at which the search ends early
LEAST_NOISE = 1e-4  # relative; what counts as the same value where figures are exact
STRAY = 0.01  # part of the measurements that is worth nothing


@dataclass(frozen=True)
class Found:
    """Result of a search.

    Attributes
    ----------
    first : index of the likeliest first changed position
    probability : that it is this one
    suspects : positions that between them hold `SURE`, ascending; several where some could not be measured
    measured : position and value of each measurement, in order; None: could not be measured
    """

    first: int
    probability: float
    suspects: tuple[int, ...]
    measured: tuple[tuple[int, float | None], ...]


def search(
    n: int, measure: Callable[[int], float | None], good: float, bad: float, noise: float = 0.0, most: int | None = None
) -> Found:
    """Find the first of n positions whose cost is that of the last.

    Parameters
    ----------
    n : positions in order; position 0 is known to cost `good`, position n - 1 `bad` (both > 0, different)
    measure : cost at a position, or None where it can't be had (it doesn't build); asked once for each position at
        most, unless the measurements are noisy
    noise : standard deviation of a measurement, relative; 0: exact
    most : measurements at most; default ceil(log2(n)) + 2

    Notes
    -----
    Keeps the probability of each position being the first (Bayes' rule, even at first) and measures where half of it
    lies on either side: without noise this is halving, with noise it comes back to where it is unsure. After
    Horstein (1963) IEEE Trans. Inf. Theory 9, 136-143. Values in between, as of two changes, count for the nearer side.
    """
    if n < 2 or good <= 0 or bad <= 0 or good == bad:
        raise ValueError("a good and a bad position are needed, with different positive costs")
    spread = max(noise, LEAST_NOISE)
    step = math.log(bad / good)
    weight = np.zeros(n)  # weight[k]: probability that k is the first bad one
    weight[1:] = 1.0 / (n - 1)
    budget = math.ceil(math.log2(n)) + 2 if most is None else most
    measured: list[tuple[int, float | None]] = []
    dead: set[int] = set()
    done: set[int] = set()
    while len(measured) < budget and weight.max() < SURE:
        at = _next(weight, dead if noise else dead | done)
        if at is None:
            break
        value = measure(at)
        measured.append((at, value))
        if value is None or value <= 0:
            dead.add(at)
            continue
        done.add(at)
        x = math.log(value / good) / step  # 0 good, 1 bad
        s = max(spread * math.sqrt(2.0) / abs(step), 1e-6)
        evidence = 0.5 * math.erfc(-(x - 0.5) / s / math.sqrt(2.0))  # that it is bad
        evidence = STRAY / 2 + (1 - STRAY) * evidence if noise else float(x > 0.5)
        weight[: at + 1] *= evidence
        weight[at + 1 :] *= 1.0 - evidence
        weight /= weight.sum()
    first = int(np.argmax(weight))
    return Found(first, float(weight[first]), _suspects(weight), tuple(measured))


def _next(weight: np.ndarray, unusable: set[int]) -> int | None:
    """Position that halves the probability best; None when none would tell anything."""
    below = np.cumsum(weight)  # that position i is bad already
    best, least = None, 0.5
    for i in range(1, len(weight) - 1):
        if i not in unusable and 1e-9 < below[i] < 1 - 1e-9:
            off = abs(float(below[i]) - 0.5)
            if off < least:
                best, least = i, off
    return best


def _suspects(weight: np.ndarray) -> tuple[int, ...]:
    order = np.argsort(-weight, kind="stable")
    total = np.cumsum(weight[order])
    n = int(np.searchsorted(total, SURE)) + 1
    return tuple(sorted(int(i) for i in order[:n]))


def grouped(keys: Sequence[str]) -> list[int]:
    """First index of each run of equal keys: commits whose code is that of the one before need no measurement."""
    return [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
