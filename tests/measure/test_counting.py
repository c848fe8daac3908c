"""Exact costs of the pipeline, from child processes; what can't be counted is a sentence."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from hdrmx import cli, counting
from hdrmx.counting import Options, count
from hdrmx.errors import NotMeasured
from hdrmx.io.records import read_record, write_record
from hdrmx.measure.recorder import plain
from hdrmx.params import Params, Simulate
from hdrmx.record import Cost, Counted, Doubt, Record, Span
from hdrmx.report.profile_page import profile_page
from hdrmx.report.terminal import render
from hdrmx.report.words import DOUBTS, doubt_text

COUNTED = Counted(
    settings={"PYTHONHASHSEED": "0"},
    frames=6,
    calls={"find_spots": 1234},
    functions={"find_spots": {"f (a.py:1)": 1200, "g (b.py:2)": 34}},
    instructions={"find_spots": 1_000_000},
    objects={"find_spots": {"compiled kernels": 900_000, "libpython3.11.so.1.0": 60_000, "libc.so.6": 40_000}},
    allocated_bytes={"find_spots": 5_000_000},
    allocations={"find_spots": 99},
    allocated_peak_bytes={"find_spots": 3_000_000},
)


def test_counts_are_shown_in_the_table_and_on_the_page():
    find = Span(name="find_spots", cost=Cost(wall_ns=10**8))
    record = Record(run=Span(name="run", cost=Cost(wall_ns=10**8), children=(find,)), counted=COUNTED)
    table = render(record)
    assert "1,000,000" in table
    assert "90.0%" in table
    page = profile_page(record)
    for text in ("Exact costs", "1,234", "90.0 %", "6.0 %", "5.00", "f (a.py:1)", "PYTHONHASHSEED 0"):
        assert text in page


def spec(job: counting._Job) -> dict[str, object]:
    return json.loads(job.spec.read_text())


def test_kinds_are_put_together_and_failures_are_doubts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    seen = []

    def run(job: counting._Job, kind: str, *before: str) -> tuple[dict[str, object], str]:
        seen.append((kind, spec(job)["images"], job.environment["PYTHONHASHSEED"], before[:1]))
        if kind == "callgrind":
            (job.folder / "callgrind.1").write_text(
                "desc: Trigger: Client Request: find_spots\nob=(1) ???\nfn=(1) x\n1 70\nob=(2) /l/libpython3.so\n1 30\n"
            )
        answers = {
            "calls": {"frames": 6, "functions": {"find_spots": {"f (a.py:1)": 3, "g (a.py:2)": 2}}},
            "allocations": {"frames": 6, "peak": {"find_spots": 11}, "kept": {"find_spots": 1}},
        }
        return answers.get(kind, {}), "it broke" if kind == "allocated" else ""

    monkeypatch.setattr(counting, "_run", run)
    monkeypatch.setattr(counting, "_has_counters", lambda: False)
    monkeypatch.setattr(counting, "_allocation_counter", lambda folder: (folder / "a.so", ""))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(counting, "_version", lambda program: "valgrind-9")
    counted, doubts = count("data.nxs", Params(), Options(images=range(2, 8)))
    assert [kind for kind, *_ in seen] == ["nothing", "calls", "allocations", "allocated", "callgrind"]
    assert {(tuple(images), seed) for _, images, seed, _ in seen} == {((2, 8, 1), "0")}
    assert seen[-1][3] == ("valgrind",)
    assert counted.calls == {"find_spots": 5}
    assert counted.instructions == {"find_spots": 100}
    assert counted.objects == {"find_spots": {"compiled kernels": 70, "libpython3.so": 30}}
    assert counted.settings["instructions by"] == "valgrind-9"
    assert [doubt_text(d) for d in doubts] == ["allocated were not counted (it broke): see docs/exact_costs.md"]


def test_without_counters_valgrind_or_compiler_there_are_sentences(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "_run", lambda job, kind, *before: ({"frames": 6, "functions": {}}, ""))
    monkeypatch.setattr(counting, "_has_counters", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    counted, doubts = count("data.nxs", Params(), Options())
    assert counted.instructions == {}
    assert {doubt.kind for doubt in doubts} == {"not_counted", "no_instruction_counts"} <= set(DOUBTS)


def test_a_pipeline_that_fails_is_not_counted(tmp_path: Path):
    with pytest.raises(NotMeasured, match=r"none\.nxs"):
        count(str(tmp_path / "none.nxs"), Params(), Options())


def test_counted_records_are_written_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    record = Record(run=Span(name="run"))
    write_record(tmp_path / "record.json", record)
    monkeypatch.setattr(counting, "count", lambda *_: (COUNTED, [Doubt(kind="no_instruction_counts")]))
    counting.count_into(record, tmp_path, "data", Params(), Options(), print)
    stored = read_record(tmp_path)
    assert stored.counted == COUNTED
    assert "no_instruction_counts" in {doubt.kind for doubt in stored.doubts}
    assert replace(stored, counted=None).run == record.run


def test_the_child_counts_each_stage_and_the_same_every_time(tmp_path: Path):
    from hdrmx import counting_child
    from hdrmx.simulate.run import simulate

    data = simulate(Simulate(detector="tiny", frames=3, width_deg=0.5), tmp_path / "tiny.nxs").data
    spec = {"data": str(data), "images": None, "params": plain(Params()), "mask": None, "until": "find_spots"}
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "skip_bad_frames": False}))
    found = []
    for kind in ("calls", "calls", "allocations"):
        counting_child.main(kind, str(tmp_path / "spec.json"), str(tmp_path / "answer.json"))
        found.append(json.loads((tmp_path / "answer.json").read_text()))
    assert not tracemalloc.is_tracing()
    assert found[0] == found[1]
    assert found[0]["frames"] == 3
    functions = found[0]["functions"]["find_spots"]
    assert next(n for name, n in functions.items() if name.startswith("_StrongPixelFinder.__call__ (")) == 3
    assert found[2]["peak"]["find_spots"] > 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_the_whole_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from hdrmx.simulate.run import simulate

    data = simulate(Simulate(detector="tiny", frames=6, width_deg=0.5), tmp_path / "tiny.nxs").data
    options = ["-o", str(tmp_path / "out"), "--stages", "find_spots", "--count"]
    assert cli.run(cli.group, "hdrmx", ["profile", str(data), *options]) == 0
    assert "exact costs" in capsys.readouterr().out
    counted = read_record(tmp_path / "out").counted
    assert counted.frames == 6
    assert counted.calls["find_spots"] > 100
    assert counted.instructions["find_spots"] > 100_000
    assert counted.objects["find_spots"]["compiled kernels"] > 10_000
