"""Runs the measured process (`child.py`) and collects what it wrote."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrmx.errors import InputError

CHILD = Path(__file__).with_name("child.py")
MODES = ("time", "calls", "memory", "instructions")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_CALLGRIND = ("--tool=callgrind", "--instr-atstart=no", "--compress-strings=no", "--compress-pos=no", "-q")
_GRACE_S = 5.0


@dataclass(frozen=True)
class FunctionTarget:
    """A function to be called as function(n).

    Attributes
    ----------
    name : `file.py:function` or `module:function`
    before : another such name, called without arguments in the measured process before all else
    python : the interpreter
    path : folders to import from
    environment : variables set beside the usual ones
    """

    name: str
    before: str | None = None
    python: str = sys.executable
    path: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def run(target: FunctionTarget, mode: str, request: dict[str, Any], time_s: float) -> list[dict[str, Any]]:
    """The samples of one mode, as the child wrote them; those of a child that ran out of time, as far as it got.

    Raises
    ------
    InputError : the function can't be loaded, or fails
    """
    with tempfile.TemporaryDirectory(prefix="hdrmx-complexity-") as folder:
        out = Path(folder) / "samples.jsonl"
        out.touch()
        asked = {
            "target": _absolute(target.name),
            "before": None if target.before is None else _absolute(target.before),
            "path": [os.getcwd(), *target.path],
            "mode": mode,
            "time_s": time_s,
            "out": str(out),
            **request,
        }
        (Path(folder) / "request.json").write_text(json.dumps(asked))
        command = [target.python, str(CHILD), str(Path(folder) / "request.json")]
        if mode == "instructions":
            command = ["valgrind", *_CALLGRIND, f"--callgrind-out-file={folder}/callgrind.out", *command]
        patience = time_s + request.get("patience_s", 0.0) + _GRACE_S
        status, said = _wait(command, patience, {**os.environ, **_environment(), **target.environment})
        samples = [json.loads(line) for line in out.read_text().splitlines() if line.endswith("}")]
        _check(target, samples, status, said)
        if mode == "instructions":
            samples = [*_dumps(Path(folder), [s["n"] for s in samples if s.get("dumped")])]
    return [s for s in samples if "n" in s]


def has_valgrind() -> bool:
    """Instructions can be counted here."""
    return shutil.which("valgrind") is not None and os.uname().machine == "x86_64"


def _absolute(name: str) -> str:
    where, colon, function = name.rpartition(":")
    return f"{Path(where).resolve()}{colon}{function}" if where.endswith(".py") else name


def _environment() -> dict[str, str]:
    """One thread everywhere, and sets in the same order in every run."""
    return {"PYTHONHASHSEED": "0", **dict.fromkeys(_ONE_THREAD, "1")}


def _wait(command: Sequence[str], patience_s: float, environment: dict[str, str]) -> tuple[int | None, str]:
    """Exit status, None when it ran out of time; and the end of what it said to stderr."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env=environment, start_new_session=True
        )
        try:
            status: int | None = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        return status, said.read()[-2000:]


def _check(target: FunctionTarget, samples: list[dict[str, Any]], status: int | None, said: str) -> None:
    failed = next((s for s in samples if "error" in s), None)
    if failed is not None:
        what = "can't be loaded" if failed["stage"] == "load" else "fails"
        raise InputError(target.name, f"{what}: {failed['error']}", "check the name, and that function(n) runs")
    if status not in (0, None):
        last = said.strip().splitlines()[-1:] or [f"exit status {status}"]
        raise InputError(target.name, f"ends its process: {last[0]}", "check that function(n) runs")


def _dumps(folder: Path, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """What callgrind counted, one dump a size in their order."""
    found = []
    for i, n in enumerate(sizes, 1):
        path = folder / f"callgrind.out.{i}"
        if path.is_file():
            by_function = read_callgrind(path)
            found.append({"n": n, "instructions": sum(by_function.values()), "functions": by_function})
    return found


def read_callgrind(path: Path) -> dict[str, int]:
    """Own instructions by function of an uncompressed dump."""
    own: dict[str, int] = {}
    name, is_call = "", False
    with path.open(errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                name = line[3:].strip()
            elif line.startswith("calls="):
                is_call = True
            elif line[:1].isdigit() or line[:1] in "+-*":
                if not is_call:
                    own[name] = own.get(name, 0) + int(line.split()[1])
                is_call = False
    return own


def remaining(end: float) -> float:
    return max(end - time.perf_counter(), 0.0)
