"""The public interface for programs of others: what it costs when off, what it records when on."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hdrmx import cli
from hdrmx.adapters.attach import attached
from hdrmx.errors import InputError
from hdrmx.io.records import read_record
from hdrmx.measure import answer, count, measured, recording, span, spans
from hdrmx.record import Span, stages

EXAMPLE = Path(__file__).parents[2] / "examples" / "measure_your_own.py"


@measured
def doubled(x: int) -> int:
    """Documented."""
    return 2 * x


def instructions(function: Any, *args: Any) -> int:
    """How many of the interpreter's instructions a call executes, beside those of the function's own frame."""
    n = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal n
        frame.f_trace_opcodes = True
        n += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return n


def test_off_it_costs_a_few_instructions():
    """About 10 ns each; a microsecond is some hundred. A name that nobody knows and large counts cost no more."""

    def bracket() -> None:
        with span("a"):
            pass

    def counter() -> None:
        count(frames=1, pixels=10**9)

    def nothing() -> None:
        pass

    bare = instructions(nothing)
    for function, most in ((bracket, 45), (counter, 25), (lambda: doubled(1), 35), (lambda: answer(cell=(1, 2)), 25)):
        assert 0 < instructions(function) - bare <= most


def test_off_nothing_is_kept_and_results_are_the_same():
    with span("a") as inner:
        inner.count(frames=1)
        inner.answer(spots=1)
    assert doubled(4) == 8
    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Documented.")


def test_on_brackets_nest_and_count(tmp_path: Path):
    with recording(tmp_path, "mine", params={"a": 1}, data="set 1"):
        with span("read") as read:
            read.count(frames=2)
            assert doubled(3) == 6
            count(frames=1)
        answer(result=42)
    record = read_record(tmp_path)
    assert (record.pipeline, record.status, record.params, record.data.name) == ("mine", "complete", {"a": 1}, "set 1")
    (read_span,) = stages(record.run)
    assert (read_span.name, read_span.counts, read_span.children[0].name) == ("read", {"frames": 3}, "doubled")
    assert record.run.answers == {"result": 42}
    assert spans.use(None) is None


def exclusive(span_: Span) -> int:
    return sum(s.exclusive_ns for s in span_.walk() if s.thread == span_.thread)


def test_exclusive_times_add_up(tmp_path: Path):
    with recording(tmp_path), span("a"):
        for i in range(5):
            with span("b"):
                doubled(i)
    run = read_record(tmp_path).run
    assert exclusive(run) == run.cost.wall_ns


def test_threads_hang_below_the_one_that_records(tmp_path: Path):
    def work() -> None:
        with span("in thread"):
            count(pieces=1)

    with recording(tmp_path), span("all"):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (outer,) = stages(read_record(tmp_path).run)
    assert [s.name for s in outer.children] == ["in thread"] * 4
    assert outer.count("pieces") == 4
    assert outer.exclusive_ns == outer.cost.wall_ns


def test_what_raises_is_recorded_with_what_it_had(tmp_path: Path):
    def fails() -> None:
        with recording(tmp_path), span("a") as a:
            a.count(frames=3)
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        fails()
    record = read_record(tmp_path)
    assert record.status == "failed"
    assert stages(record.run)[0].error == "ZeroDivisionError: division by zero"
    assert stages(record.run)[0].counts == {"frames": 3}
    with pytest.raises(KeyboardInterrupt), recording(tmp_path):
        raise KeyboardInterrupt
    assert read_record(tmp_path).status == "interrupted"


def test_recordings_nest(tmp_path: Path):
    with recording(tmp_path / "outer"):
        with recording(tmp_path / "inner"), span("b"):
            pass
        with span("a"):
            pass
    assert [s.name for s in stages(read_record(tmp_path / "inner").run)] == ["b"]
    assert [s.name for s in stages(read_record(tmp_path / "outer").run)] == ["a"]


def test_generators_and_coroutines_are_refused():
    def generator():
        yield 1

    async def coroutine() -> None: ...

    for function in (generator, coroutine):
        with pytest.raises(TypeError, match="put `with span"):
            measured(function)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_forked_workers_record_nothing(tmp_path: Path):
    with recording(tmp_path), span("all"):
        pid = os.fork()
        if pid == 0:
            with span("in worker"):
                os._exit(0 if spans.use(None) is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert stages(read_record(tmp_path).run)[0].children == ()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"), recording(tmp_path / "file"):
        pass


def test_the_example_runs_and_can_be_attached(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    subprocess.run([sys.executable, EXAMPLE, tmp_path / "out"], check=True, cwd=tmp_path)
    ((record, where),) = attached(tmp_path / "out")
    assert where == tmp_path / "out"
    assert record.pipeline == "rings"
    average, found = stages(record.run)
    assert average.count("frames") == 20
    assert average.count("pixels") == 20 * 128 * 160
    assert found.answers == {"rings_px": [20, 34, 51]}
    assert cli.run(cli.group, "hdrmx", ["profile", "--attach", str(tmp_path / "out")]) == 0
    assert "rings_px 20 34 51" in capsys.readouterr().out


def test_a_variable_turns_it_on_without_a_change(tmp_path: Path):
    """Each process writes its own record; one that fails, too."""
    program = "from hdrmx.measure import span\nwith span('part'): {}"
    env = {**os.environ, "HDRMX_MEASURE": str(tmp_path / "out")}
    for rest, code in (("pass", 0), ("raise ValueError('no')", 1)):
        (tmp_path / "mine.py").write_text(program.format(rest))
        done = subprocess.run([sys.executable, tmp_path / "mine.py"], env=env, stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == code
    records = [record for record, _ in attached(tmp_path / "out")]
    assert sorted(record.status for record in records) == ["complete", "failed"]
    assert all([s.name for s in stages(record.run)] == ["part"] for record in records)


def test_attaching_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(cli.group, "hdrmx", ["profile", "--attach", str(tmp_path)]) == 3
    assert "holds no record.json" in capsys.readouterr().err
    assert cli.run(cli.group, "hdrmx", ["profile", "--attach", str(tmp_path / "none")]) == 3


def test_brackets_alone_import_nothing_heavy():
    text = "import sys, hdrmx.measure; print(*(n for n in ('psutil', 'pandas', 'numba', 'scipy') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
