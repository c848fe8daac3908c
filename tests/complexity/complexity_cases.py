"""Small functions for the tests of measuring; their costs are known by heart."""

from __future__ import annotations

from hdrmx.complexity.counters import count


def compare(a: int, b: int) -> bool:
    return a == b


def pairs(n: int) -> int:
    """n (n - 1) / 2 calls of `compare`."""
    return sum(compare(a, b) for a in range(n) for b in range(a))


def setup_lookup(n: int) -> list[int]:
    return list(range(n))


def lookup(items: list[int]) -> int:
    """One call of `step` an item, and a counter."""
    count(items=len(items))
    return sum(step(item) for item in items)


def step(item: int) -> int:
    return item + 1


def hold(n: int) -> int:
    kept = [bytes(1000) for _ in range(n)]
    return len(kept)


def broken(n: int) -> int:
    raise RuntimeError("no such luck")


def plain(n: int) -> int:
    return sum(range(n))
