"""Section of what changes along the scan: cell and orientation of each lattice."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from hdrmx.models import Crystal, Geometry, cell_of
from hdrmx.refinement.parameters import spindle_frame
from hdrmx.report.figures import Axis, Floats, Series, chart, thinned
from hdrmx.report.page import Section, figure, number, table, with_sd
from hdrmx.report.processed import Processed

MOST_POINTS = 200
GREEK = {"alpha": "α", "beta": "β", "gamma": "γ"}
CELL = (("a", "Å"), ("b", "Å"), ("c", "Å"), ("alpha", "°"), ("beta", "°"), ("gamma", "°"))
TURNS = (
    ("rotation1_deg", "about the spindle"),
    ("rotation2_deg", "across spindle and beam"),
    ("rotation3_deg", "about the third axis"),
)


def drift_section(run: Processed) -> Section | None:
    """Cell and orientation along the scan, for each lattice."""
    if run.drift is None:
        return None
    body = ""
    for lattice, crystal in enumerate(run.crystals):
        samples = run.drift[run.drift["lattice"] == lattice]
        if crystal.A_at_scan_points is None or len(samples) < 2:
            continue
        at = thinned(len(crystal.A_at_scan_points), MOST_POINTS)
        model = along_scan(crystal, run.geometry, at)
        grid = "".join(_chart(at + run.frames.start, model, samples, name, unit) for name, unit in CELL)
        grid += "".join(_chart(at + run.frames.start, model, samples, name, "°") for name, _ in TURNS)
        title = f"<h3>Lattice {lattice + 1}</h3>" if len(run.crystals) > 1 else ""
        caption = (
            "Cell constants, and rotations of the crystal from its mean orientation, along the scan. The band is one "
            "standard uncertainty to either side, drawn between the points at which the model can bend: the table has "
            "those points, the first and last of which may lie outside of the scan."
        )
        body += title + figure(f'<div class="nine">{grid}</div>', caption, _table(samples))
    slipped = [note for note in run.told.get("notes", ()) if note.startswith("the crystal slipped")]
    if body and slipped:
        text = slipped[-1][0].upper() + slipped[-1][1:]
        body = f"<p>{escape(text)}. The steps in the rotations below are these.</p>" + body
    if not body:
        body = "<p>The crystal was refined as one that doesn't change along the scan; the notes above say why.</p>"
    return Section("drift", "Drift along the scan", body)


def along_scan(crystal: Crystal, geometry: Geometry, at: np.ndarray) -> dict[str, Floats]:
    """Cell (A, deg), and rotations from the mean crystal (deg), at these scan points.

    The rotations are about the spindle, across spindle and beam, and about the third axis, as in refinement.
    """
    assert crystal.A_at_scan_points is not None
    assert geometry.goniometer is not None
    points = crystal.A_at_scan_points[at]
    gonio = geometry.goniometer
    to_spindle = spindle_frame(geometry) @ np.asarray(gonio.setting) @ np.asarray(gonio.fixed)
    u, _, v = np.linalg.svd(to_spindle @ points @ np.linalg.inv(np.asarray(crystal.A)) @ to_spindle.T)
    turns = Rotation.from_matrix(u @ v).as_rotvec(degrees=True)
    cells = np.array([cell_of(A) for A in points])
    told = {name: cells[:, k] for k, (name, _) in enumerate(CELL)}
    return told | {name: turns[:, k] for k, (name, _) in enumerate(TURNS)}


def _chart(frame: np.ndarray, model: dict[str, Floats], samples: pd.DataFrame, name: str, unit: str) -> str:
    y = model[name]
    label = dict(TURNS).get(name) or GREEK.get(name, name)
    sd = samples[f"{name}_sd"].to_numpy(float)
    known = np.isfinite(sd) & (sd > 0)
    if not known.any():
        return f'<div class="chart held"><h4>{label}</h4><p>{number(float(y[0]))} {unit}, held</p></div>'
    band = np.interp(frame, samples["frame"].to_numpy(float)[known], sd[known])
    axis = Axis("image", frame + 0.5, [f"at image {x + 0.5:.0f}" for x in frame])
    title = f"{label} along the scan"
    drawn = chart(title, axis, [Series(label, y, sd=band)], y_label="", width=360, height=170, digits=7)
    return f"<div><h4>{label}, {unit}</h4>{drawn}</div>"


def _table(samples: pd.DataFrame) -> str:
    names = [name for name, _ in CELL] + [name for name, _ in TURNS]
    head = ["image", *(f"{GREEK.get(n, n)}, {u}" for n, u in CELL), *(f"{word}, °" for _, word in TURNS)]
    cells = [
        [f"{row['frame'] + 0.5:.0f}", *(with_sd(row[n], row[f"{n}_sd"], 6) for n in names)]
        for row in samples.to_dict("records")
    ]
    return table(head, cells)
