"""One night: is the machine fit, what did the commits since the last night change, do the declared costs still hold?

    python tools/nightly.py --results /srv/hdrmx-nightly --data /srv/data/night.nxs

Plain enough for cron; `.github/workflows/nightly.yml` calls it on a self-hosted runner. Every commit that touches the
code is compared with the one before it (`hdrmx compare --count`), the last one held to the declared costs (`hdrmx
complexity pipeline --gate`), asv's suite run and its history searched for steps (`hdrmx regress`), the trend page drawn
(`hdrmx report`). One report a cause, as markdown, in RESULTS/DATE/causes; with --issues each is opened with `gh`.
Ends with 0 when nothing got worse, 1 when something did, 2 when the night could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LAST = "last_commit"  # name of the file in RESULTS that says how far the last night came


@dataclass
class Cause:
    """What one commit (or the state of the code, where no commit is known) made worse."""

    title: str
    sentences: list[str] = field(default_factory=list)
    commit: dict[str, str] | None = None


@dataclass
class Night:
    """What was done and found."""

    folder: Path
    program: list[str]
    repository: Path
    failures: list[str] = field(default_factory=list)
    causes: dict[str, Cause] = field(default_factory=dict)
    is_valid: bool = True

    def hdrmx(self, *arguments: str, good: tuple[int, ...] = (0, 1)) -> str | None:
        """Output of a command; None, with a failure noted, where it ended otherwise than in `good`."""
        done = subprocess.run([*self.program, *arguments], capture_output=True, text=True, check=False)
        log = self.folder / "log.txt"
        with log.open("a", encoding="utf-8") as f:
            f.write(f"$ hdrmx {shlex.join(arguments)}\n{done.stdout}{done.stderr}\n[{done.returncode}]\n\n")
        if done.returncode not in good:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            self.failures.append(f"hdrmx {arguments[0]} ended with {done.returncode}: {said[-1] if said else ''}")
            return None
        return done.stdout

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def blame(self, commit: str, sentences: list[str]) -> None:
        fields = self.git("show", "-s", "--format=%H%n%an%n%s", commit).splitlines()
        told = dict(zip(("commit", "author", "subject"), fields))
        cause = self.causes.setdefault(commit, Cause(f"{commit[:10]} {told['subject']}", commit=told))
        cause.sentences += [s for s in sentences if s not in cause.sentences]


def check_machine(night: Night) -> None:
    text = night.hdrmx("machine", "--pin", "--", *night.program, "machine", "--check", "--json")
    if text is None:
        night.is_valid = False
        return
    told = json.loads(text)
    (night.folder / "machine.json").write_text(text, encoding="utf-8")
    night.is_valid = told["valid"]


def commits_since(night: Night, since: str, paths: list[str]) -> list[tuple[str, str]]:
    """Pairs (before, commit) of the commits that touch the code, oldest first."""
    listed = night.git("rev-list", "--first-parent", "--reverse", f"{since}..HEAD").split()
    pairs, before = [], night.git("rev-parse", since).strip()
    for commit in listed:
        if night.git("ls-tree", before, *paths) != night.git("ls-tree", commit, *paths):
            pairs.append((before, commit))
        before = commit
    return pairs


def compare_commits(night: Night, pairs: list[tuple[str, str]], options: argparse.Namespace) -> None:
    """Every commit against the one before it: answers, exact counts, and times where the machine is fit."""
    for before, commit in pairs:
        page = night.folder / f"{commit[:10]}.html"
        more = ["--data", options.data] if options.data else []
        more += ["--images", options.images] if options.images else []
        arguments = [before, commit, "--repository", str(night.repository), "--rounds", str(options.rounds), *more]
        text = night.hdrmx("compare", *arguments, "--count", "--json", "--html", str(page))
        if text is None:
            continue
        told = json.loads(text)
        found = [
            d
            for d in told["differences"]
            if d["finding"] and (night.is_valid or d["kind"] not in ("wall", "cpu", "memory"))
        ]
        if found:
            night.blame(commit, [sentence(d) for d in ranked(found)])


def ranked(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers first, then what grew most; of the calls of functions, the few that grew most."""
    order = {"answer": 0, "count": 1, "instructions": 2, "calls": 3, "memory": 4, "wall": 5, "cpu": 6}

    def growth(d: dict[str, Any]) -> float:
        old, new = d["old"], d["new"]
        return new / old if isinstance(old, (int, float)) and isinstance(new, (int, float)) and old else 0.0

    calls = sorted((d for d in found if d["kind"] == "calls"), key=growth, reverse=True)[:5]
    rest = [d for d in found if d["kind"] != "calls"]
    return sorted(rest + calls, key=lambda d: (order.get(d["kind"], 9), -growth(d)))


def sentence(d: dict[str, Any]) -> str:
    where = f"{d['stage']}: " if d["stage"] else ""
    word = {"calls": "calls of ", "answer": "answer "}.get(d["kind"], "")
    name = d["name"] if d["kind"] != d["name"] else d["kind"]
    return f"{where}{word}{name} {d['verdict']}: {d['old']} -> {d['new']}"


def gate(night: Night, options: argparse.Namespace) -> None:
    """The declared costs of all stages."""
    path = night.folder / "complexity.json"
    text = night.hdrmx("complexity", "pipeline", "--gate", "--budget", options.budget, "--json", str(path))
    if text is None or not path.exists():
        return
    told = json.loads(path.read_text(encoding="utf-8"))
    for study in told.get("parts") or [told]:
        if study.get("verdict") == "exceeds":
            guilty = study.get("guilty") or [{}]
            first = guilty[0]
            place = f"{first.get('function', '?')} ({first.get('file', '?')}:{first.get('line', '?')})"
            target = study.get("target", "pipeline")
            says = f"{target} grows faster than declared ({study.get('declared')}); first to blame: {place}"
            night.causes.setdefault(f"gate {target}", Cause(f"{target} exceeds its declared cost", [says]))


def history(night: Night, options: argparse.Namespace) -> None:
    """asv's suite on the new commits, steps in its history, the trend page."""
    asv = ["asv", "run", "--skip-existing-commits", f"{options.since}..HEAD"]
    done = subprocess.run(asv, cwd=night.repository, capture_output=True, text=True, check=False)
    (night.folder / "asv.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        night.failures.append(f"asv run ended with {done.returncode}")
    results = night.repository / ".asv" / "results"
    if not results.is_dir():
        return
    markdown = night.folder / "regress.md"
    night.hdrmx("regress", str(results), "--markdown", str(markdown))
    night.hdrmx("report", str(results), "-o", str(night.folder / "trend.html"))


def write_causes(night: Night, issues: bool) -> None:
    """One report a cause, and one issue where asked for; the same title is never opened twice."""
    folder = night.folder / "causes"
    folder.mkdir(exist_ok=True)
    for number, cause in enumerate(night.causes.values(), 1):
        lines = [f"# {cause.title}", "", *(f"- {s}" for s in cause.sentences)]
        if cause.commit is not None:
            lines += ["", f"Commit {cause.commit['commit']} by {cause.commit['author']}."]
        path = folder / f"{number:02d}.md"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if issues:
            known = subprocess.run(
                ["gh", "issue", "list", "--state", "all", "--search", f'"{cause.title}" in:title', "--json", "title"],
                capture_output=True,
                text=True,
                check=False,
            )
            if known.returncode == 0 and not json.loads(known.stdout or "[]"):
                title = f"Performance: {cause.title}"
                subprocess.run(["gh", "issue", "create", "--title", title, "--body-file", str(path)], check=False)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="folder of all nights")
    parser.add_argument("--repository", type=Path, default=Path("."))
    parser.add_argument("--since", help="commit to begin after [default: where the last night ended, or HEAD~1]")
    parser.add_argument("--data", help="data set to run on [default: the demo set]")
    parser.add_argument("--images", help="image numbers of it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", default="600s", help="time for the declared costs")
    parser.add_argument("--path", action="append", help="what a commit must touch to be measured [default: hdrmx]")
    parser.add_argument("--no-asv", action="store_true", help="leave asv's suite out")
    parser.add_argument("--no-gate", action="store_true", help="leave the declared costs out")
    parser.add_argument("--issues", action="store_true", help="open an issue for each cause, with gh")
    options = parser.parse_args(argv)
    folder = options.results / datetime.now(UTC).strftime("%Y-%m-%d_%H%M%S")
    folder.mkdir(parents=True)
    night = Night(folder, [sys.executable, "-m", "hdrmx"], options.repository.resolve())
    last = options.results / LAST
    options.since = options.since or (last.read_text().strip() if last.exists() else "HEAD~1")
    os.environ.setdefault("PYTHONHASHSEED", "0")
    check_machine(night)
    pairs = commits_since(night, options.since, options.path or ["hdrmx"])
    compare_commits(night, pairs, options)
    if not options.no_gate:
        gate(night, options)
    if not options.no_asv:
        history(night, options)
    write_causes(night, options.issues)
    last.write_text(night.git("rev-parse", "HEAD"), encoding="utf-8")
    print(f"{len(pairs)} commits measured; timings {'kept' if night.is_valid else 'not kept: the machine was not fit'}")
    for cause in night.causes.values():
        print(cause.title)
        for said in cause.sentences[:4]:
            print(f"  {said}")
    for failure in night.failures:
        print(f"not measured: {failure}")
    if night.causes:
        return 1
    return 2 if night.failures else 0


if __name__ == "__main__":
    sys.exit(main())
