"""Runs of several pipelines beside each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from example_record import cost, example

from hdrmx.record import DataSet, Machine, Record, Span
from hdrmx.report.side_by_side import as_dict, ratio, render, side_by_side, side_by_side_section, write_page

CELLS = [[54.7, 58.5, 67.6, 90, 90, 90]]


def ours() -> Record:
    record = example()
    machine = replace(record.machine, fingerprint="m1")
    return replace(record, machine=machine, data=replace(record.data, identity="d1"))


def theirs(**changes: object) -> Record:
    stages_ = (
        Span(name="import", cost=cost(2000, 1500), peak_bytes=100_000_000),
        Span(name="slice", cost=cost(1000, 500), peak_bytes=200_000_000),
        Span(
            name="find_spots",
            cost=cost(25_000, 20_000),
            answers={"spots": 6580, "cells": [[54.7, 58.5, 67.6, 90, 90, 90]]},
        ),
        Span(name="scale", cost=cost(0, 0), error="ended with exit code 1"),
    )
    run = Span(name="run", cost=cost(28_000, 22_000), children=stages_)
    record = Record(
        pipeline="dials",
        machine=Machine(fingerprint="m1"),
        data=DataSet(name="thaumatin_master.h5", identity="d1"),
        threads=1,
        run=run,
    )
    return replace(record, **changes)


def test_stages_that_do_the_same_stand_in_one_row():
    found = side_by_side([ours(), theirs()])
    assert found.rows == ("prepare", "find_spots", "scale", "write")
    prepare = found.columns[1].stages["prepare"]
    assert (prepare.wall_ns, prepare.cpu_ns, prepare.peak_bytes) == (3_000_000_000, 2_000_000_000, 200_000_000)
    assert found.columns[0].stages["find_spots"].wall_ns == 2_500_000_000  # without compilation
    assert found.columns[1].whole.wall_ns == 28_000_000_000
    assert found.doubts == ()


def test_the_terminal_table():
    text = render([ours(), theirs()], ["out/hdrmx", "out/dials"])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert next(line for line in lines if line.startswith("find_spots")).split() == [
        "find_spots",
        "2.500",
        "25.000",
        "0.1",
    ]
    assert next(line for line in lines if line.startswith("scale")).split()[-3:] == ["0.000", "!", "-"]
    assert any(line.split() == ["spots", "6,570", "6,580"] for line in lines)
    assert lines[-1] == "dials: out/dials"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": DataSet(name="other", identity="d2")}, "read different data: no ratios"),
        ({"data": None}, "isn't known: no ratios"),
        ({"machine": Machine(fingerprint="m2")}, "ran on different machines"),
        ({"machine": Machine()}, "On which machine dials ran isn't known"),
    ],
)
def test_unlike_runs_get_a_sentence_and_no_ratio(changes: dict[str, object], said: str):
    text = render([ours(), theirs(**changes)])
    assert said in " ".join(text.split())
    assert "hdrmx / dials" not in text


def test_threads_that_differ_are_told():
    assert any("compare processor time" in doubt for doubt in side_by_side([ours(), theirs(threads=8)]).doubts)


def test_one_pipeline_twice_is_numbered():
    assert [c.name for c in side_by_side([ours(), ours(), theirs()]).columns] == ["hdrmx 1", "hdrmx 2", "dials"]


def test_jobs_within_a_program_that_runs_others():
    jobs = (Span(name="colspot", cost=cost(3000, 9000)), Span(name="correct", cost=cost(1000, 2000)))
    whole = Span(name="fast_dp", cost=cost(5000, 12_000), children=jobs)
    record = Record(pipeline="fast_dp", run=Span(name="run", cost=cost(5000, 12_000), children=(whole,)))
    (column,) = side_by_side([record]).columns
    assert {name: f.wall_ns / 1e9 for name, f in column.stages.items()} == {"find_spots": 3, "scale": 1, "rest": 1}
    assert column.whole.wall_ns == 5_000_000_000


def test_a_page_with_links(tmp_path: Path):
    for name in ("hdrmx", "dials"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").touch()
    path = write_page(tmp_path, [ours(), theirs()], [tmp_path / "hdrmx", tmp_path / "dials"])
    text = path.read_text()
    assert 'href="dials/report.html"' in text
    assert "Side by side" in text
    assert text == write_page(tmp_path, [ours(), theirs()], [tmp_path / "hdrmx", tmp_path / "dials"]).read_text()


def test_what_comes_from_outside_is_escaped():
    record = theirs(pipeline="<b>x</b>", data=DataSet(name="<i>", identity="d1"))
    body = side_by_side_section([ours(), record]).body
    assert "<b>x" not in body


def test_values_for_scripts():
    values = as_dict([ours(), theirs()])
    assert values["stages"]["find_spots"]["dials"]["wall_s"] == 25.0
    assert values["stages"]["write"]["dials"] is None
    assert values["answers"]["dials"]["spots"] == 6580


def test_ratios():
    assert ratio(1, 4) == 0.25
    assert ratio(None, 4) is ratio(1, 0) is ratio(0, 1) is None
    with pytest.raises(ValueError, match="nothing to compare"):
        side_by_side([])
