"""Counting exactly: calls, client requests, the processor's counters, and callgrind's files."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hdrmx.measure.calls import CallCounter
from hdrmx.measure.instructions import SOFTWARE, TASK_CLOCK, PerfCounter, Valgrind, read_callgrind


def leaf() -> int:
    return 1


def branch() -> int:
    return leaf() + leaf()


def test_calls_are_exact():
    counter = CallCounter()
    counts = []
    for _ in range(2):
        counter.start()
        for _ in range(7):
            branch()
        counts.append(counter.stop())
    assert counts[0] == counts[1]
    by_name = {name.split(" ")[0]: n for name, n in counts[0].items()}
    assert (by_name["branch"], by_name["leaf"]) == (7, 14)
    assert next(iter(counts[0])).startswith("leaf (measure/test_instructions.py:")
    branch()
    counter.start()
    assert "branch" not in "".join(counter.stop())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="client requests are known for x86-64 alone")
def test_client_requests_do_nothing_outside_of_valgrind():
    valgrind = Valgrind()
    assert not valgrind.is_here
    valgrind.start()
    valgrind.stop("nothing")


def test_other_processors_are_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    with pytest.raises(RuntimeError, match="abacus"):
        Valgrind()
    with pytest.raises(OSError, match="abacus"):
        PerfCounter()


def test_events_are_counted_where_the_system_lets_us():
    try:
        counter = PerfCounter(SOFTWARE, TASK_CLOCK)
    except OSError as error:
        pytest.skip(f"no perf events here: {error}")
    counter.start()
    total = sum(range(200_000))
    first = counter.stop()
    assert total > 0
    assert first > 0
    counter.start()
    assert counter.stop() < first  # begins from zero
    counter.close()


DUMP = """# callgrind format
version: 1
desc: Trigger: Client Request: {name}
positions: line
events: Ir
ob=(1) /usr/lib/libpython3.11.so.1.0
fl=(1) ceval.c
fn=(1) eval
10 100
+2 50
cob=(2) /x/libnumpy.so
cfn=(2) add
calls=3 7
* 4000
fi=(2) other.h
* 5
ob=(2)
fn=(2)
7 4000
ob=(3) ???
fn=(3) 0x00
0 30000

totals: 34155
"""


def test_callgrind_dumps_are_added_by_stage_and_library(tmp_path: Path):
    for i, name in enumerate(["find_spots", "index", "find_spots"], 1):
        (tmp_path / f"cg.{i}").write_text(DUMP.format(name=name))
    (tmp_path / "cg").write_text("desc: Trigger: Program termination\nob=(1) /bin/x\nfn=(1) main\n1 5\n")
    found = read_callgrind(tmp_path, "cg")
    python, numpy = "/usr/lib/libpython3.11.so.1.0", "/x/libnumpy.so"
    assert found["index"] == {python: 155, numpy: 4000, "???": 30000}
    assert found["find_spots"] == {name: 2 * n for name, n in found["index"].items()}
    assert set(found) == {"find_spots", "index"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_under_valgrind_a_loop_has_its_instructions(tmp_path: Path):
    program = (
        "from hdrmx.measure.instructions import Valgrind\n"
        "v = Valgrind()\nassert v.is_here\n"
        "for name, n in (('small', 1000), ('large', 11000)):\n"
        "    v.start()\n    sum(i for i in range(n))\n    v.stop(name)\n"
    )
    counts = []
    for name in ("a", "b"):
        out = tmp_path / name
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", "-q"]
        subprocess.run([*command, sys.executable, "-c", program], check=True, capture_output=True)
        found = read_callgrind(tmp_path, name)
        counts.append({stage: sum(parts.values()) for stage, parts in found.items()})
    each = (counts[0]["large"] - counts[0]["small"]) / 10_000
    assert 20 < each < 2000  # instructions of the interpreter for one turn
    assert counts[0]["large"] == pytest.approx(counts[1]["large"], rel=2e-3)
