"""What the stages from integration on came to, in words, figures and doubts: a part of the verdict of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from hdrmx.report.along import steps_of, within_scans
from hdrmx.report.merge_section import resolution_words
from hdrmx.report.page import MISSING, number, percent
from hdrmx.report.processed import Processed
from hdrmx.report.scale_section import slope
from hdrmx.report.stage_results import MergingResult, ScalingResult

# From here on something is said, as in process_verdict.
LOW_INTEGRATED = 0.9
LOW_COMPLETENESS = 0.9
LOW_MULTIPLICITY = 2.0
HIGH_INNER_R = 0.15  # Rmeas of the innermost shell
LOW_INNER_CC = 0.95
MANY_OUTLIERS = 0.02
WRONG_SIGMA = 1.25  # slope of the normal probability plot, or its inverse
FALL_OF_B_A2 = 5.0
RISE_OF_RD = 1.3
BAD_PART = 2.0  # Rmerge of a run of images, over the median
PARTS = 40
MOST_OF_A_KIND = 3
TWINNED = 0.1
BEYOND = 0.96  # of the resolution that CC1/2 supports
SAME_PLACE_PX, SAME_PLACE = 3.0, 3  # outliers so near to one another, so many


def merged_words(run: Processed) -> Iterator[str]:
    """One or two sentences: symmetry, resolution, and the quality of the data."""
    merging, symmetry = run.later.merging, run.later.symmetry
    if symmetry is not None:
        group = merging.told["space_group"] if merging is not None else symmetry["space_group"]
        given = run.told.get("params", {}).get("symmetry", {}).get("space_group")
        how = "as given" if given else "without doubt" if symmetry["is_sure"] else "with doubts"
        how = "probably" if not given and not symmetry["is_sure"] and symmetry["probability"] < 0.95 else how
        cell = " ".join(f"{v:.2f}" for v in (merging.told if merging is not None else symmetry)["cell"])
        others = _not_told_apart(symmetry, group)
        named = f"{group} or {', '.join(others)}, which no absence tells apart" if others else group
        yield f"Space group {named}, {how}; cell {cell} (Å, °)."
    if merging is None:
        integration = run.later.integration
        if integration is not None and symmetry is None:
            yield f"{_integrated(run):,} reflections are integrated."
        return
    whole = merging.told["overall"]
    limit = merging.told["resolution"]["d_min"]
    reach = f"to {whole['d_min']:.2f} Å"
    if limit is not None:
        edge = merging.told["resolution"]["reaches_edge"]
        useful = "good to that limit" if edge else f"useful to {limit:.2f} Å"
        reach += f", {useful} by CC1/2"
    yield (
        f"{int(whole['n_unique']):,} unique reflections {reach}: {percent(whole['completeness'])} complete, "
        f"Rmeas {number(whole['r_meas'], 3)}, CC1/2 {number(whole['cc_half'], 4)}, mean I/σ "
        f"{number(whole['i_over_sigma'], 1)}."
    )


def _not_told_apart(symmetry: dict[str, Any], group: str) -> list[str]:
    """Space groups, such as the enantiomorph, that extinguish the same of all reflections as the one taken."""
    candidates = (symmetry["absences"] or {"candidates": []})["candidates"]
    if not candidates or not candidates[0]["is_measured"] or group not in candidates[0]["space_groups"]:
        return []
    return [other for other in candidates[0]["space_groups"] if other != group]


def merged_facts(run: Processed) -> Iterator[tuple[str, str, str]]:
    merging = run.later.merging
    if merging is None:
        return
    whole, outer = merging.told["overall"], merging.shells.iloc[-1]
    yield "space group", merging.told["space_group"], _probability(run)
    yield "resolution by CC1/2", resolution_words(merging).split(";")[0], f"data to {whole['d_min']:.2f} Å"
    yield "CC1/2", number(whole["cc_half"], 4), f"outer shell {number(outer['cc_half'], 3)}"
    yield "Rmeas", number(whole["r_meas"], 3), f"inner shell {number(merging.shells['r_meas'].iloc[0], 3)}"
    yield "mean I/σ", number(whole["i_over_sigma"], 1), f"outer shell {number(outer['i_over_sigma'], 1)}"
    yield "completeness", percent(whole["completeness"]), f"multiplicity {number(whole['multiplicity'], 1)}"


def _probability(run: Processed) -> str:
    symmetry = run.later.symmetry
    if symmetry is None or symmetry["probability"] is None:
        return MISSING
    return f"point group: probability {number(symmetry['probability'], 3)}"


def merged_doubts(run: Processed) -> Iterator[str]:
    yield from _of_integration(run)
    yield from _of_scaling(run)
    merging = run.later.merging
    if merging is not None:
        yield from _of_data(run, merging)
        yield from _of_images(run, merging)


def _integrated(run: Processed) -> int:
    assert run.later.integration is not None
    counts = [s["counts"] for s in run.later.integration.told["sweeps"]]
    return sum(max(c.get("integrated_prf", 0), c.get("integrated_sum", 0)) for c in counts)


def _of_integration(run: Processed) -> Iterator[str]:
    if run.later.integration is None:
        return
    counts = [s["counts"] for s in run.later.integration.told["sweeps"]]
    predicted = sum(c.get("predicted", 0) for c in counts)
    if predicted and _integrated(run) < LOW_INTEGRATED * predicted:
        yield (
            f"{percent(1 - _integrated(run) / predicted)} of the reflections predicted could not be integrated: look "
            "at the reasons under Integration; gaps and shadows cost some, a wrong mask or overlapping spots many."
        )
    overloaded = sum(c.get("overloaded", 0) for c in counts)
    if overloaded:
        yield (
            f"{overloaded:,} reflections are overloaded and have no intensity: the strongest ones are missing from the "
            "data, which a further scan with less beam would give."
        )


def _of_scaling(run: Processed) -> Iterator[str]:
    scaling = run.later.scaling
    if scaling is None:
        return
    counts = scaling.told["counts"]
    if counts.get("outliers", 0) > MANY_OUTLIERS * max(counts.get("observations", 0), 1):
        yield (
            f"{percent(counts['outliers'] / counts['observations'])} of the observations were rejected as outliers: "
            "look at where they fell on the detector, and whether the space group is right (--space-group)."
        )
    yield from _hot_pixels(scaling.outliers)
    found = slope(scaling)
    if np.isfinite(found) and not 1 / WRONG_SIGMA < found < WRONG_SIGMA:
        how = "too small" if found > 1 else "too large"
        kind = scaling.told["error_model"]["kind"]
        remedy = "--set scale.error_model=exact" if kind != "exact" else "--set scale.model=physical"
        yield (
            f"σs are {how} by a factor of about {max(found, 1 / found):.1f} as the scatter of equivalents tells it, "
            f"and I/σ is wrong by as much: try {remedy}."
        )
    yield from _first(_falls_of_b(scaling))


def _first(doubts: Iterator[str]) -> Iterator[str]:
    """Of many doubts of one kind, some."""
    said = list(doubts)
    yield from said[:MOST_OF_A_KIND]
    if len(said) > MOST_OF_A_KIND:
        yield f"So it is with {len(said) - MOST_OF_A_KIND} further sweeps: look at them, and compare without them."


def _falls_of_b(scaling: ScalingResult) -> Iterator[str]:
    many = scaling.frames["sweep"].nunique() > 1
    for number_of, rows in scaling.frames.groupby("sweep"):
        b = rows["b_A2"].to_numpy(float)
        if np.isfinite(b).all() and len(b) > 1 and b[0] - b[-1] > FALL_OF_B_A2:
            of = f" of sweep {int(str(number_of)) + 1}" if many else ""
            yield (
                f"B{of} falls by {b[0] - b[-1]:.1f} Å² along the scan, as radiation damage makes it: compare with "
                "fewer images (--images)."
            )


def _hot_pixels(outliers: pd.DataFrame) -> Iterator[str]:
    """Too high intensities at one place of the detector, on different images."""
    high = outliers[(outliers["deviation"] > 0) & np.isfinite(outliers["slow"]) & np.isfinite(outliers["fast"])]
    if len(high) < SAME_PLACE:
        return
    at = high[["slow", "fast"]].to_numpy(float)
    near = [len(rows) for rows in cKDTree(at).query_ball_point(at, SAME_PLACE_PX)]
    if max(near) >= SAME_PLACE:
        slow, fast = at[int(np.argmax(near))]
        yield (
            f"{max(near)} outliers are too high at the same place of the detector (fast {fast:.0f}, "
            f"slow {slow:.0f} px), probably a hot pixel: leave it out with --mask."
        )


def _of_data(run: Processed, merging: MergingResult) -> Iterator[str]:
    told, whole, inner = merging.told, merging.told["overall"], merging.shells.iloc[0]
    good = merging.sums["d_min"] >= (told["resolution"]["d_min"] or 0.0) * (1 - 1e-6)
    sums = merging.sums[good] if good.any() else merging.sums
    possible = float(sums["n_possible"].sum())
    complete = float(sums["n_unique"].sum()) / possible if possible else float("nan")
    if complete < LOW_COMPLETENESS:
        yield _incomplete(sums, complete)
    if whole["multiplicity"] is not None and whole["multiplicity"] < LOW_MULTIPLICITY:
        yield (
            f"Reflections were measured {whole['multiplicity']:.1f} times on average, which tells little of their "
            "errors and of outliers: more rotation would."
        )
    if told["resolution"]["reaches_edge"]:
        yield (
            f"The data are still good at their limit of {whole['d_min']:.2f} Å: the crystal diffracts farther, which a "
            "nearer detector (or a lower --d-min, if one was given) would show."
        )
    elif told["resolution"]["d_min"] is not None and whole["d_min"] < BEYOND * told["resolution"]["d_min"]:
        d_min = told["resolution"]["d_min"]
        yield f"The merged data go beyond the resolution that CC1/2 supports: --d-min {d_min:.2f} would cut them there."
    if _above(inner["r_meas"], HIGH_INNER_R) or _above(-inner["cc_half"], -LOW_INNER_CC):
        yield (
            f"Strong reflections don't agree well (inner shell: Rmeas {number(inner['r_meas'], 3)}, CC1/2 "
            f"{number(inner['cc_half'], 3)}): a wrong space group, a second lattice, or shadows would do that; try a "
            "lower symmetry (--space-group)."
        )
    yield from _of_twinning(told["twinning"])


def _incomplete(sums: pd.DataFrame, complete: float) -> str:
    """What is missing: a part of space, or the farthest shells, which only the detector's corners reach."""
    with np.errstate(invalid="ignore", divide="ignore"):
        so_far = (sums["n_unique"].cumsum() / sums["n_possible"].cumsum()).to_numpy()
    enough = np.flatnonzero(so_far >= LOW_COMPLETENESS)
    said = f"Only {percent(complete)} of the reflections to {sums['d_min'].min():.2f} Å were measured"
    if len(enough) > len(sums) // 3:
        d = float(sums["d_min"].iloc[int(enough[-1])])
        return (
            f"{said}, but {percent(so_far[enough[-1]])} to {d:.2f} Å. Beyond, the detector doesn't reach all of them: "
            "a nearer one would."
        )
    return f"{said}: more rotation, or the crystal in another orientation, would give more of them."


def _of_twinning(twinning: dict[str, Any]) -> Iterator[str]:
    fraction = twinning["twin_fraction"]
    if _above(fraction, TWINNED):
        yield (
            f"The L-test speaks for twinning, with a fraction of about {fraction:.2f}: look at the distribution of "
            "intensities, and try a lower symmetry (--space-group)."
        )


def _of_images(run: Processed, merging: MergingResult) -> Iterator[str]:
    if run.later.scaling is None or not len(merging.frames):
        return
    frames = within_scans(merging.frames, run.later.scaling.frames)
    if not len(frames):
        return
    steps = steps_of(frames, PARTS)
    r = steps.mean(frames["r_merge"].to_numpy(float), frames["n"].to_numpy(float))
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(r > BAD_PART * np.nanmedian(r)) if np.isfinite(r).any() else np.zeros(0, int)
    if len(bad):
        names = ", ".join(steps.axis.names[i] for i in bad[:3]) + (" and others" if len(bad) > 3 else "")
        yield (
            f"Rmerge of {names} is more than twice the median: look at these images, and compare without them "
            "(--images)."
        )
    yield from _first(_rises_of_rd(merging))


def _rises_of_rd(merging: MergingResult) -> Iterator[str]:
    for sweep, drift in merging.told["drift"].items():
        r_d, n = np.array(drift["r_d"], float), np.array(drift["n_pairs"], float)
        quarter = max(len(r_d) // 4, 1)
        near, far = (_mean(r_d[part], n[part]) for part in (slice(None, quarter), slice(-quarter, None)))
        if np.isfinite(near) and np.isfinite(far) and far > RISE_OF_RD * near and n[-quarter:].sum() > 100:
            of = f" of sweep {int(sweep) + 1}" if len(merging.told["drift"]) > 1 else ""
            yield (
                f"Equivalent observations{of} differ more the farther apart they were measured (Rd {near:.3f} to "
                f"{far:.3f}), as radiation damage makes them: compare with fewer images (--images)."
            )


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    known = np.isfinite(values) & (weight > 0)
    return float(np.average(values[known], weights=weight[known])) if known.any() else float("nan")


def _above(value: float | None, limit: float) -> bool:
    return value is not None and bool(np.isfinite(value)) and value > limit
