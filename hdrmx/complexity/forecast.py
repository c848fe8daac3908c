"""What a whole data set would cost, from runs on at most a tenth of its frames; and how a later run compares.

Stages are fitted one by one over the number of frames, each with the class that it declares where the runs bear that
out. Time is wall time without compilation, memory the peak within the stage, I/O bytes read and written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hdrmx.complexity.classify import MIN_SIZES, fit, predict
from hdrmx.complexity.fit import make_series
from hdrmx.complexity.growth import LINEAR
from hdrmx.complexity.study import IO, MEMORY, NOISE, TIME, UNITS
from hdrmx.errors import HdrmxError, InputError
from hdrmx.io.open import open_source
from hdrmx.kernels.warm import warm_up
from hdrmx.measure.compilation import Compilation
from hdrmx.measure.process import ProcessMeter
from hdrmx.measure.recorder import Recorder
from hdrmx.params import Params
from hdrmx.pipeline import STAGES, process
from hdrmx.record import Span, net_ns, stages
from hdrmx.report.complexity_text import quantity

FILE_NAME = "forecast.json"
PART = 0.1  # of the frames to come, at most
_SIZES, _SPAN, _ROUNDS = 7, 8.0, 3
_LEAST_FRAMES = 4
Values = dict[str, dict[str, dict[int, list[float]]]]  # by stage, measure and size


def forecast(
    data: str | Path,
    n_frames: int,
    params: Params,
    *,
    threads: int = 1,
    until: str = STAGES[-1],
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Run slices of a data set and predict what `n_frames` frames would take.

    Parameters
    ----------
    data : with as many frames as there are; a tenth of `n_frames` is used at most
    say : is told what is going on

    Returns
    -------
    `n`, `sizes`, and for each stage and measure value, low and high (95 %) and the class; JSON as it stands

    Raises
    ------
    InputError : too few frames for a ladder of sizes
    """
    with closing(open_source(data)) as source:
        available = len(source.indices)
        warm_up(source.dtype, keep_pixels=params.find_spots.keep_pixels)
    sizes = _ladder(min(available, int(PART * n_frames)))
    if len(sizes) < MIN_SIZES:
        what = f"a tenth of {n_frames} frames, of which there are {available}, is too little"
        raise InputError(data, what, f"forecast for at least {int(_LEAST_FRAMES * _SPAN / PART)} frames")
    values: Values = {}
    with closing(_Compiling()) as compiling:
        for repeat in range(_ROUNDS):
            for n in sizes:  # rising: memory that an allocator keeps would count at smaller sizes
                say(f"run {repeat + 1} of {_ROUNDS} on {n} frames")
                _add(values, n, _run(data, n, params, threads, until, compiling.compilation), repeat == 0)
    return {
        "schema": "hdrmx-forecast/1",
        "n": n_frames,
        "sizes": list(sizes),
        "stages": {
            stage: {name: _predicted(name, v, n_frames) for name, v in by.items()} for stage, by in values.items()
        },
    }


class _Compiling:
    """Tells compilation apart from work."""

    def __init__(self) -> None:
        self.compilation = Compilation()
        self.compilation.start()

    def close(self) -> None:
        self.compilation.stop()


def _ladder(largest: int) -> tuple[int, ...]:
    if largest < _LEAST_FRAMES:
        return ()
    first = max(largest / _SPAN, _LEAST_FRAMES)
    return tuple(sorted({round(n) for n in np.geomspace(first, largest, _SIZES)}))


def _run(data: str | Path, n: int, params: Params, threads: int, until: str, compilation: Compilation) -> list[Span]:
    """Spans of the stages that could be run on the first n frames; a slice may be too small to be indexed."""
    recorder = Recorder(ProcessMeter(compilation=compilation))
    with closing(open_source(data, range(n))) as source:
        try:
            process(source, params, recorder, threads=threads, until=until)
        except HdrmxError:
            return [s for s in stages(recorder.finish()) if s.error is None]
    return stages(recorder.finish())


def _add(values: Values, n: int, spans: list[Span], with_memory: bool) -> None:
    for span in spans:
        by = values.setdefault(span.name, {TIME: {}, MEMORY: {}, IO: {}})
        by[TIME].setdefault(n, []).append(net_ns(span) / 1e9)
        if with_memory and span.peak_bytes is not None:
            by[MEMORY].setdefault(n, []).append(float(span.peak_bytes))
        if span.cost.read_bytes is not None and span.cost.write_bytes is not None:
            by[IO].setdefault(n, []).append(float(span.cost.read_bytes + span.cost.write_bytes))


def _predicted(name: str, values: Mapping[int, list[float]], n: int) -> dict[str, Any] | None:
    """None where too few sizes were measured."""
    series = make_series(values, False, NOISE.get(name))
    if series is None or len(series.n) < MIN_SIZES:
        return None
    fitted = fit(series, LINEAR)
    value, low, high = predict(fitted, n)
    growth = None if fitted.growth is None else str(fitted.growth)
    return {"value": value, "low": low, "high": high, "class": growth, "largest_measured": float(series.y[-1])}


def render(told: Mapping[str, Any]) -> str:
    """A line a stage."""
    lines = [f"forecast for {told['n']} frames, from {told['sizes'][0]}-{told['sizes'][-1]} frames"]
    for stage, by in told["stages"].items():
        parts = [f"{name} {_interval(name, p)}" for name, p in by.items() if p is not None]
        lines.append(f"  {stage:<12} {'; '.join(parts) or 'too few sizes could be run'}")
    times = [by[TIME] for by in told["stages"].values() if by[TIME] is not None]
    low, value, high = (sum(t[k] for t in times) for k in ("low", "value", "high"))
    lines.append(f"  {'all':<12} time {_interval(TIME, {'value': value, 'low': low, 'high': high})}")
    return "\n".join(lines) + "\n"


def _interval(name: str, p: Mapping[str, Any]) -> str:
    value, low, high = (quantity(p[k], UNITS[name]) for k in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def set_against(told: Mapping[str, Any], run: Span) -> list[tuple[str, str, float, float, bool]]:
    """(stage, measure, forecast, measured, inside the interval) for each stage of a later run of the whole."""
    found = []
    measured: Values = {}
    _add(measured, int(told["n"]), stages(run), True)
    for stage, by in told["stages"].items():
        for name, p in by.items():
            values = measured.get(stage, {}).get(name, {}).get(int(told["n"]))
            if p is not None and values:
                found.append((stage, name, p["value"], values[0], p["low"] <= values[0] <= p["high"]))
    return found


def render_against(told: Mapping[str, Any], run: Span) -> str:
    """A line for each stage and measure, forecast and measured."""
    lines = [f"against the forecast for {told['n']} frames:"]
    for stage, name, value, measured, inside in set_against(told, run):
        words = "within its interval" if inside else "outside of its interval"
        told_of = f"{quantity(value, UNITS[name])} forecast, {quantity(measured, UNITS[name])} measured"
        lines.append(f"  {stage:<12} {name:<7} {told_of} ({100 * (measured / value - 1):+.0f} %, {words})")
    return "\n".join(lines) + "\n"


def read_forecast(folder: Path, n_frames: int | None) -> dict[str, Any] | None:
    """The forecast in a results folder, when there is one for so many frames."""
    try:
        told = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = isinstance(told, dict) and told.get("schema") == "hdrmx-forecast/1" and told.get("n") == n_frames
    return told if usable else None
