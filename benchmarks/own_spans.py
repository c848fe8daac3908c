"""What the public interface costs, on and off: run as a program, or by asv."""

from __future__ import annotations

import tempfile
import time
import timeit
from collections.abc import Callable

from hdrmx.measure import count, measured, recording, span


@measured
def _measured() -> None:
    pass


def _plain() -> None:
    pass


def _span() -> None:
    with span("a"):
        pass


def _count() -> None:
    count(frames=1)


class OwnSpansOff:
    """Nobody records."""

    def time_span(self) -> None:
        _span()

    def time_count(self) -> None:
        _count()

    def time_decorated_call(self) -> None:
        _measured()

    def time_plain_call(self) -> None:
        _plain()


def best_ns(function: Callable[[], None], number: int) -> float:
    """Processor time; of 99 rounds, with the call of an empty function taken off."""
    rounds = [timeit.repeat(f, number=number, repeat=99, timer=time.thread_time) for f in (function, _plain)]
    return (min(rounds[0]) - min(rounds[1])) / number * 1e9


def main() -> None:
    cases = (("`with span(...)`", _span), ("`count(frames=1)`", _count), ("a `@measured` call", _measured))
    off = [best_ns(function, 5000) for _, function in cases]
    with tempfile.TemporaryDirectory() as folder, recording(folder), span("all"):
        on = [best_ns(function, 100) for _, function in cases]
    print("| | off, ns | on, us |\n|---|---|---|")
    for (name, _), without, with_ in zip(cases, off, on):
        print(f"| {name} | {without:.0f} | {with_ / 1e3:.1f} |")


if __name__ == "__main__":
    main()
