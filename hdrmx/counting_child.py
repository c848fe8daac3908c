"""Run as a program by `counting`: the pipeline twice in one process, the second time with one kind of cost counted.

    python -m hdrmx.counting_child calls spec.json answer.json

The first pass imports, loads kernels and fills caches, so that none of it is counted. Only the answer is written.
"""

from __future__ import annotations

import ctypes
import json
import sys
import tracemalloc
from contextlib import AbstractContextManager, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import msgspec

from hdrmx.io.open import open_source, read_mask
from hdrmx.measure.calls import CallCounter
from hdrmx.measure.instructions import PerfCounter, Valgrind
from hdrmx.observe import no_part, unobserved
from hdrmx.params import Params
from hdrmx.pipeline import process


class Kind(Protocol):
    """Counts one kind of cost between `begin` and `end`."""

    def begin(self) -> None: ...

    def end(self, stage: str) -> None: ...

    def answer(self) -> dict[str, Any]: ...


class Nothing:
    """Counts nothing: the run only compiles kernels for the processor asked for."""

    def begin(self) -> None:
        return None

    def end(self, stage: str) -> None:
        return None

    def answer(self) -> dict[str, Any]:
        return {}


class Calls:
    def __init__(self) -> None:
        self._counter = CallCounter()
        self._stages: dict[str, dict[str, int]] = {}

    def begin(self) -> None:
        self._counter.start()

    def end(self, stage: str) -> None:
        functions = self._stages.setdefault(stage, {})
        for name, n in self._counter.stop().items():
            functions[name] = functions.get(name, 0) + n

    def answer(self) -> dict[str, Any]:
        return {"functions": self._stages}


class Allocations:
    """Bytes that Python and numpy hold, by tracemalloc: the peak of a stage above its beginning, and what it kept."""

    def __init__(self) -> None:
        self._peaks: dict[str, int] = {}
        self._kept: dict[str, int] = {}

    def begin(self) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start(1)
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]

    def end(self, stage: str) -> None:
        now, peak = tracemalloc.get_traced_memory()
        self._peaks[stage] = max(self._peaks.get(stage, 0), peak - self._before)
        self._kept[stage] = self._kept.get(stage, 0) + now - self._before

    def answer(self) -> dict[str, Any]:
        tracemalloc.stop()
        return {"peak": self._peaks, "kept": self._kept}


class Allocated:
    """All that was asked of malloc, by `measure/allocated.c`, which `counting` has loaded before."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._bytes, self._calls = library.hdrmx_allocated_bytes, library.hdrmx_allocated_calls
        self._bytes.restype = self._calls.restype = ctypes.c_ulonglong
        self._stages: dict[str, int] = {}
        self._n: dict[str, int] = {}

    def begin(self) -> None:
        self._before = self._bytes(), self._calls()

    def end(self, stage: str) -> None:
        now = self._bytes(), self._calls()
        self._stages[stage] = self._stages.get(stage, 0) + now[0] - self._before[0]
        self._n[stage] = self._n.get(stage, 0) + now[1] - self._before[1]

    def answer(self) -> dict[str, Any]:
        return {"bytes": self._stages, "calls": self._n}


class Callgrind:
    """Has valgrind write a dump for each stage; `counting` reads them."""

    def __init__(self) -> None:
        self._valgrind = Valgrind()
        if not self._valgrind.is_here:
            raise SystemExit("not under valgrind")

    def begin(self) -> None:
        self._valgrind.start()

    def end(self, stage: str) -> None:
        self._valgrind.stop(stage)

    def answer(self) -> dict[str, Any]:
        return {}


class Perf:
    def __init__(self) -> None:
        self._counter = PerfCounter()
        self._stages: dict[str, int] = {}

    def begin(self) -> None:
        self._counter.start()

    def end(self, stage: str) -> None:
        self._stages[stage] = self._stages.get(stage, 0) + self._counter.stop()

    def answer(self) -> dict[str, Any]:
        return {"instructions": self._stages}


KINDS: dict[str, type[Kind]] = {
    "nothing": Nothing,
    "calls": Calls,
    "allocations": Allocations,
    "allocated": Allocated,
    "callgrind": Callgrind,
    "perf": Perf,
}


class _Bracket:
    """Of a stage; brackets within it pass. Satisfies `observe.Span`."""

    depth = 0

    def __init__(self, kind: Kind, name: str) -> None:
        self._kind, self._name = kind, name

    def __enter__(self) -> _Bracket:
        _Bracket.depth += 1
        if _Bracket.depth == 1:
            self._kind.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if _Bracket.depth == 1:
            self._kind.end(self._name)
        _Bracket.depth -= 1

    def count(self, **counts: int) -> None:
        return None

    def answer(self, **answers: object) -> None:
        return None

    def part(self, name: str) -> AbstractContextManager[object]:
        return no_part(name)


def main(kind_name: str, spec_path: str, answer_path: str) -> None:
    spec = json.loads(Path(spec_path).read_text(encoding="utf-8"))
    kind = KINDS[kind_name]()
    params = msgspec.convert(spec["params"], Params, strict=False)
    images = None if spec["images"] is None else range(*spec["images"])
    frames = 0
    for counted in (False, True) if kind_name != "nothing" else (False,):
        with closing(open_source(spec["data"], images)) as source:
            mask = read_mask(spec["mask"], source.shape) if spec["mask"] else None
            process(
                source,
                params,
                (lambda name: _Bracket(kind, name)) if counted else unobserved,
                threads=1,
                skip_bad_frames=spec["skip_bad_frames"],
                mask=mask,
                until=spec["until"],
            )
            frames = len(source.indices)
    Path(answer_path).write_text(json.dumps({"frames": frames, **kind.answer()}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
