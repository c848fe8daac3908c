"""Runs of several pipelines on the same data, stage by stage: for the terminal, as HTML, and as plain values.

    text = render(records)                 # a table for a terminal, at most 100 columns wide
    section = side_by_side_section(records)  # a `page.Section`, for any page that has other sections
    path = write_page(folder, records, folders)  # a page of its own, with links to theirs
    values = as_dict(records)  # for scripts

The first record is the one that the others are compared with; a ratio is its figure over theirs, so that below 1 the
first is the faster. Stages of other programs are put beside ours by what they do (`LIKE`). Ratios stand only where both
were measured on the same machine, on the same data; otherwise a sentence says why not.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hdrmx.io.whole import write_whole
from hdrmx.record import Record, Span, net_cpu_ns, net_ns, stages
from hdrmx.report.page import MISSING, Section, Verdict, page, table
from hdrmx.report.profile_page import PAGE_NAME

FILE_NAME = "side_by_side.html"
WIDTH = 100
ORDER = (
    "prepare",
    "find_spots",
    "index",
    "refine",
    "predict",
    "integrate",
    "symmetry",
    "scale",
    "export",
    "merge",
    "write",
)
# stage of a pipeline: what it does in the words of ours; those not named stand for themselves
LIKE = {
    "hdrmx": {"open": "prepare"},
    "dials": {"import": "prepare", "slice": "prepare"},
    "xds": {
        "xycorr": "prepare",
        "init": "prepare",
        "defpix": "prepare",
        "colspot": "find_spots",
        "idxref": "index",
        "correct": "scale",
    },
}
LIKE["fast_dp"] = LIKE["xds"]
# answer: (title, digits); the first stage from the end that has it speaks for the run
ANSWERS = {
    "spots": ("spots", 0),
    "indexed": ("indexed", 3),
    "cells": ("cell", 3),
    "space_group": ("space group", 0),
    "integrated": ("integrated", 0),
    "n_observations": ("observations", 0),
    "n_unique": ("unique", 0),
    "d_min": ("d_min, A", 2),
    "completeness": ("completeness", 3),
    "multiplicity": ("multiplicity", 2),
    "r_merge": ("Rmerge", 3),
    "r_meas": ("Rmeas", 3),
    "r_pim": ("Rpim", 3),
    "cc_half": ("CC1/2", 3),
    "i_over_sigma": ("I/sigma", 1),
}


@dataclass(frozen=True)
class Figures:
    """What one stage took; None where that wasn't measured."""

    wall_ns: int | None = None
    cpu_ns: int | None = None
    peak_bytes: int | None = None
    failed: bool = False


@dataclass(frozen=True)
class Column:
    """One run."""

    name: str
    stages: dict[str, Figures]
    whole: Figures
    answers: dict[str, Any]
    is_comparable: bool = True  # with the first: same machine, same data


@dataclass(frozen=True)
class SideBySide:
    """All runs; the first is compared with the others."""

    columns: tuple[Column, ...]
    rows: tuple[str, ...]  # stages, in order
    doubts: tuple[str, ...]  # why ratios mean less, in words


def side_by_side(records: Sequence[Record]) -> SideBySide:
    """The stages of all runs brought together. Raises ValueError without a record."""
    if not records:
        raise ValueError("there is nothing to compare")
    names = _names(records)
    columns = tuple(_column(record, name, records[0]) for record, name in zip(records, names))
    seen = dict.fromkeys(stage for column in columns for stage in column.stages)
    rows = [stage for stage in ORDER if stage in seen] + [stage for stage in seen if stage not in ORDER]
    return SideBySide(columns, tuple(rows), tuple(_doubts(records, names)))


def ratio(ours: int | None, theirs: int | None) -> float | None:
    """None where either is missing or nothing."""
    return ours / theirs if ours and theirs else None


def _names(records: Sequence[Record]) -> list[str]:
    """The pipelines' names, numbered where one comes twice."""
    names: list[str] = []
    for record in records:
        same = sum(other.pipeline == record.pipeline for other in records)
        before = sum(name.partition(" ")[0] == record.pipeline for name in names)
        names.append(f"{record.pipeline} {before + 1}" if same > 1 else record.pipeline)
    return names


def _column(record: Record, name: str, first: Record) -> Column:
    like = LIKE.get(record.pipeline, {})
    grouped: dict[str, list[Span]] = {}
    for span in _stages_of(record):
        grouped.setdefault(like.get(span.name, span.name), []).append(span)
    found = {stage: _figures(spans) for stage, spans in grouped.items()}
    peaks = [f.peak_bytes for f in found.values() if f.peak_bytes is not None]
    cpu = [f.cpu_ns for f in found.values()]
    whole = Figures(
        wall_ns=sum(f.wall_ns or 0 for f in found.values()),
        cpu_ns=sum(n for n in cpu if n is not None) if None not in cpu else None,
        peak_bytes=max(peaks, default=None),
        failed=record.status != "complete",
    )
    return Column(name, found, whole, _answers(record), _is_comparable(record, first))


def _is_comparable(record: Record, first: Record) -> bool:
    machines = {record.machine.fingerprint, first.machine.fingerprint}
    data = {"" if r.data is None else r.data.identity for r in (record, first)}
    return len(machines) == len(data) == 1 and "" not in machines | data


def _stages_of(record: Record) -> list[Span]:
    """Of a program that runs others as its only stage, those within, and what is left of itself."""
    found = stages(record.run)
    if len(found) == 1 and found[0].children and found[0].name == record.pipeline:
        inner, rest = list(found[0].children), found[0].exclusive_ns
        cost = type(found[0].cost)(wall_ns=rest)
        return [*inner, Span(name="rest", cost=cost)]
    return found


def _figures(spans: list[Span]) -> Figures:
    cpu = [net_cpu_ns(span) for span in spans]
    peaks = [span.peak_bytes for span in spans if span.peak_bytes is not None]
    return Figures(
        wall_ns=sum(net_ns(span) for span in spans),
        cpu_ns=sum(n for n in cpu if n is not None) if None not in cpu else None,
        peak_bytes=max(peaks, default=None),
        failed=any(span.error or not span.finished for span in spans),
    )


def _answers(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for span in record.run.walk():
        for name in ANSWERS:
            if span.answers.get(name) is not None:
                found[name] = span.answers[name]
    for name in ANSWERS:  # what the run says of itself goes before
        if record.run.answers.get(name) is not None:
            found[name] = record.run.answers[name]
    return found


def _doubts(records: Sequence[Record], names: list[str]) -> Iterator[str]:
    first = records[0]
    for record, name in zip(records[1:], names[1:]):
        mine = first.data.identity if first.data else ""
        other = record.data.identity if record.data else ""
        if not mine or not other:
            yield f"Whether {names[0]} and {name} read the same data isn't known: no ratios."
        elif mine != other:
            yield f"{names[0]} and {name} read different data: no ratios."
        if not record.machine.fingerprint or not first.machine.fingerprint:
            yield f"On which machine {name if first.machine.fingerprint else names[0]} ran isn't known: no ratios."
        elif record.machine.fingerprint != first.machine.fingerprint:
            yield f"{names[0]} and {name} ran on different machines, or under different limits: no ratios."
        if first.threads and record.threads and first.threads != record.threads:
            yield f"{names[0]} had {first.threads} threads, {name} had {record.threads}: compare processor time."
    for record, name in zip(records, names):
        if record.status != "complete":
            yield f"{name}: the run {'was interrupted' if record.status == 'interrupted' else 'failed'}."
        if any(doubt.kind in ("under_pressure", "stolen_time", "throttled") for doubt in record.doubts):
            yield f"{name}: the machine was busy; its wall times say little, processor times more."


def render(records: Sequence[Record], folders: Sequence[str] = (), *, width: int = WIDTH) -> str:
    """Wall and processor time by stage, ratios, answers, doubts; `folders`: where the records lie."""
    found = side_by_side(records)
    console = Console(file=io.StringIO(), width=min(width, WIDTH), no_color=True, highlight=False, emoji=False)
    for part in _terminal_parts(found):
        console.print(part)
    if folders:
        console.print(Text("\nfiles"))
        for column, folder in zip(found.columns, folders):
            console.print(Text(f"{column.name}: {folder}"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _terminal_parts(found: SideBySide) -> Iterator[Table | Text]:
    for i, (head, rows) in enumerate(_tables(found)):
        if i:
            yield Text("")
        drawn = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False, header_style="underline")
        for n, name in enumerate(head):
            drawn.add_column(name, justify="right" if n else "left", no_wrap=n == 0, overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        yield drawn
    for doubt in found.doubts:
        yield Text(doubt)


def _tables(found: SideBySide, missing: str = "-") -> list[tuple[list[str], list[list[str]]]]:
    """(head, rows) of the tables: times, memory, answers. Wide ones are split by what they show, never cut off."""
    names, first = [c.name for c in found.columns], found.columns[0]
    others = [c for c in found.columns[1:] if c.is_comparable]
    ratios = [f"{first.name} / {other.name}" if len(others) < 3 else f"/ {other.name}" for other in others]
    tables = []
    for title, field, unit in (("wall s", "wall_ns", 1e9), ("CPU s", "cpu_ns", 1e9), ("peak MB", "peak_bytes", 1e6)):
        head = [title, *names, *ratios]
        rows = []
        for stage in [*found.rows, "all stages"]:
            figures = [c.whole if stage == "all stages" else c.stages.get(stage, Figures()) for c in found.columns]
            values = [getattr(f, field) for f in figures]
            theirs = [v for c, v in zip(found.columns[1:], values[1:]) if c.is_comparable]
            marks = [" !" if f.failed else "" for f in figures]
            cells = [_amount(v, unit, missing) + mark for v, mark in zip(values, marks)]
            against = [ratio(values[0], other) for other in theirs]
            rows.append([stage, *cells, *(missing if r is None else f"{r:.3g}" for r in against)])
        if any(cell != missing for row in rows for cell in row[1:]):
            tables.append((head, rows))
    answers = [
        [title, *(_answer(c.answers.get(name), digits, missing) for c in found.columns)]
        for name, (title, digits) in ANSWERS.items()
        if any(c.answers.get(name) is not None for c in found.columns)
    ]
    if answers:
        tables.append((["result", *names], answers))
    return tables


def _amount(value: int | None, unit: float, missing: str) -> str:
    if value is None:
        return missing
    scaled = value / unit
    return f"{scaled:,.0f}" if scaled >= 1000 or unit == 1e6 else f"{scaled:.3f}" if scaled < 100 else f"{scaled:.1f}"


def _answer(value: Any, digits: int, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, (list, tuple)):
        value = value[0] if value and isinstance(value[0], (list, tuple)) else value
        return " ".join(f"{x:.{2 if x < 100 else 1}f}" for x in value)
    if isinstance(value, (int, float)):
        return f"{value:,.{digits}f}"
    return str(value)


def side_by_side_section(records: Sequence[Record], *, with_doubts: bool = True) -> Section:
    """The same as HTML, for a page that has other sections; `with_doubts`: unless the page says them elsewhere."""
    found = side_by_side(records)
    titles = {"wall s": "Wall time, s", "CPU s": "Processor time, s", "peak MB": "Peak memory, MB", "result": "Results"}
    drawn = [
        table(["stage" if head[0] != "result" else "", *head[1:]], rows, caption=titles[head[0]])
        for head, rows in _tables(found, MISSING)
    ]
    times = "".join(f"<div>{one}</div>" for one in drawn[:2])  # beside each other where there is room
    body = f'<div class="pair">{times}</div>' + "".join(drawn[2:])
    doubts = "".join(f"<li>{escape(doubt)}</li>" for doubt in found.doubts) if with_doubts else ""
    note = (
        f"<p class=note>A ratio is {escape(found.columns[0].name)} over the other: below 1 it took less. "
        "! marks a stage that failed.</p>"
    )
    return Section("side-by-side", "Side by side", (f"<ul>{doubts}</ul>" if doubts else "") + body + note)


def write_page(folder: Path, records: Sequence[Record], folders: Sequence[Path]) -> Path:
    """`side_by_side.html` in `folder`: a verdict, the section, links to the pages in `folders`. Raises InputError."""
    found = side_by_side(records)
    links = "".join(
        f'<li><a href="{escape(relative)}">{escape(column.name)}</a></li>'
        for column, one in zip(found.columns, folders)
        if (one / PAGE_NAME).is_file() and (relative := os.path.relpath(one / PAGE_NAME, folder))
    )
    pages = Section("pages", "Each on its own", f"<ul>{links}</ul>" if links else "<p class=note>No pages.</p>")
    names = " and ".join(column.name for column in found.columns)
    data = next((Path(r.data.name).name for r in records if r.data and r.data.name), "")
    state = "look" if found.doubts else "good"
    verdict = Verdict(state, [*_said(found), *found.doubts[:1]], found.doubts[1:])
    text = page(f"{names}, side by side", data, verdict, [side_by_side_section(records, with_doubts=False), pages])
    return write_whole(folder / FILE_NAME, text.encode())


def _said(found: SideBySide) -> Iterator[str]:
    """By processor time, which neighbours disturb least; by wall time where that wasn't measured."""
    first = found.columns[0]
    for other in found.columns[1:]:
        for field, what in (("cpu_ns", "processor time"), ("wall_ns", "wall time")):
            mine, theirs = getattr(first.whole, field), getattr(other.whole, field)
            share = ratio(mine, theirs)
            if share is None:
                continue
            said = f"{first.name} took {mine / 1e9:.3g} s of {what}, {other.name} {theirs / 1e9:.3g} s"
            yield said + (f" (ratio {share:.3g})." if other.is_comparable else ".")
            break


def as_dict(records: Sequence[Record]) -> dict[str, Any]:
    """Plain values: seconds and bytes by stage and run, answers, doubts."""
    found = side_by_side(records)
    return {
        "pipelines": [c.name for c in found.columns],
        "data": [Path(r.data.name).name if r.data else None for r in records],
        "stages": {stage: {c.name: _plain(c.stages.get(stage)) for c in found.columns} for stage in found.rows},
        "all_stages": {c.name: _plain(c.whole) for c in found.columns},
        "answers": {c.name: c.answers for c in found.columns},
        "doubts": list(found.doubts),
    }


def _plain(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {
        "wall_s": None if figures.wall_ns is None else figures.wall_ns / 1e9,
        "cpu_s": None if figures.cpu_ns is None else figures.cpu_ns / 1e9,
        "peak_bytes": figures.peak_bytes,
        "failed": figures.failed,
    }
