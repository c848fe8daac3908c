"""Section of scaling: the model along the scan, absorption, errors, outliers, and what each image is worth."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from hdrmx.report.along import in_pairs, rows_of, steps_of, within_scans
from hdrmx.report.figures import Axis, Floats, Series, chart, thinned
from hdrmx.report.page import MISSING, Section, figure, number, table
from hdrmx.report.processed import Processed
from hdrmx.report.raster import NOTHING, levels, map_over, scale_bar
from hdrmx.report.scatter import Dots, Plane, scatter
from hdrmx.report.stage_results import MergingResult, ScalingResult

WORST = 12  # outliers named
MOST_SWEEPS = 100  # that are listed
MOST_DRIFTS = 4  # sweeps whose decay with dose is drawn
MAP = (60, 120)  # points of the surface of absorption, cos(theta) and phi


def scale_section(run: Processed) -> Section | None:
    done = run.later.scaling
    if done is None:
        return None
    body = in_pairs([*_along(done), *_by_image(done, run.later.merging), *_drift(run.later.merging)])
    body += _absorption(done) + "<h3>Errors</h3>" + in_pairs(_errors(done)) + _outliers(run, done) + _indexing(done)
    return Section("scaling", "Scaling", body)


def _along(done: ScalingResult) -> list[str]:
    frames, out = done.frames, []
    if not len(frames):
        return []
    steps = steps_of(frames)
    scale = steps.mean(frames["scale"].to_numpy(float))
    drawn = chart("Scale by image", steps.axis, [Series("scale", scale, "c0")], y_label="scale", width=520)
    caption = (
        "Scale C of the model, by which intensities are divided: beam, volume in the beam, and what absorption leaves."
    )
    out.append(figure(drawn, caption, rows_of(steps.axis, [("scale", scale, 4)], steps.axis.label)))
    decay = steps.mean(frames["b_A2"].to_numpy(float))
    if np.isfinite(decay).any():
        drawn = chart("Decay by image", steps.axis, [Series("B", decay, "c1")], y_label="B, Å²", width=520)
        caption = (
            "B of the model; intensities are divided by exp(B / 2d²), too. A fall along the scan means that the "
            "crystal loses resolution: radiation damage."
        )
        out.append(figure(drawn, caption, rows_of(steps.axis, [("B, Å²", decay, 3)], steps.axis.label)))
    return out


def _by_image(done: ScalingResult, merged: MergingResult | None) -> list[str]:
    if merged is None or not len(merged.frames):
        return []
    frames = within_scans(merged.frames, done.frames)
    steps = steps_of(frames)
    n = frames["n"].to_numpy(float)
    r_merge = steps.mean(frames["r_merge"].to_numpy(float), n)
    strength = steps.mean(frames["i_over_sigma"].to_numpy(float), n)
    rejected = steps.total(frames["n_rejected"].to_numpy(float))
    drawn = chart(
        "Rmerge by image", steps.axis, [Series("Rmerge", r_merge, "c2")], y_label="Rmerge", y_range=(0, None), width=520
    )
    numbers = rows_of(steps.axis, [("Rmerge", r_merge, 3), ("outliers", rejected, 0)], steps.axis.label)
    caption = "How far the image's observations lie from the means of all. A peak is a bad image, a rise often damage."
    other = chart(
        "I/σ by image",
        steps.axis,
        [Series("mean I/σ", strength, "c3")],
        y_label="mean I/σ",
        y_range=(0, None),
        width=520,
    )
    values = rows_of(steps.axis, [("I/σ", strength, 2), ("observations", steps.total(n), 0)], steps.axis.label)
    return [
        figure(drawn, caption, numbers),
        figure(other, "Mean I/σ of the image's scaled observations.", values),
    ]


def _drift(merged: MergingResult | None) -> list[str]:
    if merged is None:
        return []
    out = []
    for name, columns in list(merged.told["drift"].items())[:MOST_DRIFTS]:
        drift = pd.DataFrame({k: np.array(v, float) for k, v in columns.items()})
        if len(drift) < 3 or not np.isfinite(drift["r_d"]).any():
            continue
        apart = drift["frames_apart"].to_numpy()
        axis = Axis("images apart", apart, [f"{v:.0f} images apart" for v in apart])
        of = f" of sweep {int(name) + 1}" if len(merged.told["drift"]) > 1 else ""
        drawn = chart(
            f"Rd{of}",
            axis,
            [Series("Rd", drift["r_d"].to_numpy(), "c4")],
            y_label="Rd",
            y_range=(0, None),
            width=520,
        )
        caption = (
            f"Rd{of}: how much equivalent observations differ, by the number of images between them. It is flat "
            "without radiation damage, and rises with it."
        )
        numbers = rows_of(
            axis, [("pairs", drift["n_pairs"].to_numpy(), 0), ("Rd", drift["r_d"].to_numpy(), 3)], "apart"
        )
        out.append(figure(drawn, caption, numbers))
    return out


def _absorption(done: ScalingResult) -> str:
    surfaces = done.told["surfaces"]
    if not surfaces:
        return ""
    maps = [_surface(s) for s in surfaces]
    largest = max(float(np.abs(m - 1).max()) for m in maps)
    largest = max(largest, 1e-4)
    drawn = "".join(_drawn_surface(s, m, largest, len(surfaces) > 1) for s, m in zip(surfaces, maps))
    bar = scale_bar("split", f"−{100 * largest:.2g} %", f"+{100 * largest:.2g} %")
    note = (
        "Intensity that is left of a ray by its direction in the frame of the crystal, relative to the mean of all; "
        "grey where no ray passed. Latitude and longitude are about that frame's z axis."
    )
    return f'<h3>Absorption</h3><div class="pair">{drawn}</div>{bar}<p class=note>{note}</p>'


def _surface(surface: dict[str, Any]) -> Floats:
    """(60, 120) factor of one ray, rows by cos(theta) from 1 to -1, columns by phi from -180 degrees."""
    from hdrmx.kernels.harmonics import plain_harmonics

    cosine = 1 - 2 * (np.arange(MAP[0]) + 0.5) / MAP[0]
    phi = -np.pi + 2 * np.pi * (np.arange(MAP[1]) + 0.5) / MAP[1]
    sine = np.sqrt(1 - cosine**2)
    shape = (*MAP, 1)
    directions = np.concatenate(
        [
            (sine[:, None] * np.cos(phi))[..., None],
            (sine[:, None] * np.sin(phi))[..., None],
            np.broadcast_to(cosine[:, None, None], shape),
        ],
        axis=2,
    ).reshape(-1, 3)
    terms = plain_harmonics(directions, int(surface["l_max"]))
    return np.asarray(1 + terms @ np.array(surface["coefficients"], float)).reshape(MAP)


def _drawn_surface(surface: dict[str, Any], values: Floats, largest: float, many: bool) -> str:
    seen = np.array(surface["seen"])
    rows = np.arange(MAP[0]) * seen.shape[0] // MAP[0]
    columns = np.arange(MAP[1]) * seen.shape[1] // MAP[1]
    blind = seen[np.ix_(rows, columns)] == 0
    image = np.where(blind, NOTHING, levels(values, 1 - largest, 1 + largest)).astype(np.uint8)
    x_ticks = [(float(v), f"{v:g}°".replace("-", "−")) for v in (-180, -90, 0, 90, 180)]
    y_ticks = [(float(np.sin(np.radians(v))), f"{v:g}°".replace("-", "−")) for v in (90, 45, 0, -45, -90)]
    drawn = map_over(
        "Absorption by direction",
        image,
        "split",
        (-180.0, 180.0),
        (1.0, -1.0),
        (x_ticks, y_ticks),
        ("longitude", "latitude"),
        height=280,
    )
    used = values[~blind] if (~blind).any() else values
    spread = 100 * float(used.max() - used.min())
    of = f"Sweep {surface['sweep'] + 1}: it" if many else "It"
    return figure(drawn, f"{of} changes by {spread:.2g} % between the directions that were measured.")


def _errors(done: ScalingResult) -> list[str]:
    told, out = done.told["error_model"], []
    plot = {k: np.array(v, float) for k, v in done.told["normal_probability"].items()}
    if plot and len(plot["expected"]):
        x = plot["expected"]
        axis = Axis("expected of a normal distribution, σ", x, [f"{v:+.2f} σ" for v in x])
        series = [Series("as it should be", x, "plain"), Series("observed", plot["observed"], "c0")]
        drawn = chart("Normal probability of deviations", axis, series, y_label="observed, σ", width=520)
        caption = (
            "Deviations of observations from the mean of the others of their reflection, over their σ after the error "
            f"model, ordered. The slope within ±1.5 σ is {slope(done):.2f}: above 1, σs are too small, below 1 too "
            "large; ends that turn off the line are outliers that stayed."
        )
        out.append(figure(drawn, caption, rows_of(axis, [("observed, σ", plot["observed"], 2)], "expected")))
    words = {"dials": "as DIALS finds it", "exact": "from the exact likelihood", "none": "none: σs as integrated"}
    found = f"from {told['n']:,} observations" if told["n"] else "assumed: too few strong observations to find it"
    rows = [("error model", words.get(told["kind"], told["kind"])), ("", found)]
    rows += [("a", number(told["a"], 3)), ("b", number(told["b"], 4)), ("I/σ at most (ISa)", number(told["isa"], 1))]
    rows += [("intensities", _intensities(done.told["middle"]))]
    bins = [
        (f"{b['low']:.4g}–{b['high']:.4g}", f"{b['n']:,}", number(b["before"], 2), number(b["after"], 2))
        for b in told["bins"]
    ]
    spread = table(("intensity", "observations", "before", "after"), bins, text=()) if bins else ""
    note = "Variance of normalised deviations by intensity (as recorded), before and after the error model; 1 is right."
    out.append(
        f"<div>{table(('', ''), rows, text=(0, 1))}<p class=note>σ² becomes a² (σ² + (b I)²).</p>"
        + (f"{spread}<p class=note>{note}</p>" if bins else "")
        + "</div>"
    )
    return out


def slope(done: ScalingResult) -> float:
    """Of the middle of the normal probability plot; NaN without one."""
    plot = {k: np.array(v, float) for k, v in done.told["normal_probability"].items()}
    if not plot or not len(plot["expected"]):
        return float("nan")
    middle = np.abs(plot["expected"]) <= 1.5
    return float(np.polyfit(plot["expected"][middle], plot["observed"][middle], 1)[0]) if middle.sum() > 2 else np.nan


def _intensities(middle: float) -> str:
    if middle == 0:
        return "all by profile fit"
    return "all by summation" if middle == 1 else f"by profile fit, from about {middle:.3g} counts on by summation"


def _outliers(run: Processed, done: ScalingResult) -> str:
    n, total = done.told["counts"].get("outliers", 0), done.told["counts"].get("observations", 0)
    share = f"{100 * n / total:.2f} %" if total else MISSING
    said = f"<h3>Outliers</h3><p>{n:,} of {total:,} observations ({share}) were rejected.</p>"
    if not len(done.outliers):
        return said
    many = done.frames["sweep"].nunique() > 1
    rows = [
        (
            f"{r['h']} {r['k']} {r['l']}",
            f"{r['sweep'] + 1}: {number(r['frame'] + 0.5, 1)}" if many else number(r["frame"] + 0.5, 1),
            f"{number(r['fast'], 0)}, {number(r['slow'], 0)}",
            f"{r['intensity']:.4g}",
            f"{r['mean']:.4g}",
            number(r["deviation"], 1),
        )
        for r in done.outliers.head(WORST).to_dict("records")
    ]
    head = ("h k l", "sweep: image" if many else "image", "fast, slow", "I", "others' mean", "off by, σ")
    listed = table(head, rows, text=(0,))
    seen = done.outliers[np.isfinite(done.outliers["slow"]) & np.isfinite(done.outliers["fast"])]
    chosen = seen.iloc[thinned(len(seen), 2000)]
    slow_px, fast_px = run.told["shape"]
    if len(run.geometry.detector.panels) > 1 or not len(chosen):  # positions are those on a panel
        return f"{said}{listed}<p class=note>The farthest off.</p>"
    plane = Plane((0, fast_px), (0, slow_px), "fast, px", "slow, px", down=True)
    dots = [Dots("rejected", chosen["fast"].to_numpy(), chosen["slow"].to_numpy(), "off", "cross")]
    drawn = scatter("Outliers on the detector", plane, dots)
    where = figure(
        drawn, f"Where they fell on the detector ({len(chosen):,} of them). A cluster is a defect or a shadow."
    )
    return f'{said}<div class="pair"><div>{listed}<p class=note>The farthest off.</p></div>{where}</div>'


def _indexing(done: ScalingResult) -> str:
    choices = done.told["indexing"]
    if not choices:
        return ""
    rows = [
        (f"{i + 1}", re.sub(r"\s", "", c["operator"]), number(c["correlation"], 3), number(c["second"], 3))
        for i, c in enumerate(choices[:MOST_SWEEPS])
    ]
    head = ("sweep", "indexed as", "CC with the others", "second best")
    note = "The lattice has more symmetry than the crystal: the sweeps were brought to one choice of axes."
    note += f" The first {MOST_SWEEPS} of {len(choices)} are shown." if len(choices) > MOST_SWEEPS else ""
    return f"<h3>Indexing of sweeps</h3>{table(head, rows, text=(0, 1))}<p class=note>{note}</p>"
