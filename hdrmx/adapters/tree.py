"""A process and all that descend from it, as /proc shows them at one moment.

Where /proc isn't (macOS) psutil lists the same, without what it can't tell.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

PROC = Path("/proc")
_TICK_NS = 10**9 // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, slots=True)
class Process:
    """One process; times are totals since it began, to the kernel's clock tick (10 ms).

    They hold those of descendants that it has waited for, so that the sum over a tree misses none.
    """

    pid: int
    begun: int  # with the number it tells a process from a later one of the same number
    name: str
    user_ns: int
    system_ns: int
    rss_bytes: int
    threads: int


def descendants(root: int, proc: Path = PROC) -> list[Process]:
    """The process `root` and those below it, each after its parent; what ends while we look may be missing."""
    found: list[Process] = []
    waiting, seen = [root], {root}
    while waiting:
        pid = waiting.pop()
        process = read_process(pid, proc)
        if process is None:
            continue
        found.append(process)
        for child in children_of(pid, proc):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    return found


def children_of(pid: int, proc: Path = PROC) -> list[int]:
    """Numbers of the child processes of all its threads."""
    found: list[int] = []
    try:
        for task in os.listdir(f"{proc}/{pid}/task"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in _read(f"{proc}/{pid}/task/{task}/children").split()]
    except OSError:
        if not proc.is_dir():
            with contextlib.suppress(psutil.Error):
                return [child.pid for child in psutil.Process(pid).children()]
    return found


def read_process(pid: int, proc: Path = PROC) -> Process | None:
    """None where it has ended. Fields of proc(5); the name before them may hold anything."""
    try:
        text = _read(f"{proc}/{pid}/stat")
    except OSError:
        return None if proc.is_dir() else _from_psutil(pid)
    name, _, rest = text.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if len(fields) < 22:
        return None
    user, system, children_user, children_system = (int(ticks) * _TICK_NS for ticks in fields[11:15])
    return Process(
        pid=pid,
        begun=int(fields[19]),
        name=name.decode(errors="replace"),
        user_ns=user + children_user,
        system_ns=system + children_system,
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
        threads=int(fields[17]),
    )


def pss_bytes(pid: int, proc: Path = PROC) -> int | None:
    """Resident memory with shared pages divided among those that share them; slow: it walks the page tables."""
    with contextlib.suppress(OSError, ValueError):
        for line in _read(f"{proc}/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return None


def io_counters(pid: int, proc: Path = PROC) -> dict[str, int]:
    """Bytes and calls of a process and of those it has waited for; of one that has ended until it is waited for.

    Names as in `record.Cost`; empty where it can't be read.
    """
    names = ("read_bytes", "write_bytes", "read_calls", "write_calls", "disk_read_bytes", "disk_write_bytes")
    with contextlib.suppress(OSError, ValueError):
        values = [int(line.rpartition(b" ")[2]) for line in _read(f"{proc}/{pid}/io").splitlines()]
        return dict(zip(names, values))
    return {}


def _from_psutil(pid: int) -> Process | None:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            return Process(
                pid=pid,
                begun=round(process.create_time() * 100),
                name=process.name(),
                user_ns=round((times.user + getattr(times, "children_user", 0)) * 1e9),
                system_ns=round((times.system + getattr(times, "children_system", 0)) * 1e9),
                rss_bytes=memory.rss,
                threads=process.num_threads(),
            )
    return None


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY)
    try:
        parts = list(_blocks(handle))
    finally:
        os.close(handle)
    return b"".join(parts)


def _blocks(handle: int) -> Iterator[bytes]:
    while block := os.read(handle, 65536):
        yield block
