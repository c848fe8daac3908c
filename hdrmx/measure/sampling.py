"""Samples of the call stack of the thread that starts it, by pyinstrument.

A sample inside a compiled kernel is counted for the Python function that called it; worker threads
aren't sampled. The price hangs on the number of Python calls, not on the work inside kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

INTERVAL_S = 0.001
MOST_SAMPLES = 50_000  # a page with more is slow to open in a browser


class Sampler:
    """`with Sampler() as sampler:` around the code; `write` afterwards. One at a time in a process."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        from pyinstrument import Profiler

        self._profiler: Any = Profiler(interval=interval_s, async_mode="disabled")
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
        save(folder / names["pyinstrument"], HTMLRenderer().render(session))
        save(folder / names["speedscope"], SpeedscopeRenderer().render(session))
        return names
