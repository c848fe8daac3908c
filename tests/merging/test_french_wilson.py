"""Posterior amplitudes against integrals written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from hdrmx.merging.french_wilson import amplitudes


def _by_integral(intensity: float, sigma: float, mean: float, centric: bool) -> tuple[float, float]:
    peak = max(intensity - sigma**2 / mean, 0.0)

    def posterior(f: float) -> float:  # in F, so that the centric prior has no pole: dJ = 2 F dF
        j = f * f
        prior = np.exp(-j / (2 * mean)) if centric else 2 * f * np.exp(-j / mean)
        return prior * np.exp(-((j - intensity) ** 2) / 2 / sigma**2 + (peak - intensity) ** 2 / 2 / sigma**2)

    top = np.sqrt(max(intensity, 0.0) + 12 * sigma)
    bottom = np.sqrt(max(peak - 12 * sigma, 0.0))
    norm, first, second = (quad(lambda f, k=k: f**k * posterior(f), bottom, top, limit=500)[0] for k in (0, 1, 2))
    return first / norm, np.sqrt(second / norm - (first / norm) ** 2)


@pytest.mark.parametrize("centric", [False, True])
@pytest.mark.parametrize("i_over_sigma", [-8.0, -3.0, -0.5, 0.0, 0.7, 2.0, 5.0, 20.0, 39.0, 45.0, 60.0])
def test_moments_are_those_of_the_posterior(i_over_sigma: float, centric: bool) -> None:
    for sigma, mean in ((1.0, 3.0), (2.5, 40.0)):
        found = amplitudes(np.array([i_over_sigma * sigma]), np.array([sigma]), np.array([mean]), np.array([centric]))
        f, sd = _by_integral(i_over_sigma * sigma, sigma, mean, centric)
        assert found.f[0] == pytest.approx(f, rel=2e-5)
        assert found.sigma[0] == pytest.approx(sd, rel=2e-3)


def test_strong_reflections_are_roots_and_order_is_kept() -> None:
    intensity = np.linspace(-5, 1e4, 5001)
    found = amplitudes(intensity, np.ones(5001), np.full(5001, 100.0), np.zeros(5001, bool))
    assert (np.diff(found.f) > 0).all()
    assert found.f[-1] == pytest.approx(100.0, rel=1e-4)
    assert found.sigma[-1] == pytest.approx(1 / 200, rel=1e-3)


def test_scale_of_intensities_comes_out_as_its_root() -> None:
    rng = np.random.default_rng(3)
    i, s, centric = rng.normal(2, 3, 200), rng.uniform(0.5, 2, 200), rng.random(200) < 0.3
    one = amplitudes(i, s, np.full(200, 4.0), centric)
    nine = amplitudes(9 * i, 9 * s, np.full(200, 36.0), centric)
    np.testing.assert_allclose(nine.f, 3 * one.f, rtol=1e-12)


def test_true_amplitudes_are_met_on_average() -> None:
    rng = np.random.default_rng(4)
    true = rng.exponential(1.0, 40000)
    found = amplitudes(true + rng.normal(0, 1.0, 40000), np.ones(40000), np.ones(40000), np.zeros(40000, bool))
    pull = (found.f - np.sqrt(true)) / found.sigma
    assert abs(pull.mean()) < 0.02
    assert pull.std() == pytest.approx(1.0, abs=0.02)


def test_unknown_stays_unknown() -> None:
    found = amplitudes(
        np.array([np.nan, 1.0, 1.0]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, np.nan]), np.zeros(3, bool)
    )
    assert np.isnan(found.f).all()
