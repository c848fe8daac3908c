"""The bracket through which a run may be watched: `with around("find_spots") as span:`.

The science code knows these few lines and no more. `unobserved` does nothing;
`hdrmx.measure.Recorder` is the other implementation. The results are the same with either.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol


class Span(Protocol):
    """What a bracket hands to the code inside it."""

    def count(self, **counts: int) -> None:
        """Add exact amounts of work done, by name (frames, decodes, pixels, ...)."""

    def answer(self, **answers: object) -> None:
        """Keep results by name (spots, cell, ...), so that speed is never read without them."""

    def part(self, name: str) -> AbstractContextManager[object]:
        """Bracket for work that comes by many times, in any thread: the sum of its times is kept."""


Part = Callable[[str], AbstractContextManager[object]]  # `Span.part`


class Around(Protocol):
    def __call__(self, name: str) -> AbstractContextManager[Span]: ...


class _Unobserved:
    def __enter__(self) -> _Unobserved:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def count(self, **counts: int) -> None:
        return None

    def answer(self, **answers: object) -> None:
        return None

    def part(self, name: str) -> _Unobserved:
        return self


_UNOBSERVED = _Unobserved()
no_part: Part = _UNOBSERVED.part


def unobserved(name: str) -> AbstractContextManager[Span]:
    """The bracket that watches nothing."""
    return _UNOBSERVED
