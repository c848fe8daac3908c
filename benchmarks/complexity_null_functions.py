"""Functions that keep to what they declare, for `complexity_null.py`."""

from __future__ import annotations

import bisect as bisection
import heapq
import json
import zlib
from collections import deque
from collections.abc import Iterator

import numpy as np


def total(n: int) -> int:
    return sum(range(n))


def squares(n: int) -> list[int]:
    return [i * i for i in range(n)]


def strings(n: int) -> str:
    return ",".join(str(i) for i in range(n))


def dictionary(n: int) -> dict[int, int]:
    return {i * 7919: i for i in range(n)}


def members(n: int) -> int:
    known = set(range(0, n, 2))
    return sum(i in known for i in range(n))


def setup_sort(n: int) -> list[float]:
    return [((i * 7919) % 104729) / 104729 for i in range(n)]


setup_sort_keys = setup_heap = setup_merge_sort = setup_numpy_where = setup_sort


def sort(values: list[float]) -> list[float]:
    return sorted(values)


def sort_keys(values: list[float]) -> list[float]:
    return sorted(values, key=lambda v: -v)


def heap(values: list[float]) -> list[float]:
    made: list[float] = []
    for v in values:
        heapq.heappush(made, v)
    return [heapq.heappop(made) for _ in range(len(made))]


def bisect(n: int) -> int:
    known = list(range(n))
    return sum(bisection.bisect_left(known, i) for i in range(n))


def halves(n: int) -> int:
    return 1 if n < 2 else halves(n // 2) + halves(n - n // 2)


def merge_sort(values: list[float]) -> list[float]:
    if len(values) < 2:
        return values
    middle = len(values) // 2
    return list(heapq.merge(merge_sort(values[:middle]), merge_sort(values[middle:])))


def numpy_sum(n: int) -> float:
    return float(np.arange(100 * n, dtype=float).sum())


def numpy_sort(n: int) -> float:
    return float(np.sort(np.random.default_rng(1).random(20 * n))[0])


def numpy_unique(n: int) -> int:
    return len(np.unique(np.random.default_rng(1).integers(0, n, 10 * n)))


def numpy_where(values: list[float]) -> int:
    return len(np.where(np.array(values) > 0.5)[0])


def generator(n: int) -> int:
    def pieces() -> Iterator[int]:
        for i in range(n):
            yield i & 3

    return sum(pieces())


def queue(n: int) -> int:
    waiting: deque[int] = deque()
    for i in range(n):
        waiting.append(i)
        if len(waiting) > 100:
            waiting.popleft()
    return len(waiting)


def json_dump(n: int) -> int:
    return len(json.dumps([{"i": i, "x": i / 7} for i in range(n)]))


def compress(n: int) -> int:
    return len(zlib.compress(bytes(i & 255 for i in range(n))))


def pairs(n: int) -> int:
    return sum((a ^ b) & 1 for a in range(n) for b in range(n))


def matrix(n: int) -> int:
    return sum((a * b + c) & 1 for a in range(n) for b in range(n) for c in range(n))


def nothing(n: int) -> int:
    return 1
