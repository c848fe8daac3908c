"""Measures a Python function over a ladder of sizes within a budget of time."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from hdrmx.complexity.by_function import (
    Compiled,
    FunctionCost,
    Guilty,
    call_edges,
    compiled_functions,
    function_costs,
    guilty_compiled,
    guilty_functions,
    holders,
    likeliest,
    total_calls,
)
from hdrmx.complexity.classify import EXCEEDS, Fitted, verdict
from hdrmx.complexity.growth import LINEAR, Growth
from hdrmx.complexity.samples import FunctionTarget, has_valgrind, remaining, run
from hdrmx.complexity.study import COUNTS, INSTRUCTIONS, IO, MEASURES, MEMORY, TIME, Study, judge
from hdrmx.errors import InputError

N_SIZES = 8
_PHASES = (1.0, 1.15, 0.93, 1.07, 1.21, 0.97, 1.12, 1.0)  # between doublings, where hash tables and lists make stairs
_FIRST, _LAST = 8, 1 << 24
_REPEATS = 25
_SHARES = {"probe": 0.1, "time": 0.3, "calls": 0.25, "memory": 0.1, "instructions": 0.25}  # of the budget
_WAITING = 0.7  # of the wall time at the largest size: then time is wall time, else processor time
_VALGRIND_START_S, _GRACE_S = 6.0, 4.0


@dataclass(frozen=True)
class Plan:
    """What to measure. `declared` holds classes for single measures, and for calls of functions as `calls:NAME`."""

    sizes: tuple[int, ...] | None = None
    declared: Growth | None = None  # n, where nothing else is declared
    declared_for: Mapping[str, Growth] = field(default_factory=dict)
    measures: tuple[str, ...] = MEASURES
    budget_s: float = 60.0
    driver: str | None = None
    home: Path | None = None
    label: str | None = None
    setup_s: float = 30.0  # patience with loading and setup, which aren't counted

    data: str | None = None  # for the pipeline and its stages; None: simulated
    gate: bool = False  # hold each stage of the pipeline to what it declares

    @property
    def allowed(self) -> Growth:
        return self.declared or LINEAR

    def declared_of(self, measure: str) -> Growth:
        return self.declared_for.get(measure, self.allowed)


def study_function(target: FunctionTarget, plan: Plan) -> Study:
    """Run a function at all sizes in fresh processes, one for each way of looking, and judge it.

    Raises
    ------
    InputError : the function can't be loaded or fails, or too few sizes fit into the budget
    """
    end = perf_counter() + plan.budget_s
    sizes = plan.sizes or _ladder(target, plan)
    if len(set(sizes)) < 4:
        what = f"only {len(set(sizes))} sizes ({', '.join(map(str, sizes))})"
        raise InputError(target.name, what, "give at least 4 --sizes, or a larger --budget")
    home = plan.home or home_of(target.name)
    taken = _Taken(target, plan, sizes, end)
    calls = taken.samples("calls") if COUNTS in plan.measures else []
    timed = taken.samples("time") if {TIME, IO} & set(plan.measures) else []
    memory = taken.samples("memory") if MEMORY in plan.measures else []
    counted = taken.instructions() if INSTRUCTIONS in plan.measures else []

    values = _values(plan, calls, timed, memory, counted)
    measures = {}
    prior = None
    for name in MEASURES:
        if name in values:
            measures[name] = judge(name, values[name], plan.declared_of(name), prior)
            if name == COUNTS and measures[name].fitted is not None:
                prior = measures[name].fitted.growth  # type: ignore[union-attr]
    costs = function_costs(calls, home)
    held = holders(memory, home)
    compiled = compiled_functions(counted)
    called = call_edges(calls, home)
    counters = _counters(timed or calls)
    for name, by_size in counters.items():
        measures[name] = judge(name, {n: [v] for n, v in by_size.items()}, plan.declared_of(name))
    for key, growth in plan.declared_for.items():
        name = key.removeprefix("calls:")
        if name != key:
            measures[key] = judge(key, _received(called, name, sizes), growth)
    return Study(
        target=plan.label or target.name,
        driver=plan.driver or "n",
        sizes=tuple(sizes),
        declared=plan.allowed,
        measures=measures,
        guilty=_blame(plan, measures, costs, held, compiled),
        holders=tuple(g for g, _ in held),
        functions=tuple(costs),
        counters=counters,
        answers={s["n"]: s["answer"] for s in calls if s.get("answer")},
        edges=called,
        compiled=tuple(compiled),
    )


class _Taken:
    """Runs the child, mode after mode, each with its share of the time."""

    def __init__(self, target: FunctionTarget, plan: Plan, sizes: Sequence[int], end: float) -> None:
        self.target, self.plan, self.sizes, self.end = target, plan, list(sizes), end

    def samples(self, mode: str) -> list[dict[str, Any]]:
        time_s = _SHARES[mode] * self.plan.budget_s
        home = str(self.plan.home or home_of(self.target.name) or "")
        request = {
            "sizes": self.sizes,
            "repeats": _REPEATS,
            "patience_s": self.plan.budget_s + self.plan.setup_s,
            "home": home,
        }
        return run(self.target, mode, request, time_s)

    def instructions(self) -> list[dict[str, Any]]:
        """As many of the sizes, from the smallest, as there is time for."""
        left = max(remaining(self.end) - _GRACE_S, _SHARES["instructions"] * self.plan.budget_s)
        if not has_valgrind() or left < _VALGRIND_START_S:
            return []
        request = {"sizes": self.sizes, "repeats": 1, "patience_s": 0.0}
        return run(self.target, "instructions", request, left)


def _ladder(target: FunctionTarget, plan: Plan) -> tuple[int, ...]:
    """Sizes up to where a call takes as long as the budget bears, at several phases between doublings."""
    request = {
        "first": _FIRST,
        "last": _LAST,
        "limit_s": min(plan.budget_s / 150.0, 0.5),
        "probe_s": _SHARES["probe"] * plan.budget_s,
        "sizes": [],
        "patience_s": plan.budget_s,
    }
    probed = [s["n"] for s in run(target, "probe", request, plan.budget_s)]
    largest = max(probed, default=0)
    factor = min(2.0, (largest / 2.0) ** (1.0 / (N_SIZES - 1))) if largest > 2 else 1.0
    wanted = [largest / factor ** (N_SIZES - 1 - k) * _PHASES[k] for k in range(N_SIZES)]
    return tuple(sorted({max(1, round(n)) for n in wanted}))


def home_of(name: str) -> Path | None:
    """The folder of the code under study: that of the file, or of the outermost package of the module."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        return Path(where).resolve().parent
    try:
        spec = importlib.util.find_spec(where.partition(".")[0])
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _received(
    called: Mapping[tuple[str, str], Mapping[int, float]], name: str, sizes: Sequence[int]
) -> dict[int, list[float]]:
    """Calls of the function of this name by size, 0 where there were none."""
    found = dict.fromkeys(sizes, 0.0)
    for (_, callee), by_size in called.items():
        if callee == name:
            for n, calls in by_size.items():
                found[n] += calls
    return {n: [v] for n, v in found.items()}


def _values(
    plan: Plan,
    calls: list[dict[str, Any]],
    timed: list[dict[str, Any]],
    memory: list[dict[str, Any]],
    counted: list[dict[str, Any]],
) -> dict[str, dict[int, list[float]]]:
    values: dict[str, dict[int, list[float]]] = {}
    if calls:
        by_size = total_calls(calls)
        values[COUNTS] = {n: v[:1] for n, v in by_size.items()}
    if timed and TIME in plan.measures:
        values[TIME] = _by_size(timed, "wall_s" if _waits(timed) else "cpu_s")
    if timed and IO in plan.measures and all(s["io"] for s in timed):
        moved = [{"n": s["n"], "bytes": s["io"]["rchar"] + s["io"]["wchar"]} for s in timed]
        base = min(m["bytes"] for m in moved)  # reading the counters themselves
        values[IO] = {n: [max(b - base, 0.0) for b in v] for n, v in _by_size(moved, "bytes").items()}
    if memory:
        values[MEMORY] = _by_size([s for s in memory if "peak_bytes" in s], "peak_bytes")
    if counted:
        values[INSTRUCTIONS] = _by_size(counted, "instructions")
    return values


def _by_size(samples: Sequence[Mapping[str, Any]], key: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for s in samples:
        found.setdefault(int(s["n"]), []).append(float(s[key]))
    return found


def _waits(timed: Sequence[Mapping[str, Any]]) -> bool:
    """It spends its time waiting (for files, other processes, sleep), not working."""
    largest = max(s["n"] for s in timed)
    wall = [s["wall_s"] for s in timed if s["n"] == largest]
    cpu = [s["cpu_s"] for s in timed if s["n"] == largest]
    return min(wall) - min(cpu) > _WAITING * min(wall)


def _counters(samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for s in samples:
        for name, amount in s.get("counters", {}).items():
            found.setdefault(name, {})[int(s["n"])] = float(amount)
    return found


def _blame(
    plan: Plan,
    measures: Mapping[str, Any],
    costs: Sequence[FunctionCost],
    held: Sequence[tuple[Guilty, Fitted | None]],
    compiled: Sequence[Compiled],
) -> tuple[Guilty, ...]:
    """Functions that are guilty by calls or time; of memory and instructions where that measure itself exceeds."""
    exceeding = {name for name, m in measures.items() if m.verdict == EXCEEDS}
    found = guilty_functions(costs, plan.allowed)
    for name in (COUNTS, INSTRUCTIONS, TIME):
        if name in exceeding and not found:
            found = likeliest(costs, plan.allowed, name)
    if MEMORY in exceeding:
        declared = plan.declared_of(MEMORY)
        found += [g for g, f in held if f is not None and verdict(f, declared) == EXCEEDS] or [g for g, _ in held[:1]]
    found += guilty_compiled(compiled, plan.declared_of(INSTRUCTIONS))
    return tuple(found)
