"""Classes of growth: names, order, values."""

from __future__ import annotations

import numpy as np
import pytest

from hdrmx.complexity.growth import CANDIDATES, CONSTANT, LINEAR, Growth, parse_growth
from hdrmx.errors import InputError


@pytest.mark.parametrize(
    ("text", "power", "logs"),
    [
        ("1", 0, 0), ("constant", 0, 0), ("log n", 0, 1), ("sqrt(n)", 0.5, 0), ("n", 1, 0), ("O(n)", 1, 0),
        ("n log n", 1, 1), ("n*log(n)", 1, 1), ("n^1.5", 1.5, 0), ("n**2", 2, 0), ("n²", 2, 0), ("n^2 log n", 2, 1),
    ],
)  # fmt: skip
def test_names(text: str, power: float, logs: int) -> None:
    assert parse_growth(text) == Growth(power, logs)
    assert parse_growth(str(Growth(power, logs))) == Growth(power, logs)


@pytest.mark.parametrize("text", ["", "m", "n n", "2n", "n^9", "frames"])
def test_what_is_no_class_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_growth(text)


def test_order_and_tolerance() -> None:
    assert list(CANDIDATES) == sorted(CANDIDATES)
    assert CONSTANT < LINEAR < LINEAR.allowed < Growth(1.5) < Growth(2) < Growth(2, 1) < Growth(3)
    assert Growth(1, 1).allowed == Growth(1, 1)


def test_slopes() -> None:
    for growth in CANDIDATES:
        slope = np.log(growth.at(1010.0) / growth.at(1000.0)) / np.log(1.01)
        assert growth.exponent_at(1005.0) == pytest.approx(slope, abs=1e-3)
