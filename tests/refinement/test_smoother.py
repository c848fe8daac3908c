from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.refinement.smoother import Smoother

VALUES = np.array([1.0, -2.0, 3.0, 5.0, -1.0, 0.5, 2.5])
# GaussianSmoother((0, 10 n), n) of DIALS 3.12 for these values, at x = 0, 3, 4.9, 10 n - 2, 10 n
DIALS = {
    1: (0.742796078, 0.161380641, -0.46450367, -1.416070905, -1.742796078),
    2: (0.655640269, 0.08703106, -0.442072077, 1.863290676, 2.424722557),
    3: (-0.5, -1.135017288, -1.18286707, 3.156589593, 2.0),
    5: (-0.5, -1.135017288, -1.18286707, 1.058577295, 1.5),
}


@pytest.mark.parametrize("n", DIALS)
def test_values_are_those_of_dials(n):
    smoother = Smoother(0.0, 10.0 * n, n)
    at = [0.0, 3.0, 4.9, 10.0 * n - 2.0, 10.0 * n]
    values = VALUES[: smoother.n_samples, None]
    if n > 2:  # both ends lie half-way between two points; DIALS then takes the outermost two only, as does the formula
        np.testing.assert_allclose(smoother.at(at, values)[1:4, 0], DIALS[n][1:4], atol=1e-8)
        np.testing.assert_allclose(smoother.at([at[0], at[4]], values)[:, 0], (DIALS[n][0], DIALS[n][4]), atol=0.05)
    else:
        np.testing.assert_allclose(smoother.at(at, values)[:, 0], DIALS[n], atol=1e-8)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(0, 12), first=st.integers(-50, 50), length=st.integers(1, 5000), share=st.floats(-0.5, 1.5))
def test_a_constant_stays_and_only_near_points_count(n, first, length, share):
    smoother = Smoother(first, first + length, n)
    frame = first + share * length
    start, weight = smoother.weights([frame])
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert start[0] >= 0
    assert start[0] + np.count_nonzero(weight[0]) <= smoother.n_samples
    np.testing.assert_allclose(smoother.at([frame], np.full((smoother.n_samples, 2), 4.25)), 4.25)
    inside = min(max(frame, first), first + length)
    used = smoother.positions[start[0] : start[0] + np.count_nonzero(weight[0])]
    assert np.abs(used - inside).min() <= 0.5 * smoother.spacing + 1e-9


def test_samples_lie_in_and_around_the_intervals():
    np.testing.assert_allclose(Smoother(0, 40, 4).positions, [-5, 5, 15, 25, 35, 45])
    np.testing.assert_allclose(Smoother(0, 40, 2).positions, [0, 20, 40])
    np.testing.assert_allclose(Smoother(0, 40, 1).positions, [0, 40])
    np.testing.assert_allclose(Smoother(0, 40, 0).positions, [20])
