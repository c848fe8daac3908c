"""`hdrmx bisect`: the commit that changed a cost, in about log2(N) measurements."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from hdrmx.errors import InputError, NotMeasured
from hdrmx.record import Record, net_cpu_ns, net_ns, stages

TIMED = ("wall", "cpu")


@click.command(epilog="Example: hdrmx bisect v0.1 HEAD --figure find_spots:windows")
@click.argument("good")
@click.argument("bad")
@click.option(
    "--figure",
    metavar="STAGE:NAME",
    help="Counter of a stage, or its wall, cpu or peak [default: what differs worst between GOOD and BAD].",
)
@click.option(
    "--measure", "shell", metavar="COMMAND", help="Measure by this, run in each tree; it prints a number last."
)
@click.option("--noise", type=click.FloatRange(0, 1), help="Relative noise of a measurement [default: 0; times 0.02].")
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each measurement of a time."
)
@click.option("--data", help="Data to run on [default: the demo set].")
@click.option("--images", metavar="A-B", help="Image numbers to use.")
@click.option("--path", "paths", multiple=True, help="What must differ for a commit to be measured [default: hdrmx].")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("."), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    good: str,
    bad: str,
    figure: str | None,
    shell: str | None,
    noise: float | None,
    rounds: int,
    data: str | None,
    images: str | None,
    paths: tuple[str, ...],
    repository: Path,
    as_json: bool,
) -> None:
    """Find the first commit after GOOD that has the cost of BAD.

    Commits that leave --path as it was are not measured, those that can't be run are passed over. At most log2(N) + 2
    measurements are made between the two ends.
    """
    from hdrmx.analysis.bisect import search

    history = History.of(repository, good, bad, paths or ("hdrmx",))
    with tempfile.TemporaryDirectory(prefix="hdrmx-bisect-") as folder:
        meter = _Meter(history, Path(folder), figure, shell, rounds, _arguments(data, images, shell))
        first, last = meter.ends()
        spread = noise if noise is not None else (0.02 if meter.is_timed else 0.0)
        if first <= 0 or last <= 0 or math.isclose(first, last, rel_tol=max(2 * spread, 1e-9)):
            raise NotMeasured(
                f"{meter.figure} is {first:g} at {good} and {last:g} at {bad}: there is no change to find"
            )
        found = search(len(history.steps), meter, first, last, spread)
        told = _told(history, meter, found.suspects, found.first, found.probability, (first, last))
    if as_json:
        print(json.dumps(told, indent=1))
        return
    for line in _lines(told):
        print(line)


@dataclass(frozen=True)
class History:
    """Commits from good to bad, oldest first, and those of them that change the code (`steps`, indices)."""

    repository: Path
    commits: tuple[str, ...]
    steps: tuple[int, ...]

    @classmethod
    def of(cls, repository: Path, good: str, bad: str, paths: tuple[str, ...]) -> History:
        from hdrmx.analysis.bisect import grouped
        from hdrmx.analysis.revisions import commit_of

        ends = [commit_of(repository, name) for name in (good, bad)]
        listed = _git(repository, "rev-list", "--first-parent", "--reverse", f"{ends[0]}..{ends[1]}").split()
        if not listed:
            raise InputError(f"{good}, {bad}", "there is no commit between them", "give the older one first")
        commits = (ends[0], *listed)
        keys = [_git(repository, "ls-tree", commit, *paths) for commit in commits]
        steps = grouped(keys)
        if len(steps) < 2:
            raise InputError(f"{good}, {bad}", f"{', '.join(paths)} is the same in both", "give another --path")
        return cls(repository, commits, tuple(steps))

    def described(self, commit: str) -> dict[str, str]:
        text = _git(self.repository, "show", "-s", "--format=%H%n%an%n%cI%n%s", commit).splitlines()
        return dict(zip(("commit", "author", "date", "subject"), text))


@dataclass
class _Meter:
    """Cost of a step of the history; keeps the records."""

    history: History
    folder: Path
    figure: str | None
    shell: str | None
    rounds: int
    arguments: list[str]
    records: dict[int, Record] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    is_timed: bool = False

    def ends(self) -> tuple[float, float]:
        """Cost at both ends; picks the figure where none was asked for."""
        last = len(self.history.steps) - 1
        if self.shell is None and self.figure is None:
            self.figure = self._worst(last)
        if self.shell is not None:
            self.figure = self.shell
        assert self.figure is not None
        self.is_timed = self.shell is None and self.figure.rpartition(":")[2] in TIMED
        values = [self(step) for step in (0, last)]
        if values[0] is None or values[1] is None:
            raise NotMeasured(f"{self.figure} can't be measured at both ends")
        return values[0], values[1]

    def _worst(self, last: int) -> str:
        from hdrmx.analysis.compare import compare

        result = compare([self._record(0)], [self._record(last)])
        order = ("count", "memory", "answer")
        for kind in order:
            for d in result.findings:
                if d.kind == kind and isinstance(d.old, (int, float)) and isinstance(d.new, (int, float)):
                    return f"{d.stage}:{d.name}"
        raise NotMeasured("counts, answers and memory are the same at both ends; name a time with --figure STAGE:wall")

    def __call__(self, step: int) -> float | None:
        if step in self.values and not self.is_timed:
            return self.values[step]
        commit = self.history.commits[self.history.steps[step]]
        click.echo(f"measuring {commit[:12]}", err=True)
        try:
            value = self._by_shell(commit) if self.shell is not None else self._by_profile(step)
        except NotMeasured as error:
            click.echo(str(error), err=True)
            return None
        self.values[step] = value
        return value

    def _by_profile(self, step: int) -> float:
        assert self.figure is not None
        if not self.is_timed:
            return figure_of(self._record(step), self.figure)
        with self._tree(step) as tree:
            runs = [self._run(tree, step, i) for i in range(self.rounds + 1)][1:]  # the first fills the caches
        return statistics.median(figure_of(run, self.figure) for run in runs)

    def _record(self, step: int) -> Record:
        if step not in self.records:
            with self._tree(step) as tree:
                self.records[step] = self._run(tree, step, 0)
        return self.records[step]

    def _tree(self, step: int) -> Any:
        from hdrmx.analysis.revisions import tree_of

        return tree_of(self.history.repository, self.history.commits[self.history.steps[step]])

    def _run(self, tree: Path, step: int, number: int) -> Record:
        from hdrmx.analysis.revisions import run_profile

        return run_profile(tree, [*self.arguments, "--no-sampling"], self.folder / f"{step}-{number}")

    def _by_shell(self, commit: str) -> float:
        from hdrmx.analysis.revisions import tree_of

        assert self.shell is not None
        with tree_of(self.history.repository, commit) as tree:
            done = subprocess.run(self.shell, shell=True, cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotMeasured(f"{commit[:12]}: the command ended with {done.returncode}")
        try:
            return float(done.stdout.split()[-1])
        except (IndexError, ValueError):
            raise NotMeasured(f"{commit[:12]}: the command printed no number last") from None


def figure_of(record: Record, figure: str) -> float:
    """`stage:counter`, `stage:wall`, `stage:cpu` (ns), `stage:peak` (bytes) or a number among the stage's answers."""
    stage, _, name = figure.partition(":")
    for span in stages(record.run):
        if span.name == stage:
            special = {"wall": net_ns(span), "cpu": net_cpu_ns(span), "peak": span.peak_bytes}
            value = special[name] if name in special else span.counts.get(name, span.answers.get(name))
            if isinstance(value, (int, float)):
                return float(value)
    raise NotMeasured(f"the run has no figure {figure}")


def _arguments(data: str | None, images: str | None, shell: str | None) -> list[str]:
    if shell is not None:
        return []
    from hdrmx.cli.demo import demo_data

    path = data or str(demo_data(lambda text: click.echo(text, err=True)))
    return [str(Path(path).resolve()), "-j", "1", *(["--images", images] if images else [])]


def _told(
    history: History,
    meter: _Meter,
    suspects: tuple[int, ...],
    first: int,
    probability: float,
    ends: tuple[float, float],
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "schema": "hdrmx-bisect/1",
        "figure": meter.figure,
        "good": ends[0],
        "bad": ends[1],
        "first": history.described(history.commits[history.steps[first]]),
        "probability": probability,
        "suspects": [history.described(history.commits[history.steps[i]]) for i in suspects],
        "measured": {history.commits[history.steps[i]][:12]: value for i, value in sorted(meter.values.items())},
        "also": [],
    }
    before, after = meter.records.get(first - 1), meter.records.get(first)
    if before is not None and after is not None:
        from hdrmx.analysis.compare import EQUAL, compare
        from hdrmx.report.comparison import sentence

        differences = compare([before], [after]).differences
        told["also"] = [sentence(d) for d in differences if d.verdict != EQUAL and d.shift is None]
    told["files"] = _git(
        history.repository, "show", "--format=", "--name-only", history.commits[history.steps[first]]
    ).split()
    return told


def _lines(told: dict[str, Any]) -> list[str]:
    first = told["first"]
    lines = [
        f"{first['commit'][:12]} {first['subject']}",
        f"  by {first['author']}, {first['date']}; probability {told['probability']:.2f}",
        f"  {told['figure']}: {told['good']:g} before, {told['bad']:g} after; {len(told['measured'])} commits measured",
        f"  it changed {', '.join(told['files'][:6])}",
    ]
    if len(told["suspects"]) > 1:
        others = ", ".join(s["commit"][:12] for s in told["suspects"])
        lines.append(f"  not all could be measured: it is one of {others}")
    return lines + [f"  {text}" for text in told["also"]]


def _git(repository: Path, *arguments: str) -> str:
    from hdrmx.analysis.revisions import git

    done = git(repository, *arguments)
    if done.returncode:
        raise NotMeasured(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
