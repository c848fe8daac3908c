"""Every defect is found by the test that its row names, every cure and every negative control stays silent."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from catalogue import CONTROLS, ROWS, Control, Row, control_study

from hdrmx.complexity.study import COUNTS

QUICK = ("a1", "f1", "a6", "a3", "b8")  # one of each kind that needs no clock
BY_ID = {row.id: row for row in ROWS}


def _functions(row: Row) -> tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[int], Any]]:
    module = importlib.import_module(row.file)
    slow, fast = getattr(module, f"{row.id}_slow"), getattr(module, f"{row.id}_fast")
    return slow, fast, getattr(module, f"setup_{row.id}_slow", lambda n: n)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.id)
def test_slow_and_fast_agree(row: Row) -> None:
    slow, fast, setup = _functions(row)
    for n in (row.sizes[0], 40):
        assert slow(setup(n)) == fast(setup(n))


@pytest.mark.parametrize("id", QUICK)
def test_found_and_named(id: str) -> None:
    row = BY_ID[id]
    slow, fast = row.check(2.0)
    assert slow.verdict == "exceeds"
    assert fast.verdict == "within"
    assert not fast.guilty
    assert slow.guilty[0].function in row.guilty
    assert slow.answers == fast.answers


@pytest.mark.slow
def test_all_rows() -> None:
    """The table of docs/complexity.md; a busy machine needs longer, not other limits."""
    missed, loud, misnamed = [], [], []
    for row in ROWS:
        slow, fast = row.check(8.0)
        if slow.verdict != "exceeds":
            missed.append(row.id)
        if fast.verdict == "exceeds":
            loud.append(row.id)
        if not slow.guilty or slow.guilty[0].function not in row.guilty:
            misnamed.append(row.id)
    assert not missed
    assert not loud
    assert len(misnamed) <= 0.1 * len(ROWS), misnamed


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: c.id)
def test_controls(control: Control) -> None:
    study = control_study(control, 6.0)
    kinds = {b.kind for b in study.breaches}
    if control.flagged is None:
        assert study.verdict != "exceeds"
    else:
        assert control.flagged in kinds
    assert study.measures[COUNTS].verdict != "exceeds" if COUNTS in study.measures else True
