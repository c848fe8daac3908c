"""Spans, counters, clocks and the machine: wraps stages from outside and knows no crystallography."""
