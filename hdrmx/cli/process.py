"""`hdrmx process`: the pipeline alone, results into a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdrmx.cli.options import default_jobs, input_options, last_stage, parse_images, settings_from
from hdrmx.errors import InputError

if TYPE_CHECKING:  # the pipeline brings the kernels' compiler
    from hdrmx.frames import FrameSource
    from hdrmx.params import Params
    from hdrmx.pipeline import Results


@click.command(epilog="Example: hdrmx process master.h5 -o results --images 1-900")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for results [default: hdrmx-process-NAME]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--from", "begin", metavar="STAGE", help="Begin with this stage, on the earlier results in the folder.")
@click.option(
    "--resume", is_flag=True, help="Go on where an earlier run in the folder ended, or where a setting has changed."
)
@input_options
def command(
    data: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    begin: str | None,
    resume: bool,
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
    """Run the pipeline on DATA, down to merged intensities, and write its results into a folder.

    DATA is an NXmx or Eiger HDF5 file (.nxs, _master.h5), or CBF images as one file, a template
    (name_####.cbf), a glob or a directory. Several DATA are sweeps that are merged together.
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
    with ExitStack() as stack:
        sources = [stack.enter_context(closing(open_source(name, parse_images(images)))) for name in data]
        extra = read_mask(mask, sources[0].shape) if mask else None
        folder = prepare_folder(output or Path(f"hdrmx-process-{name_of(data[0])}"))
        reached = _reached(folder, sources, params, begin, resume)
        write = ResultWriter(folder, sources, params, reached and reached[0])
        with frame_progress(sources) as watched:
            try:
                results = process(
                    watched,
                    params,
                    threads=jobs or default_jobs(),
                    skip_bad_frames=skip_bad_frames,
                    mask=extra,
                    until=until,
                    reached=reached,
                    keep=write,
                )
            except BaseException as error:
                write.stopped(error)
                raise
            finally:
                drawn = _draw(folder) if write.files else []
    told: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    for index, reason in results.bad_frames:
        print(f"left out: image {index + 1}: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps(told, indent=1))
        return
    for line in describe(told):
        print(line)
    if not write.files:
        print(f"nothing to do: {folder} holds the results of all stages")
        return
    print(f"written to {folder}: " + ", ".join(_relative(f, folder) for f in (*write.files, folder / SUMMARY, *drawn)))


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder))


def _reached(
    folder: Path, sources: list[FrameSource], params: Params, begin: str | None, resume: bool
) -> tuple[str, Results] | None:
    """What an earlier run left, as far as the options let it count."""
    from hdrmx.io.stored import first_to_run, read_reached
    from hdrmx.pipeline import STAGES, nothing_yet

    if begin is not None and resume:
        raise InputError("--from", "is given with --resume", "give one of the two")
    if begin is not None and begin not in STAGES:
        raise InputError("--from", f"'{begin}' is no stage", f"give one of {', '.join(STAGES)}")
    if resume:
        begin = first_to_run(folder, sources, params)
        if begin is None:
            return STAGES[-1], nothing_yet(sources)
    return None if begin is None else read_reached(folder, sources, begin)


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
    if "integrate" in told:
        done = told["integrate"]
        lines.append(
            f"integrate: {done['integrated']} of {done['counts']['predicted']} reflections to {done['d_min']:.2f} A"
            + (f", {done['decodes_per_frame']:.3g} decodes a frame in all" if "decodes_per_frame" in done else "")
        )
    if "symmetry" in told:
        found = told["symmetry"]
        how_sure = f"probability {found['probability']:.2f}" + ("" if found["is_sure"] else ", in doubt")
        lines.append(f"symmetry: {found['space_group']} {_cell(found['cell'])} ({how_sure})")
    if "scale" in told:
        scaled = told["scale"]
        a, b = scaled["error_model"]["a"], scaled["error_model"]["b"]
        n, out = scaled["counts"]["observations"], scaled["counts"]["outliers"]
        lines.append(f"scale: {n} observations, {out} outliers, error model a = {a:.3f}, b = {b:.4f}")
    if "merge" in told:
        lines += _merging(told["merge"])
    return lines + [f"note: {note}" for note in told["notes"]]


def _merging(merged: dict[str, Any]) -> list[str]:
    """Overall and outer shell, as tables of statistics have them."""
    whole, outer = merged["overall"], merged["outer_shell"]

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    def both(name: str, form: Callable[[float | None], str]) -> str:
        return f"{form(whole[name])} ({form(outer[name])})"

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    def correlation(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    limit = merged["d_cc_half"]
    return [
        f"merge: {whole['n_unique']} unique reflections of {whole['n_observations']}, "
        f"{whole['d_max']:.2f}-{whole['d_min']:.2f} A (outer shell from {outer['d_max']:.2f} A in brackets)",
        f"       completeness {both('completeness', percent)}, multiplicity {both('multiplicity', number)}, "
        f"I/sigma {both('i_over_sigma', number)}",
        f"       Rmeas {both('r_meas', percent)}, Rpim {both('r_pim', percent)}, CC1/2 {both('cc_half', correlation)}"
        + (f", CC1/2 = 0.3 at {limit:.2f} A" if limit is not None else ""),
    ]


def _lattices(stage: dict[str, Any]) -> str:
    if len(stage["lattices"]) > 4:
        return f"{len(stage['lattices'])} lattices"
    return "; ".join(f"{lattice['space_group']} {_cell(lattice['cell'])}" for lattice in stage["lattices"])


def _cell(cell: list[float]) -> str:
    return " ".join(f"{x:.2f}" for x in cell)
