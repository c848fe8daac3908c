"""Defects of memory: too much held at once, or growing where it needn't. Each beside its cure."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np

MASK_PX = 20_000


def make_mask() -> np.ndarray:
    return np.ones(MASK_PX, np.uint8)


def a11_slow(n: int) -> int:
    """A mask of its own for each file."""
    return sum(len(mask) for mask in [make_mask() for _ in range(n)])


def a11_fast(n: int) -> int:
    mask = make_mask()
    return sum(len(m) for m in [mask] * n)


class Still:
    """Keeps the image it was last asked for."""

    def __init__(self, keep: bool) -> None:
        self.keep, self.image = keep, None

    def read(self) -> int:
        image = np.zeros(MASK_PX, np.uint8)
        if self.keep:
            self.image = image
        return len(image)


def b1_slow(n: int) -> int:
    """n objects that each retain a large array after use."""
    return sum(still.read() for still in [Still(True) for _ in range(n)])


def b1_fast(n: int) -> int:
    return sum(still.read() for still in [Still(False) for _ in range(n)])


def strong_pixels(n: int) -> Iterator[list[int]]:
    for frame in range(n):
        yield [frame * 1000 + k for k in range(100)]


def b3_slow(n: int) -> int:
    """All strong pixels gathered before any is labelled."""
    gathered = [pixel for frame in strong_pixels(n) for pixel in frame]
    return sum(1 for pixel in gathered if pixel % 10 == 0)


def b3_fast(n: int) -> int:
    return sum(1 for frame in strong_pixels(n) for pixel in frame if pixel % 10 == 0)


def table(n_columns: int) -> dict[str, np.ndarray]:
    return {f"column_{i}": np.arange(2000.0) for i in range(n_columns)}


def c8_slow(n: int) -> int:
    """The full table packed for each of n settings, all kept until they are sent."""
    packed = [pickle.dumps(table(30)) for _ in range(n)]
    return len(packed)


def c8_fast(n: int) -> int:
    return sum(1 for _ in range(n) if pickle.dumps(table(3)))


def c17_slow(n: int) -> int:
    """30 columns shipped to workers that read three."""
    jobs = [pickle.dumps(c17_rows(30)) for _ in range(n)]
    return sum(1 for job in jobs if job)


def c17_rows(n_columns: int) -> list[list[float]]:
    return [[float(k)] * n_columns for k in range(20)]


def c17_fast(n: int) -> int:
    jobs = [pickle.dumps(c17_rows(3)) for _ in range(n)]
    return sum(1 for job in jobs if job)


def d13_slow(n: int) -> int:
    """Four bytes a pixel for flags that fit into one."""
    return int(d13_flags(n * 1000, np.dtype(np.int32)).sum())


def d13_flags(n_pixels: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(n_pixels, dtype)


def d13_fast(n: int) -> int:
    return int(d13_flags(n * 1000, np.dtype(np.uint8)).sum())


def d14_slow(n: int) -> float:
    """Three arrays a box kept for the whole job."""
    boxes = [(np.ones(3000), np.zeros(3000), np.ones(3000)) for _ in range(n)]
    return float(sum((data - background).sum() for data, background, _ in boxes))


def d14_fast(n: int) -> float:
    return float(sum((np.ones(3000) - np.zeros(3000)).sum() for _ in range(n)))


def f5_slow(n: int) -> int:
    """A table packed, joined, and joined again before it is written."""
    parts = [bytes(1000) for _ in range(n)]
    packed = b"".join(parts)
    framed = b"head" + packed + b"tail"
    return len(framed) - 8


def f5_fast(n: int) -> int:
    return sum(len(bytes(1000)) for _ in range(n))
