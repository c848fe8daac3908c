"""What runs in the measured process: one function at many sizes, one way of looking.

Standard library alone, so that any interpreter can run this file, another program's too:

    python child.py REQUEST.json

The request names the function, the sizes, the mode and the file for the samples, one JSON object a line.
`mode` is one of `_MODES`. A function's module may have `setup_FUNCTION(n)`; its result is then passed instead of n,
made anew for each call and not measured.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_SHORTEST_S = 2e-4  # shorter calls are repeated until they take this long together
_IO = ("rchar", "wchar", "syscr", "syscw")
_WHOLE_ROUNDS, _PATIENCE = 3, 1.5  # so many repeats are made of each size, though it takes so much longer
_DEPTH = 12  # calls kept with each allocation, to find whose it is below a library
_LIBRARIES = (os.path.dirname(os.__file__) + os.sep, "site-packages", "dist-packages")
_WARM_UP = 8  # the adaptive interpreter specialises what has run this often
_WARM_UP_S = 0.3


class Work:
    """The function with its setup."""

    def __init__(self, target: str) -> None:
        where, _, name = target.rpartition(":")
        module = load(where)
        self.function: Callable[[Any], Any] = find(module, name)
        setup_name = "setup_" + name.rpartition(".")[2]
        self.setup: Callable[[int], Any] | None = getattr(module, setup_name, None)
        self.setup_s = 0.0  # spent on setup so far, which isn't counted

    @property
    def counters(self) -> dict[str, int]:
        """What the function counts, when it does."""
        return getattr(sys.modules.get("hdrmx.complexity.counters"), "COUNTS", {})

    def argument(self, n: int) -> Any:
        if self.setup is None:
            return n
        start = time.perf_counter()
        made = self.setup(n)
        self.setup_s += time.perf_counter() - start
        return made


def load(where: str) -> Any:
    """A module by name, or by the path of its file."""
    if not where.endswith(".py"):
        return importlib.import_module(where)
    path = Path(where).resolve()
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def find(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    if not callable(module):
        raise TypeError(f"{name} is no function")
    return module


def main(path: str) -> int:
    request = json.loads(Path(path).read_text())
    with open(request["out"], "a", buffering=1) as out:

        def write(**sample: Any) -> None:
            out.write(json.dumps(sample) + "\n")

        sys.path[:0] = request.get("path", [])
        try:
            if request.get("before"):
                where, _, name = request["before"].rpartition(":")
                find(load(where), name)()
            work = Work(request["target"])
        except Exception as error:
            write(error=f"{type(error).__name__}: {error}", stage="load")
            return 3
        try:
            _MODES[request["mode"]](work, request, write)
        except Exception as error:
            write(error=f"{type(error).__name__}: {error}", stage="run")
            return 2
        write(done=True)
    return 0


def _warm_up(work: Work, n: int) -> None:
    end = time.perf_counter() + _WARM_UP_S
    for _ in range(_WARM_UP):
        work.function(work.argument(n))
        if time.perf_counter() > end:
            break
    gc.collect()
    gc.freeze()  # what libraries hold is not looked through again before each call


def _probe(work: Work, request: dict[str, Any], write: Callable[..., None]) -> None:
    """Double the size until a call takes as long as it may."""
    n, limit, end = request["first"], request["limit_s"], time.perf_counter() + request["probe_s"]
    _warm_up(work, n)
    while n <= request["last"]:
        began = time.perf_counter()
        argument = work.argument(n)
        start = time.perf_counter()
        work.function(argument)
        took = time.perf_counter() - start
        write(n=n, wall_s=took)
        if took > limit / 2 or time.perf_counter() + 3 * (time.perf_counter() - began) > end:
            break
        n *= 2


def _schedule(work: Work, request: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """(size, repeat), each round in an order of its own, until the time is over; the first rounds are whole."""
    start = time.perf_counter() - work.setup_s
    order = random.Random(1)
    for repeat in range(request["repeats"]):
        sizes = list(request["sizes"])
        order.shuffle(sizes)
        for n in sizes:
            patience = 1.0 if repeat >= _WHOLE_ROUNDS else _PATIENCE if repeat else float("inf")
            if time.perf_counter() - work.setup_s - start > patience * request["time_s"]:
                return
            yield n, repeat


def _time(work: Work, request: dict[str, Any], write: Callable[..., None]) -> None:
    _warm_up(work, min(request["sizes"]))
    number: dict[int, int] = {}
    for n, _ in _schedule(work, request):
        argument = work.argument(n)
        again = number.get(n, 1)
        work.counters.clear()
        gc.collect()
        gc.disable()
        peak, io = _reset_peak(), _io()
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(again):
            result = work.function(argument)
        wall_s = (time.perf_counter_ns() - wall) * 1e-9
        cpu_s = (time.process_time_ns() - cpu) * 1e-9
        after = _io()
        rss = None if peak is None else _status("VmHWM")
        gc.enable()
        if n not in number:
            number[n] = max(1, int(_SHORTEST_S / max(wall_s, 1e-9))) if work.setup is None else 1
        moved = {k: (after[k] - io[k]) / again for k in _IO} if io and after else None
        counters = {k: v / again for k, v in work.counters.items()}
        if again == number[n]:
            write(n=n, wall_s=wall_s / again, cpu_s=cpu_s / again, io=moved, rss_peak=rss, counters=counters)
        del result, argument


def _calls(work: Work, request: dict[str, Any], write: Callable[..., None]) -> None:
    import cProfile

    _warm_up(work, min(request["sizes"]))
    for n, repeat in _schedule(work, request):
        argument = work.argument(n)
        work.counters.clear()
        gc.collect()
        gc.disable()
        profiler = cProfile.Profile(time.process_time_ns, 1e-9)
        profiler.enable()
        result = work.function(argument)
        profiler.disable()
        gc.enable()
        functions = _functions(profiler.getstats())
        write(n=n, functions=functions, counters=dict(work.counters), answer=None if repeat else _digest(result))
        del result, argument


def _functions(entries: list[Any]) -> list[Any]:
    """[key, calls, own seconds, calls made] of each function; a key is [file, line, name].

    Calls made are [key of callee, calls, own seconds, seconds with all below] each.
    """
    found = []
    for entry in entries:
        called = [[_key(c.code), c.callcount, c.inlinetime, c.totaltime] for c in entry.calls or ()]
        found.append([_key(entry.code), entry.callcount, entry.inlinetime, called])
    return found


def _digest(result: Any) -> str | None:
    """Of the answer, so that a change of cost is never read without it; None where it can't be written down."""
    import hashlib
    import pickle

    try:
        return hashlib.sha256(pickle.dumps(result, protocol=4)).hexdigest()[:16]
    except Exception:
        return None


def _key(code: Any) -> list[Any]:
    """Built-in functions have no file."""
    if isinstance(code, str):
        return ["", 0, code.strip("<>")]
    return [code.co_filename, code.co_firstlineno, getattr(code, "co_qualname", code.co_name)]


class _Peak:
    """Watches for the moment when the traced memory comes to its peak, and sees then which lines hold it."""

    def __init__(self, peak: int, home: str) -> None:
        self._from, self._home = 0.97 * peak, home
        self.lines: dict[tuple[str, int], int] = {}

    def __call__(self, frame: Any, event: str, _: Any) -> None:
        current, peak = tracemalloc.get_traced_memory()
        if peak < self._from or self.lines:
            return
        for trace in tracemalloc.take_snapshot().traces:
            line = next(((f.filename, f.lineno) for f in reversed(trace.traceback) if self._is_ours(f.filename)), None)
            if line is not None:
                self.lines[line] = self.lines.get(line, 0) + trace.size
        at = frame.f_back if event == "call" and frame.f_back is not None else frame
        while not self._is_ours(at.f_code.co_filename) and at.f_back is not None:
            at = at.f_back
        line = (at.f_code.co_filename, at.f_lineno)
        self.lines[line] = self.lines.get(line, 0) + peak - current  # freed again before anybody could look

    def _is_ours(self, name: str) -> bool:
        library = any(part in name for part in _LIBRARIES) or name.startswith("<") or name == __file__
        return bool(self._home and name.startswith(self._home) and name != __file__) or not library

    def functions(self) -> list[Any]:
        """[key, bytes] by the function that the lines stand in."""
        found: dict[tuple[str, int, str], int] = {}
        for (name, line), size in self.lines.items():
            key = function_at(name, line)
            found[key] = found.get(key, 0) + size
        return [[list(key), size] for key, size in found.items()]


_TREES: dict[str, list[tuple[int, int, str]]] = {}  # first and last line and name of the functions of a file


def function_at(name: str, line: int) -> tuple[str, int, str]:
    """File, first line and name of the innermost function round a line."""
    if name not in _TREES:
        _TREES[name] = list(_spans(name))
    inside = [span for span in _TREES[name] if span[0] <= line <= span[1]]
    first, _, function = max(inside, default=(0, 0, "<module>"))
    return (name, first, function)


def _spans(name: str) -> Iterator[tuple[int, int, str]]:
    import ast

    def walk(node: Any, within: str) -> Iterator[tuple[int, int, str]]:
        for child in ast.iter_child_nodes(node):
            inner = within
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield child.lineno, child.end_lineno or child.lineno, within + child.name
                inner = f"{within}{child.name}.<locals>."
            elif isinstance(child, ast.ClassDef):
                inner = f"{within}{child.name}."
            yield from walk(child, inner)

    try:
        yield from walk(ast.parse(Path(name).read_bytes()), "")
    except (OSError, SyntaxError, ValueError):
        return


def _memory(work: Work, request: dict[str, Any], write: Callable[..., None]) -> None:
    """The peak in one call; in another, which is watched, who holds it then."""
    _warm_up(work, min(request["sizes"]))
    for n, _ in _schedule(work, dict(request, repeats=1)):
        argument = work.argument(n)
        gc.collect()
        tracemalloc.start()
        result = work.function(argument)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        write(n=n, peak_bytes=peak)
        del result, argument

        argument = work.argument(n)
        gc.collect()
        watch = _Peak(peak, request.get("home", ""))
        tracemalloc.start(_DEPTH)
        sys.setprofile(watch)
        try:
            result = work.function(argument)
        finally:
            sys.setprofile(None)
        tracemalloc.stop()
        write(n=n, functions=watch.functions())
        del result, argument


def _instructions(work: Work, request: dict[str, Any], write: Callable[..., None]) -> None:
    """Under callgrind, which collects only between the two requests; a dump a size."""
    send = _client_request()
    smallest = min(request["sizes"])
    work.function(work.argument(smallest))
    work.function(work.argument(smallest))
    end = time.perf_counter() + request["time_s"]
    for n in sorted(request["sizes"]):
        argument = work.argument(n)
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        send(_CALLGRIND + 4)
        work.function(argument)
        send(_CALLGRIND + 5)
        gc.enable()
        took = time.perf_counter() - began
        send(_CALLGRIND)
        send(_CALLGRIND + 1)
        write(n=n, dumped=True, wall_s=took)
        if time.perf_counter() + 2.5 * took > end:
            break


_CALLGRIND = (ord("C") << 24) | (ord("T") << 16)  # its client requests: dump, zero, toggle, dump at, start, stop


def _client_request() -> Callable[[int], Any]:
    """Sends a client request to valgrind: five instructions that do nothing elsewhere (valgrind.h, x86-64)."""
    import ctypes
    import mmap

    code = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def send(request: int) -> int:
        arguments = (ctypes.c_uint64 * 6)(request, 0, 0, 0, 0, 0)
        return int(function(ctypes.addressof(arguments)))

    send.memory = memory  # type: ignore[attr-defined]  # lives as long as the function
    return send


def _io() -> dict[str, int] | None:
    try:
        with open("/proc/self/io") as file:
            return {k: int(v) for k, _, v in (line.partition(": ") for line in file) if k in _IO}
    except OSError:
        return None


def _status(key: str) -> int | None:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))
    except (OSError, StopIteration):
        return None


def _reset_peak() -> int | None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return None
    return _status("VmHWM")


_MODES: dict[str, Callable[[Work, dict[str, Any], Callable[..., None]], None]] = {
    "probe": _probe,
    "time": _time,
    "calls": _calls,
    "memory": _memory,
    "instructions": _instructions,
}

if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)  # threads of the function's own must not keep the process
