"""The table of a run for a terminal, from its record alone, at most 100 columns wide."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hdrmx.record import (
    COMPILE,
    SETUP,
    DataSet,
    Machine,
    Record,
    Span,
    compilation_cpu_ns,
    compilation_ns,
    joined,
    net_cpu_ns,
    net_ns,
    pipeline_ns,
    stages,
)
from hdrmx.report.words import INVALIDATING, doubt_text, findings

WIDTH = 100
MISSING = "-"
DEPTH = 2  # levels of spans below the run that are shown
SHORT_NS = 1_000_000  # below this processor time is too coarse for `busy`
HOT, WARM = 0.5, 0.2  # shares from which a stage is red, yellow


def render(record: Record, *, width: int = WIDTH, colour: bool = False, folder: str = "") -> str:
    """Findings, the table by stage, work done, results, doubts, and where the files are.

    Parameters
    ----------
    folder : where the record lies, to be put before the names of its files
    """
    console = Console(
        file=io.StringIO(),
        width=min(width, WIDTH),
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for line in _header(record):
        console.print(Text(line, "dim"), soft_wrap=False)
    for i, finding in enumerate(findings(record)):
        console.print(Text(finding.text, "bold" if i == 0 else ""))
    console.print()
    console.print(_stage_table(record, console.width))
    if work := _work_table(record):
        console.print()
        console.print(work)
    if counted := _count_table(record):
        console.print()
        console.print(counted)
    for text in (*_results(record), *_doubts(record), *_files(record, folder)):
        console.print(text)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@dataclass(frozen=True)
class _Row:
    name: str
    depth: int
    wall_ns: int
    cpu_ns: int | None
    share: float | None
    peak_bytes: int | None
    span: Span | None
    style: str = ""


def _rows(record: Record) -> Iterator[_Row]:
    """In the order of the run: set-up, then the pipeline, then sums."""
    run, whole, compiling = record.run, pipeline_ns(record.run), compilation_ns(record.run)
    setup = [(span, times) for span, times in joined(run.children, run.thread) if span.kind == SETUP]
    for span, times in setup:
        if span.name != COMPILE:
            yield _Row(_named(span, times, run), 0, net_ns(span), net_cpu_ns(span), None, span.peak_bytes, None, "dim")
    peak = next((span.peak_bytes for span, _ in setup if span.name == COMPILE), None)
    if compiling or peak is not None:
        yield _Row(COMPILE, 0, compiling, compilation_cpu_ns(run), None, peak, None, "dim")
    ours = stages(run)
    for stage in ours:
        yield from _stage_rows(stage, 0, run, whole)
    cpu = [net_cpu_ns(s) for s in ours]
    peaks = [s.peak_bytes for s in ours if s.peak_bytes is not None]
    sums = Span(name="pipeline", counts=_pipeline_counts(ours), peak_bytes=max(peaks, default=None))
    all_cpu = sum(n for n in cpu if n is not None) if None not in cpu else None
    yield _Row(sums.name, 0, whole, all_cpu, 1.0 if whole else None, sums.peak_bytes, sums, "bold")
    yield _Row("whole run", 0, run.cost.wall_ns, run.cost.cpu_ns, None, run.peak_bytes, None, "dim")


def _stage_rows(span: Span, depth: int, parent: Span, whole: int, times: int = 1) -> Iterator[_Row]:
    share = net_ns(span) / whole if whole else None
    style = ("red" if share >= HOT else "yellow" if share >= WARM else "") if share is not None else ""
    yield _Row(_named(span, times, parent), depth, net_ns(span), net_cpu_ns(span), share, span.peak_bytes, span, style)
    if depth + 1 < DEPTH:
        for child, n in joined(span.children, span.thread):
            yield from _stage_rows(child, depth + 1, span, whole, n)


def _named(span: Span, times: int, parent: Span) -> str:
    name = span.name + (f" x{times}" if times > 1 else "")
    name += "" if span.thread == parent.thread else " (threads)"
    return name + (" !" if span.error or not span.finished else "")


def _pipeline_counts(spans: list[Span]) -> dict[str, int]:
    """Frames and pixels of the data set: the most that any stage saw of each."""
    counts = {}
    for name in ("frames", "pixels", "bytes_in"):
        seen = [n for n in (s.count(name) for s in spans) if n is not None]
        if seen:
            counts[name] = max(seen)
    return counts


def _stage_table(record: Record, width: int) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False, header_style="underline")
    table.add_column("stage", no_wrap=True, min_width=14, max_width=26)
    columns = ["wall s", "CPU s", "busy", "share", "peak MB", "frames/s", "Gpixel/s", "MB/s", "bits/px"]
    if width < 88:
        columns = columns[:-2]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in _rows(record):
        cells = _cells(row)[: len(columns)]
        table.add_row(Text("  " * row.depth + row.name, row.style), *(Text(c, row.style) for c in cells))
    return table


def _cells(row: _Row) -> list[str]:
    wall, cpu = row.wall_ns / 1e9, row.cpu_ns
    frames = pixels = stored = None
    if row.span is not None:
        frames, pixels, stored = (row.span.count(name) for name in ("frames", "pixels", "bytes_in"))
    return [
        _seconds(row.wall_ns),
        _seconds(cpu),
        f"{cpu / row.wall_ns:.2f}" if cpu is not None and row.wall_ns >= SHORT_NS else MISSING,
        f"{row.share:.1%}" if row.share is not None else MISSING,
        f"{row.peak_bytes / 1e6:.0f}" if row.peak_bytes is not None else MISSING,
        _rate(frames, wall),
        _rate(pixels, wall * 1e9),
        _rate(stored, wall * 1e6),
        f"{8 * stored / pixels:.3f}" if stored is not None and pixels else MISSING,
    ]


def _seconds(ns: int | None) -> str:
    if ns is None:
        return MISSING
    return f"{ns / 1e9:.3f}" if ns < 1e11 else f"{ns / 1e9:.1f}"


def _rate(amount: int | None, per: float) -> str:
    if amount is None or per <= 0:
        return MISSING
    value = amount / per
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 1e-3 else f"{value:.1e}"


def _work_table(record: Record) -> Table | None:
    """Counters of each stage: how much was asked for, per frame, and what one of it cost."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False, header_style="underline")
    for name in ("work", "counter"):
        table.add_column(name, no_wrap=True, min_width=14)
    for name in ("total", "per frame", "time each"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages(record.run):
        frames = stage.count("frames") or 0
        counters = [(name, n) for name in counter_names(stage) if (n := stage.count(name))]
        for i, (name, n) in enumerate(counters):
            each = each_ns(net_ns(stage) / n) if n >= frames else MISSING
            table.add_row("" if i else stage.name, name, f"{n:,}", per_frame(name, n, frames), each)
    return table if table.row_count else None


def _count_table(record: Record) -> Table | None:
    """Exact costs by stage, where they were counted."""
    counted = record.counted
    if counted is None or not (counted.calls or counted.instructions):
        return None
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_edge=False, header_style="underline")
    table.add_column("exact costs", no_wrap=True, min_width=14)
    for name in ("Python calls", "instructions", "in kernels", "peak held MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in dict.fromkeys([*counted.calls, *counted.instructions]):
        total, peak = counted.instructions.get(name), counted.allocated_peak_bytes.get(name)
        kernels = counted.objects.get(name, {}).get("compiled kernels")
        table.add_row(
            name,
            f"{counted.calls[name]:,}" if name in counted.calls else MISSING,
            MISSING if total is None else f"{total:,}",
            f"{kernels / total:.1%}" if kernels is not None and total else MISSING,
            MISSING if peak is None else f"{peak / 1e6:.1f}",
        )
    return table


def per_frame(name: str, n: int, frames: int) -> str:
    if not frames or name == "frames":
        return MISSING
    return f"{n / frames:,.0f}" if n / frames >= 1000 else f"{n / frames:.4g}"


def each_ns(ns: float) -> str:
    for limit, unit in ((1e3, "ns"), (1e6, "us"), (1e9, "ms")):
        if ns < limit:
            return f"{ns / limit * 1e3:.3g} {unit}"
    return f"{ns / 1e9:.3g} s"


def counter_names(stage: Span) -> list[str]:
    names: dict[str, None] = dict.fromkeys(stage.counts)
    for span in stage.walk():
        names.update(dict.fromkeys(span.counts))
    return list(names)


def _header(record: Record) -> Iterator[str]:
    if record.data is not None:
        yield f"{record.data.name}{described(record.data)}"
    yield f"{described_machine(record.machine)}; hdrmx {record.software.hdrmx}" + (
        f" at {record.software.commit[:10]}" if record.software.commit else ""
    )


def described(data: DataSet) -> str:
    if data.n_frames is None or data.shape is None:
        return ""
    kind = f", {data.dtype}" if data.dtype else ""
    return f": {data.n_frames} frames of {data.shape[0]} x {data.shape[1]} px{kind}"


def described_machine(machine: Machine) -> str:
    parts = [machine.cpu or "unknown processor"]
    if machine.cores_usable:
        parts.append(f"{machine.cores_usable} cores")
    if machine.virtual:
        parts.append("virtual")
    return ", ".join(parts)


def _results(record: Record) -> Iterator[Text]:
    lines = []
    for span in record.run.walk():
        if span.answers:
            said = ", ".join(f"{name} {value_text(value)}" for name, value in span.answers.items())
            lines.append(f"{'run' if span is record.run else span.name}: {said}")
    if lines:
        yield Text("\nresults", "underline")
        yield from (Text(line) for line in lines)


def value_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return " ".join(value_text(v) for v in value)
    return str(value)


def _doubts(record: Record) -> Iterator[Text]:
    others = [doubt for doubt in record.doubts if doubt.kind not in INVALIDATING]  # those are among the findings
    if others:
        yield Text("\nbear in mind", "underline")
        yield from (Text(f"{doubt_text(doubt)}") for doubt in others)


def _files(record: Record, folder: str) -> Iterator[Text]:
    if folder:
        yield Text("\nfiles", "underline")
        names = ["record.json", *record.files.values()]
        names = list(dict.fromkeys(name.partition("/")[0] + "/" if "/" in name else name for name in names))
        yield Text(f"{folder}: {', '.join(names)}")
