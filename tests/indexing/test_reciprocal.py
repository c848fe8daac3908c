import dataclasses

import lattice_spots as synth
import numpy as np
import pytest

from hdrmx.indexing.reciprocal import absorption_depth_mm, map_spots, map_sweeps, true_positions
from hdrmx.models import Goniometer

CELL = (54.0, 58.0, 68.0, 90.0, 90.0, 90.0)


@pytest.fixture(scope="module")
def exact():
    crystal, geometry = synth.crystal(CELL), synth.geometry(n_frames=40)
    found = synth.reflections(crystal, geometry, 5.0)
    return crystal, geometry, found, synth.spots_of(found, 0.0, 0.0)


def test_points_are_the_nodes_of_the_lattice(exact):
    crystal, geometry, found, spots = exact
    points = map_spots(spots, geometry)
    np.testing.assert_allclose(points.r, found[["h", "k", "l"]].to_numpy() @ np.asarray(crystal.A).T, atol=1e-9)
    np.testing.assert_array_equal(points.entering, found["entering"].to_numpy(bool))
    np.testing.assert_allclose(np.linalg.norm(points.s1, axis=1), 1 / geometry.beam.wavelength_A)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", points.rotation, points.r), points.s1 - geometry.beam.s0)


def test_fixed_and_setting_rotations(exact):
    """The crystal turned by the fixed rotation's inverse under that rotation is where it was."""
    _, geometry, _, spots = exact
    F, S = synth.rotation((1, 2, 3), 40.0), synth.rotation((0, 1, 1), 25.0)
    axis = tuple(S.T @ np.array([1.0, 0.0, 0.0]))
    turned = Goniometer(axis, tuple(map(tuple, F.tolist())), tuple(map(tuple, S.tolist())))
    plain = map_spots(spots, geometry)
    points = map_spots(spots, dataclasses.replace(geometry, goniometer=turned))
    # S R(S^-1 e) F = R(e) S F
    np.testing.assert_allclose(points.r, plain.r @ (S @ F), atol=1e-12)
    np.testing.assert_array_equal(points.entering, plain.entering)


def test_parallax_is_undone():
    panel = dataclasses.replace(synth.geometry().detector.panels[0], thickness_mm=0.45, mu_per_mm=3.9)
    slow, fast = np.array([20.0, 500.0, 990.0]), np.array([980.0, 497.0, 15.0])
    surface = panel.lab_mm(slow, fast)
    ray = surface / np.linalg.norm(surface, axis=1, keepdims=True)
    depth = absorption_depth_mm(panel, ray)
    seen_fast = fast + depth * (ray @ np.asarray(panel.fast_axis)) / panel.pixel_mm[1]
    seen_slow = slow + depth * (ray @ np.asarray(panel.slow_axis)) / panel.pixel_mm[0]
    assert np.abs(seen_fast - fast).max() > 0.3
    np.testing.assert_allclose(true_positions(panel, seen_slow, seen_fast), surface, atol=1e-6)


def test_depth_of_a_thin_and_a_thick_sensor():
    panel = synth.geometry().detector.panels[0]
    along = np.array([[0.0, 0.0, -1.0]])
    thin = dataclasses.replace(panel, thickness_mm=0.01, mu_per_mm=1e-3)
    thick = dataclasses.replace(panel, thickness_mm=100.0, mu_per_mm=2.0)
    assert absorption_depth_mm(thick, along)[0] == pytest.approx(0.5)
    assert absorption_depth_mm(thin, along)[0] == pytest.approx(0.0, abs=1e-6)


def test_stills_and_sweeps(exact):
    _, geometry, _, spots = exact
    still = dataclasses.replace(geometry, goniometer=None, scan=None)
    points = map_spots(spots, still)
    np.testing.assert_allclose(points.r, points.s1 - still.beam.s0)
    both = map_sweeps([(spots, geometry), (spots[:5], still)])
    assert len(both) == len(spots) + 5
    assert both.sweep.tolist() == [0] * len(spots) + [1] * 5
    assert len(map_spots(spots[:0], geometry)) == 0


def test_panels_have_their_own_place(exact):
    _, geometry, _, spots = exact
    panel = geometry.detector.panels[0]
    halves = (
        dataclasses.replace(panel, shape=(500, 1000)),
        dataclasses.replace(panel, shape=(500, 1000), origin_mm=tuple(panel.lab_mm(500, 0)), offset=(500, 0)),
    )
    split = dataclasses.replace(geometry, detector=geometry.detector.with_panels(halves))
    moved = spots.copy()
    lower = moved["slow"] >= 500
    moved["panel"] = lower.astype("int32")
    moved.loc[lower, "slow"] -= 500
    np.testing.assert_allclose(map_spots(moved, split).r, map_spots(spots, geometry).r, atol=1e-12)
