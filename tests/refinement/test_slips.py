"""Slips of a crystal: found where they are, not where there is none, and the models hold on both sides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refinement_case import crystal, geometry, observe

from hdrmx.models import cell_of
from hdrmx.refinement.breaks import Slip, angle_deg, ordered, segments, steps_rad
from hdrmx.refinement.fit import refine_further, refine_scan_varying, refine_static
from hdrmx.refinement.parameters import CRYSTAL_ONLY, Free, about
from hdrmx.refinement.slips import find_slips, slip_notes

WIDTH_DEG = 0.2


def moving(slip_deg, at=200, n_frames=400, d_min=5.0, drift_deg=0.05, wave_deg=0.0, period_deg=45.0, seed=1):
    """A crystal that drifts steadily, waves, and slips once about an axis of chance; its observations."""
    place, each = geometry(n_frames=n_frames, width_deg=WIDTH_DEG), crystal()
    axis = np.random.default_rng(seed).normal(size=3)
    slip = about(axis / np.linalg.norm(axis), np.radians(slip_deg))
    path = []
    for frame in range(n_frames + 1):
        wave = wave_deg * np.sin(2 * np.pi * frame * WIDTH_DEG / period_deg)
        turned = about((0.6, 0, 0.8), np.radians(drift_deg * frame / n_frames + wave))
        path.append(turned @ (slip if frame >= at else np.eye(3)) @ np.asarray(each.A))
    true = dataclasses.replace(each, A_at_scan_points=np.array(path))
    return place, each, true, observe([true], place, d_min, noise=1.0, seed=seed)


def misorientation_deg(A, B) -> float:
    left, _, right = np.linalg.svd(np.asarray(A) @ np.linalg.inv(np.asarray(B)))
    return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))


@pytest.mark.parametrize("slip_deg", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("at", [60, 200, 330])
def test_a_slip_is_found_where_it_is(slip_deg, at):
    place, each, true, obs = moving(slip_deg, at)
    static = refine_static(obs, [each], place, reject="mcd")
    (found,) = find_slips(obs, static)
    assert found.frame == pytest.approx(at, abs=3)
    assert angle_deg(found.rotation_rad) == pytest.approx(slip_deg, rel=0.15, abs=0.03)
    again = refine_static(obs, static.bases, static.geometry, reject="mcd", slips=[found])
    turning = refine_scan_varying(
        obs,
        again.bases,
        place,
        n_intervals=2,
        free=Free(detector=(), cell_varies=False),
        slips=again.slips,
        reject="mcd",
    )
    last = refine_further(obs, turning, turning.model.free, reject="mcd")
    assert angle_deg(last.slips[0].rotation_rad) == pytest.approx(slip_deg, abs=0.015)
    assert len(find_slips(obs, last)) == 1
    points = last.crystals[0].A_at_scan_points
    for frame in (0, at // 2, at - 4, at + 4, (at + 400) // 2, 400):
        assert misorientation_deg(points[frame], true.A_at_scan_points[frame]) < 0.02
        np.testing.assert_allclose(cell_of(points[frame]), each.cell, rtol=5e-4)
    assert (
        f"by {angle_deg(last.slips[0].rotation_rad):.2f} degrees at the beginning of image {found.frame + 1:.0f}"
        in slip_notes(last)[0]
    )


@pytest.mark.parametrize(
    "course",
    [{}, {"drift_deg": 0.5}, {"wave_deg": 0.1}, {"wave_deg": 0.1, "period_deg": 20.0}, {"wave_deg": 0.1, "d_min": 7.0}],
)
def test_smooth_courses_and_noise_are_no_slips(course):
    """Twenty seeds over the courses."""
    for seed in range(4):
        place, each, _, obs = moving(0.0, seed=10 * len(course) + seed, **course)
        static = refine_static(obs, [each], place, reject="mcd")
        assert find_slips(obs, static) == ()
        assert slip_notes(static) == ()


def test_two_slips_and_two_lattices():
    place, first = geometry(n_frames=600, width_deg=WIDTH_DEG), crystal()
    second = crystal(angle=1.3)
    turns = [(150, about((1, 0, 0), np.radians(0.2))), (450, about((0, 0.6, 0.8), np.radians(-0.3)))]
    path = []
    for frame in range(601):
        A = np.asarray(first.A)
        for at, turn in turns:
            A = turn @ A if frame >= at else A
        path.append(A)
    obs = observe([dataclasses.replace(first, A_at_scan_points=np.array(path)), second], place, 6.0, noise=1.0)
    fit = refine_static(obs, [first, second], place, reject="mcd")
    found = find_slips(obs, fit)
    assert [s.lattice for s in found] == [0, 0]
    assert [s.frame for s in found] == pytest.approx([150, 450], abs=3)
    sizes = [angle_deg(step) for step in steps_rad(found)]
    assert sizes == pytest.approx([0.2, 0.3], abs=0.05)
    again = refine_static(obs, fit.bases, place, free=CRYSTAL_ONLY, slips=found, reject="mcd")
    assert [angle_deg(step) for step in steps_rad(again.slips)] == pytest.approx([0.2, 0.3], abs=0.01)
    assert again.crystals[1].A_at_scan_points is None
    assert "(lattice 1)" in slip_notes(again)[0]


def test_segments_count_through_each_lattice():
    slips = ordered([Slip(1, 5.0), Slip(0, 30.0, (0.2, 0, 0)), Slip(0, 10.0, (0.3, 0, 0))])
    assert [(s.lattice, s.frame) for s in slips] == [(0, 10.0), (0, 30.0), (1, 5.0)]
    np.testing.assert_array_equal(
        segments(slips, [0, 0, 0, 0, 1, 1, 2], [9.9, 10.0, 29.0, 31.0, 4.0, 50.0, 50.0]), [0, 1, 1, 2, 0, 3, 0]
    )
    np.testing.assert_allclose(steps_rad(slips)[:, 0], [0.3, -0.1, 0.0])
    assert steps_rad(()).shape == (0, 3)


def test_few_spots_or_a_held_orientation_show_no_slip():
    place, each, _, obs = moving(0.3)
    few = obs.take(np.arange(0, len(obs), len(obs) // 60))
    assert find_slips(few, refine_static(few, [each], place)) == ()
    held = refine_static(obs, [each], place, free=Free(orientation=False))
    assert find_slips(obs, held) == ()
