"""Progress bars on stderr; silent where that is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hdrmx.frames import Frame, FrameSource


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that takes how much is done by now, and of how much."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def frame_progress(sources: Sequence[FrameSource]) -> Iterator[tuple[FrameSource, ...]]:
    """Gives sources that move a bar as their frames are read; the sources themselves where nobody would see the bar."""
    if not sys.stderr.isatty():
        yield tuple(sources)
        return
    with progress_bar("frames", len(sources[0].indices)) as show:
        yield tuple(_Watched(source, show) for source in sources)


class _Watched:
    """A source that tells of each frame taken from it and leaves the rest to the source itself."""

    def __init__(self, source: FrameSource, show: Callable[[int, int], None]) -> None:
        self._source, self._show = source, show

    def frames(self) -> Iterator[Frame]:
        n = len(self._source.indices)
        for done, frame in enumerate(self._source.frames(), 1):
            yield frame
            self._show(done, n)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)
