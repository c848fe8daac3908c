"""The nightly script: which commits it takes, how it words and ranks what it finds, and what it leaves behind."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def nightly() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "nightly.py"
    spec = importlib.util.spec_from_file_location("nightly", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nightly"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A. Tester", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    (folder / "hdrmx").mkdir()
    for i in range(5):
        (folder / ("README" if i == 2 else "hdrmx/code.py")).write_text(str(i))
        git("add", "-A")
        git("commit", "-m", f"commit {i}")
    return folder


PROGRAM = """
import json, sys
if sys.argv[1] == "machine":
    print(json.dumps({"valid": False}))
if sys.argv[1] == "compare":
    subject = __import__("subprocess").run(["git", "-C", sys.argv[5], "show", "-s", "--format=%s", sys.argv[3]],
        capture_output=True, text=True).stdout.strip()
    base = {"stage": "scale", "finding": True}
    found = {
        "commit 3": [base | {"kind": "wall", "name": "wall", "verdict": "slower", "old": 1, "new": 9},
                     base | {"kind": "calls", "name": "f (hdrmx/a.py:3)", "verdict": "more", "old": 1, "new": 50},
                     base | {"kind": "answer", "name": "spots", "verdict": "changed", "old": 5, "new": 6}],
    }
    print(json.dumps({"differences": found.get(subject, [])}))
    sys.exit(1 if subject in found else 0)
"""


def run(nightly: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *argv: str) -> int:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    real = nightly.Night

    def made(folder: Path, _: list[str], where: Path) -> Any:
        return real(folder, [sys.executable, str(program)], where)

    monkeypatch.setattr(nightly, "Night", made)
    fixed = ("--repository", str(repository), "--results", str(tmp_path / "nights"), "--no-asv", "--no-gate")
    return nightly.main([*fixed, *argv])


def test_one_report_a_cause_and_times_of_a_busy_machine_left_out(
    nightly: ModuleType,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(nightly, repository, tmp_path, monkeypatch, "--since", "HEAD~4") == 1
    said = capsys.readouterr().out
    assert "3 commits measured; timings not kept" in said  # the one that touches only README isn't
    (night,) = (p for p in (tmp_path / "nights").iterdir() if p.is_dir())
    (report,) = (night / "causes").iterdir()
    text = report.read_text()
    assert "commit 3" in text.splitlines()[0]
    assert text.index("answer spots changed") < text.index("calls of f (hdrmx/a.py:3) more: 1 -> 50")
    assert "slower" not in text


def test_the_next_night_goes_on_from_there(
    nightly: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(nightly, repository, tmp_path, monkeypatch, "--since", "HEAD~1") == 0
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert (tmp_path / "nights" / nightly.LAST).read_text() == head.stdout


def test_a_night_that_measured_nothing_is_no_success(
    nightly: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", "raise SystemExit(3)")
    assert run(nightly, repository, tmp_path, monkeypatch, "--since", "HEAD~1") == 2
