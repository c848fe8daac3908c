"""Two processings with known differences."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[1] / "indexing"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "merging"))
import lattice_spots as synth
from scaled_case import simulated

from hdrmx import cli
from hdrmx.analysis.agree import compare
from hdrmx.analysis.agree_checks import Agreement, Check, Demands, Stage
from hdrmx.analysis.agree_intensities import (
    compare_integrated,
    compare_merged,
    compare_scaled,
    compare_symmetry,
    compare_unmerged,
    join_reflections,
)
from hdrmx.analysis.agree_lattice import compare_indexed, compare_models, find_change, rotation_between_deg
from hdrmx.errors import InputError
from hdrmx.io.compared import Fitted, Intensities, MtzFile, Processing, read_processing
from hdrmx.io.dials_models import Profile
from hdrmx.models import Crystal
from hdrmx.report.agreement import WIDTH, render

CELL = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
AXES = [np.array(m) for m in itertools.product((-1, 0, 1), repeat=9)]
TURNS = [m.reshape(3, 3) for m in AXES if abs(round(np.linalg.det(m.reshape(3, 3)))) == 1]


def by_name(stage: Stage) -> dict[str, Check]:
    return {check.name: check for check in stage.checks}


# change of basis


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from(TURNS), st.integers(0, 10_000))
def test_change_of_basis_is_found_among_wrong_pairs(matrix: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours = rng.integers(-15, 16, (300, 3))
    theirs = ours @ matrix.T
    wrong = rng.random(300) < 0.15
    theirs[wrong] = rng.integers(-15, 16, (int(wrong.sum()), 3))
    ours[:10] = 0  # not indexed: no witness
    found = find_change(ours, theirs)
    assert found is not None
    np.testing.assert_array_equal(found.matrix, matrix)
    obeys = (ours @ matrix.T == theirs).all(axis=1)
    known = ours.any(axis=1) & theirs.any(axis=1)
    assert found.n == known.sum()
    assert found.fraction == pytest.approx(obeys[known].mean())


def test_change_between_centred_and_primitive_cell() -> None:
    rng = np.random.default_rng(1)
    primitive = rng.integers(-9, 10, (200, 3))
    to_centred = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])  # of an I lattice
    found = find_change(primitive @ to_centred.T, primitive)
    assert found is not None
    np.testing.assert_allclose(found.matrix @ to_centred, np.eye(3), atol=1e-12)
    assert found.fraction == 1.0
    assert found.text == "-0.5h+0.5k+0.5l, 0.5h-0.5k+0.5l, 0.5h+0.5k-0.5l"


def test_no_change_from_too_few_or_from_a_plane() -> None:
    hkl = np.random.default_rng(1).integers(-9, 10, (200, 3))
    assert find_change(hkl[:5], hkl[:5]) is None
    assert find_change(hkl * [1, 1, 0], hkl) is None
    assert find_change(hkl, np.random.default_rng(2).integers(-9, 10, (200, 3))) is None


# spots, indices, models


def fitted(crystal: Crystal, seed: int = 1, shift_px: float = 0.0, n_frames: int = 90) -> Fitted:
    geometry = synth.geometry(n_frames=n_frames)
    found = synth.reflections(crystal, geometry, 5.0)
    table = synth.spots_of(found, seed=seed)
    for letter in "hkl":
        table[letter] = found[letter].to_numpy().astype("int32")
    table["lattice"] = np.zeros(len(table), "int32")
    for axis in ("fast", "slow", "frame"):
        table[f"{axis}_calc"] = found[axis].to_numpy() + (shift_px if axis == "fast" else 0.0)
    return Fitted(table.assign(used=True, outlier=False), geometry, (crystal,))


def reindexed(case: Fitted, matrix: np.ndarray) -> Fitted:
    """The same with h' = matrix @ h."""
    hkl = case.table[["h", "k", "l"]].to_numpy() @ matrix.T
    table = case.table.assign(**{n: hkl[:, i].astype("int32") for i, n in enumerate("hkl")})
    A = np.asarray(case.crystals[0].A) @ np.linalg.inv(matrix)
    return dataclasses.replace(case, table=table, crystals=(dataclasses.replace(case.crystals[0], A=A),))


def test_the_same_lattice_on_other_axes_agrees() -> None:
    ours = fitted(synth.crystal(CELL))
    theirs = reindexed(ours, np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    indexed, refined = (compare_x(ours, theirs, Demands()) for compare_x in (compare_indexed, compare_models))
    assert by_name(indexed)["same h k l, of those indexed in both"].value == 1.0
    assert indexed.notes == ("our h, k, l are theirs as k, l, h",)
    assert indexed.is_within
    assert refined.is_within
    checks = by_name(refined)
    assert checks["edges, A"].value < 1e-12
    assert checks["edges, A"].theirs == "50.000 60.000 40.000"
    assert checks["misorientation, deg"].value < 1e-6


def test_wrong_indices_are_counted() -> None:
    ours = fitted(synth.crystal(CELL))
    table = ours.table.copy()
    wrong = np.arange(len(table)) % 50 == 0
    table.loc[wrong, "h"] += 1
    stage = compare_indexed(ours, dataclasses.replace(ours, table=table), Demands())
    check = by_name(stage)["same h k l, of those indexed in both"]
    assert check.value == pytest.approx(1 - wrong.mean())
    assert check.is_within is False


def test_differences_of_models_are_measured() -> None:
    crystal = synth.crystal(CELL)
    A = synth.rotation((1, 2, 3), 0.05) @ np.asarray(crystal.A) / 1.001
    ours = fitted(crystal, shift_px=0.2)
    theirs = dataclasses.replace(ours, crystals=(dataclasses.replace(crystal, A=A),), table=fitted(crystal).table)
    checks = by_name(compare_models(ours, theirs, Demands()))
    assert checks["edges, A"].value == pytest.approx(1e-3, rel=1e-2)
    assert checks["misorientation, deg"].value == pytest.approx(0.05, rel=1e-6)
    expected = np.sqrt(0.15**2 + 0.2**2) / 0.15
    assert checks["r.m.s.d. fast, px"].value + 1 == pytest.approx(expected, rel=0.05)
    assert checks["r.m.s.d. slow, px"].value == pytest.approx(0.0, abs=1e-12)
    assert [checks[n].is_within for n in ("edges, A", "misorientation, deg", "r.m.s.d. fast, px")] == [False] * 3
    assert checks["r.m.s.d. slow, px"].is_within


def test_another_lattice_is_said() -> None:
    ours = fitted(synth.crystal(CELL))
    theirs = fitted(synth.crystal((33.0, 47.0, 71.0, 90, 100, 90), seed=5))
    stage = compare_indexed(ours, theirs, Demands())
    assert not stage.is_within
    assert any("lattice" in note or "cells" in note for note in stage.notes)


def test_angle_between_orientations() -> None:
    A = np.asarray(synth.crystal(CELL).A)
    for angle in (1e-4, 0.5, 120.0):
        assert rotation_between_deg(A, synth.rotation((1, -1, 2), angle) @ A) == pytest.approx(angle, rel=1e-6)


# intensities


def integrated(seed: int = 1, noise: float = 0.0) -> Intensities:
    """Reflections at most of their places, each index twice."""
    geometry = synth.geometry(n_frames=360)
    found = synth.reflections(synth.crystal(CELL), geometry, 5.0)
    rng = np.random.default_rng(1)
    true = rng.exponential(2000.0, len(found)) + 400.0
    table = found.assign(lattice=0, panel=0, d=np.linspace(20, 5, len(found)), partiality=1.0, lp=1.0, qe=1.0)
    own = np.random.default_rng(seed).normal(0, 1, len(found))
    for kind in ("sum", "prf"):
        table[kind] = true * (1 + noise * own)
        table[f"{kind}_sigma"] = np.sqrt(true)
    table = table.astype(dict.fromkeys("hkl", int))
    return Intensities(table, (synth.crystal(CELL),), Profile(1e-3, (2e-3,)))


def test_reflections_of_one_index_are_paired_by_frame() -> None:
    ours = integrated()
    order = np.random.default_rng(3).permutation(len(ours.table))
    theirs = ours.table.iloc[order].reset_index(drop=True)
    theirs["frame"] += 0.05
    pairs = join_reflections(ours.table, theirs)
    assert ours.table.duplicated(["h", "k", "l"]).any()
    np.testing.assert_array_equal(order[pairs.theirs], pairs.ours)
    assert len(pairs.ours) == len(ours.table)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_lattices_of_one_sweep_are_paired_in_any_order(order: tuple[int, int]) -> None:
    one = integrated().table
    other = one.assign(lattice=1, fast=one["fast"] + 40.0, h=-one["h"], k=-one["k"])
    ours = pd.concat([one, other], ignore_index=True)
    theirs = ours.assign(lattice=np.array(order)[ours["lattice"]])
    pairs = join_reflections(ours, theirs)
    np.testing.assert_array_equal(np.sort(pairs.ours), np.arange(len(ours)))
    np.testing.assert_array_equal(pairs.ours, pairs.theirs)


def test_sweeps_that_share_places_are_kept_apart() -> None:
    one = integrated().table
    turned = one.assign(lattice=1, h=one["k"], k=one["h"], l=-one["l"])  # the same places, indexed otherwise
    ours = pd.concat([one, turned], ignore_index=True)
    pairs = join_reflections(ours, ours)
    assert sorted(pairs.changes) == [0, 1]
    assert all(np.array_equal(c.matrix, np.eye(3)) and c.fraction == 1.0 for c in pairs.changes.values())
    np.testing.assert_array_equal(pairs.ours, pairs.theirs)


def test_integrated_the_same_and_otherwise() -> None:
    ours = integrated()
    assert compare_integrated(ours, ours, Demands()).is_within
    fewer = dataclasses.replace(ours, table=ours.table.assign(prf=ours.table["prf"].where(ours.table.index % 20 > 0)))
    checks = by_name(compare_integrated(fewer, ours, Demands()))
    assert checks["reflections fitted"].value == pytest.approx(0.05, abs=0.001)
    assert checks["reflections fitted"].is_within is False
    assert by_name(compare_integrated(ours, fewer, Demands()))["reflections fitted"].is_within  # more is no fault
    noisy = by_name(compare_integrated(integrated(2, 0.05), ours, Demands()))
    assert noisy["sums of I/sigma > 10 within 0.001"].value < 0.05
    assert noisy["CC of profile fits, lowest shell of ten"].is_within is False
    wide = dataclasses.replace(ours, profile=Profile(1.02e-3, (2.02e-3, 2.06e-3)))
    checks = by_name(compare_integrated(wide, ours, Demands()))
    assert checks["sigma_b, deg"].is_within is False
    assert checks["sigma_m, deg"].value == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "laue", "absences"),
    [
        ("P 21 21 21", "P 21 21 21", True, True),
        ("P 41 21 2", "P 43 21 2", True, True),  # no absence tells them apart
        ("P 21 21 2", "P 2 21 21", True, True),  # other axes
        ("P 21 21 2", "P 21 21 21", True, False),
        ("P 1 21 1", "P 21 21 21", False, False),
        ("P 3 1 2", "P 3 2 1", False, False),
    ],
)
def test_symmetry(ours: str, theirs: str, laue: bool, absences: bool) -> None:
    stage = compare_symmetry(*(synth.crystal(CELL, group) for group in (ours, theirs)))
    assert [check.is_within for check in stage.checks] == [laue, absences]


def scaled(group: str = "P 4", extra: float = 0.0, seed: int = 1) -> Intensities:
    """Simulated observations, each at a place of its own; `extra` noise relative to the intensity."""
    cell = (50.0, 50.0, 60.0, 90.0, 90.0, 90.0)
    table, _ = simulated(group, cell, d_min=4.0, copies=6, seed=1)
    n = len(table)
    rng = np.random.default_rng(7)
    table = table[["h", "k", "l", "intensity", "sigma", "scale", "frame", "rejected"]].assign(
        lattice=0, panel=0, fast=rng.uniform(0, 3000, n), slow=rng.uniform(0, 3000, n)
    )
    own = np.random.default_rng(seed).normal(0, 1, n)
    table["intensity"] *= 1 + extra * own
    table["sigma"] = np.hypot(table["sigma"], extra * table["intensity"])
    return Intensities(table, (synth.crystal(cell, group),))


def test_scaled_the_same_on_other_axes() -> None:
    ours = scaled()
    theirs = dataclasses.replace(
        ours, table=ours.table.assign(h=ours.table["k"], k=ours.table["h"], l=-ours.table["l"])
    )
    stage = compare_scaled(ours, theirs, Demands())
    assert stage.is_within
    assert stage.notes == ("our h, k, l are theirs as k, h, -l",)
    checks = by_name(stage)
    assert checks["CC of merged sets, all"].value == pytest.approx(1.0)
    assert checks["Rmeas"].ours == pytest.approx(checks["Rmeas"].theirs, abs=1e-12)
    assert checks["spread of the ratio of scales"].value == 0.0


def test_scaled_worse_is_outside_and_better_is_not() -> None:
    good, bad = scaled(), scaled(extra=0.15, seed=5)
    checks = by_name(compare_scaled(bad, good, Demands()))
    assert checks["Rmeas"].is_within is False
    assert by_name(compare_scaled(good, bad, Demands()))["Rmeas"].is_within
    assert 0.9 < checks["CC of merged sets, all"].value < 0.9999


def test_scaled_in_other_laue_groups_is_not_compared() -> None:
    theirs = dataclasses.replace(scaled(), crystals=(synth.crystal((50.0, 50.0, 60.0, 90, 90, 90), "P 4 2 2"),))
    assert "Laue groups differ" in compare_scaled(scaled(), theirs, Demands()).skipped


def test_files() -> None:
    hkl = np.asarray(gemmi.make_miller_array(gemmi.UnitCell(*CELL), gemmi.SpaceGroup("P 21 21 21"), 4.0))
    rng = np.random.default_rng(1)
    merged = pd.DataFrame(hkl, columns=list("hkl")).assign(intensity=rng.exponential(1, len(hkl)), sigma=0.1)
    ours = MtzFile("merged.mtz", "P 21 21 21", CELL, ("H", "K", "L", "IMEAN", "FreeR_flag"), len(hkl), 0, merged)
    theirs = dataclasses.replace(ours, columns=("H", "K", "L", "IMEAN", "DANO"))
    change = find_change(hkl, hkl)
    stage = compare_merged(ours, theirs, change)
    assert by_name(stage)["columns"].is_within is False
    assert stage.notes == ("columns that only theirs has: DANO", "columns that only ours has: FreeR_flag")
    assert by_name(stage)["CC of IMEAN"].value == pytest.approx(1.0)
    assert compare_merged(ours, ours, change).is_within
    batches = compare_unmerged(dataclasses.replace(ours, n_batches=90), dataclasses.replace(ours, n_batches=91))
    assert by_name(batches)["batches"].is_within is False


# the whole


def test_absent_stages_are_said(tmp_path: Path) -> None:
    spots = synth.spots_of(synth.reflections(synth.crystal(CELL), synth.geometry(), 5.0))
    ours, theirs = (
        Processing(tmp_path / "a", spots=spots, symmetry=synth.crystal(CELL)),
        Processing(tmp_path / "b", spots),
    )
    found = compare(ours, theirs)
    assert found.is_within
    assert not found.is_empty
    skipped = {stage.name: stage.skipped for stage in found.stages}
    assert skipped["symmetry"] == "absent from theirs"
    assert skipped["merge"] == "absent on both sides"
    assert "symmetry: not compared, absent from theirs" in render(found)
    assert compare(Processing(tmp_path), Processing(tmp_path)).is_empty


def test_what_cannot_be_told_is_outside() -> None:
    assert Check("x", value=float("nan"), limit=1.0).is_within is False
    assert Check("x", value=1.0).is_within is None
    assert Check("x", value=1.0, limit=1.0).is_within
    assert Check("x", value=0.9, limit=1.0, at_least=True).is_within is False


def test_table_fits_a_terminal() -> None:
    check = Check("edges of lattice 12, A", "123.456 123.456 123.456", "123.456 123.456 123.456", -1.234567e-5, 2e-4)
    notes = ("our h, k, l are theirs as " + ", ".join(["0.333h-0.333k+0.333l"] * 6),)
    text = render(Agreement("a" * 60, "b" * 60, (Stage("refine", (check, Check("r", 1.5, 2.0)), notes=notes),)))
    assert max(map(len, text.splitlines())) <= WIDTH


def test_demands_can_be_changed() -> None:
    assert Demands().changed(("cc_half=0.5",)).cc_half == 0.5
    for wrong in ("nothing=1", "cc_half=x", "cc_half"):
        with pytest.raises(InputError, match="--demand"):
            Demands().changed((wrong,))


def test_a_run_agrees_with_itself(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.run(
            cli.group,
            "hdrmx",
            ["agree", str(small_run), str(small_run), "--shells", "--json", str(tmp_path / "a.json")],
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "demands are met." in out
    assert "not compared" not in out
    assert out.count("by shell") == 2
    assert max(map(len, out.splitlines()[3:])) <= WIDTH
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["is_within"]
    assert {s["stage"] for s in told["stages"] if s["checks"]} >= {
        "find_spots",
        "refine",
        "integrate",
        "scale",
        "export",
    }


def test_exit_codes(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def agree(*argv: str) -> int:
        return cli.run(cli.group, "hdrmx", ["agree", *argv])

    assert agree(str(small_run), str(small_run), "--demand", "same_index=1.5") == 1
    assert agree(str(small_run), str(tmp_path)) == 3
    assert agree(str(small_run), str(tmp_path / "nowhere")) == 3
    assert agree(str(small_run), str(small_run), "--demand", "x=1") == 3
    (tmp_path / "merged.mtz").write_bytes(b"MTZ nonsense")
    assert agree(str(small_run), str(tmp_path)) == 3
    only = tmp_path / "only"
    only.mkdir()
    (only / "symmetrized.expt").write_bytes((small_run / "symmetrized.expt").read_bytes())
    spots = tmp_path / "spots"
    spots.mkdir()
    (spots / "strong.refl").write_bytes((small_run / "strong.refl").read_bytes())
    assert agree(str(only), str(spots)) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_sweeps_are_pointed_to(tmp_path: Path) -> None:
    (tmp_path / "sweep_1").mkdir()
    with pytest.raises(InputError, match="several sweeps"):
        read_processing(tmp_path)


@pytest.mark.dials
@pytest.mark.slow
def test_a_run_against_dials(small_run: Path, small_set: Path, tmp_path: Path) -> None:
    steps = (
        ("dials.import", str(small_set)),
        ("dials.find_spots", "imported.expt", "nproc=1"),
        ("dials.index", "imported.expt", "strong.refl"),
        ("dials.refine", "indexed.expt", "indexed.refl"),
        ("dials.integrate", "refined.expt", "refined.refl", "nproc=1"),
        ("dials.symmetry", "integrated.expt", "integrated.refl"),
        ("dials.scale", "symmetrized.expt", "symmetrized.refl"),
        ("dials.export", "scaled.expt", "scaled.refl"),
        ("dials.merge", "scaled.expt", "scaled.refl"),
    )
    for step in steps:
        subprocess.run(step, cwd=tmp_path, check=True, capture_output=True)
    found = compare(read_processing(small_run), read_processing(tmp_path))
    checks = {stage.name: by_name(stage) for stage in found.stages}
    assert all(stage.checks for stage in found.stages)
    assert checks["find_spots"]["equal, of the larger number"].is_within
    assert checks["index"]["same h k l, of those indexed in both"].is_within
    assert checks["refine"]["edges, A"].value < 1e-3
    assert checks["integrate"]["CC of profile fits, all"].value > 0.99
    assert checks["symmetry"]["Laue group"].is_within
    assert checks["scale"]["CC of merged sets, all"].value > 0.98
    assert checks["export"]["batches"].is_within
