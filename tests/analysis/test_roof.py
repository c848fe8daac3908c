"""What binds a stage, and what would be gained: made-up stages of which the answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hdrmx.analysis.roof import (
    ARITHMETIC,
    DECODING,
    DISK,
    FAULTS,
    INTERPRETER,
    MEMORY,
    PARSING,
    WAITING,
    answer_clock,
    answer_memory,
    roofs,
)
from hdrmx.analysis.what_if import savings
from hdrmx.analysis.work_done import work_of
from hdrmx.record import Cost, Counted, DataSet, Limits, Record, Span

LIMITS = Limits(
    read_bytes_s={"L1": 100e9, "DRAM": 10e9, "DRAM, all cores": 15e9},
    int_ops_s=50e9,
    decode_px_s={"frame, 0.02 counts/px": 4e9, "events, 0.02 counts/px": 4e9, "frame, 1 counts/px": 2e9},
    decode_bits_px={"0.02 counts/px": 0.5, "1 counts/px": 2.5},
    decode_layout_px_s=10e9,
    disk_read_bytes_s=1e9,
    fault_ns=1000.0,
)


def stage(
    wall_s: float, cpu_s: float, name: str = "work", sampled: dict[str, float] | None = None, **cost: int
) -> Span:
    times = {key if key == "samples" else f"{key}_ns": round(s * 1e9) for key, s in (sampled or {}).items()}
    spent = Cost(wall_ns=round(wall_s * 1e9), user_ns=round(cpu_s * 1e9), system_ns=0, children_ns=0, **cost)
    return Span(name=name, cost=spent, sampled=times)


def record(*spans: Span, threads: int = 1, limits: Limits | None = LIMITS) -> Record:
    wall = sum(s.cost.wall_ns for s in spans)
    run = Span(name="run", cost=Cost(wall_ns=wall), children=spans)
    return Record(threads=threads, run=run, limits=limits, data=DataSet(dtype="uint16"))


def frames(span: Span, pixels: int, **counts: int) -> Span:
    return replace(span, counts={"frames": 10, "decodes": 10, "pixels": pixels, "bytes_in": pixels // 4, **counts})


def bound(span: Span, **options: object) -> str:
    return roofs(record(span, **options))[0].bound


def test_each_limit_binds_where_it_explains_the_time():
    gigapixel = 1_000_000_000
    assert bound(stage(1.0, 0.2)) == WAITING
    assert bound(stage(1.0, 0.2, disk_read_bytes=700_000_000)) == DISK
    assert bound(stage(1.0, 1.0, minor_faults=800_000)) == FAULTS
    assert bound(stage(1.0, 1.0, sampled={"python": 0.7, "kernels": 0.3})) == INTERPRETER
    assert bound(stage(1.0, 1.0, sampled={"python": 0.1, "kernels": 0.9})) == ARITHMETIC
    assert (
        bound(frames(stage(0.6, 0.6, "find_spots"), gigapixel)) == PARSING
    )  # 0.5 s at 2 Gpixel/s, 4/5 of it the parse
    assert bound(frames(stage(0.45, 0.45, "find_spots"), gigapixel), limits=replace(LIMITS, decode_px_s={})) == MEMORY
    even = replace(LIMITS, decode_layout_px_s=2.2e9)
    assert bound(frames(stage(0.6, 0.6, "find_spots"), gigapixel), limits=even) == DECODING


def test_short_stages_are_not_judged():
    roof = roofs(record(stage(0.001, 0.001)))[0]
    assert (roof.bound, roof.sentence) == ("", "")


def test_what_neighbours_took_is_taken_off_and_told():
    roof = roofs(record(stage(1.0, 0.3, sampled={"kernels": 0.3, "crowded": 0.7})))[0]
    assert roof.bound == ARITHMETIC
    assert roof.own_s == pytest.approx(0.3)
    assert roof.idle == pytest.approx(0)
    assert "neighbours had the processors for 70%" in roof.sentence


def test_standing_still_among_many_neighbours_is_not_judged():
    roof = roofs(record(stage(1.0, 0.1, sampled={"kernels": 0.1, "crowded": 0.5})))[0]
    assert roof.bound == ""
    assert roof.sentence == "What binds work can't be told: neighbours had the processors for 83% of its threads' time."


def test_bytes_are_those_that_must_move():
    span = frames(
        stage(1, 1, "find_spots", read_bytes=250, minor_faults=2), 1000, dense_frames=5, sparse_frames=5, events=7
    )
    assert work_of(span, "uint16").frame_bytes == 250 + 2 * 500 * 2 + 16 * 7
    assert work_of(span, "uint16").bytes_moved == 250 + 2000 + 112 + 2 * 4096  # compressed bytes once
    assert work_of(span, "uint32").frame_bytes == 250 + 2 * 500 * 4 + 16 * 7
    assert work_of(stage(1, 1), "uint16").bytes_moved is None


def test_counted_instructions_stand_for_operations_in_proportion_to_frames():
    span = frames(stage(1, 1, "find_spots"), 1000)
    work = work_of(span, "uint16", Counted(frames=2, instructions={"find_spots": 600}))
    assert (work.operations, work.counted) == (3000, True)


def test_questions_are_answered_with_numbers():
    roof = roofs(record(frames(stage(1.0, 1.0, "find_spots"), 10_000_000)))[0]
    assert answer_memory(roof).startswith("Is find_spots limited by memory bandwidth? No: the 0.04 GB")
    assert answer_clock(roof).startswith("Does find_spots want a faster clock? Yes")
    assert answer_memory(roofs(record(stage(1, 1)))[0]) is None


def test_without_limits_the_samples_alone_must_do():
    roof = roofs(record(stage(1.0, 1.0, sampled={"python": 0.9, "kernels": 0.1}), limits=None))[0]
    assert (roof.bound, roof.shares) == (INTERPRETER, {})


def test_stages_twice_as_fast_save_half_their_time():
    found = savings(record(stage(3.0, 3.0, "a"), stage(1.0, 1.0, "b")))
    exact = {s.change: s for s in found if s.exact}
    assert list(exact) == ["a twice as fast", "b twice as fast"]
    assert exact["a twice as fast"].seconds == pytest.approx(1.5)
    assert exact["a twice as fast"].share == pytest.approx(0.375)
    assert exact["a twice as fast"].total_s == pytest.approx(2.5)


def test_cores_memory_disk_and_clock():
    work = frames(stage(1.0, 1.9, "find_spots", {"kernels": 1.9, "workers": 1.6}, disk_read_bytes=10**8), 10**9)
    found = {s.change: s for s in savings(record(work, threads=2)) if not s.exact}
    assert found["4 cores instead of 2"].seconds == pytest.approx(0.4)
    moved = work_of(work, "uint16").bytes_moved
    assert found["memory with 30 GB/s instead of 15"].seconds == pytest.approx(moved / 15e9 / 2)
    assert found["a disk with 2,000 MB/s, twice as many"].seconds == pytest.approx(0.05)
    assert 0 < found["a clock 1.5 times as fast"].seconds < 1 / 3
    assert all(0 <= s.share <= 1 for s in found.values())


def test_nothing_measured_nothing_gained():
    assert savings(Record()) == []
    assert roofs(Record()) == []
