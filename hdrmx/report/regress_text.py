"""The findings of `hdrmx regress` in words: for a terminal, for markdown, and as plain values for JSON."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from hdrmx.analysis.causes import Group
from hdrmx.analysis.history import ANSWER, COUNT, EXPONENT, INSTRUCTIONS, MEMORY, RATE, TIME, History, Series
from hdrmx.analysis.regress import DRIFT, Finding, Regressed

WORDS = {  # kind: (when it goes up, when it goes down)
    TIME: ("slower", "faster"),
    MEMORY: ("more memory", "less memory"),
    COUNT: ("more work", "less work"),
    INSTRUCTIONS: ("more instructions", "fewer instructions"),
    RATE: ("faster", "slower"),
    EXPONENT: ("grows faster with size", "grows slower with size"),
    ANSWER: ("a changed result", "a changed result"),
}
SCALES = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}
SHOWN = 4  # findings of a group that are listed in words


def amount(value: float, unit: str) -> str:
    """`3.21 µs`."""
    if not math.isfinite(value):
        return "–"
    for scale, name in SCALES.get({"s": "seconds"}.get(unit, unit), ()):
        if abs(value) >= scale:
            return f"{value / scale:.4g} {name}"
    return f"{value:.5g} {unit}".strip()


def change(finding: Finding) -> str:
    """`+12.3 %`, from twice on `2.4 times`; for a smaller value `-12.3 %`."""
    if not math.isfinite(finding.ratio):
        return "changed"
    if finding.ratio >= 2:
        return f"{finding.ratio:.3g} times"
    percent = 100 * (finding.ratio - 1)
    return f"{percent:+.1f} %" if abs(percent) >= 0.1 else f"{percent:+.2g} %"


def direction(series: Series, finding: Finding) -> str:
    up = finding.new > finding.old
    words = WORDS.get(series.kind, ("a higher value", "a lower value"))
    return words[0] if up else words[1]


def commit_text(history: History, number: int, digits: int = 8) -> str:
    return history.commits[number].hash[:digits]


def day(history: History, number: int) -> str:
    ms = history.commits[number].date_ms
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d") if ms else ""


def title(history: History, group: Group) -> str:
    """One line: what, how much, how many, where."""
    top = group.findings[0]
    series = history.series[top.series]
    n = len({f.series for f in group.findings})
    ratios = sorted(f.ratio for f in group.findings if math.isfinite(f.ratio))
    how = direction(series, top)
    size = change(top)
    if series.kind == EXPONENT:
        size = f"{top.old:.2f} → {top.new:.2f}"
    elif n > 1 and ratios:
        middle = ratios[len(ratios) // 2]
        size = f"up to {size}" if top.ratio > 1 else f"down to {size}"
        typical = f"{100 * (middle - 1):+.3g} %" if middle < 2 else f"{middle:.3g} times"
        size += f", typically {typical}"
    count = f" ({n} series)" if n > 1 else ""
    return f"{group.what}: {how}, {size}{count}"


def place(history: History, group: Group) -> str:
    """Which commit, or which commits."""
    if group.findings[0].form == DRIFT:
        return f"from {commit_text(history, group.before)} to {commit_text(history, group.at)}"
    commit = history.commits[group.at]
    said = f"commit {commit.hash[:8]}"
    if date := day(history, group.at):
        said += f" of {date}"
    if commit.subject:
        said += f" “{commit.subject[:80]}”"
    first, last = min(f.first for f in group.findings), max(f.last for f in group.findings)
    exact = any(f.first == f.last for f in group.findings)
    if not exact and last > first:
        said += f", or another of {commit_text(history, first)}..{commit_text(history, last)}"
    elif group.before < group.at:
        said += f", after {commit_text(history, group.before)}"
    return said


def lines(history: History, group: Group, shown: int = SHOWN) -> list[str]:
    """Each series of a group with its levels, the largest changes first."""
    out = []
    for f in group.findings[:shown]:
        s = history.series[f.series]
        tail = f", undone by {commit_text(history, f.undone)}" if f.undone is not None else ""
        out.append(f"{s.label}: {amount(f.old, s.unit)} → {amount(f.new, s.unit)} ({change(f)}){tail}")
    if len(group.findings) > shown:
        out.append(f"and {len(group.findings) - shown} more")
    return out


def summary(result: Regressed) -> str:
    """What there is, in one or two sentences."""
    history, alarms = result.history, result.alarms
    better = [g for g in result.groups if not g.worse]
    if not result.groups:
        told = "Nothing changed."
    elif not alarms:
        told = f"Nothing stands that got worse; {_things(len(better))} got better."
    else:
        stands = "stands" if len(alarms) == 1 else "stand"
        told = f"{_things(len(alarms))} got worse and {stands}; {_things(len(better))} got better."
    return (
        f"{told} {result.looked_at:,} series over {len(history.commits):,} commits were looked at; "
        f"of what is told, at most {result.rules.false_rate:.0%} is expected to be chance."
    )


def _things(n: int) -> str:
    return f"{n} thing" if n == 1 else f"{n} things"


def text(result: Regressed, most: int = 20) -> str:
    """For a terminal: the alarms, then what got better, ranked."""
    out = [summary(result), ""]
    for heading, groups in sections(result):
        if not groups:
            continue
        out.append(f"{heading}")
        for i, group in enumerate(groups[:most], 1):
            out.append(f"  {i:2d}. {title(result.history, group)}")
            out.append(f"      {place(result.history, group)}")
            if group.cause:
                out.append(f"      cause: {group.cause}")
            if group.confirmed is not None or group.confirmation:
                out.append(f"      {confirmation(group)}")
            out += [f"        {line}" for line in lines(result.history, group)]
        if len(groups) > most:
            out.append(f"      and {len(groups) - most} more")
        out.append("")
    if result.history.events:
        out.append("Changes of machine or libraries (levels on both sides aren't compared)")
        out += [f"  {commit_text(result.history, e.at)} {e.machine}: {e.text}" for e in result.history.events[:most]]
        out.append("")
    return "\n".join(out)


def sections(result: Regressed) -> list[tuple[str, list[Group]]]:
    groups = result.groups
    return [
        ("Worse, and standing", [g for g in groups if g.alarm]),
        ("Perhaps worse, too new to tell from a spike: confirm", [g for g in groups if g.provisional]),
        (
            "Worse, but older than asked for, undone since, or not seen again",
            [g for g in groups if g.worse and not g.alarm and not g.provisional],
        ),
        ("Better", [g for g in groups if not g.worse]),
    ]


def confirmation(group: Group) -> str:
    if group.confirmed is None:
        return f"not confirmed: {group.confirmation}"
    return "confirmed by a fresh run" if group.confirmed else "a fresh run did not show it again"


def markdown(result: Regressed, most: int = 20) -> str:
    """For a pull request, an issue, or a step's summary."""
    out = ["## Changes over history", "", summary(result), ""]
    for heading, groups in sections(result):
        if not groups:
            continue
        out += [f"### {heading}", "", "| what | change | commit | cause | largest |", "|---|---|---|---|---|"]
        for group in groups[:most]:
            what, _, size = title(result.history, group).partition(": ")
            cells = [what, size, place(result.history, group), group.cause, lines(result.history, group, 1)[0]]
            out.append("| " + " | ".join(_cell(c) for c in cells) + " |")
        if len(groups) > most:
            out.append(f"\nand {len(groups) - most} more")
        out.append("")
    return "\n".join(out)


def _cell(said: str) -> str:
    return said.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def document(result: Regressed) -> dict[str, Any]:
    """For JSON: everything that was found, and by which rules."""
    history = result.history
    rules = result.rules
    return {
        "schema": "hdrmx-regress/1",
        "source": history.source,
        "verdict": "worse" if result.alarms else "good",
        "summary": summary(result),
        "series": result.looked_at,
        "commits": len(history.commits),
        "rules": {
            "alarm_rate": rules.alarm_rate,
            "false_rate": rules.false_rate,
            "least": rules.least,
            "baseline": rules.baseline,
            "since": rules.since,
            "threshold": result.threshold,
        },
        "groups": [
            {
                "title": title(history, g),
                "place": place(history, g),
                "what": g.what,
                "cause": g.cause,
                "commit": history.commits[g.at].hash,
                "before": history.commits[g.before].hash,
                "subject": history.commits[g.at].subject,
                "worse": g.worse,
                "alarm": g.alarm,
                "provisional": g.provisional,
                "confirmed": g.confirmed,
                "confirmation": g.confirmation,
                "findings": [_finding(history, f) for f in g.findings],
            }
            for g in result.groups
        ],
        "events": [
            {"commit": history.commits[e.at].hash, "machine": e.machine, "text": e.text} for e in history.events
        ],
    }


def _finding(history: History, f: Finding) -> dict[str, Any]:
    s = history.series[f.series]
    return {
        "benchmark": s.name,
        "params": list(s.params),
        "machine": s.machine,
        "kind": s.kind,
        "unit": s.unit,
        "form": f.form,
        "direction": direction(s, f),
        "commit": history.commits[f.at].hash,
        "first": history.commits[f.first].hash,
        "last": history.commits[f.last].hash,
        "before": history.commits[f.before].hash,
        "old": f.old,
        "new": f.new,
        "ratio": f.ratio,
        "p": f.p,
        "points": f.points,
        "undone": None if f.undone is None else history.commits[f.undone].hash,
    }
