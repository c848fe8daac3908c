"""DIALS as a pipeline: with stand-ins for its programs, and once with the real ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import fake_dials
import pytest

from hdrmx import cli
from hdrmx.adapters import dials_logs
from hdrmx.adapters import run as run_module
from hdrmx.adapters.dials import STAGES, DialsOptions, image_arguments, profile_dials
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.records import read_record
from hdrmx.record import stages


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = fake_dials.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "one.nxs"
    path.write_bytes(b"not read by the stand-ins")
    return path


OPTIONS = DialsOptions(sampler="none")


def run(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", ["profile", *argv])


def test_every_program_is_a_stage_with_what_its_log_tells(programs: Path, image: Path, tmp_path: Path):
    said: list[str] = []
    record = profile_dials([str(image)], tmp_path / "out", OPTIONS, said.append)
    assert [s.name for s in stages(record.run)] == list(STAGES) == said
    assert (record.pipeline, record.status, record.software.packages["dials"]) == ("dials", "complete", "3.12")
    assert all(s.cost.cpu_ns for s in stages(record.run))
    by_name = {s.name: s for s in stages(record.run)}
    assert by_name["find_spots"].counts == {"frames": 2, "strong_pixels": 326, "spots": 6572}
    assert by_name["index"].answers["indexed"] == pytest.approx(6497 / 6572, abs=1e-4)
    assert by_name["refine"].counts == {"refinement_steps": 1, "parameters": 34, "reflections": 5376}
    assert by_name["refine"].answers["cells"] == [[54.708, 58.521, 67.634, 89.9896, 90.0127, 90.0044]]
    assert by_name["refine"].answers["rmsd_px_px_frames"] == [0.19287, 0.19363, 0.13219]
    assert by_name["integrate"].answers == {
        "integrated": 17819,
        "log_read_s": 19.56,
        "log_process_s": 10.3,
        "log_total_s": 56.62,
    }
    assert by_name["symmetry"].answers["space_group"] == "P 21 21 2"
    assert by_name["scale"].answers["log_minimisation_s"] == 5.72
    assert by_name["export"].counts == {"reflections": 16929, "batches": 320}
    merged = by_name["merge"].answers
    assert (merged["completeness"], merged["cc_half"], merged["n_unique"]) == (0.43, 0.992, 6580)
    assert read_record(tmp_path / "out") == record
    assert (tmp_path / "out/report.html").is_file()


def test_arguments_reach_the_programs(programs: Path, image: Path, tmp_path: Path):
    options = DialsOptions(
        nproc=2,
        images=range(4, 9),
        space_group="P212121",
        cell="1,2,3,90,90,90",
        d_min=2.0,
        until="integrate",
        arguments=(("refine", "scan_varying=False"),),
        sampler="none",
    )
    profile_dials([str(image)], tmp_path / "out", options)
    calls = {line.split()[0].rpartition(".")[2]: line for line in (tmp_path / "out/calls.txt").read_text().splitlines()}
    assert str(image) in calls["import"]
    assert "image_range=5,9" in calls["slice_sequence"]
    assert "sliced.expt spotfinder.mp.nproc=2 spotfinder.filter.d_min=2.0" in calls["find_spots"]
    assert "space_group=P212121" in calls["index"]
    assert calls["refine"].endswith("indexed.expt indexed.refl scan_varying=False")
    assert "integration.mp.nproc=2" in calls["integrate"]
    assert "symmetry" not in calls


def test_a_stage_that_fails_is_recorded_with_what_it_had(image: Path, tmp_path: Path, monkeypatch, capsys):
    folder = fake_dials.install(tmp_path / "bin", refine="echo; echo 'Sorry: no luck' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    out = tmp_path / "out"
    assert run(str(image), "--pipeline", "dials", "--sampler", "none", "-o", str(out), "-j", "1") == 2
    said = capsys.readouterr().err
    assert "dials.refine failed: Sorry: no luck" in said
    assert f"hdrmx profile --show {out}" in said
    record = read_record(out)
    assert record.status == "failed"
    assert [s.name for s in stages(record.run)] == ["import", "find_spots", "index", "refine"]
    assert stages(record.run)[-1].error == "ended with exit code 1"
    assert stages(record.run)[-1].counts["parameters"] == 34


def test_ctrl_c_leaves_a_record(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_module, "GRACE_S", 0.5)
    folder = fake_dials.install(tmp_path / "bin", index="kill -INT $PPID; sleep 100")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(KeyboardInterrupt):
        profile_dials([str(image)], tmp_path / "out", OPTIONS)
    record = read_record(tmp_path / "out")
    assert record.status == "interrupted"
    assert [(s.name, s.finished) for s in stages(record.run)][-1] == ("index", False)


def test_without_dials_one_line_says_what_to_do(image: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(str(image), "--pipeline", "dials", "-o", str(tmp_path / "out")) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "DIALS is not on PATH; install it" in said
    assert not (tmp_path / "out").exists()


def test_logs_of_an_earlier_run_are_not_read(programs: Path, image: Path, tmp_path: Path, monkeypatch):
    profile_dials([str(image)], tmp_path / "out", OPTIONS)
    (programs / "dials.find_spots").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(NotMeasured, match="it printed nothing"):
        profile_dials([str(image)], tmp_path / "out", OPTIONS)
    assert stages(read_record(tmp_path / "out").run)[-1].counts == {}


def test_images_are_named_for_import(tmp_path: Path):
    for i in (1, 2):
        (tmp_path / f"x_000{i}.cbf").touch()
    assert image_arguments(str(tmp_path / "x_####.cbf")) == [f"template={tmp_path}/x_####.cbf"]
    both = [str(tmp_path / "x_0001.cbf"), str(tmp_path / "x_0002.cbf")]
    assert image_arguments(str(tmp_path / "x_*.cbf")) == image_arguments(str(tmp_path)) == both
    for missing in ("y_####.cbf", "y.nxs"):
        with pytest.raises(InputError, match="check the path"):
            image_arguments(str(tmp_path / missing))


def test_an_argument_for_no_stage_is_refused(programs: Path, image: Path, tmp_path: Path):
    with pytest.raises(InputError, match="names no stage of DIALS"):
        profile_dials([str(image)], tmp_path / "out", DialsOptions(arguments=(("spots", "a=1"),)))


@pytest.mark.parametrize("log", ["", "DIALS 3.12\n", "Unit cell: nonsense\n| 0 | x |\nSummary of merging statistics\n"])
def test_a_log_that_holds_nothing_gives_nothing_wrong(log: str):
    for stage in (*STAGES, "slice"):
        counts, _ = dials_logs.facts(stage, log)
        assert not {name: n for name, n in counts.items() if n}


def test_two_pipelines_stand_side_by_side(programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from hdrmx.params import Simulate
    from hdrmx.simulate.run import simulate

    data = simulate(Simulate(detector="tiny", frames=4, width_deg=0.5), tmp_path / "tiny.nxs").data
    common = ("--pipeline", "hdrmx", "--pipeline", "dials", "-j", "1", "--stages", "find_spots", "--no-sampling")
    assert run(str(data), *common, "-o", str(tmp_path / "out")) == 0
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 100
    assert "hdrmx / dials" in table
    ours, theirs = (read_record(tmp_path / "out" / name) for name in ("hdrmx", "dials"))
    assert ours.data.identity == theirs.data.identity
    assert "find_spots" in (tmp_path / "out/side_by_side.html").read_text()
    assert run("--attach", str(tmp_path / "out"), "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["pipelines"] == ["dials", "hdrmx"]
    assert values["stages"]["find_spots"]["dials"]["cpu_s"] > 0
    more = ("--attach", str(tmp_path / "out/dials"), "--stages", "find_spots", "--no-sampling")
    assert run(str(data), *more, "-o", str(tmp_path / "again")) == 0
    assert "hdrmx / dials" in capsys.readouterr().out
    assert (tmp_path / "again/report.html").is_file()
    assert 'href="../out/dials/report.html"' in (tmp_path / "again/side_by_side.html").read_text()


@pytest.mark.dials
def test_the_real_programs(small_set: Path, tmp_path: Path):
    """Every stage ends, its counts are there, and the cell is the one that was simulated."""
    if shutil.which("dials.import") is None:
        pytest.skip("DIALS is not installed")
    record = profile_dials([str(small_set)], tmp_path / "out", DialsOptions())
    by_name = {s.name: s for s in stages(record.run)}
    assert list(by_name) == list(STAGES)
    assert by_name["find_spots"].counts["frames"] == 30
    assert by_name["find_spots"].counts["spots"] == by_name["find_spots"].answers["spots"] > 100
    assert by_name["refine"].answers["cells"][0][:3] == pytest.approx([34, 42, 55], rel=0.01)
    assert by_name["integrate"].counts["integrated"] > 100
    assert by_name["merge"].answers["n_unique"] > 100
    if record.params["sampler"] == "py-spy":
        folded = (tmp_path / "out/profile.folded").read_text()
        assert "run (dials/command_line/find_spots.py" in folded
