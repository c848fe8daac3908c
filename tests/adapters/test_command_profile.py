"""`hdrmx profile --command` and `--function` from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hdrmx import cli
from hdrmx.adapters.command import stage_name
from hdrmx.io.records import read_record
from hdrmx.record import SETUP, stages


def run(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", ["profile", *argv])


def test_a_command_is_the_stage_and_its_exit_code_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert run("--command", "echo said; exit 5", "-o", str(tmp_path / "out")) == 5
    said = capfd.readouterr().out
    assert said.startswith("said\n")
    assert "ended with exit code 5" in said
    record = read_record(tmp_path / "out")
    assert (record.pipeline, record.status, record.run.answers) == ("command", "failed", {"exit_code": 5})
    (stage,) = stages(record.run)
    assert stage.name == "echo"
    assert stage.exclusive_ns + record.run.exclusive_ns == record.run.cost.wall_ns
    assert record.series["at_ns"]
    assert len({len(column) for column in record.series.values()}) == 1
    assert record.timeline is not None
    assert (tmp_path / "out/report.html").is_file()
    assert run("--show", str(tmp_path / "out")) == 0


def test_with_json_the_document_is_alone_on_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert run("--command", "echo said", "--json", "-o", str(tmp_path / "out")) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["stages"][0]["name"] == "echo"
    assert "said" in said.err


def test_ctrl_c_leaves_a_readable_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """The command interrupts hdrmx-profile, in a process of its own, as a terminal would."""
    argv = [sys.executable, "-m", "hdrmx", "profile", "--command", "kill -INT $PPID; while :; do :; done", "-o", "out"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "hdrmx profile --show out" in done.stderr
    assert "Traceback" not in done.stderr
    record = read_record(tmp_path / "out")
    assert record.status == "interrupted"
    assert not stages(record.run)[0].finished


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python3 run.py -j 2", "python3"),
        ("OMP_NUM_THREADS=1 /usr/bin/xds_par", "xds_par"),
        ("for i in 1 2; do echo $i; done", "command"),
        ("'un closed", "'un"),
        ("(a; b)", "command"),
    ],
)
def test_the_stage_is_named_after_the_program(command: str, name: str):
    assert stage_name(command) == name


def test_options_that_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("--command", "true", "--function", "a:b") == 3
    assert run("data.nxs", "--command", "true") == 3
    assert "takes no DATA" in capsys.readouterr().err
    assert run("--command", " ", "-o", str(tmp_path)) == 3


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "somebodys_module.py"
    path.write_text(
        """
from hdrmx.measure import answer, span
def given(): return 3, 4
def named(): return {"n": 5}
def work(n, k=1):
    with span("inner") as inner:
        inner.count(pieces=n * k)
    answer(product=n * k)
def simple(): work(2)
def bad():
    work(1)
    raise ValueError("no good")
def leaves(): raise SystemExit(0)
class Kind:
    @staticmethod
    def of(): work(7)
"""
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield path
    sys.modules.pop("somebodys_module", None)


@pytest.mark.parametrize(
    ("target", "setup", "pieces"),
    [
        ("somebodys_module.py:simple", None, 2),
        ("somebodys_module:simple", None, 2),
        ("somebodys_module:Kind.of", None, 7),
        ("somebodys_module.py:work", "given", 12),
        ("somebodys_module.py:work", "named", 5),
    ],
)
def test_a_function_with_the_spans_inside_it(module: Path, tmp_path: Path, target: str, setup: str | None, pieces: int):
    more = ("--setup", setup) if setup else ()
    assert run("--function", target, *more, "-o", str(tmp_path / "out"), "--no-sampling") == 0
    record = read_record(tmp_path / "out")
    (stage,) = stages(record.run)
    assert stage.name == target.rpartition(":")[2]
    assert stage.count("pieces") == pieces
    assert stage.children[0].name == "inner"
    assert [s.name for s in record.run.children if s.kind == SETUP] == ["import", *(["setup"] if setup else [])]


def test_a_function_that_raises_is_recorded_and_told(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run("--function", "somebodys_module.py:bad", "-o", str(tmp_path / "out"), "--no-sampling") == 2
    said = capsys.readouterr().err
    assert "bad raised ValueError: no good" in said
    assert "somebodys_module.py" in said
    assert "hdrmx/adapters" not in said
    record = read_record(tmp_path / "out")
    assert record.status == "failed"
    assert stages(record.run)[0].count("pieces") == 1
    assert run("--function", "somebodys_module.py:leaves", "-o", str(tmp_path / "out"), "--no-sampling") == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("work", "give it as"),
        ("none.py:work", "no such file"),
        ("somebodys_module.py:none", "it has given, named, work"),
        ("somebodys_module.py:work", "give --setup"),
        ("there.is.no:work", "there is no module"),
    ],
)
def test_what_cannot_be_called_is_told(module: Path, tmp_path: Path, capsys, target: str, said: str):
    assert run("--function", target, "-o", str(tmp_path / "out")) == 3
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_function_is_sampled(module: Path, tmp_path: Path):
    loop = "    while time.thread_time() < end: sum(range(1000))\n"
    (tmp_path / "burner.py").write_text(f"import time\ndef burn():\n    end = time.thread_time() + 0.25\n{loop}")
    assert run("--function", "burner.py:burn", "-o", str(tmp_path / "out")) == 0
    record = read_record(tmp_path / "out")
    assert "burn (" in (tmp_path / "out" / record.files["folded"]).read_text()
    assert os.path.getsize(tmp_path / "out/report.html") < 3_000_000
