"""What must not be reported: changes without effect, noise, start-up, sorting, plateaus."""

from __future__ import annotations

import random
import time


def values(n: int) -> list[float]:
    return [((i * 7919) % 104729) / 104729 for i in range(n)]


setup_n1_before = setup_n1_after = setup_sort = values


def n1_before(v: list[float]) -> float:
    """Two passes."""
    doubled = [x * 2.0 for x in v]
    return sum(x + 1.0 for x in doubled)


def n1_after(v: list[float]) -> float:
    """The same work, fused with more elegance and no gain worth a word."""
    return sum([y + 1.0 for y in [x * 2.0 for x in v]])


def row(n: int) -> list[int]:
    return [(i * 7919) % 13 for i in range(n)]


setup_n2_before = setup_n2_after = row


def n2_before(cells: list[int]) -> list[int]:
    """Minimum over a window of 3, the plain way."""
    return [min(cells[max(i - 1, 0) : i + 2]) for i in range(len(cells))]


def n2_after(cells: list[int]) -> list[int]:
    """A queue of candidates: independent of the width, and slower at width 3."""
    found = []
    for i in range(len(cells)):
        queue: list[tuple[int, int]] = []
        for k in range(max(i - 1, 0), min(i + 2, len(cells))):
            while queue and n2_is_worse(queue[-1], cells[k]):
                queue.pop()
            queue.append((k, cells[k]))
        found.append(queue[0][1])
    return found


def n2_is_worse(last: tuple[int, int], value: int) -> bool:
    return last[1] > value


def n4_before(n: int) -> float:
    return round(sum(values(n)) / n, 12)


def n4_after(n: int) -> float:
    """Every second value only: faster, with another answer."""
    half = values(n)[::2]
    return round(sum(half) / len(half), 12)


MASKS: dict[str, int] = {}


def n5_before(n: int) -> int:
    return sum((i * 31) % 17 for i in range(n))


def n5_after(n: int) -> int:
    """A cache that gives the mask of another frame."""
    MASKS.clear()
    return sum(MASKS.setdefault("mask", (i * 31) % 17) for i in range(n))


def sort(v: list[float]) -> float:
    """n log n, declared as n."""
    return sorted(v)[0] + sum(v)


def sleepy(n: int) -> int:
    """Linear, with pauses that come by chance."""
    if random.random() < 0.3:
        time.sleep(random.random() * 0.002)
    return sum(i & 7 for i in range(n))


STARTED: list[int] = []


def late_start(n: int) -> int:
    """A one-off cost at the first call."""
    if not STARTED:
        STARTED.append(sum(range(300_000)))
    return sum(i & 7 for i in range(n))


def plateau(n: int) -> int:
    """Memory that grows to a bound and stays there."""
    kept: list[bytes] = []
    for _ in range(n):
        kept.append(bytes(200))
        if len(kept) > 16:
            kept.pop(0)
    return len(kept) > 0


def hashed(n: int) -> int:
    """Tables that grow in steps."""
    table = {i: i for i in range(n)}
    return len(table)


def recursive(n: int) -> int:
    """n log n calls by halving."""
    return n if n < 2 else recursive(n // 2) + recursive(n - n // 2)
