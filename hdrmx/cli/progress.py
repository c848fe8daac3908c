"""A progress bar over the frames of a source; silent where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hdrmx.frames import Frame, FrameSource


@contextmanager
def frame_progress(source: FrameSource) -> Iterator[FrameSource]:
    """Gives a source that moves a bar on stderr as its frames are read; the source itself when that is no terminal."""
    if not sys.stderr.isatty():
        yield source
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("frames", total=len(source.indices))
        yield _Watched(source, lambda: bar.advance(task))


class _Watched:
    """A source that tells of each frame taken from it and leaves the rest to the source itself."""

    def __init__(self, source: FrameSource, tell: Callable[[], None]) -> None:
        self._source, self._tell = source, tell

    def frames(self) -> Iterator[Frame]:
        for frame in self._source.frames():
            yield frame
            self._tell()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)
