"""Frames worked on by several threads, their results in the order of the frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from hdrmx.errors import BadFrame
from hdrmx.frames import Frame

Result = TypeVar("Result")


def in_order(
    work: Callable[[Frame], Result], frames: Iterable[Frame], threads: int, *, ahead: int, name: str
) -> Iterator[tuple[Frame, Result | BadFrame]]:
    """What each frame gave, in the order of the frames; a BadFrame that `work` raises is given, too.

    At most `ahead` frames for each thread are under way, so that memory doesn't grow with the number of frames.
    `name` is that of the threads.
    """

    def attempt(frame: Frame) -> Result | BadFrame:
        try:
            return work(frame)
        except BadFrame as error:
            return error

    if threads <= 1:
        for frame in frames:
            yield frame, attempt(frame)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    waiting: deque[tuple[Frame, Future[Result | BadFrame]]] = deque()
    try:
        for frame in frames:
            waiting.append((frame, pool.submit(attempt, frame)))
            if len(waiting) > ahead * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
