"""Defects of the constant: cost per item against a stored baseline. Each beside its cure."""

from __future__ import annotations

import json

import numpy as np


def reflections(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 40, (n, 3)), rng.integers(0, 40, (n, 3))


setup_d2_slow = setup_d2_fast = setup_e5_slow = setup_e5_fast = reflections


def d2_slow(tables: tuple[np.ndarray, np.ndarray]) -> int:
    """Two tables joined through a dict of lists with tuples for keys."""
    predicted, observed = tables
    places: dict[tuple[int, ...], list[int]] = {}
    for i, hkl in enumerate(predicted.tolist()):
        places.setdefault(tuple(hkl), []).append(i)
    return sum(len(d2_matches(places, hkl)) for hkl in observed.tolist())


def d2_matches(places: dict[tuple[int, ...], list[int]], hkl: list[int]) -> list[int]:
    return places.get(tuple(hkl), [])


def packed(hkl: np.ndarray) -> np.ndarray:
    return (hkl[:, 0] * 64 + hkl[:, 1]) * 64 + hkl[:, 2]


def d2_fast(tables: tuple[np.ndarray, np.ndarray]) -> int:
    predicted, observed = np.sort(packed(tables[0])), packed(tables[1])
    matches = np.searchsorted(predicted, observed, "right") - np.searchsorted(predicted, observed, "left")
    return int(matches.sum())


def e5_slow(tables: tuple[np.ndarray, np.ndarray]) -> int:
    """Unique Miller indices through a dict of triples."""
    return len(e5_unique(tables[0]))


def e5_unique(hkl: np.ndarray) -> dict[tuple[int, int, int], int]:
    seen: dict[tuple[int, int, int], int] = {}
    for h, k, l in hkl.tolist():
        seen[(h, k, l)] = seen.get((h, k, l), 0) + 1
    return seen


def e5_fast(tables: tuple[np.ndarray, np.ndarray]) -> int:
    return len(np.unique(packed(tables[0])))


def f6_slow(n: int) -> bool:
    """A page with all points in full precision."""
    return len(f6_page([i / 7.0 for i in range(n)])) > 0


def f6_page(points: list[float]) -> str:
    return json.dumps([[x, x * x / 3.0, x / 11.0] for x in points])


def f6_fast(n: int) -> bool:
    step = max(n // 64, 1)
    return len(json.dumps([round(i / 7.0, 3) for i in range(0, n, step)])) > 0
