"""`hdrmx profile` from end to end on a tiny simulated data set."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hdrmx import cli
from hdrmx.errors import BadFrame
from hdrmx.io.open import open_source
from hdrmx.io.records import read_record
from hdrmx.measure import Recorder
from hdrmx.params import Params, Simulate
from hdrmx.pipeline import STAGES, process
from hdrmx.profiling import Options, profile
from hdrmx.record import COMPILE, pipeline_ns, stages

N = 6


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hdrmx.simulate.run import simulate

    path = tmp_path_factory.mktemp("tiny") / "tiny.nxs"
    return simulate(Simulate(detector="tiny", frames=N, width_deg=0.5), path).data


def run(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", ["profile", *argv])


def test_writes_record_samples_trace_and_results(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert run(str(tiny), "-o", str(folder), "-j", "1", "--stages", "find_spots") == 0
    table = capsys.readouterr().out
    record = read_record(folder)
    assert record.status == "complete"
    assert (record.data.n_frames, record.threads) == (N, 1)
    find = next(s for s in stages(record.run) if s.name == "find_spots")
    slow, fast = record.data.shape
    assert find.count("frames") == find.count("decodes") == N
    assert find.count("pixels") == N * slow * fast
    assert find.count("bytes_in") > 0
    assert find.answers["spots"] == find.count("spots")
    assert COMPILE in [s.name for s in record.run.children]
    assert 0 < pipeline_ns(record.run) < record.run.cost.wall_ns
    assert record.params["find_spots"]["sigma_strong"] == Params().find_spots.sigma_strong
    names = {str(p.relative_to(folder)) for p in folder.rglob("*")}
    assert names >= {"record.json", "trace.json", "strong.refl", "imported.expt", "notes.txt", *record.files.values()}
    assert (folder / "notes.txt").read_text() == "mine"
    assert not [name for name in names if name.startswith(".")]
    assert "find_spots" in table
    assert max(map(len, table.splitlines())) <= max(100, len(str(tiny)) + 60)
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert run("--show", str(folder)) == 0
    assert capsys.readouterr().out == table


def test_sampling_leaves_its_files_or_none(tiny: Path, tmp_path: Path):
    sampled = profile(tiny, tmp_path / "a", Params(), Options(until="find_spots"))
    without = profile(tiny, tmp_path / "b", Params(), Options(sampling=False, until="find_spots"))
    assert set(without.files) == {"trace", "page", "report"}
    assert (without.timeline, without.sampling) == (None, None)
    assert sampled.sampling.samples > 0
    assert sampled.timeline.edges_ns
    assert all((tmp_path / "a" / name).is_file() for name in sampled.files.values())
    assert json.loads((tmp_path / "a/profile.speedscope.json").read_text())["profiles"]
    assert "<svg" in (tmp_path / "a/report.html").read_text()


def test_json_summary(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--json", "--no-sampling", "--images", "2-4", "--stages", "find_spots")
    assert run(str(tiny), "-o", str(tmp_path / "out"), *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "complete"
    assert Path(found["record"]).is_file()
    assert next(s for s in found["stages"] if s["name"] == "find_spots")["counts"]["frames"] == 3


def test_results_are_the_same_watched_or_not(small_set: Path):
    source = open_source(small_set)
    recorder = Recorder()
    watched = process(source, Params(), recorder)
    unwatched = process(source, Params(), threads=2)
    source.close()
    run_span = recorder.finish()
    assert watched.merged is not None
    assert unwatched.merged is not None
    pd.testing.assert_frame_equal(watched.spots, unwatched.spots, check_exact=True)
    pd.testing.assert_frame_equal(watched.sweeps[0].table, unwatched.sweeps[0].table, check_exact=True)
    assert watched.sweeps[0].crystals[0].A == unwatched.sweeps[0].crystals[0].A
    pd.testing.assert_frame_equal(watched.merged.table, unwatched.merged.table, check_exact=True)
    assert tuple(s.name for s in run_span.children) == STAGES
    assert {s.name: s.answers.get("cells") for s in run_span.children}["refine"] is not None


def test_a_missing_data_set_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(tmp_path / "none.nxs"), "-o", str(tmp_path / "out")) == 3
    assert "none.nxs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(KeyboardInterrupt(), "interrupted", 130), (BadFrame("data.h5", 3, "is cut short"), "failed", 3)],
)
def test_a_run_that_stops_leaves_a_record(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: str,
    code: int,
):
    from hdrmx.pipeline import _Run

    def stops(run: _Run, *_: object) -> None:
        with run.around("strong_pixels") as span:
            span.count(frames=3)
            raise error

    monkeypatch.setattr(_Run, "find_spots", stops)
    assert run(str(tiny), "-o", str(tmp_path / "out")) == code
    said = capsys.readouterr()
    assert f"hdrmx profile --show {tmp_path / 'out'}" in said.err
    assert "Traceback" not in said.err
    record = read_record(tmp_path / "out")
    find = next(s for s in stages(record.run) if s.name == "find_spots")
    assert record.status == status
    assert find.error.startswith(type(error).__name__)
    assert find.count("frames") == 3
    page = (tmp_path / "out/report.html").read_text()
    assert f"The run {'was interrupted' if status == 'interrupted' else 'failed'}" in page
    assert run("--show", str(tmp_path / "out")) == 0
    assert "The run " in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named_before_any_work(tiny: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    assert run(str(tiny), "-o", str(tmp_path / "file")) == 3


def test_show_takes_no_data(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(str(tiny), "--show", str(tmp_path)) == 3
    assert "--show" in capsys.readouterr().err
    assert run("--show", str(tmp_path)) == 3
    assert "record.json" in capsys.readouterr().err


def test_machine_prints_both_fingerprints(capsys: pytest.CaptureFixture[str]):
    assert cli.run(cli.group, "hdrmx", ["machine", "--no-limits"]) == 0
    text = capsys.readouterr().out
    assert cli.run(cli.group, "hdrmx", ["machine", "--no-limits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert f"machine {found['machine']['fingerprint']}" in text
    assert f"software {found['software']['fingerprint']}" in text
