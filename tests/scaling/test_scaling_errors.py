"""Error models from planted errors; outliers; combination of intensities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hdrmx.scaling.combine import PROFILE, SUM, Measured, choose_middle, combined, ladder, r_meas
from hdrmx.scaling.error_model import Scatter, find_error_model
from hdrmx.scaling.outliers import outliers


def _scatter(size: int, a: float, b: float, n: int = 60_000, seed: int = 0) -> Scatter:
    """Groups of `size`; scales from 0.7 to 1.3."""
    rng = np.random.default_rng(seed)
    n_groups = n // size
    true = np.repeat(np.exp(rng.uniform(np.log(50.0), np.log(20_000.0), n_groups)), size)
    scale = rng.uniform(0.7, 1.3, len(true))
    variance = true * scale * rng.uniform(0.8, 1.2, len(true)) + 30.0
    sigma = a * np.sqrt(variance + (b * true * scale) ** 2)
    intensity = true * scale + sigma * rng.standard_normal(len(true))
    start = (size * np.arange(n_groups + 1)).astype(np.int64)
    return Scatter(start, intensity, variance, scale, np.ones(len(true), bool))


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize(("a", "b"), [(1.3, 0.0), (1.3, 0.03), (0.8, 0.06)])
def test_exact_form_has_no_bias(size: int, a: float, b: float) -> None:
    found = find_error_model("exact", _scatter(size, a, b, n=240_000), 25.0)
    assert found.a == pytest.approx(a, rel=0.02)
    assert found.b == pytest.approx(b, rel=0.04, abs=0.004)
    strong = found.bins[found.bins["n"] > 1000]
    np.testing.assert_allclose(strong["after"], 1.0, atol=0.12)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_form_of_dials_is_too_small_by_the_size_of_groups(size: int) -> None:
    """1.3 comes back as 0.65 from pairs and 1.14 from groups of 8; DIALS itself gives 0.662 and 1.158."""
    found = find_error_model("dials", _scatter(size, 1.3, 0.0), 25.0)
    scale = found.a * np.sqrt(1 + (found.b**2) * 30)  # a small b takes up little
    assert scale == pytest.approx(1.3 * (size - 1) / size, rel=0.03)


def test_exact_form_leaves_out_what_is_far_off() -> None:
    scatter = _scatter(4, 1.2, 0.02)
    far = np.random.default_rng(1).permutation(len(scatter.intensity))[:100]
    scatter.intensity[far] += 200 * np.sqrt(scatter.variance[far])
    found = find_error_model("exact", scatter, 25.0)
    assert found.a == pytest.approx(1.2, rel=0.03)
    assert found.b == pytest.approx(0.02, abs=0.004)


@pytest.mark.parametrize(("kind", "b"), [("dials", 0.02), ("exact", 0.0)])
def test_too_few_observations(kind: str, b: float) -> None:
    few, weak = _scatter(4, 1.3, 0.05, n=200), _scatter(4, 1.3, 0.05)
    for found in (find_error_model(kind, few, 25.0), find_error_model(kind, weak, 1e9)):
        assert (found.a, found.b, found.n) == (1.0, b, 0)
        assert found.i_over_sigma_limit == (50.0 if b else float("inf"))


def test_error_model_does_not_depend_on_the_order_of_groups() -> None:
    scatter = _scatter(3, 1.2, 0.03, n=6000)
    back = np.arange(6000).reshape(-1, 3)[::-1].ravel()
    turned = Scatter(
        scatter.start, scatter.intensity[back], scatter.variance[back], scatter.scale[back], scatter.usable
    )
    for kind in ("dials", "exact"):
        one, two = (find_error_model(kind, s, 25.0) for s in (scatter, turned))
        assert (one.a, one.b) == pytest.approx((two.a, two.b), rel=1e-3, abs=1e-4)


def test_outliers_of_pairs_are_kept() -> None:
    start = np.array([0, 2, 5], np.int64)
    intensity = np.array([1.0, 1000.0, 10.0, 10.5, 1000.0])
    one, usable = np.ones(5), np.ones(5, bool)
    np.testing.assert_array_equal(outliers(start, intensity, one, one, usable, 6.0), [0, 0, 0, 0, 1])
    assert not outliers(start, intensity, one, one, usable, 0.0).any()
    usable[2] = False  # leaves a pair
    assert not outliers(start, intensity, one, one, usable, 6.0).any()


def _measured(rng: np.random.Generator, group: np.ndarray, n_groups: int) -> Measured:
    """Profile fit good when weak and 10 % off when strong; summation noisy but never off."""
    true = np.exp(rng.uniform(0, 8, n_groups))[group]
    n = len(group)
    profile = true * (1 + 0.1 * rng.standard_normal(n) * (true > 500)) + np.sqrt(true + 4) * rng.standard_normal(n)
    total = true + np.sqrt(true + 2500) * rng.standard_normal(n)
    yes = np.ones(n, bool)
    return Measured(profile, true + 4, yes, total, true + 2500, yes, np.full(n, 2.0))


def test_combination_takes_the_better_of_both() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(2000), 4)
    measured = _measured(rng, group, 2000)
    ones, yes = np.ones(len(group)), np.ones(len(group), bool)
    middle, table = choose_middle(measured, group, 2000, ones, yes)
    assert 20 < middle < 5000
    assert table["r_meas"].min() < table["r_meas"].iloc[:2].min()
    intensity, variance = combined(measured, middle)
    weak, strong = measured.sum_value <= 0, measured.sum_value > middle * 5
    assert weak.sum() > 100
    assert strong.sum() > 20
    np.testing.assert_allclose(intensity[weak], 2 * measured.profile[weak])
    np.testing.assert_allclose(intensity[strong], 2 * measured.sum_value[strong], rtol=5e-2)
    np.testing.assert_allclose(variance[strong], 4 * measured.sum_variance[strong], rtol=5e-2)


def test_missing_kinds_are_replaced_by_the_other() -> None:
    nan = np.nan
    yes, no = np.array([True, True, False]), np.array([True, False, True])
    measured = Measured(
        np.array([1.0, 2.0, nan]),
        np.array([1.0, 1.0, nan]),
        yes,
        np.array([10.0, nan, 30.0]),
        np.array([4.0, nan, 4.0]),
        no,
        np.ones(3),
    )
    for middle, expected in ((PROFILE, [1, 2, 30]), (SUM, [10, 2, 30]), (10.0, [5.5, 2, 30])):
        np.testing.assert_allclose(combined(measured, middle)[0], expected)
    only = Measured(measured.profile, measured.profile_variance, yes, *measured_none(3), np.ones(3))
    assert choose_middle(only, np.zeros(3, int), 1, np.ones(3), np.array([True, True, False]))[0] == PROFILE


def measured_none(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool)


def test_ladder() -> None:
    assert ladder(np.array([5.0, 40.0, 20_000.0, 100.0])) == pytest.approx([0, 1, 20_145 / 4, 2000])
    assert ladder(np.array([1.0, 2.0, 9.0])) == pytest.approx([0, 1, 10, 0.9])
    assert ladder(np.append(np.ones(999), 1e5)) == pytest.approx([0, 1, 100.999, 1e4, 1e3, 100])


def test_r_meas_against_the_formula() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"g": np.repeat(np.arange(40), 3), "i": rng.uniform(50, 100, 120), "s": rng.uniform(1, 5, 120)}
    )
    top = bottom = 0.0
    for _, rows in table.groupby("g"):
        w = 1 / rows.s**2
        top += np.sqrt(3 / 2) * (rows.i - (w * rows.i).sum() / w.sum()).abs().sum()
        bottom += rows.i.sum()
    assert r_meas(table.g.to_numpy(), 41, table.i.to_numpy(), table.s.to_numpy()) == pytest.approx(top / bottom)
    assert np.isnan(r_meas(np.arange(3), 3, np.ones(3) * 9, np.ones(3)))
