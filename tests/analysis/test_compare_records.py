"""Two versions compared: planted changes are found and named, equal runs are silent."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx import cli
from hdrmx.analysis.compare import compare
from hdrmx.analysis.shift import CANNOT_TELL, FASTER, SLOWER, UNCHANGED, shift
from hdrmx.io.records import write_record
from hdrmx.record import Cost, Counted, DataSet, Machine, Record, Span
from hdrmx.report import comparison as words

FUNCTION = "write (hdrmx/io/mtz.py:60)"


def record(wall: float = 1.0, **changes: object) -> Record:
    counts = {"frames": 300, "decodes": 300, "windows": 12345} | dict(changes.get("counts", {}))
    answers = {"spots": 22330, "cell": (79.1, 79.1, 37.9)} | dict(changes.get("answers", {}))
    cost = Cost(wall_ns=int(wall * 1e9), user_ns=int(0.9 * wall * 1e9), system_ns=int(0.1 * wall * 1e9))
    stage = Span(
        name="find_spots", cost=cost, counts=counts, answers=answers, peak_bytes=changes.get("peak", 300 << 20)
    )
    calls = {FUNCTION: 10} | dict(changes.get("calls", {}))
    return Record(
        threads=1,
        machine=Machine(fingerprint=str(changes.get("machine", "m"))),
        data=DataSet(name="d", identity=str(changes.get("data", "d"))),
        run=Span(name="run", cost=cost, children=(stage,)),
        counted=Counted(
            functions={"find_spots": calls}, instructions={"find_spots": changes.get("instructions", 10**9)}
        ),
    )


def runs(n: int, seed: int, slower: float = 1.0, noise: float = 0.01, **changes: object) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [record(slower * math.exp(noise * rng.standard_normal()), **changes) for _ in range(n)]


def findings(old: list[Record], new: list[Record]) -> list[tuple[str, str, str]]:
    return [(d.kind, d.name, d.verdict) for d in compare(old, new).findings]


def test_equal_runs_are_silent() -> None:
    result = compare(runs(10, 1), runs(10, 2))
    assert result.findings == ()
    assert result.is_comparable
    assert words.verdict(result) in (
        "Nothing got worse.",
        "Answers and counts are equal or better; the times can't be told apart.",
    )


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"counts": {"decodes": 301}}, ("count", "decodes", "more")),
        ({"answers": {"spots": 22329}}, ("answer", "spots", "changed")),
        ({"answers": {"cell": (79.1, 79.1, 37.91)}}, ("answer", "cell", "changed")),
        ({"instructions": 1_010_000_000}, ("instructions", "instructions", "more")),
        ({"calls": {FUNCTION: 100}}, ("calls", FUNCTION, "more")),
        ({"peak": 320 << 20}, ("memory", "peak", "more")),
    ],
)
def test_a_planted_change_is_found_and_nothing_else(changes: dict, wanted: tuple[str, str, str]) -> None:
    assert findings(runs(8, 1), runs(8, 2, **changes)) == [wanted]
    better = compare(runs(8, 2, **changes), runs(8, 1))
    assert bool(better.findings) == (wanted[0] == "answer")


def test_what_is_below_the_floor_is_equal() -> None:
    quiet = {"instructions": 1_000_900_000, "peak": (302 << 20), "answers": {"cell": (79.1 + 1e-9, 79.1, 37.9)}}
    assert findings(runs(8, 1), runs(8, 2, **quiet)) == []


def test_a_slow_down_of_five_percent_is_told_with_its_interval() -> None:
    result = compare(runs(12, 1), runs(12, 2, slower=1.05))
    (wall,) = (d for d in result.findings if d.kind == "wall")
    assert wall.shift.low < 1.05 < wall.shift.high
    assert 0 < wall.shift.detectable < 0.05
    assert "slower" in words.sentence(wall)


def test_other_machines_times_are_not_compared() -> None:
    result = compare(runs(8, 1), runs(8, 2, slower=2.0, machine="other"))
    assert result.findings == ()
    assert not [d for d in result.differences if d.shift is not None]
    assert "machine" in result.doubts[0]


def test_other_data_are_not_compared() -> None:
    result = compare(runs(3, 1), runs(3, 2, data="other"))
    assert not result.is_comparable
    assert result.differences == ()


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=20), st.floats(0.2, 5.0))
@settings(max_examples=50, deadline=None)
def test_a_constant_ratio_is_told_exactly(times: list[float], ratio: float) -> None:
    s = shift(times, [t * ratio for t in times])
    assert s.ratio == pytest.approx(ratio)
    assert s.low == pytest.approx(ratio)
    expected = UNCHANGED if abs(math.log(ratio)) <= math.log(1.02) else (SLOWER if ratio > 1 else FASTER)
    assert s.verdict == expected


def test_intervals_cover_and_alarms_are_rare() -> None:
    rng = np.random.default_rng(4)
    n, covered, alarms = 2000, 0, 0
    for _ in range(n):
        old, new = np.exp(0.05 * rng.standard_normal((2, 10)))
        s = shift(old, new)
        covered += s.low <= 1.0 <= s.high
        alarms += s.verdict in (SLOWER, FASTER)
    assert 0.94 < covered / n < 0.975  # 95 % nominal; ranks are discrete
    assert alarms / n < 0.06


def test_few_pairs_cannot_tell() -> None:
    assert shift([1, 1, 1], [2, 2, 2]).verdict == CANNOT_TELL


def test_the_command_says_it_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, changes in (("old", {}), ("new", {"counts": {"decodes": 600}, "calls": {FUNCTION: 99}})):
        for i, r in enumerate(runs(6, len(side) + 7, **changes)):
            (tmp_path / side / f"run{i}").mkdir(parents=True)
            (tmp_path / side / f"run{i}" / "profile.folded").write_text(f"find_spots;main;f (hdrmx/a.py:1) {100 + i}\n")
            write_record(tmp_path / side / f"run{i}" / "record.json", r)
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("markdown", "junit", "sarif", "html")}
    argv = [str(tmp_path / "old"), str(tmp_path / "new"), *(f"--{kind}={path}" for kind, path in paths.items())]
    assert cli.run(cli.group, "hdrmx", ["compare", *argv]) == 1
    said = capsys.readouterr().out
    assert "decodes more (+100 %): 300 -> 600" in said
    assert max(len(line) for line in said.splitlines() if str(tmp_path) not in line) <= 110
    suite = ElementTree.parse(paths["junit"]).getroot()[0]
    assert suite.get("failures") == "2"
    results = json.loads(paths["sarif"].read_text())["runs"][0]["results"]
    places = [r["locations"][0]["physicalLocation"] for r in results if "locations" in r]
    assert places == [{"artifactLocation": {"uri": "hdrmx/io/mtz.py"}, "region": {"startLine": 60}}]
    assert "**find_spots: decodes more" in paths["markdown"].read_text()
    assert "Differential flame graph" in paths["html"].read_text()
    assert cli.run(cli.group, "hdrmx", ["compare", argv[0], argv[0]]) == 0
    capsys.readouterr()
    assert cli.run(cli.group, "hdrmx", ["compare", argv[0], argv[1], "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["schema"] == "hdrmx-compare/1"


def test_what_cannot_be_compared_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, data in (("a", "x"), ("b", "y")):
        (tmp_path / side).mkdir()
        write_record(tmp_path / side / "record.json", dataclasses.replace(record(data=data)))
    assert cli.run(cli.group, "hdrmx", ["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert cli.run(cli.group, "hdrmx", ["compare", str(tmp_path / "a"), "no-such-revision"]) == 3
    assert cli.run(cli.group, "hdrmx", ["compare", "no-such-revision", "nor-this"]) == 3
    assert "Traceback" not in capsys.readouterr().err
