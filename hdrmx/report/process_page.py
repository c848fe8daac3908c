"""`process.html`: the page of a run, drawn from the files of its results folder alone."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hdrmx.io.whole import write_whole
from hdrmx.report.drift_section import drift_section
from hdrmx.report.index_section import bravais_section, fraction_section, reciprocal_section
from hdrmx.report.integrate_section import integrate_section
from hdrmx.report.merge_section import merge_section, statistics_section
from hdrmx.report.page import Section, number, page, percent, table
from hdrmx.report.process_verdict import verdict
from hdrmx.report.processed import Processed, read_processed
from hdrmx.report.refine_section import parameter_section, refine_section
from hdrmx.report.scale_section import scale_section
from hdrmx.report.spot_section import image_section, spot_section
from hdrmx.report.symmetry_section import symmetry_section

FILE_NAME = "process.html"
MOST_SWEEPS = 100  # that are listed


def process_page(folder: str | Path) -> str:
    """The page of the run whose results stand in `folder`, as far as it came.

    Returns
    -------
    One HTML document that holds all it needs. The same files give the same text.

    Raises
    ------
    InputError : files are absent or damaged
    """
    run = read_processed(folder)
    name = Path(str(run.told["data"])).name
    drawn = [section for section in (draw(run) for draw in SECTIONS) if section is not None]
    return page(f"{name}: processed", _subtitle(run), verdict(run), drawn)


def write_process_page(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page into the folder, or to `path`. Raises InputError as `process_page` does."""
    folder = Path(folder)
    return write_whole(folder / FILE_NAME if path is None else path, process_page(folder).encode())


def try_process_page(folder: str | Path) -> str:
    """Write the page at the end of a run; in words why that failed, empty where it didn't.

    Whatever is wrong with the page, it must not cost the results; a page of an earlier run doesn't stay behind.
    """
    try:
        write_process_page(folder)
    except Exception as error:
        (Path(folder) / FILE_NAME).unlink(missing_ok=True)
        return f"{FILE_NAME} could not be drawn: {error or type(error).__name__}"
    return ""


def _subtitle(run: Processed) -> str:
    scan, told = run.geometry.scan, run.told
    slow, fast = told["shape"]
    turned = "stills" if scan is None or run.is_still else f"{abs(np.degrees(scan.width_rad)):.4g}° an image"
    n = told["find_spots"].get("frames", len(run.frames))
    if len(told.get("sweeps", ())) > 1:
        n = sum(last - first + 1 for first, last in (s["images"] for s in told["sweeps"]))
        return f"{len(told['sweeps'])} sweeps, {n} images of {slow} × {fast} px; {told['data']} and others"
    return f"{n} images of {slow} × {fast} px, {turned}; {told['data']}"


def sweeps_section(run: Processed) -> Section | None:
    """One row a sweep, where there are several."""
    sweeps = run.told.get("sweeps", ())
    if len(sweeps) < 2:
        return None
    rows = []
    for i, s in enumerate(sweeps[:MOST_SWEEPS]):
        index, refine, integrate = (s.get(stage, {}) for stage in ("index", "refine", "integrate"))
        cell = (refine or index).get("lattices", [{}])[0].get("cell", ())
        rmsd = number(refine.get("rmsd_fast_px"), 2), number(refine.get("rmsd_slow_px"), 2)
        rows.append(
            (
                f"{i + 1}",
                Path(s["data"]).name,
                f"{s['images'][0]}–{s['images'][1]}",
                f"{s.get('find_spots', {}).get('spots', 0):,}",
                percent(index.get("fraction")),
                " ".join(f"{v:.2f}" for v in cell),
                ", ".join(rmsd),
                f"{integrate.get('integrated', 0):,}",
            )
        )
    head = (
        "sweep",
        "data",
        "images",
        "spots",
        "indexed",
        "cell of the first lattice, Å and °",
        "r.m.s.d., px",
        "integrated",
    )
    note = f"The first {MOST_SWEEPS} of {len(sweeps)}. " if len(sweeps) > MOST_SWEEPS else ""
    note += "What this page shows of spots, reciprocal space, indexing and refinement is that of the first sweep."
    return Section("sweeps", "Sweeps", table(head, rows, text=(0, 1)) + f"<p class=note>{note}</p>")


def experiment_section(run: Processed) -> Section:
    """Beam, detector and scan; and how to make all this again."""
    beam, scan, panels = run.geometry.beam, run.geometry.scan, run.geometry.detector.panels
    centre = panels[0].beam_centre_px(beam)
    rows = [
        ("wavelength", f"{beam.wavelength_A:.5f} Å"),
        ("detector", " ".join(filter(None, (run.geometry.detector.name, f"{len(panels)} panels" * (len(panels) > 1))))),
        ("distance", f"{panels[0].distance_mm:.3f} mm" + " (first panel)" * (len(panels) > 1)),
        ("pixel", " × ".join(f"{1000 * v:g}" for v in reversed(panels[0].pixel_mm)) + " µm (fast × slow)"),
        (
            "beam centre",
            "off the panel's plane" if centre is None else f"{centre[1]:.2f}, {centre[0]:.2f} px (fast, slow)",
        ),
    ]
    if scan is not None and not run.is_still and run.geometry.goniometer is not None:
        first, last = (float(np.degrees(scan.angle_rad(f))) for f in (run.frames.start, run.frames.stop))
        rows.append(("scan", f"{first:.2f} to {last:.2f}°, {np.degrees(scan.width_rad):.4g}° an image"))
        rows.append(("rotation axis", ", ".join(f"{v:.4f}" for v in run.geometry.goniometer.lab_axis)))
    rows = [row for row in rows if row[1]]
    command = reproduce(run.told)
    return Section(
        "run",
        "Experiment and command",
        table(("", "as last refined" if run.crystals else "as the data tell"), rows, text=(0, 1))
        + f"<h3>To make this again</h3><pre><code>{escape(command)}</code></pre>"
        + f"<p class=note>With hdrmx {escape(str(run.told.get('hdrmx', '')))}; settings not named are its defaults. "
        "An extra mask, where one was given, has to be added (--mask). The answer doesn't depend "
        "on the number of threads.</p>",
    )


def reproduce(told: dict[str, Any]) -> str:
    """The command that leads to these results: settings that differ from the defaults are named."""
    from dataclasses import asdict

    from hdrmx.params import Params

    defaults = asdict(Params())
    first, last = told["images"]
    sweeps = told.get("sweeps", ())
    words = ["hdrmx", "process", *([str(s["data"]) for s in sweeps] or [str(told["data"])])]
    words += [] if sweeps else ["--images", f"{first}-{last}"]
    if told.get("stages"):
        stopped = told.get("stopped")
        words += [] if stopped or told["stages"][-1] == "merge" else ["--stages", ",".join(told["stages"])]
    words += ["--skip-bad-frames"] if told.get("bad_frames") else []
    for stage, settings in told.get("params", {}).items():
        for name, value in settings.items():
            if name in defaults.get(stage, {}) and value != defaults[stage][name]:
                words += ["--set", f"{stage}.{name}={'' if value is None else value}"]
    return shlex.join(words)


# In the order of the page. A stage that was not reached gives no section.
SECTIONS: tuple[Callable[[Processed], Section | None], ...] = (
    merge_section,
    statistics_section,
    symmetry_section,
    scale_section,
    integrate_section,
    sweeps_section,
    spot_section,
    reciprocal_section,
    fraction_section,
    bravais_section,
    refine_section,
    drift_section,
    parameter_section,
    image_section,
    experiment_section,
)
