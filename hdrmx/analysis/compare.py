"""Two sets of runs of the same work compared: answers first, then exact counts, instructions, memory and time.

Counts are exact: any change counts. Instructions and memory repeat to a stated floor. Time is compared only
over several rounds on one machine, and always with what could have been seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hdrmx.analysis.shift import CANNOT_TELL, FASTER, SLOWER, UNCHANGED, Shift, shift
from hdrmx.record import Record, Span, net_cpu_ns, net_ns, stages

INSTRUCTION_FLOOR = 0.001  # repeatability of instruction counts
MEMORY_FLOOR = 0.05  # two runs of the same code differed by 2.7 %
LEAST_MEMORY = 4 << 20  # bytes; smaller changes of a peak are the allocator's
MORE, LESS, EQUAL = "more", "less", "equal"
ANSWER_TOLERANCE = 1e-6  # relative: the same science may round differently


@dataclass(frozen=True)
class Difference:
    """One figure on either side.

    Attributes
    ----------
    kind : answer, count, instructions, calls, memory, wall, cpu
    stage, name : where it belongs; `name` of calls is the function, with file and line
    old, new : medians of the runs for times
    verdict : equal, more, less, changed; for times those of `shift`
    is_finding : it got worse, or an answer changed
    """

    kind: str
    stage: str
    name: str
    old: Any
    new: Any
    verdict: str
    is_finding: bool = False
    shift: Shift | None = None

    @property
    def change(self) -> float:
        """Relative, NaN where it makes no sense."""
        if self.shift is not None:
            return self.shift.ratio - 1.0
        if isinstance(self.old, (int, float)) and isinstance(self.new, (int, float)) and self.old:
            return self.new / self.old - 1.0
        return math.nan


@dataclass(frozen=True)
class Comparison:
    """All differences, worst first within each kind.

    Attributes
    ----------
    differences : of all that was compared, also what is equal
    doubts : in words, why some of it couldn't be compared
    is_comparable : the same work was done on both sides
    """

    differences: tuple[Difference, ...]
    doubts: tuple[str, ...]
    is_comparable: bool
    changed_software: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.is_finding)


def compare(old: Sequence[Record], new: Sequence[Record], within: float = 0.02) -> Comparison:
    """Compare runs of two versions.

    Parameters
    ----------
    old, new : at least one run each; run i of one was made next to run i of the other
    within : smallest relative change of a time that counts

    Raises
    ------
    ValueError : no run on a side
    """
    if not old or not new:
        raise ValueError("each side needs a run")
    doubts, same_work, same_machine = _grounds(old, new)
    differences: list[Difference] = []
    if same_work:
        before, after = _by_stage(old), _by_stage(new)
        shared = [name for name in before if name in after]
        doubts += [f"only the {side} runs have {name}" for name, side in _one_sided(before, after)]
        for name in shared:
            differences += _answers(name, before[name], after[name])
        for name in shared:
            differences += _counts(name, before[name], after[name])
        differences += _calls(old[0], new[0]) + _instructions(old[0], new[0])
        if same_machine:
            for name in shared:
                differences += _memory(name, before[name], after[name])
            for name in shared:
                differences += _times(name, before[name], after[name], within)
    return Comparison(tuple(differences), tuple(doubts), same_work, _software(old[0], new[0]))


def _grounds(old: Sequence[Record], new: Sequence[Record]) -> tuple[list[str], bool, bool]:
    """Doubts, whether the work was the same, whether machine and conditions let times be compared."""
    doubts: list[str] = []
    first, last = old[0], new[0]
    if first.pipeline != last.pipeline:
        return [f"one side ran {first.pipeline}, the other {last.pipeline}"], False, False
    identities = {r.data.identity for r in (*old, *new) if r.data is not None}
    if len(identities) > 1:
        return ["the runs read different data: nothing is compared"], False, False
    if first.params != last.params:
        doubts.append("settings differ: counts and answers may change for that reason")
    same_machine = first.machine.fingerprint == last.machine.fingerprint and first.threads == last.threads
    if not same_machine:
        doubts.append("machine or number of threads differ: times and memory are not compared")
    broken = [r.status for r in (*old, *new) if r.status != "complete"]
    if broken:
        doubts.append(f"{len(broken)} of {len(old) + len(new)} runs did not end well ({broken[0]})")
    pressed = sum(any(d.kind in _DISTURBED for d in r.doubts) for r in (*old, *new))
    if pressed:
        doubts.append(f"{pressed} of {len(old) + len(new)} runs were disturbed by other work")
    return doubts, True, same_machine


_DISTURBED = {"under_pressure", "stolen_time", "throttled"}


def _by_stage(records: Sequence[Record]) -> dict[str, list[Span]]:
    """Spans of each stage over the runs that have it, in the order of the first run."""
    found: dict[str, list[Span]] = {}
    for record in records:
        for span in stages(record.run):
            found.setdefault(span.name, []).append(span)
    return found


def _one_sided(before: dict[str, list[Span]], after: dict[str, list[Span]]) -> list[tuple[str, str]]:
    return [(n, "old") for n in before if n not in after] + [(n, "new") for n in after if n not in before]


def _answers(stage: str, old: list[Span], new: list[Span]) -> list[Difference]:
    found = []
    for name in dict.fromkeys((*old[0].answers, *new[0].answers)):
        a, b = old[0].answers.get(name), new[0].answers.get(name)
        is_same = same_answer(a, b)
        found.append(Difference("answer", stage, name, a, b, EQUAL if is_same else "changed", not is_same))
    return found


def same_answer(a: Any, b: Any) -> bool:
    """Equal, numbers to a relative 1e-6."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_answer(x, y) for x, y in zip(a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_answer(a[k], b[k]) for k in a)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool):
        return math.isclose(a, b, rel_tol=ANSWER_TOLERANCE, abs_tol=1e-12) or (a != a and b != b)
    return bool(a == b)


def _counts(stage: str, old: list[Span], new: list[Span]) -> list[Difference]:
    found = []
    for name in dict.fromkeys((*old[0].counts, *new[0].counts)):
        a, b = old[0].counts.get(name), new[0].counts.get(name)
        found.append(_exact("count", stage, name, a, b))
    return found


def _exact(kind: str, stage: str, name: str, a: int | None, b: int | None, floor: float = 0.0) -> Difference:
    if a is None or b is None:
        return Difference(kind, stage, name, a, b, "new" if a is None else "gone")
    if abs(b - a) <= floor * abs(a):
        return Difference(kind, stage, name, a, b, EQUAL)
    return Difference(kind, stage, name, a, b, MORE if b > a else LESS, b > a)


def _calls(old: Record, new: Record) -> list[Difference]:
    """Calls of Python functions, where both runs counted them."""
    if old.counted is None or new.counted is None:
        return []
    found = []
    for stage in old.counted.functions.keys() & new.counted.functions.keys():
        a, b = old.counted.functions[stage], new.counted.functions[stage]
        for name in sorted(a.keys() & b.keys()):
            found.append(_exact("calls", stage, name, a[name], b[name]))
    return found


def _instructions(old: Record, new: Record) -> list[Difference]:
    if old.counted is None or new.counted is None:
        return []
    a, b = old.counted.instructions, new.counted.instructions
    return [_exact("instructions", s, "instructions", a[s], b[s], INSTRUCTION_FLOOR) for s in a if s in b]


def _memory(stage: str, old: list[Span], new: list[Span]) -> list[Difference]:
    a, b = (_median([s.peak_bytes for s in spans]) for spans in (old, new))
    if a is None or b is None:
        return []
    is_same = abs(b - a) <= max(MEMORY_FLOOR * a, LEAST_MEMORY)
    return [
        Difference(
            "memory", stage, "peak", a, b, EQUAL if is_same else (MORE if b > a else LESS), b > a and not is_same
        )
    ]


def _times(stage: str, old: list[Span], new: list[Span], within: float) -> list[Difference]:
    n = min(len(old), len(new))
    found = []
    for kind, of in (("wall", net_ns), ("cpu", net_cpu_ns)):
        a, b = ([of(span) for span in spans[:n]] for spans in (old, new))
        if any(not v for v in (*a, *b)):
            continue
        s = shift([float(v) for v in a if v], [float(v) for v in b if v], within)
        verdict = s.verdict
        found.append(Difference(kind, stage, kind, _median(a), _median(b), verdict, verdict == SLOWER, s))
    return found


def _median(values: Sequence[float | None]) -> float | None:
    known = sorted(v for v in values if v is not None)
    if not known or len(known) < len(values):
        return None
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else 0.5 * (known[middle - 1] + known[middle])


def _software(old: Record, new: Record) -> dict[str, tuple[str, str]]:
    a = {"hdrmx": f"{old.software.hdrmx} {old.software.commit or ''}".strip(), "python": old.software.python}
    b = {"hdrmx": f"{new.software.hdrmx} {new.software.commit or ''}".strip(), "python": new.software.python}
    a, b = a | old.software.packages, b | new.software.packages
    return {k: (a.get(k, "-"), b.get(k, "-")) for k in dict.fromkeys((*a, *b)) if a.get(k) != b.get(k)}


__all__ = ["CANNOT_TELL", "FASTER", "SLOWER", "UNCHANGED", "Comparison", "Difference", "compare", "same_answer"]
