"""XDS: a real folder's logs read, and a stand-in for the program driven."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from hdrmx import cli
from hdrmx.adapters.source import identity_of
from hdrmx.adapters.xds import XdsOptions, profile_xds
from hdrmx.adapters.xds_inp import xds_inp
from hdrmx.adapters.xds_logs import JOBS, JobLog, version
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.records import read_record
from hdrmx.record import stages

COLSPOT = """ NUMBER OF DIFFRACTION SPOTS SAVED (SPOT.XDS)    791

 total elapsed wall-clock time for COLSPOT  3.4 sec

 TASK     cpu time (sec)    elapsed wall-clock time (sec)
   1          18.5                     3.2
   2           1.5                     3.0
"""
ENDS = {"COLSPOT": COLSPOT}
USUAL = " cpu time used                  3.5 sec\n elapsed wall-clock time        0.2 sec\n"
PROGRAM = """#!/bin/sh
job=$(sed -n 's/^JOB= *//p' XDS.INP)
cp XDS.INP "$job.seen"
[ "$job" = "$XDS_FAILS" ] && { echo " !!! ERROR !!! $XDS_SAYS" > $job.LP; exit 0; }
[ "$job" = "$XDS_SILENT" ] && exit 3
{ echo " ***** $job ***** (VERSION Jun 30, 2024  BUILT=20241002)  14-Feb-2025"
  echo " DATA_RANGE=       5     403"
  echo " NAME_TEMPLATE_OF_DATA_FRAMES=../x/????.tif TIFF"
  cat ~/$job.end 2>/dev/null || cat ~/usual.end; } > $job.LP
[ "$job" = IDXREF ] && touch XPARM.XDS
exit 0
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An XDS.INP, with a stand-in for XDS on PATH; what its logs say lies in its home."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "usual.end").write_text(USUAL)
    for job, text in ENDS.items():
        (home / f"{job}.end").write_text(text)
    program = tmp_path / "bin/xds_par"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "given/XDS.INP"
    path.parent.mkdir()
    path.write_text(
        "JOB= XYCORR INIT COLSPOT IDXREF DEFPIX INTEGRATE CORRECT ! all\n"
        "NAME_TEMPLATE_OF_DATA_FRAMES= ../diff/????.tif tiff ! images\nLIB=/abs/plugin.so\nNX=512     NY=512\n"
    )
    return path


def test_a_real_folder(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Figures as they stand in the .LP files."""
    folder = shared_data / "cinchonine_3ded/xds_reference"
    assert cli.run(cli.group, "hdrmx", ["profile", str(folder), "--pipeline", "xds", "-o", str(tmp_path)]) == 0
    assert "colspot" in capsys.readouterr().out
    record = read_record(tmp_path)
    took = {s.name: (s.cost.wall_ns / 1e9, s.cost.cpu_ns / 1e9) for s in stages(record.run)}
    assert took == {
        "init": (0.2, 3.5),
        "colspot": (3.4, 18.5),
        "idxref": (0.3, 0.6),
        "integrate": (1.5, 25.5),
        "correct": (0.2, 3.9),
    }
    by_name = {s.name: s for s in stages(record.run)}
    assert by_name["colspot"].counts == {"frames": 399, "strong_pixels": 547536, "spots": 791}
    assert by_name["idxref"].answers["indexed"] == pytest.approx(403 / 791, abs=1e-4)
    assert by_name["integrate"].counts == {"frames": 399, "integrated": 2012}
    correct = by_name["correct"].answers
    assert (correct["n_observations"], correct["n_unique"], correct["completeness"]) == (1950, 1287, 0.708)
    assert (correct["r_merge"], correct["r_meas"], correct["cc_half"], correct["i_over_sigma"]) == (
        0.1,
        0.142,
        0.977,
        4.1,
    )
    assert correct["cells"] == [[10.732, 7.283, 11.107, 90.0, 108.06, 90.0]]
    assert (correct["space_group"], correct["isa"]) == ("P 1 21 1", 7.86)
    assert record.software.packages == {"xds": "Jun 30, 2024 (20241002)"}
    assert (record.data.n_frames, record.data.shape, record.data.identity) == (399, (512, 512), "")
    assert record.machine.fingerprint == ""
    assert "times_from_log" in [d.kind for d in record.doubts]


def test_each_job_is_a_stage(settings: Path, tmp_path: Path):
    out = tmp_path / "out"
    said: list[str] = []
    record = profile_xds(settings, out, XdsOptions(jobs=2), said.append)
    assert [s.name for s in stages(record.run)] == [job.lower() for job in JOBS] == said
    assert record.status == "complete"
    assert stages(record.run)[2].counts == {"spots": 791}
    assert all(s.cost.cpu_ns is not None for s in stages(record.run))
    seen = (out / "COLSPOT.seen").read_text().splitlines()
    assert seen[0] == "JOB= COLSPOT"
    assert "NAME_TEMPLATE_OF_DATA_FRAMES= ../diff/????.tif tiff ! images" in seen
    assert "LIB=/abs/plugin.so" in seen
    assert seen[-1] == "MAXIMUM_NUMBER_OF_PROCESSORS= 2"
    assert sum("JOB=" in line for line in seen) == 1


def test_paths_are_those_seen_from_the_new_folder(settings: Path, tmp_path: Path):
    profile_xds(settings, tmp_path / "deep/er", say=lambda text: None)
    assert "= ../../diff/????.tif" in (tmp_path / "deep/er/INIT.seen").read_text()


@pytest.mark.parametrize(("variable", "reason"), [("XDS_FAILS", "CANNOT OPEN OR READ FILE"), ("XDS_SILENT", "INIT.LP")])
def test_a_job_that_fails_is_recorded(settings: Path, tmp_path: Path, monkeypatch, variable: str, reason: str):
    monkeypatch.setenv(variable, "INIT")
    monkeypatch.setenv("XDS_SAYS", reason)
    with pytest.raises(NotMeasured, match=f"XDS failed in INIT: .*{reason}"):
        profile_xds(settings, tmp_path / "out", say=lambda text: None)
    record = read_record(tmp_path / "out")
    assert record.status == "failed"
    assert [s.name for s in stages(record.run)] == ["xycorr", "init"]
    assert reason in stages(record.run)[-1].error


def test_without_xds_one_line_says_what_to_do(settings: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.run(cli.group, "hdrmx", ["profile", str(settings), "--pipeline", "xds", "-o", str(tmp_path / "o")]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "XDS is not on PATH; install it" in said


def test_a_folder_without_anything_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no XDS\.INP, no \.LP file"):
        profile_xds(tmp_path, tmp_path / "out")


def test_a_log_that_is_cut_off(tmp_path: Path):
    (tmp_path / "INIT.LP").write_text(" ***** INIT ***** (VERSION Jun 30, 2024  BUILT=20241002)\n")
    record = profile_xds(tmp_path, tmp_path / "out")
    assert record.status == "failed"
    assert stages(record.run)[0].error == "its log ends before the time that it took"
    assert stages(record.run)[0].cost.cpu_ns is None


def test_times_of_several_tasks_are_added():
    log = JobLog("COLSPOT", ENDS["COLSPOT"])
    assert (log.wall_s, log.cpu_s, log.error) == (3.4, 20.0, None)
    assert version("nothing") is None
    assert JobLog("INIT", " !!! ERROR !!! CANNOT READ XDS.INP\n").error == "CANNOT READ XDS.INP"


def keywords(text: str) -> dict[str, list[float]]:
    """The numbers behind each keyword."""
    found = {}
    for match in re.finditer(r"(\S+)=((?: -?\d[\d.e+-]*)+)", text):
        found[match[1]] = [float(x) for x in match[2].split()]
    return found


def test_the_geometry_of_an_xds_inp_is_ours(tmp_path: Path):
    """Any pixel and the rotation axis lie where XDS would see them."""
    from hdrmx.io.open import open_source
    from hdrmx.params import Simulate
    from hdrmx.simulate.run import simulate

    data = simulate(Simulate(detector="tiny", frames=6, width_deg=0.5), tmp_path / "tiny.nxs").data
    with contextlib.closing(open_source(data)) as source:
        text = xds_inp(source, tmp_path / "x", images=range(1, 4), space_group="P 21 21 21", cell="30,40,50,90,90,90")
        panel, beam = source.geometry.detector.panels[0], source.geometry.beam
        axis = source.geometry.goniometer.lab_axis
    found = keywords(text)
    x, y = (np.array(found[f"DIRECTION_OF_DETECTOR_{name}-AXIS"]) for name in "XY")
    (orgx,), (orgy,), (qx,), (qy,) = found["ORGX"], found["ORGY"], found["QX"], found["QY"]
    for slow, fast in ((0, 0), (10.5, 3.25), panel.shape):
        theirs = (fast + 0.5 - orgx) * qx * x + (slow + 0.5 - orgy) * qy * y
        theirs = theirs + found["DETECTOR_DISTANCE"][0] * np.cross(x, y)
        np.testing.assert_allclose(theirs, panel.lab_mm(slow, fast), atol=1e-4)
    np.testing.assert_allclose(found["ROTATION_AXIS"], axis, atol=1e-7)
    np.testing.assert_allclose(found["INCIDENT_BEAM_DIRECTION"], beam.direction, atol=1e-7)
    assert found["DATA_RANGE"] == [2, 4]
    assert found["OSCILLATION_RANGE"] == [0.5]
    assert (found["SPACE_GROUP_NUMBER"], found["UNIT_CELL_CONSTANTS"]) == ([19], [30, 40, 50, 90, 90, 90])
    assert "NAME_TEMPLATE_OF_DATA_FRAMES= ../tiny.nxs" in text


def test_a_data_set_is_run_with_an_xds_inp_of_ours(settings: Path, small_set: Path, tmp_path: Path):
    """Stand-in for XDS; the identity of the data is the one that our own runs have."""
    out = tmp_path / "out"
    record = profile_xds(str(small_set), out, XdsOptions(lines=("LIB=/a/plugin.so",)), lambda text: None)
    assert record.status == "complete"
    assert record.data.identity == identity_of(str(small_set)).identity
    assert "LIB=/a/plugin.so" in (out / "CORRECT.seen").read_text()
