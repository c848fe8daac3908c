"""What the run would gain if something were faster: Amdahl's law over the measured stages.

The rows of stages are exact: the others keep their time. The rows of the machine are bounds, since work may overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from hdrmx.analysis.roof import DISK, FAULTS, MEMORY, Roof, memory_rate, roofs
from hdrmx.record import Record, net_ns, pipeline_ns, stages

FASTER = 2.0
CLOCK = 1.5
LEAST = 0.005  # share of the pipeline from which a stage has a line


@dataclass(frozen=True)
class Saving:
    """One change: what it saves of the pipeline's time, and whether that is exact or a bound."""

    change: str
    seconds: float
    share: float
    total_s: float  # that is left
    exact: bool
    note: str = ""


class Make(Protocol):
    """Fills in what follows from the pipeline's time."""

    def __call__(self, change: str, seconds: float, exact: bool, note: str = "") -> Saving: ...


def savings(record: Record) -> list[Saving]:
    """All changes worth a line, stages first in order of what they save."""
    whole = pipeline_ns(record.run) / 1e9
    if whole <= 0:
        return []

    def saving(change: str, seconds: float, exact: bool, note: str = "") -> Saving:
        return Saving(change, seconds, seconds / whole, whole - seconds, exact, note)

    own = sorted(stages(record.run), key=net_ns, reverse=True)
    found = [
        saving(f"{s.name} twice as fast", net_ns(s) / 1e9 / FASTER, True) for s in own if net_ns(s) > 0.005e9 * whole
    ]
    seen = roofs(record)
    found += [row for row in (_cores(record, seen, saving), *_machine(record, seen, saving)) if row is not None]
    return found


def _cores(record: Record, seen: list[Roof], saving: Make) -> Saving | None:
    """Twice as many cores: what worker threads did takes half as long."""
    n = record.threads or 1
    by_name = {stage.name: stage for stage in stages(record.run)}
    seconds = 0.0
    for roof in seen:
        stage = by_name[roof.stage]
        if n > 1 and roof.threads > 1:
            worked = stage.sampled.get("workers_ns")
            cpu = net_ns(stage) / 1e9 if worked is None else min(worked / 1e9 / n, net_ns(stage) / 1e9)
            seconds += cpu / 2
        elif n == 1 and stage.count("decodes"):
            seconds += roof.wall_s / 2
    names = "stages over frames" if n == 1 else "what worker threads did"
    return (
        saving(f"{2 * n} cores instead of {n}", seconds, False, f"at most; {names} in half the time")
        if seconds
        else None
    )


def _machine(record: Record, seen: list[Roof], saving: Make) -> Iterator[Saving]:
    limits = record.limits
    if limits is not None:
        rate = memory_rate(limits, record.threads or 1)
        seconds = sum(min(roof.shares.get(MEMORY, 0.0), 1.0) * roof.own_s for roof in seen)
        if rate and seconds:
            change = f"memory with {FASTER * rate / 1e9:.0f} GB/s instead of {rate / 1e9:.0f}"
            yield saving(change, seconds / FASTER, False, "at most; of the bytes that must move at the least")
        seconds = sum(min(roof.shares.get(DISK, 0.0), 1.0) * roof.own_s for roof in seen)
        if limits.disk_read_bytes_s and seconds:
            new = FASTER * limits.disk_read_bytes_s / 1e6
            yield saving(f"a disk with {new:,.0f} MB/s, twice as many", seconds / FASTER, False, "at most")
        seconds = sum(min(roof.shares.get(FAULTS, 0.0), 1.0) * (roof.cpu_s or 0) / roof.threads for roof in seen)
        if seconds:
            yield saving(
                "no fresh memory: all buffers used again", seconds, False, "page faults at their measured price"
            )
    busy = sum(
        (1 - roof.idle) * (1 - min(roof.shares.get(MEMORY, 0.0), 1.0)) * roof.own_s
        for roof in seen
        if roof.idle is not None
    )
    if busy:
        note = "of the time that processors were at work"
        yield saving(f"a clock {CLOCK:g} times as fast", busy * (1 - 1 / CLOCK), False, note)
    python = sum(roof.spent.get("python", 0.0) * (roof.cpu_s or 0) / roof.threads for roof in seen)
    if python:
        yield saving(
            "no interpreter: Python's own code free",
            python,
            False,
            "as sampled; calls that can't be told apart left out",
        )
    least = 0.02 * pipeline_ns(record.run) / 1e9
    idle = sum(roof.idle * roof.own_s for roof in seen if roof.idle is not None)
    if idle > least:
        yield saving(
            "no waiting: all threads always at work", idle, False, "disk, child processes, locks, uneven loads"
        )
    crowded = sum(roof.wall_s - roof.own_s for roof in seen)
    if crowded > least:
        yield saving("no neighbours", crowded, False, "time in which threads were ready, but had no processor")
