"""Points in space, as data for the canvases of `page.js`, which can be turned."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from hdrmx.report.figures import Floats, Tick, json_script


@dataclass(frozen=True)
class View:
    """A direction to look at a cloud from: rows right, up and towards the reader."""

    name: str
    rows: Floats


def cloud_data(
    name: str,
    points: Floats,
    group: npt.NDArray[np.int64],
    groups: Sequence[tuple[str, str, str]],
    views: Sequence[View],
    axes: Sequence[tuple[str, Floats]],
    rings: Sequence[Tick],
) -> str:
    """Points in space for the canvases of `cloud`, 16 bits a coordinate.

    Parameters
    ----------
    points, group : (n, 3) and (n,), which of `groups`
    groups : (name, colour, mark)
    axes : (name, vector) drawn from the origin
    rings : (radius, text)
    """
    radius = float(np.abs(points).max()) if len(points) else 1.0
    coordinates = np.rint(points / radius * 32767).astype("<i2")
    return json_script(
        {
            "radius": float(f"{radius:.5g}"),
            "xyz": base64.b64encode(coordinates.tobytes()).decode(),
            "group": base64.b64encode(group.astype(np.uint8).tobytes()).decode(),
            "groups": [{"name": n, "colour": c, "mark": m} for n, c, m in groups],
            "views": [{"name": v.name, "rows": np.round(v.rows, 5).tolist()} for v in views],
            "axes": [{"name": n, "at": [float(f"{x:.5g}") for x in v]} for n, v in axes],
            "rings": [{"r": float(f"{r:.5g}"), "name": t} for r, t in rings],
        },
        f"points-{name}",
    )


def cloud(name: str, title: str, view: int, *, turns: bool = False) -> str:
    """A canvas that shows the cloud `name` from one of its views, and can be turned by mouse and keys if told so."""
    label = title + (". Drag or use arrow keys to turn, plus and minus to zoom." if turns else "")
    more = ' tabindex="0" data-turns' if turns else ""
    return (
        f'<canvas class="cloud" data-points="points-{name}" data-view="{view}" role="img" '
        f'aria-label="{escape(label)}"{more}></canvas>'
    )
