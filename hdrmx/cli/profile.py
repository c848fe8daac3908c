"""`hdrmx profile` (also `hdrmx-profile`): the pipeline, measured."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from hdrmx.cli.options import default_jobs, input_options, last_stage, parse_images, settings_from
from hdrmx.cli.process import name_of
from hdrmx.cli.profile_others import Others, Request, other_options, run_others
from hdrmx.errors import InputError
from hdrmx.params import Params
from hdrmx.record import Record, net_ns, stages


@click.command(epilog="Example: hdrmx-profile master.h5 -o profile --images 1-900")
@click.argument("data", required=False)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for all files [default: hdrmx-profile-NAME]."
)
@click.option("--no-sampling", is_flag=True, help="Don't sample the call stack (spans and counters only).")
@click.option(
    "--count",
    "counting",
    is_flag=True,
    help="Count Python calls, instructions and memory exactly, in runs of their own.",
)
@click.option("--show", metavar="DIR", type=click.Path(path_type=Path), help="Print the table of an earlier run.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@click.option(
    "--forecast",
    "forecast_frames",
    type=click.IntRange(1),
    metavar="N",
    help="Predict the cost of N frames from runs on a tenth of them at most; kept in the folder for a later run.",
)
@other_options
@input_options
def command(
    data: str | None,
    output: Path | None,
    no_sampling: bool,
    counting: bool,
    show: Path | None,
    as_json: bool,
    forecast_frames: int | None,
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
    **others: Any,
) -> int:
    """Run the pipeline on DATA and report, stage by stage, where time, memory and bytes go.

    DATA is an NXmx or Eiger HDF5 file (.nxs, _master.h5), or CBF images as one file, a template
    (name_####.cbf), a glob or a directory. Without DATA a small demo set is simulated, once, and kept in
    the user's cache. With --command the exit code is that of the command.
    """
    if show is not None:
        if data is not None:
            raise InputError("--show", f"takes no DATA, but {data} is given", "leave one of the two out")
        from hdrmx.io.records import read_record

        _print(read_record(show), show if show.is_dir() else show.parent, as_json)
        return 0
    from hdrmx.cli.progress import frame_progress
    from hdrmx.profiling import Options, profile

    params = settings_from(
        assignments, d_min=d_min, d_max=d_max, space_group=space_group, cell=cell, shoeboxes=shoeboxes
    )
    options = Options(
        images=parse_images(images),
        threads=jobs or default_jobs(),
        mask=mask,
        skip_bad_frames=skip_bad_frames,
        sampling=not no_sampling,
        until=last_stage(stages),
    )

    def ours(data: str, folder: Path) -> Record:
        record = profile(data, folder, params, options, frame_progress)
        if counting:
            from hdrmx.counting import count_into

            record = count_into(record, folder, data, params, options, lambda text: click.echo(text, err=True))
        return record

    def demo() -> str:
        from hdrmx.cli.demo import demo_data

        return str(demo_data(lambda text: click.echo(text, err=True)))

    wanted = Others(**others)
    try:
        if wanted.is_asked:
            request = Request(
                data=data,
                output=output,
                as_json=as_json,
                images=options.images,
                jobs=jobs,
                d_min=d_min,
                d_max=d_max,
                space_group=space_group,
                cell=cell,
                until=options.until if stages else None,
                sampling=not no_sampling,
                demo=demo,
                name_of=name_of,
            )
            return run_others(wanted, request, ours, lambda record, folder: _print(record, folder, as_json))
        data = data or demo()
        folder = output or Path(f"hdrmx-profile-{name_of(data)}")
        if forecast_frames is not None:
            return _forecast(data, folder, forecast_frames, params, options, as_json)
        record = ours(data, folder)
        _print(record, folder, as_json)
        if not as_json:
            _against_forecast(record, folder)
    except BaseException as error:
        for note in getattr(error, "__notes__", ()):
            click.echo(note, err=True)
        raise
    return 0


def _forecast(data: str, folder: Path, n_frames: int, params: Params, options: Any, as_json: bool) -> int:
    from hdrmx.complexity.forecast import FILE_NAME, forecast, render
    from hdrmx.io.whole import prepare_folder, write_whole

    told = forecast(
        data,
        n_frames,
        params,
        threads=options.threads,
        until=options.until,
        say=lambda text: click.echo(text, err=True),
    )
    text = json.dumps(told, indent=1)
    write_whole(prepare_folder(folder) / FILE_NAME, text.encode())
    print(text if as_json else render(told), end="\n" if as_json else "")
    return 0


def _against_forecast(record: Record, folder: Path) -> None:
    """Where the folder has a forecast for so many frames, set the run against it."""
    from hdrmx.complexity.forecast import FILE_NAME, read_forecast, render_against

    if (folder / FILE_NAME).is_file() and record.data is not None:
        told = read_forecast(folder, record.data.n_frames)
        if told is not None:
            print(render_against(told, record.run), end="")


def _print(record: Record, folder: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary(record, folder), indent=1))
        return
    from hdrmx.report.terminal import WIDTH, render

    # A terminal is as wide as it is; what goes into a file or a pipe has the full width.
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    print(render(record, width=width, colour=colour, folder=str(folder)), end="")


def summary(record: Record, folder: Path) -> dict[str, Any]:
    """The few figures that a script wants; all others are in the record."""
    from hdrmx.report.words import findings

    return {
        "record": str(folder / "record.json"),
        "status": record.status,
        "findings": [f.text for f in findings(record)],
        "stages": [
            {
                "name": stage.name,
                "wall_s": net_ns(stage) / 1e9,
                "cpu_s": None if stage.cost.cpu_ns is None else stage.cost.cpu_ns / 1e9,
                "peak_bytes": stage.peak_bytes,
                "counts": stage.counts,
                "answers": stage.answers,
            }
            for stage in stages(record.run)
        ],
        "total_s": record.run.cost.wall_ns / 1e9,
    }
