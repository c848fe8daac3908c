"""The section of a profile's page on exact costs."""

from __future__ import annotations

from html import escape

from hdrmx.record import Counted, Record, stages
from hdrmx.report.page import MISSING, Section, table

MOST = 12  # functions of a stage


def count_section(record: Record) -> Section | None:
    """Calls, instructions and memory of each stage, and the most called functions."""
    counted = record.counted
    if counted is None:
        return None
    names = [stage.name for stage in stages(record.run)]
    known = {*counted.calls, *counted.instructions, *counted.allocated_peak_bytes}
    rows = [_row(counted, name) for name in dict.fromkeys([*names, *sorted(known)]) if name in known]
    head = ("stage", "Python calls", "instructions", "in kernels", "in Python", "elsewhere",
            "allocated MB", "allocations", "peak held MB", "kept MB")  # fmt: skip
    body = table(head, rows)
    pinned = ", ".join(f"{name} {value}" for name, value in counted.settings.items())
    body += (
        f"<p class=note>From runs of their own over {counted.frames or MISSING} frames, on one thread, everything "
        f"pinned that would change a count ({escape(pinned)}). Calls are exact; instructions agree to about a "
        "thousandth. Allocated: all that was asked of malloc, freed again or not. Held: by Python and numpy, above "
        "what was held when the stage began.</p>"
    )
    for name in dict.fromkeys([*names, *counted.functions]):
        functions = list(counted.functions.get(name, {}).items())[:MOST]
        if functions:
            listed = table(("function", "calls"), [(f, f"{n:,}") for f, n in functions])
            body += f"<details><summary>Most called in {escape(name)}</summary>{listed}</details>"
    return Section("counts", "Exact costs", body)


def _row(counted: Counted, name: str) -> tuple[str, ...]:
    objects, total = counted.objects.get(name, {}), counted.instructions.get(name)
    kernels = objects.get("compiled kernels")
    python = sum(n for file, n in objects.items() if file.startswith(("libpython", "python")))
    rest = None if total is None or not objects else total - (kernels or 0) - python
    return (
        name,
        _number(counted.calls.get(name)),
        _number(total),
        *(_part(n, total) for n in ((kernels, python, rest) if objects else (None, None, None))),
        _mb(counted.allocated_bytes.get(name)),
        _number(counted.allocations.get(name)),
        _mb(counted.allocated_peak_bytes.get(name)),
        _mb(counted.kept_bytes.get(name)),
    )


def _number(n: int | None) -> str:
    return MISSING if n is None else f"{n:,}"


def _part(n: int | None, total: int | None) -> str:
    return MISSING if n is None or not total else f"{100 * n / total:.1f} %"


def _mb(n: int | None) -> str:
    return MISSING if n is None else f"{n / 1e6:.2f}"
