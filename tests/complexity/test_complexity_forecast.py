"""Forecasts from a part, and a later run set against them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hdrmx.complexity.forecast import (
    FILE_NAME,
    PART,
    _ladder,
    _predicted,
    forecast,
    read_forecast,
    render,
    render_against,
    set_against,
)
from hdrmx.complexity.study import IO, MEMORY, TIME
from hdrmx.errors import InputError
from hdrmx.params import Params
from hdrmx.record import Cost, Span

SIZES = (10, 14, 20, 28, 40, 57, 80)


def told(n: int = 1000) -> dict:
    rng = np.random.default_rng(1)
    time = {k: list((0.5 + 0.01 * k) * (1 + 0.01 * rng.standard_normal(3))) for k in SIZES}
    memory = {k: [2e8 + 1000.0 * k] for k in SIZES}
    io = {k: [5e5 * k] for k in SIZES}
    stage = {TIME: _predicted(TIME, time, n), MEMORY: _predicted(MEMORY, memory, n), IO: _predicted(IO, io, n)}
    return {"schema": "hdrmx-forecast/1", "n": n, "sizes": list(SIZES), "stages": {"find_spots": stage}}


def run_of(seconds: float, n_bytes: int) -> Span:
    cost = Cost(wall_ns=round(seconds * 1e9), read_bytes=n_bytes, write_bytes=0)
    return Span(name="run", children=(Span(name="find_spots", cost=cost, peak_bytes=201_000_000),))


def test_linear_stages_are_forecast() -> None:
    stage = told()["stages"]["find_spots"]
    assert stage[TIME]["class"] == "n"
    assert stage[TIME]["value"] == pytest.approx(10.5, rel=0.05)
    assert stage[TIME]["low"] <= 10.5 <= stage[TIME]["high"]
    assert stage[IO]["value"] == pytest.approx(5e8, rel=0.01)
    assert stage[MEMORY]["value"] == pytest.approx(2e8, rel=0.05)


def test_a_run_is_set_against_it() -> None:
    good = {(stage, name): inside for stage, name, _, _, inside in set_against(told(), run_of(10.5, 500_000_000))}
    assert good[("find_spots", TIME)]
    assert good[("find_spots", IO)]
    slow = {name: inside for _, name, _, _, inside in set_against(told(), run_of(20.0, 500_000_000))}
    assert not slow[TIME]
    assert "outside of its interval" in render_against(told(), run_of(20.0, 500_000_000))
    assert "find_spots" in render(told())


def test_a_tenth_at_most() -> None:
    sizes = _ladder(int(PART * 28_800))
    assert max(sizes) <= 2880
    assert len(sizes) == 7
    assert _ladder(3) == ()


def test_files(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(json.dumps(told()))
    assert read_forecast(tmp_path, 1000) == told()
    assert read_forecast(tmp_path, 999) is None
    assert read_forecast(tmp_path / "nowhere", 1000) is None


def test_too_few_frames(shared_data: Path) -> None:
    with pytest.raises(InputError, match="too little"):
        forecast(shared_data / "sim_sparse_I222" / "sparse_I222_master.h5", 30, Params())
