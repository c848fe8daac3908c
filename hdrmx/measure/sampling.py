"""Samples of the call stack of the thread that starts it, by pyinstrument.

Compiled kernels appear by their names below the functions that called them. Worker threads aren't sampled. The price
hangs on the number of calls, of Python functions and from Python to C, and not on the work inside kernels nor much on
the interval.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

INTERVAL_S = 0.001
MOST_SAMPLES = 50_000  # a page with more is slow to open in a browser
_ROOT_ONLY = 2  # entries of the stack of a kernel without callers: the thread, and itself (not yet when it is entered)
_WEB_FONT = re.compile(r"https://fonts\.googleapis\.com/[^\"']*")


class Sampler:
    """`with Sampler() as sampler:` around the code; `write` afterwards. One at a time in a process."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._profiler: Any = _profiler(interval_s)
        self._session: Any = None

    def __enter__(self) -> Sampler:
        self._profiler.start(target_description="hdrmx")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session = self._profiler.stop()

    @property
    def n_samples(self) -> int:
        return 0 if self._session is None else int(self._session.sample_count)

    def write(self, folder: Path, save: Callable[[Path, str], object]) -> dict[str, str]:
        """Write pyinstrument's page and a speedscope profile into a folder; their names by kind.

        `save(path, text)` does the writing. Nothing is written when nothing was sampled.
        """
        if self.n_samples == 0:
            return {}
        from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

        session = self._session
        if session.sample_count > MOST_SAMPLES:
            session = session.resample(interval=session.duration / MOST_SAMPLES)
        names = {"pyinstrument": "pyinstrument.html", "speedscope": "profile.speedscope.json"}
        page = _WEB_FONT.sub("data:text/css,", HTMLRenderer().render(session))  # it must open without a network
        save(folder / names["pyinstrument"], page)
        # Each call is a node of its own here, and none may be dropped for being short.
        speedscope = SpeedscopeRenderer(processor_options={"filter_threshold": 0})
        save(folder / names["speedscope"], speedscope.render(session))
        return names


def _profiler(interval_s: float) -> Any:
    """A profiler that puts kernels in their place.

    numba tells a profiler of each call of a kernel with a frame that has no caller, so that pyinstrument would show
    kernels at the foot of the stack. The frames that are running in truth are at hand when it takes the sample.
    """
    from pyinstrument import Profiler
    from pyinstrument.stack_sampler import build_call_stack

    class KernelProfiler(Profiler):
        def _sampler_saw_call_stack(self, call_stack: list[str], *rest: Any) -> None:
            if len(call_stack) <= _ROOT_ONLY:
                running = build_call_stack(_running(sys._getframe(1)), "sample", None)
                if len(running) > len(call_stack):
                    call_stack = [*running, *(name for name in call_stack[1:] if name not in running)]
            super()._sampler_saw_call_stack(call_stack, *rest)

    return KernelProfiler(interval=interval_s, async_mode="disabled")


def _running(frame: FrameType | None) -> FrameType | None:
    """The frame that was interrupted: the first outside of pyinstrument."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("pyinstrument."):
        frame = frame.f_back
    return frame
