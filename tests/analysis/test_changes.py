"""Steps of one series: hidden ones are found where they are, plain noise gives none, counts need no statistics."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hdrmx.analysis.changes import drift, find_steps, is_exact, passed
from hdrmx.analysis.changes_noise import redrawn
from hdrmx.analysis.changes_segments import biggest_gains, clipped, gains, segmentations, spread_of_differences


def noise(n: int, seed: int, memory: float = 0.0, spread: float = 0.01) -> np.ndarray:
    rng = np.random.default_rng(seed)
    e = rng.normal(size=n + 50) * np.sqrt(1 - memory**2)
    for i in range(1, len(e)):
        e[i] += memory * e[i - 1]
    return np.exp(spread * e[50:])


def cost(x: np.ndarray, starts: list[int], penalty: float) -> float:
    parts = np.split(x, starts[1:])
    return sum(float(((p - p.mean()) ** 2).sum()) for p in parts) + penalty * (len(starts) - 1)


def test_the_segmentation_is_the_cheapest_of_all():
    """Beside every segmentation of a short series with one or two steps, tried out."""
    x = np.random.default_rng(3).normal(size=14)
    for penalty in (0.5, 2.0, 8.0):
        tried = [[0]] + [[0, a] for a in range(3, 14)]
        tried += [[0, a, b] for a in range(3, 14) for b in range(a + 3, 14)]
        tried += [[0, a, b, c] for a in range(3, 14) for b in range(a + 3, 14) for c in range(b + 3, 14)]
        best = min(cost(x, s, penalty) for s in tried)
        found = segmentations(x, np.array([penalty]))[0].tolist()
        assert cost(x, found, penalty) == pytest.approx(best)


def test_a_gain_is_what_the_sum_of_squares_grows_by():
    x = np.random.default_rng(4).normal(size=30)
    whole, split = cost(x, [0], 0), cost(x, [0, 11], 0)
    assert gains(x, np.array([0, 11]))[0] == pytest.approx(whole - split)
    assert biggest_gains(x[None])[0] >= whole - split


def test_plain_noise_gives_no_step():
    alarms = sum(bool(find_steps(noise(100, seed, memory)).steps) for memory in (0.0, 0.3) for seed in range(60))
    assert alarms == 0


@pytest.mark.parametrize("ratio", [1.05, 0.95])
def test_a_hidden_step_is_found_where_it_is(ratio: float):
    for seed in range(15):
        y = noise(80, seed)
        y[50:] *= ratio
        found = find_steps(y)
        assert len(found.steps) == 1
        step = found.steps[0]
        assert abs(step.at - 50) <= 1
        assert step.first <= 50 <= step.last
        assert step.ratio == pytest.approx(ratio, abs=0.01)
        assert step.p < 1e-4


def test_a_large_step_is_told_after_four_commits_and_provisional_before():
    y = noise(40, 7)
    y[36:] *= 1.2
    assert [(step.at, step.provisional) for step in find_steps(y).steps] == [(36, False)]
    steps = find_steps(y[:-1]).steps
    assert [step.provisional for step in steps] == [True]
    assert steps[0].at == 36
    assert find_steps(y[:-1]).p == 1.0


def test_a_spike_is_no_step():
    y = noise(60, 8)
    y[30] *= 3
    y[45] *= 2
    assert find_steps(y).steps == ()


def test_missing_values_keep_their_places():
    y = noise(80, 9)
    y[50:] *= 1.2
    y[[3, 20, 49, 60]] = np.nan
    found = find_steps(y)
    assert [step.at for step in found.steps] == [50]
    assert np.isnan(found.level[[3, 20, 49, 60]]).all()
    assert found.level[70] == pytest.approx(1.2, rel=0.02)


def test_scaling_and_units_change_nothing():
    y = noise(80, 10)
    y[50:] *= 1.1
    a, b = find_steps(y), find_steps(y * 1e-6)
    assert [s.at for s in a.steps] == [s.at for s in b.steps]
    assert a.steps[0].ratio == pytest.approx(b.steps[0].ratio)


def test_counts_need_equality_only():
    y = np.full(12, 128.0)
    y[9:] = 129.0
    found = find_steps(y)
    assert found.kind == "exact"
    assert [(s.at, s.old, s.new, s.p) for s in found.steps] == [(9, 128.0, 129.0, 0.0)]
    assert not is_exact(noise(20, 1))
    assert find_steps(np.full(30, 5.0)).steps == ()


@pytest.mark.parametrize("values", [[], [1.0], [np.nan] * 5, [1.0, 2.0, 1.5], [np.nan, 3.0]])
def test_few_values_say_nothing(values: list[float]):
    found = find_steps(values)
    assert found.steps == ()
    assert found.p == 1.0


def test_the_same_seed_gives_the_same_answer():
    y = noise(60, 11)
    y[40:] *= 1.03
    assert [s.p for s in find_steps(y).steps] == [s.p for s in find_steps(y).steps]


def test_clipping_leaves_steps_and_takes_spikes():
    x = np.zeros(40) + 0.01 * np.random.default_rng(0).normal(size=40)
    x[20:] += 1
    x[10] += 5
    spread = spread_of_differences(x)
    cut = clipped(x, spread)
    assert cut[10] < 0.1
    assert cut[20:] == pytest.approx(x[20:], abs=0.05)


def test_redrawn_noise_has_the_memory_it_is_given():
    rng = np.random.default_rng(0)
    e = rng.normal(size=150)
    drawn = redrawn(e, 0.6, 200, 100, rng)
    lag = (drawn[:, 1:] * drawn[:, :-1]).mean() / (drawn**2).mean()
    assert lag == pytest.approx(0.6, abs=0.08)
    assert drawn.std() == pytest.approx(e.std() / 0.8, rel=0.1)


def test_false_discoveries_are_held_over_all_series():
    rng = np.random.default_rng(5)
    p = np.concatenate([rng.random(900), np.full(100, 1e-7)])
    stand = passed(p, 0.05)
    assert stand[900:].all()
    assert stand[:900].sum() <= 15
    assert not passed(rng.random(50) * 0.9 + 0.1, 0.01).any()
    assert passed([], 0.01).shape == (0,)


def test_slow_drift_shows_against_a_fixed_baseline():
    y = noise(200, 12) * np.linspace(1, 1.04, 200)
    ratio, p = drift(y, find_steps(y), slice(0, 20), 20)
    assert ratio == pytest.approx(1.036, abs=0.012)
    flat = noise(200, 13)
    assert drift(flat, find_steps(flat), slice(0, 20), 20)[1] > 1e-3
    assert p < 1e-3


@pytest.mark.parametrize(
    ("name", "truth"), [("quality_control_1", 146), ("quality_control_3", 179), ("quality_control_5", None)]
)
def test_series_of_known_truth(shared_data: Path, name: str, truth: int | None):
    """Of the Turing Change Point Dataset, those whose change is known, within its margin of 5."""
    path = shared_data / "perf_history" / "tcpd" / "datasets" / name / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    values = json.loads(path.read_text())["series"][0]["raw"]
    steps = find_steps(values).steps
    if truth is None:
        assert steps == ()
    else:
        assert len(steps) == 1
        assert abs(steps[0].at - truth) <= 5
