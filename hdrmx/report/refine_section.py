"""Sections of refinement: r.m.s.d.s along the scan, residuals, parameters."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from hdrmx.report.drift_section import GREEK
from hdrmx.report.figures import Axis, Series, chart, thinned
from hdrmx.report.page import MISSING, Section, figure, number, table, with_sd
from hdrmx.report.processed import Processed
from hdrmx.report.scatter import Curve, Dots, Plane, scatter

MOST_RESIDUALS = 8000
SPREAD = 4.0  # r.m.s.d.s that the plot of residuals shows
UNITS = {"deg": "°", "A": "Å"}
MEANING = {
    "shift1": "detector shift along its fast axis",
    "shift2": "detector shift along its slow axis",
    "tau1": "detector tilt 1",
    "tau2": "detector tilt 2",
    "tau3": "detector turned about its normal",
    "in_plane": "beam turned in the plane of the spindle",
    "out_of_plane": "beam turned out of that plane",
}


def refine_section(run: Processed) -> Section | None:
    """R.m.s.d.s by image, residuals."""
    if run.blocks is None or "fast_calc" not in run.spots:
        return None
    return Section("rmsd", "How well the model predicts", _rmsds(run, run.blocks) + _residuals(run))


def _rmsds(run: Processed, blocks: pd.DataFrame) -> str:
    first = blocks[blocks["lattice"] == 0]
    edges = np.append(first["first"].to_numpy(float), first["last"].to_numpy(float)[-1:]) + 0.5
    names = [f"images {int(a) + 1}–{int(b)}" for a, b in zip(first["first"], first["last"])]
    axis = Axis("image", (edges[:-1] + edges[1:]) / 2, names, edges)
    lattices = [blocks[blocks["lattice"] == i] for i in sorted(blocks["lattice"].unique())]
    many = len(lattices) > 1
    pixels = [
        Series(f"{word}{f', lattice {i + 1}' if many else ''}", rows[f"rmsd_{word}_px"].to_numpy(float), colour)
        for i, rows in enumerate(lattices)
        for word, colour in (("fast", f"c{2 * i % 5}"), ("slow", f"c{(2 * i + 1) % 5}"))
    ]
    frames = [
        Series(f"lattice {i + 1}", rows["rmsd_frame"].to_numpy(float), f"c{2 * i % 5}")
        for i, rows in enumerate(lattices)
    ]
    drawn = chart("R.m.s.d. on the detector by image", axis, pixels, y_label="px", y_range=(0, None), width=520)
    scan = chart("R.m.s.d. along the scan by image", axis, frames, y_label="images", y_range=(0, None), width=520)
    rows = [
        (
            f"{r['first'] + 1}–{r['last']}",
            str(r["lattice"] + 1),
            str(r["n"]),
            *(number(r[name]) for name in ("rmsd_fast_px", "rmsd_slow_px", "rmsd_frame")),
        )
        for r in blocks.to_dict("records")
    ]
    numbers = table(("images", "lattice", "spots", "fast, px", "slow, px", "scan, images"), rows)
    return (
        '<div class="pair">'
        + figure(
            drawn, "Distance of spots from their predictions on the detector, r.m.s., of the spots refined.", numbers
        )
        + figure(scan, "The same along the scan, in widths of an image.")
        + "</div>"
    )


def _residuals(run: Processed) -> str:
    spots = run.spots
    dx, dy = (spots["fast_calc"] - spots["fast"]).to_numpy(), (spots["slow_calc"] - spots["slow"]).to_numpy()
    dz = (spots["frame_calc"] - spots["frame"]).to_numpy()
    used, outlier = spots["used"].to_numpy(), spots["outlier"].to_numpy()
    rmsd = [float(np.sqrt(np.mean(v[used] ** 2))) if used.any() else 1.0 for v in (dx, dy, dz)]
    half = SPREAD * max(rmsd[0], rmsd[1], 1e-3)
    turn = np.linspace(0, 2 * np.pi, 91)
    circle = Curve(2 * rmsd[0] * np.cos(turn), 2 * rmsd[1] * np.sin(turn), "")
    groups = []
    for name, mine, colour, mark in (("outlier", outlier, "off", "cross"), ("refined", used, "c0", "dot")):
        rows = np.flatnonzero(mine)[thinned(int(mine.sum()), MOST_RESIDUALS)]
        groups.append(Dots(name, dx[rows], dy[rows], colour, mark))
    plane = Plane((-half, half), (-half, half), "fast: predicted − observed, px", "slow, px")
    beyond = int(((np.abs(dx) > half) | (np.abs(dy) > half)).sum())
    caption = (
        "Residuals on the detector; the ring is at twice the r.m.s.d. A cloud off the middle, or in two parts, tells "
    )
    caption += "of a wrong beam centre, a split crystal or wrong indices."
    n = int((spots["lattice"] >= 0).sum())
    caption += (
        f" Of {n} spots indexed {int(used.sum())} were refined against, {int(outlier.sum())} rejected as outliers"
    )
    caption += f"; {beyond} lie outside of the picture." if beyond else "."
    detector = figure(scatter("Residuals on the detector", plane, groups, [circle]), caption)
    return f'<div class="pair">{detector}{_scan_residuals(dz, used, rmsd[2])}</div>'


def _scan_residuals(dz: np.ndarray, used: np.ndarray, rmsd: float) -> str:
    half = SPREAD * max(rmsd, 1e-3)
    edges = np.linspace(-half, half, 49)
    seen = np.histogram(dz[used], edges)[0].astype(float)
    names = [f"{a:.2f} to {b:.2f}" for a, b in itertools.pairwise(edges)]
    axis = Axis("scan: predicted − observed, images", (edges[:-1] + edges[1:]) / 2, names, edges)
    picture = chart(
        "Residuals along the scan",
        axis,
        [Series("spots", seen, "c0", area=True)],
        y_label="spots refined",
        y_range=(0, None),
        width=520,
        height=300,
    )
    caption = f"Residuals along the scan of the spots refined; the r.m.s.d. is {rmsd:.3f} images."
    rows = [(n, f"{c:.0f}") for n, c in zip(names, seen) if c]
    return figure(picture, caption, table(("residual, images", "spots"), rows))


def parameter_section(run: Processed) -> Section | None:
    """Refined values with their standard uncertainties, and the experiment."""
    told = run.told.get("refine")
    if told is None:
        return None
    rows = []
    for row in told["parameters"]:
        name, unit = row["name"], UNITS.get(row["unit"], row["unit"])
        held = row["sd"] is None
        value = number(row["value"], 4) if held else with_sd(row["value"], row["sd"], 6)
        rows.append((_parameter_name(name, len(run.crystals)), value, unit, "held" if held else ""))
    note = (
        "In brackets the standard uncertainty in units of the last digit. Shifts, tilts and turns are changes in the "
        f"last cycle; what was held in it has none. {MISSING} where there is no value."
    )
    return Section(
        "parameters",
        "Refined parameters",
        table(("parameter", "value", "unit", ""), rows, text=(0, 2, 3)) + f"<p class=note>{note}</p>",
    )


def _parameter_name(name: str, lattices: int) -> str:
    plain, bracket, number_of = name.partition("[")
    if not bracket:
        return MEANING.get(name, name)
    which = f", lattice {int(number_of.rstrip(']')) + 1}" if lattices > 1 else ""
    return f"{GREEK.get(plain, plain)}{which}"
