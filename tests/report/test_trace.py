"""Trace events of a record."""

from __future__ import annotations

import json

from example_record import example

from hdrmx.report.trace import trace


def test_every_span_is_one_complete_event():
    record = example()
    events = json.loads(trace(record))["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in spans] == [s.name for s in record.run.walk()]
    find = next(e for e in spans if e["name"] == "find_spots")
    assert (find["ts"], find["dur"], find["tid"]) == (1_650_000.0, 2_550_000.0, 0)  # microseconds
    assert find["args"]["decodes"] == 480
    assert {"process_name", "thread_name"} <= {e["name"] for e in events if e["ph"] == "M"}
    assert [e["args"]["MB"] for e in events if e["ph"] == "C"] == [240.0, 240.0]
