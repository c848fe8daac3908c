"""A run that goes on from an earlier one: the same answer, and nothing of what is no longer true."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import numpy as np
import pytest

from hdrmx import cli
from hdrmx.io.results import FILES, SWEEP_FILES
from hdrmx.pipeline import STAGES


def process(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", ["process", *argv])


@pytest.fixture
def whole(small_run: Path) -> Path:
    return small_run


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def files_of(stages: list[str]) -> set[str]:
    always = {stage: (*SWEEP_FILES.get(stage, ()), *FILES[stage]) for stage in stages}
    return {name for names in always.values() for name in names if name != "integrated_picture.npz"}


def same_merged(a: Path, b: Path) -> None:
    one, other = (np.array(gemmi.read_mtz_file(str(folder / "merged.mtz")), copy=False) for folder in (a, b))
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_the_same_from_any_stage(small_set: Path, whole: Path, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole, folder)
    for name in files_of(list(STAGES[STAGES.index(stage) :])):
        (folder / name).write_bytes(b"of another run")
    assert process(str(small_set), "-o", str(folder), "--from", stage) == 0
    same_merged(whole, folder)
    told, before = summary(folder), summary(whole)
    assert told["stages"] == before["stages"] == list(STAGES)
    assert told["notes"] == before["notes"]
    for name in ("find_spots", "index", "refine", "integrate", "symmetry", "scale"):
        # decodes a frame are known only to a run that made all of them itself, or took over all of them
        assert told[name].keys() | {"decodes_per_frame"} == before[name].keys() | {"decodes_per_frame"}
    assert before["integrate"]["decodes_per_frame"] == 2
    assert told["merge"]["overall"]["n_unique"] == before["merge"]["overall"]["n_unique"]


def test_resume_does_what_has_changed(
    small_set: Path, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole, folder)
    written = {name: (folder / name).stat().st_mtime_ns for name in files_of(list(STAGES))}
    assert process(str(small_set), "-o", str(folder), "--resume") == 0
    assert "nothing to do" in capfd.readouterr().out
    assert process(str(small_set), "-o", str(folder), "--resume", "--set", "scale.outlier_sigma=4") == 0
    changed = {name for name, then in written.items() if (folder / name).stat().st_mtime_ns != then}
    assert changed == files_of(["scale", "merge"])
    assert summary(folder)["params"]["scale"]["outlier_sigma"] == 4


def test_a_stage_that_is_left_out_is_gone(small_set: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole, folder)
    assert process(str(small_set), "-o", str(folder), "--from", "scale", "--stages", ",".join(STAGES[:-1])) == 0
    assert summary(folder)["stages"] == list(STAGES[:-1])
    assert "merge" not in summary(folder)
    assert not (folder / "merged.mtz").exists()
    assert (folder / "scaled.refl").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--from", "nowhere"), "is no stage"),
        (("--from", "merge", "--resume"), "give one of the two"),
        (("--from", "merge", "--images", "1-5"), "give another folder"),
    ],
)
def test_what_cannot_be_gone_on_from(
    small_set: Path, whole: Path, argv: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert process(str(small_set), "-o", str(whole), *argv) == 3
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


@pytest.mark.parametrize(("name", "content"), [("summary.json", b"{"), ("refined.refl", b""), ("refined.expt", b"[]")])
def test_damage_is_named(
    small_set: Path, whole: Path, tmp_path: Path, name: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole, folder)
    (folder / name).write_bytes(content)
    assert process(str(small_set), "-o", str(folder), "--from", "integrate") == 3
    assert name in capfd.readouterr().err


@pytest.mark.parametrize("after", ["indexed.refl", "scaled.refl"])
def test_killed_at_any_moment_it_goes_on(small_set: Path, whole: Path, tmp_path: Path, after: str) -> None:
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "hdrmx", "process", str(small_set), "-o", str(folder), "-j", "1"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not (folder / after).exists() and run.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    if (folder / "summary.json").exists():
        reached = summary(folder)["stages"]
        assert files_of(reached) <= {path.name for path in folder.iterdir()}
    assert process(str(small_set), "-o", str(folder), "--resume") == 0
    assert summary(folder)["stages"] == list(STAGES)
    same_merged(whole, folder)
