"""Scatter plots as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from hdrmx.report.figures import BOTTOM, LEFT, RIGHT, TOP, Floats, Frame, axes_of, nice_ticks, polyline, runs

MARKS = {"dot": "h0", "plus": "m-2.5 0h5m-2.5-2.5v5", "cross": "m-2-2l4 4m0-4l-4 4"}
MANY = 1000  # from here on dots are small


@dataclass(frozen=True)
class Dots:
    """Points of a scatter plot; `mark` is "dot", "plus" or "cross"."""

    name: str
    x: Floats
    y: Floats
    colour: str = "c0"
    mark: str = "dot"


@dataclass(frozen=True)
class Curve:
    """A thin line over a scatter plot, broken at NaN, with a text at its last point."""

    x: Floats
    y: Floats
    text: str = ""


@dataclass(frozen=True)
class Plane:
    """The plane of a scatter plot. `down`: y grows downwards, as on a detector."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    width: int = 520
    down: bool = False

    @property
    def height(self) -> int:
        """Of the picture that has the same scale on both axes."""
        scale = (self.width - LEFT - RIGHT) / (self.x[1] - self.x[0])
        return round(scale * abs(self.y[1] - self.y[0])) + TOP + BOTTOM


def scatter(title: str, plane: Plane, groups: Sequence[Dots], curves: Sequence[Curve] = ()) -> str:
    """A scatter plot; both axes have the same scale. Points outside of the plane are left out."""
    y_range = (plane.y[1], plane.y[0]) if plane.down else plane.y
    frame = Frame(plane.x, plane.y, plane.width, plane.height)
    flip = plane.height - BOTTOM + TOP

    def py(y: npt.ArrayLike) -> Floats:
        return flip - frame.py(y) if plane.down else frame.py(y)

    y_ticks = [t for t in nice_ticks(*plane.y, most=5) if min(y_range) <= t[0] <= max(y_range)]
    x_ticks = nice_ticks(*plane.x, most=5)
    if plane.down:  # the frame counts upwards; its ticks go to where the values will be drawn
        y_ticks = [(plane.y[0] + plane.y[1] - v, text) for v, text in y_ticks]
    drawn = "".join(_marks(frame, py, plane, g) for g in groups)
    drawn += "".join(_curve(frame, py, c) for c in curves)
    drawn_axes = axes_of(frame, x_ticks, y_ticks, plane.x_label, plane.y_label)
    keys = "".join(f'<li><i class="key {g.mark} {g.colour}"></i>{escape(g.name)}</li>' for g in groups if len(g.x))
    return (
        f'<div class="chart scatter"><ul class="legend">{keys}</ul><svg viewBox="0 0 {plane.width} {plane.height}" '
        f'role="img" aria-label="{escape(title)}">{drawn_axes}{drawn}</svg></div>'
    )


def _marks(frame: Frame, py: Callable[[Floats], Floats], plane: Plane, dots: Dots) -> str:
    inside = (dots.x >= plane.x[0]) & (dots.x <= plane.x[1]) & (dots.y >= plane.y[0]) & (dots.y <= plane.y[1])
    at = np.column_stack([frame.px(dots.x[inside]), py(dots.y[inside])])
    tenths = np.unique(np.rint(at * 5).astype(np.int64) * 2, axis=0)  # to 0.2, each place once
    shape = MARKS[dots.mark]
    d = "".join(f"M{u / 10:g} {v / 10:g}{shape}" for u, v in tenths.tolist())
    width = (1.8 if len(dots.x) > MANY else 3.5) if dots.mark == "dot" else 1.2
    kind = "dots" if dots.mark == "dot" else "crosses"
    return f'<path class="{kind} {dots.colour}" style="stroke-width:{width}" d="{d}"/>'


def _curve(frame: Frame, py: Callable[[Floats], Floats], curve: Curve) -> str:
    x, y = frame.px(curve.x), py(curve.y)
    d = "".join(polyline(x[a:b], y[a:b]) for a, b in runs(curve.x + curve.y) if b - a > 1)
    if not d:
        return ""
    last = np.flatnonzero(np.isfinite(x + y))[-1]
    text = f'<text class="x ring" x="{x[last]:.1f}" y="{y[last] - 4:.1f}">{escape(curve.text)}</text>'
    return f'<path class="ring" d="{d}"/>' + (text if curve.text else "")
