"""Frames worked on by several threads, their results in the order of the frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from hdrmx.errors import BadFrame
from hdrmx.frames import Frame

Result = TypeVar("Result")


def in_order(
    work: Callable[[Frame], Result],
    frames: Iterable[Frame],
    threads: int,
    *,
    ahead: int,
    name: str,
    together: int = 1,
) -> Iterator[tuple[Frame, Result | BadFrame]]:
    """What each frame gave, in the order of the frames; a BadFrame that `work` raises is given, too.

    A thread takes `together` neighbouring frames at a time: where frames are small, handing them over one by one would
    wake a thread for each. At most `ahead` such handfuls for each thread are under way, so that memory
    doesn't grow with the number of frames. `name` is that of the threads.
    """

    def attempt(frame: Frame) -> Result | BadFrame:
        try:
            return work(frame)
        except BadFrame as error:
            return error

    def attempt_all(handful: list[Frame]) -> list[Result | BadFrame]:
        return [attempt(frame) for frame in handful]

    if threads <= 1:
        for frame in frames:
            yield frame, attempt(frame)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    waiting: deque[tuple[list[Frame], Future[list[Result | BadFrame]]]] = deque()
    left = iter(frames)
    try:
        while handful := list(islice(left, together)):
            waiting.append((handful, pool.submit(attempt_all, handful)))
            if len(waiting) > ahead * threads:
                first, future = waiting.popleft()
                yield from zip(first, future.result())
        while waiting:
            first, future = waiting.popleft()
            yield from zip(first, future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
