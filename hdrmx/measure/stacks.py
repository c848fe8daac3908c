"""Call stacks of other threads, in words; kernels, which have no frame of their own, are found by the call in work.

A thread in a kernel that holds no interpreter lock stands still, for Python, at the instruction that called it. From
the source text of that instruction follows the object called; when that is a kernel, it is the innermost call.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import gc
import linecache
import sys
import sysconfig
import threading
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

# What a running thread was at, as far as its stack tells.
KERNEL = "kernels"  # in a compiled kernel
LIBRARY = "libraries"  # in numpy, scipy, h5py and so on, or in array arithmetic
PYTHON = "python"  # in the interpreter
UNCLEAR = "unclear"  # in a call whose target the source text doesn't give away: the interpreter or a library

_CALLS = frozenset(op for op in dis.opmap.values() if dis.opname[op].startswith("CALL"))
# Only at these does the interpreter let other threads in by itself; anywhere else a library has done so.
_MAY_STOP = _CALLS | {op for op in dis.opmap.values() if dis.opname[op].startswith(("JUMP", "RESUME", "POP_JUMP"))}
_STANDARD = tuple(str(Path(p)) for p in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")} if p)
_COMPILER = ("numba/", "llvmlite/")
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Call:
    """One level of a stack."""

    name: str
    file: str = ""  # as `package/module.py`
    line: int = 0  # where the function begins

    @property
    def text(self) -> str:
        """For flame graphs: `name (file:line)`, without the character that separates levels there."""
        where = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.name}{where}".replace(";", ",").replace("\n", " ")


@dataclass(frozen=True, slots=True)
class Stack:
    """Outermost call first; `at` is one of the four words above."""

    calls: tuple[Call, ...]
    at: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a stack ends, with what is needed to find out later what was called there."""

    code: CodeType
    at: int
    names: dict[str, Any]  # of the module
    kernels: tuple[Any, ...]  # in local variables


class Stacks:
    """All stacks seen, each kept once and known by its number. What they mean is worked out when it is asked for."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, ...]] = []
        self._numbers: dict[tuple[int, ...], int] = {}
        self._codes: dict[int, CodeType] = {}  # holds the code objects, so that their ids stay theirs
        self._left_out: dict[int, bool] = {}
        self._places: dict[tuple[int, int], _Place] = {}
        self._inner: dict[tuple[int, int], tuple[Call | None, str]] = {}
        self._worked_out: dict[int, Stack] = {}

    def number(self, frame: FrameType) -> int:
        """Of the stack that ends in `frame`."""
        place = id(frame.f_code), frame.f_lasti
        key = [frame.f_lasti]
        above: FrameType | None = frame
        while above is not None:
            key.append(id(above.f_code))
            above = above.f_back
        number = self._numbers.get(tuple(key))
        if number is None:
            number = self._numbers[tuple(key)] = len(self._keys)
            self._keys.append(tuple(key))
            above = frame
            while above is not None:
                self._codes[id(above.f_code)] = above.f_code
                above = above.f_back
            if place not in self._places:
                kernels = tuple(found for found in gc.get_referents(frame) if _is_kernel(found))
                self._places[place] = _Place(frame.f_code, frame.f_lasti, frame.f_globals, kernels)
        return number

    def stack(self, number: int, base: frozenset[int] = frozenset()) -> Stack:
        """In words; levels whose code is in `base` (ids) are left out at its root.

        So are the machinery of imports, and what the kernel compiler does within itself.
        """
        if number not in self._worked_out:
            self._worked_out[number] = self._work_out(self._keys[number], base)
        return self._worked_out[number]

    def _work_out(self, key: tuple[int, ...], base: frozenset[int]) -> Stack:
        codes = list(key[:0:-1])  # outermost first
        while len(codes) > 1 and (codes[0] in base or self._codes[codes[0]].co_filename == threading.__file__):
            del codes[0]
        importing = [self._codes[code].co_filename.startswith("<frozen importlib") for code in codes]
        importing[-1] = False
        calls = [_call_of(self._codes[code]) for code, skip in zip(codes, importing) if not skip]
        compiling = next((i for i, call in enumerate(calls) if call.file.startswith(_COMPILER)), None)
        if compiling is not None:
            return Stack(tuple(calls[: compiling + 1]), LIBRARY)
        place = key[1], key[0]
        if place not in self._inner:
            self._inner[place] = _innermost(self._places[place])
        inner, at = self._inner[place]
        return Stack((*calls, inner) if inner else tuple(calls), at)


@cache
def _call_of(code: CodeType) -> Call:
    return Call(code.co_qualname, short_file(code.co_filename), code.co_firstlineno)


def short_file(path: str) -> str:
    """From the package on: `numpy/lib/npyio.py`, `json/decoder.py`; the last two parts elsewhere."""
    parts = Path(path).parts
    for folder in _INSTALLED:
        if folder in parts:
            return "/".join(parts[parts.index(folder) + 1 :])
    for root in _STANDARD:
        if path.startswith(root + "/"):
            return path[len(root) + 1 :]
    package = next((i for i, part in enumerate(parts) if part == "hdrmx" and i + 1 < len(parts)), None)
    if package is not None:
        last = max(i for i, part in enumerate(parts[:-1]) if part == "hdrmx")
        return "/".join(parts[last:])
    return "/".join(parts[-2:]) if parts else path


def _is_library(path: str) -> bool:
    return any(folder in path for folder in _INSTALLED)


def _innermost(place: _Place) -> tuple[Call | None, str]:
    """The call without a Python frame that was in work there, if it can be told, and what kind of work it is."""
    code, at = place.code, place.at
    if at < 0:
        return None, PYTHON
    op = code.co_code[at]
    if op not in _MAY_STOP:
        return None, LIBRARY  # array arithmetic and the like
    if op not in _CALLS:
        return None, PYTHON
    called = _resolved(place, _source_of_call(code, at))
    if called is None:
        if len(place.kernels) == 1:  # in a local variable, the only one
            return _kernel_call(place.kernels[0]), KERNEL
        return None, LIBRARY if _is_library(code.co_filename) else UNCLEAR  # a library's Python mostly calls its C
    if _is_kernel(called):
        return _kernel_call(called), KERNEL
    if hasattr(called, "__code__"):
        return None, PYTHON
    module = str(getattr(called, "__module__", None) or type(called).__module__)
    name = str(getattr(called, "__qualname__", None) or getattr(called, "__name__", None) or "call")
    if module.partition(".")[0] in sys.stdlib_module_names or module == "builtins":
        return None, PYTHON
    return Call(f"{module}.{name}"), LIBRARY


def _source_of_call(code: CodeType, at: int) -> str:
    """The expression of the call at this instruction; empty where the source isn't at hand."""
    place = next(islice(code.co_positions(), at // 2, None), None)
    if place is None:
        return ""
    first, last, begin, end = place
    if first is None or last is None or begin is None or end is None:
        return ""
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]  # columns count bytes
    if not lines:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    return b"".join(lines).decode(errors="replace")


def _resolved(at: _Place, source: str) -> Any:
    """The object that the expression calls, by names of modules alone; None when that doesn't tell."""
    with contextlib.suppress(SyntaxError, ValueError, KeyError, AttributeError):
        node: Any = ast.parse(source.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            return None
        node, path = node.func, []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in at.code.co_varnames:
            return None
        scope = at.names if node.id in at.names else vars(builtins)
        found = scope[node.id]
        for name in reversed(path):
            if not isinstance(found, (ModuleType, type)):
                return None
            found = vars(found)[name]
        return found
    return None


def _is_kernel(found: Any) -> bool:
    """Whether it is a dispatcher of numba, which may not be imported at all."""
    kind = type(found)
    return kind.__module__.partition(".")[0] == "numba" and hasattr(kind, "nopython_signatures")


def _kernel_call(kernel: Any) -> Call:
    code = kernel.py_func.__code__
    return Call(f"{code.co_qualname} [kernel]", short_file(code.co_filename), code.co_firstlineno)
