"""Several sweeps in one run: of two crystals in different orientations, merged against the truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import gemmi
import h5py
import numpy as np
import pytest

from hdrmx import cli
from hdrmx.io.dials_intensities import read_scaled
from hdrmx.io.dials_models import read_expt
from hdrmx.params import Simulate
from hdrmx.simulate import simulate

SETTINGS = Simulate(
    detector="500K",
    frames=30,
    width_deg=1.0,
    distance_mm=80.0,
    space_group="P 4",  # its lattice can be indexed two ways
    cell="45,45,38,90,90,90",
    background=0.05,
    photons=300.0,
    seed=3,
)
ORIENTATIONS = ("10,20,30", "75,-40,160", "-20,130,85")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sweeps")
    return [
        simulate(dataclasses.replace(SETTINGS, orientation_deg=turned), folder / f"s{i}.nxs").data
        for i, turned in enumerate(ORIENTATIONS)
    ]


@pytest.fixture(scope="module")
def merged(data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged")
    assert cli.run(cli.group, "hdrmx", ["process", *map(str, data), "-o", str(folder)]) == 0
    return folder


def test_one_space_group_and_one_choice_of_indices(merged: Path) -> None:
    told = json.loads((merged / "summary.json").read_text())
    assert told["symmetry"]["space_group"].startswith("P 4")
    assert gemmi.SpaceGroup(told["symmetry"]["space_group"]).point_group_hm() == "4"
    assert told["merge"]["overall"]["r_meas"] < 0.08
    assert told["merge"]["overall"]["cc_half"] > 0.98
    assert len(told["sweeps"]) == len(ORIENTATIONS)
    for i, sweep in enumerate(told["sweeps"]):
        assert sweep["index"]["fraction"] > 0.9
        assert (merged / f"sweep_{i + 1}" / "integrated.refl").exists()


def test_merged_intensities_are_the_true_ones(merged: Path, data: list[Path]) -> None:
    mtz = gemmi.read_mtz_file(str(merged / "merged.mtz"))
    with h5py.File(data[0].with_name("s0_truth.h5")) as f:
        truth = {name: f["reflections"][name][()] for name in ("h", "k", "l", "f_squared")}
    hkl, f_true = np.column_stack([truth[k] for k in "hkl"]), truth["f_squared"]
    group = gemmi.SpaceGroup("P 4")
    asu, ops = gemmi.ReciprocalAsu(group), group.operations()

    def means(mapped: np.ndarray) -> dict[tuple[int, ...], float]:
        return {tuple(asu.to_asu(h.tolist(), ops)[0]): float(value) for h, value in zip(mapped, f_true)}

    best = 0.0
    for change in ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, -1]]):
        true = means(hkl @ np.array(change))
        found = np.column_stack([mtz.column_with_label(c).array for c in ("H", "K", "L", "IMEAN")])
        pairs = [(i, true[key]) for h, k, l, i in found if (key := (int(h), int(k), int(l))) in true]
        assert len(pairs) > 300
        best = max(best, float(np.corrcoef(np.array(pairs).T)[0, 1]))
    assert best > 0.98


def test_files_of_all_sweeps_belong_together(merged: Path, data: list[Path]) -> None:
    experiments = read_expt(merged / "scaled.expt")
    assert [Path(e.template).name for e in experiments] == [path.name for path in data]
    table, scaled = read_scaled(merged / "scaled.refl")
    assert sorted(set(table["lattice"])) == [0, 1, 2]
    mtz = gemmi.read_mtz_file(str(merged / "unmerged.mtz"))
    assert len(mtz.batches) == 3 * SETTINGS.frames
    assert mtz.nreflections == int((~scaled["rejected"]).sum())


def test_goes_on_from_stored_sweeps(merged: Path, data: list[Path]) -> None:
    before = np.array(gemmi.read_mtz_file(str(merged / "merged.mtz")))
    assert cli.run(cli.group, "hdrmx", ["process", *map(str, data), "-o", str(merged), "--from", "merge"]) == 0
    after = np.array(gemmi.read_mtz_file(str(merged / "merged.mtz")))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-4, equal_nan=True)
    assert cli.run(cli.group, "hdrmx", ["process", str(data[0]), "-o", str(merged), "--from", "merge"]) == 3


def test_sweeps_of_one_crystal_share_their_lattice(tmp_path: Path) -> None:
    """Two short wedges of one crystal, which neither fixes well alone."""
    settings = dataclasses.replace(SETTINGS, frames=6, orientation_deg=ORIENTATIONS[0])
    wedges = [
        simulate(dataclasses.replace(settings, start_deg=start), tmp_path / f"w{i}.nxs").data
        for i, start in enumerate((0.0, 70.0))
    ]
    folder = tmp_path / "out"
    argv = [*map(str, wedges), "-o", str(folder), "--set", "index.joint=true"]
    assert cli.run(cli.group, "hdrmx", ["process", *argv]) == 0
    told = json.loads((folder / "summary.json").read_text())
    cells = [sweep["refine"]["lattices"][0]["cell"] for sweep in told["sweeps"]]
    for cell in cells:
        assert sorted(cell[:3]) == pytest.approx([38, 45, 45], rel=2e-3)
    assert told["stages"][-1] == "merge"
    assert told["merge"]["overall"]["r_meas"] < 0.1
