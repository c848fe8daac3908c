"""A record as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hdrmx.record import PART, Record, Span


def trace(record: Record) -> str:
    """JSON: one complete event a span, on the line of its thread, and resident memory as a counter."""
    events: list[dict[str, Any]] = [_metadata("process_name", 0, " ".join(record.command) or "hdrmx")]
    threads = sorted({span.thread for span in record.run.walk()})
    events += [_metadata("thread_name", t, f"thread {t}" if t else "pipeline") for t in threads]
    for span in record.run.walk():
        if span.kind == PART:  # many moments, and not one stretch of time
            continue
        events.append(_event(span))
        events += _memory(span)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}) + "\n"


def _event(span: Span) -> dict[str, Any]:
    measured = {name: value for name, value in asdict(span.cost).items() if value is not None}
    arguments = {**span.counts, **span.answers, **measured, "peak_bytes": span.peak_bytes}
    if span.error:
        arguments["error"] = span.error
    return {
        "name": span.name,
        "cat": span.kind,
        "ph": "X",
        "pid": 1,
        "tid": span.thread,
        "ts": span.start_ns / 1e3,
        "dur": span.cost.wall_ns / 1e3,
        "args": arguments,
    }


def _memory(span: Span) -> list[dict[str, Any]]:
    ends = ((span.start_ns, span.rss_start_bytes), (span.start_ns + span.cost.wall_ns, span.rss_end_bytes))
    return [
        {"name": "resident memory", "ph": "C", "pid": 1, "tid": 0, "ts": ns / 1e3, "args": {"MB": size / 1e6}}
        for ns, size in ends
        if size is not None
    ]


def _metadata(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 1, "tid": thread, "args": {"name": name}}
