"""Readings of this process: time, processor time, memory, I/O, faults and switches.

On Linux they come from getrusage and three files of /proc/self that are kept open; a reading takes
about 15 microseconds. Elsewhere what can't be had is None, and a doubt says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from hdrmx.measure.children import running_children_ns
from hdrmx.measure.compilation import Compilation
from hdrmx.record import Cost, Doubt

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

WITHIN_SPAN, SINCE_START = "within span", "since start"
_RESET_PEAK = b"5"  # written to clear_refs: set VmHWM to the present size (proc(5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Totals since the process started, but for the two sizes. Fields as in `record.Cost`."""

    wall_ns: int
    user_ns: int | None = None
    system_ns: int | None = None
    thread_ns: int | None = None
    children_ns: int | None = None
    compile_ns: int | None = None
    compile_cpu_ns: int | None = None
    kernels_compiled: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None
    switches_voluntary: int | None = None
    switches_involuntary: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    read_calls: int | None = None
    write_calls: int | None = None
    disk_read_bytes: int | None = None
    disk_write_bytes: int | None = None
    rss_bytes: int | None = None
    peak_bytes: int | None = None


_DIFFERENCES = tuple(Cost.__dataclass_fields__)


def cost_between(start: Reading, end: Reading) -> Cost:
    """What was spent from one reading to a later one; None where either is missing."""
    spent = {}
    for name in _DIFFERENCES:
        a, b = getattr(start, name), getattr(end, name)
        if a is not None and b is not None:
            spent[name] = b - a
    return Cost(**spent)


class Meter(Protocol):
    """Where a recorder has its numbers from; tests put a fake one in."""

    peak_memory: str  # WITHIN_SPAN or SINCE_START

    def now_ns(self) -> int: ...

    def read(self) -> Reading: ...

    def reset_peak(self) -> None: ...

    def doubts(self) -> list[Doubt]:
        """What this meter can't see."""

    def close(self) -> None: ...


class ProcessMeter:
    """Reads this process.

    Parameters
    ----------
    proc : folder like /proc/self; one that lacks files gives None in their place
    """

    def __init__(self, proc: Path = Path("/proc/self"), compilation: Compilation | None = None) -> None:
        self._proc, self.compilation = proc, compilation
        self._status = _open(proc / "status", os.O_RDONLY)
        self._io = _open(proc / "io", os.O_RDONLY)
        self._clear = _open(proc / "clear_refs", os.O_WRONLY)
        self._psutil = psutil.Process() if self._status is None else None
        self.peak_memory = WITHIN_SPAN if self._status is not None and self._can_reset() else SINCE_START
        self._doubts = self._missing()

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def read(self) -> Reading:
        rss, peak = self._memory()
        values: dict[str, int | None] = dict(self._read_io())
        if resource is not None:
            running_ns = running_children_ns(self._proc)  # before those that have ended: none is missed in between
            own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
            values |= {
                "user_ns": _ns(own.ru_utime),
                "system_ns": _ns(own.ru_stime),
                "children_ns": running_ns + _ns(ended.ru_utime + ended.ru_stime),
                "minor_faults": own.ru_minflt,
                "major_faults": own.ru_majflt,
                "switches_voluntary": own.ru_nvcsw,
                "switches_involuntary": own.ru_nivcsw,
            }
            if peak is None:
                peak = own.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if self.compilation is not None:
            values |= self.compilation.totals()
        return Reading(
            wall_ns=time.perf_counter_ns(),
            thread_ns=time.thread_time_ns(),
            rss_bytes=rss,
            peak_bytes=peak,
            **values,
        )

    def reset_peak(self) -> None:
        if self.peak_memory == WITHIN_SPAN and self._clear is not None:
            os.write(self._clear, _RESET_PEAK)

    def doubts(self) -> list[Doubt]:
        return list(self._doubts)

    def _missing(self) -> list[Doubt]:
        found = []
        if self._io is None:
            found.append(Doubt(kind="no_io_counters"))
        if self.peak_memory != WITHIN_SPAN:
            found.append(Doubt(kind="peak_since_start"))
        if resource is None:
            found.append(Doubt(kind="no_resource_usage"))
        return found

    def close(self) -> None:
        for handle in (self._status, self._io, self._clear):
            if handle is not None:
                os.close(handle)
        self._status = self._io = self._clear = None

    def _can_reset(self) -> bool:
        if self._clear is None:
            return False
        try:
            os.write(self._clear, _RESET_PEAK)
        except OSError:
            return False
        return True

    def _memory(self) -> tuple[int | None, int | None]:
        """Resident now and its peak, bytes."""
        if self._status is not None:
            text = os.pread(self._status, 4096, 0)
            return _kib(text, b"VmRSS:"), _kib(text, b"VmHWM:")
        if self._psutil is not None:
            with contextlib.suppress(psutil.Error):
                return self._psutil.memory_info().rss, None
        return None, None

    def _read_io(self) -> dict[str, int | None]:
        if self._io is None:
            return {}
        values = [int(line.rpartition(b" ")[2]) for line in os.pread(self._io, 512, 0).splitlines()]
        names = ("read_bytes", "write_bytes", "read_calls", "write_calls", "disk_read_bytes", "disk_write_bytes")
        return dict(zip(names, values))


def _open(path: Path, flags: int) -> int | None:
    """A handle that has proved usable, else None (not there, or not ours to read)."""
    try:
        handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    if flags == os.O_RDONLY:
        try:
            if os.pread(handle, 64, 0):
                return handle
        except OSError:
            pass
        os.close(handle)
        return None
    return handle


def _kib(text: bytes, key: bytes) -> int | None:
    at = text.find(key)
    return int(text[at + len(key) : text.index(b"kB", at)]) * 1024 if at >= 0 else None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
