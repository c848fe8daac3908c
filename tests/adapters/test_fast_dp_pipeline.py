"""fast_dp: a stand-in driven, and what it left read. Its log and JSON are written as fast_dp 2.0 does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from test_xds_pipeline import ENDS, USUAL

from hdrmx import cli
from hdrmx.adapters.fast_dp import facts_of, profile_fast_dp
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.records import read_record
from hdrmx.record import stages

LOG = """Fast_DP version 2.0
Number of jobs: 1
Number of cores: 2
Processing images: 1 -> 900
Merging point group: P 4 2 2
Unit cell:  79.10  79.10  37.90  90.00  90.00  90.00
Processing took 00h 01m 10s (70 s) [123456 reflections]
RPS: 1763.7
"""
OVERALL = {"completeness": 98.5, "cc_half": 0.998, "r_meas_all_iplusi_minus": 0.071, "n_tot_unique_obs": 4567}
RESULTS = {"scaling_statistics": {"overall": {**OVERALL, "mean_i_sig_i": 15.2}}}
PROGRAM = """#!/bin/sh
echo "$@" > arguments
cp ~/left/* .
exit ${FAST_DP_ENDS:-0}
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder that fast_dp has worked in."""
    folder = tmp_path / "home/left"
    folder.mkdir(parents=True)
    (folder / "fast_dp.log").write_text(LOG)
    (folder / "fast_dp.json").write_text(json.dumps(RESULTS))
    (folder / "INIT.LP").write_text(" ***** INIT ***** (VERSION Jun 30, 2024  BUILT=20241002)\n" + USUAL)
    (folder / "COLSPOT.LP").write_text(ENDS["COLSPOT"])
    return folder


@pytest.fixture
def image(tmp_path: Path, left: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin/fast_dp"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(left.parent))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "x_0001.cbf"
    path.write_bytes(b"not read")
    return path


def test_a_folder_is_read(left: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(cli.group, "hdrmx", ["profile", str(left), "--pipeline", "fast_dp", "-o", str(tmp_path / "o")]) == 0
    record = read_record(tmp_path / "o")
    assert [s.name for s in stages(record.run)] == ["init", "colspot"]
    assert record.run.cost.wall_ns == 70_000_000_000
    assert record.run.counts == {"frames": 900, "reflections": 123456}
    assert record.run.answers["completeness"] == 0.985
    assert record.run.answers["cells"] == [[79.1, 79.1, 37.9, 90.0, 90.0, 90.0]]
    assert (record.run.answers["space_group"], record.status) == ("P 4 2 2", "complete")
    assert record.software.packages == {"xds": "Jun 30, 2024 (20241002)", "fast_dp": "2.0"}
    assert "space_group P 4 2 2" in capsys.readouterr().out


def test_a_folder_of_a_run_that_failed(left: Path, tmp_path: Path):
    (left / "fast_dp.log").write_text("Fast_DP version 2.0\nIntegration failed\nFast DP error: no spots\n")
    record = profile_fast_dp(left, tmp_path / "out")
    assert (record.status, record.run.error) == ("failed", "Integration failed")


def test_it_is_run_and_measured(image: Path, tmp_path: Path):
    more = (("fast_dp", "-a"), ("fast_dp", "Se"))
    record = profile_fast_dp(image, tmp_path / "out", 2, more, "none", lambda text: None)
    (stage,) = stages(record.run)
    assert (stage.name, stage.counts["frames"], record.status) == ("fast_dp", 900, "complete")
    assert stage.cost.cpu_ns is not None
    assert (tmp_path / "out/arguments").read_text().split() == ["-k", "2", "-a", "Se", str(image)]
    assert record.software.packages["fast_dp"] == "2.0"
    assert stage.answers["cc_half"] == 0.998


def test_a_failure_is_recorded(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FAST_DP_ENDS", "1")
    with pytest.raises(NotMeasured, match="fast_dp failed"):
        profile_fast_dp(image, tmp_path / "out", 1, (), "none", lambda text: None)
    assert read_record(tmp_path / "out").status == "failed"


def test_without_fast_dp_one_line_says_what_to_do(tmp_path: Path, monkeypatch, capsys):
    image = tmp_path / "x_0001.cbf"
    image.touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.run(cli.group, "hdrmx", ["profile", str(image), "--pipeline", "fast_dp", "-o", str(tmp_path / "o")]) == 3
    assert "fast_dp is not on PATH; install it" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"holds no fast_dp\.log"):
        profile_fast_dp(tmp_path, tmp_path / "o")


def test_nothing_is_made_up(tmp_path: Path):
    (tmp_path / "fast_dp.json").write_text('{"scaling_statistics": []}')
    assert facts_of(tmp_path) == ({}, {})
