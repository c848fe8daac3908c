"""Readings of the real process, and what happens where /proc lacks things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hdrmx.measure.process import SINCE_START, WITHIN_SPAN, ProcessMeter, Reading, cost_between
from hdrmx.measure.recorder import Recorder

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_differences_and_what_is_missing():
    cost = cost_between(Reading(wall_ns=5, user_ns=1, read_calls=3), Reading(wall_ns=9, user_ns=4, write_calls=3))
    assert (cost.wall_ns, cost.user_ns, cost.read_calls, cost.write_calls) == (4, 3, None, None)


def test_every_cost_has_a_reading():
    assert set(cost_between(Reading(wall_ns=0), Reading(wall_ns=0)).__dataclass_fields__) <= set(Reading.__slots__)


@linux
def test_reads_this_process(tmp_path: Path):
    meter = ProcessMeter()
    assert {d.kind for d in meter.doubts()} <= {"peak_since_start", "no_io_counters"}
    before = meter.read()
    (tmp_path / "file").write_bytes(bytes(100_000))
    (tmp_path / "file").read_bytes()
    array = np.ones(8_000_000)  # 64 MB, touched; smaller ones may come from memory that was freed before
    after = meter.read()
    doubts = meter.doubts()
    meter.close()
    assert meter.doubts() == doubts  # what was measured is not doubted because it's over
    cost = cost_between(before, after)
    assert cost.wall_ns > 0
    assert cost.minor_faults is not None
    assert after.rss_bytes - before.rss_bytes > 0.8 * array.nbytes
    if cost.read_bytes is not None:
        assert cost.read_bytes >= 100_000
        assert cost.write_bytes >= 100_000


@linux
def test_peak_within_a_span_falls_again_afterwards():
    meter = ProcessMeter()
    if meter.peak_memory != WITHIN_SPAN:
        pytest.skip("/proc/self/clear_refs can't be written here")
    recorder = Recorder(meter)
    with recorder("large"):
        size = np.ones(8_000_000).nbytes
    with recorder("small"):
        pass
    large, small = recorder.finish().children
    assert large.peak_bytes - small.peak_bytes > 0.8 * size


def test_a_system_without_proc_degrades_with_sentences(tmp_path: Path):
    meter = ProcessMeter(proc=tmp_path)
    reading = meter.read()
    meter.reset_peak()
    assert meter.peak_memory == SINCE_START
    assert {d.kind for d in meter.doubts()} >= {"no_io_counters", "peak_since_start"}
    assert reading.read_bytes is None
    assert reading.rss_bytes > 0
    assert reading.peak_bytes > 0
    meter.close()
    assert {d.kind for d in meter.doubts()} >= {"no_io_counters", "peak_since_start"}


def test_empty_files_in_proc_count_as_missing(tmp_path: Path):
    for name in ("status", "io"):
        (tmp_path / name).write_bytes(b"")
    meter = ProcessMeter(proc=tmp_path)
    assert meter.read().read_bytes is None
    meter.close()


@linux
def test_handles_are_given_back():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Recorder().finish()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_science_never_imports_measurement():
    """Importing the pipeline leaves `hdrmx.measure` alone."""
    code = "import sys, hdrmx.pipeline; sys.exit('hdrmx.measure' in sys.modules or 'pyinstrument' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@linux
def test_children_count_while_they_run_and_after():
    spin = "import sys\nfor i in range(3_000_000): pass\nprint('done', flush=True)\nsys.stdin.read()"
    meter = ProcessMeter()
    before = meter.read().children_ns
    child = subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"done\n"
    running = meter.read().children_ns
    child.communicate()
    ended = meter.read().children_ns
    meter.close()
    assert 0 <= before < running <= ended
