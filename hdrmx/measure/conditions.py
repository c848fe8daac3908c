"""Whether this machine, as it is now, can give timings that are worth keeping; and a command run pinned."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hdrmx.errors import InputError
from hdrmx.measure.surroundings import PRESSURE_LIMITS, STEAL_LIMIT, surroundings
from hdrmx.record import Machine, Software

GOOD, BAD, UNKNOWN = "good", "bad", "unknown"
SETTLED_LOAD = 0.3  # of one processor, by others
WATCHED_S = 3.0
# What a pinned command is started with: one way through every program, one thread of linear algebra.
PINNED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Condition:
    """One thing that was looked at: `state` good, bad or unknown, what was found, and what to do about it."""

    name: str
    state: str
    found: str
    remedy: str = ""


def conditions(
    machine: Machine, software: Software, root: Path = Path("/"), watched_s: float | None = None
) -> list[Condition]:
    """Everything that is known to spoil timings, as far as this machine tells."""
    found = [
        _affinity(machine),
        _is("governor", machine.governor, "performance", "cpupower frequency-set -g performance"),
        _is("turbo", machine.turbo, False, "switch it off: echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo"),
        _is(
            "SMT",
            machine.smt,
            False,
            "pin to one thread of each core, or: echo off > /sys/devices/system/cpu/smt/control",
        ),
        _virtual(machine),
        _clock(root),
        _swap(root),
        _environment(software),
        _checkout(software),
    ]
    return found + _watched(machine, root, WATCHED_S if watched_s is None else watched_s)


def is_valid(found: Sequence[Condition]) -> bool:
    """No condition is bad; what isn't known doesn't count against it."""
    return all(condition.state != BAD for condition in found)


def _is(name: str, value: object, wanted: object, remedy: str) -> Condition:
    if value is None:
        return Condition(name, UNKNOWN, "this system doesn't tell")
    words = {True: "on", False: "off"}
    text = words.get(value, str(value)) if isinstance(value, bool) else str(value)
    return Condition(name, GOOD, text) if value == wanted else Condition(name, BAD, text, remedy)


def _affinity(machine: Machine) -> Condition:
    usable, logical = machine.cores_usable, machine.cores_logical
    if usable is None or logical is None:
        return Condition("affinity", UNKNOWN, "this system doesn't tell")
    text = f"{usable} of {logical} processors"
    if machine.cpu_quota is not None and machine.cpu_quota < usable:
        return Condition(
            "affinity", BAD, f"{text}, held back to {machine.cpu_quota:g}", "give the group a whole number"
        )
    return Condition("affinity", GOOD, text)


def _virtual(machine: Machine) -> Condition:
    if machine.virtual is None:
        return Condition("hardware", UNKNOWN, "this system doesn't tell")
    if machine.virtual:
        return Condition("hardware", BAD, "virtual", "time on hardware; here trust counts and instructions")
    return Condition("hardware", GOOD, "not virtual")


def _clock(root: Path) -> Condition:
    path = root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
    try:
        name = path.read_text().strip()
    except OSError:
        return Condition("clock", UNKNOWN, "this system doesn't tell")
    fast = name in ("tsc", "kvm-clock", "arch_sys_counter")
    return Condition("clock", GOOD if fast else BAD, name, "" if fast else "boot with clocksource=tsc")


def _swap(root: Path) -> Condition:
    try:
        fields = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
        used = int(fields["SwapTotal"].split()[0]) - int(fields["SwapFree"].split()[0])
    except (OSError, KeyError, ValueError):
        return Condition("swap", UNKNOWN, "this system doesn't tell")
    return Condition("swap", BAD if used else GOOD, f"{used / 1024:.0f} MB used", "swapoff -a" if used else "")


def _environment(software: Software) -> Condition:
    loose = [name for name in ("PYTHONHASHSEED", "OMP_NUM_THREADS") if name not in software.environment]
    if loose:
        return Condition("settings", BAD, f"{', '.join(loose)} not set", "run under `hdrmx machine --pin`")
    return Condition("settings", GOOD, "hash seed and threads are set")


def _checkout(software: Software) -> Condition:
    if software.commit is None:
        return Condition("version", UNKNOWN, f"{software.hdrmx}, no checkout")
    if software.modified:
        return Condition("version", BAD, f"{software.commit[:10]} with changes", "commit them, or nobody can repeat it")
    return Condition("version", GOOD, software.commit[:10])


def _watched(machine: Machine, root: Path, seconds: float) -> list[Condition]:
    """Load, pressure and stolen time while nothing of ours runs."""
    before, begin = surroundings(root), time.monotonic()
    time.sleep(seconds)
    after, passed = surroundings(root), time.monotonic() - begin
    found = []
    load = after.load_1min
    if load is None:
        found.append(Condition("load", UNKNOWN, "this system doesn't tell"))
    else:
        good = load <= SETTLED_LOAD * (machine.cores_logical or 1)
        found.append(
            Condition("load", GOOD if good else BAD, f"{load:.2f}", "" if good else "stop what else runs, or wait")
        )
    for name, limit in PRESSURE_LIMITS.items():
        if name not in before.pressure_us or name not in after.pressure_us:
            found.append(Condition(f"pressure, {name}", UNKNOWN, "this system doesn't tell"))
            continue
        share = (after.pressure_us[name] - before.pressure_us[name]) / (1e6 * passed)
        state, remedy = (GOOD, "") if share <= limit else (BAD, "stop what else runs here")
        found.append(Condition(f"pressure, {name}", state, f"{100 * share:.1f} % of the time", remedy))
    if before.steal_ns is not None and after.steal_ns is not None:
        share = (after.steal_ns - before.steal_ns) / (1e9 * passed * (machine.cores_logical or 1))
        state, remedy = (GOOD, "") if share <= STEAL_LIMIT else (BAD, "ask for a machine of your own")
        found.append(Condition("stolen time", state, f"{100 * share:.1f} %", remedy))
    return found


def run_pinned(command: Sequence[str], processors: Sequence[int] | None = None) -> int:
    """Run a command on some processors only, with `PINNED` set; returns its exit code.

    Raises InputError where there is no such program, or no such processor.
    """
    if hasattr(os, "sched_setaffinity"):
        chosen = set(processors) if processors else {max(os.sched_getaffinity(0))}
        usual = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, chosen)
        except OSError:
            names = ",".join(map(str, sorted(chosen)))
            raise InputError("--on", f"processors {names} can't be used", f"choose of {sorted(usual)}") from None
    else:
        usual = None
    try:
        return subprocess.run(list(command), env={**os.environ, **PINNED}, check=False).returncode
    except OSError as error:
        raise InputError(command[0], error.strerror or "can't be run", "check the command") from None
    finally:
        if usual is not None:
            os.sched_setaffinity(0, usual)
