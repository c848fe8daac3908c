"""What `hdrmx-profile` measures beside our own pipeline: commands, functions, other pipelines, records of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hdrmx.cli.options import default_jobs
from hdrmx.errors import HdrmxError, InputError
from hdrmx.record import Record

OURS = "hdrmx"
PIPELINES = (OURS, "dials", "xds", "fast_dp")
Ours = Callable[[str, Path], Record]  # runs our pipeline on a data set, into a folder


@dataclass(frozen=True)
class Others:
    """The options of this module."""

    command_line: str | None
    function: str | None
    setup: str | None
    pipelines: tuple[str, ...]
    attach: tuple[Path, ...]
    passed: tuple[str, ...]
    sampler: str | None

    @property
    def is_asked(self) -> bool:
        """Whether anything else than our own pipeline alone is wanted."""
        return bool(self.command_line or self.function or self.attach or set(self.pipelines) - {OURS})

    @property
    def arguments(self) -> tuple[tuple[str, str], ...]:
        """Of --pass, as (stage, argument)."""
        found = []
        for text in self.passed:
            stage, colon, argument = text.partition(":")
            if not (stage and colon and argument):
                raise InputError("--pass", f"is '{text}'", "give it as STAGE:ARGUMENT, e.g. find_spots:d_min=2")
            found.append((stage.strip(), argument.strip()))
        return tuple(found)


@dataclass(frozen=True)
class Request:
    """What the other options of the command say, as far as it concerns programs of others."""

    data: str | None
    output: Path | None
    as_json: bool
    images: range | None
    jobs: int | None
    d_min: float | None
    d_max: float | None
    space_group: str | None
    cell: str | None
    until: str | None  # last stage
    sampling: bool
    demo: Callable[[], str]
    name_of: Callable[[str], str]


def other_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as keyword arguments, which `Others` takes."""
    for option in reversed(
        (
            click.option("--pipeline", "pipelines", multiple=True, type=click.Choice(PIPELINES), help=_PIPELINE_HELP),
            click.option("--command", "command_line", metavar="TEXT", help="Measure a shell command instead."),
            click.option(
                "--function", metavar="F", help="Measure a Python function: file.py:function or module:function."
            ),
            click.option("--setup", metavar="NAME", help="Function of the same module that gives its arguments."),
            click.option(
                "--attach",
                multiple=True,
                metavar="DIR",
                type=click.Path(path_type=Path),
                help="Put records that were written elsewhere beside; several times for several.",
            ),
            click.option(
                "--pass",
                "passed",
                multiple=True,
                metavar="STAGE:ARG",
                help="One more argument for a stage of another pipeline, e.g. find_spots:d_min=2.",
            ),
            click.option(
                "--sampler",
                type=click.Choice(("py-spy", "pyinstrument", "none")),
                help="What looks into the Python of other programs [default: the first of these that works].",
            ),
        )
    ):
        function = option(function)
    return function


_PIPELINE_HELP = "What to run on DATA; several times for several side by side [default: hdrmx]."


def run_others(others: Others, request: Request, ours: Ours, show: Callable[[Record, Path], None]) -> int:
    """Do what was asked; the exit code.

    Parameters
    ----------
    ours : runs our own pipeline
    show : prints one record
    """
    if sum(map(bool, (others.command_line, others.function, others.pipelines or others.attach))) > 1:
        raise InputError("hdrmx-profile", "--command, --function and pipelines exclude each other", "run them apart")
    if (others.command_line or others.function) and request.data is not None:
        option = "--command" if others.command_line else "--function"
        raise InputError(option, f"takes no DATA, but {request.data} is given", "put it into the command, in quotes")
    if others.command_line is not None:
        return _command(others.command_line, request, show)
    if others.function is not None:
        return _function(others.function, others.setup, request, show)
    return _pipelines(others, request, ours, show)


def _command(text: str, request: Request, show: Callable[[Record, Path], None]) -> int:
    from hdrmx.adapters.command import profile_command, stage_name

    folder = request.output or Path(f"hdrmx-profile-{stage_name(text)}")
    record, code = profile_command(text, folder, quiet=request.as_json)
    show(record, folder)
    return code


def _function(target: str, setup: str | None, request: Request, show: Callable[[Record, Path], None]) -> int:
    from hdrmx.adapters.function import profile_function

    folder = request.output or Path(f"hdrmx-profile-{target.rpartition(':')[2]}")
    show(profile_function(target, folder, setup=setup, sampling=request.sampling), folder)
    return 0


def _pipelines(others: Others, request: Request, ours: Ours, show: Callable[[Record, Path], None]) -> int:
    from hdrmx.adapters.attach import attached

    found: list[tuple[Record, Path]] = []
    for folder in others.attach:
        found += attached(folder)
    wanted = others.pipelines or ((OURS,) if request.data is not None else ())
    _check(wanted)
    failure: HdrmxError | None = None
    base = request.output
    if wanted:
        data = request.data or request.demo()
        base = request.output or Path(f"hdrmx-profile-{request.name_of(data)}")
        ran = []
        for name in wanted:
            folder = base / name if len(wanted) > 1 else base
            try:
                ran.append((_run(name, data, folder, others, request, ours), folder))
            except HdrmxError as error:  # the others go on, and what it had is shown
                if len(wanted) == 1:
                    raise
                failure = failure or error
                ran += [one for one in attached(folder, missing_ok=True) if one[0].pipeline == name]
        found = ran + found
    if len(found) > 1 and (len(wanted) > 1 or request.output is not None):
        _write_page(base or Path(), found)
    _show_all(found, request, show)
    if failure is not None:
        raise failure
    return 0


def _check(wanted: tuple[str, ...]) -> None:
    """What isn't installed is told before anything is run."""
    if len(set(wanted)) < len(wanted):
        raise InputError("--pipeline", "is given twice with the same name", "give each once")
    if "dials" in wanted:
        from hdrmx.adapters.dials import check_installed

        check_installed()


def _run(name: str, data: str, folder: Path, others: Others, request: Request, ours: Ours) -> Record:
    def say(stage: str) -> None:
        click.echo(f"{name}: {stage}", err=True)

    sampler = others.sampler if request.sampling else "none"
    if name == OURS:
        return ours(data, folder)
    if name == "dials":
        from hdrmx.adapters.dials import DialsOptions, profile_dials

        options = DialsOptions(
            nproc=request.jobs or default_jobs(),
            images=request.images,
            space_group=request.space_group,
            cell=request.cell,
            d_min=request.d_min,
            d_max=request.d_max,
            until=request.until or "merge",
            arguments=others.arguments,
            sampler=sampler,
        )
        return profile_dials([data], folder, options, say)
    if name == "xds":
        from hdrmx.adapters.xds import XdsOptions, profile_xds

        lines = tuple(argument for stage, argument in others.arguments if stage == "xds")
        settings = XdsOptions(request.jobs, request.images, request.space_group, request.cell, lines)
        return profile_xds(data, folder, settings, say)
    from hdrmx.adapters.fast_dp import profile_fast_dp

    return profile_fast_dp(Path(data), folder, request.jobs or default_jobs(), others.arguments, sampler, say)


def _write_page(folder: Path, found: list[tuple[Record, Path]]) -> None:
    from hdrmx.io.whole import prepare_folder
    from hdrmx.report.side_by_side import write_page

    path = write_page(prepare_folder(folder), [record for record, _ in found], [where for _, where in found])
    click.echo(f"side by side: {path}", err=True)


def _show_all(found: list[tuple[Record, Path]], request: Request, show: Callable[[Record, Path], None]) -> None:
    if len(found) == 1:
        show(*found[0])
        return
    from hdrmx.report.side_by_side import as_dict, render

    records = [record for record, _ in found]
    if request.as_json:
        import json

        print(json.dumps(as_dict(records), indent=1))
    else:
        print(render(records, [str(folder) for _, folder in found]), end="")
