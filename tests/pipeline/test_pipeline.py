"""`hdrmx process` from end to end: files, threads, sources, failures on the way."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hdrmx import cli
from hdrmx.io.dials import read_refl
from hdrmx.io.dials_models import read_expt
from hdrmx.params import Simulate
from hdrmx.pipeline import STAGES
from hdrmx.simulate import simulate

TABLES = ("strong", "indexed", "refined", "integrated", "symmetrized", "scaled")
RESULTS = (
    "imported.expt",
    *(f"{name}.refl" for name in TABLES),
    *(f"{name}.expt" for name in TABLES[1:]),
    "unmerged.mtz",
    "merged.mtz",
    "symmetry.json",
    "scaled_model.json",
    "merged.json",
)


def process(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", ["process", *argv])


@pytest.fixture
def processed(small_run: Path) -> Path:
    return small_run


def test_every_stage_leaves_models_and_table(processed: Path) -> None:
    told = json.loads((processed / "summary.json").read_text())
    assert told["stages"] == list(STAGES)
    assert told["index"]["fraction"] > 0.95
    assert told["refine"]["lattices"][0]["cell"] == pytest.approx([34, 42, 55, 90, 90, 90], rel=2e-3)
    assert max(told["refine"]["rmsd_fast_px"], told["refine"]["rmsd_slow_px"]) < 0.5
    (best,) = (row for row in told["index"]["bravais"] if row["best"])
    assert best["space_group"] == "P 2 2 2"
    for name in ("indexed", "refined"):
        (experiment,) = read_expt(processed / f"{name}.expt")
        assert experiment.crystal is not None
        table = read_refl(processed / f"{name}.refl").table
        assert (table["lattice"] >= 0).mean() == pytest.approx(told["index"]["fraction"])
    assert "Metric fit" in (processed / "bravais.txt").read_text()
    assert not [p.name for p in processed.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("threads", ["2", "5"])
def test_the_same_bytes_for_any_number_of_threads(
    small_set: Path, processed: Path, tmp_path: Path, threads: str
) -> None:
    assert process(str(small_set), "-o", str(tmp_path), "-j", threads) == 0
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (processed / name).read_bytes(), name


def test_stages_end_where_they_are_told(small_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert process(str(small_set), "-o", str(tmp_path), "--stages", "find_spots") == 0
    assert (tmp_path / "strong.refl").exists()
    assert not (tmp_path / "indexed.refl").exists()
    assert process(str(small_set), "-o", str(tmp_path), "--stages", "index") == 3
    assert "find_spots,index" in capfd.readouterr().err


def test_a_stage_that_fails_leaves_those_before_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blank = simulate(Simulate(detector="tiny", frames=4, photons=0.01), tmp_path / "blank.nxs").data
    folder = tmp_path / "out"
    assert process(str(blank), "-o", str(folder)) == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "indexing" in said
    assert json.loads((folder / "summary.json").read_text())["stages"] == ["find_spots"]
    assert len(read_refl(folder / "strong.refl").table) < 15


def test_results_of_an_earlier_run_do_not_survive_beside_new_ones(small_set: Path, tmp_path: Path) -> None:
    (tmp_path / "refined.refl").write_bytes(b"old")
    (tmp_path / "notes.txt").write_text("mine")
    assert process(str(small_set), "-o", str(tmp_path), "--stages", "find_spots") == 0
    assert not (tmp_path / "refined.refl").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_stills_end_with_their_spots_and_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stills = simulate(Simulate(detector="tiny", frames=4, width_deg=0.0), tmp_path / "stills.nxs").data
    assert process(str(stills), "-o", str(tmp_path / "out")) == 0
    assert "stills" in capfd.readouterr().out


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A data set whose fourth frame has a chunk of nonsense."""
    made = simulate(Simulate(detector="tiny", frames=8, width_deg=0.5), tmp_path / "damaged.nxs")
    with h5py.File(tmp_path / "damaged_data_000001.h5", "r") as file:
        where = file["/entry/data/data"].id.get_chunk_info_by_coord((3, 0, 0))
    with (tmp_path / "damaged_data_000001.h5").open("r+b") as file:
        file.seek(where.byte_offset + 12)
        file.write(np.random.default_rng(1).bytes(where.size - 12))
    return made.data


def test_a_damaged_frame_stops_the_run_and_is_named(
    damaged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert process(str(damaged), "-o", str(tmp_path / "out")) == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "frame 3" in said
    assert "--skip-bad-frames" in said


def test_a_damaged_frame_can_be_left_out(damaged: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert process(str(damaged), "-o", str(out), "--skip-bad-frames", "--stages", "find_spots") == 0
    assert "left out: image 4" in capfd.readouterr().err
    told = json.loads((out / "summary.json").read_text())
    assert [bad["image"] for bad in told["bad_frames"]] == [4]
    assert told["find_spots"]["frames"] == 7


def test_an_output_folder_that_cannot_be_made(
    small_set: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert process(str(small_set), "-o", str(tmp_path / "file" / "out")) == 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "can't be written" in said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits on the size of files are a matter of POSIX systems")
def test_a_full_disk_leaves_nothing_half_written(small_set: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the spots don't fit, the models do."""
    command = [sys.executable, "-m", "hdrmx", "process", str(small_set), "-o", str(tmp_path / "out"), "-j", "1"]

    def small_files() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_files, check=False)
    assert done.returncode == 3, done.stderr
    assert "strong.refl" in done.stderr
    assert "Traceback" not in done.stderr
    left = [p.name for p in (tmp_path / "out").iterdir()]
    assert left == ["imported.expt"]
