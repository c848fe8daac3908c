"""What else the machine is doing: load, pressure, stolen and withheld processor time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hdrmx.measure.cgroup import folders
from hdrmx.record import Cost, Doubt, Surroundings

# Above these shares of the run's time a timing is open to doubt. Waiting for a processor also happens to a
# run that starts more threads than there are processors, so that limit is wide.
PRESSURE_LIMITS = {"cpu some": 0.10, "io full": 0.10, "memory full": 0.01}
STEAL_LIMIT = 0.02
THROTTLE_LIMIT = 0.01


def surroundings(root: Path = Path("/")) -> Surroundings:
    """Look round now. What can't be read is None or left out."""
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    return Surroundings(
        load_1min=load,
        pressure_us=_pressure(root / "proc/pressure"),
        steal_ns=_steal_ns(root / "proc/stat"),
        throttled_us=_throttled_us(root),
    )


def doubts_between(before: Surroundings, after: Surroundings, cost: Cost, cores: int | None) -> list[Doubt]:
    """Whether neighbours, the hypervisor or a quota disturbed a run of this cost."""
    wall_us = cost.wall_ns / 1e3
    found: list[Doubt] = []
    if wall_us <= 0:
        return found
    if not before.pressure_us:
        found.append(Doubt(kind="no_pressure"))
    for name, limit in PRESSURE_LIMITS.items():
        if name in before.pressure_us and name in after.pressure_us:
            share = (after.pressure_us[name] - before.pressure_us[name]) / wall_us
            if share > limit:
                found.append(Doubt(kind="under_pressure", numbers={"of": name.split()[0], "share": round(share, 4)}))
    if before.steal_ns is not None and after.steal_ns is not None and cores:
        share = (after.steal_ns - before.steal_ns) / (cost.wall_ns * cores)
        if share > STEAL_LIMIT:
            found.append(Doubt(kind="stolen_time", numbers={"share": round(share, 4)}))
    if before.throttled_us is not None and after.throttled_us is not None:
        share = (after.throttled_us - before.throttled_us) / wall_us
        if share > THROTTLE_LIMIT:
            found.append(Doubt(kind="throttled", numbers={"share": round(share, 4)}))
    return found


def _pressure(folder: Path) -> dict[str, int]:
    """Total microseconds in which some or all tasks waited, as `cpu some` and so on."""
    totals = {}
    for resource in ("cpu", "io", "memory"):
        with contextlib.suppress(OSError, ValueError):
            for line in (folder / resource).read_text().splitlines():
                kind, _, rest = line.partition(" ")
                totals[f"{resource} {kind}"] = int(rest.rpartition("total=")[2])
    return totals


def _steal_ns(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        ticks = int(path.read_text().split("\n", 1)[0].split()[8])
        return ticks * 10**9 // os.sysconf("SC_CLK_TCK")
    return None


def _throttled_us(root: Path) -> int | None:
    for folder in folders("cpu", root):
        with contextlib.suppress(OSError, ValueError):
            entries = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
            if "throttled_usec" in entries:
                return int(entries["throttled_usec"])
            if "throttled_time" in entries:  # version 1 of control groups: nanoseconds
                return int(entries["throttled_time"]) // 1000
    return None
