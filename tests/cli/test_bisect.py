"""`hdrmx bisect` on a small checkout made here, measured by a command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hdrmx import cli

N, CHANGED, BROKEN = 24, 15, 9


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One commit a number; from CHANGED on work grows, one doesn't run, every third touches only a text."""
    folder = tmp_path_factory.mktemp("repository")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A. Tester", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    for i in range(N):
        (folder / "README").write_text(f"number {i}")
        if i % 3 != 1 or i == CHANGED:
            work = 40 if i >= CHANGED else 10
            body = "raise SystemExit(1)" if i == BROKEN else f"print({work})"
            (folder / "work.py").write_text(f"# {i}\n{body}\n")
        git("add", "-A")
        git("commit", "-m", f"commit {i}")
        git("tag", f"c{i}")
    return folder


def bisect(repository: Path, *argv: str) -> int:
    command = ["bisect", "--repository", str(repository), "--path", "work.py", "--measure", "python3 work.py", *argv]
    return cli.run(cli.group, "hdrmx", command)


def test_the_commit_is_named(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bisect(repository, "c0", f"c{N - 1}", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["first"]["subject"] == f"commit {CHANGED}"
    assert (told["good"], told["bad"]) == (10, 40)
    assert "work.py" in told["files"]
    assert len(told["measured"]) <= 5 + 2 + 2  # log2 of the steps, two more, and the ends
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(worktrees.stdout.splitlines()) == 1


def test_in_words(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bisect(repository, "c2", "c23") == 0
    assert f"commit {CHANGED}" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("c0", "c5"), 2, "no change to find"),
        (("c5", "c0"), 3, "give the older one first"),
        (("c0", "nowhere"), 3, "no revision"),
    ],
)
def test_nothing_to_find(
    repository: Path, argv: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bisect(repository, *argv) == code
    assert message in capsys.readouterr().err
