from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refinement_case import crystal, geometry

from hdrmx.errors import InputError
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Scan
from hdrmx.refinement.parameters import about
from hdrmx.refinement.predict import crossings, frames_of, is_entering, predict, predict_scan


def reflections(each: Crystal, d_min: float = 5.0) -> np.ndarray:
    limit = [int(c / d_min) + 1 for c in each.cell[:3]]
    grid = np.mgrid[tuple(slice(-m, m + 1) for m in limit)].reshape(3, -1).T
    return grid[np.linalg.norm(grid @ np.asarray(each.A).T, axis=1) < 1 / d_min]


def lab(place: Geometry, A, hkl, frame) -> np.ndarray:
    """r in the laboratory, by the definition."""
    g = place.goniometer
    angle = float(place.scan.angle_rad(frame))
    return np.asarray(g.setting) @ about(g.axis, angle) @ np.asarray(g.fixed) @ np.asarray(A) @ hkl


@pytest.mark.parametrize("width_deg", [0.2, -0.2])
def test_predictions_lie_on_the_ewald_sphere_and_on_the_detector(width_deg):
    place, each = geometry(2, width_deg=width_deg, mu=3.9), crystal()
    hkl = reflections(each)
    found = predict_scan(hkl, each, place)
    assert len(found.frame) > 500
    assert ((found.frame >= 0) & (found.frame < 400)).all()
    assert set(found.panel) == {0, 1}
    s0 = place.beam.s0
    for i in range(0, len(found.frame), 37):
        r = lab(place, each.A, hkl[found.index[i]], found.frame[i])
        np.testing.assert_allclose(s0 + r, found.s1[i], atol=1e-10)
        np.testing.assert_allclose(np.linalg.norm(found.s1[i]), np.linalg.norm(s0))
        later = lab(
            place, each.A, hkl[found.index[i]], place.scan.frame_at(place.scan.angle_rad(found.frame[i]) + 1e-6)
        )
        assert (np.linalg.norm(s0 + later) < np.linalg.norm(s0)) == found.entering[i]
    np.testing.assert_array_equal(is_entering(found.s1, place), found.entering)


def test_one_by_one_gives_the_same_as_all_at_once():
    place, each = geometry(2, mu=3.9), crystal()
    hkl = reflections(each)
    found = predict_scan(hkl, each, place)
    again = predict(hkl[found.index], each.A, place, found.entering, found.frame + 0.3)
    for name in ("frame", "slow", "fast", "panel", "s1"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), atol=1e-8)
    on_plane = predict(hkl[found.index], each.A, place, found.entering, found.frame, panel=1 - found.panel)
    np.testing.assert_array_equal(on_plane.panel, 1 - found.panel)
    assert np.isfinite(on_plane.slow).all()


def test_each_turn_of_the_scan_repeats_all():
    once, each = geometry(n_frames=1800), crystal()
    twice = geometry(n_frames=3600)
    hkl = reflections(each, 8.0)
    one, two = predict_scan(hkl, each, once), predict_scan(hkl, each, twice)
    assert len(two.frame) == 2 * len(one.frame)
    np.testing.assert_allclose(np.sort(two.frame[two.frame < 1800]), np.sort(one.frame), atol=1e-8)


def test_a_crystal_that_varies_is_taken_as_it_is_at_the_crossing():
    place, each = geometry(), crystal()
    angle = np.radians(np.linspace(-1.0, 1.0, 401))
    varying = np.array([about((0.6, 0.0, 0.8), a) @ np.asarray(each.A) for a in angle])
    moving = dataclasses.replace(each, A_at_scan_points=varying)
    hkl = reflections(each)
    found, still = predict_scan(hkl, moving, place), predict_scan(hkl, each, place)
    assert 0.9 < len(found.frame) / len(still.frame) < 1.1
    for i in range(0, len(found.frame), 29):
        f = found.frame[i]
        A = varying[int(f)] + (f - int(f)) * (varying[int(f) + 1] - varying[int(f)])
        np.testing.assert_allclose(place.beam.s0 + lab(place, A, hkl[found.index[i]], f), found.s1[i], atol=1e-8)


def test_reflections_that_never_cross_are_left_out():
    place, each = geometry(), crystal()
    along = np.array([[0, 0, 0], [400, 0, 0]])
    assert len(predict_scan(along, each, place).frame) == 0
    one = predict(along[1:], each.A, place, [True], [10.0])
    assert np.isnan(one.frame[0])
    assert one.panel[0] == -1
    assert len(predict_scan(np.zeros((0, 3)), each, place).frame) == 0


def test_stills_are_refused():
    place = dataclasses.replace(geometry(), scan=None)
    with pytest.raises(InputError, match="stills"):
        predict_scan(np.eye(3), crystal(), place)


def test_predictions_agree_with_an_independent_simulation(shared_data):
    """Angles and directions of all 20,375 reflections of a crystal that drifts and swells."""
    truth = np.load(shared_data / "sim_dense_P212121" / "dense_P212121_truth.npz")
    place = Geometry(Beam(0.9763), Detector(()), Goniometer((1.0, 0.0, 0.0)), Scan(0, 320, 0.0, float(np.radians(0.3))))
    coarse = truth["a_matrices"]  # every ten frames
    at = np.linspace(0, len(coarse) - 1, 321)
    low = np.minimum(at.astype(int), len(coarse) - 2)
    A = coarse[low] + (at - low)[:, None, None] * (coarse[low + 1] - coarse[low])
    hkl, z = truth["hkl"].astype(float), truth["z"].astype(float)
    inside = (z > 0) & (z < 320)
    hkl, z, s1 = hkl[inside], z[inside], truth["s1"][inside]
    found = predict(hkl, A[z.astype(int)], place, is_entering(s1, place), z)
    np.testing.assert_allclose(found.frame, z, atol=5e-2)  # A of the frame's beginning
    np.testing.assert_allclose(found.s1, s1, atol=1e-4)
    n = len(hkl)
    index, entering, phi, rays = np.empty(2 * n, int), np.empty(2 * n, bool), np.empty(2 * n), np.empty((2 * n, 3))
    to_spindle, to_datum = frames_of(place)
    unique, which = np.unique(hkl, axis=0, return_inverse=True)
    scan = 0.0, float(np.radians(96.0))
    m = crossings(unique, to_datum @ A, to_spindle @ place.beam.s0, *scan, index, entering, phi, rays)
    frames: dict[int, list[float]] = {}
    for i, angle in zip(index[:m], phi[:m]):
        frames.setdefault(int(i), []).append(float(np.degrees(angle)) / 0.3)
    off = np.array([min((abs(f - known) for f in frames.get(int(i), [])), default=99.0) for i, known in zip(which, z)])
    assert np.median(off) < 1e-4
    assert off.max() < 1e-2
