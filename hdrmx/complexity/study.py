"""A target at many sizes: what was measured, what each measure says, and who is to blame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hdrmx.complexity.by_function import Compiled, FunctionCost, Guilty
from hdrmx.complexity.classify import (
    EXCEEDS,
    MIN_SIZES,
    UNKNOWN,
    WITHIN,
    Fitted,
    fit,
    forecast_error,
    predict,
    verdict,
)
from hdrmx.complexity.fit import make_series
from hdrmx.complexity.growth import Growth

COUNTS, INSTRUCTIONS, TIME, MEMORY, IO = MEASURES = ("counts", "instructions", "time", "memory", "io")
UNITS = {COUNTS: "calls", INSTRUCTIONS: "instructions", TIME: "s", MEMORY: "bytes", IO: "bytes"}
NOISE = {INSTRUCTIONS: 0.003, MEMORY: 0.01, IO: 0.001}  # relative, of measures that hardly vary
_BEYOND, _POINTS = 1024.0, 45  # how far forecasts go, in largest sizes, and at how many sizes
_MEMORY_FLOOR = 64 * 1024  # bytes at the largest size, below which a growth of memory is none

Values = Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Measure:
    """One measure of a target; `fitted` is None where there was too little to fit."""

    name: str
    unit: str
    values: Values
    declared: Growth
    verdict: str
    fitted: Fitted | None = None
    forecast_error: float | None = None


@dataclass(frozen=True)
class Breach:
    """Something beside an exponent that isn't as declared: `kind` is unit, baseline or answer."""

    kind: str
    name: str
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class Study:
    target: str
    driver: str
    sizes: tuple[int, ...]
    declared: Growth
    measures: dict[str, Measure]
    guilty: tuple[Guilty, ...] = ()
    functions: tuple[FunctionCost, ...] = ()
    breaches: tuple[Breach, ...] = ()
    counters: dict[str, dict[int, float]] = field(default_factory=dict)
    answers: dict[int, str] = field(default_factory=dict)
    edges: dict[tuple[str, str], dict[int, float]] = field(default_factory=dict)  # calls by caller and callee
    holders: tuple[Guilty, ...] = ()  # functions that hold most when memory is at its peak
    compiled: tuple[Compiled, ...] = ()
    notes: tuple[str, ...] = ()  # why something wasn't measured
    parts: dict[str, Study] = field(default_factory=dict)  # stages of a pipeline

    @property
    def verdict(self) -> str:
        found = [m.verdict for m in self.measures.values()] + [p.verdict for p in self.parts.values()]
        if self.breaches or EXCEEDS in found or self.guilty:
            return EXCEEDS
        return WITHIN if WITHIN in found else UNKNOWN


def judge(name: str, values: Values, declared: Growth, prior: Growth | None = None) -> Measure:
    """Fit one measure and hold it to its declared class.

    Parameters
    ----------
    values : repeated values by size
    prior : the class found on counts
    """
    unit = UNITS.get(name, "")
    exact = name not in (TIME, *NOISE)
    series = make_series(values, exact, NOISE.get(name))
    if series is None or len(series.n) < MIN_SIZES:
        nothing = bool(values) and all(max(v, default=0.0) == 0 for v in values.values())
        return Measure(name, unit, values, declared, WITHIN if nothing else UNKNOWN)
    fitted = fit(series, prior)
    said = verdict(fitted, declared)
    if name in (MEMORY, IO) and float(series.y[-1]) < _MEMORY_FLOOR:
        said = WITHIN
    return Measure(name, unit, values, declared, said, fitted, forecast_error(series, prior))


def as_json(study: Study) -> dict[str, Any]:
    """The document that `--json` writes; `docs/complexity.md` describes every field."""
    return {
        "schema": "hdrmx-complexity/1",
        "target": study.target,
        "driver": study.driver,
        "sizes": list(study.sizes),
        "declared": str(study.declared),
        "verdict": study.verdict,
        "measures": {name: _measure_json(m) for name, m in study.measures.items()},
        "guilty": [_guilty_json(g) for g in study.guilty],
        "breaches": [{"kind": b.kind, "name": b.name, "value": b.value, "limit": b.limit} for b in study.breaches],
        "functions": _functions_json(study.functions),
        "counters": {name: {str(n): v for n, v in by_size.items()} for name, by_size in study.counters.items()},
        "answers": {str(n): digest for n, digest in study.answers.items()},
        "compiled": [_compiled_json(f) for f in study.compiled],
        "notes": list(study.notes),
        "parts": {name: as_json(part) for name, part in study.parts.items()},
    }


def _measure_json(m: Measure) -> dict[str, Any]:
    found: dict[str, Any] = {
        "unit": m.unit,
        "declared": str(m.declared),
        "verdict": m.verdict,
        "class": None,
        "exponent": None,
        "local_exponent": None,
        "crossover": None,
        "forecast_error": m.forecast_error,
        "values": {str(n): list(v) for n, v in m.values.items()},
    }
    if m.fitted is None:
        return found
    f, crossover = m.fitted, m.fitted.crossover
    e = f.exponent
    return found | {
        "class": None if f.growth is None else str(f.growth),
        "exponent": {"value": e.value, "low": e.low, "high": e.high},
        "local_exponent": f.local_exponent,
        "crossover": None if crossover == float("inf") else crossover,
        "plausible": [str(g) for g in f.plausible],
        "not_identifiable_below": f.unclear_below,
        "fit": fit_json(f),
        "forecast": _forecast_json(f),
    }


def _forecast_json(f: Fitted) -> list[list[float]]:
    """[n, value, low, high] from half the smallest size to far beyond the largest."""
    first, last = max(float(f.series.n[0]) / 2.0, 1.0), f.series.largest * _BEYOND
    return [[float(n), *predict(f, float(n))] for n in np.geomspace(first, last, _POINTS)]


def fit_json(f: Fitted) -> dict[str, Any]:
    """Terms of the fit: cost(n) = sum of coefficient * (n / scale)^power * (log n / log scale)^logs."""
    shape = f.hypothesis
    return {
        "scale": shape.scale,
        "terms": [
            {"power": t.power, "logs": t.logs, "coefficient": float(c)} for t, c in zip(shape.terms, shape.coefficients)
        ],
    }


def _guilty_json(g: Guilty) -> dict[str, Any]:
    return {
        "function": g.function,
        "file": g.file,
        "line": g.line,
        "measure": g.measure,
        "exponent": g.exponent,
        "inherited_exponent": g.inherited_exponent,
        "share_at_largest": g.share_at_largest,
    }


def _functions_json(functions: Sequence[FunctionCost]) -> list[dict[str, Any]]:
    """Each with the functions that it calls, by their places in this list, and how often at the largest size."""
    place = {f.key: i for i, f in enumerate(functions)}
    return [
        _function_json(f) | {"callees": [[place[k], n] for k, n in f.called.items() if k in place]} for f in functions
    ]


def _compiled_json(f: Compiled) -> dict[str, Any]:
    return {
        "function": f.name,
        "share_at_largest": f.share,
        "instructions": {str(n): v for n, v in sorted(f.instructions.items())},
        "exponent": None if f.fitted is None else f.fitted.local_exponent,
    }


def _function_json(f: FunctionCost) -> dict[str, Any]:
    def short(fitted: Fitted | None) -> dict[str, Any] | None:
        if fitted is None:
            return None
        growth = None if fitted.growth is None else str(fitted.growth)
        return {"class": growth, "exponent": fitted.local_exponent, "fit": fit_json(fitted)}

    return {
        "function": f.key[2],
        "file": f.key[0],
        "line": f.key[1],
        "share_at_largest": f.share,
        "calls": {str(n): v for n, v in sorted(f.calls.items())},
        "own_s": {str(n): v for n, v in sorted(f.own_s.items())},
        "inherited": short(f.inherited),
        "made": short(f.made),
        "own": short(f.own),
    }
