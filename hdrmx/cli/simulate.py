"""`hdrmx simulate`: a rotation or grid data set with known truth."""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import click

from hdrmx.cli.options import default_jobs
from hdrmx.errors import InputError
from hdrmx.params import Simulate
from hdrmx.simulate.presets import PRESETS


def setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option a field of `Simulate`; not given, the preset's value stays."""
    kinds = typing.get_type_hints(Simulate)
    for f in reversed(fields(Simulate)):
        kind: Any = kinds[f.name]
        if isinstance(kind, types.UnionType):
            kind = next(k for k in typing.get_args(kind) if k is not type(None))
        flag = "--" + f.name.replace("_", "-")
        unit = f" [{f.metadata['unit']}]" if f.metadata["unit"] else ""
        text = f"{f.metadata['meaning'][:1].upper()}{f.metadata['meaning'][1:]}{unit}."
        if kind is bool:
            option = click.option(f"{flag}/--no-{flag[2:]}", f.name, default=None, help=text)
        elif f.metadata["choices"]:
            option = click.option(
                flag,
                f.name,
                type=click.Choice(f.metadata["choices"]),
                metavar="|".join(f.metadata["choices"]),
                help=text,
            )
        else:
            option = click.option(flag, f.name, type=kind, metavar=_metavar(kind), help=text)
        function = option(function)
    return function


def _metavar(kind: type) -> str:
    return {int: "N", float: "X"}.get(kind, "TEXT")


def _presets() -> str:
    return " ".join(f"{name}: {meaning}." for name, (meaning, _) in PRESETS.items())


@click.command(epilog="Example: hdrmx simulate demo.nxs --preset dense --frames 100 --detector 4M --background 0.02")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--preset", type=click.Choice(tuple(PRESETS)), default="demo", show_default=True, help=_presets())
@click.option("-j", "--jobs", type=click.IntRange(1), help="Threads (default: all that are free to use).")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@setting_options
def command(out: Path, preset: str, jobs: int | None, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Make a rotation or grid data set with known truth.

    OUT is x.nxs or x_master.h5 (NXmx: bitshuffle-LZ4 in data files beside it), or x.cbf (mini-CBF files
    x_00001.cbf, ...). The truth goes beside it: x_truth.h5, a table of all reflections, and x_model.json. Every
    option below changes one setting of the preset. The same settings give the same files, to the byte.
    """
    settings = settings_of(preset, {name: value for name, value in given.items() if value is not None})
    from hdrmx.simulate.run import simulate

    with _progress_bar() as progress:
        made = simulate(settings, out, jobs or default_jobs(), overwrite, progress)
    if as_json:
        print(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in asdict(made).items()}, indent=1))
        return
    print(f"{made.n_frames} frames, {made.n_reflections} reflections")
    print(f"written: {made.data}, {made.truth}, {made.model}")


def settings_of(preset: str, given: dict[str, Any]) -> Simulate:
    """A preset with changes. Raises InputError for values out of their limits, or that the preset does not look at."""
    settings = replace(PRESETS[preset][1], **given)
    if settings.grid_rows and "frames" in given:
        raise InputError("--frames", "does not go with a grid", "give --grid-rows and --grid-columns, or --grid-rows 0")
    return settings


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal; nothing where standard error is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("frames", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
