"""Errors that a user can act on: one line that names the file, what is wrong and what to try."""

from __future__ import annotations

from pathlib import Path

EXIT_GOOD = 0
EXIT_FINDING = 1  # a regression, an exponent over its declared class
EXIT_NOT_MEASURED = 2
EXIT_BAD_INPUT = 3


class HdrmxError(Exception):
    """Base of all errors that the command line prints as one line, without a traceback."""

    exit_code = EXIT_BAD_INPUT


class InputError(HdrmxError):
    """A file or value from outside is unusable.

    Parameters
    ----------
    where : file (or option) that is at fault
    what : what is wrong with it, with the value found and the limit
    remedy : what to try
    """

    def __init__(self, where: str | Path, what: str, remedy: str = "") -> None:
        self.where, self.what, self.remedy = str(where), what, remedy
        super().__init__(f"{where}: {what}" + (f"; {remedy}" if remedy else ""))


class BadFrame(InputError):
    """One frame can't be read or decoded; `--skip-bad-frames` goes on without it."""

    def __init__(self, where: str | Path, index: int, reason: str) -> None:
        self.index, self.reason = index, reason
        super().__init__(where, f"frame {index}: {reason}", "use --skip-bad-frames to go on without it")


class IndexFailure(InputError):
    """No lattice was found for the spots; `reached` says how far the search came, by name (spots, max_cell_A, ...)."""

    def __init__(self, what: str, remedy: str, reached: dict[str, object] | None = None) -> None:
        self.reached = dict(reached or {})
        super().__init__("indexing", what, remedy)


class NotMeasured(HdrmxError):
    """A measurement was asked for and none could be made."""

    exit_code = EXIT_NOT_MEASURED
