"""The run along its time: stages, threads and memory."""

from __future__ import annotations

from html import escape

import numpy as np

from hdrmx.record import PART, SETUP, Record, Span, Timeline
from hdrmx.report.figures import Axis, Floats, Series, chart, nice_ticks
from hdrmx.report.page import Section, figure, table

WIDTH, LEFT, RIGHT, ROW, LANE = 1100, 150, 14, 24, 30
DEPTH = 3  # levels of spans drawn
NARROW = 0.6  # px; what is narrower is left out, and counted
MOST = 3000  # spans drawn
PALETTE = 5


def timeline_section(record: Record) -> Section:
    """Spans of each thread, and how busy the threads were."""
    end = max((s.start_ns + s.cost.wall_ns for s in record.run.walk() if s.kind != PART), default=0) or 1
    scale = (WIDTH - LEFT - RIGHT) / end
    rows, left_out = _rows(record, scale)
    drawn, y = [], 8
    for label, spans in rows:
        drawn.append(f'<text class="lane" x="{LEFT - 8}" y="{y + 16}">{escape(label)}</text>')
        drawn += [_bar(span, colour, y, scale) for span, colour in spans]
        y += ROW
    if record.timeline is not None:
        y += 8
        for thread in record.timeline.threads:
            drawn.append(_lane(thread.name, thread.busy_ns, record.timeline, y, scale))
            y += LANE
    drawn.append(_axis(end / 1e9, y, scale))
    picture = (
        f'<div class="timeline scroll"><svg viewBox="0 0 {WIDTH} {y + 40}" role="img" '
        f'aria-label="Timeline of stages and threads; the table below has the numbers">{"".join(drawn)}</svg></div>'
    )
    caption = "Spans as they were measured, one line a level"
    if record.timeline is not None:
        caption += "; below, for each thread of Python, the share of each step that it was on a processor"
    caption += ". Grey: imports and compilation."
    if left_out:
        caption += f" {left_out:,} spans too short to be seen are left out; trace.json has them all."
    numbers = [_in_numbers(span) for span in [s for s in record.run.walk() if s.kind != PART][:MOST]]
    head = ("span", "thread", "begins at s", "wall s", "ended by")
    return Section("timeline", "Timeline", figure(picture, caption, table(head, numbers, text=(0, 1, 4))))


def _in_numbers(span: Span) -> tuple[str, ...]:
    thread = "pipeline" if span.thread == 0 else f"thread {span.thread}"
    ended = span.error or ("" if span.finished else "cut off")
    return span.name, thread, f"{span.start_ns / 1e9:.3f}", f"{span.cost.wall_ns / 1e9:.3f}", ended


def _rows(record: Record, scale: float) -> tuple[list[tuple[str, list[tuple[Span, str]]]], int]:
    """Lines of spans by thread and level, each span with its colour, and how many were left out."""
    lines: dict[tuple[int, int], list[tuple[Span, str]]] = {}
    colours: dict[str, str] = {}
    left_out = 0

    def place(span: Span, depth: int, colour: str) -> None:
        nonlocal left_out
        if span.kind == PART:  # many moments, and not one stretch of time
            return
        if depth >= 0:
            if depth >= DEPTH or span.cost.wall_ns * scale < NARROW or sum(map(len, lines.values())) >= MOST:
                left_out += 1
            else:
                lines.setdefault((span.thread, depth), []).append((span, colour))
        for child in span.children:
            top = depth < 0
            own = colours.setdefault(child.name, f"c{len(colours) % PALETTE}") if top else colour
            deeper = depth + 1 if child.thread == span.thread else 0
            place(child, deeper, "plain" if top and child.kind == SETUP else own)

    place(record.run, -1, "plain")
    labels = {0: "stages", 1: "inner steps"}
    named = [
        ((labels.get(depth, "") if thread == 0 else f"thread {thread}" if depth == 0 else ""), spans)
        for (thread, depth), spans in sorted(lines.items())
    ]
    return named, left_out


def _bar(span: Span, colour: str, y: int, scale: float) -> str:
    x, width = LEFT + span.start_ns * scale, max(span.cost.wall_ns * scale, 0.6)
    said = f"{span.name}: {span.cost.wall_ns / 1e9:.3f} s from {span.start_ns / 1e9:.3f} s"
    said += f"; {span.error}" if span.error else ""
    text = span.name if 6.6 * len(span.name) + 6 < width else ""
    name = f'<text class="in" x="{x + 4:.1f}" y="{y + 15}">{escape(text)}</text>' if text else ""
    failed = " failed" if span.error or not span.finished else ""
    return (
        f'<g><title>{escape(said)}</title><rect class="bar {colour}{failed}" x="{x:.1f}" y="{y}" width="{width:.1f}" '
        f'height="{ROW - 4}"/>{name}</g>'
    )


def _lane(name: str, busy_ns: tuple[int, ...], timeline: Timeline, y: int, scale: float) -> str:
    edges = np.asarray(timeline.edges_ns, float)
    share = np.clip(np.asarray(busy_ns, float) / np.maximum(np.diff(edges), 1), 0, 1)
    at, bottom, high = LEFT + edges * scale, y + LANE - 6, LANE - 10
    points = "".join(f"H{b:.1f}V{bottom - high * s:.1f}" for b, s in zip(at[:-1], share))
    total = sum(busy_ns) / 1e9
    return (
        f"<g><title>{escape(name)}: {total:.2f} s on a processor</title>"
        f'<text class="lane" x="{LEFT - 8}" y="{y + 18}">{escape(name)}</text>'
        f'<path class="grid" d="M{LEFT} {bottom}H{at[-1]:.1f}"/>'
        f'<path class="busy" d="M{at[0]:.1f} {bottom}{points}H{at[-1]:.1f}V{bottom}Z"/></g>'
    )


def _axis(seconds: float, y: int, scale: float) -> str:
    out = [f'<path class="axis" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>']
    for value, text in nice_ticks(0.0, seconds, most=12):
        if 0 <= value <= seconds:
            x = LEFT + value * 1e9 * scale
            out.append(f'<path class="tick" d="M{x:.1f} {y}v5"/><text class="x" x="{x:.1f}" y="{y + 18}">{text}</text>')
    out.append(f'<text class="x label" x="{(LEFT + WIDTH) / 2:.0f}" y="{y + 36}">seconds since the run began</text>')
    return "".join(out)


def memory_section(record: Record) -> Section | None:
    """Resident memory over the run, and processors kept busy."""
    at, rss, cpu = _series(record)
    if len(at) < 2:
        return None
    names = [f"{s:.2f} s" for s in at]
    parts = []
    if np.isfinite(rss).any():
        axis = Axis("seconds since the run began", at, names)
        series = [Series("resident MB", rss / 1e6, "c0", area=False)]
        picture = chart("Resident memory", axis, series, y_label="resident, MB", y_range=(0.0, None), width=720)
        parts.append(figure(picture, "Resident memory, the highest seen in each step.", _numbers(at, rss / 1e6, "MB")))
    if np.isfinite(cpu).any():
        axis = Axis("seconds since the run began", at, names)
        picture = chart(
            "Processors busy", axis, [Series("processors", cpu, "c1")], y_label="processors busy", y_range=(0.0, None)
        )
        parts.append(
            figure(picture, "Processors kept busy by all threads of the run.", _numbers(at, cpu, "processors"))
        )
    return (
        Section("memory", "Memory and processors over time", f'<div class="pair">{"".join(parts)}</div>')
        if parts
        else None
    )


def _series(record: Record) -> tuple[Floats, Floats, Floats]:
    """Seconds, bytes and processors busy, from the timeline, or from what was looked at of a process tree."""
    if record.timeline is not None and len(record.timeline.edges_ns) > 1:
        edges = np.asarray(record.timeline.edges_ns, float)
        busy = np.asarray(record.timeline.cpu_ns, float) / np.maximum(np.diff(edges), 1)
        return (edges[1:] + edges[:-1]) / 2e9, _floats(record.timeline.rss_bytes), busy
    at = _floats(record.series.get("at_ns", ())) / 1e9
    rss = _floats(record.series.get("rss_bytes", ()))
    cpu = _floats(record.series.get("cpu_ns", ())) / 1e9
    if len(at) < 2 or len(rss) != len(at):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    busy = np.full(len(at), np.nan)
    if len(cpu) == len(at):
        busy[1:] = np.diff(cpu) / np.maximum(np.diff(at), 1e-9)
    return at, rss, busy


def _floats(values: tuple[int | None, ...]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], float)


def _numbers(at: Floats, values: Floats, unit: str) -> str:
    step = max(len(at) // 40, 1)
    rows = [(f"{t:.2f}", f"{v:.3g}" if np.isfinite(v) else "–") for t, v in zip(at[::step], values[::step])]
    return table(("at s", unit), rows, text=())
