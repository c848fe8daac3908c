"""Sections of a profile's page: distance from the machine's limits, the roofline, and what would be gained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from hdrmx.analysis.roof import ARITHMETIC, DECODING, DISK, FAULTS, MEMORY, Roof, answer_clock, answer_memory, roofs
from hdrmx.analysis.what_if import savings
from hdrmx.record import Limits, Record, stages
from hdrmx.report.figures import BOTTOM, LEFT, RIGHT, TOP
from hdrmx.report.machine_words import limit_rows
from hdrmx.report.page import MISSING, Section, figure, table
from hdrmx.report.words import doubt_text

COLUMNS = (MEMORY, ARITHMETIC, DECODING, FAULTS, DISK)
WIDTH, HEIGHT = 760, 380
COLOURS = 5


def roof_section(record: Record) -> Section:
    """Each stage against the limits: the sentence, the shares, the picture."""
    seen = roofs(record)
    said = "".join(f"<li>{escape(roof.sentence)}</li>" for roof in seen if roof.sentence)
    asked = [answer for roof in seen for answer in (answer_memory(roof), _clock(roof, seen)) if answer]
    body = f'<ul class="sentences">{said}</ul>' if said else "<p class=note>No stage took long enough to be judged.</p>"
    if asked:
        body += "<h3>Asked and answered</h3>" + "".join(f"<p>{escape(answer)}</p>" for answer in asked)
    body += "<h3>Shares of the time</h3>" + _share_table(seen) + _pressure_table(record)
    body += (
        "<p class=note>Memory and I/O: time that the work would take at the measured limit, of the stage's own wall "
        "time; arithmetic, decoding and faults of its processor time. Bytes and operations are those that the work "
        "needs at the least, from exact counters. Kernels to unclear: where samples found the threads. Unclear: a call "
        "of which the stack doesn't tell whether it is Python's or a library's.</p>"
    )
    if record.limits is None:
        body += "<p>The limits of the machine are not known: run <code>hdrmx machine</code> there once.</p>"
    else:
        body += roofline(seen, record.limits)
        rows = limit_rows(record.limits)
        doubts = "".join(f"<li>{escape(doubt_text(d))}</li>" for d in record.limits.doubts)
        body += (
            f"<details><summary>The limits of this machine</summary>{table(('limit', 'best', ''), rows, text=(0, 2))}"
            f"<p class=note>Measured {escape(record.limits.measured)} by hdrmx machine.</p><ul>{doubts}</ul></details>"
        )
    return Section("roof", "Distance from the machine's limits", body)


def _clock(roof: Roof, seen: Sequence[Roof]) -> str | None:
    """Asked of scaling, and of the largest stage."""
    largest = max(seen, key=lambda r: r.wall_s)
    return answer_clock(roof) if roof is largest or roof.stage == "scale" else None


def _share_table(seen: Sequence[Roof]) -> str:
    head = ("stage", "bound by", "memory", "arithmetic", "decoding", "faults", "I/O", "kernels", "libraries", "Python",
            "unclear", "waiting", "neighbours", "GB moved", "Gop")  # fmt: skip
    rows = []
    for roof in seen:
        spent = [_percent(roof.spent.get(name)) for name in ("kernels", "libraries", "python", "unclear")]
        moved, done = roof.work.bytes_moved, roof.work.operations
        rows.append(
            (
                roof.stage,
                roof.bound or MISSING,
                *(_percent(roof.shares.get(name)) for name in COLUMNS),
                *spent,
                _percent(roof.idle),
                _percent(roof.crowded),
                MISSING if moved is None else f"{moved / 1e9:.3f}",
                MISSING if done is None else f"{done / 1e9:.2f}" + (" instr." if roof.work.counted else ""),
            )
        )
    return table(head, rows, text=(0, 1))


def _pressure_table(record: Record) -> str:
    """Share of each stage in which any task of the machine waited for a resource."""
    rows = []
    for stage in stages(record.run):
        waited = [stage.sampled.get(f"pressure_{name}_ns") for name in ("cpu", "io", "memory")]
        if any(ns is not None for ns in waited) and stage.cost.wall_ns:
            rows.append((stage.name, *(_percent(None if ns is None else ns / stage.cost.wall_ns) for ns in waited)))
    head = ("tasks of the machine waited during", "for processors", "for I/O", "for memory")
    return f"<details><summary>Pressure</summary>{table(head, rows)}</details>" if rows else ""


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f} %" if share >= 0.0005 else "0"


def roofline(seen: Sequence[Roof], limits: Limits) -> str:
    """Operations per second against operations per byte, both logarithmic, below what memory and one core allow."""
    peak = limits.int_ops_s
    slopes = {name: rate for name, rate in limits.read_bytes_s.items() if "cores" not in name}
    marks = [
        (roof.stage, roof.work.operations / roof.work.bytes_moved, roof.work.operations / max(roof.cpu_s or 0, 1e-9))
        for roof in seen
        if roof.work.operations and roof.work.bytes_moved and roof.cpu_s
    ]
    if not peak or not slopes:
        return ""
    if not marks:
        return "<p class=note>No roofline is drawn: of no stage both bytes and operations are known.</p>"
    x = _range([m[1] for m in marks] + [peak / max(slopes.values()), peak / min(slopes.values())])
    y = _range([m[2] for m in marks] + [peak])
    picture = _roofs(x, y, peak, slopes) + "".join(_mark(x, y, i, *mark) for i, mark in enumerate(marks))
    label = "Roofline: operations per second against operations per byte; the table below has the numbers"
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{picture}</svg>'
    rows = [
        (name, f"{intensity:.2f}", f"{rate / 1e9:.2f}", f"{100 * rate / min(peak, intensity * slopes['DRAM']):.1f} %")
        for name, intensity, rate in marks
        if "DRAM" in slopes
    ]
    numbers = table(("stage", "operations per byte", "Gop/s and core", "of the roof over DRAM"), rows)
    caption = (
        "Each stage with its operations per byte moved and per second of processor time. A stage can't be above the "
        "flat line, nor, once its data come from that level of memory, above the slope named after it."
    )
    return figure(f'<div class="chart roof">{svg}</div>', caption, numbers)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten that enclose all, with some room."""
    return math.log10(min(values)) - 0.5, math.log10(max(values)) + 0.35


def _px(value: float, x: tuple[float, float]) -> float:
    return LEFT + (math.log10(value) - x[0]) / (x[1] - x[0]) * (WIDTH - LEFT - RIGHT)


def _py(value: float, y: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (math.log10(value) - y[0]) / (y[1] - y[0]) * (HEIGHT - BOTTOM - TOP)


def _roofs(x: tuple[float, float], y: tuple[float, float], peak: float, slopes: dict[str, float]) -> str:
    out = []
    for power in range(math.ceil(y[0]), math.floor(y[1]) + 1):
        at = _py(10.0**power, y)
        text = f"{10.0 ** (power - 9):g}"
        out.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text class="y" x="{LEFT - 7}" y="{at + 4:.1f}">{text}</text>')
    for power in range(math.ceil(x[0]), math.floor(x[1]) + 1):
        at = _px(10.0**power, x)
        out.append(f'<path class="tick" d="M{at:.1f} {HEIGHT - BOTTOM}v5"/>')
        out.append(f'<text class="x" x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}">{10.0**power:g}</text>')
    for i, (name, rate) in enumerate(slopes.items()):
        left = max(10.0 ** x[0], 10.0 ** y[0] / rate)
        corner = min(max(peak / rate, left), 10.0 ** x[1])
        a, b = (_px(left, x), _py(rate * left, y)), (_px(corner, x), _py(min(rate * corner, peak), y))
        out.append(f'<path class="line plain" d="M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}"/>')
        along = (0.12 + 0.24 * (i % 4)) * 0.9  # of the slope, so that names don't lie upon each other
        u, v = a[0] + along * (b[0] - a[0]), a[1] + along * (b[1] - a[1])
        out.append(f'<text class="ring" x="{u:.1f}" y="{v - 3:.1f}">{escape(name)} {rate / 1e9:.0f} GB/s</text>')
    flat, begin = _py(peak, y), _px(max(peak / max(slopes.values()), 10.0 ** x[0]), x)
    out.append(f'<path class="line off" d="M{begin:.1f} {flat:.1f}H{WIDTH - RIGHT}"/>')
    said = f"one core, 32-bit integers, {peak / 1e9:.0f} Gop/s"
    out.append(f'<text class="y" x="{WIDTH - RIGHT - 4}" y="{flat - 6:.1f}">{said}</text>')
    out.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text class="x label" x="{middle:.0f}" y="{HEIGHT - 5}">operations per byte moved</text>')
    turn = f'transform="rotate(-90 13 {HEIGHT / 2:.0f})"'
    out.append(f'<text class="x label" x="13" y="{HEIGHT / 2 + 4:.0f}" {turn}>Gop/s and core</text>')
    return "".join(out)


def _mark(x: tuple[float, float], y: tuple[float, float], i: int, name: str, intensity: float, rate: float) -> str:
    u, v = _px(intensity, x), _py(rate, y)
    return (
        f'<path class="mark c{i % COLOURS}" d="M{u:.1f} {v:.1f}h0"/>'
        f'<text class="ring" x="{u + 8:.1f}" y="{v + 4:.1f}">{escape(name)}</text>'
    )


def what_if_section(record: Record) -> Section | None:
    """The table of Amdahl's law."""
    found = savings(record)
    if not found:
        return None
    rows = [
        (s.change, f"{s.seconds:.3f}", f"{100 * s.share:.1f} %", f"{s.total_s:.3f}", "exact" if s.exact else s.note)
        for s in found
    ]
    head = ("if there were", "saves s", "of the pipeline", "leaving s", "")
    note = (
        "<p class=note>Stages: half their time, the others as they are. The rest are bounds from what was measured, "
        "since work may overlap; they don't add up.</p>"
    )
    return Section("whatif", "What would help", table(head, rows, text=(0, 4)) + note)
