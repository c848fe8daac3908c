"""Spans, counters, clocks and the machine: wraps stages from outside and knows no crystallography.

For programs of others: `span`, `count`, `answer`, `measured` mark what is worth measuring, `recording` measures it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hdrmx.measure.spans import answer, count, measured, span

if TYPE_CHECKING:
    from hdrmx.adapters.recording import recording
    from hdrmx.measure.recorder import Recorder

__all__ = ["Recorder", "answer", "count", "measured", "recording", "span"]

# Imported when first asked for: brackets alone need neither.
_LAZY = {"Recorder": "hdrmx.measure.recorder", "recording": "hdrmx.adapters.recording"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hdrmx.measure' has no attribute '{name}'")
