"""Every row: where it stands, by which test it must be found, and which function is guilty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrmx.complexity.growth import CONSTANT, LINEAR, Growth
from hdrmx.complexity.measuring import Plan
from hdrmx.complexity.run import complexity
from hdrmx.complexity.study import COUNTS, INSTRUCTIONS, MEMORY, TIME, Study, as_json

HERE = Path(__file__).parent
SMALL, MIDDLE, LARGE = (
    (16, 27, 45, 64, 91, 128, 171, 256),
    (32, 59, 101, 150, 256, 420, 671, 1024),
    (128, 231, 380, 512, 901, 1330, 2210, 4096),
)
TINY = (8, 11, 16, 24, 32, 45, 64, 90)


@dataclass(frozen=True)
class Row:
    """A defect with its cure: `FILE:ID_slow` and `FILE:ID_fast`.

    Attributes
    ----------
    test : exponent, count, memory or baseline: what must fire
    guilty : functions of which one must be named first
    """

    id: str
    file: str
    test: str
    guilty: tuple[str, ...]
    sizes: tuple[int, ...] = MIDDLE
    measures: tuple[str, ...] = (COUNTS,)
    limits: Mapping[str, float] = field(default_factory=dict)
    declared_for: Mapping[str, Growth] = field(default_factory=dict)
    declared: Growth = LINEAR

    def study(self, which: str, budget_s: float, baseline: Mapping[str, Any] | None = None) -> Study:
        plan = Plan(self.sizes, self.declared, self.declared_for, self.measures, budget_s)
        target = f"{HERE / self.file}.py:{self.id}_{which}"
        return complexity(target, plan, limits=self.limits, baseline=baseline)

    def check(self, budget_s: float) -> tuple[Study, Study]:
        """(slow, fast)"""
        if INSTRUCTIONS in self.measures:
            budget_s = max(budget_s, 60.0)
        fast = self.study("fast", budget_s)
        baseline = as_json(fast) if self.test == "baseline" else None
        return self.study("slow", budget_s, baseline), fast


def _exponent(id: str, *guilty: str, sizes: tuple[int, ...] = MIDDLE, **more: Any) -> Row:
    return Row(id, "growing_defects", "exponent", guilty, sizes, **more)


def _compiled(id: str, *guilty: str, sizes: tuple[int, ...]) -> Row:
    """Work below the interpreter: instructions tell it on any machine."""
    return Row(id, "growing_defects", "exponent", guilty, sizes, (COUNTS, INSTRUCTIONS))


def _count(id: str, guilty: str, called: str, limit: float, sizes: tuple[int, ...] = SMALL) -> Row:
    return Row(id, "repeated_defects", "count", (guilty,), sizes, limits={called: limit})


def _unread(id: str, guilty: str, called: str) -> Row:
    return Row(id, "repeated_defects", "count", (guilty,), SMALL, declared_for={f"calls:{called}": CONSTANT})


def _memory(id: str, *guilty: str, declared: Growth = CONSTANT, **more: Any) -> Row:
    return Row(id, "memory_defects", "memory", guilty, TINY, (COUNTS, MEMORY), declared_for={MEMORY: declared}, **more)


def _baseline(id: str, *guilty: str) -> Row:
    return Row(id, "slower_defects", "baseline", guilty, MIDDLE, (COUNTS, TIME))


ROWS = (
    _exponent("a1", "a1_position"),
    _exponent("a2", "a2_rebuild"),
    _exponent("a5", "a5_slow", sizes=LARGE),
    _exponent("b7", "b7_request"),
    _exponent("b14", "b14_is_selected"),
    _compiled("c2", "c2_slow", sizes=(16, 22, 30, 40, 52, 64, 80, 96)),
    _compiled("c9", "c9_slow", sizes=MIDDLE),
    _compiled("c12", "c12_select", sizes=(2048, 3001, 4096, 7001, 12000, 16384, 30011, 50021)),
    _exponent("c14", "c14_concentrate"),
    _compiled("d1", "d1_slow", sizes=(512, 1024, 2048, 3001, 4096, 6007, 8192, 12007)),
    _exponent("e13", "e13_in_batch", sizes=LARGE),
    _exponent("f1", "File.walk", sizes=SMALL),
    _exponent("f2", "f2_slow"),
    _exponent("f3", "f3_erase"),
    _exponent("f11", "f11_find_or_append"),
    _count("a6", "a6_model", "scan_folder", 0.1),
    _count("a7", "a7_panels", "decode", 1),
    _count("a14", "a14_slow", "decode", 1),
    _count("b4", "b4_slow", "decode", 1),
    _count("b5", "b5_mask", "resolution_map", 0.1),
    _count("b10", "b10_slow", "make_buffer", 0.1),
    _count("c1", "c1_score", "deepcopy", 0.1),
    _count("c4", "c4_candidate", "parse_symbol", 0.1),
    _count("c7", "c7_slow", "reject_outliers", 0.1),
    _count("d5", "d5_block", "decode", 1),
    _count("e1", "e1_decide", "correlate", 1),
    _count("e3", "e3_look_up", "angle_between", 0.1),
    _count("e12", "e12_evaluate", "build_list", 0.1),
    _unread("a3", "a3_slow", "build_model"),
    _unread("d9", "d9_profile", "describe"),
    _count("d3", "intersect", "miss", 0.1),
    Row("b8", "repeated_defects", "count", ("b8_run",), SMALL, limits={"busiest": 0.52}),
    _memory("a11", "make_mask", "a11_slow"),
    _memory("b1", "Still.read"),
    _memory("b3", "b3_slow", "strong_pixels"),
    _memory("c8", "c8_slow"),
    Row("c17", "memory_defects", "memory", ("c17_rows", "c17_slow"), TINY, (COUNTS, MEMORY), limits={MEMORY: 2500.0}),
    Row("d13", "memory_defects", "memory", ("d13_flags",), TINY, (COUNTS, MEMORY), limits={MEMORY: 1000.0}),
    _memory("d14", "d14_slow"),
    _memory("f5", "f5_slow"),
    _baseline("d2", "d2_slow", "d2_matches"),
    _baseline("e5", "e5_unique"),
    _baseline("f6", "f6_page"),
)


@dataclass(frozen=True)
class Control:
    """A function, or a change of one, that must not be reported; `flagged`: a breach that must be."""

    id: str
    function: str
    before: str | None = None
    measures: tuple[str, ...] = (COUNTS, TIME, MEMORY)
    flagged: str | None = None


CONTROLS = (
    Control("n1", "n1_after", "n1_before", (TIME, MEMORY)),
    Control("n2", "n2_after", "n2_before", flagged="baseline"),
    Control("n4", "n4_after", "n4_before", flagged="answer"),
    Control("n5", "n5_after", "n5_before", (TIME,), flagged="answer"),
    Control("n7-sort", "sort"),
    Control("n7-sleep", "sleepy"),
    Control("n7-start", "late_start"),
    Control("n7-plateau", "plateau"),
    Control("n7-steps", "hashed"),
    Control("n7-halving", "recursive"),
)


def control_study(control: Control, budget_s: float) -> Study:
    plan = Plan(MIDDLE, LINEAR, {}, control.measures, budget_s)
    baseline = None
    if control.before is not None:
        with_answers = Plan(MIDDLE, LINEAR, {}, (COUNTS, *control.measures), budget_s)
        plan = with_answers if control.flagged == "answer" else plan
        baseline = as_json(complexity(f"{HERE / 'silent_controls.py'}:{control.before}", with_answers))
    return complexity(f"{HERE / 'silent_controls.py'}:{control.function}", plan, baseline=baseline)
