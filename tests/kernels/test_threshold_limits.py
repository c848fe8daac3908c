"""The two bounds: whatever window passes the exact test passes the screens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.kernels.threshold_limits import limits_of, lines_of, seed_count, spread_table
from hdrmx.params import FindSpots

SETTINGS = [
    FindSpots(),
    FindSpots(kernel_px=1, sigma_background=2.0),
    FindSpots(kernel_px=5, gain=0.4),
    FindSpots(kernel_px=2, gain=3.7, min_local=6),
    FindSpots(sigma_background=0.0),
]


def passes(pixels: np.ndarray, params: FindSpots) -> bool:
    """The background test of one window, as the formula reads."""
    m, x, y = len(pixels), float(pixels.sum()), float((pixels**2).sum())
    allowed = params.gain * x * (m - 1 + params.sigma_background * np.sqrt(2 * (m - 1)))
    return m >= params.min_local and x >= 0 and m * y - x * x > allowed


@pytest.mark.parametrize("params", SETTINGS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_window_that_passes_is_marked_by_every_line_and_has_a_seed(params, data):
    window = (2 * params.kernel_px + 1) ** 2
    m = data.draw(st.integers(1, window))
    mean = data.draw(st.sampled_from([0.05, 0.5, 2.0, 20.0, 300.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    pixels = rng.poisson(mean, m).astype(float)
    pixels[: data.draw(st.integers(0, 3))] += data.draw(st.sampled_from([1, 3, 10, 1000, 60000]))
    if not passes(pixels, params):
        return
    assert pixels.max() >= seed_count(params, params.gain)
    for slope, floor, cap, bits in lines_of(params, params.gain)[0]:
        if bits:
            clamped = np.clip(pixels, slope - cap, cap)
            assert (clamped * (clamped - slope)).sum() > floor


@pytest.mark.parametrize("params", SETTINGS)
def test_sums_fit_their_lanes(params):
    window = (2 * params.kernel_px + 1) ** 2
    for slope, floor, cap, bits in lines_of(params, params.gain)[0][:-1].tolist():
        top = 2 ** (bits - 1) - 1
        most, least = cap * (cap - slope), -(slope // 2) * (slope - slope // 2)
        assert max(window * most, floor - window * least, cap) <= top
        assert min(floor - window * most, window * least) >= -top - 1


def test_seed_of_the_defaults():
    assert seed_count(FindSpots(), 1.0) == 3
    assert seed_count(FindSpots(kernel_px=1), 1.0) == 4  # 1 + 6 sqrt(2 / 8) = 4: rounding may let 4 pass


def test_limits_refuse_a_min_local_that_no_window_has():
    with pytest.raises(ValueError, match="min_local is 10"):
        limits_of(FindSpots(kernel_px=1, min_local=10), (0, 1))


def test_spread_table():
    np.testing.assert_allclose(spread_table(1), [0, *np.sqrt(2 * np.arange(9.0))])
