"""Samples of the call stack: kernels named, stages and threads apart, sums that add up, and what is written of them."""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest

from hdrmx.measure.sample_files import (
    FOLDED,
    SPEEDSCOPE,
    folded,
    pyinstrument_page,
    read_folded,
    speedscope,
    write_samples,
)
from hdrmx.measure.sampling import CROWDED, IDLE, WAITING, Piece, Sampler
from hdrmx.measure.stacks import KERNEL, Call, Stacks, short_file
from hdrmx.measure.watch import Watcher
from hdrmx.record import Cost, Span


def spin_here(seconds: float) -> int:
    end, n = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        n += len(str(n))
    return n


@numba.njit(nogil=True)
def kernel_of_this_test(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += np.sqrt(i)
    return total


def calls_the_kernel(n: int) -> None:
    kernel_of_this_test(n)


def save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def run_of(seconds: float, *names: str) -> Span:
    each = round(seconds * 1e9 / len(names))
    children = tuple(Span(name=name, start_ns=i * each, cost=Cost(wall_ns=each)) for i, name in enumerate(names))
    return Span(name="run", cost=Cost(wall_ns=each * len(names)), children=children)


@pytest.fixture(scope="module")
def sampled() -> tuple[Sampler, int, Span]:
    """A thread in a kernel beside the main one, which spins, then waits."""
    kernel_of_this_test(1)
    origin = time.perf_counter_ns()
    with Sampler(interval_s=0.002) as sampler:
        worker = threading.Thread(target=calls_the_kernel, args=(60_000_000,), name="worker")
        worker.start()
        spin_here(0.1)
        turn = time.perf_counter_ns()
        threading.Event().wait(0.08)
        worker.join()
    end = time.perf_counter_ns()
    first = Span(name="spin", cost=Cost(wall_ns=turn - origin))
    second = Span(name="rest", start_ns=turn - origin, cost=Cost(wall_ns=end - turn))
    return sampler, origin, Span(name="run", cost=Cost(wall_ns=end - origin), children=(first, second))


def test_kernels_are_named_below_their_callers(sampled: tuple[Sampler, int, Span]):
    sampler, origin, run = sampled
    pieces = [p for p in sampler.pieces(run, origin) if p.thread == "worker" and p.at == KERNEL]
    assert pieces
    assert {p.calls[-1].name for p in pieces} == {"kernel_of_this_test [kernel]"}
    assert {p.calls[-2].name for p in pieces} == {"calls_the_kernel"}


def test_stages_and_waiting_are_told_apart(sampled: tuple[Sampler, int, Span]):
    sampler, origin, run = sampled
    own = [p for p in sampler.pieces(run, origin) if p.thread == "main"]
    spinning = sum(p.ns for p in own if any(c.name == "spin_here" for c in p.calls) and p.at not in IDLE)
    assert spinning > 0
    resting = [p for p in own if p.stage == "rest"]
    assert sum(p.ns for p in resting if p.at == WAITING) > 0.5 * sum(p.ns for p in resting)


def test_the_tree_gets_sums_that_are_the_pieces(sampled: tuple[Sampler, int, Span]):
    sampler, origin, run = sampled
    summed = sampler.summed(run, origin)
    pieces = list(sampler.pieces(run, origin))
    for stage in summed.children:
        times = {
            name: ns
            for name, ns in stage.sampled.items()
            if name not in ("samples", "workers_ns") and "pressure" not in name
        }
        assert sum(times.values()) == sum(p.ns for p in pieces if p.stage == stage.name)
    assert summed.children[0].sampled["workers_ns"] >= summed.children[0].sampled["kernels_ns"] > 0
    assert "waiting_ns" in summed.children[1].sampled


def test_the_timeline_holds_memory_and_threads(sampled: tuple[Sampler, int, Span]):
    sampler, origin, _ = sampled
    line = sampler.timeline(origin, bins=20)
    assert len(line.edges_ns) == len(line.rss_bytes) + 1 == len(line.cpu_ns) + 1 == 21
    assert list(line.edges_ns) == sorted(line.edges_ns)
    assert {"main", "worker"} <= {thread.name for thread in line.threads}
    assert all(b is None or b > 1e6 for b in line.rss_bytes)
    for thread in line.threads:
        assert len(thread.busy_ns) == 20
        assert min(thread.busy_ns) >= 0


def test_without_the_kernels_counts_the_look_of_the_stack_must_do(tmp_path: Path):
    origin = time.perf_counter_ns()
    with Sampler(watcher=Watcher(0.002, proc=tmp_path)) as sampler:
        spin_here(0.04)
        threading.Event().wait(0.04)
    run = run_of(1.0, "all")
    assert [doubt.kind for doubt in sampler.doubts()] == ["no_thread_times"]
    main = [p for p in sampler.pieces(run, origin) if p.thread == "main"]
    assert {p.at for p in main if p.calls[-1].file == "threading.py"} <= {WAITING}
    assert any(p.at != WAITING for p in main)
    assert set(sampler.timeline(origin).rss_bytes) == {None}


def test_pressure_is_known_by_stage(tmp_path: Path):
    def press(total: int) -> None:
        for name in ("cpu", "io", "memory"):
            (tmp_path / name).write_text(f"some avg10=0.00 total={total}\nfull avg10=0.00 total=5\n")

    press(1000)
    origin = time.perf_counter_ns()
    watcher = Watcher(0.001, pressure=tmp_path)
    with Sampler(watcher=watcher) as sampler:
        while len(watcher.samples.pressure_ns) < 3:
            spin_here(0.005)
        turn = time.perf_counter_ns()
        press(9000)
        n = len(watcher.samples.pressure_ns)
        while len(watcher.samples.pressure_ns) < n + 3:
            spin_here(0.005)
    end = time.perf_counter_ns()
    first, second = Span(name="a", cost=Cost(wall_ns=turn - origin)), Span(name="b", start_ns=turn - origin)
    second = replace(second, cost=Cost(wall_ns=end - turn))
    run = Span(name="run", cost=Cost(wall_ns=end - origin), children=(first, second))
    a, b = (stage.sampled for stage in sampler.summed(run, origin).children)
    assert a["pressure_cpu_ns"] + b["pressure_cpu_ns"] == pytest.approx(8_000_000, abs=2)
    assert b["pressure_io_ns"] > 0
    no_pressure = Sampler(watcher=Watcher(0.001, pressure=tmp_path / "none"))
    with no_pressure:
        spin_here(0.01)
    assert "pressure" not in str([stage.sampled for stage in no_pressure.summed(run, origin).children])


def test_long_runs_are_looked_at_less_often(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hdrmx.measure.watch.FEW_TICKS", 3)
    with Sampler(interval_s=0.001) as sampler:
        while sampler.n_samples < 8:
            spin_here(0.01)
    assert sampler.interval_ns() >= 2_000_000


def test_stops_when_the_code_raises():
    before = threading.active_count()
    with pytest.raises(ValueError, match="inside"), Sampler():
        raise ValueError("inside")
    assert threading.active_count() == before


def piece(stage: str, at: str, ns: int, *names: str, thread: str = "main") -> Piece:
    return Piece(stage, thread, tuple(Call(name, "f.py", 1) for name in names), at, 0, ns)


MADE_UP = [
    piece("find", "python", 3_000_000, "a;b", "c"),
    piece("find", KERNEL, 2_000_000, "a;b", "c", "k [kernel]"),
    piece("find", WAITING, 9_000_000, "a;b", "c"),
    piece("find", CROWDED, 1_000_000, "a;b"),
    piece("index", "python", 4_000_000, "a;b", thread="worker"),
]


def test_folded_stacks_there_and_back():
    text = folded(MADE_UP)
    assert text == "".join(sorted(text.splitlines(keepends=True)))
    stacks = read_folded(text + "no number here\n")
    assert sum(stacks.values()) == sum(p.ns for p in MADE_UP) // 1000
    assert stacks["find", "main", "a,b (f.py:1)", "c (f.py:1)", "[waiting]"] == 9000
    assert stacks["find", "main", "a,b (f.py:1)", "[no processor free]"] == 1000


def test_speedscope_has_a_profile_for_each_stage_and_thread():
    content = json.loads(speedscope(MADE_UP, "name"))
    assert content["$schema"].startswith("https://www.speedscope.app")
    assert [p["name"] for p in content["profiles"]] == ["find, main", "index, worker"]
    names = [frame["name"] for frame in content["shared"]["frames"]]
    for profile in content["profiles"]:
        assert len(profile["samples"]) == len(profile["weights"])
        assert profile["endValue"] == sum(profile["weights"])
        assert all(0 <= n < len(names) for stack in profile["samples"] for n in stack)
    assert "k [kernel]" in names


def test_a_page_for_each_stage_that_needs_no_network(tmp_path: Path):
    files = write_samples(tmp_path, MADE_UP, save, "name")
    assert files["folded"] == FOLDED
    assert files["speedscope"] == SPEEDSCOPE
    assert {kind for kind in files if kind.startswith("pyinstrument")} == {"pyinstrument find", "pyinstrument index"}
    for name in files.values():
        assert (tmp_path / name).is_file()
    page = (tmp_path / files["pyinstrument find"]).read_text(encoding="utf-8")
    assert "k [kernel]" in page
    assert "googleapis" not in page


def test_many_samples_are_thinned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hdrmx.measure.sample_files.MOST_SAMPLES", 5)
    assert "k [kernel]" in pyinstrument_page(MADE_UP[:2] * 20)


def test_nothing_sampled_nothing_written(tmp_path: Path):
    assert write_samples(tmp_path, [piece("find", WAITING, 5, "a")], save, "name") == {}
    assert list(tmp_path.iterdir()) == []


def test_files_are_named_from_their_package_on():
    assert short_file("/x/lib/python3.11/site-packages/numpy/linalg/_linalg.py") == "numpy/linalg/_linalg.py"
    assert short_file(threading.__file__) == "threading.py"
    assert short_file("/home/u/hdrmx/hdrmx/stages/index.py") == "hdrmx/stages/index.py"
    assert short_file("/a/b/c/mine.py") == "c/mine.py"


def test_equal_stacks_are_kept_once():
    stacks, numbers = Stacks(), set()
    for _ in range(3):
        numbers.add(stacks.number(sys._getframe()))
    assert len(numbers) == 1
    assert stacks.stack(numbers.pop()).calls[-1].name == "test_equal_stacks_are_kept_once"
