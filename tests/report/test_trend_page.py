"""From a results folder of asv, or of records, to words, files and the trend page; quiet in a browser, and small."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent))
from example_record import example
from test_profile_page import Content

from hdrmx import cli
from hdrmx.analysis.causes import at_commits
from hdrmx.analysis.history import Commit, History, Series, kind_of, stage_of
from hdrmx.analysis.ledger import keeping_up, ledger
from hdrmx.analysis.regress import Rules, regress
from hdrmx.errors import InputError
from hdrmx.io.histories import is_history, read_history
from hdrmx.io.records import write_record
from hdrmx.report.regress_files import junit, sarif
from hdrmx.report.regress_text import document, markdown, text
from hdrmx.report.trend_page import trend_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BENCHMARKS = {  # name: (level, spread, [(commit, factor)])
    "bench_a.FindSpots.time_stage": (0.1, 0.01, [(40, 1.3)]),
    "bench_a.FindSpots.track_per_frame": (4.0, 0.0, [(40, 2.0)]),
    "bench_b.Index.time_stage": (2.0, 0.01, [(25, 0.8)]),
    "bench_b.Scale.time_stage": (1.0, 0.01, []),
    "bench_b.Scale.peakmem_stage": (2e8, 0.001, []),
    "bench_b.Scale.track_exponent": (1.0, 0.01, []),
    "bench_c.Pipeline.track_frames_per_s": (80.0, 0.01, []),
}
COMMITS = 60


def hash_of(commit: int) -> str:
    return f"{commit:08x}" + "ab" * 16


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    machine = folder / "pinned"
    machine.mkdir()
    (machine / "machine.json").write_text(json.dumps({"machine": "pinned", "version": 1}))
    units = {"track_frames_per_s": "frames/s", "peakmem_stage": "bytes"}
    described = {
        n: {"name": n, "unit": units.get(n.rpartition(".")[2], "seconds" if "time" in n else "")} for n in BENCHMARKS
    }
    (folder / "benchmarks.json").write_text(json.dumps({**described, "version": 2}))
    rng = np.random.default_rng(0)
    for c in range(COMMITS):
        values = {}
        for name, (level, spread, steps) in BENCHMARKS.items():
            factor = np.prod([f for at, f in steps if c >= at]) * np.exp(spread * rng.normal())
            values[name] = [[level * factor], [], "1", [level * factor * 0.99], [level * factor * 1.01]]
        values["bench_d.time_failed"] = [None, [], "1", None, None]
        values["bench_d.time_skipped"] = [[float("nan"), 1.0], [["1", "2"]], "1", None, None]
        run = {
            "commit_hash": hash_of(c),
            "env_name": "py311",
            "date": 1_600_000_000_000 + c * 86_400_000,
            "params": {"machine": "pinned", "os": "Linux 6.1" if c < 10 else "Linux 6.6"},
            "requirements": {},
            "result_columns": ["result", "params", "version", "stats_q_25", "stats_q_75"],
            "results": values,
        }
        (machine / f"{hash_of(c)[:8]}-py311.json").write_text(json.dumps(run))
    return folder


@pytest.fixture(scope="module")
def found(results: Path):
    return regress(read_history(results), Rules())


def test_a_results_folder_is_read_as_it_is(results: Path):
    history = read_history(results)
    assert len(history.commits) == COMMITS
    assert [e.text for e in history.events] == ["os: Linux 6.1 → Linux 6.6"]
    by_name = {s.label: s for s in history.series}
    assert set(BENCHMARKS) < set(by_name)
    assert "bench_d.time_failed" not in by_name
    assert "bench_d.time_skipped(1)" not in by_name
    assert len(by_name["bench_d.time_skipped(2)"].values) == COMMITS
    assert set(by_name["bench_a.FindSpots.time_stage"].era.tolist()) == {0, 1000}
    assert by_name["bench_c.Pipeline.track_frames_per_s"].kind == "rate"


def test_what_changed_is_found_with_commit_and_cause(found):
    assert [(g.what, g.at, g.worse) for g in found.groups] == [("find_spots", 40, True), ("index", 25, False)]
    worse = found.groups[0]
    assert worse.alarm
    assert worse.cause.startswith("more work: track_per_frame 4 → 8")
    said = text(found)
    assert "1 thing got worse and stands; 1 thing got better." in said
    assert "commit 00000028 of 2020-10-23, after 00000027" in said
    assert "bench_b.Index.time_stage" in said
    assert "os: Linux 6.1 → Linux 6.6" in said


def test_files_for_other_programs(found):
    suite = ET.fromstring(junit(found)).find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "1"
    content = sarif(found)
    assert content["version"] == "2.1.0"
    assert [r["level"] for r in content["runs"][0]["results"]] == ["error", "note"]
    assert "| find_spots |" in markdown(found)
    assert document(found)["groups"][0]["commit"] == hash_of(40)


def test_the_command_and_its_exit_codes(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> int:
        return cli.run(cli.group, "hdrmx", ["regress", str(results), *words])

    assert run("--json", str(tmp_path / "a.json"), "--junit", str(tmp_path / "a.xml")) == 1
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "worse"
    assert run("--since", "00000030") == 0
    assert run("--confirm", "test {old} = {new}") == 1
    assert "confirmed by a fresh run" in capsys.readouterr().out
    assert run("--confirm", "true") == 0
    assert run("--confirm", "no-such-command-anywhere {new}") == 1
    assert "could not be run" in capsys.readouterr().out
    assert run("--since", "feedbeef") == 3
    assert cli.run(cli.group, "hdrmx", ["regress", str(tmp_path)]) == 3


def test_too_short_a_history_could_not_be_judged(results: Path, tmp_path: Path):
    (tmp_path / "pinned").mkdir()
    for path in sorted((results / "pinned").glob("*.json"))[:3]:
        shutil.copy(path, tmp_path / "pinned")
    shutil.copy(results / "pinned" / "machine.json", tmp_path / "pinned")
    for path in sorted((tmp_path / "pinned").glob("*-py311.json")):
        content = json.loads(path.read_text())
        content["results"] = {k: v for k, v in content["results"].items() if "time_stage" in k}
        path.write_text(json.dumps(content))
    assert cli.run(cli.group, "hdrmx", ["regress", str(tmp_path)]) == 2


def test_a_damaged_result_is_named(results: Path, tmp_path: Path):
    shutil.copytree(results, tmp_path / "r")
    broken = tmp_path / "r" / "pinned" / "0000ffff-py311.json"
    broken.write_text('{"commit_hash": "00')
    with pytest.raises(InputError, match="0000ffff"):
        read_history(tmp_path / "r")


def test_records_of_many_runs_are_a_history(tmp_path: Path):
    for n in range(10):
        record = example()
        record = replace(
            record,
            created=f"2026-01-{n + 1:02d}T00:00:00+00:00",
            status="complete",
            software=replace(record.software, commit=hash_of(n)),
        )
        (tmp_path / str(n)).mkdir()
        write_record(tmp_path / str(n) / "record.json", record)
    assert is_history(tmp_path)
    assert not is_history(tmp_path / "1")
    history = read_history(tmp_path)
    assert len(history.commits) == 10
    kinds = {s.kind for s in history.series}
    assert {"time", "rate", "count"} <= kinds
    assert history.links[hash_of(3)]["record"] == "3/record.json"
    assert regress(history).groups == ()
    assert keeping_up(history)


def test_changes_go_to_the_commit_that_explains_most_of_them():
    assert at_commits([(4, 5, 9), (5, 5, 5), (5, 6, 8), (20, 20, 20)]) == [(5, [0, 1, 2]), (20, [3])]
    assert at_commits([]) == []


def test_kinds_and_stages_by_name():
    assert kind_of("b.Open.time_open", "seconds") == "time"
    assert kind_of("b.Answers.track_answer", "") == "answer"
    assert kind_of("b.track_exponent", "") == "exponent"
    assert kind_of("b.peakmem_x", "bytes") == "memory"
    assert stage_of("bench_stages.FindSpots.time_stage(90)") == "find_spots"
    assert stage_of("bench_stages.Counts.track_per_frame(integrate:decodes, 90)") == "integrate"
    assert stage_of("bench_core.IndexCache.time_shape") == "index"
    assert stage_of("bench_core.reindexing") == "everything else"


def test_the_ledger_multiplies_to_what_the_suite_gained(found):
    book = ledger(found)
    assert [e.group.at for e in book.entries] == [25, 40]
    timed = sum(s.kind == "time" for s in found.history.series)
    assert book.product == pytest.approx((0.8 * 1.3) ** (1 / timed), rel=0.01)
    assert book.gains * book.losses == pytest.approx(book.product)
    assert [e.group.at for e in ledger(found, "00000020").entries] == [40]


def test_the_page_holds_all_it_says(found):
    page = trend_page(found)
    content = Content(page)
    assert content.loads == ["data:,"]
    assert set(re.findall(r"https?://[^\"' <]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert len(content.names) == len(set(content.names))
    assert {"changes", "keep-up", "ledger", "exponents", "memory", "counters", "machines"} <= set(content.names)
    assert {link.removeprefix("#") for link in content.links if link.startswith("#")} <= set(content.names)
    assert "▲ worse find_spots: more work, up to 2 times" in content.text
    assert "EIGER2 X 16M" in content.text
    assert page == trend_page(found)


def test_a_page_of_300_benchmarks_and_1000_commits_is_small():
    rng = np.random.default_rng(0)
    commits = tuple(Commit(hash_of(c), 1_600_000_000_000 + c * 43_200_000, f"Change number {c}") for c in range(1000))
    at, nothing = np.arange(1000), np.zeros(1000, np.int64)
    series = []
    for i in range(300):
        y = np.exp(0.01 * rng.normal(size=1000))
        name = f"bench_{i % 9}.FindSpots.time_stage_with_a_name_{i}"
        series.append(Series(name, ("90", "'dense'"), "seconds", "time", "pinned", at, y, y * 0.99, y * 1.01, nothing))
    history = History("made", commits, tuple(series))
    quiet = regress(replace(history, series=history.series[:1]))
    result = replace(quiet, history=history, found=quiet.found * 300)
    assert len(trend_page(result).encode()) < 3_000_000


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_the_page_is_quiet_and_works_in_a_browser(found, tmp_path: Path):
    """Nothing on the console, nothing asked of a network; histories drawn, read out, pinned, searched, zoomed."""
    probe = """<script>
      addEventListener("load", () => setTimeout(() => {
        const told = { errors: 0 }, boxes = [...document.querySelectorAll(".history")];
        const box = boxes.find((b) => b.dataset.name.includes("findspots.time_stage")), svg = box.querySelector("svg");
        told.drawn = svg.querySelectorAll(".points").length;
        told.changes = svg.querySelectorAll(".change.worse").length;
        told.events = svg.querySelectorAll("path.event").length;
        svg.dispatchEvent(new KeyboardEvent("keydown", { key: "End", cancelable: true }));
        told.read = box.querySelector("output").textContent;
        svg.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
        told.pinned = document.getElementById("commit").textContent;
        const find = document.getElementById("find");
        find.value = "exponent";
        find.dispatchEvent(new Event("input"));
        told.found = document.getElementById("found").textContent;
        const last = document.getElementById("last");
        last.value = "50";
        last.dispatchEvent(new Event("change"));
        document.getElementById("log").click();
        told.after = svg.querySelectorAll(".points").length;
        told.loads = performance.getEntriesByType("resource").length;
        document.title = JSON.stringify(told);
      }, 800));
    </script></body>"""
    file = tmp_path / "probe.html"
    file.write_text(trend_page(found).replace("</body>", probe), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --v=0 --dump-dom"
    options += " --disable-background-networking --disable-component-update --enable-logging=stderr"
    options += " --virtual-time-budget=4000 --window-size=1200,6000"
    done = subprocess.run(
        [str(CHROMIUM), *options.split(), f"--user-data-dir={tmp_path / 'user'}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title is not None
    told = json.loads(title.group(1).replace("&quot;", '"').replace("&amp;", "&"))
    assert told["loads"] == 0
    assert (told["drawn"], told["changes"], told["events"]) == (1, 1, 1)
    assert "ms ± " in told["read"]
    assert "0000003b" in told["pinned"]
    assert told["found"] == f"1 of {len(BENCHMARKS) + 1} histories"
    assert told["after"] == 1
