"""`hdrmx process`: the pipeline alone, results into a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from hdrmx.cli.options import default_jobs, input_options, parse_images, settings_from


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
    mask: str | None,
    skip_bad_frames: bool,
    assignments: tuple[str, ...],
) -> None:
    """Run the pipeline on DATA and write its results into a folder.

    DATA is an NXmx or Eiger HDF5 file (.nxs, _master.h5), or CBF images as one file, a template
    (name_####.cbf), a glob or a directory.
    """
    from hdrmx.io.open import open_source, read_mask
    from hdrmx.io.results import write_results
    from hdrmx.io.whole import prepare_folder
    from hdrmx.pipeline import process

    params = settings_from(assignments, d_min, d_max)
    source = open_source(data, parse_images(images))
    try:
        extra = read_mask(mask, source.shape) if mask else None
        folder = prepare_folder(output or Path(f"hdrmx-process-{name_of(data)}"))
        results = process(source, params, threads=jobs or default_jobs(), skip_bad_frames=skip_bad_frames, mask=extra)
        files = write_results(folder, source, results, params)
    finally:
        source.close()
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    for line in describe(summary):
        print(line)
    print("written: " + ", ".join(str(f) for f in files))
    for index, reason in results.found.bad_frames:
        print(f"left out: image {index + 1}: {reason}", file=sys.stderr)


def name_of(data: str) -> str:
    """A folder name for a data set: the file name without suffixes and template characters."""
    name = Path(data).name or Path(data).resolve().name
    for suffix in (".gz", ".bz2", ".cbf", ".nxs", ".h5", ".hdf5", "_master"):
        name = name.removesuffix(suffix)
    return name.strip("#*?%_. ") or "data"


def describe(summary: dict[str, Any]) -> list[str]:
    """The summary in a few lines for a terminal."""
    found = summary["find_spots"]
    per_frame = found["spots"] / max(found["frames"], 1)
    return [
        f"{summary['data']}: {found['frames']} frames of {summary['shape'][0]} x {summary['shape'][1]} px",
        f"{found['spots']} spots ({per_frame:.1f} a frame) of {found['strong_pixels']} strong pixels",
    ]
