"""Defects of too high an exponent, each beside its cure with the same answer. Ids are those of the list of blow-ups."""

from __future__ import annotations

import bisect

import numpy as np


class Thing:
    """Compared by identity, as models are."""

    def __init__(self, number: int) -> None:
        self.number = number


def things(n: int) -> list[Thing]:
    return [Thing(i) for i in range(n)]


setup_a1_slow = setup_a1_fast = things


def a1_slow(items: list[Thing]) -> list[int]:
    """Position of each object found by searching the list for it."""
    return [a1_position(items, item) for item in items]


def a1_position(items: list[Thing], wanted: Thing) -> int:
    for i, item in enumerate(items):
        if item is wanted:
            return i
    raise ValueError("not there")


def a1_fast(items: list[Thing]) -> list[int]:
    where = {id(item): i for i, item in enumerate(items)}
    return [where[id(item)] for item in items]


def a2_slow(n: int) -> int:
    """Every record rebuilds the whole set that it came from."""
    return sum(len(a2_rebuild(n)[i]) for i in range(n))


def a2_rebuild(n: int) -> list[str]:
    return [f"image_{i:05d}.cbf" for i in range(n)]


def a2_fast(n: int) -> int:
    names = a2_rebuild(n)
    return sum(len(names[i]) for i in range(n))


def a5_slow(n: int) -> list[int]:
    """Scans added up one by one, each sum copying all so far."""
    joined: list[int] = []
    for i in range(n):
        joined = joined + [i] * 4
    return joined


def a5_fast(n: int) -> list[int]:
    joined: list[int] = []
    for i in range(n):
        joined += [i] * 4
    return joined


setup_b7_slow = setup_b7_fast = things


def b7_slow(items: list[Thing]) -> int:
    """One image served by filtering the list of all."""
    return sum(b7_request(items, i) for i in range(len(items)))


def b7_request(items: list[Thing], number: int) -> int:
    found = [item for item in items if item.number == number]
    return found[0].number


def b7_fast(items: list[Thing]) -> int:
    by_number = {item.number: item for item in items}
    return sum(by_number[i].number for i in range(len(items)))


def b14_slow(n: int) -> int:
    """Membership of a selection that is built anew for each file."""
    return sum(b14_is_selected(i, n) for i in range(n))


def b14_is_selected(i: int, n: int) -> bool:
    return i in list(range(0, n, 3))


def b14_fast(n: int) -> int:
    return sum(i % 3 == 0 for i in range(n))


def c2_slow(n: int) -> int:
    """All n^3 triples made, then filtered."""
    index = np.array(np.meshgrid(np.arange(n), np.arange(n), np.arange(n), indexing="ij")).reshape(3, -1)
    kept = index[:, (index[0] < index[1]) & (index[1] < index[2])]
    return kept.shape[1]


def c2_fast(n: int) -> int:
    return sum((n - j - 1) * j for j in range(n))


def c9_slow(n: int) -> float:
    """Difference vectors of all pairs, to look at the nearest."""
    x = c9_spots(n)
    away = np.abs(x[:, None] - x[None, :])
    away[np.arange(n), np.arange(n)] = np.inf
    return float(np.round(away.min(axis=1).sum(), 6))


def c9_spots(n: int) -> np.ndarray:
    return np.random.default_rng(1).random(n)


def c9_fast(n: int) -> float:
    x = np.sort(c9_spots(n))
    gaps = np.concatenate([[np.inf], np.diff(x), [np.inf]])
    return float(np.round(np.minimum(gaps[:-1], gaps[1:]).sum(), 6))


def blocks(n: int) -> tuple[np.ndarray, int]:
    return np.sort(np.random.default_rng(1).integers(0, max(n // 16, 1), n)), max(n // 16, 1)


setup_c12_slow = setup_c12_fast = setup_e13_slow = setup_e13_fast = blocks


def c12_slow(table: tuple[np.ndarray, int]) -> list[int]:
    """All reflections selected for each block."""
    block, n_blocks = table
    return [c12_select(block, b) for b in range(n_blocks)]


def c12_select(block: np.ndarray, b: int) -> int:
    return int(np.count_nonzero(block == b))


def c12_fast(table: tuple[np.ndarray, int]) -> list[int]:
    block, n_blocks = table
    return np.bincount(block, minlength=n_blocks).tolist()


def e13_slow(table: tuple[np.ndarray, int]) -> list[int]:
    """For each batch a pass over all reflections, in the interpreter."""
    block, n_batches = table
    rows = block.tolist()
    return [e13_in_batch(rows, b) for b in range(n_batches)]


def e13_in_batch(rows: list[int], b: int) -> int:
    return len([r for r in rows if r == b])


def e13_fast(table: tuple[np.ndarray, int]) -> list[int]:
    block, n_batches = table
    rows = block.tolist()
    return [bisect.bisect_right(rows, b) - bisect.bisect_left(rows, b) for b in range(n_batches)]


def c14_slow(n: int) -> float:
    """Inputs packed and everything sorted at each concentration step, of which there are more the more data."""
    values = [((i * 7919) % 104729) / 104729 for i in range(n)]
    total = 0.0
    for _ in range(n // 8):
        total = c14_concentrate(values)
    return total


def c14_concentrate(values: list[float]) -> float:
    return sorted([float(v) for v in values])[len(values) // 2]


def c14_fast(n: int) -> float:
    values = [((i * 7919) % 104729) / 104729 for i in range(n)]
    return c14_concentrate(values)


def d1_slow(n: int) -> float:
    """An array grown by append."""
    found = np.zeros(0)
    for i in range(n):
        found = np.append(found, float(i))
    return float(found.sum())


def d1_fast(n: int) -> float:
    found = np.zeros(n)
    for i in range(n):
        found[i] = float(i)
    return float(found.sum())


class Header:
    """A batch header in a linked list, with its fields behind setters."""

    def __init__(self, number: int) -> None:
        self.number, self.next = number, None
        self.fields = [0.0] * 5


class File:
    """A list of headers that is walked from its head for everything."""

    def __init__(self) -> None:
        self.head: Header | None = None

    def walk(self, number: int) -> Header | None:
        """The header before this number, or the last."""
        at = self.head
        while at is not None and at.number != number and at.next is not None:
            at = at.next
        return at


def f1_slow(n: int) -> float:
    """Each added header walks the list for its end, and each setter of a field walks it again."""
    file = File()
    for number in range(n):
        last = file.walk(-1)
        header = Header(number)
        if last is None:
            file.head = header
        else:
            last.next = header
        for k in range(5):
            file.walk(number).fields[k] = number * 0.1
    return f1_sum(file)


def f1_fast(n: int) -> float:
    file, last = File(), None
    for number in range(n):
        header = Header(number)
        if last is None:
            file.head = header
        else:
            last.next = header
        last = header
        for k in range(5):
            header.fields[k] = number * 0.1
    return f1_sum(file)


def f1_sum(file: File) -> float:
    total, at = 0.0, file.head
    while at is not None:
        total += at.fields[-1]
        at = at.next
    return total


def identifiers(n: int) -> tuple[list[str], list[str]]:
    return [f"id-{i:06d}" for i in range(n)], [f"id-{3 * i:06d}" for i in range(n)]


setup_f2_slow = setup_f2_fast = identifiers


def f2_slow(lists: tuple[list[str], list[str]]) -> int:
    """Two lists of identifiers intersected by a double loop."""
    first, second = lists
    return sum(1 for name in second if name in first)


def f2_fast(lists: tuple[list[str], list[str]]) -> int:
    return len(set(lists[0]).intersection(lists[1]))


def f3_slow(n: int) -> list[int]:
    """Rows deleted one by one, the tail shifted each time."""
    rows = list(range(n))
    for i in reversed(range(0, n, 2)):
        f3_erase(rows, i)
    return rows


def f3_erase(rows: list[int], at: int) -> None:
    for i in range(at, len(rows) - 1):
        rows[i] = rows[i + 1]
    rows.pop()


def f3_fast(n: int) -> list[int]:
    return [row for row in range(n) if row % 2]


def atoms(n: int) -> list[int]:
    return [(i * 7919) % max(n // 4, 1) for i in range(n)]


setup_f11_slow = setup_f11_fast = atoms


def f11_slow(residues: list[int]) -> int:
    """The residue of each atom searched for in the list of all so far."""
    known: list[list[int]] = []
    for number in residues:
        f11_find_or_append(known, number).append(number)
    return len(known)


def f11_find_or_append(known: list[list[int]], number: int) -> list[int]:
    for residue in known:
        if residue[0] == number:
            return residue
    known.append([number])
    return known[-1]


def f11_fast(residues: list[int]) -> int:
    known: dict[int, list[int]] = {}
    for number in residues:
        known.setdefault(number, []).append(number)
    return len(known)
