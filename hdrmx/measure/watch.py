"""A thread that looks at the others a few times in each hundredth of a second: where they are, and memory.

It needs no hook in the code watched, so that its price hangs on the clock alone and not on the number of calls. A
thread in a call that keeps the interpreter lock is seen when it gives the lock up, at the call that did so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from hdrmx.measure.stacks import Stacks

INTERVAL_S = 0.01
RESOURCES = ("cpu", "io", "memory")
PRESSURE_EVERY = 5  # ticks
FEW_TICKS = 12_000  # after so many the interval doubles, and again: long runs stay small
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass
class _Thread:
    number: int
    native_id: int | None
    handle: int | None  # of its schedstat
    cpu_ns: int = 0
    queued_ns: int = 0
    seen_ns: int = 0


@dataclass
class Samples:
    """What was seen. One tick looks at all threads; the columns of one look stand at the same index."""

    stacks: Stacks = field(default_factory=Stacks)
    base: frozenset[int] = frozenset()  # code (ids) of the calls that the watching was begun in
    thread_names: list[str] = field(default_factory=list)
    # looks
    at_ns: array[int] = field(default_factory=lambda: array("q"))  # perf_counter_ns
    thread: array[int] = field(default_factory=lambda: array("l"))
    stack: array[int] = field(default_factory=lambda: array("l"))
    wall_ns: array[int] = field(default_factory=lambda: array("q"))  # since the thread was looked at before
    cpu_ns: array[int] = field(default_factory=lambda: array("q"))  # that it ran of these; -1: not known
    queued_ns: array[int] = field(default_factory=lambda: array("q"))  # that it was ready and no processor was free
    # ticks
    tick_ns: array[int] = field(default_factory=lambda: array("q"))
    tick_rss: array[int] = field(default_factory=lambda: array("q"))  # -1: not known
    tick_cpu_ns: array[int] = field(default_factory=lambda: array("q"))  # of the process, total
    pressure_ns: array[int] = field(default_factory=lambda: array("q"))  # when these were read:
    pressure_us: dict[str, array[int]] = field(default_factory=dict)  # totals of /proc/pressure, "some"
    own_cpu_ns: int = 0  # what the watching itself took
    interval_ns: int = 0  # the last one


class Watcher:
    """`with Watcher() as watcher:` around the code; `watcher.samples` afterwards."""

    def __init__(
        self, interval_s: float = INTERVAL_S, proc: Path = Path("/proc/self"), pressure: Path = Path("/proc/pressure")
    ) -> None:
        self.samples = Samples(interval_ns=round(interval_s * 1e9))
        self._proc = proc
        self._threads: dict[int, _Thread] = {}
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._statm = _open(proc / "statm")
        self._pressure = {name: handle for name in RESOURCES if (handle := _open(pressure / name)) is not None}

    def __enter__(self) -> Watcher:
        frame, base = sys._getframe(), []
        while frame is not None:
            base.append(id(frame.f_code))
            frame = frame.f_back  # type: ignore[assignment]
        self.samples.base = frozenset(base)
        self._thread = threading.Thread(target=self._run, name="hdrmx watcher", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Look no more. May be called again."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for thread in self._threads.values():
            if thread.handle is not None:
                os.close(thread.handle)
        self._threads = {}
        if self._statm is not None:
            os.close(self._statm)
            self._statm = None
        for handle in self._pressure.values():
            os.close(handle)
        self._pressure = {}

    def _run(self) -> None:
        samples, own = self.samples, threading.get_ident()
        begin = time.thread_time_ns()
        due = time.perf_counter_ns()
        while True:
            self._tick(own)
            if len(samples.tick_ns) % FEW_TICKS == 0:
                samples.interval_ns *= 2
            samples.own_cpu_ns = time.thread_time_ns() - begin
            due = max(due + samples.interval_ns, time.perf_counter_ns())
            if self._done.wait((due - time.perf_counter_ns()) / 1e9):
                break
        self._tick(own)

    def _tick(self, own: int) -> None:
        samples, now = self.samples, time.perf_counter_ns()
        known = {thread.ident: thread for thread in threading.enumerate()}
        frames = sys._current_frames()
        for ident, frame in frames.items():
            if ident == own or ident not in known:
                continue
            thread = self._known(ident, known[ident], now)
            cpu_ns, queued_ns = _times_ns(thread.handle)
            samples.at_ns.append(now)
            samples.thread.append(thread.number)
            samples.stack.append(samples.stacks.number(frame))
            samples.wall_ns.append(now - thread.seen_ns)
            samples.cpu_ns.append(max(cpu_ns - thread.cpu_ns, 0) if cpu_ns >= 0 else -1)
            samples.queued_ns.append(max(queued_ns - thread.queued_ns, 0))
            thread.seen_ns, thread.cpu_ns, thread.queued_ns = now, cpu_ns, queued_ns
        del frames
        samples.tick_ns.append(now)
        samples.tick_rss.append(self._rss())
        samples.tick_cpu_ns.append(time.process_time_ns())
        if self._pressure and len(samples.tick_ns) % PRESSURE_EVERY == 1:
            self._look_at_pressure(now)

    def _look_at_pressure(self, now: int) -> None:
        found = {}
        for name, handle in self._pressure.items():
            with contextlib.suppress(OSError, ValueError):
                found[name] = int(os.pread(handle, 128, 0).split(b"\n")[0].rpartition(b"total=")[2])
        if len(found) == len(self._pressure):
            self.samples.pressure_ns.append(now)
            for name, total in found.items():
                self.samples.pressure_us.setdefault(name, array("q")).append(total)

    def _known(self, ident: int, thread: threading.Thread, now: int) -> _Thread:
        """What is kept of a thread; one that has the place of an ended one is a new one."""
        kept = self._threads.get(ident)
        if kept is None or kept.native_id != thread.native_id:
            if kept is not None and kept.handle is not None:
                os.close(kept.handle)
            names = self.samples.thread_names
            names.append("main" if thread is threading.main_thread() else thread.name)
            handle = _open(self._proc / "task" / str(thread.native_id) / "schedstat")
            kept = _Thread(len(names) - 1, thread.native_id, handle, *_times_ns(handle), now)
            self._threads[ident] = kept
        return kept

    def _rss(self) -> int:
        if self._statm is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                return int(os.pread(self._statm, 128, 0).split()[1]) * _PAGE_BYTES
        return -1


def _times_ns(handle: int | None) -> tuple[int, int]:
    """Time on a processor, and ready without one, from schedstat; -1, 0 where the kernel doesn't tell."""
    if handle is not None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            ran, queued = os.pread(handle, 64, 0).split()[:2]
            return int(ran), int(queued)
    return -1, 0


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
