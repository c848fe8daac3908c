"""Section of integration: strength and background, profiles, and a frame with its predictions."""

from __future__ import annotations

import itertools

import numpy as np

from hdrmx.report.along import in_pairs, rows_of, shell_axis, steps_of, within_scans
from hdrmx.report.figures import Axis, Floats, Series, chart, nice_ticks
from hdrmx.report.page import Section, figure, number, percent, table
from hdrmx.report.processed import Processed
from hdrmx.report.raster import NOTHING, levels, limits_of, map_over, place, scale_bar, tile
from hdrmx.report.stage_results import Arrays, IntegrationResult

MOST_MARKS = 1500
DETAIL_SCALE = 5  # screen pixels of one of the detector
UNUSABLE = 65535
PROFILE_REACH, PROFILE_STEP = 5.0, 0.5  # of the grid along the rotation, in sigma
PROFILE_WIDTH = 9.0  # of the grid across, in sigma
REASONS = {
    "failed_background": "too few background pixels",
    "failed_summation": "no sum",
    "failed_profile": "no profile fit",
    "overlapped_foreground": "foreground shared",
    "bad_foreground": "unusable pixels in the foreground",
    "overloaded": "overloaded",
}


def integrate_section(run: Processed) -> Section | None:
    done = run.later.integration
    if done is None:
        return None
    body = _counted(done) + in_pairs([*_by_image(run, done), *_by_resolution(done)])
    return Section("integration", "Integration", body + _picture(done.picture) + _profiles(done.profiles))


def _counted(done: IntegrationResult) -> str:
    sweeps = done.told["sweeps"]
    names = ("predicted", "integrated_prf", "integrated_sum", *REASONS)
    total = {name: sum(s["counts"].get(name, 0) for s in sweeps) for name in names}
    predicted = max(total["predicted"], 1)
    rows = [("predicted", f"{total['predicted']:,}", "")]
    words = {"integrated_prf": "integrated by profile fit", "integrated_sum": "integrated by summation", **REASONS}
    rows += [(word, f"{total[name]:,}", percent(total[name] / predicted)) for name, word in words.items()]
    models = [
        (f"{i + 1}", number(s["sigma_b_deg"], 4), number(s["sigma_m_deg"], 4), f"{s['n_spots']:,}")
        for i, s in enumerate(sweeps[:20])
    ]
    note = (
        "σb is how far a reflection spreads over the detector, σm how far along the rotation (standard deviations, "
        "as angles). A reflection may stand in several of the rows on the left. There is no sum where a pixel of the "
        "foreground can't be used, and no fit where less than three quarters of the profile can be seen, or where what "
        "is seen doesn't look like a reflection."
    )
    left = table(("reflections", "", "of predicted"), rows)
    right = table(("sweep", "σb, °", "σm, °", "from spots"), models)
    return f'<div class="pair"><div>{left}</div><div>{right}<p class=note>{note}</p></div></div>'


def _by_image(run: Processed, done: IntegrationResult) -> list[str]:
    frames = done.frames
    if run.later.scaling is not None:
        frames = within_scans(frames, run.later.scaling.frames)
    elif frames["sweep"].nunique() == 1:
        frames = frames[frames["frame"].isin(run.frames)]
    if not len(frames):
        return []
    steps = steps_of(frames)
    n = frames["reflections"].to_numpy(float)
    strength = steps.mean(frames["i_over_sigma"].to_numpy(float), n)
    background = steps.mean(frames["background"].to_numpy(float), n)
    pictures = (
        ("Mean I/σ by image", strength, "mean I/σ", "c0", "Mean I/σ of all reflections whose centre is on the image."),
        (
            "Background by image",
            background,
            "counts a pixel",
            "c1",
            "Background round the reflections. A step is often the beam, ice, or the mount swinging in.",
        ),
    )
    out = []
    for title, values, label, colour, caption in pictures:
        drawn = chart(
            title, steps.axis, [Series(label, values, colour, area=True)], y_label=label, y_range=(0, None), width=520
        )
        out.append(figure(drawn, caption, rows_of(steps.axis, [(label, values, 3)], steps.axis.label)))
    return out


def _by_resolution(done: IntegrationResult) -> list[str]:
    shells, out = done.shells, []
    if len(shells) and shells["d_max"].iloc[0] > shells["d_min"].iloc[-1]:
        axis = shell_axis(shells)
        fit, added = (shells[f"i_over_sigma_{kind}"].to_numpy(float) for kind in ("prf", "sum"))
        series = [Series("profile fit", fit, "c0"), Series("summation", added, "c1")]
        drawn = chart("Mean I/σ by resolution", axis, series, y_label="mean I/σ", y_range=(0, None), width=520)
        cc, background = shells["cc"].to_numpy(float), shells["background"].to_numpy(float)
        numbers = rows_of(
            axis,
            [("I/σ, fit", fit, 2), ("I/σ, sum", added, 2), ("CC of both", cc, 4), ("background", background, 3)],
            "shell",
        )
        caption = "Mean I/σ by resolution, before any scaling. Weak reflections gain by the fit of profiles."
        out.append(figure(drawn, caption, numbers))
    return [*out, _partialities(np.array(done.told["partiality"], float))]


def _partialities(histogram: Floats) -> str:
    """Without the last bin, that of the whole ones, beside which no other would be seen."""
    whole = int(histogram[-1])
    edges = np.linspace(0.0, 1.0, len(histogram) + 1)[:-1]
    histogram = histogram[:-1]
    names = [f"{a:.2f}–{b:.2f}" for a, b in itertools.pairwise(edges)]
    axis = Axis("fraction recorded", (edges[:-1] + edges[1:]) / 2, names, edges)
    drawn = chart(
        "Partiality",
        axis,
        [Series("reflections", histogram, "c2", area=True)],
        y_label="reflections",
        y_range=(0, None),
        width=520,
        digits=9,
    )
    caption = (
        f"How much of each reflection the scan recorded, where it was not nearly all: {whole:,} others are above "
        f"{edges[-1]:.2f}. Reflections at the two ends of the scan are cut."
    )
    return figure(drawn, caption, rows_of(axis, [("reflections", histogram, 0)], "fraction"))


def _picture(picture: Arrays) -> str:
    """A frame with marks where reflections were predicted: the whole, and a part pixel by pixel."""
    if not picture:
        return ""
    drawn = figure(_overview(picture), _overview_caption(picture)) + figure(_detail(picture), _detail_caption(picture))
    names = (("c1", "integrated"), ("off", "not integrated"))
    keys = "".join(f'<li><i class="key {colour}"></i>{name}</li>' for colour, name in names)
    title = f"<h3>Predictions on image {int(picture['frame']) + 1}</h3>"
    return f'{title}<ul class="legend">{keys}</ul><div class="pair">{drawn}</div>'


def _as_ink(image: np.ndarray) -> np.ndarray:
    """Counts on a scale that shows background as well as spots."""
    counts = np.where(image == UNUSABLE, np.nan, np.sqrt(image.astype(float)))
    return levels(counts, *limits_of(counts, 0.998))


def _overview(picture: Arrays) -> str:
    slow, fast = (int(v) for v in picture["shape"])
    ink = _as_ink(picture["overview"])
    step, width = int(picture["step"]), 560
    x, y = (0.0, float(ink.shape[1] * step)), (0.0, float(ink.shape[0] * step))
    frame = place(ink.shape, x, y, width)
    inside = (picture["predicted_slow"] >= 0) & (picture["predicted_slow"] <= slow)
    inside &= (picture["predicted_fast"] >= 0) & (picture["predicted_fast"] <= fast)
    marks = ""
    for good, colour in ((True, "c1"), (False, "off")):
        mine = np.flatnonzero(inside & (picture["predicted_is_integrated"] == good))
        mine = mine[:: max(-(-len(mine) // MOST_MARKS), 1)]
        at = zip(frame.px(picture["predicted_fast"][mine]), frame.py(picture["predicted_slow"][mine]))
        d = "".join(f"M{u - 3:.1f} {v:.1f}a3 3 0 1 0 6 0a3 3 0 1 0-6 0" for u, v in at)
        marks += f'<path class="mark {colour}" d="{d}"/>' if d else ""
    ticks = _inner_ticks(x), _inner_ticks(y)
    title = f"Image {int(picture['frame']) + 1} with its predictions"
    return map_over(title, ink, "paper", x, y, ticks, ("fast, px", "slow, px"), marks, width=width)


def _overview_caption(picture: Arrays) -> str:
    step, n = int(picture["step"]), len(picture["predicted_slow"])
    each = f", {step} × {step} px as one (the highest of them)" if step > 1 else ""
    return f"The middle image{each}, darker for more counts (by their root); circles: the {n:,} reflections on it."


def _detail(picture: Arrays) -> str:
    ink = _as_ink(picture["detail"])
    a, b = (int(v) for v in picture["corner"])
    x, y = (float(b), float(b + ink.shape[1])), (float(a), float(a + ink.shape[0]))
    width = 560
    frame = place(ink.shape, x, y, width)
    marks = ""
    for good, colour in ((True, "c1"), (False, "off")):
        d = ""
        for i in np.flatnonzero(picture["predicted_is_integrated"] == good):
            box = [float(picture[f"predicted_{n}"][i]) for n in ("fast_min", "fast_max", "slow_min", "slow_max")]
            if box[0] < x[0] or box[1] > x[1] or box[2] < y[0] or box[3] > y[1]:
                continue
            u, v = frame.px(box[:2]), frame.py(box[2:])
            d += f"M{u[0]:.1f} {v[0]:.1f}H{u[1]:.1f}V{v[1]:.1f}H{u[0]:.1f}Z"
        marks += f'<path class="mark {colour}" d="{d}"/>' if d else ""
    ticks = _inner_ticks(x), _inner_ticks(y)
    return map_over("Part of the image", ink, "paper", x, y, ticks, ("fast, px", "slow, px"), marks, width=width)


def _detail_caption(picture: Arrays) -> str:
    return (
        "The part of it with most reflections, pixel by pixel, with the boxes of pixels that belong to each. The box "
        "of a reflection that is centred on a neighbouring image may look empty here."
    )


def _inner_ticks(limits: tuple[float, float]) -> list[tuple[float, str]]:
    return [t for t in nice_ticks(*limits, most=6) if limits[0] <= t[0] <= limits[1]]


def _profiles(profiles: Arrays) -> str:
    if "whole" not in profiles or not len(profiles["whole"]):
        return ""
    across, n = profiles["across"].astype(float), profiles["reflections"].astype(float)
    weight = n / np.maximum(n.sum(axis=0), 1.0)
    cells = np.where(n.sum(axis=0)[:, None, None] > 0, np.einsum("bc,bcij->cij", weight, across), across.mean(axis=0))
    top = float(cells.max())
    edge = round(len(cells) ** 0.5)
    counts = n.sum(axis=0).astype(int)
    tiles = "".join(
        tile(f"Profile of cell {i + 1}", _profile(c, top), "glow", f"{counts[i]:,}") for i, c in enumerate(cells)
    )
    grid = f'<div class="tiles" style="--n:{edge}">{tiles}</div>'
    caption = (
        "Profiles on the detector of its cells, as they lie on it, means over the scan, with the number of reflections "
        f"they were learned from. Each is {PROFILE_WIDTH:g} σb wide, on a scale of roots that is the same for all."
    )
    return (
        "<h3>Reference profiles</h3>"
        + f'<div class="pair">{figure(grid + scale_bar("glow", "0", "highest"), caption)}'
        + f"{_through_the_scan(profiles)}</div>"
    )


def _profile(profile: np.ndarray, top: float) -> np.ndarray:
    image = levels(np.sqrt(np.maximum(profile, 0.0)), 0.0, float(np.sqrt(top)))
    return np.where(image == NOTHING, 0, image).astype(np.uint8)


def _through_the_scan(profiles: Arrays) -> str:
    """The profile of the whole detector in some blocks, and along the rotation in the first and the last."""
    n = len(profiles["whole"])
    chosen = sorted(set(np.rint(np.linspace(0, n - 1, min(n, 6))).astype(int).tolist()))
    top = float(profiles["whole"][chosen].max())
    tiles = "".join(
        tile("Profile", _profile(profiles["whole"][i].astype(float), top), "glow", _block_name(profiles, i))
        for i in chosen
    )
    along = profiles["along"].astype(float)
    at = np.asarray((np.arange(along.shape[1]) + 0.5) * PROFILE_STEP - PROFILE_REACH, np.float64)
    edges = np.arange(along.shape[1] + 1) * PROFILE_STEP - PROFILE_REACH
    axis = Axis("rotation, σm", at, [f"{v:+.2f} σm" for v in at], edges)
    series = [Series(_block_name(profiles, i), along[i], f"c{k}") for k, i in enumerate(sorted({0, n // 2, n - 1}))]
    drawn = chart("Profile along the rotation", axis, series, y_label="fraction", y_range=(0, None), width=520)
    pictures = figure(
        f'<div class="tiles" style="--n:3">{tiles}</div>',
        "The same for the whole detector in blocks of images from the scan's beginning to its end. A crystal that "
        "slips or splits changes them.",
    )
    return f"<div>{pictures}{figure(drawn, 'Profile along the rotation, in the same blocks.')}</div>"


def _block_name(profiles: Arrays, i: int) -> str:
    word = f"sweep {int(profiles['sweep'][i]) + 1}, " if int(profiles["sweep"].max()) else ""
    return f"{word}images {int(profiles['frame_min'][i]) + 1}–{int(profiles['frame_max'][i])}"
