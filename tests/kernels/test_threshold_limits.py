"""The two bounds: whatever window passes the exact test passes the screen and has a seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.kernels.threshold_limits import limits_of, screen_of, seed_count, spread_table
from hdrmx.params import FindSpots

TOPS = [2**16 - 1, 2**31 - 1]
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
def test_a_window_that_passes_is_marked_and_has_a_seed(params, data):
    window = (2 * params.kernel_px + 1) ** 2
    m = data.draw(st.integers(1, window))
    mean = data.draw(st.sampled_from([0.05, 0.5, 2.0, 20.0, 300.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    pixels = rng.poisson(mean, m).astype(float)
    pixels[: data.draw(st.integers(0, 3))] += data.draw(st.sampled_from([1, 3, 10, 1000, 60000]))
    if not passes(pixels, params):
        return
    assert pixels.max() >= seed_count(params, params.gain)
    for top in TOPS:
        window, slope, cap, most = screen_of(params, params.gain, top)
        cut = np.clip(pixels, -cap, cap)
        x, y = int(cut.sum()), int((cut**2).sum())
        assert x > most or y > x * (x + slope) // window


@pytest.mark.parametrize("params", SETTINGS)
@pytest.mark.parametrize("top", TOPS)
def test_sums_fit_their_integers_and_the_cap_is_enough(params, top):
    window, slope, cap, most = screen_of(params, params.gain, top)
    assert window * cap * cap <= top
    assert most * (most + slope) <= min(top, window * cap * cap - 1)
    assert slope <= top


def test_seed_of_the_defaults():
    assert seed_count(FindSpots(), 1.0) == 3
    assert seed_count(FindSpots(kernel_px=1), 1.0) == 4  # 1 + 6 sqrt(2 / 8) = 4: rounding may let 4 pass


def test_limits_refuse_a_min_local_that_no_window_has():
    with pytest.raises(ValueError, match="min_local is 10"):
        limits_of(FindSpots(kernel_px=1, min_local=10), (0, 1))


def test_spread_table():
    np.testing.assert_allclose(spread_table(1), [0, *np.sqrt(2 * np.arange(9.0))])
