"""Tables of a profile's page: what each stage took, and its counters by unit."""

from __future__ import annotations

from collections.abc import Iterator

from hdrmx.record import (
    COMPILE,
    PART,
    SETUP,
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
from hdrmx.report.page import MISSING, Section, table
from hdrmx.report.terminal import counter_names, each_ns, per_frame

UNITS = ("frames", "spots", "reflections", "observations")  # what counters are given by, the first that a stage has
HEAD = ("stage", "wall s", "share", "CPU s", "system s", "busy", "peak MB", "kept MB", "faults", "read MB",
        "disk MB", "written MB", "switches")  # fmt: skip


def stage_section(record: Record) -> Section:
    """Time, memory and bytes of each stage and its inner steps, in the order of the run."""
    rows, marked = [], []
    whole = pipeline_ns(record.run)
    for span, _ in joined(record.run.children, record.run.thread):
        if span.kind == SETUP and span.name != COMPILE:
            rows.append(_row(span.name, span, net_ns(span), None))
    if compilation_ns(record.run) or any(span.name == COMPILE for span in record.run.children):
        rows.append(
            (COMPILE, _s(compilation_ns(record.run)), MISSING, _s(compilation_cpu_ns(record.run)), *[MISSING] * 9)
        )
    for stage, times in joined(record.run.children, record.run.thread):
        if stage.kind != SETUP:
            rows += _with_children(stage, 0, times, whole)
    marked.append(len(rows))
    rows.append(("pipeline", _s(whole), "100.0 %" if whole else MISSING, *[MISSING] * 10))
    rows.append(_row("whole run", record.run, record.run.cost.wall_ns, None))
    body = table(HEAD, rows, marked=marked)
    body += (
        "<p class=note>Wall and processor time without the compilation of kernels, which has its own line. System: of "
        "it in the kernel. Busy: processors kept busy. Kept: resident memory at the end less that at the beginning. "
        "Read and written count what was asked of the system, cached or not; disk what reached the block layer. "
        "Faults: of pages. Switches: voluntary + involuntary. Indented lines are parts of the stage above; (threads): "
        "summed over worker threads, beside it.</p>"
    )
    return Section("stages", "Where the time goes", body)


def _with_children(
    span: Span, depth: int, times: int, whole: int, thread: int | None = None
) -> Iterator[tuple[str, ...]]:
    times = span.counts.get("times", times) if span.kind == PART else times
    name = "\u2003" * depth + span.name + (f" ×{times:,}" if times > 1 else "")
    name += (" (threads)" if thread is not None and span.thread != thread else "") + (" !" if span.error else "")
    yield _row(name, span, net_ns(span), whole)
    if depth < 2:
        for child, n in joined(span.children, span.thread):
            yield from _with_children(child, depth + 1, n, whole, span.thread)


def _row(name: str, span: Span, wall_ns: int, whole: int | None) -> tuple[str, ...]:
    cost = span.cost
    kept = None
    if span.rss_end_bytes is not None and span.rss_start_bytes is not None:
        kept = span.rss_end_bytes - span.rss_start_bytes
    cpu = net_cpu_ns(span)
    switches = MISSING
    if cost.switches_voluntary is not None and cost.switches_involuntary is not None:
        switches = f"{cost.switches_voluntary:,} + {cost.switches_involuntary:,}"
    faults = MISSING if cost.minor_faults is None else f"{cost.minor_faults + (cost.major_faults or 0):,}"
    return (
        name,
        _s(wall_ns),
        f"{wall_ns / whole:.1%}".replace("%", " %") if whole else MISSING,
        _s(cpu),
        _s(cost.system_ns),
        f"{cpu / wall_ns:.2f}" if cpu is not None and wall_ns >= 1_000_000 else MISSING,
        _mb(span.peak_bytes, 0),
        _mb(kept, 1),
        faults,
        _mb(cost.read_bytes, 1),
        _mb(cost.disk_read_bytes, 1),
        _mb(cost.write_bytes, 1),
        switches,
    )


def counter_section(record: Record) -> Section | None:
    """Exact amounts of work, by unit, with what one of each took."""
    rows = []
    for stage in stages(record.run):
        unit = next((name for name in UNITS if stage.count(name)), "")
        base = stage.count(unit) or 0 if unit else 0
        for i, name in enumerate(n for n in counter_names(stage) if stage.count(n) and n != "times"):
            n = stage.count(name) or 0
            by = MISSING if not base or name == unit else per_frame(name, n, base)
            rows.append(
                (
                    "" if i else stage.name,
                    name.replace("_", " "),
                    f"{n:,}",
                    f"{by} per {_singular(unit)}" if by != MISSING else MISSING,
                    each_ns(net_ns(stage) / n).replace("us", "µs"),
                )
            )
    if not rows:
        return None
    body = table(("stage", "counter", "total", "per unit", "stage's time for each"), rows, text=(0, 1))
    body += "<p class=note>Counters are exact: the same data and settings give the same numbers on any machine.</p>"
    return Section("counters", "Work done, by unit", body)


def _singular(unit: str) -> str:
    return unit.removesuffix("s")


def _s(ns: int | None) -> str:
    return MISSING if ns is None else f"{ns / 1e9:.3f}"


def _mb(size: int | None, digits: int) -> str:
    return MISSING if size is None else f"{size / 1e6:,.{digits}f}"
