"""The tree of spans, on a fake meter."""

from __future__ import annotations

import dataclasses
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_meter import FakeMeter
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.measure.process import SINCE_START
from hdrmx.measure.recorder import Recorder, plain
from hdrmx.models import Beam
from hdrmx.observe import Around, no_part, unobserved
from hdrmx.record import PART

# A run as nested lists: a number is work of so many ns, a list is a bracket.
runs = st.recursive(st.integers(0, 1000), lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def do(work: object, recorder: Recorder, meter: FakeMeter) -> None:
    if isinstance(work, int):
        meter.work(work)
        return
    with recorder("span"):
        for part in work:
            do(part, recorder, meter)


def flat(work: object) -> list[int]:
    return [work] if isinstance(work, int) else [n for part in work for n in flat(part)]


@settings(max_examples=60)
@given(runs)
def test_exclusive_times_add_up_to_the_total(work):
    meter = FakeMeter()
    recorder = Recorder(meter)
    do(work, recorder, meter)
    tree = recorder.finish()
    assert tree.cost.wall_ns == sum(flat(work))
    assert sum(span.exclusive_ns for span in tree.walk()) == tree.cost.wall_ns
    assert all(span.exclusive_ns >= 0 for span in tree.walk())


def test_costs_are_differences_within_the_span():
    meter = FakeMeter()
    recorder: Around = Recorder(meter)
    meter.work(5)
    with recorder("read"):
        meter.work(10, user=7)
        meter.bytes += 400
    with recorder("find"):
        meter.work(20, user=40)
        meter.faults += 3
    tree = recorder.finish()
    read, find = tree.children
    assert (read.name, read.start_ns, read.cost.wall_ns, read.cost.user_ns) == ("read", 5, 10, 7)
    assert (read.cost.read_bytes, read.cost.minor_faults) == (400, 0)
    assert (find.start_ns, find.cost.wall_ns, find.cost.cpu_ns, find.cost.minor_faults) == (15, 20, 40, 3)
    assert (tree.cost.wall_ns, tree.cost.user_ns, tree.cost.read_bytes) == (35, 52, 400)
    assert tree.cost.major_faults is None  # never read, so unknown and not 0
    assert meter.is_closed


def test_peak_is_that_within_each_span():
    meter = FakeMeter()
    recorder = Recorder(meter)
    with recorder("outer"):
        meter.work(1, grow=50)
        with recorder("inner"):
            meter.work(1, grow=200, keep=20)
        with recorder("later"):
            meter.work(1, grow=30)
    with recorder("idle"):
        meter.work(1)
    tree = recorder.finish()
    outer, idle = tree.children
    inner, later = outer.children
    assert (outer.peak_bytes, inner.peak_bytes, later.peak_bytes, idle.peak_bytes) == (300, 300, 150, 120)
    assert tree.peak_bytes == 300
    assert (inner.rss_start_bytes, inner.rss_end_bytes) == (100, 120)


def test_peak_that_cannot_be_reset_counts_only_where_it_grew():
    meter = FakeMeter(peak_memory=SINCE_START)
    recorder = Recorder(meter)
    with recorder("first"):
        meter.work(1, grow=200)
    with recorder("second"):
        meter.work(1, grow=100, keep=10)
    with recorder("third"):
        meter.work(1, grow=400)
    first, second, third = recorder.finish().children
    assert (first.peak_bytes, second.peak_bytes, third.peak_bytes) == (300, 110, 510)


def test_missing_readings_stay_missing():
    recorder = Recorder(FakeMeter(peak_bytes=None, rss_bytes=None, user_ns=None))
    with recorder("read"):
        pass
    (read,) = recorder.finish().children
    assert (read.peak_bytes, read.rss_end_bytes, read.cost.user_ns, read.cost.cpu_ns) == (None, None, None, None)


def test_counters_add_up_and_answers_are_kept():
    recorder = Recorder(FakeMeter())
    with recorder("find") as span:
        span.count(frames=2, pixels=np.int64(7))
        span.count(frames=3)
        span.answer(spots=np.int32(4), cell=(1.0, math.nan))
    (find,) = recorder.finish().children
    assert find.counts == {"frames": 5, "pixels": 7}
    assert find.answers == {"spots": 4, "cell": [1.0, None]}


def test_a_stage_that_raises_is_recorded_with_what_it_had():
    meter = FakeMeter()
    recorder = Recorder(meter)

    def fail() -> None:
        with recorder("find") as span, recorder("inner"):
            span.count(frames=3)
            meter.work(10)
            raise ValueError("bad frame")

    with pytest.raises(ValueError, match="bad"):
        fail()
    with recorder("after"):
        meter.work(1)
    find, after = recorder.finish().children
    assert (find.error, find.finished) == ("ValueError: bad frame", True)
    assert (find.counts, find.cost.wall_ns) == ({"frames": 3}, 10)
    assert find.children[0].error == "ValueError: bad frame"
    assert after.error is None


def test_ctrl_c_is_recorded():
    recorder = Recorder(FakeMeter())
    with pytest.raises(KeyboardInterrupt), recorder("find"):
        raise KeyboardInterrupt
    assert recorder.finish().children[0].error == "KeyboardInterrupt"


def test_open_spans_are_cut_off_and_marked():
    meter = FakeMeter()
    recorder = Recorder(meter)
    outer, inner = recorder("outer"), recorder("inner")
    outer.__enter__()
    inner.__enter__()
    meter.work(10)
    tree = recorder.finish()
    (cut,) = tree.children
    assert tree.finished
    assert (cut.finished, cut.cost.wall_ns, cut.children[0].finished) == (False, 10, False)
    outer.__exit__(None, None, None)  # comes too late and changes nothing
    assert recorder.finish() is tree


def test_spans_of_threads_hang_below_the_open_stage():
    meter = FakeMeter()
    recorder = Recorder(meter)
    barrier = threading.Barrier(2)

    def work(_: int) -> None:
        with recorder("decode") as span:
            barrier.wait(timeout=10)
            span.count(frames=1)

    with recorder("find") as find, ThreadPoolExecutor(2) as pool:
        meter.work(10)
        list(pool.map(work, range(2)))
        find.count(pixels=1)
    tree = recorder.finish()
    (stage,) = tree.children
    assert sorted(child.thread for child in stage.children) == [1, 2]
    assert [child.counts for child in stage.children] == [{"frames": 1}] * 2
    assert stage.exclusive_ns == stage.cost.wall_ns == 10  # threads run beside it and take nothing off
    assert stage.count("frames") == 2


def test_counting_from_many_threads_loses_nothing():
    recorder = Recorder(FakeMeter())
    with recorder("find") as span, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [span.count(frames=1) for _ in range(200)], range(8)))
    assert recorder.finish().children[0].counts == {"frames": 1600}


def test_a_span_costs_two_readings_two_clocks_and_one_reset():
    meter = FakeMeter()
    recorder = Recorder(meter)
    before = meter.reads, meter.clocks, meter.resets
    for _ in range(10):
        with recorder("span") as span:
            span.count(frames=1)
    assert (meter.reads - before[0], meter.clocks - before[1], meter.resets - before[2]) == (20, 20, 10)


def test_on_begin_hears_of_each_stage():
    heard: list[str] = []
    recorder = Recorder(FakeMeter(), on_begin=heard.append)
    with recorder("read"), recorder("decode"):
        pass
    assert heard == ["run", "read", "decode"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(1.5), 1.5),
        (math.inf, None),
        (np.array([1, 2]), [1, 2]),
        ({1: (True, None)}, {"1": [True, None]}),
        (range(2), "range(0, 2)"),
    ],
)
def test_plain_values(value, expected):
    assert plain(value) == expected


def test_plain_of_a_dataclass():
    assert plain(Beam(1.0))["wavelength_A"] == 1.0
    assert set(plain(Beam(1.0))) == {f.name for f in dataclasses.fields(Beam)}


def test_parts_add_up_by_thread():
    meter = FakeMeter()
    recorder = Recorder(meter)
    with recorder("stage") as span:
        for ns in (3, 4):
            with span.part("decode"):
                meter.work(ns)
        reads = meter.reads

        def elsewhere() -> None:
            with span.part("decode"):
                meter.work(10)
            with pytest.raises(ZeroDivisionError), span.part("test"):
                _ = 1 // (meter.work(20) or 0)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(elsewhere).result()
        assert meter.reads == reads  # two looks at the clock, and no more
    (stage,) = recorder.finish().children
    assert [(p.name, p.kind, p.thread, p.counts["times"], p.cost.wall_ns) for p in stage.children] == [
        ("decode", PART, 0, 2, 7),
        ("decode", PART, 1, 1, 10),
        ("test", PART, 1, 1, 20),
    ]
    assert stage.exclusive_ns == 37 - 7


def test_a_part_still_open_counts_what_was_done_before():
    meter = FakeMeter()
    recorder = Recorder(meter)
    with recorder("stage") as span:
        with span.part("decode"):
            meter.work(5)
        span.part("decode").__enter__()
        meter.work(50)
    ((part,),) = [stage.children for stage in recorder.finish().children]
    assert (part.counts["times"], part.cost.wall_ns) == (1, 5)


def test_unobserved_parts_do_nothing():
    for part in (no_part, unobserved("stage").__enter__().part):
        with part("decode"), part("decode"):
            pass
