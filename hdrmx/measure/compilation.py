"""Time spent in numba's compiler, heard from the events that numba itself sends out."""

from __future__ import annotations

import threading
import time
from typing import Any

from hdrmx.record import Doubt, Span, stages

WORTH_SAYING_NS = 5_000_000


class Compilation:
    """Adds up the wall time that threads spend compiling kernels or loading them from the cache.

    `start` imports numba; a thread that waits for another's compilation counts as compiling.
    """

    def __init__(self) -> None:
        self.total_ns = self.cpu_ns = 0
        self.compiled = 0  # kernels compiled, not those loaded from the cache
        self._depth = threading.local()
        self._lock = threading.Lock()
        self._listeners: list[tuple[str, Any]] = []

    def start(self) -> Compilation:
        from numba.core import event

        class Lock(event.Listener):
            def on_start(listener, event: Any) -> None:
                self._enter()

            def on_end(listener, event: Any) -> None:
                self._leave()

        class Compile(event.Listener):
            def on_start(listener, event: Any) -> None:
                with self._lock:
                    self.compiled += 1

            def on_end(listener, event: Any) -> None:
                return None

        self._listeners = [("numba:compiler_lock", Lock()), ("numba:compile", Compile())]
        for kind, listener in self._listeners:
            event.register(kind, listener)
        return self

    def stop(self) -> None:
        from numba.core import event

        for kind, listener in self._listeners:
            event.unregister(kind, listener)
        self._listeners = []

    def totals(self) -> dict[str, int]:
        """By the names that they have in `record.Cost`."""
        with self._lock:
            return {
                "compile_ns": self.total_ns,
                "compile_cpu_ns": self.cpu_ns,
                "kernels_compiled": self.compiled,
            }

    def _enter(self) -> None:
        depth = getattr(self._depth, "n", 0)
        if depth == 0:
            self._depth.since = time.perf_counter_ns(), time.thread_time_ns()
        self._depth.n = depth + 1

    def _leave(self) -> None:
        self._depth.n = getattr(self._depth, "n", 1) - 1
        if self._depth.n == 0:
            wall, cpu = self._depth.since
            with self._lock:
                self.total_ns += time.perf_counter_ns() - wall
                self.cpu_ns += time.thread_time_ns() - cpu


def doubts_of(run: Span) -> list[Doubt]:
    """Stages in which kernels were compiled although they should have been warm."""
    found = []
    for stage in stages(run):
        waited_ns, compiled = stage.cost.compile_ns or 0, stage.cost.kernels_compiled
        if compiled and waited_ns > WORTH_SAYING_NS:
            numbers = {"stage": stage.name, "seconds": round(waited_ns / 1e9, 4), "compiled": compiled}
            found.append(Doubt(kind="compiled_in_stage", numbers=numbers))
    return found
