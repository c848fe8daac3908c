"""Brackets and counters for a program of one's own; while nobody records they do nothing, in well under a microsecond.

    from hdrmx.measure import count, measured, recording, span

    @measured
    def integrate(frames):
        with span("read"):
            ...
        count(frames=len(frames))

    with recording("profile"):
        integrate(frames)

With the variable HDRMX_MEASURE set to a folder a program that has brackets is recorded there without being changed.
Imports nothing but the standard library and `hdrmx.observe`, so that any program can afford it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from hdrmx.observe import Span, unobserved

if TYPE_CHECKING:
    from hdrmx.measure.recorder import Recorder

P = ParamSpec("P")
R = TypeVar("R")

_recorder: Recorder | None = None  # of the recording that is going on in this process


def span(name: str) -> AbstractContextManager[Span]:
    """A bracket: `with span("read") as read: read.count(frames=1)`.

    Brackets nest; one opened in a worker thread hangs below the innermost one of the thread that records. One that
    records costs some 50 microseconds: it belongs round work of 10 ms and more.
    """
    return unobserved(name) if _recorder is None else _recorder(name)


def count(**counts: int) -> None:
    """Add exact amounts of work to the innermost open bracket of this thread: `count(frames=1, pixels=n)`."""
    if _recorder is not None:
        _recorder.current().count(**counts)


def answer(**answers: object) -> None:
    """Keep results with the innermost open bracket: `answer(spots=n, cell=cell)`; speed is never read without them."""
    if _recorder is not None:
        _recorder.current().answer(**answers)


@overload
def measured(function: Callable[P, R]) -> Callable[P, R]: ...


@overload
def measured(function: str) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def measured(function: Callable[P, R] | str) -> Any:
    """A bracket round each call of a function, by its name, or another: `@measured` or `@measured("integrate")`.

    Raises
    ------
    TypeError : the function is a generator or a coroutine, of which a call does nothing yet
    """
    if isinstance(function, str):
        return functools.partial(_bracketed, name=function)
    return _bracketed(function, name=function.__name__)


def _bracketed(function: Callable[P, R], name: str) -> Callable[P, R]:
    kinds = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    if any(is_kind(function) for is_kind in kinds):
        raise TypeError(f"{function.__qualname__} does its work after the call returns: put `with span(...)` inside it")

    @functools.wraps(function)
    def bracketed(*args: P.args, **kwargs: P.kwargs) -> R:
        if _recorder is None:
            return function(*args, **kwargs)
        with _recorder(name):
            return function(*args, **kwargs)

    return bracketed


def use(recorder: Recorder | None) -> Recorder | None:
    """Send all brackets of this process to a recorder, or to none; gives the one before."""
    global _recorder
    before, _recorder = _recorder, recorder
    return before


def _forget() -> None:
    use(None)


if hasattr(os, "register_at_fork"):  # a forked worker has only a copy, which nobody would ever read
    os.register_at_fork(after_in_child=_forget)

if os.environ.get("HDRMX_MEASURE"):
    from pathlib import Path

    from hdrmx.adapters.recording import record_until_exit

    record_until_exit(Path(os.environ["HDRMX_MEASURE"]))
