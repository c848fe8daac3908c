"""Records survive the round trip, come whole or not at all, and open across versions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.errors import InputError
from hdrmx.io.records import FILE_NAME, decode, encode, read_record, write_record
from hdrmx.record import SCHEMA, Cost, DataSet, Doubt, Machine, Record, Software, Span, Surroundings

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(0, 2**62)
maybe = st.none() | integers
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
costs = st.builds(Cost, wall_ns=integers, user_ns=maybe, system_ns=maybe, read_bytes=maybe)


def spans(children: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(
        Span,
        name=text,
        thread=st.integers(0, 9),
        start_ns=integers,
        finished=st.booleans(),
        error=st.none() | text,
        cost=costs,
        peak_bytes=maybe,
        counts=st.dictionaries(text, integers, max_size=3),
        answers=st.dictionaries(text, values, max_size=3),
        children=st.lists(children, max_size=2).map(tuple),
    )


records = st.builds(
    Record,
    created=text,
    status=st.sampled_from(["complete", "failed", "interrupted"]),
    command=st.lists(text, max_size=3).map(tuple),
    threads=st.none() | st.integers(1, 64),
    machine=st.builds(Machine, cpu=st.none() | text, cpu_flags=st.lists(text, max_size=2).map(tuple), smt=st.none()),
    software=st.builds(Software, packages=st.dictionaries(text, text, max_size=2)),
    data=st.none() | st.builds(DataSet, name=text, shape=st.none() | st.tuples(integers, integers)),
    params=st.dictionaries(text, values, max_size=3),
    before=st.builds(Surroundings, load_1min=st.none() | numbers),
    run=spans(spans(st.builds(Span, name=text))),
    doubts=st.lists(st.builds(Doubt, kind=text, numbers=st.dictionaries(text, values, max_size=2)), max_size=2).map(
        tuple
    ),
)


@settings(max_examples=60, deadline=None)
@given(records)
def test_round_trip(record: Record):
    assert decode(encode(record)) == record


def test_files(tmp_path: Path):
    record = Record(created="2025-01-01T00:00:00Z", run=Span(name="run", counts={"frames": 3}))
    write_record(tmp_path / FILE_NAME, record)
    assert read_record(tmp_path) == read_record(tmp_path / FILE_NAME) == record
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema"] == SCHEMA


def test_fields_of_a_later_hdrmx_are_passed_over():
    content = json.loads(encode(Record(run=Span(name="run", children=(Span(name="find"),)))))
    content["novelty"] = {"a": 1}
    content["run"]["children"][0]["energy_uJ"] = 5
    assert decode(json.dumps(content).encode()).run.children[0].name == "find"


def test_fields_that_were_not_there_yet_have_their_defaults():
    old = {"schema": SCHEMA, "run": {"name": "run", "cost": {"wall_ns": 5}, "children": [{"name": "find"}]}}
    record = decode(json.dumps(old).encode())
    assert (record.run.cost.wall_ns, record.run.cost.user_ns) == (5, None)
    assert record.run.children[0].counts == {}
    assert (record.status, record.data) == ("complete", None)


def test_a_missing_number_is_null_and_not_zero():
    content = json.loads(encode(Record(run=Span(name="run", answers={"cc_half": math.nan}))))
    assert content["run"]["answers"]["cc_half"] is None
    assert content["run"]["cost"]["user_ns"] is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no JSON"),
        (b'{"schema": "hdrmx-rec', "no JSON"),
        (b"[]", "no record of hdrmx"),
        (b'{"schema": 3}', "no record of hdrmx"),
        (b'{"schema": "other/1"}', "no record of hdrmx"),
        (b'{"schema": "hdrmx-record/999"}', "newer"),
        (b'{"schema": "hdrmx-record/1", "run": {"name": 5}}', "damaged"),
        (b"\xff\xfe\x00", "no JSON"),
    ],
)
def test_what_is_no_record_is_refused_with_a_sentence(content: bytes, says: str):
    with pytest.raises(InputError, match=says):
        decode(content, where="file")


def test_a_missing_record_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"record\.json"):
        read_record(tmp_path)
