"""Section of indexing: reciprocal space, fraction indexed, Bravais settings."""

from __future__ import annotations

from html import escape

import numpy as np

from hdrmx.report.cloud import View, cloud, cloud_data
from hdrmx.report.figures import Floats, Series, chart, thinned
from hdrmx.report.page import MISSING, Section, figure, number, table
from hdrmx.report.processed import Processed
from hdrmx.report.spot_section import spot_groups
from hdrmx.report.spot_statistics import by_image, by_resolution, rings

MOST_POINTS = 20_000
SPOTS_A_STEP, MOST_STEPS, SHELLS, MOST_ROWS = 40, 200, 20, 40
LAB = (("x", (1.0, 0.0, 0.0)), ("y", (0.0, 1.0, 0.0)), ("z", (0.0, 0.0, 1.0)))


def reciprocal_section(run: Processed) -> Section | None:
    """The spots in reciprocal space; not of stills, whose points don't share a frame."""
    if run.is_still or not len(run.r):
        return None
    chosen = thinned(len(run.r), MOST_POINTS)
    groups = spot_groups(run)
    which = np.zeros(len(run.r), np.int64)
    for i, (_, mine, _, _) in enumerate(groups):
        which[mine] = i
    views, axes = _views(run)
    d_min = 1.0 / float(np.linalg.norm(run.r, axis=1).max())
    data = cloud_data(
        "rlp",
        run.r[chosen],
        which[chosen],
        [(name, colour, mark) for name, _, colour, mark in groups],
        views,
        axes,
        [(1.0 / d, f"{d:g} Å") for d in rings(d_min, 3)],
    )
    three = "".join(
        f"<figure>{cloud('rlp', f'Spots in reciprocal space, {v.name}', i)}"
        f"<figcaption>{escape(v.name)}</figcaption></figure>"
        for i, v in enumerate(views[:3])
    )
    boxes = "".join(
        f'<label><input type="checkbox" checked data-group="{i}"><i class="key {mark} {colour}"></i>'
        f"{escape(name)} ({int(mine.sum())})</label>"
        for i, (name, mine, colour, mark) in enumerate(groups)
    )
    buttons = "".join(f'<button type="button" data-view="{i}">{escape(v.name)}</button>' for i, v in enumerate(views))
    viewer = (
        f'<div class="viewer"><div class="tools" role="group" aria-label="View">{buttons}{boxes}</div>'
        f"{cloud('rlp', 'Spots in reciprocal space', 0, turns=True)}</div>"
    )
    shown = (
        "all spots" if len(chosen) == len(run.r) else f"{len(chosen)} of {len(run.r)} spots, evenly through the list"
    )
    caption = (
        f"Reciprocal space at zero goniometer angles ({shown}); circles mark resolution. Along an axis of a good "
        "lattice all its spots fall onto a net; what lies between the nets belongs to another lattice, to ice, or to "
        "noise. Crosses on the nets are mostly spots near the rotation axis, whose angle "
        "is ill determined. Drag, or use the arrow keys, to turn; + and − to zoom."
    )
    return Section(
        "reciprocal",
        "Reciprocal space",
        f'{data}<div class="three">{three}</div>' + figure(viewer, caption),
    )


def _views(run: Processed) -> tuple[list[View], list[tuple[str, Floats]]]:
    """Along a*, b*, c* of the first lattice, then along the axes of the laboratory."""
    lab = [(name, np.array(axis)) for name, axis in LAB]
    views = [_along(name, axis, lab[(i + 2) % 3][1]) for i, (name, axis) in enumerate(lab)]
    if not run.crystals:
        return views, [(name, axis * 0.5 / run.geometry.beam.wavelength_A) for name, axis in lab]
    stars = [(f"{n}*", column) for n, column in zip("abc", np.asarray(run.crystals[0].A).T)]
    return [_along(n, v, stars[(i + 2) % 3][1]) for i, (n, v) in enumerate(stars)] + views, stars


def _along(name: str, towards: Floats, up: Floats) -> View:
    w = towards / np.linalg.norm(towards)
    v = up - (up @ w) * w
    v /= np.linalg.norm(v)
    return View(f"along {name}", np.array([np.cross(v, w), v, w]))


def fraction_section(run: Processed) -> Section | None:
    if not run.crystals:
        return None
    steps = int(np.clip(len(run.spots) / SPOTS_A_STEP, 1, min(MOST_STEPS, len(run.frames))))
    pairs = (
        ("image", by_image(run, steps), by_image(run, MOST_ROWS), "images"),
        ("resolution", by_resolution(run, SHELLS), by_resolution(run, SHELLS), "shell"),
    )
    out = ""
    for word, fine, coarse, head in pairs:
        series = [Series("indexed", 100 * fine.fraction, "c0", area=True)]
        picture = chart(
            f"Fraction indexed by {word}", fine.axis, series, y_label="indexed, %", y_range=(0, 100), width=520
        )
        out += figure(picture, f"Spots that are indexed, of all spots, by {word}.", coarse.as_table(head))
    return Section("fraction", "Fraction indexed", f'<div class="pair">{out}</div>')


def bravais_section(run: Processed) -> Section | None:
    rows = run.told.get("index", {}).get("bravais") or []
    if not rows:
        return None
    head = ("", "no.", "lattice", "symmetry", "metric fit, °", "r.m.s.d., px", "CC min / max", "spots", "a, b, c (Å)")
    cells = [
        (
            "best" if row.get("best") else "possible" if row.get("recommended") else "",
            str(row["number"]),
            row.get("lattice", MISSING),
            row["space_group"],
            number(row.get("metric_fit_deg"), 3),
            number(row.get("rmsd_px"), 3),
            _correlations(row),
            str(row.get("spots", MISSING)),
            " ".join(f"{x:.2f}" for x in row["cell"][:3]),
            " ".join(f"{x:.2f}" for x in row["cell"][3:]),
            row.get("change", MISSING),
        )
        for row in rows
    ]
    marked = [i for i, row in enumerate(rows) if row.get("best")]
    body = table((*head, "α, β, γ (°)", "axes"), cells, text=(0, 2, 3, 10), marked=marked)
    note = (
        "Each setting was refined with its constraints. The metric fit is the largest angle by which the lattice "
        "misses the symmetry; CC are correlations of the intensities of spots that the symmetry makes equal, before "
        "any scaling. “best” is the highest symmetry that neither r.m.s.d. nor CC speak against, “possible” what else "
        "they allow."
    )
    return Section("bravais", "Bravais settings", f"{body}<p class=note>{note}</p>")


def _correlations(row: dict[str, float | None]) -> str:
    if row.get("min_cc") is None:
        return MISSING
    return f"{number(row['min_cc'], 2)} / {number(row.get('max_cc'), 2)}"
