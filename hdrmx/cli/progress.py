"""Progress bars on stderr; silent where that is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
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
def frame_progress(source: FrameSource) -> Iterator[FrameSource]:
    """Gives a source that moves a bar as its frames are read; the source itself where nobody would see the bar."""
    if not sys.stderr.isatty():
        yield source
        return
    n = len(source.indices)
    with progress_bar("frames", n) as show:
        yield _Watched(source, lambda done: show(done, n))


class _Watched:
    """A source that tells of each frame taken from it and leaves the rest to the source itself."""

    def __init__(self, source: FrameSource, tell: Callable[[int], None]) -> None:
        self._source, self._tell = source, tell

    def frames(self) -> Iterator[Frame]:
        for done, frame in enumerate(self._source.frames(), 1):
            yield frame
            self._tell(done)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)
