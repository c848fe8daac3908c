"""The recorder: brackets in, a tree of measured spans out.

    recorder = Recorder()
    results = process(source, params, around=recorder)
    tree = recorder.finish()

A bracket opened in a worker thread hangs below the innermost open bracket of the recorder's own thread.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import numpy as np

from hdrmx.measure.process import WITHIN_SPAN, Meter, ProcessMeter, Reading, cost_between
from hdrmx.record import PART, STAGE, Cost, Doubt, Span


class OpenSpan:
    """A bracket; `with` starts and ends it. Satisfies `observe.Span`."""

    def __init__(self, recorder: Recorder, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self._recorder = recorder
        self.counts: dict[str, int] = {}
        self.answers: dict[str, Any] = {}
        self.children: list[OpenSpan] = []
        self.thread = 0
        self.start: Reading | None = None
        self.end: Reading | None = None
        self.start_ns = self.end_ns = 0
        self.peak_bytes: int | None = None
        self.error: str | None = None
        self.finished = True
        self.parts: dict[tuple[int, str], Part] = {}

    def count(self, **counts: int) -> None:
        """Add exact amounts of work done, by name; safe from any thread."""
        with self._recorder.lock:
            for name, n in counts.items():
                self.counts[name] = self.counts.get(name, 0) + int(n)

    def answer(self, **answers: object) -> None:
        """Keep results by name, as plain values that JSON can hold."""
        with self._recorder.lock:
            self.answers.update({name: plain(value) for name, value in answers.items()})

    def part(self, name: str) -> Part:
        """The sum of this name and of the calling thread; not to be entered again before it is left."""
        key = threading.get_ident(), name
        return self.parts.get(key) or self._recorder.add_part(self, key)

    def __enter__(self) -> OpenSpan:
        self._recorder.begin(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self.error = f"{kind.__name__}: {error}".rstrip(": ")
        self._recorder.end(self)


class Part:
    """Adds up the wall time spent inside it: two readings of the clock each time, nothing else."""

    __slots__ = ("_now_ns", "_since_ns", "times", "total_ns")

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._since_ns = self.total_ns = self.times = 0

    def __enter__(self) -> Part:
        self._since_ns = self._now_ns()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.total_ns += self._now_ns() - self._since_ns
        self.times += 1


class Recorder:
    """Watches a run; give it to `pipeline.process` as `around`.

    Parameters
    ----------
    meter : where the numbers come from; this process, unless a test puts in another
    on_begin : called with the name of each bracket of the recorder's own thread as it opens (a progress line)
    """

    def __init__(self, meter: Meter | None = None, on_begin: Callable[[str], None] | None = None) -> None:
        self.meter = meter or ProcessMeter()
        self.lock = threading.RLock()
        self._on_begin = on_begin
        self._own_thread = threading.get_ident()
        self._threads = {self._own_thread: 0}
        self._stacks: dict[int, list[OpenSpan]] = {0: []}
        self._tree: Span | None = None
        self._root = OpenSpan(self, "run", STAGE)
        self.begin(self._root)

    def __call__(self, name: str, kind: str = STAGE) -> OpenSpan:
        return OpenSpan(self, name, kind)

    def add_part(self, span: OpenSpan, key: tuple[int, str]) -> Part:
        with self.lock:
            self._threads.setdefault(key[0], len(self._threads))
            return span.parts.setdefault(key, Part(self.meter.now_ns))

    def begin(self, span: OpenSpan) -> None:
        with self.lock:
            span.thread = self._threads.setdefault(threading.get_ident(), len(self._threads))
            stack = self._stacks.setdefault(span.thread, [])
            above = stack or self._stacks[0]
            if above:
                above[-1].children.append(span)
            stack.append(span)
            reading = self.meter.read()
            self._note_peak(reading, beginning=span)
            self.meter.reset_peak()
            span.start, span.start_ns = reading, self.meter.now_ns()
        if self._on_begin is not None and span.thread == 0:
            self._on_begin(span.name)

    def end(self, span: OpenSpan) -> None:
        end_ns = self.meter.now_ns()
        with self.lock:
            if span.end is not None or span.start is None:
                return
            self._end_at(span, end_ns, self.meter.read())

    def _end_at(self, span: OpenSpan, end_ns: int, reading: Reading) -> None:
        self._note_peak(reading)
        if self._threads.get(threading.get_ident()) != span.thread:
            reading = dataclasses.replace(reading, thread_ns=None)  # another thread's clock
        span.end_ns, span.end = end_ns, reading
        self._stacks[span.thread].remove(span)

    def current(self) -> OpenSpan:
        """The innermost open bracket of the calling thread; where it has none, of the recorder's own."""
        with self.lock:
            thread = self._threads.get(threading.get_ident(), 0)
            stack = self._stacks.get(thread) or self._stacks[0]
            return stack[-1] if stack else self._root

    def answer(self, **answers: object) -> None:
        """Answers of the whole run."""
        self._root.answer(**answers)

    def finish(self) -> Span:
        """End the run and return its tree; brackets still open are cut off and marked so. May be called again."""
        with self.lock:
            if self._tree is None:
                end_ns, reading = self.meter.now_ns(), self.meter.read()
                for span in reversed(self._open()):
                    span.finished = span is self._root
                    self._end_at(span, end_ns, reading)
                self._tree = self._closed(self._root)
                self.meter.close()
            return self._tree

    def doubts(self) -> list[Doubt]:
        """What couldn't be measured here."""
        return self.meter.doubts()

    def _open(self) -> list[OpenSpan]:
        return [span for stack in self._stacks.values() for span in stack]

    def _note_peak(self, reading: Reading, beginning: OpenSpan | None = None) -> None:
        """Spread the peak since the last reset over all spans that were open then.

        Where the peak can't be reset it counts for a span only once it has grown within it; otherwise
        the larger of the sizes at the span's two ends stands for it, a lower bound.
        """
        for span in self._open():
            seen = reading.peak_bytes
            if span is beginning:
                seen = reading.rss_bytes
            elif self.meter.peak_memory != WITHIN_SPAN:
                before = span.start.peak_bytes if span.start else None
                if seen is None or before is None or seen <= before:
                    seen = reading.rss_bytes
            if seen is not None:
                span.peak_bytes = max(span.peak_bytes or 0, seen)

    def _closed(self, span: OpenSpan) -> Span:
        if span.start is None or span.end is None:
            raise RuntimeError(f"span {span.name} was never begun")
        return Span(
            name=span.name,
            kind=span.kind,
            thread=span.thread,
            start_ns=span.start_ns - self._root.start_ns,
            finished=span.finished,
            error=span.error,
            cost=dataclasses.replace(cost_between(span.start, span.end), wall_ns=span.end_ns - span.start_ns),
            rss_start_bytes=span.start.rss_bytes,
            rss_end_bytes=span.end.rss_bytes,
            peak_bytes=span.peak_bytes,
            counts=dict(span.counts),
            answers=dict(span.answers),
            children=(*(self._closed(child) for child in span.children), *self._parts(span)),
        )

    def _parts(self, span: OpenSpan) -> Iterator[Span]:
        for (thread, name), part in span.parts.items():
            yield Span(
                name=name,
                kind=PART,
                thread=self._threads[thread],
                start_ns=span.start_ns - self._root.start_ns,
                cost=Cost(wall_ns=part.total_ns),
                counts={"times": part.times},
            )


def plain(value: Any) -> Any:
    """The same value in terms of JSON: numbers, texts, lists and dicts; NaN and infinities become None."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
