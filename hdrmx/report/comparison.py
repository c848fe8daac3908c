"""A comparison of two versions in words: for the terminal, as markdown for a pull request, as plain values."""

from __future__ import annotations

import math
import re
from typing import Any

from hdrmx.analysis.compare import CANNOT_TELL, EQUAL, FASTER, UNCHANGED, Comparison, Difference
from hdrmx.report.exchange import Checked

WIDTH = 100
_UNITS = {"wall": "s", "cpu": "s CPU", "memory": "MB"}
_PLACE = re.compile(r"^(?P<function>.*) \((?P<file>[^:()]+):(?P<line>\d+)\)$")


def lines(comparison: Comparison, old: str, new: str) -> list[str]:
    """Findings first, what got better, then the table of times, then what could not be told."""
    found = [verdict(comparison)]
    found += [f"! {doubt}" for doubt in comparison.doubts]
    found += [""] + [f"- {sentence(d)}" for d in comparison.findings] if comparison.findings else []
    better = [d for d in comparison.differences if d.verdict in ("less", FASTER)]
    if better:
        found += ["", "better:"] + [f"+ {sentence(d)}" for d in better]
    others = [d for d in comparison.differences if d.verdict in ("new", "gone")]
    if others:
        found += ["", "on one side only: " + ", ".join(f"{d.stage} {d.name} ({d.verdict})" for d in others)]
    timed = [d for d in comparison.differences if d.shift is not None]
    if timed:
        found += [
            "",
            f"{'stage':<16} {'':<5} {'old':>9} {'new':>9} {'change':>9}   interval 95 %     could see  verdict",
        ]
        found += [_row(d) for d in timed]
    equal = sum(d.verdict == EQUAL for d in comparison.differences)
    found += ["", f"{equal} figures are equal. old: {old}; new: {new}"]
    if comparison.changed_software:
        told = ", ".join(f"{k} {a} -> {b}" for k, (a, b) in comparison.changed_software.items())
        found.append(f"software: {told}")
    return found


def verdict(comparison: Comparison) -> str:
    """One sentence."""
    if not comparison.is_comparable:
        return "The runs can't be compared."
    kinds = {d.kind for d in comparison.findings}
    if "answer" in kinds:
        return "The answers changed: whatever is faster or slower, look at these first."
    if kinds:
        n = len(comparison.findings)
        return f"{n} figure{'s' * (n > 1)} got worse."
    timed = [d for d in comparison.differences if d.shift is not None]
    if timed and all(d.verdict == CANNOT_TELL for d in timed):
        return "Answers and counts are equal or better; the times can't be told apart."
    return "Nothing got worse."


def sentence(d: Difference) -> str:
    """What changed, by how much, from what to what."""
    where = f"{d.stage}: " if d.stage else ""
    if d.kind == "answer":
        return f"{where}answer {d.name} was {_short(d.old)}, is {_short(d.new)}"
    change = "" if math.isnan(d.change) else f" ({100 * d.change:+.3g} %)"
    if d.kind in ("wall", "cpu"):
        return f"{where}{d.verdict}{change}: {_value(d, d.old)} -> {_value(d, d.new)}"
    word = {"count": "", "calls": "calls of ", "instructions": "", "memory": "memory "}[d.kind]
    return f"{where}{word}{d.name} {d.verdict}{change}: {_value(d, d.old)} -> {_value(d, d.new)}"


def _row(d: Difference) -> str:
    s = d.shift
    assert s is not None
    span = "" if math.isnan(s.low) else f"{100 * (s.low - 1):+6.1f} to {100 * (s.high - 1):+6.1f} %"
    seen = "" if math.isnan(s.detectable) else f"{100 * s.detectable:.1f} %"
    change = "" if math.isnan(s.ratio) else f"{100 * (s.ratio - 1):+.1f} %"
    words = f"{d.verdict} within {100 * s.within:g} %" if d.verdict == UNCHANGED else d.verdict
    old, new = (f"{v / 1e9:.3f} s" for v in (d.old, d.new))
    return f"{d.stage:<16} {d.kind:<5} {old:>9} {new:>9} {change:>9}   {span:<18} {seen:>7}  {words}"


def _value(d: Difference, value: Any) -> str:
    if value is None:
        return "nothing"
    if d.kind in ("wall", "cpu"):
        return f"{value / 1e9:.4g} {_UNITS[d.kind]}"
    if d.kind == "memory":
        return f"{value / 1e6:.4g} MB"
    return f"{value:,}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) < 60 else text[:57] + "..."


def markdown(comparison: Comparison, old: str, new: str) -> str:
    """For a pull request."""
    rows = [f"### {verdict(comparison)}", ""]
    rows += [f"> {doubt}" for doubt in comparison.doubts]
    rows += [f"- **{sentence(d)}**" for d in comparison.findings]
    rows += [f"- {sentence(d)}" for d in comparison.differences if d.verdict in ("less", FASTER)]
    timed = [d for d in comparison.differences if d.shift is not None]
    if timed:
        rows += [
            "",
            "| stage | | old | new | change | interval 95 % | could see | verdict |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for d in timed:
            s = d.shift
            assert s is not None
            span = "" if math.isnan(s.low) else f"{100 * (s.low - 1):+.1f} to {100 * (s.high - 1):+.1f} %"
            seen = "" if math.isnan(s.detectable) else f"{100 * s.detectable:.1f} %"
            cells = (
                d.stage,
                d.kind,
                _value(d, d.old),
                _value(d, d.new),
                f"{100 * d.change:+.1f} %",
                span,
                seen,
                d.verdict,
            )
            rows.append("| " + " | ".join(cells) + " |")
    rows += ["", f"old: `{old}`, new: `{new}`"]
    return "\n".join(rows) + "\n"


def values(comparison: Comparison, old: str, new: str) -> dict[str, Any]:
    """For scripts; times in ns, sizes in bytes."""
    return {
        "schema": "hdrmx-compare/1",
        "old": old,
        "new": new,
        "comparable": comparison.is_comparable,
        "doubts": list(comparison.doubts),
        "software": {k: list(v) for k, v in comparison.changed_software.items()},
        "differences": [
            {
                "kind": d.kind,
                "stage": d.stage,
                "name": d.name,
                "old": d.old,
                "new": d.new,
                "verdict": d.verdict,
                "finding": d.is_finding,
                "interval": None if d.shift is None else [d.shift.low, d.shift.high],
                "detectable": None if d.shift is None else d.shift.detectable,
            }
            for d in comparison.differences
            if d.verdict != EQUAL
        ],
        "equal": sum(d.verdict == EQUAL for d in comparison.differences),
    }


def checked(comparison: Comparison) -> list[Checked]:
    """For JUnit and SARIF: all that was compared, with the place of a function where it is known."""
    found = []
    for d in comparison.differences:
        place = _PLACE.match(d.name)
        found.append(
            Checked(
                group=d.stage or "run",
                name=f"{d.kind} {d.name}",
                message=sentence(d) if d.is_finding else "",
                file=place["file"] if place else None,
                line=int(place["line"]) if place else None,
            )
        )
    return found
