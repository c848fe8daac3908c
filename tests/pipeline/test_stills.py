"""Stills through the pipeline: each image on its own, and a clear word where that can't be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdrmx import cli
from hdrmx.io.dials import read_refl
from hdrmx.io.dials_models import read_expt
from hdrmx.params import Simulate
from hdrmx.simulate import simulate

CELL = "34,42,55,90,90,90"


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = Simulate(
        detector="500K", frames=3, width_deg=0.0, distance_mm=80.0, space_group="P 21 21 21", cell=CELL, photons=500.0
    )
    return simulate(settings, tmp_path_factory.mktemp("stills") / "stills.nxs").data


def process(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", ["process", *argv])


def test_without_indexing_they_end_with_their_spots(stills: Path, tmp_path: Path) -> None:
    assert process(str(stills), "-o", str(tmp_path), "--set", "index.max_stills=0") == 0
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["stages"] == ["find_spots"]
    assert any("--cell" in note for note in told["notes"])


def test_each_image_has_its_own_experiment(stills: Path, tmp_path: Path) -> None:
    code = process(str(stills), "-o", str(tmp_path), "--cell", CELL, "--set", "index.min_spots=8")
    assert code == 0
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["stages"] == ["find_spots", "index"]
    found = told["index"]["lattices"]
    assert len(found) + len(told["index"]["not_indexed"]) == 3
    experiments = [e for e in read_expt(tmp_path / "indexed.expt") if e.crystal is not None]
    assert len(experiments) == len(found)
    table = read_refl(tmp_path / "indexed.refl").table
    assert set(table["lattice"]) <= {-1, *range(len(found))}
    for number, lattice in enumerate(found):
        assert lattice["cell"][:3] == pytest.approx([34, 42, 55], rel=0.03)
        assert set(table[table["lattice"] == number]["frame"].astype(int)) == {lattice["image"] - 1}
    assert (tmp_path / "process.html").exists()
