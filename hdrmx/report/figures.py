"""Line charts as SVG text.

Colours are classes of `page.css` (c0, c1, ... and `off`), so that a picture follows the reader's light or dark scheme.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEFT, RIGHT, TOP, BOTTOM = 72, 14, 12, 40
MARKERS = 80  # as many points of a line get a dot
Tick = tuple[float, str]


@dataclass(frozen=True)
class Axis:
    """What the series of a chart have in common.

    Attributes
    ----------
    at : (n,) positions of the values
    names : (n,) each position in words, for the read-out
    edges : (n + 1,) of the bins, where the values belong to bins
    ticks : (position, text); found where none are given
    """

    label: str
    at: Floats
    names: Sequence[str]
    edges: Floats | None = None
    ticks: Sequence[Tick] | None = None

    @property
    def range(self) -> tuple[float, float]:
        across = self.at if self.edges is None else self.edges
        low, high = float(across.min()), float(across.max())
        return (low, high) if high > low else (low - 0.5, high + 0.5)


@dataclass(frozen=True)
class Series:
    """(n,) values, NaN where there are none; `sd` draws a band; `area` fills down to the axis."""

    name: str
    y: Floats
    colour: str = "c0"
    sd: Floats | None = None
    area: bool = False


@dataclass(frozen=True)
class Frame:
    """From values to the coordinates of the SVG."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int

    def px(self, x: npt.ArrayLike) -> Floats:
        low, high = self.x
        return LEFT + (np.asarray(x, float) - low) / (high - low) * (self.width - LEFT - RIGHT)

    def py(self, y: npt.ArrayLike) -> Floats:
        low, high = self.y
        return self.height - BOTTOM - (np.asarray(y, float) - low) / (high - low) * (self.height - BOTTOM - TOP)


def chart(
    title: str,
    x: Axis,
    series: Sequence[Series],
    *,
    y_label: str,
    y_range: tuple[float | None, float | None] = (None, None),
    width: int = 720,
    height: int = 230,
    digits: int = 3,
) -> str:
    """A line chart (steps where the axis has edges), with a legend and a read-out by mouse and arrow keys.

    Parameters
    ----------
    y_range : limits; None: from the data
    digits : significant ones of the values read out
    """
    y_ticks = nice_ticks(*_limits(series, y_range), most=max(height // 40, 3))
    low = y_ticks[0][0] if y_range[0] is None else y_range[0]
    high = y_ticks[-1][0] if y_range[1] is None else y_range[1]
    frame = Frame(x.range, (low, high), width, height)
    x_ticks = nice_ticks(*x.range, most=max(width // 90, 5)) if x.ticks is None else x.ticks
    drawn = "".join(_drawn(frame, x, s) for s in series)
    read = {
        "x": [round(v, 1) for v in frame.px(x.at).tolist()],
        "names": list(x.names),
        "series": [{"name": s.name, "y": [_short(v, digits) for v in s.y.tolist()]} for s in series],
    }
    cursor = f'<line class="cursor" y1="{TOP}" y2="{height - BOTTOM}"/>'
    label = escape(f"{title}. Arrow keys read out the values; the table below has them, too.")
    axes = axes_of(frame, x_ticks, y_ticks, x.label, y_label)
    return (
        f'<div class="chart">{_legend(series)}<svg style="--w:{width}px" viewBox="0 0 {width} {height}" role="img" '
        f'tabindex="0" aria-label="{label}">{axes}{drawn}{cursor}</svg>'
        f'<output aria-live="polite"></output>{json_script(read)}</div>'
    )


def _limits(series: Sequence[Series], given: tuple[float | None, float | None]) -> tuple[float, float]:
    ends = [s.y + sign * (0.0 if s.sd is None else np.nan_to_num(s.sd)) for s in series for sign in (-1, 1)]
    seen = np.concatenate([*ends, np.zeros(0)])
    seen = seen[np.isfinite(seen)]
    low = float(seen.min()) if given[0] is None and len(seen) else given[0] or 0.0
    high = float(seen.max()) if given[1] is None and len(seen) else given[1] or 1.0
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-300):
        margin = max(abs(high) * 1e-3, 1e-3)
        low, high = (low if given[0] is not None else low - margin), high + margin
    return low, high


def _drawn(frame: Frame, x: Axis, s: Series) -> str:
    y = frame.py(np.clip(s.y, *frame.y))  # what lies beyond the limits runs along the edge
    if x.edges is not None:
        known = runs(s.y)
        edges = frame.px(x.edges)
        lines = "".join(_steps(edges[a : b + 1], y[a:b]) for a, b in known)
        base = frame.py(max(frame.y[0], 0.0))
        areas = "".join(f"{_steps(edges[a : b + 1], y[a:b])}V{base:.1f}H{edges[a]:.1f}Z" for a, b in known)
        return (f'<path class="area {s.colour}" d="{areas}"/>' if s.area else "") + _line(lines, s.colour)
    at = frame.px(x.at)
    out = ""
    if s.sd is not None:
        for a, b in runs(s.y + s.sd):
            upper, lower = (frame.py(np.clip((s.y + sign * s.sd)[a:b], *frame.y)) for sign in (1, -1))
            back = polyline(at[a:b][::-1], lower[::-1]).replace("M", "L", 1)
            out += f'<path class="band {s.colour}" d="{polyline(at[a:b], upper)}{back}Z"/>'
    out += _line("".join(polyline(at[a:b], y[a:b]) for a, b in runs(s.y)), s.colour)
    if len(at) <= MARKERS:
        dots = "".join(f"M{u:.1f} {v:.1f}h0" for u, v in zip(at, y) if math.isfinite(v))
        out += f'<path class="dots {s.colour}" d="{dots}"/>'
    return out


def runs(y: Floats) -> list[tuple[int, int]]:
    """Where values stand side by side: [first, last + 1)."""
    known = np.concatenate([[False], np.isfinite(y), [False]])
    change = np.flatnonzero(known[1:] != known[:-1])
    return list(zip(change[::2].tolist(), change[1::2].tolist()))


def _steps(edges: Floats, y: Floats) -> str:
    first = f"M{edges[0]:.1f} {y[0]:.1f}H{edges[1]:.1f}"
    return first + "".join(f"V{v:.1f}H{u:.1f}" for v, u in zip(y[1:], edges[2:]))


def polyline(x: Floats, y: Floats) -> str:
    return "M" + "L".join(f"{u:.1f} {v:.1f}" for u, v in zip(x, y))


def _line(d: str, colour: str) -> str:
    return f'<path class="line {colour}" d="{d}"/>' if d else ""


def axes_of(frame: Frame, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_label: str, y_label: str) -> str:
    left, right, bottom = LEFT, frame.width - RIGHT, frame.height - BOTTOM
    out = []
    for v, text in y_ticks:
        if frame.y[0] - 1e-12 <= v <= frame.y[1] + 1e-12:
            p = float(frame.py(v))
            out.append(f'<path class="grid" d="M{left} {p:.1f}H{right}"/>')
            out.append(f'<text class="y" x="{left - 7}" y="{p + 4:.1f}">{escape(text)}</text>')
    for v, text in x_ticks:
        if frame.x[0] <= v <= frame.x[1]:
            p = float(frame.px(v))
            out.append(f'<path class="tick" d="M{p:.1f} {bottom}v5"/>')
            out.append(f'<text class="x" x="{p:.1f}" y="{bottom + 18}">{escape(text)}</text>')
    out.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    out.append(f'<text class="x label" x="{(left + right) / 2:.0f}" y="{frame.height - 5}">{escape(x_label)}</text>')
    middle = (TOP + bottom) / 2
    turn = f'transform="rotate(-90 13 {middle:.0f})"'
    out.append(f'<text class="x label" x="13" y="{middle + 4:.0f}" {turn}>{escape(y_label)}</text>')
    return "".join(out)


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    keys = "".join(f'<li><i class="key {s.colour}"></i>{escape(s.name)}</li>' for s in series)
    return f'<ul class="legend">{keys}</ul>'


def nice_ticks(low: float, high: float, most: int = 6) -> list[Tick]:
    """Round numbers (1, 2, 5 times a power of ten) that enclose low and high, at most `most` steps."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(m * power for m in (1, 2, 5, 10, 20) if span / (m * power) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(i * step, f"{i * step:,.{decimals}f}".replace("-", "−").replace(",", " ")) for i in range(first, last + 1)]


def json_script(content: Any, name: str = "") -> str:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return f'<script type="application/json"{f" id={name}" if name else ""}>{text}</script>'


def _short(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def thinned(n: int, most: int) -> npt.NDArray[np.int64]:
    """Rows to show of n, evenly through the list, at most so many; always the same ones."""
    if n <= most:
        return np.arange(n)
    return np.rint(np.linspace(0, n - 1, most)).astype(np.int64)
