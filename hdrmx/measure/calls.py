"""Calls of Python functions, counted exactly, for as long as a counter is on. Kernels count as functions where told."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from types import CodeType, FrameType
from typing import Any

from hdrmx.measure.stacks import short_file

_TOOL = 3  # of sys.monitoring's numbers, one that no well-known tool takes


class CallCounter:
    """`start`, `stop`; by `sys.monitoring` where Python has it (3.12), else by `sys.setprofile`. All threads count."""

    def __init__(self) -> None:
        self._counts: Counter[CodeType] = Counter()
        self._monitoring: Any = getattr(sys, "monitoring", None)

    def start(self) -> None:
        counts: Counter[CodeType] = Counter()
        self._counts = counts
        if self._monitoring is not None:
            events = self._monitoring.events

            def begun(code: CodeType, at: int) -> None:
                counts[code] += 1

            self._monitoring.use_tool_id(_TOOL, "hdrmx")
            self._monitoring.register_callback(_TOOL, events.PY_START, begun)
            self._monitoring.set_events(_TOOL, events.PY_START)
            return

        def called(frame: FrameType, event: str, argument: object) -> None:
            if event == "call":
                counts[frame.f_code] += 1

        threading.setprofile(called)
        sys.setprofile(called)

    def stop(self) -> dict[str, int]:
        """Calls by function, as `name (file:line)`, the most called first."""
        if self._monitoring is not None:
            self._monitoring.set_events(_TOOL, 0)
            self._monitoring.free_tool_id(_TOOL)
        else:
            sys.setprofile(None)
            threading.setprofile(None)
        named: Counter[str] = Counter()
        for code, n in self._counts.items():
            file = short_file(code.co_filename)
            if file not in ("hdrmx/measure/calls.py", "hdrmx/counting_child.py"):
                named[f"{code.co_qualname} ({file}:{code.co_firstlineno})"] += n
        return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))
