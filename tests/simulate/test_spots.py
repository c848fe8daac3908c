"""Spots photon by photon against the integrated profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulate_cases import tiny

from hdrmx.models import Panel
from hdrmx.simulate import predict
from hdrmx.simulate.geometry import build
from hdrmx.simulate.rng import make_key
from hdrmx.simulate.spots import Plane, draw_spots, expected_spot, kabsch_axes

SIGMA_B = np.radians(0.16)  # wide against a pixel, so that centroids are not drawn to pixel centres


def rays_to(panel: Panel, wavelength: float, slow: np.ndarray, fast: np.ndarray) -> np.ndarray:
    at = panel.lab_mm(slow, fast)
    return at / np.linalg.norm(at, axis=1)[:, None] / wavelength


def draw(
    panel: Panel, s1: np.ndarray, s0: np.ndarray, means: np.ndarray, key: int = 1, free: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    out = np.zeros(panel.shape, np.uint32)
    n, seen = np.zeros(len(s1), np.int64), np.zeros(len(s1), np.int64)
    plane = Plane.of(panel)
    free = np.full(panel.shape, 255, np.uint8) if free is None else free
    ids = np.arange(len(s1), dtype=np.uint64)
    axes = kabsch_axes(s1, s0)
    draw_spots(make_key(key), ids, means, axes, SIGMA_B, plane.inverse, plane.axes, plane.sensor, free, out, n, seen)
    return out, n, seen


def panel_of(**changes: object) -> tuple[Panel, np.ndarray, float]:
    true, _ = build(tiny(**changes))
    return true.detector.panels[0], true.beam.s0, true.beam.wavelength_A


@pytest.mark.parametrize("two_theta", [0.0, 35.0])
def test_pixels_follow_the_integrated_profile(two_theta: float) -> None:
    panel, s0, wavelength = panel_of(parallax=False, two_theta_deg=two_theta)
    s1 = rays_to(panel, wavelength, np.array([30.37]), np.array([80.81]))
    box = (slice(24, 37), slice(74, 88))
    counts, n, seen = draw(panel, s1, s0, np.array([400000.0]))
    share = expected_spot(kabsch_axes(s1, s0)[0], SIGMA_B, panel, box)
    assert share.sum() == pytest.approx(1.0, abs=1e-3)
    expected = share * n[0]
    strong = expected > 20
    pull = ((counts[box] - expected) / np.sqrt(np.maximum(expected, 1)))[strong]
    assert strong.sum() > 25
    assert np.mean(pull**2) == pytest.approx(1.0, abs=0.75)
    assert counts.sum() == seen[0] == n[0]


@pytest.mark.parametrize("parallax", [False, True])
def test_centroid_and_width_are_the_predicted_ones(parallax: bool) -> None:
    panel, s0, wavelength = panel_of(parallax=parallax, distance_mm=25.0)
    s1 = rays_to(panel, wavelength, np.array([20.3, 100.7, 40.0]), np.array([110.2, 15.9, 64.0]))
    slow, fast = predict.positions(s1, panel)
    for k in range(3):
        counts, n, _ = draw(panel, s1[k : k + 1], s0, np.array([200000.0]), key=k)
        i, j = np.indices(panel.shape) + 0.5
        mean = np.array([(counts * i).sum(), (counts * j).sum()]) / n[0]
        assert mean == pytest.approx([slow[k], fast[k]], abs=0.01)
    plain = predict.positions(s1, replace(panel, thickness_mm=0.0))
    moved = np.hypot(slow - plain[0], fast - plain[1])
    assert (moved > 0.1).any() == parallax


def test_numbers_of_photons_are_poisson() -> None:
    panel, s0, wavelength = panel_of()
    s1 = rays_to(panel, wavelength, np.full(3000, 30.0), np.full(3000, 64.0))
    means = np.repeat([0.2, 4.0, 40.0], 1000)
    _, n, seen = draw(panel, s1, s0, means)
    assert (n == seen).all()
    for k, mean in enumerate((0.2, 4.0, 40.0)):
        part = n[k * 1000 : k * 1000 + 1000]
        assert part.mean() == pytest.approx(mean, abs=4.5 * np.sqrt(mean / 1000))
        assert part.var() == pytest.approx(mean, rel=0.3)


def test_photons_stop_at_gaps_shadows_and_edges() -> None:
    panel, s0, wavelength = panel_of()
    s1 = rays_to(panel, wavelength, np.array([30.0, 64.0, 0.0]), np.array([64.0, 64.0, 64.0]))
    free = np.full(panel.shape, 255, np.uint8)
    free[60:68] = 0
    free[:32, 64:] = 128
    counts, n, seen = draw(panel, s1, s0, np.full(3, 20000.0), free=free)
    assert counts.sum() == seen.sum()
    assert not counts[60:68].any()
    assert seen[1] < 0.02 * n[1]
    assert seen[2] < 0.6 * n[2]
    left, right = counts[20:32, 54:64].sum(), counts[20:32, 64:74].sum()
    assert right / left == pytest.approx(128 / 255, abs=0.03)


def test_a_reflection_has_the_same_photons_whatever_is_drawn_with_it() -> None:
    panel, s0, wavelength = panel_of()
    s1 = rays_to(panel, wavelength, np.array([20.0, 90.0]), np.array([20.0, 90.0]))
    both, n, _ = draw(panel, s1, s0, np.array([500.0, 700.0]))
    alone, first, _ = draw(panel, s1[:1], s0, np.array([500.0]))
    assert n[0] == first[0]
    assert (both[:60] == alone[:60]).all()
