"""The table of `hdrmx agree` for a terminal, at most 100 columns wide."""

from __future__ import annotations

import math
import textwrap

from hdrmx.analysis.agree_checks import Agreement, Check, Stage

WIDTH = 100
MISSING = "-"
OURS, THEIRS, VALUE, LIMIT = 54, 24, 9, 8  # widths: name and ours together, theirs, ...; 3 for the last


def render(found: Agreement, *, shells: bool = False) -> str:
    """One block a stage, with figures by shell if asked for, then what was not met."""
    lines = [f"ours:   {found.ours}", f"theirs: {found.theirs}", "", _row("", "ours", "theirs", "result", "demand", "")]
    for stage in found.stages:
        lines += _block(stage) + (_shells(stage) if shells else [])
    if found.is_empty:
        return "\n".join([*lines, "", "No stage is in both folders."])
    missed = [(s.name, c.name) for s in found.stages for c in s.checks if c.is_within is False]
    demanded = sum(c.is_within is not None for s in found.stages for c in s.checks)
    said = f"All {demanded} demands are met." if not missed else f"{len(missed)} of {demanded} demands are not met:"
    lines += ["", said, *(f"  {stage}: {name}" for stage, name in missed)]
    return "\n".join(line.rstrip() for line in lines)


def _block(stage: Stage) -> list[str]:
    if stage.skipped:
        return [f"{stage.name}: not compared, {stage.skipped}"]
    lines = [stage.name]
    lines += [_line(check) for check in stage.checks]
    for note in stage.notes:
        lines += textwrap.wrap(note, WIDTH - 4, initial_indent="  * ", subsequent_indent="    ")
    return lines


def _shells(stage: Stage) -> list[str]:
    """Figures by shell, lowest resolution first."""
    if not stage.shells:
        return []
    head = ["theirs" if name.endswith("_theirs") else name for name in stage.shells[0]]
    rows = [head, *([text(v) for v in row.values()] for row in stage.shells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  by shell", *("    " + "  ".join(v.rjust(w) for v, w in zip(row, widths)) for row in rows)]


def _line(check: Check) -> str:
    word = {None: "", True: "ok", False: "NO"}[check.is_within]
    limit = "" if check.limit is None else ("≥ " if check.at_least else "≤ ") + f"{check.limit:g}"
    value = "" if check.value is None else text(check.value)
    return _row(f"  {check.name}", side(check.ours), side(check.theirs), value, limit, word)


def _row(*cells: str) -> str:
    name, ours, theirs, value, limit, word = cells
    return f"{name:<{OURS - len(ours)}}{ours}{theirs:>{THEIRS}} {value:>{VALUE}} {limit:>{LIMIT}} {word}"


def side(value: float | str | None) -> str:
    """A figure of one of the two."""
    return "" if value is None else value if isinstance(value, str) else text(value)


def text(value: float) -> str:
    """Whole numbers as such, others with about four significant digits."""
    if not math.isfinite(value):
        return MISSING
    if float(value).is_integer() and abs(value) < 1e7:
        return f"{int(value)}"
    if 0.1 <= abs(value) < 1:
        return f"{value:.5f}"
    return f"{value:.5g}" if abs(value) >= 1 else f"{value:.3g}"
