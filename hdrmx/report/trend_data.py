"""A history packed for the trend page: two bytes a value, one for its interval, so that the page stays small."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import numpy as np

from hdrmx.analysis.changes_segments import Floats
from hdrmx.analysis.history import History
from hdrmx.analysis.regress import Regressed, eras_of

MOST_VALUES = 330_000  # in a page; series without a change are left out beyond that
MOST_SERIES = 1000
MISSING = -32768  # of the 16-bit values
STEPS = 32000
SMALLEST = 1e-5  # relative half-width of an interval that byte 1 stands for; 40 bytes are a factor of 10


def chosen(result: Regressed) -> list[int]:
    """Series that are drawn, in the history's order: all where there is room, else those that changed first."""
    history = result.history
    sizes = [len(s.values) for s in history.series]
    if sum(sizes) <= MOST_VALUES and len(sizes) <= MOST_SERIES:
        return list(range(len(sizes)))
    changed = list(dict.fromkeys(f.series for g in result.groups for f in g.findings))
    others = [i for i in range(len(sizes)) if i not in set(changed)]
    room = MOST_VALUES
    kept: list[int] = []
    for i in [*changed, *others]:
        if sizes[i] <= room and len(kept) < MOST_SERIES:
            kept.append(i)
            room -= sizes[i]
    return sorted(kept)


def packed(result: Regressed, drawn: list[int]) -> dict[str, Any]:
    """Everything that the page's script needs, for JSON. Keys are short: there are many of them."""
    history = result.history
    by_series: dict[int, list[Any]] = {}
    for group in result.groups:
        for f in group.findings:
            if f.form == "step":
                mark = [f.at, f.first, f.last, _short(f.old), _short(f.new), int(f.worse), f.undone]
                by_series.setdefault(f.series, []).append(mark)
    return {
        "commits": [c.hash[:12] for c in history.commits],
        "dates": [c.date_ms // 60000 for c in history.commits],
        "subjects": [c.subject[:100] for c in history.commits] if any(c.subject for c in history.commits) else None,
        "url": history.commit_url,
        "links": _links(history),
        "events": [[e.at, e.machine, e.text[:200]] for e in history.events],
        "series": {str(i): _series(result, i, by_series.get(i, [])) for i in drawn},
    }


def _links(history: History) -> dict[str, dict[str, str]]:
    number = {c.hash: i for i, c in enumerate(history.commits)}
    return {str(number[name]): links for name, links in history.links.items() if name in number}


def _series(result: Regressed, i: int, marks: list[Any]) -> dict[str, Any]:
    series = result.history.series[i]
    y = series.values
    out: dict[str, Any] = {"n": series.label, "u": series.unit, "m": series.machine, "k": series.kind}
    known = y[np.isfinite(y)]
    log = bool((known > 0).all()) and len(known) > 0
    x = np.log(y, where=y > 0, out=np.full(len(y), np.nan)) if log else y
    middle = float(np.nanmedian(x)) if len(known) else 0.0
    reach = max(float(np.nanmax(np.abs(x - middle))), 1e-12) if len(known) else 1.0
    scaled = np.where(np.isfinite(x), np.rint((x - middle) / reach * STEPS), MISSING)
    out["y"] = _base64(np.nan_to_num(scaled, nan=MISSING).astype("<i2"))
    out["c"], out["r"], out["l"] = middle, reach / STEPS, int(log)
    places = series.at.tolist()
    if places != list(range(places[0], places[0] + len(places))):
        out["a"] = _base64(np.diff(series.at, prepend=0).astype("<u2"))
    else:
        out["f"] = places[0]
    if np.isfinite(series.high - series.low).any():
        out["w"] = _base64(widths(y, series.low, series.high))
    out["s"] = _levels(result, i)
    if marks:
        out["x"] = marks
    return out


def widths(y: Floats, low: Floats, high: Floats) -> np.ndarray:
    """(n,) uint8: half the interval over the value, on a logarithmic scale; 0 where it isn't known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.abs(high - low) / 2 / np.abs(y)
        code = 1 + np.rint(40 * np.log10(np.maximum(half, SMALLEST) / SMALLEST))
    return np.where(np.isfinite(code), np.clip(code, 1, 255), 0).astype(np.uint8)


def _levels(result: Regressed, i: int) -> list[list[Any]]:
    """Runs of one level: first and last commit, level, lower and upper edge of two spreads about it."""
    series = result.history.series[i]
    out = []
    for rows, found in zip(eras_of(series), result.found[i]):
        starts = [0, *(step.at for step in found.steps), len(rows)]
        for a, b in pairwise(starts):
            level = found.level[a:b]
            level = level[np.isfinite(level)]
            if b > a and len(level):
                spread = found.spread if np.isfinite(found.spread) else 0.0
                edges = (
                    level[0] * np.exp([-2 * spread, 2 * spread])
                    if found.relative
                    else level[0] + np.array([-2, 2]) * spread
                )
                ends = [int(series.at[rows[a]]), int(series.at[rows[b - 1]])]
                out.append([*ends, _short(level[0]), _short(edges[0]), _short(edges[1])])
    return out


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
