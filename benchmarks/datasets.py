"""Simulated data sets, made once on each machine and kept in the user's cache.

With HDRMX_BENCH_QUICK set, every axis keeps its smallest value: does each benchmark still run?
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hdrmx.cli.demo import demo_data
from hdrmx.simulate import PRESETS


def dataset(preset: str, **settings: object) -> Path:
    """The master file of a preset with some settings changed; simulated if it isn't there yet."""
    return demo_data(lambda _: None, replace(PRESETS[preset][1], **settings))


def axis(values: Sequence) -> list:
    """The values of a benchmark's axis, smallest first; only that one in a quick pass."""
    return list(values)[:1] if os.environ.get("HDRMX_BENCH_QUICK") else list(values)
