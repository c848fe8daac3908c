"""Samples of all threads' call stacks, sorted by stage, and resident memory over time.

`watch.Watcher` takes them; here they become sums for the record, and flame graphs. A sample stands for the time since
the one before it: for so much of it as the thread ran (by the kernel's count) it counts for the stack seen, and the
rest for waiting there.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from hdrmx.measure.stacks import KERNEL, LIBRARY, PYTHON, UNCLEAR, Call
from hdrmx.measure.watch import INTERVAL_S, Watcher
from hdrmx.record import COMPILE, Doubt, Span, ThreadLine, Timeline

WAITING = "[waiting]"
CROWDED = "[no processor free]"  # ready to run, but others had the processors
IDLE = (WAITING, CROWDED)
BETWEEN = "between stages"
_COMPILING = "_DispatcherBase._compile_for_args"  # of numba
BINS = 400  # of the timeline, at most
_STANDING = ("threading.py", "queue.py", "selectors.py", "subprocess.py", "concurrent/futures/")  # where threads wait

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """Time of one thread in one stack within one stage."""

    stage: str
    thread: str
    calls: tuple[Call, ...]
    at: str  # one of `stacks.KERNEL`, ..., or of IDLE
    begin_ns: int  # perf_counter_ns
    ns: int


class Sampler:
    """`with Sampler() as sampler:` around the code; the methods afterwards.

    Parameters
    ----------
    interval_s : between two looks; it grows on long runs
    """

    def __init__(self, interval_s: float = INTERVAL_S, watcher: Watcher | None = None) -> None:
        self._watcher = watcher or Watcher(interval_s)
        self.start_ns = 0

    def __enter__(self) -> Sampler:
        self.start_ns = time.perf_counter_ns()
        self._watcher.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self._watcher.stop()

    @property
    def n_samples(self) -> int:
        return len(self._watcher.samples.at_ns)

    def pieces(self, run: Span, origin_ns: int) -> Iterator[Piece]:
        """All samples, in the order in which they were taken.

        Parameters
        ----------
        run : the finished tree
        origin_ns : perf_counter_ns at its beginning
        """
        samples = self._watcher.samples
        starts = [origin_ns + s.start_ns for s in run.children if s.thread == run.thread]
        spans = [s for s in run.children if s.thread == run.thread]
        for i, wall in enumerate(samples.wall_ns):
            if wall <= 0:
                continue
            begin = samples.at_ns[i] - wall
            middle = samples.at_ns[i] - wall // 2
            n = bisect_right(starts, middle) - 1
            inside = n >= 0 and middle < starts[n] + spans[n].cost.wall_ns
            stage = spans[n].name if inside else BETWEEN
            stack = samples.stacks.stack(samples.stack[i], samples.base)
            thread = samples.thread_names[samples.thread[i]]
            if any(call.name.endswith(_COMPILING) for call in stack.calls):
                stage = COMPILE  # wherever it happened: it is counted in no stage
            ran = min(samples.cpu_ns[i], wall)
            if ran < 0:  # the kernel doesn't tell: by the look of it
                ran = 0 if stack.calls and stack.calls[-1].file.startswith(_STANDING) else wall
            queued = min(samples.queued_ns[i], wall - ran)
            for at, ns in ((stack.at, ran), (CROWDED, queued), (WAITING, wall - ran - queued)):
                if ns:
                    yield Piece(stage, thread, stack.calls, at, begin, ns)
                    begin += ns

    def summed(self, run: Span, origin_ns: int) -> Span:
        """The tree with `sampled` filled in for the spans right below the run."""
        sums: dict[str, dict[str, int]] = {}
        for piece in self.pieces(run, origin_ns):
            stage = sums.setdefault(piece.stage, {"samples": 0})
            stage["samples"] += piece.at not in IDLE
            name = {WAITING: "waiting", CROWDED: "crowded"}.get(piece.at, piece.at)
            stage[f"{name}_ns"] = stage.get(f"{name}_ns", 0) + piece.ns
            if piece.thread != "main" and piece.at not in IDLE:
                stage["workers_ns"] = stage.get("workers_ns", 0) + piece.ns
        for span in run.children:
            if span.thread == run.thread:
                begin = origin_ns + span.start_ns
                for name, ns in self._pressure(begin, begin + span.cost.wall_ns).items():
                    stage = sums.setdefault(span.name, {"samples": 0})
                    stage[name] = stage.get(name, 0) + ns
        first: dict[str, Span] = {}
        for span in run.children:
            if span.thread == run.thread:
                first.setdefault(span.name, span)  # of several of one name the first has it all: they are shown joined
        children = tuple(
            replace(s, sampled=sums[s.name]) if s.name in sums and first.get(s.name) is s else s for s in run.children
        )
        return replace(run, children=children)

    def _pressure(self, begin_ns: int, end_ns: int) -> dict[str, int]:
        """Time in which any task of the machine waited for a resource, between two moments; none where not known."""
        samples = self._watcher.samples
        at = np.frombuffer(samples.pressure_ns, np.int64)
        if len(at) < 2:
            return {}
        ends = {
            name: np.interp([begin_ns, end_ns], at, np.frombuffer(total, np.int64).astype(float))
            for name, total in samples.pressure_us.items()
        }
        return {f"pressure_{name}_ns": round((end - begin) * 1e3) for name, (begin, end) in ends.items()}

    def timeline(self, origin_ns: int, bins: int = BINS) -> Timeline | None:
        """Memory and processor time in equal steps; None where too little was seen."""
        samples = self._watcher.samples
        at = np.frombuffer(samples.tick_ns, np.int64) - origin_ns
        if len(at) < 2:
            return None
        bins = min(bins, len(at) - 1)
        edges = np.linspace(at[0], at[-1], bins + 1).round().astype(np.int64)
        inside = np.clip(np.searchsorted(edges, at, side="left") - 1, 0, bins - 1)
        rss = np.full(bins, -1, np.int64)
        np.maximum.at(rss, inside, np.frombuffer(samples.tick_rss, np.int64))
        cpu = np.interp(edges, at, np.frombuffer(samples.tick_cpu_ns, np.int64).astype(float))
        return Timeline(
            edges_ns=tuple(edges.tolist()),
            rss_bytes=tuple(None if v < 0 else v for v in rss.tolist()),
            cpu_ns=tuple(np.diff(cpu).round().astype(int).tolist()),
            threads=self._thread_lines(edges + origin_ns),
        )

    def _thread_lines(self, edges: Ints) -> tuple[ThreadLine, ...]:
        """Time on a processor of each thread; those of one name that came one after another share a line."""
        samples = self._watcher.samples
        at, cpu, wall = (np.frombuffer(column, np.int64) for column in (samples.at_ns, samples.cpu_ns, samples.wall_ns))
        number = np.array(samples.thread, np.int64)
        lines: dict[str, Ints] = {}
        for n, name in enumerate(samples.thread_names):
            own = (number == n) & (wall > 0) & (cpu >= 0)
            if not own.any():
                continue
            ends = np.repeat(at[own], 2)
            ends[::2] -= wall[own]
            total = np.repeat(np.cumsum(np.minimum(cpu[own], wall[own])), 2)
            total[::2] -= np.minimum(cpu[own], wall[own])
            busy = np.diff(np.interp(edges, ends, total.astype(float))).round().astype(np.int64)
            lines[name] = lines[name] + busy if name in lines else busy
        return tuple(ThreadLine(name=name, busy_ns=tuple(busy.tolist())) for name, busy in lines.items())

    def overhead_ns(self) -> int:
        """Processor time that the watching thread took; what it made others wait comes on top."""
        return self._watcher.samples.own_cpu_ns

    def interval_ns(self) -> int:
        return self._watcher.samples.interval_ns

    def doubts(self) -> list[Doubt]:
        cpu = self._watcher.samples.cpu_ns
        if len(cpu) and all(ns < 0 for ns in cpu):
            return [Doubt(kind="no_thread_times")]
        return []


def categories() -> tuple[str, ...]:
    """What `Span.sampled` may hold beside `samples`, each with `_ns`."""
    return (KERNEL, LIBRARY, PYTHON, UNCLEAR, "waiting", "crowded")
