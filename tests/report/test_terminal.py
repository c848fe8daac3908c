"""The table for a terminal, from a made-up record, compared with a stored text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from example_record import cost, example

from hdrmx.io.records import decode, encode
from hdrmx.record import Cost, Doubt, Record, Span
from hdrmx.report.terminal import render
from hdrmx.report.words import DOUBTS, doubt_text, findings

STORED = Path(__file__).parent / "example_table.txt"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_the_table_is_as_stored():
    assert render(example(), folder="hdrmx-profile-thaumatin") == STORED.read_text(encoding="utf-8")


def test_the_record_alone_draws_the_table():
    assert render(decode(encode(example()))) == render(example())


@pytest.mark.parametrize("width", [80, 100, 250])
def test_the_table_keeps_to_its_width(width: int):
    limit = min(width, 100)
    assert max(len(line) for line in render(example(), width=width).splitlines()) <= limit


def test_colour_adds_nothing_but_colour():
    plain, coloured = render(example()), render(example(), colour=True)
    assert not ANSI.search(plain)
    assert "\x1b[31mfind_spots" in coloured  # the largest share is red
    assert [line.rstrip() for line in ANSI.sub("", coloured).splitlines()] == plain.splitlines()


def test_an_empty_record_can_be_drawn():
    text = render(Record())
    assert "whole run" in text
    assert "nan" not in text.lower()


def test_what_is_missing_is_a_dash_and_not_zero():
    run = Span(name="run", cost=Cost(wall_ns=10**9), children=(Span(name="read", cost=Cost(wall_ns=10**9)),))
    (line,) = [line for line in render(Record(run=run)).splitlines() if line.startswith("read  ")]
    assert line.split() == ["read", "1.000", "-", "-", "100.0%", "-", "-", "-", "-", "-"]


def test_findings_worst_first():
    texts = [f.text for f in findings(example())]
    assert texts[0].startswith("find_spots decodes each frame 1.50 times")
    assert texts[-1].startswith("find_spots takes 93% of the pipeline's 2.70 s")


def test_an_interrupted_run_says_so_first():
    find = Span(name="find_spots", error="KeyboardInterrupt", cost=cost(900, 900), counts={"frames": 5})
    run = Span(name="run", cost=cost(1000, 950), children=(find,))
    record = Record(status="interrupted", run=run, doubts=(Doubt(kind="stolen_time", numbers={"share": 0.2}),))
    first, second, *_ = [f.text for f in findings(record)]
    assert first == "The run was interrupted in find_spots after 1.00 s. What was measured until then is below."
    assert second.startswith("Timings are open to doubt: the hypervisor gave 20.0%")
    assert "find_spots !" in render(record)


def test_a_failed_run_names_its_error():
    find = Span(name="find_spots", error="BadFrame: x.h5: frame 3: cut short", cost=cost(10, 10))
    record = Record(status="failed", run=Span(name="run", cost=cost(20, 20), children=(find,)))
    assert "failed in find_spots after 0.02 s: BadFrame: x.h5: frame 3: cut short" in findings(record)[0].text


def test_compilation_in_a_stage_shows_as_compilation():
    table = render(example()).partition("\nwork ")[0]
    lines = {line.split("  ")[0].strip(): line.split() for line in table.splitlines()}
    assert lines["compile kernels"][2] == "1.240"  # 1.19 s of its own and 0.05 s from find_spots
    assert lines["find_spots"][1] == "2.500"
    without = replace(example().run, children=example().run.children[2:])
    assert "compile kernels" in render(replace(example(), run=without))


@pytest.mark.parametrize("kind", DOUBTS)
def test_every_doubt_has_words_even_without_its_numbers(kind: str):
    assert doubt_text(Doubt(kind=kind)).count(": ") >= 1
