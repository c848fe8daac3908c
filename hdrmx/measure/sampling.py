"""Samples of the call stack of the thread that starts it, by pyinstrument.

Compiled kernels appear by their names, but at the foot of the stack and not below their callers: that is how numba
reports them to a profiler. Worker threads aren't sampled. The price hangs on the number of calls, of Python functions
and from Python to C, and not on the work inside kernels nor much on the interval.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

INTERVAL_S = 0.001
MOST_SAMPLES = 50_000  # a page with more is slow to open in a browser
_WEB_FONT = re.compile(r"https://fonts\.googleapis\.com/[^\"']*")


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
        page = _WEB_FONT.sub("data:text/css,", HTMLRenderer().render(session))  # it must open without a network
        save(folder / names["pyinstrument"], page)
        save(folder / names["speedscope"], SpeedscopeRenderer().render(session))
        return names
