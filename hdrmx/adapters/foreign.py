"""The record of a run in which every stage is a program of somebody else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from hdrmx.adapters.folded import Stacks, below, format_folded, speedscope
from hdrmx.adapters.inside import RATE_HZ
from hdrmx.adapters.run import MOST_LOOKS, Look, Ran, run_measured, thinned
from hdrmx.io.whole import write_whole
from hdrmx.measure.machine import machine, software
from hdrmx.measure.recorder import plain
from hdrmx.measure.sample_files import FOLDED, SPEEDSCOPE
from hdrmx.measure.surroundings import doubts_between, surroundings
from hdrmx.record import Cost, DataSet, Doubt, Record, Sampling, Span, ThreadLine, Timeline, total

Facts = tuple[dict[str, int], dict[str, Any]]  # counts, answers


class ForeignRun:
    """Collects stages; `record` at any moment gives all that was measured until then.

    Parameters
    ----------
    pipeline : what runs, for `Record.pipeline`
    threads : processes or threads that it may use, None where that is up to it
    """

    def __init__(self, pipeline: str, threads: int | None = None) -> None:
        self.pipeline, self.threads = pipeline, threads
        self.before = surroundings()
        self.start_ns = time.perf_counter_ns()
        self.spans: list[Span] = []
        self.looks: list[Look] = []
        self.doubts: list[Doubt] = []
        self.packages: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.answers: dict[str, Any] = {}
        self.data: DataSet | None = None
        self.params: dict[str, Any] = {}

    def stage(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        output: IO[bytes] | int | None = None,
        begun: Callable[[int], set[int]] | None = None,
        facts: Callable[[], Facts] | None = None,
    ) -> Ran:
        """Run a program as the next stage; `facts` reads its logs afterwards, whatever became of it."""
        ran = run_measured(argv, cwd=cwd, env=env, output=output, begun=begun)
        counts, answers = facts() if facts is not None else ({}, {})
        error = None
        if ran.interrupted:
            error = "KeyboardInterrupt"
        elif ran.exit_code:
            error = f"ended with exit code {ran.exit_code}"
        done = self.looks[-1].cpu_ns if self.looks else 0
        self.looks += [replace(look, cpu_ns=look.cpu_ns + done) for look in ran.looks]
        self.doubts += [d for d in ran.doubts if d not in self.doubts]
        first, last = (ran.looks[0], ran.looks[-1]) if ran.looks else (None, None)
        self.spans.append(
            Span(
                name=name,
                start_ns=ran.start_ns - self.start_ns,
                finished=not ran.interrupted,
                error=error,
                cost=ran.cost,
                rss_start_bytes=first.rss_bytes if first else None,
                rss_end_bytes=last.rss_bytes if last else None,
                peak_bytes=ran.peak_bytes,
                counts=counts,
                answers=answers,
            )
        )
        return ran

    def fail(self, error: str) -> None:
        """The last stage failed, as its log tells."""
        self.spans[-1] = replace(self.spans[-1], error=error)

    def doubt(self, kind: str, **numbers: Any) -> None:
        """Something that weakens the measurement; once each."""
        found = Doubt(kind=kind, numbers=numbers)
        if found not in self.doubts:
            self.doubts.append(found)

    def sampled(self, n: int) -> None:
        """How many samples were taken of the last stage."""
        if n:
            self.spans[-1] = replace(self.spans[-1], sampled={"samples": n})

    def keep_samples(self, folder: Path, samples: Mapping[str, Stacks]) -> None:
        """Write stacks by stage as one folded file (stage;pipeline;calls) and one for speedscope."""
        if not samples:
            return
        together: Stacks = {}
        for stage, stacks in samples.items():
            together |= below(stage, below(self.pipeline, stacks))
        save_text(folder / FOLDED, format_folded(together))
        save_text(folder / SPEEDSCOPE, speedscope(samples, "hdrmx"))
        self.files |= {"folded": FOLDED, "speedscope": SPEEDSCOPE}

    def record(self, status: str = "complete") -> Record:
        """What was measured; `status` as in `Record`."""
        wall_ns = time.perf_counter_ns() - self.start_ns
        after, here = surroundings(), machine()
        tree = self._tree(wall_ns)
        here = replace(here, peak_memory="within span")
        versions = software()
        return Record(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            status=status,
            command=(Path(sys.argv[0]).name, *sys.argv[1:]),
            threads=self.threads,
            machine=here,
            software=replace(versions, packages={**versions.packages, **self.packages}),
            data=self.data,
            params=self.params,
            before=self.before,
            after=after,
            run=tree,
            timeline=_timeline(self.looks, self.start_ns),
            sampling=self._sampling(),
            doubts=(*self.doubts, *doubts_between(self.before, after, tree.cost, here.cores_usable)),
            files=dict(self.files),
            pipeline=self.pipeline,
            series=_series(self.looks, self.start_ns),
        )

    def _sampling(self) -> Sampling | None:
        n = sum(span.sampled.get("samples", 0) for span in self.spans)
        return Sampling(interval_ns=10**9 // RATE_HZ, samples=n) if n else None

    def _tree(self, wall_ns: int) -> Span:
        cost = total([s.cost for s in self.spans]) if self.spans else Cost()
        peaks = [s.peak_bytes for s in self.spans if s.peak_bytes is not None]
        return Span(
            name="run",
            cost=replace(cost, wall_ns=wall_ns),
            peak_bytes=max(peaks, default=None),
            answers=plain(self.answers),
            children=tuple(self.spans),
        )


def save_text(path: Path, text: str) -> Path:
    """Whole or not at all."""

    def save(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_whole(path, save)


def _series(looks: list[Look], start_ns: int) -> dict[str, tuple[int | None, ...]]:
    kept = [replace(look, at_ns=look.at_ns - start_ns) for look in thinned(looks, MOST_LOOKS)]
    if not kept:
        return {}
    return {f.name: tuple(getattr(look, f.name) for look in kept) for f in fields(Look)}


def _timeline(looks: list[Look], start_ns: int) -> Timeline | None:
    kept = thinned(looks, MOST_LOOKS)
    if not kept:
        return None
    totals = [0, *(look.cpu_ns for look in kept)]
    steps = tuple(max(b - a, 0) for a, b in pairwise(totals))
    return Timeline(
        edges_ns=(0, *(look.at_ns - start_ns for look in kept)),
        rss_bytes=tuple(look.rss_bytes for look in kept),
        cpu_ns=steps,
        threads=(ThreadLine(name="all processes", busy_ns=steps),),
    )
