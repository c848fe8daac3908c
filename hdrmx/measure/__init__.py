"""Spans, counters, clocks and the machine: wraps stages from outside and knows no crystallography."""

from hdrmx.measure.recorder import Recorder

__all__ = ["Recorder"]
