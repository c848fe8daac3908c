"""Spreads recovered from the spots' tables, and the parts they are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from integration_case import SHAPE, SIGMA_B, SIGMA_M, Case, case, geometry, packed
from scipy.special import ndtr

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.integration import profile_model as model
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots


def refined(mean: float = 4000.0, background: float = 0.02, **changes) -> tuple[pd.DataFrame, Case, pd.DataFrame]:
    """Spots found in a simulated scan, indexed by the nearest prediction."""
    c = case(mean, background, **changes)
    result = find_spots(packed(c.stack), c.mask, c.geometry, FindSpots(keep_pixels=True))
    spots = result.spots
    ours, theirs = (t[["frame", "slow", "fast"]].to_numpy() for t in (spots, c.predicted))
    nearest = np.array([np.argmin(((theirs - row) ** 2).sum(axis=1)) for row in ours])
    near = np.sqrt(((theirs[nearest] - ours) ** 2).sum(axis=1)) < 1.5
    table = spots.assign(lattice=np.where(near, 0, -1).astype(np.int32), entering=True, used=near, outlier=False)
    for axis in "hkl":
        table[axis] = np.where(near, c.predicted[axis].to_numpy()[nearest], 0).astype(np.int32)
    for i, name in enumerate(("frame_calc", "slow_calc", "fast_calc")):
        table[name] = np.where(near, theirs[nearest, i], np.nan)
    table = table[[column.name for column in tables.REFINED]]
    tables.check(table, tables.REFINED)
    return table, c, result.pixels


def test_spreads_of_strong_spots():
    table, c, pixels = refined()
    found = model.fit_profile_model(table, c.geometry)
    exact = model.fit_profile_model(table, c.geometry, pixels=pixels)
    assert found.n_spots > 100
    # a pixel is 0.13 deg wide; it blurs a spot by its width over sqrt(12) in either direction
    pixel = 0.1 / 45.0
    blurred = np.sqrt(SIGMA_B**2 + 0.93 * 2 * pixel**2 / 12)  # both directions; oblique pixels look smaller
    assert found.sigma_b_rad == pytest.approx(blurred, rel=0.06)
    assert exact.sigma_m_rad == pytest.approx(SIGMA_M, rel=0.12)  # strong neighbours run into one another
    assert found.sigma_m_rad == pytest.approx(exact.sigma_m_rad, rel=0.05)


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_most_likely_width_of_the_rocking_curve(sigma):
    rng = np.random.default_rng(2)
    n, width = 400, np.radians(0.2)
    zeta, position = rng.uniform(0.2, 1.0, n), rng.uniform(8, 9, n)
    edges = (np.arange(18) - position[:, None]) * width * zeta[:, None] / np.radians(sigma)
    counts = rng.poisson(1000 * np.diff(ndtr(edges), axis=1)).astype(float)
    found = model.most_likely_sigma_m(counts, -position * width, zeta, width)
    assert found == pytest.approx(np.radians(sigma), rel=0.03)


def test_sum_of_squares_of_gaussian_spots():
    y, x = np.mgrid[-8:9, -8:9]
    rows = []
    for sigma, total in ((0.8, 300.0), (1.5, 2000.0)):
        pixels = total * np.exp(-0.5 * (y**2 + x**2) / sigma**2) / (2 * np.pi * sigma**2)
        strong = pixels[pixels > 2]
        rows.append((strong.sum(), strong.size, strong.max(), (strong**2).sum()))
    spots = pd.DataFrame(rows, columns=["intensity", "n_pixels", "peak", "squares"])
    np.testing.assert_allclose(model.sum_of_squares(spots), spots["squares"], rtol=0.15)


def test_counts_of_short_spots_are_exact():
    rng = np.random.default_rng(4)
    rows, divided = [], []
    for n in (1, 2, 3):
        counts = rng.integers(5, 50, n).astype(float)
        pixels = np.concatenate([np.full(5, c / 5) for c in counts])  # five equal pixels a frame
        z = np.repeat(np.arange(n), 5) + 0.5
        total, squares = pixels.sum(), (pixels**2).sum()
        mean = (pixels * z).sum() / total
        variance = (pixels * (z - mean) ** 2).sum() / (total**2 - squares) + 1 / 12
        rows.append((total, 5 * n, pixels.max(), 10.0 + mean, variance, 10, 10 + n))
        divided.append(counts)
    names = ["intensity", "n_pixels", "peak", "frame", "frame_var", "frame_min", "frame_max"]
    found, first = model.counts_by_frame(pd.DataFrame(rows, columns=names))
    for i, counts in enumerate(divided):
        np.testing.assert_allclose(found[i, : i + 1], counts, rtol=0.06)
        assert np.isnan(found[i, i + 1 :]).all()
    assert (first == 10).all()


def test_too_few_spots_are_refused():
    table, c, _ = refined(mean=50.0)
    with pytest.raises(InputError, match="0 spots tell of the profile; 10 are needed"):
        model.fit_profile_model(table[:0], c.geometry)


def test_kabsch_axes_are_at_right_angles():
    where = geometry()
    s1 = np.random.default_rng(1).normal(size=(20, 3))
    axes = model.kabsch_axes(s1, where)
    for e in (axes.e1, axes.e2):
        np.testing.assert_allclose(np.linalg.norm(e, axis=1), 1)
        np.testing.assert_allclose(np.einsum("ij,ij->i", e, s1), 0, atol=1e-12)
    np.testing.assert_allclose(axes.zeta, axes.e1 @ where.goniometer.lab_axis)
    assert SHAPE == (180, 200)
