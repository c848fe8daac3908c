"""Two revisions of a checkout run in turn, each in a tree of its own, on the same data with the same Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.records import read_record
from hdrmx.measure.conditions import PINNED
from hdrmx.record import Record


def commit_of(repository: Path, revision: str) -> str:
    """The full name of a commit. Raises InputError where there is no such revision."""
    done = git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if done.returncode:
        raise InputError(revision, f"is no revision of {repository}, nor a record", "give a commit, or a folder")
    return done.stdout.strip()


@contextmanager
def tree_of(repository: Path, commit: str) -> Iterator[Path]:
    """The files of a commit in a folder of their own, which goes when it is no longer needed."""
    folder = Path(tempfile.mkdtemp(prefix="hdrmx-rev-"))
    tree = folder / commit[:12]
    done = git(repository, "worktree", "add", "--detach", str(tree), commit)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise NotMeasured(f"{commit[:12]} can't be checked out: {done.stderr.strip()}")
    try:
        yield tree
    finally:
        git(repository, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)


def run_profile(tree: Path, arguments: Sequence[str], folder: Path) -> Record:
    """`hdrmx-profile` of a tree. Raises NotMeasured when it leaves no complete record."""
    command = [sys.executable, "-m", "hdrmx", "profile", *arguments, "-o", str(folder)]
    environment = {**os.environ, **PINNED, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NotMeasured(f"{tree.name}: hdrmx profile ended with {done.returncode}: {said[-1] if said else ''}")
    return read_record(folder)


def in_turn(
    trees: Sequence[Path],
    arguments: Sequence[str],
    rounds: int,
    folder: Path,
    tell: Callable[[str], object],
    *,
    count: bool = False,
) -> list[list[Record]]:
    """Profiles of each tree, round by round in alternating order, after one run of each that fills the caches.

    With `count`, that first run counts calls, instructions and memory exactly; its counts stand in the first record.
    """
    found: list[list[Record]] = [[] for _ in trees]
    counted = []
    for tree in trees:
        tell(f"{'counting' if count else 'warming up'} {tree.name}")
        first = run_profile(tree, [*arguments, *(["--count"] if count else [])], folder / f"{tree.name}-first")
        counted.append(first.counted)
    for i in range(rounds):
        order = range(len(trees)) if i % 2 == 0 else reversed(range(len(trees)))
        for k in order:
            tell(f"round {i + 1} of {rounds}: {trees[k].name}")
            found[k].append(run_profile(trees[k], arguments, folder / f"{trees[k].name}-{i}"))
    return [[replace(side[0], counted=counts), *side[1:]] for side, counts in zip(found, counted)]


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git on a checkout, whatever comes of it."""
    return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
