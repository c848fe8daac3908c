"""Independent pieces of work, in as many threads as may be used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType

Task = Callable[[], None]


class Workers:
    """Threads that last until the end of a `with`; one thread works by itself."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="integrate") if threads > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run_all(self, tasks: list[Task]) -> None:
        """Run all of them, in any order."""
        if self._pool is None or len(tasks) == 1:
            for task in tasks:
                task()
            return
        for future in [self._pool.submit(task) for task in tasks]:
            future.result()

    def in_parts(self, n: int, size: int, do: Callable[[int, int], None]) -> None:
        """Run do(begin, end) over range(n)."""
        size = n if self._pool is None else size
        self.run_all([partial(do, a, min(a + size, n)) for a in range(0, n, max(size, 1))])
