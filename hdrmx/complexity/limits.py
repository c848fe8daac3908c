"""What is declared beside exponents: amounts per unit of n, and an earlier study as a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hdrmx.complexity.by_function import CALLS, FunctionCost, Guilty
from hdrmx.complexity.classify import EXCEEDS
from hdrmx.complexity.fit import typical
from hdrmx.complexity.study import COUNTS, INSTRUCTIONS, MEMORY, TIME, Breach, Study

_SLACK = 1.05  # over a declared amount per unit
_RATIO = {COUNTS: 1.02, INSTRUCTIONS: 1.02, MEMORY: 1.1, TIME: 1.25}  # new / old that is allowed
_MEMORY_FLOOR = 64 * 1024  # bytes
_SIGMAS = 5.0


def hold_to_limits(study: Study, limits: Mapping[str, float]) -> Study:
    """Check amounts per unit of the driver: of a counter, of calls of a function, of `memory` or `counts`.

    The amount per unit is the slope between the smallest and the largest size, so that what is done once is free.
    """
    breaches, guilty = list(study.breaches), list(study.guilty)
    for name, limit in limits.items():
        by_size = amounts(study, name)
        slope = _slope(by_size)
        if slope is not None and slope > limit * _SLACK:
            text = f"{slope:.3g} {name} per {study.driver}; at most {limit:g} {'is' if limit == 1 else 'are'} declared"
            breaches.append(Breach("unit", name, slope, limit, text))
            guilty += list(study.holders[:3]) if name == MEMORY else _caller_of(study, name) or _counting(study, name)
    return replace(study, breaches=tuple(breaches), guilty=tuple(guilty))


def blame_callers(study: Study) -> Study:
    """Name who makes the calls, where those of a function (`calls:NAME`) exceed their declared class."""
    names = [n.partition(":")[2] for n, m in study.measures.items() if ":" in n and m.verdict == EXCEEDS]
    found = [g for name in names for g in _caller_of(study, name)]
    return replace(study, guilty=(*study.guilty, *found))


def amounts(study: Study, name: str) -> dict[int, float]:
    """By size: a measure, a counter, or the calls of a function by its last name."""
    if name in study.measures:
        return {n: typical(v) for n, v in study.measures[name].values.items()}
    if name in study.counters:
        return study.counters[name]
    totals: dict[int, float] = {}
    for (_, callee), by_size in study.edges.items():
        if callee == name:
            for n, calls in by_size.items():
                totals[n] = totals.get(n, 0.0) + calls
    return totals


def _slope(by_size: Mapping[int, float]) -> float | None:
    if not by_size:
        return None
    first, last = min(by_size), max(by_size)
    if first == last:
        return by_size[last] / last
    return (by_size[last] - by_size[first]) / (last - first)


def _counting(study: Study, name: str) -> list[Guilty]:
    """For a counter: the function that counts, and the one that calls it where it is `count` itself."""
    if name not in study.counters:
        return []
    return _caller_of(study, "count")


def _caller_of(study: Study, callee: str) -> list[Guilty]:
    """The function that calls it most."""
    largest = max(study.sizes)
    calls = {caller: by_size.get(largest, 0.0) for (caller, called), by_size in study.edges.items() if called == callee}
    if not calls:
        return []
    name = max(calls, key=lambda k: calls[k])
    cost = next((c for c in study.functions if c.key[2] == name), None)
    if cost is None:
        return []
    share = calls[name] / max(sum(calls.values()), 1.0)
    return [Guilty(name, cost.key[0], cost.key[1], CALLS, cost.exponent or 0.0, 0.0, share, share)]


def hold_to_baseline(study: Study, old: Mapping[str, Any]) -> Study:
    """Compare, at the largest size that both have, answers first and then costs with an earlier study (its JSON)."""
    breaches, guilty = list(study.breaches), list(study.guilty)
    common = sorted(set(study.sizes) & {int(n) for n in old.get("sizes", ())})
    if not common:
        return study
    n = common[-1]
    before = {int(k): v for k, v in old.get("answers", {}).items()}
    changed = [k for k in common if k in before and k in study.answers and before[k] != study.answers[k]]
    if changed:
        text = f"the answer at n = {changed[-1]} isn't that of the baseline; speed says nothing then"
        breaches.append(Breach("answer", "answer", float(len(changed)), 0.0, text))
    for name, measure in study.measures.items():
        then = old.get("measures", {}).get(name, {}).get("values", {}).get(str(n))
        now = measure.values.get(n)
        if name in _RATIO and then and now and (ratio := _grown(name, list(now), then)) is not None:
            text = f"{name} at n = {n} is {ratio:.2f} times that of the baseline"
            breaches.append(Breach("baseline", name, ratio, _RATIO[name], text))
    if any(b.kind == "baseline" for b in breaches):
        guilty += _grown_function(study.functions, old.get("functions", ()), n)
    return replace(study, breaches=tuple(breaches), guilty=tuple(guilty))


def _grown(name: str, now: list[float], then: list[float]) -> float | None:
    """New / old where that is more than allowed and more than noise."""
    new, old = typical(now), typical(then)
    if old <= 0 or new / old <= _RATIO[name] or (name == MEMORY and new - old < _MEMORY_FLOOR):
        return None
    if name == TIME:
        a, b = (np.std(v, ddof=1) / np.sqrt(len(v)) if len(v) > 1 else 0.1 * typical(v) for v in (now, then))
        if new - old < _SIGMAS * float(np.hypot(a, b)) or min(now) < _RATIO[TIME] * min(then):
            return None
    return new / old


def _grown_function(functions: Iterable[FunctionCost], old: Iterable[Mapping[str, Any]], n: int) -> list[Guilty]:
    """The function whose own time grew most."""
    before = {f["function"]: f["own_s"].get(str(n), 0.0) for f in old}
    grown = {c.key: c.own_s.get(n, 0.0) - before.get(c.key[2], 0.0) for c in functions}
    if not grown:
        return []
    key = max(grown, key=lambda k: grown[k])
    share = grown[key] / max(sum(v for v in grown.values() if v > 0), 1e-12)
    return [Guilty(key[2], key[0], key[1], TIME, 0.0, 0.0, share, share)]
