from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from hdrmx.refinement import outliers

DIALS_PYTHON = Path("/usr/bin/python3")
FAST_MCD = """
import sys, numpy as np
from dials.algorithms.statistics.fast_mcd import FastMCD, maha_dist_sq
from dials.array_family import flex
import random; random.seed(1)
points = np.load(sys.argv[1])
columns = [flex.double(np.ascontiguousarray(c)) for c in points.T]
location, scatter = FastMCD(columns).get_corrected_T_and_S()
np.savez(sys.argv[2], scatter=np.array(scatter).reshape(3, 3), location=np.array(location),
         d2=np.array(maha_dist_sq(columns, location, scatter)))
"""


def residuals(n=2000, planted=0.1, seed=4):
    rng = np.random.default_rng(seed)
    mixing = np.array([[0.02, 0.0, 0.0], [0.01, 0.015, 0.0], [0.0, 0.001, 0.003]])
    good = rng.normal(size=(n, 3)) @ mixing.T
    bad = rng.random(n) < planted
    good[bad] += (
        rng.choice([-1, 1], (bad.sum(), 3)) * rng.uniform(6, 20, (bad.sum(), 3)) * np.array([0.02, 0.02, 0.003])
    )
    return good, bad, mixing @ mixing.T


def test_planted_outliers_are_found_and_little_else():
    points, bad, scatter = residuals()
    found = outliers.mcd(points)
    assert found[bad].all()
    assert found[~bad].mean() == pytest.approx(0.025, abs=0.012)
    centre, estimated = outliers.minimum_covariance(points)
    np.testing.assert_allclose(centre / np.sqrt(np.diagonal(scatter)), 0, atol=0.1)
    np.testing.assert_allclose(
        estimated / np.sqrt(np.outer(np.diagonal(scatter), np.diagonal(scatter))),
        scatter / np.sqrt(np.outer(np.diagonal(scatter), np.diagonal(scatter))),
        atol=0.15,
    )


def test_nearly_half_may_be_bad():
    points, bad, _ = residuals(planted=0.4)
    assert outliers.mcd(points)[bad].mean() > 0.99


def test_neither_order_nor_units_matter():
    points, _, _ = residuals(700)
    found = outliers.mcd(points)
    order = np.random.default_rng(0).permutation(len(points))
    np.testing.assert_array_equal(outliers.mcd(points[order]), found[order])
    np.testing.assert_array_equal(outliers.mcd(points * [1e3, 1e-3, 57.3] + [5, -2, 1]), found)


def test_the_search_reaches_the_determinant_of_many_random_starts():
    points, _, _ = residuals(300, 0.2)
    n, k = points.shape
    h = (n + k + 1) // 2
    rng = np.random.default_rng(1)
    z = points / points.std(axis=0)
    lowest = np.inf
    for _ in range(300):
        few = z[rng.choice(n, k + 1, replace=False)]
        start = few.mean(axis=0), np.cov(few.T) + 1e-9 * np.eye(k)
        lowest = min(lowest, outliers._concentrate(z, *start, h, 50)[2])
    found = outliers.minimum_covariance(z)[1] / outliers.correction(n, k, h)
    assert np.linalg.det(found) == pytest.approx(lowest, rel=0.05)
    assert np.linalg.det(found) >= lowest * (1 - 1e-9)


def test_runs_are_judged_on_their_own():
    rng = np.random.default_rng(2)
    frame = np.sort(rng.uniform(0, 200, 2000))
    points = rng.normal(size=(2000, 3)) * np.where(frame < 100, 1.0, 5.0)[:, None]
    points[frame >= 100] += 30.0
    found = outliers.mcd_blocks(points, frame, 100.0)
    assert found.mean() == pytest.approx(0.025, abs=0.012)
    assert outliers.mcd(points).mean() > 0.4


def test_tukey_is_the_rule_of_quartiles():
    points, _, _ = residuals(500)
    low, high = np.quantile(points, 0.25, axis=0), np.quantile(points, 0.75, axis=0)
    reach = 1.5 * (high - low)
    np.testing.assert_array_equal(
        outliers.tukey(points), np.any((points < low - reach) | (points > high + reach), axis=1)
    )


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.ones((7, 3)), np.ones((50, 3)), np.eye(3)[np.arange(60) % 3]])
def test_degenerate_points_break_nothing(points):
    frame = np.arange(len(points), dtype=float)
    for found in (outliers.mcd(points), outliers.mcd_blocks(points, frame, 10.0), outliers.tukey(points)):
        assert found.shape == (len(points),)
    assert not outliers.mcd(np.ones((50, 3))).any()


@pytest.mark.dials
@pytest.mark.slow
def test_agrees_with_fast_mcd_of_dials(tmp_path):
    if not DIALS_PYTHON.exists():
        pytest.skip("DIALS is not installed")
    for n, planted in ((150, 0.1), (1500, 0.15)):
        points, _, _ = residuals(n, planted)
        np.save(tmp_path / "points.npy", points)
        command = [str(DIALS_PYTHON), "-c", FAST_MCD, str(tmp_path / "points.npy"), str(tmp_path / "out.npz")]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("DIALS's Python modules can't be imported")
        theirs = np.load(tmp_path / "out.npz")
        _, scatter = outliers.minimum_covariance(points)
        assert np.linalg.det(scatter) / np.linalg.det(theirs["scatter"]) == pytest.approx(1.0, abs=0.15)
        assert np.mean(outliers.mcd(points) == (theirs["d2"] > 9.348)) > 0.97
