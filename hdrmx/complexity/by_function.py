"""Which function the cost grows in: one exponent for each, what it inherits from its callers taken apart.

A function *inherits* the growth of how often it is called from elsewhere. Its *own* work is the time in its body and
in the library functions below it; its calls are those it makes. It is guilty when its own work, or the calls it
makes, grow faster than declared while the calls that it gets do not: the growth begins there.
"""

from __future__ import annotations

import functools
import re
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrmx.complexity.classify import EXCEEDS, MIN_SIZES, Fitted, fit, verdict
from hdrmx.complexity.fit import make_series, typical
from hdrmx.complexity.growth import Growth

Key = tuple[str, int, str]  # file, line, name; built-in functions have neither file nor line
CALLS, TIME, MEMORY, INSTRUCTIONS = "counts", "time", "memory", "instructions"
_LEAST_SHARE = 0.02  # of all time at the largest size, below which a time isn't fitted
_LEAST_CALLS = 32  # at the largest size, below which calls aren't fitted
_LEAST_BYTES = 4096
_LEAST_COMPILED = 0.002  # of all instructions: they are counted, not sampled
_SPREAD = 0.003  # of instruction counts


_COMPREHENSION = re.compile(r"(\.<locals>\.<(listcomp|setcomp|dictcomp|genexpr|lambda)>)+$")


@dataclass
class Work:
    """Of one function at one size."""

    received: int = 0  # calls from elsewhere
    calls: int = 0  # calls it got, by itself too, and calls it made
    own_s: list[float] = field(default_factory=list)  # a value a repeat
    called: dict[Key, int] = field(default_factory=dict)  # calls made within the looked-at code


@dataclass(frozen=True)
class FunctionCost:
    """One function over all sizes. Exponents are None where nothing could be fitted."""

    key: Key
    calls: dict[int, int]
    own_s: dict[int, float]
    share: float  # of all own time at the largest size
    inherited: Fitted | None  # calls from elsewhere
    made: Fitted | None  # calls got and made
    own: Fitted | None  # time
    called: dict[Key, int]  # calls made within the looked-at code, at the largest size

    @property
    def exponent(self) -> float | None:
        """Of its own work: by time where that can be fitted, else by calls."""
        fitted = self.own or self.made
        return None if fitted is None else fitted.local_exponent


@dataclass(frozen=True)
class Guilty:
    """A function in which the cost begins to grow faster than declared; share of the measure at the largest size."""

    function: str
    file: str
    line: int
    measure: str
    exponent: float
    inherited_exponent: float
    share_at_largest: float
    weight: float  # for ranking: its share at ten times the largest size


def function_costs(samples: Iterable[Mapping[str, Any]], home: Path | None) -> list[FunctionCost]:
    """Costs by function, those of the largest share first.

    Parameters
    ----------
    samples : of the child's mode "calls": n, functions
    home : folder of the code that is looked at; other packages' work counts as that of their callers
    """
    table: dict[Key, dict[int, Work]] = {}
    for sample in samples:
        for key, work in _works(sample["functions"], home).items():
            known = table.setdefault(key, {}).setdefault(int(sample["n"]), work)
            if known is not work:
                known.own_s += work.own_s
    if not table:
        return []
    largest = max(max(works) for works in table.values())
    own = {key: {n: typical(w.own_s) for n, w in works.items()} for key, works in table.items()}
    total = sum(by_size.get(largest, 0.0) for by_size in own.values()) or 1.0
    found = [_cost(key, works, own[key], own[key].get(largest, 0.0) / total) for key, works in table.items()]
    return sorted(found, key=lambda f: -f.share)


def _cost(key: Key, works: dict[int, Work], own: dict[int, float], share: float) -> FunctionCost:
    calls = {n: w.calls for n, w in works.items()}
    received = {n: w.received for n, w in works.items()}
    counted = max(calls.values()) >= _LEAST_CALLS
    return FunctionCost(
        key=key,
        calls=calls,
        own_s=own,
        share=share,
        inherited=_fitted({n: [v] for n, v in received.items()}, exact=True) if counted else None,
        made=_fitted({n: [v] for n, v in calls.items()}, exact=True) if counted else None,
        own=_fitted({n: w.own_s for n, w in works.items()}, exact=False) if share >= _LEAST_SHARE else None,
        called=works[max(works)].called,
    )


def _fitted(values: Mapping[int, Sequence[float]], exact: bool, noise: float | None = None) -> Fitted | None:
    series = make_series(values, exact, noise)
    return fit(series) if series is not None and len(series.n) >= MIN_SIZES else None


def _works(entries: Sequence[Any], home: Path | None) -> dict[Key, Work]:
    """Work by function of the looked-at code."""
    entries = _with_comprehensions(entries)
    outer = {_key(e[0]) for e in entries if is_ours(_key(e[0])[0], home)}
    clean = _without_callbacks(entries, outer)
    works: dict[Key, Work] = {}
    received: dict[Key, int] = {}
    for raw, n_calls, own_s, called in entries:
        key = _key(raw)
        for c_raw, c_calls, _, _ in called:
            if _key(c_raw) != key:
                received[_key(c_raw)] = received.get(_key(c_raw), 0) + c_calls
        if key in outer:
            below = [(_key(c[0]), c) for c in called]
            taken = sum(c[3] if k in clean else c[2] for k, c in below if k not in outer)
            works[key] = Work(calls=n_calls + sum(c[1] for _, c in below), own_s=[own_s + taken])
            for k, c in below:
                if k in outer and k != key:
                    works[key].called[k] = works[key].called.get(k, 0) + c[1]
    for raw, n_calls, _, called in entries:
        key = _key(raw)
        if key in works:
            itself = sum(c[1] for c in called if _key(c[0]) == key)
            works[key].received = n_calls - itself
    return works


def _with_comprehensions(entries: Sequence[Any]) -> list[Any]:
    """Comprehensions count as the function that they stand in, as they do in later versions of Python."""
    known = {(e[0][0], e[0][2]): e[0] for e in entries}

    def outer(key: Sequence[Any]) -> Sequence[Any]:
        name = _COMPREHENSION.sub("", key[2])
        return known.get((key[0], name), key) if name != key[2] else key

    merged: dict[Key, list[Any]] = {}
    for raw, n_calls, own_s, called in entries:
        key = outer(raw)
        into = merged.setdefault(_key(key), [key, 0, 0.0, []])
        into[1] += n_calls if key is raw else 0
        into[2] += own_s
        into[3] += [[outer(c[0]), *c[1:]] for c in called if _key(outer(c[0])) != _key(key) or c[0] == key]
    return list(merged.values())


def _without_callbacks(entries: Sequence[Any], outer: set[Key]) -> set[Key]:
    """Library functions that never come back to the looked-at code: all their time belongs to who calls them."""
    below = {_key(e[0]): {_key(c[0]) for c in e[3]} for e in entries}
    tainted = set(outer)
    while True:
        more = {k for k, called in below.items() if k not in tainted and called & tainted}
        if not more:
            break
        tainted |= more
    return {k for k in {*below, *(c for called in below.values() for c in called)} if k not in tainted}


def guilty_functions(costs: Sequence[FunctionCost], declared: Growth) -> list[Guilty]:
    """The functions in which growth beyond the declared class begins, the weightiest first."""
    found = []
    for cost in costs:
        inherited = cost.inherited
        if inherited is not None and verdict(inherited, declared) == EXCEEDS:
            continue
        for measure, fitted in ((TIME, cost.own), (CALLS, cost.made)):
            if fitted is not None and verdict(fitted, declared) == EXCEEDS:
                found.append(_guilty(cost, measure, fitted, declared))
                break
    return sorted(found, key=lambda g: -g.weight)


def inherited_functions(costs: Sequence[FunctionCost], declared: Growth) -> list[FunctionCost]:
    """Functions that are called more often than declared, through no fault of their own."""
    return [c for c in costs if c.inherited is not None and verdict(c.inherited, declared) == EXCEEDS]


def _guilty(cost: FunctionCost, measure: str, fitted: Fitted, declared: Growth) -> Guilty:
    file, line, name = cost.key
    inherited = 0.0 if cost.inherited is None else cost.inherited.local_exponent
    exponent = fitted.local_exponent
    share = max(cost.share, 1e-6)
    return Guilty(name, file, line, measure, exponent, inherited, cost.share, share * 10 ** (exponent - declared.power))


def holders(samples: Iterable[Mapping[str, Any]], home: Path | None) -> list[tuple[Guilty, Fitted | None]]:
    """Functions of the looked-at code by what they hold when memory is at its peak, the most first."""
    held: dict[Key, dict[int, list[float]]] = {}
    for sample in samples:
        for raw, size in sample.get("functions", ()):
            key = (str(raw[0]), int(raw[1]), _COMPREHENSION.sub("", str(raw[2])))
            held.setdefault(key, {}).setdefault(int(sample["n"]), []).append(float(size))
    if not held:
        return []
    largest = max(n for sizes in held.values() for n in sizes)
    total = sum(sizes.get(largest, [0.0])[0] for sizes in held.values()) or 1.0
    found = []
    for key, sizes in held.items():
        last = sizes.get(largest, [0.0])[0]
        if last < _LEAST_BYTES or last < _LEAST_SHARE * total or not is_ours(key[0], home):
            continue
        fitted = _fitted(sizes, exact=False, noise=0.02)
        exponent = 0.0 if fitted is None else fitted.local_exponent
        found.append((Guilty(key[2], key[0], key[1], MEMORY, exponent, 0.0, last / total, last), fitted))
    return sorted(found, key=lambda f: -f[0].weight)


def likeliest(costs: Sequence[FunctionCost], declared: Growth, measure: str) -> list[Guilty]:
    """Where the whole exceeds and no function does by itself for sure: the one with most of the time that may."""
    for cost in costs:
        innocent = cost.inherited is None or verdict(cost.inherited, declared) != EXCEEDS
        if innocent and cost.own is not None and cost.own.exponent.high > declared.power:
            return [_guilty(cost, measure, cost.own, declared)]
    return []


@dataclass(frozen=True)
class Compiled:
    """Own instructions of a compiled function, by size."""

    name: str
    instructions: dict[int, float]
    share: float  # at the largest size
    fitted: Fitted | None


def compiled_functions(samples: Sequence[Mapping[str, Any]]) -> list[Compiled]:
    """Those with more than a trace of the instructions at the largest size, the most first."""
    counts: dict[str, dict[int, float]] = {}
    totals = {int(s["n"]): float(s["instructions"]) for s in samples}
    if not totals:
        return []
    for sample in samples:
        for name, n in sample["functions"].items():
            counts.setdefault(name, {})[int(sample["n"])] = float(n)
    largest = max(totals)
    found = []
    for name, sizes in counts.items():
        share = sizes.get(largest, 0.0) / totals[largest]
        if share >= _LEAST_COMPILED:
            fitted = _fitted({n: [v] for n, v in sizes.items()}, exact=False, noise=_SPREAD)
            found.append(Compiled(name, sizes, share, fitted))
    return sorted(found, key=lambda f: -f.share)


def guilty_compiled(functions: Sequence[Compiled], declared: Growth) -> list[Guilty]:
    """Compiled functions whose own instructions are of a class beyond the declared one, and steeper."""
    found = []
    for f in functions:
        fitted = f.fitted
        if fitted is None or verdict(fitted, declared) != EXCEEDS:
            continue
        exponent = fitted.local_exponent
        if f.share >= _LEAST_SHARE or fitted.growth is not None:
            weight = f.share * 10 ** (exponent - declared.power)
            found.append(Guilty(f.name, "", 0, INSTRUCTIONS, exponent, 0.0, f.share, weight))
    return sorted(found, key=lambda g: -g.weight)


@functools.lru_cache(maxsize=4096)
def is_ours(file: str, home: Path | None) -> bool:
    """Code that is looked at: below `home`, or in neither the standard library nor an installed package."""
    if not file or file.startswith("<") or Path(file).name == "child.py":
        return False
    path = Path(file)
    if home is not None and path.is_relative_to(home):
        return True
    paths = sysconfig.get_paths()
    libraries = {Path(paths[k]) for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(path.is_relative_to(folder) for folder in libraries) and not {
        "site-packages",
        "dist-packages",
    }.intersection(path.parts)


def _key(raw: Sequence[Any]) -> Key:
    return (str(raw[0]), int(raw[1]), str(raw[2]))


def total_calls(samples: Iterable[Mapping[str, Any]]) -> dict[int, list[float]]:
    """Calls of all functions by size, built-in ones too, but for those of the profiler."""
    found: dict[int, list[float]] = {}
    for s in samples:
        n_calls = sum(e[1] for e in s["functions"] if "_lsprof" not in e[0][2])
        found.setdefault(int(s["n"]), []).append(float(n_calls))
    return found


def call_edges(samples: Iterable[Mapping[str, Any]], home: Path | None) -> dict[tuple[str, str], dict[int, float]]:
    """Calls by (caller in the looked-at code, callee), by size; a method of a built-in type by its bare name."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for s in samples:
        here: dict[tuple[str, str], float] = {}
        for raw, _, _, called in _with_comprehensions(s["functions"]):
            if is_ours(raw[0], home):
                for c in called:
                    pair = (str(raw[2]), bare_name(c[0]))
                    here[pair] = here.get(pair, 0.0) + c[1]
        for pair, n_calls in here.items():
            found.setdefault(pair, {})[int(s["n"])] = n_calls
    return found


def bare_name(raw: Sequence[Any]) -> str:
    """`method 'index' of 'list' objects` to `index`, `Class.method` to `method`."""
    name = str(raw[2])
    quoted = re.search(r"'(\w+)'", name)
    return quoted[1] if quoted and not raw[0] else name.rpartition(" ")[2].rpartition(".")[2]
