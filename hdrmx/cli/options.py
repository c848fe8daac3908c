"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from hdrmx.errors import InputError
from hdrmx.params import Params, override


def parse_images(text: str | None) -> range | None:
    """`1-900` or `5` (image numbers from 1, inclusive) to a range of scan positions from 0; None: all."""
    if text is None:
        return None
    first, dash, last = text.partition("-")
    try:
        begin, end = int(first), int(last) if dash else int(first)
    except ValueError:
        raise InputError("--images", f"'{text}' is no range", "give it as 1-900") from None
    if begin < 1 or end < begin:
        raise InputError("--images", f"'{text}' is empty", "images are numbered from 1, and the first comes first")
    return range(begin - 1, end)


def settings_from(
    assignments: tuple[str, ...] = (),
    *,
    d_min: float | None = None,
    d_max: float | None = None,
    space_group: str | None = None,
    cell: str | None = None,
    shoeboxes: bool = False,
) -> Params:
    """Defaults, with the short options and then `--set` on top."""
    short = {
        "find_spots.d_min": d_min,
        "predict.d_min": d_min,
        "find_spots.d_max": d_max,
        "scale.d_max": d_max,
        "merge.d_max": d_max,
        "index.space_group": space_group,
        "symmetry.space_group": space_group,
        "index.cell": cell,
        "find_spots.keep_pixels": shoeboxes or None,
    }
    given = [f"{key}={value}" for key, value in short.items() if value is not None]
    return override(Params(), [*given, *assignments])


def last_stage(stages: str | None) -> str:
    """`find_spots,index` to the last of them; they must be the first stages of the pipeline, in its order."""
    from hdrmx.pipeline import STAGES

    if stages is None:
        return STAGES[-1]
    names = tuple(name.strip() for name in stages.split(","))
    if names != STAGES[: len(names)]:
        raise InputError("--stages", f"is '{stages}'", f"give the first ones of {','.join(STAGES)}")
    return names[-1]


def default_jobs() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which frames, with which settings, how far."""
    for option in reversed(
        (
            click.option("--images", metavar="A-B", help="Image numbers to use, from 1, inclusive (default: all)."),
            click.option("-j", "--jobs", type=click.IntRange(1), help="Threads (default: all that are free to use)."),
            click.option("--d-min", type=float, metavar="A", help="High-resolution limit."),
            click.option("--d-max", type=float, metavar="A", help="Low-resolution limit."),
            click.option("--space-group", metavar="SG", help="Space group, where it is known."),
            click.option("--cell", metavar="A,B,C,AL,BE,GA", help="Unit cell in A and degrees, where it is known."),
            click.option(
                "--stages", metavar="LIST", help="Stages to run, from the first, such as find_spots,index,refine."
            ),
            click.option("--mask", metavar="FILE", help="Extra mask: .npy or .h5, nonzero where a pixel may be used."),
            click.option("--skip-bad-frames", is_flag=True, help="Go on without frames that can't be decoded."),
            click.option("--shoeboxes", is_flag=True, help="Keep the pixels of spots, which dials.integrate needs."),
            click.option(
                "--set",
                "assignments",
                multiple=True,
                metavar="STAGE.NAME=VALUE",
                help="Change any setting; `hdrmx params` lists them.",
            ),
        )
    ):
        function = option(function)
    return function
