"""`hdrmx process`: the pipeline alone, results into a folder."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from hdrmx.cli.options import default_jobs, input_options, last_stage, parse_images, settings_from


@click.command(epilog="Example: hdrmx process master.h5 -o results --images 1-900")
@click.argument("data")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for results [default: hdrmx-process-NAME]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@input_options
def command(
    data: str,
    output: Path | None,
    as_json: bool,
    images: str | None,
    jobs: int | None,
    d_min: float | None,
    d_max: float | None,
    space_group: str | None,
    cell: str | None,
    stages: str | None,
    mask: str | None,
    skip_bad_frames: bool,
    shoeboxes: bool,
    assignments: tuple[str, ...],
) -> None:
    """Run the pipeline on DATA and write its results into a folder.

    DATA is an NXmx or Eiger HDF5 file (.nxs, _master.h5), or CBF images as one file, a template
    (name_####.cbf), a glob or a directory.
    """
    from hdrmx.cli.progress import frame_progress
    from hdrmx.io.open import open_source, read_mask
    from hdrmx.io.results import SUMMARY, ResultWriter
    from hdrmx.io.whole import prepare_folder
    from hdrmx.pipeline import process

    params = settings_from(
        assignments, d_min=d_min, d_max=d_max, space_group=space_group, cell=cell, shoeboxes=shoeboxes
    )
    until = last_stage(stages)
    with closing(open_source(data, parse_images(images))) as source:
        extra = read_mask(mask, source.shape) if mask else None
        folder = prepare_folder(output or Path(f"hdrmx-process-{name_of(data)}"))
        write = ResultWriter(folder, source, params)
        with frame_progress(source) as watched:
            try:
                results = process(
                    watched,
                    params,
                    threads=jobs or default_jobs(),
                    skip_bad_frames=skip_bad_frames,
                    mask=extra,
                    until=until,
                    keep=write,
                )
            except BaseException as error:
                write.stopped(error)
                raise
            finally:
                drawn = _draw(folder) if write.files else []
    told: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    for index, reason in results.found.bad_frames:
        print(f"left out: image {index + 1}: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps(told, indent=1))
        return
    for line in describe(told):
        print(line)
    print(f"written to {folder}: " + ", ".join(f.name for f in (*write.files, folder / SUMMARY, *drawn)))


def _draw(folder: Path) -> list[Path]:
    """The page of what was reached. It may fail without costing the results."""
    from hdrmx.report.process_page import FILE_NAME, try_process_page

    failure = try_process_page(folder)
    if failure:
        print(failure, file=sys.stderr)
        return []
    return [folder / FILE_NAME]


def name_of(data: str) -> str:
    """A folder name for a data set: the file name without suffixes and template characters."""
    name = Path(data).name or Path(data).resolve().name
    for suffix in (".gz", ".bz2", ".cbf", ".nxs", ".h5", ".hdf5", "_master"):
        name = name.removesuffix(suffix)
    return name.strip("#*?%_. ") or "data"


def describe(told: dict[str, Any]) -> list[str]:
    """The summary in a few lines for a terminal."""
    found = told["find_spots"]
    per_frame = found["spots"] / max(found["frames"], 1)
    lines = [
        f"{told['data']}: {found['frames']} frames of {told['shape'][0]} x {told['shape'][1]} px",
        f"find_spots: {found['spots']} spots ({per_frame:.1f} a frame) of {found['strong_pixels']} strong pixels",
    ]
    if "index" in told:
        indexed = told["index"]
        lines.append(f"index: {indexed['indexed']} spots ({100 * indexed['fraction']:.1f} %) on {_lattices(indexed)}")
        lines += [
            f"       lattice symmetry probably {row['space_group']}, cell {_cell(row['cell'])}"
            for row in indexed["bravais"]
            if row["best"]
        ]
    if "refine" in told:
        refined = told["refine"]
        rmsds = f"{refined['rmsd_fast_px']:.3f}, {refined['rmsd_slow_px']:.3f} px, {refined['rmsd_frame']:.3f} frames"
        lines.append(f"refine: r.m.s.d. {rmsds} (fast, slow, scan) on {_lattices(refined)}")
    return lines + [f"note: {note}" for note in told["notes"]]


def _lattices(stage: dict[str, Any]) -> str:
    return "; ".join(f"{lattice['space_group']} {_cell(lattice['cell'])}" for lattice in stage["lattices"])


def _cell(cell: list[float]) -> str:
    return " ".join(f"{x:.2f}" for x in cell)
