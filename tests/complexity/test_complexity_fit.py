"""The fit, on costs whose growth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.complexity.classify import EXCEEDS, UNKNOWN, WITHIN, fit, forecast_error, predict, verdict
from hdrmx.complexity.fit import Series, make_series, typical
from hdrmx.complexity.growth import CONSTANT, LINEAR, LOG, Growth
from hdrmx.complexity.solve import non_negative

SIZES = 64 * 2 ** np.arange(8)
POWERS = (LINEAR, Growth(1.5), Growth(2), Growth(3))


def counts(cost: Callable[[float], float]) -> Series:
    series = make_series({int(n): [round(cost(float(n)))] for n in SIZES}, exact=True)
    assert series is not None
    return series


def times(cost: Callable[[float], float], noise: float, samples: int = 25, seed: int = 1) -> Series:
    rng = np.random.default_rng(seed)
    values = {int(n): list(cost(float(n)) * (1 + noise * rng.standard_normal(samples))) for n in SIZES}
    series = make_series(values, exact=False)
    assert series is not None
    return series


def mixed(top: Growth, share: float, linear: float = 0.5) -> Callable[[float], float]:
    """Cost whose top term has this share at the largest size; 1e7 there."""
    last = float(SIZES[-1])
    rest = 1 - share

    def cost(n: float) -> float:
        lower = (1 - linear) + linear * n / last
        return 1e7 * (rest * lower + share * float(top.at(n) / top.at(last)))

    return cost


@pytest.mark.parametrize("top", [*POWERS, Growth(1, 1)], ids=str)
@given(share=st.floats(0.51, 1.0), linear=st.floats(0.0, 1.0))
@settings(max_examples=10, deadline=None)
def test_counts_give_class_and_exponent(top: Growth, share: float, linear: float) -> None:
    found = fit(counts(mixed(top, share, linear)))
    assert found.growth == top
    assert found.exponent.value == pytest.approx(top.exponent_at(float(SIZES[-1])), abs=0.05)
    assert found.exponent.low - 0.01 <= found.exponent.value <= found.exponent.high + 0.01


@pytest.mark.parametrize("top", POWERS, ids=str)
def test_times_give_the_class(top: Growth) -> None:
    found = [fit(times(mixed(top, 0.8), 0.02, seed=seed)) for seed in range(5)]
    assert [f.growth for f in found].count(top) >= 4
    assert all(f.growth in (top, None) for f in found)
    assert sum(f.exponent.low <= top.power <= f.exponent.high for f in found) >= 4


@pytest.mark.parametrize("top", [Growth(1.5), Growth(2), Growth(3)], ids=str)
def test_a_term_below_half_is_not_named_but_its_size_is_told(top: Growth) -> None:
    found = fit(counts(mixed(top, 0.3, 1.0)))
    assert found.growth is None
    expected = float(SIZES[-1]) * (0.7 / 0.3) ** (1 / (top.power - 1))
    assert found.unclear_below == pytest.approx(expected, rel=0.02)
    assert found.crossover == pytest.approx(expected, rel=0.02)


def test_lower_terms_of_counts_may_be_negative() -> None:
    assert fit(counts(lambda n: n * (n - 1) / 2)).growth == Growth(2)
    assert fit(counts(lambda n: n * (n - 1) * (n - 2) / 6)).growth == Growth(3)


def test_constant_and_logarithm() -> None:
    assert fit(counts(lambda n: 1000)).growth == CONSTANT
    assert fit(counts(lambda n: 1e6 * np.log(n))).growth == LOG


def test_a_large_constant_does_not_hide_the_square() -> None:
    series = counts(lambda n: 1e6 + n * n)
    slope = np.polyfit(np.log(series.n), np.log(series.y), 1)[0]
    assert slope < 1
    assert fit(series).growth == Growth(2)


def test_the_class_of_counts_settles_what_times_leave_open() -> None:
    series = times(mixed(Growth(1, 1), 0.6, 0.2), 0.02, samples=2)
    assert fit(series).growth is None
    assert fit(series, prior=Growth(1, 1)).growth == Growth(1, 1)
    assert fit(times(mixed(Growth(2), 0.9), 0.02), prior=LINEAR).growth == Growth(2)


def test_forecasts() -> None:
    cost = mixed(Growth(2), 0.8)
    assert forecast_error(counts(cost)) == pytest.approx(0.0, abs=1e-4)
    value, low, high = predict(fit(times(cost, 0.02)), 100.0 * SIZES[-1])
    assert value == pytest.approx(cost(100.0 * SIZES[-1]), rel=0.1)
    assert low <= cost(100.0 * SIZES[-1]) <= high


@pytest.mark.parametrize(
    ("cost", "declared", "expected"),
    [
        (mixed(Growth(2), 0.8), LINEAR, EXCEEDS),
        (mixed(Growth(2), 0.2, 1.0), LINEAR, EXCEEDS),
        (mixed(Growth(2), 0.8), Growth(2), WITHIN),
        (mixed(Growth(1, 1), 0.8), LINEAR, WITHIN),
        (mixed(Growth(1.5), 0.8), LINEAR, EXCEEDS),
        (mixed(LINEAR, 0.9, 0.0), CONSTANT, EXCEEDS),
        (mixed(LINEAR, 0.9), LINEAR, WITHIN),
        (mixed(CONSTANT, 1.0), CONSTANT, WITHIN),
    ],
)
def test_verdicts(cost: Callable[[float], float], declared: Growth, expected: str) -> None:
    assert verdict(fit(counts(cost)), declared) == expected
    of_times = verdict(fit(times(cost, 0.02)), declared)
    assert of_times == expected or (of_times == UNKNOWN and expected == EXCEEDS)


def test_clean_times_never_exceed() -> None:
    for seed in range(30):
        assert verdict(fit(times(mixed(LINEAR, 0.9), 0.1, samples=5, seed=seed)), LINEAR) != EXCEEDS


def test_disturbed_times_are_read_from_below() -> None:
    rng = np.random.default_rng(2)
    values = {
        int(n): list(n * (1 + 0.01 * rng.standard_normal(25)) * (1 + rng.exponential(1.0, 25) * (rng.random(25) < 0.6)))
        for n in SIZES
    }
    series = make_series(values, exact=False)
    assert series is not None
    assert np.abs(series.y / series.n - 1).max() < 0.1
    assert verdict(fit(series), LINEAR) == WITHIN


def test_too_little_is_no_series() -> None:
    assert make_series({1: [1.0], 2: [2.0]}, exact=True) is None
    assert make_series({n: [0.0] for n in range(1, 9)}, exact=True) is None
    series = make_series({1: [1.0], 2: [2.0], 3: [3.0]}, exact=True)
    assert series is not None
    with pytest.raises(ValueError, match="3 sizes"):
        fit(series)


def test_typical_ignores_one_outlier() -> None:
    assert typical([1.0, 1.1, 0.9, 1.0, 50.0, 1.0, 1.0, 1.0]) == pytest.approx(1.0)


@given(st.lists(st.floats(-3, 3), min_size=24, max_size=24), st.lists(st.floats(-3, 3), min_size=8, max_size=8))
@settings(max_examples=25, deadline=None)
def test_non_negative_least_squares(design: list[float], y: list[float]) -> None:
    from scipy.optimize import nnls

    a, b = np.array(design).reshape(8, 3), np.array(y)
    _, rss = non_negative(a[None], b)
    assert rss[0] == pytest.approx(nnls(a, b)[1] ** 2, rel=1e-6, abs=1e-6)
