"""Exact geometry: Ewald's condition, windows, drift, stills, and an independent simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_cases import tiny

from hdrmx.models import Beam, Detector, Geometry, Goniometer, Panel, Scan
from hdrmx.simulate import predict
from hdrmx.simulate.crystal import Lattice, rotation
from hdrmx.simulate.geometry import build
from hdrmx.simulate.scene import Predictor, Scene, scene, windows

unit = st.floats(-1, 1).filter(lambda x: abs(x) > 0.05)
vectors = st.tuples(unit, unit, unit).map(lambda v: np.array(v) / np.linalg.norm(v))


@settings(max_examples=80, deadline=None)
@given(vectors, vectors, st.floats(0.02, 1.2), st.floats(0.5, 2.0))
def test_roots_lie_on_the_ewald_sphere_and_none_is_missed(
    axis: np.ndarray, r: np.ndarray, length: float, wavelength: float
) -> None:
    s0 = np.array([0.0, 0.0, -1.0 / wavelength])
    r0 = (r * length)[None, :]
    phi = np.linspace(-np.pi, np.pi, 20001)
    turned = predict.rotate(np.repeat(r0, len(phi), 0), axis, phi)
    excess = np.linalg.norm(s0 + turned, axis=1) - np.linalg.norm(s0)
    crossings = phi[:-1][np.sign(excess[:-1]) != np.sign(excess[1:])]
    roots = predict.ewald_roots(r0, s0, axis)[:, 0]
    if np.isfinite(roots).all():
        s1 = s0 + predict.rotate(np.repeat(r0, 2, 0), axis, roots)
        assert np.linalg.norm(s1, axis=1) == pytest.approx(1.0 / wavelength, rel=1e-9)
    apart = abs((roots[1] - roots[0] + np.pi) % (2 * np.pi) - np.pi) if np.isfinite(roots).all() else 0.0
    if len(crossings) == 2 or apart > 0.01:  # a grazing pair may fall between two steps
        found = np.sort((roots + np.pi) % (2 * np.pi) - np.pi)
        assert found == pytest.approx(crossings, abs=1e-3)


def rows_of(world: Scene) -> list[tuple[int, ...]]:
    predictor, found = Predictor(world), []
    for window, segment in windows(world):
        rows = predictor.new_rows(window, segment)
        assert (rows["frame_min"] < window[1]).all()
        found += list(
            zip(*(rows[k].tolist() for k in ("h", "k", "l", "segment", "entering", "frame_min", "frame_max", "frame")))
        )
    return found


@pytest.mark.parametrize("changes", [{}, {"drift_deg": 1.0}, {"slip_frame": 130}, {"width_deg": -0.5}])
def test_windows_cover_each_reflection_once(changes: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    world = scene(tiny(frames=260, d_min=5.0, **changes))
    monkeypatch.setattr("hdrmx.simulate.scene.WINDOW", 23)
    many = rows_of(world)
    monkeypatch.setattr("hdrmx.simulate.scene.WINDOW", 1000)
    few = rows_of(world)
    assert len(many) == len(few) == len({row[:7] for row in many}) > 100
    assert sorted(row[:7] for row in many) == sorted(row[:7] for row in few)
    assert sorted(row[7] for row in many) == pytest.approx(sorted(row[7] for row in few), abs=1e-6)


def test_every_turn_of_a_long_scan_has_the_same_reflections() -> None:
    world = scene(tiny(frames=360 * 3, width_deg=1.0, d_min=6.0))
    found = rows_of(world)
    inside = [{(*r[:3], r[4]) for r in found if k * 360 + 20 < r[7] < k * 360 + 340} for k in range(3)]
    assert inside[0] == inside[1] == inside[2]
    assert len(inside[0]) > 100


def test_drift_moves_a_reflection_to_where_its_own_orientation_puts_it() -> None:
    world = scene(tiny(frames=200, d_min=4.0, drift_deg=2.0))
    lattice, s0, axis = world.lattices[0], world.true.beam.s0, world.true.goniometer.lab_axis
    assert world.true.scan is not None
    for row in rows_of(world)[::40]:
        r0 = lattice.at(row[7], 0)[0] @ np.array(row[:3])
        s1 = s0 + predict.rotate(r0[None, :], axis, np.atleast_1d(world.true.scan.angle_rad(row[7])))[0]
        assert np.linalg.norm(s1) == pytest.approx(np.linalg.norm(s0), rel=1e-9)


def test_a_still_has_the_reflections_near_the_sphere() -> None:
    true, _ = build(tiny(width_deg=0.0))
    rng = np.random.default_rng(3)
    A = rotation([0.6, 0.0, 0.8], 0.7) / 40.0
    hkl = rng.integers(-12, 13, (4000, 3)).astype(np.int32)
    hkl = hkl[(hkl != 0).any(axis=1)]
    rays = predict.still_rays(hkl, A, true, np.radians(0.1), 4)
    s0 = true.beam.s0
    assert np.linalg.norm(rays.s1, axis=1) == pytest.approx(np.linalg.norm(s0), rel=1e-12)
    r = hkl[rays.index] @ A.T
    cosine = ((rays.s1 - s0) * r).sum(1) / (r**2).sum(1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) == pytest.approx(np.degrees(np.abs(rays.offset_rad)), abs=1e-4)
    distance = np.abs(np.linalg.norm(s0 + hkl @ A.T, axis=1) - np.linalg.norm(s0))
    missed = np.setdiff1d(np.arange(len(hkl)), rays.index)
    far = np.linalg.norm(hkl @ A.T, axis=1) * np.radians(0.1) * predict.N_SIGMA
    assert (distance[missed] > 0.5 * far[missed]).all()
    assert (rays.z == 4.5).all()


def test_partialities_add_up() -> None:
    true, _ = build(tiny(frames=100, width_deg=0.1))
    frames = np.arange(100)
    z, zeta = np.full(100, 47.3), np.full(100, 0.6)
    assert true.scan is not None
    parts = predict.partiality(frames, z, zeta, np.zeros(100), np.radians(0.1), true.scan)
    assert parts.sum() == pytest.approx(1.0)
    mean = (parts * (frames + 0.5)).sum()
    assert mean == pytest.approx(47.3, abs=1e-3)
    assert (parts * (frames + 0.5 - mean) ** 2).sum() == pytest.approx((1 / 0.6) ** 2 + 1 / 12, rel=0.01)


def test_lorentz_factor_is_the_dwell_time_on_the_sphere() -> None:
    """L is proportional to the time a point of reciprocal space takes to cross a thin shell about the sphere."""
    world = scene(tiny(frames=200, d_min=4.0))
    s0, axis, scan = world.true.beam.s0, world.true.goniometer.lab_axis, world.true.scan
    rays = predict.rotation_rays(world.reflections.hkl, world.lattices[0], world.true, world.sigma_m, (0, 100), (0, 0))
    assert scan is not None
    r0 = world.reflections.hkl[rays.index] @ world.lattices[0].A.T
    step = 1e-5
    ahead, behind = (
        np.linalg.norm(s0 + predict.rotate(r0, axis, scan.angle_rad(rays.z) + sign * step), axis=1) for sign in (1, -1)
    )
    speed = np.abs(ahead - behind) / (2 * step) / np.linalg.norm(s0)
    assert predict.lorentz(rays, world.true) * speed == pytest.approx(1.0, rel=1e-5)


def test_polarization_limits() -> None:
    true, _ = build(tiny(polarization=1.0))
    half, _ = build(tiny(polarization=0.5))
    angle = np.radians(np.array([10.0, 40.0, 80.0]))
    horizontal = np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], 1) / true.beam.wavelength_A
    vertical = horizontal[:, [1, 0, 2]]
    assert predict.polarization(horizontal, true) == pytest.approx(np.cos(angle) ** 2)
    assert predict.polarization(vertical, true) == pytest.approx(1.0)
    assert predict.polarization(vertical, half) == pytest.approx(0.5 * (1 + np.cos(angle) ** 2))


def test_agrees_with_an_independent_simulation(shared_data: Path) -> None:
    """x, y, z and factors of another program's truth; its spots are moved at random by 0.15 px."""
    truth = np.load(shared_data / "sim_dense_P212121" / "dense_P212121_truth.npz")
    panel = Panel(
        "", (512, 1028), (0.075, 0.075), tuple(truth["origin"]), tuple(truth["fast"]), tuple(truth["slow"]),
        thickness_mm=0.45, material="Si", mu_per_mm=3.92262,
    )  # fmt: skip
    geometry = Geometry(Beam(0.9763), Detector((panel,)), Goniometer(), Scan(0, 320, 0.0, float(np.radians(0.3))))
    sigma_m = float(np.radians(0.08))
    shifts, ratios = [], []
    for block, A in enumerate(0.5 * (truth["a_matrices"][1:] + truth["a_matrices"][:-1])):  # A at block boundaries
        rows = np.flatnonzero((truth["lattice"] == 0) & (truth["z"] >= block * 10) & (truth["z"] < block * 10 + 10))
        lattice = Lattice(A, truth["b_matrix"], 1.0, np.array([0.0, 0.0, 1.0]), 0.0, np.eye(3))
        hkl = truth["hkl"][rows].astype(np.int32)
        begin = block * 10 - 60
        rays = predict.rotation_rays(hkl, lattice, geometry, sigma_m, (begin, begin + 140), (0, begin))
        same = rays.take(np.flatnonzero(np.abs(rays.z - truth["z"][rows][rays.index]) < 2.0))
        assert set(same.index) == set(range(len(rows)))
        at = rows[same.index]
        slow, fast = predict.positions(same.s1, panel)
        shifts.append(np.stack([slow - truth["y"][at], fast - truth["x"][at], same.z - truth["z"][at]], 1))
        seen = predict.efficiency(same.s1 @ panel.normal * 0.9763, panel)
        ratios.append(
            np.stack(
                [
                    predict.lorentz(same, geometry) / truth["lorentz"][at],
                    predict.polarization(same.s1, geometry) / truth["polarisation"][at],
                    seen / truth["efficiency"][at],
                ],
                1,
            )
        )
    shift, ratio = np.concatenate(shifts), np.concatenate(ratios)
    assert len(shift) == 20006
    assert np.abs(shift.mean(axis=0)).max() < 0.005
    assert shift[:, :2].std(axis=0) == pytest.approx(0.15, abs=0.01)
    assert shift[:, 2].std() < 0.01
    assert np.median(ratio, axis=0) == pytest.approx(1.0, abs=1e-4)
    assert np.quantile(np.abs(ratio - 1.0), 0.99) < 2e-3
