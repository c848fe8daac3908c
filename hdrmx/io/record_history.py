"""Reads a folder of records (`record.json` of many runs, at any depth) as a history, one series for each figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from hdrmx.analysis.history import (
    ANSWER,
    COUNT,
    INSTRUCTIONS,
    MEMORY,
    RATE,
    TIME,
    Commit,
    Event,
    History,
    Series,
    gathered,
    ordered,
)
from hdrmx.errors import InputError
from hdrmx.io.asv_results import repository_commits
from hdrmx.io.records import FILE_NAME, read_record
from hdrmx.record import Record, Span, net_ns, pipeline_ns, stages

Figure = tuple[str, tuple[str, ...], str, str, float]  # name, params, unit, kind, value
LINKED = {"report": "page", "speedscope": "flame graph", "pyinstrument": "profile", "folded": "stacks"}


def record_files(folder: str | Path) -> list[Path]:
    """All records at or below a folder."""
    return sorted(Path(folder).rglob(FILE_NAME))


def read_record_history(folder: str | Path, repo: str | Path | None = None) -> History:
    """The history in a folder of records. Runs that failed, were disturbed, or have no commit are left out.

    Raises
    ------
    InputError : there are none, or none that says which commit it measured
    """
    folder = Path(folder)
    records = [(path, read_record(path)) for path in record_files(folder)]
    usable = [(path, r) for path, r in records if r.software.commit and r.status == "complete"]
    if not usable:
        what = f"has {len(records)} records, none of a complete run with its commit" if records else "has no records"
        raise InputError(folder, what, "measure a checkout of git, once for each commit")
    dates: dict[str, int] = {}
    for _, r in usable:
        commit = str(r.software.commit)
        dates[commit] = min(dates.get(commit, 1 << 62), _milliseconds(r.created))
    known = repository_commits(repo) if repo is not None else ()
    commits = ordered([Commit(name, date) for name, date in sorted(dates.items())], known)
    number = {commit.hash: i for i, commit in enumerate(commits)}
    usable.sort(key=lambda pair: (number[str(pair[1].software.commit)], pair[1].created))
    points: dict[tuple[str, tuple[str, ...], str, str, str], list[tuple[int, float, float, float, int]]] = {}
    events: list[Event] = []
    last: dict[str, Record] = {}
    eras: dict[str, int] = {}
    links: dict[str, dict[str, str]] = {}
    for path, r in usable:
        machine = r.machine.hostname or r.machine.fingerprint or "machine"
        at = number[str(r.software.commit)]
        if machine in last and (text := difference(last[machine], r)):
            events.append(Event(at, machine, text))
            eras[machine] = eras.get(machine, 0) + 1
        last[machine] = r
        for name, params, unit, kind, value in figures(r):
            key = (name, params, unit, kind, _series_machine(machine, r))
            points.setdefault(key, []).append((at, value, math.nan, math.nan, eras.get(machine, 0)))
        links[str(r.software.commit)] = _links(path.parent, folder, r)
    found = tuple(Series(*key, *gathered(rows)) for key, rows in points.items())
    return History(str(folder), commits, found, tuple(events), links=links)


def _series_machine(machine: str, record: Record) -> str:
    data = Path(record.data.name).name if record.data else record.pipeline
    return f"{machine}, {data}"


def difference(old: Record, new: Record) -> str:
    """Why two records can't be compared, in words; nothing where they can."""
    changed = []
    if old.machine.fingerprint != new.machine.fingerprint:
        fields = ("cpu", "kernel", "cores_usable", "governor", "turbo", "smt", "cpu_target", "memory_bytes")
        named = [f for f in fields if getattr(old.machine, f) != getattr(new.machine, f)]
        changed += [f"{f}: {getattr(old.machine, f)} → {getattr(new.machine, f)}" for f in named] or ["the machine"]
    if old.software.fingerprint != new.software.fingerprint:
        a, b = old.software.packages, new.software.packages
        named = [f"{k}: {a.get(k, 'none')} → {b.get(k, 'none')}" for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
        changed += named or ["software or its settings"]
    return "; ".join(changed[:4])


def figures(record: Record) -> Iterator[Figure]:
    """All figures of a run worth following over time."""
    run = record.run
    whole = pipeline_ns(run)
    if whole:
        yield "pipeline.time", (), "seconds", TIME, whole / 1e9
        frames = max((s.count("frames") or 0 for s in stages(run)), default=0)
        if frames:
            cores = (f"{record.threads} cores",) if record.threads else ()
            yield "pipeline.rate", cores, "frames/s", RATE, frames / (whole / 1e9)
            if record.data is not None and record.data.shape is not None:
                pixels = record.data.shape[0] * record.data.shape[1]
                yield "pipeline.pixel_rate", cores, "pixels/s", RATE, frames * pixels / (whole / 1e9)
    if run.peak_bytes:
        yield "pipeline.peak_memory", (), "bytes", MEMORY, float(run.peak_bytes)
    for span in stages(run):
        yield from _of_stage(span)
    counted = record.counted
    if counted is not None:
        for stage, n in counted.instructions.items():
            yield f"{stage}.instructions", (), "instructions", INSTRUCTIONS, float(n)
        for stage, n in counted.calls.items():
            yield f"{stage}.calls", (), "calls", COUNT, float(n)
        for stage, n in counted.allocated_bytes.items():
            yield f"{stage}.allocated", (), "bytes", MEMORY, float(n)
        for stage, functions in counted.functions.items():
            for function, n in functions.items():
                yield f"{stage}.calls_of", (function,), "calls", COUNT, float(n)


def _of_stage(span: Span) -> Iterator[Figure]:
    yield f"{span.name}.time", (), "seconds", TIME, net_ns(span) / 1e9
    if span.peak_bytes:
        yield f"{span.name}.peak_memory", (), "bytes", MEMORY, float(span.peak_bytes)
    for name, n in span.counts.items():
        yield f"{span.name}.count", (name,), "", COUNT, float(n)
    for name, value in span.answers.items():
        if (number := _number(value)) is not None:
            yield f"{span.name}.answer", (name,), "", ANSWER, number


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _milliseconds(created: str) -> int:
    try:
        return int(datetime.fromisoformat(created).timestamp() * 1000)
    except ValueError:
        return 0


def _links(here: Path, base: Path, record: Record) -> dict[str, str]:
    found = {"record": str((here / FILE_NAME).relative_to(base))}
    for kind, name in record.files.items():
        if kind in LINKED:
            found[LINKED[kind]] = str((here / name).relative_to(base))
    return found
