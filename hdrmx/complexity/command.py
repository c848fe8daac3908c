"""Measures a shell command with `{n}` in it over a ladder of sizes."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from hdrmx.complexity.by_function import Guilty, compiled_functions, guilty_compiled
from hdrmx.complexity.measuring import Plan
from hdrmx.complexity.samples import has_valgrind, read_callgrind, remaining
from hdrmx.complexity.study import INSTRUCTIONS, IO, MEASURES, MEMORY, TIME, Study, judge
from hdrmx.errors import InputError

_REPEATS = 15


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_s: float
    peak_bytes: int
    io_bytes: int | None


def study_command(command: str, plan: Plan) -> Study:
    """Run a command at all sizes, each run a fresh process; `{n}` stands for the size.

    Raises
    ------
    InputError : the command fails, or there is no time for four sizes
    """
    end = perf_counter() + plan.budget_s
    values: dict[str, dict[int, list[float]]] = {TIME: {}, MEMORY: {}, IO: {}}
    share = 0.5 if INSTRUCTIONS in plan.measures and has_valgrind() else 1.0
    until = perf_counter() + share * plan.budget_s
    sizes = plan.sizes or _doubling(command, 0.25 * share * plan.budget_s, values)
    order = random.Random(1)
    for repeat in range(_REPEATS):
        shuffled = list(sizes)
        order.shuffle(shuffled)
        for n in shuffled:
            if repeat and perf_counter() > until:
                break
            _keep(values, n, run_command(fill(command, n)))
    counted = _instructions(command, sizes, end) if INSTRUCTIONS in plan.measures and has_valgrind() else []
    if counted:
        values[INSTRUCTIONS] = {s["n"]: [float(s["instructions"])] for s in counted}
    if len(set(sizes)) < 4:
        raise InputError(command, f"only {len(set(sizes))} sizes", "give at least 4 --sizes, or a larger --budget")
    measures = {
        name: judge(name, values[name], plan.declared_of(name))
        for name in MEASURES
        if name in plan.measures and values.get(name)
    }
    guilty: list[Guilty] = []
    compiled = compiled_functions(counted)
    if INSTRUCTIONS in measures:
        guilty = guilty_compiled(compiled, plan.declared_of(INSTRUCTIONS))
    sizes = tuple(sorted(sizes))
    name, driver = plan.label or command, plan.driver or "n"
    return Study(name, driver, sizes, plan.allowed, measures, tuple(guilty), compiled=tuple(compiled))


def fill(command: str, n: int) -> str:
    return command.replace("{n}", str(n))


def run_command(command: str) -> Run:
    """Run in a shell and read what it used.

    Raises
    ------
    InputError : it ends with another status than 0
    """
    with tempfile.TemporaryFile("w+") as said:
        start = perf_counter()
        process = subprocess.Popen(command, shell=True, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        watch = _Watch(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        wall_s = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        moved = watch.stop()
        if process.returncode:
            said.seek(0)
            last = said.read()[-2000:].strip().splitlines()[-1:] or [""]
            what = f"ends with status {process.returncode}: {last[0]}"
            raise InputError(command, what, "run it by hand; at every size it must end with status 0")
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, moved)


class _Watch:
    """Bytes read and written by a process and those it started, as last seen before their ends."""

    def __init__(self, pid: int) -> None:
        self._pid, self._seen, self._over = pid, {pid: 0}, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._usable = os.access(f"/proc/{pid}/io", os.R_OK)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            for pid in list(self._seen):
                try:
                    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                        self._seen.setdefault(int(child), 0)
                    lines = Path(f"/proc/{pid}/io").read_text().split()
                    self._seen[pid] = int(lines[1]) + int(lines[3])
                except (OSError, ValueError, IndexError):
                    continue

    def stop(self) -> int | None:
        self._over.set()
        self._thread.join()
        return sum(self._seen.values()) if self._usable else None


def _keep(values: dict[str, dict[int, list[float]]], n: int, run: Run) -> None:
    values[TIME].setdefault(n, []).append(run.cpu_s if run.cpu_s > 0.3 * run.wall_s else run.wall_s)
    values[MEMORY].setdefault(n, []).append(float(run.peak_bytes))
    if run.io_bytes is not None:
        values[IO].setdefault(n, []).append(float(run.io_bytes))


def _doubling(command: str, time_s: float, values: dict[str, dict[int, list[float]]]) -> tuple[int, ...]:
    end, n = perf_counter() + time_s, 8
    sizes: list[int] = []
    took = 0.0
    while not sizes or perf_counter() + 2 * took < end:
        run = run_command(fill(command, n))
        _keep(values, n, run)
        took = run.wall_s
        sizes.append(n)
        n *= 2
    sizes = sizes[-8:]
    for by_size in values.values():
        for dropped in set(by_size) - set(sizes):
            del by_size[dropped]
    return tuple(sizes)


def _instructions(command: str, sizes: tuple[int, ...], end: float) -> list[dict[str, Any]]:
    """Under callgrind, from the smallest size, as many as there is time for; start-up included."""
    found: list[dict[str, Any]] = []
    took = 0.0
    for n in sorted(sizes):
        if remaining(end) < 1.5 * took:
            break
        start = perf_counter()
        with tempfile.TemporaryDirectory(prefix="hdrmx-complexity-") as folder:
            inner = f"exec {fill(command, n)}" if _is_simple(command) else fill(command, n)
            words = [
                "valgrind",
                "--tool=callgrind",
                "--trace-children=yes",
                "-q",
                "--compress-strings=no",
                "--compress-pos=no",
                f"--callgrind-out-file={folder}/%p.out",
                "sh",
                "-c",
                inner,
            ]
            try:
                done = subprocess.run(words, capture_output=True, timeout=max(remaining(end), 1.0), check=False)
            except subprocess.TimeoutExpired:
                break
            if done.returncode:
                break
            by_function: dict[str, int] = {}
            for path in Path(folder).glob("*.out*"):
                for name, count in read_callgrind(path).items():
                    by_function[name] = by_function.get(name, 0) + count
        found.append({"n": n, "instructions": sum(by_function.values()), "functions": by_function})
        took = perf_counter() - start
    return found


def _is_simple(command: str) -> bool:
    """One program with its arguments, which may take the shell's place."""
    if any(c in command for c in ";&|<>()`$\n"):
        return False
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return bool(words) and shutil.which(words[0]) is not None
