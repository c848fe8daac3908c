"""Intensities: Wilson's statistics, symmetry, absences; the lattice and its movements."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_cases import tiny

from hdrmx.errors import InputError
from hdrmx.models import cell_of
from hdrmx.simulate.crystal import Reflections, lattices, reflections, space_group, unit_cell

GROUPS = {
    "P 1": "30,40,50,80,95,101",
    "C 1 2 1": "60,30,45,90,104,90",
    "P 21 21 21": "40,50,60,90,90,90",
    "P 43 21 2": "50,50,40,90,90,90",
    "P 32 2 1": "50,50,60,90,90,120",
    "R 3 :H": "60,60,50,90,90,120",
    "P 61 2 2": "50,50,90,90,90,120",
    "I 2 3": "60,60,60,90,90,90",
    "F 4 3 2": "70,70,70,90,90,90",
}


def made(group: str, d_min: float = 3.0, **changes: object) -> Reflections:
    return reflections(tiny(space_group=group, cell=GROUPS[group], **changes), d_min)


def normalised(r: Reflections, group: str, b_factor: float) -> np.ndarray:
    epsilon = space_group(group).operations().epsilon_factor_without_centering_array(r.hkl)
    return r.f_squared / epsilon * np.exp(b_factor / (2 * r.d_A**2))


def test_moments_are_wilsons() -> None:
    group = "P 21 21 21"
    settings = tiny(space_group=group, cell="80,90,100,90,90,90", b_factor=25.0)
    r = reflections(settings, 1.9)
    e = normalised(r, group, 25.0)
    _, unique = np.unique(r.asu, axis=0, return_index=True)
    for is_centric, ratio, tolerance in ((False, 2.0, 0.05), (True, 3.0, 0.3)):
        e2 = e[unique][r.is_centric[unique] == is_centric]
        assert len(e2) > 5000
        assert np.mean(e2) == pytest.approx(1.0, abs=0.05)
        assert np.mean(e2**2) / np.mean(e2) ** 2 == pytest.approx(ratio, abs=tolerance)


def test_b_factor_falls_off_with_resolution() -> None:
    r = made("P 1", 2.0, b_factor=40.0)
    shells = np.linspace(1 / 4.0**2, 1 / 2.0**2, 6)
    which = np.digitize(1 / r.d_A**2, shells)
    means = [r.f_squared[which == k].mean() for k in range(1, 6)]
    slope = np.polyfit(0.5 * (shells[:-1] + shells[1:]), np.log(means), 1)[0]
    assert slope == pytest.approx(-20.0, abs=2.0)


@pytest.mark.parametrize("group", GROUPS)
def test_equivalents_are_equal_and_absences_gone(group: str) -> None:
    r = made(group)
    ops = space_group(group).operations()
    value = {tuple(h): f for h, f in zip(r.hkl.tolist(), r.f_squared.tolist())}
    asu = gemmi.ReciprocalAsu(space_group(group))
    for k in np.random.default_rng(1).integers(0, len(r), 60):
        h = r.hkl[k].tolist()
        for op in ops.sym_ops:
            assert value[tuple(op.apply_to_hkl(h))] == value[tuple(h)]
        assert value[tuple(-x for x in h)] == value[tuple(h)]
        there, isym = asu.to_asu(h, ops)
        assert there == r.asu[k].tolist()
        assert r.is_centric[k] or r.is_plus[k] == (isym % 2 == 1)
    assert not ops.systematic_absences(r.hkl).any()
    every = gemmi.make_miller_array(unit_cell(GROUPS[group], space_group(group)), space_group("P 1"), 3.0, 0.0, False)
    assert len(r) == np.sum(~ops.systematic_absences(every))


def test_anomalous_splits_friedel_mates_of_acentric_reflections_only() -> None:
    r = made("P 21 21 21", anomalous=0.05)
    value = {tuple(h): f for h, f in zip(r.hkl.tolist(), r.f_squared.tolist())}
    mate = np.array([value[tuple(-x for x in h)] for h in r.hkl.tolist()])
    differs = ~np.isclose(mate, r.f_squared, rtol=1e-12)
    assert differs[~r.is_centric].mean() > 0.99
    assert not differs[r.is_centric].any()
    relative = (np.sqrt(r.f_squared) - np.sqrt(mate)) / np.sqrt(0.5 * (r.f_squared + mate))
    assert np.std(relative[~r.is_centric]) == pytest.approx(0.05, rel=0.1)
    plus = {tuple(a): f for a, f in zip(r.asu[r.is_plus].tolist(), r.f_squared[r.is_plus].tolist())}
    assert all(plus[tuple(a)] == f for a, f in zip(r.asu[r.is_plus].tolist(), r.f_squared[r.is_plus].tolist()))


def test_a_reflection_keeps_its_intensity_at_other_limits_and_changes_with_the_seed() -> None:
    near, far = made("P 43 21 2", 4.0), made("P 43 21 2", 3.0)
    value = {tuple(h): f for h, f in zip(far.hkl.tolist(), far.f_squared.tolist())}
    assert all(value[tuple(h)] == f for h, f in zip(near.hkl.tolist(), near.f_squared.tolist()))
    other = made("P 43 21 2", 4.0, seed=2)
    assert np.corrcoef(other.f_squared, near.f_squared)[0, 1] < 0.5


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from(sorted(GROUPS)))
def test_lattice_has_the_cell_and_a_proper_rotation(angles: tuple[float, ...], group: str) -> None:
    text = ",".join(map(str, angles))
    lattice = lattices(tiny(space_group=group, cell=GROUPS[group], orientation_deg=text), 10)[0]
    assert cell_of(lattice.A) == pytest.approx([float(x) for x in GROUPS[group].split(",")], rel=1e-9)
    U = lattice.A @ np.linalg.inv(lattice.B)
    assert np.abs(U @ U.T - np.eye(3)).max() < 1e-12
    assert np.linalg.det(U) == pytest.approx(1.0)


def angle_between(A: np.ndarray, B: np.ndarray) -> float:
    return float(np.degrees(np.arccos((np.trace(A @ np.linalg.inv(B)) - 1) / 2)))


def test_slip_drift_and_second_lattice_turn_by_their_angles() -> None:
    first, second = lattices(
        tiny(slip_frame=5, slip_deg=0.7, drift_deg=2.0, second_lattice=0.4, second_lattice_deg=3.0), 10
    )
    assert angle_between(first.base(1), first.base(0)) == pytest.approx(0.7, rel=1e-6)
    assert angle_between(first.at(10.0, 0)[0], first.at(0.0, 0)[0]) == pytest.approx(2.0, rel=1e-6)
    assert angle_between(second.A, first.A) == pytest.approx(3.0, rel=1e-6)
    assert second.intensity == 0.4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space_group": "P 99"}, "not known"),
        ({"cell": "40,50,30,90,90,90"}, "does not fit"),
        ({"cell": "40,40,30,90,90"}, "not 6 numbers"),
        ({"cell": "40,40,-30,90,90,90"}, "no unit cell"),
        ({"cell": "40,40,nan,90,90,90"}, "not 6 numbers"),
        ({"cell": "40,40,x,90,90,90"}, "not 6 numbers"),
        ({"cell": "40,40,30,90,90,190", "space_group": "P 1"}, "no unit cell"),
    ],
)
def test_bad_crystals_are_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        reflections(tiny(**changes), 3.0)
