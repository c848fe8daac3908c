"""Samples the Python inside a program of others: by py-spy from outside, or by pyinstrument put in its way.

py-spy looks at the process every hundredth of a second and needs the right to do so. Otherwise pyinstrument is started
within, through a `sitecustomize` module on PYTHONPATH; that slows code down that makes many calls.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hdrmx.adapters.folded import Stacks, parse_folded
from hdrmx.errors import InputError

PY_SPY, PYINSTRUMENT, NONE = "py-spy", "pyinstrument", "none"
RATE_HZ = 100
_INTERVAL_US = 10**6 // RATE_HZ
_PATIENCE_S = 20.0  # for py-spy to write its file once the program has ended
_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
_MACHINERY = "(<frozen importlib"  # half of all levels while modules are imported, and it tells nothing
_CALL = re.compile(r"(?!process \d).+ \([^()]*\)$")  # py-spy puts processes first, with their whole command lines
_HOOK = Path(__file__).with_name("sitecustomize_sampled.py")


def available(wanted: str | None = None, scope: Path = _SCOPE) -> tuple[str, str]:
    """The sampler to use, and where none can be, why. `wanted`: one of the three above; None: the best there is."""
    if wanted == NONE:
        return NONE, ""
    reasons = []
    if wanted in (None, PY_SPY):
        if py_spy() is None:
            reasons.append("py-spy is not installed (pip install py-spy)")
        elif not may_attach(scope):
            reasons.append(f"py-spy may not look at other processes ({scope} forbids it)")
        else:
            return PY_SPY, ""
    if wanted in (None, PYINSTRUMENT):
        if _package("pyinstrument") is not None:
            return PYINSTRUMENT, ""
        reasons.append("pyinstrument is not installed (pip install pyinstrument)")
    return NONE, "; ".join(reasons)


def py_spy() -> str | None:
    """Beside this Python, or on PATH."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def may_attach(scope: Path = _SCOPE) -> bool:
    """Whether Yama lets us look at processes that aren't our own descendants' (it isn't there on every system)."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return True
    if not sys.platform.startswith("linux"):
        return False  # macOS wants root
    with contextlib.suppress(OSError, ValueError):
        return int(scope.read_text()) == 0
    return not scope.exists()


@dataclass(frozen=True)
class Sampled:
    """Samples of one program; `why`, where there are none."""

    stacks: Stacks
    n: int
    why: str = ""


class Inside:
    """Samples one program; `environment` before it starts, `begun` when it has, `stacks` when it has ended."""

    def __init__(self, sampler: str, work: Path) -> None:
        self.sampler = sampler
        self._file = work / ".samples"
        self._errors = work / ".samples.errors"
        self._spy: subprocess.Popen[bytes] | None = None
        self._hooks = work / ".sampling"

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """What the program's environment must be."""
        env = dict(base)
        if self.sampler == PYINSTRUMENT:
            self._lay_hook()
            paths = [str(self._hooks.absolute()), *([env["PYTHONPATH"]] if env.get("PYTHONPATH") else [])]
            env["PYTHONPATH"] = os.pathsep.join(paths)
            env["HDRMX_SAMPLES"] = str(self._file.absolute())
        return env

    def begun(self, pid: int) -> set[int]:
        """Start py-spy on it; its own process number, which isn't the program's."""
        tool = py_spy() if self.sampler == PY_SPY else None
        if tool is None:
            return set()
        arguments = ["--pid", str(pid), "--subprocesses", "--function", "--rate", str(RATE_HZ), "--format", "raw"]
        with self._errors.open("wb") as errors:
            self._spy = subprocess.Popen(
                [tool, "record", *arguments, "--output", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        return {self._spy.pid}

    def stacks(self, cpu_ns: int | None = None) -> Sampled:
        """What was sampled.

        py-spy counts a process that waits for a processor like one that has it, so that on a busy machine its samples
        tell shares and no times: they are brought to the processor time `cpu_ns` of all processes of the program.
        """
        why = ""
        if self._spy is not None:
            try:
                self._spy.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._spy.kill()
                self._spy.wait()
            why = self._complaint()
        found: Stacks = {}
        unit = _INTERVAL_US if self.sampler == PY_SPY else 1
        for path in sorted(self._file.parent.glob(f"{self._file.name}*")):
            if path == self._errors or path.is_dir():
                continue
            with contextlib.suppress(InputError, OSError):
                lines = path.read_text(errors="replace").splitlines()
                for calls, weight in parse_folded(lines, path, unit).items():
                    key = tuple(short(call) for call in calls if is_call(call))
                    found[key] = found.get(key, 0) + weight
        self._clean()
        whole = sum(found.values())
        n = round(whole / _INTERVAL_US)
        if self.sampler == PY_SPY and whole and cpu_ns:
            found = {calls: round(us * cpu_ns / 1000 / whole) for calls, us in found.items()}
        return Sampled(found, n, "" if found else why or "the program ended before the first sample")

    def _complaint(self) -> str:
        with contextlib.suppress(OSError):
            lines = [line for line in self._errors.read_text(errors="replace").splitlines() if "rror" in line]
            return lines[-1].strip()[:200] if lines and "Errors: 0" not in lines[-1] else ""
        return ""

    def _clean(self) -> None:
        for path in self._file.parent.glob(f"{self._file.name}*"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._hooks, ignore_errors=True)

    def _lay_hook(self) -> None:
        """A folder with pyinstrument alone: all of our packages would push the program's own aside."""
        package = _package("pyinstrument")
        shutil.rmtree(self._hooks, ignore_errors=True)
        self._hooks.mkdir(parents=True)
        shutil.copyfile(_HOOK, self._hooks / "sitecustomize.py")
        if package is not None:
            (self._hooks / "pyinstrument").symlink_to(package, target_is_directory=True)


def is_call(level: str) -> bool:
    """Whether a level of a stack is a function of the program, and not a process or the import machinery."""
    return _CALL.match(level) is not None and _MACHINERY not in level


def short(call: str) -> str:
    """`name (file:line)` with the file from its package on, whatever the machine."""
    name, bracket, place = call.rpartition(" (")
    if not bracket:
        return call
    for folder in ("/dist-packages/", "/site-packages/"):
        place = place.rpartition(folder)[2]
    if place.startswith("/"):
        place = "/".join(place.split("/")[-2:])
    return f"{name} ({place}"


def _package(name: str) -> Path | None:
    from importlib.util import find_spec

    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
