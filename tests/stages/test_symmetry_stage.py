"""The stage symmetry: every point group and setting, screw axes, weak and narrow data, pseudo-symmetric cells."""

from __future__ import annotations

import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "symmetry"))
from calibration_sets import CASES, PSEUDO, extinctions, is_right
from rotation_case import Case, Cell, measured

from hdrmx.errors import InputError
from hdrmx.merging.asu import group_equivalents, space_group_of
from hdrmx.models import Crystal, cell_of
from hdrmx.params import Symmetry
from hdrmx.refinement.symmetry import to_matrix
from hdrmx.stages.symmetry import SymmetryFound, reindexed_table, symmetry


def find(case: Case, **settings: object) -> SymmetryFound:
    return symmetry(case.table, case.crystal, case.scan, Symmetry(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_every_point_group_and_screw_axis(name: str) -> None:
    case = measured(name, CASES[name], wedge_deg=180)
    found = find(case)
    assert is_right(found, case, name)
    assert found.probability > 0.8
    truth = gemmi.SpaceGroup(name)
    best = found.absences.candidates[0]
    assert extinctions(name) in [extinctions(other) for other in best.space_groups]
    assert best.probability > 0.8
    mine = space_group_of(found.space_group)
    assert mine.point_group_hm() == truth.point_group_hm()
    assert mine.centring_type() in {"C": "CI"}.get(truth.centring_type(), truth.centring_type())


@pytest.mark.parametrize("name", ["P 21 21 21", "C 1 2 1", "R 3 2:H", "F 4 3 2", "P 61 2 2"])
def test_reindexed_data_merge_in_the_space_group(name: str) -> None:
    case = measured(name, CASES[name], signal=30)
    found = find(case)
    table = reindexed_table(case.table, found.change)
    s = case.table[["h", "k", "l"]].to_numpy() @ np.asarray(case.crystal.A).T
    np.testing.assert_allclose(table[["h", "k", "l"]].to_numpy() @ np.asarray(found.crystal.A).T, s, atol=1e-9)
    groups = group_equivalents(table[["h", "k", "l"]].to_numpy(), space_group_of(found.space_group))
    n = np.bincount(groups.group)
    mean = np.bincount(groups.group, table.intensity) / n
    repeated = n[groups.group] > 1
    deviation = np.abs(table.intensity - mean[groups.group])[repeated]
    assert deviation.sum() / table.intensity[repeated].sum() < 0.2
    volume = gemmi.UnitCell(*found.crystal.cell).volume
    assert volume == pytest.approx(gemmi.UnitCell(*CASES[name]).volume, rel=1e-6)


@pytest.mark.parametrize(("name", "cell"), PSEUDO)
def test_a_cell_that_looks_like_more_is_not_taken_for_it(name: str, cell: Cell) -> None:
    case = measured(name, cell, wedge_deg=90, seed=3)
    found = find(case)
    assert is_right(found, case, name)


def test_weak_narrow_data_are_right_or_said_to_be_unsure() -> None:
    wrong_and_sure, right = 0, 0
    names = list(CASES)
    for seed in range(44):
        name = names[seed % len(names)]
        case = measured(
            name, CASES[name], wedge_deg=(20, 30, 45, 90)[seed % 4], signal=(0.7, 1.5, 4.0)[seed % 3], seed=seed
        )
        found = find(case)
        right += is_right(found, case, name)
        wrong_and_sure += found.is_sure and not is_right(found, case, name)
    assert wrong_and_sure == 0
    assert right > 30


def test_further_turns_make_no_further_work() -> None:
    one = find(measured("P 41", CASES["P 41"], wedge_deg=359.5, d_min=4.0))
    three = find(measured("P 41", CASES["P 41"], wedge_deg=1080, d_min=4.0))
    assert three.counts["observations"] == pytest.approx(one.counts["observations"], rel=0.01)
    assert three.counts["unique"] == pytest.approx(one.counts["unique"], rel=0.01)
    more = find(measured("P 41", CASES["P 41"], wedge_deg=1080, d_min=4.0), turns=0)
    assert more.counts["observations"] > 2.5 * one.counts["observations"]


def test_an_axis_that_was_not_measured_is_said() -> None:
    case = measured("P 21 21 21", CASES["P 21 21 21"], wedge_deg=180)
    index = np.rint(case.table[["h", "k", "l"]].to_numpy() @ np.linalg.inv(case.to_reduced).T)
    axial = (index[:, 0] == 0) & (index[:, 1] == 0)
    found = symmetry(case.table[~axial], case.crystal, case.scan, Symmetry())
    assert not found.is_sure
    assert "P 21 21 21, P 21 21 2 apart" in found.notes[-1]
    assert found.space_group == "P 21 21 21"  # the one that is frequent


@pytest.mark.parametrize("given", ["P 2 2 2", "P 21 21 21", "P 1 2 1", "P 1"])
def test_a_space_group_given_is_kept(given: str) -> None:
    found = find(measured("P 21 21 21", CASES["P 21 21 21"]), space_group=given)
    assert found.space_group == found.crystal.space_group == given
    assert found.is_sure


def test_a_space_group_that_the_lattice_lacks_is_an_error() -> None:
    with pytest.raises(InputError, match="P 4 2 2"):
        find(measured("P 21 21 21", CASES["P 21 21 21"]), space_group="P 4 2 2")


def test_indices_of_a_centred_cell_give_the_same() -> None:
    case = measured("I 2 2 2", CASES["I 2 2 2"])
    first = find(case)
    table = reindexed_table(case.table, first.change)
    crystal = Crystal(to_matrix(np.asarray(case.crystal.A) @ np.linalg.inv(first.change)), "I 2 2 2")
    again = symmetry(table, crystal, case.scan, Symmetry())
    assert again.space_group == first.space_group
    np.testing.assert_allclose(sorted(again.crystal.cell[:3]), sorted(first.crystal.cell[:3]), rtol=1e-9)
    assert again.probability == pytest.approx(first.probability, rel=1e-6)


def test_scan_points_obey_the_symmetry() -> None:
    case = measured("P 41", CASES["P 41"])
    A = np.asarray(case.crystal.A)
    points = np.array([A * (1 + 1e-4 * i) for i in range(4)])
    found = symmetry(case.table, Crystal(case.crystal.A, A_at_scan_points=points), case.scan, Symmetry())
    for i, a in enumerate(found.crystal.A_at_scan_points):
        cell = cell_of(a)
        assert cell[0] == pytest.approx(cell[1], rel=1e-9)
        assert cell[0] == pytest.approx(50 / (1 + 1e-4 * i), rel=1e-6)


def test_row_order_and_scale_do_not_matter() -> None:
    case = measured("P 31 2 1", CASES["P 31 2 1"])
    first = find(case)
    table = case.table.sample(frac=1, random_state=1).assign(
        intensity=lambda t: 1000 * t.intensity, sigma=lambda t: 1000 * t.sigma
    )
    again = symmetry(table, case.crystal, case.scan, Symmetry())
    assert again.space_group == first.space_group
    assert again.probability == pytest.approx(first.probability, abs=1e-4)


def test_too_few_observations_are_an_error() -> None:
    case = measured("P 1", CASES["P 1"], wedge_deg=20)
    with pytest.raises(InputError, match="observations"):
        symmetry(case.table.iloc[:10], case.crystal, case.scan, Symmetry())
    few = symmetry(case.table.iloc[:25], case.crystal, case.scan, Symmetry())
    assert few.space_group
