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


def settings_from(assignments: tuple[str, ...], d_min: float | None = None, d_max: float | None = None) -> Params:
    """Defaults, with the short options and then `--set` on top."""
    short = [f"find_spots.{name}={value}" for name, value in (("d_min", d_min), ("d_max", d_max)) if value is not None]
    return override(Params(), [*short, *assignments])


def default_jobs() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--images, --jobs, --set, --d-min, --d-max, --skip-bad-frames."""
    for option in reversed(
        (
            click.option("--images", metavar="A-B", help="Image numbers to use, from 1, inclusive (default: all)."),
            click.option("-j", "--jobs", type=click.IntRange(1), help="Threads (default: all that are free to use)."),
            click.option("--d-min", type=float, metavar="A", help="High-resolution limit of spot finding."),
            click.option("--d-max", type=float, metavar="A", help="Low-resolution limit of spot finding."),
            click.option("--mask", metavar="FILE", help="Extra mask: .npy or .h5, nonzero where a pixel may be used."),
            click.option("--skip-bad-frames", is_flag=True, help="Go on without frames that can't be decoded."),
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
