"""Any shell command, measured with its whole process tree."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from hdrmx.adapters.foreign import ForeignRun
from hdrmx.errors import InputError
from hdrmx.io.whole import prepare_folder
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.record import Record
from hdrmx.report.profile_files import write_profile

SHELL = "/bin/sh"
_SPECIAL = frozenset("|&;<>()$`*?[#=%{}!\n")  # a word with one of these isn't the name of a program
_KEYWORDS = frozenset(("for", "if", "while", "until", "case", "cd", "export", "set"))


def profile_command(command: str, folder: Path, *, quiet: bool = False) -> tuple[Record, int]:
    """Run a shell command and write its record into a folder.

    Parameters
    ----------
    command : given to /bin/sh as it is
    quiet : its standard output goes to our standard error, since ours holds a document

    Returns
    -------
    The record, and the command's exit code (128 + number where a signal ended it).

    Raises
    ------
    InputError : the command is empty, or the folder can't be written
    KeyboardInterrupt : after the command's processes were ended and the record written
    """
    if not command.strip():
        raise InputError("--command", "is empty", "give a command line for the shell, in quotes")
    prepare_folder(folder)
    run = ForeignRun("command")
    run.params = {"command": command, "directory": Path.cwd().name}
    with terminate_as_interrupt():
        try:
            ran = run.stage(
                stage_name(command),
                [SHELL, "-c", command],
                output=sys.stderr.fileno() if quiet else None,
            )
        except OSError as error:
            raise InputError("--command", f"{SHELL} can't be started ({error})", "is there a POSIX shell?") from None
    run.answers = {"exit_code": ran.exit_code}
    status = "interrupted" if ran.interrupted else "failed" if ran.exit_code else "complete"
    record = write_profile(folder, run.record(status))
    if ran.interrupted:
        stopped = KeyboardInterrupt()
        stopped.add_note(f"what was measured until then: hdrmx profile --show {folder}")
        raise stopped
    return record, ran.exit_code


def stage_name(command: str) -> str:
    """The program's name, for the table: that of the first word that isn't an assignment."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    for word in words:
        if word in _KEYWORDS:
            return "command"
        if word and not _SPECIAL & set(word):
            return Path(word).name
    return "command"
