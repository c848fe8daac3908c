"""Runs one command and measures it with all processes that descend from it.

Processor time, faults and switches come from the kernel when a process is waited for (`wait4`), which adds up all that
its descendants took, however short-lived. Orphans come to us (`adoption`) and are counted the same way. Where a control
group can be had the kernel's own sum over it is used. What is alive is looked at now and then, for memory and for the
course of things.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hdrmx.adapters.adoption import adopting
from hdrmx.adapters.group import Group
from hdrmx.adapters.tree import PROC, Process, children_of, descendants, io_counters, pss_bytes
from hdrmx.errors import InputError
from hdrmx.measure.stopping import later_interrupt
from hdrmx.record import Cost, Doubt

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

SHORTEST_S, LONGEST_S = 0.005, 0.1  # between two looks: in the beginning, and after 20 s
MOST_SHARE = 0.005  # of one processor that looking may take
MOST_LOOKS = 1000  # kept; beyond, neighbours are joined
GRACE_S = 3.0  # from Ctrl-C to SIGTERM, and from there to SIGKILL
_PSS_EVERY_S = 0.5
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Look:
    """What was alive at one moment. `cpu_ns`: of the whole tree, with those that have ended, since it began."""

    at_ns: int  # perf_counter_ns
    rss_bytes: int
    pss_bytes: int | None
    cpu_ns: int
    processes: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A command that has ended."""

    exit_code: int  # as a shell tells it: 128 + number for a signal
    interrupted: bool = False
    start_ns: int = 0
    cost: Cost = field(default_factory=Cost)
    peak_bytes: int | None = None  # of all processes together, as seen; at least that of the largest
    looks: tuple[Look, ...] = ()
    doubts: tuple[Doubt, ...] = ()


def run_measured(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    output: IO[bytes] | int | None = None,
    begun: Callable[[int], set[int]] | None = None,
    proc: Path = PROC,
) -> Ran:
    """Run a command to its end, in a session of its own.

    Parameters
    ----------
    output : where its standard output and error go; None: where ours go
    begun : called with the number of the first process; returns those of processes that it started beside it,
        which don't belong to the command
    proc : the folder /proc

    Raises
    ------
    OSError : the command can't be started
    InputError : the system isn't one of the POSIX kind

    Notes
    -----
    Ctrl-C ends the command and all processes that it started, and gives a result with `interrupted`. Processes that are
    still running when the command has ended are left alone, and a doubt names them.
    """
    if resource is None:
        raise InputError("measuring a command", "needs a POSIX system", "run it on Linux or macOS")
    group = Group()
    before = set(children_of(os.getpid(), proc))
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with adopting() as adopted:
            with later_interrupt() as interrupted:  # a child that we haven't got hold of yet couldn't be ended
                start_ns = time.perf_counter_ns()
                child = subprocess.Popen(
                    group.enter(list(argv)),
                    cwd=cwd,
                    env=None if env is None else dict(env),
                    stdout=output,
                    stderr=None if output is None else subprocess.STDOUT,
                    start_new_session=True,
                )
                watch = _Watch(child, group, before, proc, start_ns)
            return watch.to_the_end(own_peak, adopted, begun, bool(interrupted))
    finally:
        group.close()


class _Watch:
    """Looks at a running command, then waits for it."""

    def __init__(self, child: subprocess.Popen[bytes], group: Group, before: set[int], proc: Path, start: int) -> None:
        self.child, self.group, self.proc, self.start_ns = child, group, proc, start
        self.strangers = set(before)
        self.looks: list[Look] = []
        self._usage: list[resource.struct_rusage] = []
        self._io: dict[str, int] = {}
        self._cpu_seen = (0, 0)
        self._every = 1  # looks joined in one that is kept
        self._pending = 0
        self._pss_due = 0.0
        self._price_s = 0.0  # of the last look

    def to_the_end(
        self, own_peak: int, adopted: bool, begun: Callable[[int], set[int]] | None, interrupted: bool
    ) -> Ran:
        handle = _handle_of(self.child.pid)
        try:
            if interrupted:
                raise KeyboardInterrupt
            if begun is not None:
                self.strangers |= begun(self.child.pid)
            self._follow(handle)
        except KeyboardInterrupt:
            interrupted = True
            self._stop(handle)
        finally:
            if handle is not None:
                os.close(handle)
        end_ns = time.perf_counter_ns()
        self._reap(self.child.pid, 0)
        left = self._orphans()
        if interrupted:
            left = _end_all(left, self._orphans)
        return Ran(
            exit_code=_as_shell(self.child.returncode),
            interrupted=interrupted,
            start_ns=self.start_ns,
            cost=self._cost(end_ns - self.start_ns, left),
            peak_bytes=self._peak(own_peak),
            looks=tuple(self.looks),
            doubts=tuple(self._doubts(left, adopted)),
        )

    def _follow(self, handle: int | None) -> None:
        self._look()  # of a short command it may be the only one
        while True:
            elapsed = (time.perf_counter_ns() - self.start_ns) / 1e9
            wait = min(max(elapsed / 200, SHORTEST_S), LONGEST_S)
            if _has_ended(self.child.pid, handle, max(wait, self._price_s / MOST_SHARE)):
                return
            self._look()

    def _look(self) -> None:
        now, begin = time.perf_counter_ns(), time.thread_time()
        alive = descendants(self.child.pid, self.proc) + self._orphans()
        self._price_s = time.thread_time() - begin
        pss = self._pss(alive, now)
        self._cpu_seen = max(self._cpu_seen, self._cpu(alive), key=sum)
        look = Look(
            at_ns=now,
            rss_bytes=sum(p.rss_bytes for p in alive),
            pss_bytes=pss,
            cpu_ns=sum(self._cpu_seen),
            processes=len(alive),
            threads=sum(p.threads for p in alive),
        )
        self._keep(look)

    def _keep(self, look: Look) -> None:
        if self._pending:
            self.looks[-1] = _join(self.looks[-1], look)
        else:
            self.looks.append(look)
        self._pending = (self._pending + 1) % self._every
        if len(self.looks) > MOST_LOOKS:
            self.looks = thinned(self.looks, MOST_LOOKS // 2)
            self._every, self._pending = self._every * 2, 0

    def _pss(self, alive: list[Process], now: int) -> int | None:
        if now / 1e9 < self._pss_due:
            return None
        begin = time.thread_time()
        sizes = [pss_bytes(p.pid, self.proc) for p in alive]
        price = time.thread_time() - begin
        self._pss_due = now / 1e9 + max(_PSS_EVERY_S, price / MOST_SHARE)
        known = [size for size in sizes if size is not None]
        return sum(known) if known else None

    def _orphans(self) -> list[Process]:
        """Those that came to us and are alive, with their own; ended ones are waited for and added up."""
        alive = []
        for pid in children_of(os.getpid(), self.proc):
            if pid == self.child.pid or pid in self.strangers:
                continue
            if not self._reap(pid, os.WNOHANG):
                alive += descendants(pid, self.proc)
        return alive

    def _reap(self, pid: int, options: int) -> bool:
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
            if ended is None:
                return False
            for name, n in io_counters(pid, self.proc).items():  # gone once it is waited for
                self._io[name] = self._io.get(name, 0) + n
            _, status, usage = os.wait4(pid, 0)
        except ChildProcessError:
            return True
        self._usage.append(usage)
        if pid == self.child.pid:
            self.child.returncode = os.waitstatus_to_exitcode(status)
        return True

    def _cpu(self, alive: list[Process]) -> tuple[int, int]:
        """User and system time so far."""
        counted = self.group.cpu_ns()
        if counted is not None:
            return counted
        user = sum(_ns(u.ru_utime) for u in self._usage) + sum(p.user_ns for p in alive)
        system = sum(_ns(u.ru_stime) for u in self._usage) + sum(p.system_ns for p in alive)
        return user, system

    def _cost(self, wall_ns: int, left: list[Process]) -> Cost:
        user_ns, system_ns = max(self._cpu(left), self._cpu_seen, key=sum)
        for process in left:
            for name, n in io_counters(process.pid, self.proc).items():
                self._io[name] = self._io.get(name, 0) + n
        return Cost(
            wall_ns=wall_ns,
            user_ns=user_ns,
            system_ns=system_ns,
            children_ns=0,  # they are in the two above
            minor_faults=sum(u.ru_minflt for u in self._usage),
            major_faults=sum(u.ru_majflt for u in self._usage),
            switches_voluntary=sum(u.ru_nvcsw for u in self._usage),
            switches_involuntary=sum(u.ru_nivcsw for u in self._usage),
            **self._io,
        )

    def _peak(self, own_peak: int) -> int | None:
        """A process starts with its parent's high-water mark, so the kernel's tells only where it is above ours."""
        peaks = [look.rss_bytes for look in self.looks]
        peaks += [u.ru_maxrss * _RSS_UNIT for u in self._usage if u.ru_maxrss > own_peak]
        return max(peaks, default=None) or None  # 0: it had ended at every look

    def _doubts(self, left: list[Process], adopted: bool) -> list[Doubt]:
        found = []
        if left:
            names = sorted({p.name for p in left})
            found.append(Doubt(kind="left_behind", numbers={"n": len(left), "names": ", ".join(names)}))
        if not self._io:
            found.append(Doubt(kind="no_io_counters"))
        if not adopted and self.group.path is None:
            found.append(Doubt(kind="orphans_not_counted"))
        return found

    def _stop(self, handle: int | None) -> None:
        """Ctrl-C to the command's processes, then SIGTERM, then SIGKILL; a second Ctrl-C goes straight to the last."""
        with later_interrupt() as again:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                if again and number == signal.SIGTERM:
                    continue
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.child.pid, number)
                until, told = time.monotonic() + GRACE_S, len(again)
                while time.monotonic() < until and len(again) == told:
                    if _has_ended(self.child.pid, handle, 0.05):
                        return
                self._look()


def _end_all(left: list[Process], again: Callable[[], list[Process]]) -> list[Process]:
    """End what the command left behind when it was interrupted."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)
        until = time.monotonic() + GRACE_S
        while left and time.monotonic() < until:
            time.sleep(0.01)
            left = again()
    return left


def thinned(looks: Sequence[Look], most: int) -> list[Look]:
    """At most so many, neighbours joined: the larger memory, the later rest."""
    each = -(-len(looks) // most) if looks else 1
    kept = []
    for i in range(0, len(looks), each):
        look = looks[i]
        for later in looks[i + 1 : i + each]:
            look = _join(look, later)
        kept.append(look)
    return kept


def _join(a: Look, b: Look) -> Look:
    pss = [look.pss_bytes for look in (a, b) if look.pss_bytes is not None]
    return Look(
        at_ns=b.at_ns,
        rss_bytes=max(a.rss_bytes, b.rss_bytes),
        pss_bytes=max(pss, default=None),
        cpu_ns=b.cpu_ns,
        processes=max(a.processes, b.processes),
        threads=max(a.threads, b.threads),
    )


def _handle_of(pid: int) -> int | None:
    """A file that becomes readable when the process ends."""
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def _has_ended(pid: int, handle: int | None, wait_s: float) -> bool:
    """Wait so long for the end of a child, which stays to be waited for."""
    if handle is not None:
        return bool(select.select([handle], [], [], wait_s)[0])
    until = time.monotonic() + wait_s
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        left = until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(SHORTEST_S, left))
    return True


def _as_shell(code: int) -> int:
    return code if code >= 0 else 128 - code


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
