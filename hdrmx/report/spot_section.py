"""Section of the spots: how many by image and by resolution, where on the detector, which images are bad."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.models import Panel
from hdrmx.report.figures import Series, chart, thinned
from hdrmx.report.page import Section, figure, table
from hdrmx.report.processed import Processed
from hdrmx.report.scatter import Curve, Dots, Plane, scatter
from hdrmx.report.spot_statistics import Counts, by_image, by_resolution, rings

MOST_STEPS, MOST_ROWS, SHELLS = 800, 40, 30
MOST_SPOTS = 8000

Floats = npt.NDArray[np.float64]


def spot_section(run: Processed) -> Section:
    return Section("spots", "Spots", _by_image(run) + f'<div class="pair">{_detector(run)}{_by_resolution(run)}</div>')


def image_section(run: Processed) -> Section | None:
    """Images that were left out, if any."""
    bad = run.told.get("bad_frames") or []
    if not bad:
        return None
    rows = [(str(b["image"]), b["reason"]) for b in bad]
    return Section("images", "Images left out", table(("image", "reason"), rows, text=(1,)))


def _by_image(run: Processed) -> str:
    counts, coarse = by_image(run, MOST_STEPS), by_image(run, MOST_ROWS)
    per_step = f" Each step is the sum of {_step(run)} images." if _step(run) > 1 else ""
    series = _series(run, counts)
    spots = chart("Spots by image", counts.axis, series, y_label="spots", y_range=(0, None), width=1080)
    pixels = chart(
        "Strong pixels by image",
        counts.axis,
        [Series("strong pixels", counts.pixels, "c1", area=True)],
        y_label="strong pixels",
        y_range=(0, None),
        width=1080,
        height=160,
    )
    caption = f"Spots, and strong pixels in spots, by the image on which the spot's centroid lies.{per_step}"
    return figure(spots + pixels, caption, coarse.as_table("images"))


def _series(run: Processed, counts: Counts) -> list[Series]:
    if not run.crystals:
        return [Series("spots", counts.spots, "c0", area=True)]
    return [Series("all", counts.spots, "plain", area=True), Series("indexed", counts.indexed, "c0", area=True)]


def _step(run: Processed) -> int:
    return -(-len(run.frames) // MOST_STEPS)


def _by_resolution(run: Processed) -> str:
    counts = by_resolution(run, SHELLS)
    series = _series(run, counts)
    picture = chart(
        "Spots by resolution", counts.axis, series, y_label="spots", y_range=(0, None), width=520, height=300
    )
    peak = "narrow peak that is not indexed" if run.crystals else "narrow peak"
    caption = f"Spots by resolution. A {peak} is often a ring of ice or powder."
    return figure(picture, caption, counts.as_table("shell"))


def _detector(run: Processed) -> str:
    slow_px, fast_px = run.told["shape"]
    offsets = np.array([p.offset for p in run.geometry.detector.panels])[run.spots["panel"].to_numpy()].reshape(-1, 2)
    slow, fast = run.spots["slow"].to_numpy() + offsets[:, 0], run.spots["fast"].to_numpy() + offsets[:, 1]
    chosen = np.zeros(len(slow), bool)
    chosen[thinned(len(slow), MOST_SPOTS)] = True
    groups = [
        Dots(name, fast[mine & chosen], slow[mine & chosen], colour, mark)
        for name, mine, colour, mark in spot_groups(run)
    ]
    plane = Plane((0, fast_px), (0, slow_px), "fast, px", "slow, px", down=True)
    d_min = 1.0 / max(float(np.sqrt(np.sum(run.r**2, axis=1).max())), 1e-6) if len(run.r) else 2.0
    curves = [c for d in rings(d_min) for c in _ring(run, d)] + _beam_mark(run)
    caption = f"Where the spots of all images fell on the detector ({_shown(chosen)}), with rings of equal resolution."
    return figure(scatter("Spots on the detector", plane, groups, curves), caption)


def _shown(chosen: npt.NDArray[np.bool_]) -> str:
    return "all" if chosen.all() else f"every {len(chosen) / chosen.sum():.1f}th of {len(chosen)}"


def spot_groups(run: Processed) -> list[tuple[str, npt.NDArray[np.bool_], str, str]]:
    """(name, rows, colour, mark) of each lattice, then of the spots that belong to none."""
    lattice = run.spots["lattice"].to_numpy()
    if not run.crystals:
        return [("spots", lattice < 0, "c0", "dot")]
    many = len(run.crystals) > 1
    named = [
        (f"lattice {i + 1}" if many else "indexed", lattice == i, f"c{i % 5}", "plus" if i % 2 else "dot")
        for i in range(len(run.crystals))
    ]
    return [*named, ("not indexed", lattice < 0, "off", "cross")]


def _ring(run: Processed, d: float) -> list[Curve]:
    """Where rays of this resolution meet each panel, in px of the frame."""
    beam = np.asarray(run.geometry.beam.direction)
    sine = run.geometry.beam.wavelength_A / (2.0 * d)
    if sine >= 1.0:
        return []
    two_theta = 2.0 * np.arcsin(sine)
    u = np.cross(beam, (1.0, 0.0, 0.0) if abs(beam[0]) < 0.9 else (0.0, 1.0, 0.0))
    u /= np.linalg.norm(u)
    turn = np.linspace(0.0, 2 * np.pi, 181)[:, None]
    rays = np.cos(two_theta) * beam + np.sin(two_theta) * (np.cos(turn) * u + np.sin(turn) * np.cross(beam, u))
    panels = run.geometry.detector.panels
    curves = [_on_panel(panel, rays) for panel in panels]
    return [Curve(x, y, f"{d:g} Å" if i == 0 else "") for i, (x, y) in enumerate(curves) if np.isfinite(x).any()]


def _on_panel(panel: Panel, rays: Floats) -> tuple[Floats, Floats]:
    hit = np.linalg.solve(panel.d_matrix, rays.T).T
    with np.errstate(divide="ignore", invalid="ignore"):
        fast, slow = hit[:, 0] / hit[:, 2] / panel.pixel_mm[1], hit[:, 1] / hit[:, 2] / panel.pixel_mm[0]
    inside = (hit[:, 2] > 0) & (fast >= 0) & (fast <= panel.shape[1]) & (slow >= 0) & (slow <= panel.shape[0])
    fast, slow = np.where(inside, fast + panel.offset[1], np.nan), np.where(inside, slow + panel.offset[0], np.nan)
    return fast, slow


def _beam_mark(run: Processed) -> list[Curve]:
    """A cross where the direct beam meets the detector, if it does."""
    for panel in run.geometry.detector.panels:
        centre = panel.beam_centre_px(run.geometry.beam)
        if centre and 0 <= centre[0] <= panel.shape[0] and 0 <= centre[1] <= panel.shape[1]:
            slow, fast = centre[0] + panel.offset[0], centre[1] + panel.offset[1]
            arm = 0.012 * max(run.told["shape"])
            return [
                Curve(np.array([fast - arm, fast + arm]), np.array([slow, slow])),
                Curve(np.array([fast, fast]), np.array([slow - arm, slow + arm])),
            ]
    return []
