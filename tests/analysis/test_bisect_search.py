"""The search for a commit: synthetic histories with exact counts, noisy times, commits that don't build."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hdrmx.analysis.bisect import grouped, search


def histories(n: int, seed: int) -> list[tuple[int, int, float]]:
    """Length, first changed position, ratio of the change."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        length = int(rng.integers(2, 2000))
        found.append((length, int(rng.integers(1, length)), float(rng.choice([0.5, 1.01, 1.1, 2.0, 100.0]))))
    return found


def test_counts_are_found_within_the_measurements_allowed() -> None:
    for length, first, ratio in histories(300, 1):
        values = np.where(np.arange(length) < first, 1000.0, 1000.0 * ratio)
        found = search(length, lambda i, v=values: float(v[i]), values[0], values[-1])
        assert found.first == first
        assert found.suspects == (first,)
        assert len(found.measured) <= math.ceil(math.log2(length)) + 2


def test_times_with_noise() -> None:
    rng = np.random.default_rng(2)
    right, n = 0, 400
    for _ in range(n):
        length = int(rng.integers(2, 500))
        first, ratio = int(rng.integers(1, length)), float(rng.choice([1.1, 1.2, 1.5]))
        true = np.where(np.arange(length) < first, 1.0, ratio)

        def measure(i: int, true: np.ndarray = true) -> float:
            return float(true[i] * math.exp(0.02 * rng.standard_normal()))

        found = search(length, measure, 1.0, ratio, noise=0.02)
        assert len(found.measured) <= math.ceil(math.log2(length)) + 2
        right += found.first == first
    assert right / n >= 0.95


def test_commits_that_cannot_be_measured_leave_suspects() -> None:
    for length, first, ratio in histories(100, 3):
        broken = set(range(max(1, first - 1), min(length - 1, first + 2)))
        values = np.where(np.arange(length) < first, 1.0, ratio)
        found = search(
            length,
            lambda i, v=values, b=broken: None if i in b else float(v[i]),
            1.0,
            ratio,
            most=2 * length.bit_length() + 8,
        )
        assert first in found.suspects
        assert len(found.suspects) <= len(broken) + 1


def test_values_in_between_count_for_the_nearer_side() -> None:
    values = [1.0, 1.0, 1.1, 1.1, 1.9, 2.0, 2.0]
    assert search(7, lambda i: values[i], 1.0, 2.0).first == 4


def test_equal_code_is_left_out() -> None:
    assert grouped(["a", "a", "b", "b", "b", "a", "c"]) == [0, 2, 5, 6]


@pytest.mark.parametrize(("n", "good", "bad"), [(1, 1.0, 2.0), (5, 1.0, 1.0), (5, 0.0, 1.0)])
def test_nothing_to_search(n: int, good: float, bad: float) -> None:
    with pytest.raises(ValueError, match="good and a bad"):
        search(n, lambda i: 1.0, good, bad)
