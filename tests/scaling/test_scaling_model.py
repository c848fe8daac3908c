"""The model of scales: how many parameters, and what they do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scaling_case import Plan, geometry_of

from hdrmx.kernels import scaling as kernels
from hdrmx.models import Goniometer
from hdrmx.params import Scale
from hdrmx.scaling.model import crystal_directions, make_design, make_model


@pytest.mark.parametrize(
    ("degrees", "n_scale", "n_decay", "n_surface"),
    [
        (0.5, 1, 1, 0),  # one scale and B
        (4.0, 6, 5, 0),
        (96.0, 9, 7, 24),  # as DIALS 3.12 has it for this width
        (100.0, 9, 7, 24),
        (360.0, 26, 20, 24),
    ],
)
def test_parameters_by_width(degrees: float, n_scale: int, n_decay: int, n_surface: int) -> None:
    sweep = make_model([geometry_of(Plan(degrees=degrees))], Scale()).sweeps[0]
    assert (sweep.n_scale, sweep.n_surface) == (n_scale, n_surface)
    assert sweep.n_decay == n_decay


def test_settings_override_the_width() -> None:
    geometry = geometry_of(Plan(degrees=30.0))
    sweep = make_model([geometry], Scale(absorption="high", decay=False, scale_interval_deg=10.0)).sweeps[0]
    assert (sweep.n_scale, sweep.n_decay, sweep.n_surface, sweep.surface_weight) == (5, 0, 48, 5e3)
    assert make_model([geometry], Scale(model="kb")).n_parameters == 2


def test_start_scales_nothing_and_a_common_factor_is_free() -> None:
    geometries = [geometry_of(Plan(degrees=w)) for w in (100.0, 0.5)]
    model = make_model(geometries, Scale())
    rng = np.random.default_rng(0)
    n = 200
    sweep = rng.integers(0, 2, n).astype(np.int32)
    frame, d, s1 = rng.uniform(0, 400, n), rng.uniform(1.5, 20, n), rng.normal(size=(n, 3))
    design = make_design(model, geometries, sweep, frame, d, s1)
    scale = np.empty(n)
    kernels.scales(design, model.start(), scale)
    np.testing.assert_allclose(scale, 1.0, rtol=1e-14)
    parameters = model.start() + rng.normal(0, 0.02, model.n_parameters)
    kernels.scales(design, parameters, scale)
    doubled = np.empty(n)
    kernels.scales(design, model.multiplied(parameters, 2.0), doubled)
    np.testing.assert_allclose(doubled, 2.0 * scale, rtol=1e-14)
    assert model.free_directions(parameters).shape == (model.n_parameters, 2)
    np.testing.assert_allclose(np.linalg.norm(model.free_directions(parameters), axis=0), 1.0)
    np.testing.assert_array_equal(model.first_of_sweep, [0, model.sweeps[0].n])


def test_directions_turn_with_the_crystal() -> None:
    geometry = geometry_of(Plan(degrees=360.0, n_frames=360))
    tilted = Goniometer(axis=(0.0, 1.0, 0.0), fixed=((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    geometry = dataclasses.replace(geometry, goniometer=tilted)
    ray = np.array([[0.6, 0.0, 0.8]])
    source, out = crystal_directions(geometry, np.array([0.0]), ray)
    np.testing.assert_allclose(source, [[0, 0, 1]], atol=1e-12)  # the beam comes down -z
    np.testing.assert_allclose(out, [[0, -0.6, 0.8]], atol=1e-12)
    # a quarter turn about y brings the crystal's x to -z: what is towards the source is then the crystal's -x
    source, _ = crystal_directions(geometry, np.array([90.0]), ray)
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]) @ np.asarray(tilted.fixed)
    np.testing.assert_allclose(turn @ source[0], [0, 0, 1], atol=1e-12)
