"""The command line: one module a command; each parses, calls and writes.

A command's module is imported only when that command runs, so that `hdrmx --help` is quick.
Exit codes: 0 good, 1 a finding, 2 could not measure, 3 bad input or configuration.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from hdrmx import __version__
from hdrmx.errors import EXIT_BAD_INPUT, HdrmxError

COMMANDS = {  # name: (module with an object `command`, one line of help)
    "profile": ("hdrmx.cli.profile", "Run the pipeline on DATA and report where time, memory and bytes go."),
    "process": ("hdrmx.cli.process", "Run the pipeline on DATA."),
    "agree": ("hdrmx.cli.agree", "Compare the results of a run with those of DIALS, stage by stage."),
    "report": ("hdrmx.cli.report", "Draw the page of a run again from its results folder."),
    "complexity": ("hdrmx.cli.complexity", "Measure how cost grows with size, and name the function to blame."),
    "compare": ("hdrmx.cli.compare", "Say what changed between two runs or two revisions."),
    "bisect": ("hdrmx.cli.bisect", "Find the commit that changed a cost."),
    "regress": ("hdrmx.cli.regress", "Find what changed over a history of results, with commit and cause."),
    "simulate": ("hdrmx.cli.simulate", "Make a rotation or grid data set with known truth."),
    "machine": ("hdrmx.cli.machine", "Show the machine's fingerprint."),
    "params": ("hdrmx.cli.params", "List every setting with its default, unit and limits."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]}, epilog="Example: hdrmx profile master.h5"
)
@click.version_option(__version__, prog_name="hdrmx")
def group() -> None:
    """hdrmx: process macromolecular-crystallography data, and measure what it costs."""


def run(command: click.Command, name: str, argv: list[str] | None = None) -> int:
    """Run a command; print what a user can act on as one line; return the exit code."""
    try:
        result: Any = command.main(args=argv, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _fail(name, "interrupted", 130)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", 130)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        return _fail(name, f"{error.format_message()} (see {name} --help)", EXIT_BAD_INPUT)
    except HdrmxError as error:
        return _fail(name, str(error), error.exit_code)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename or "output"
        return _fail(
            name, f"{where}: {error.strerror or error}; check the path, permissions and free space", EXIT_BAD_INPUT
        )


def _fail(name: str, message: str, code: int) -> int:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return code


def main() -> None:
    sys.exit(run(group, "hdrmx"))


def main_profile() -> None:
    sys.exit(run(importlib.import_module(COMMANDS["profile"][0]).command, "hdrmx-profile"))
