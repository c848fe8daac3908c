"""Samples of the call stack, and what is written of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numba
import numpy as np
import pytest

from hdrmx.measure import sampling
from hdrmx.measure.sampling import Sampler


def spin_here(samples_s: float) -> int:
    """Calls functions until so much time has passed, since samples are taken at calls."""
    end, n = time.perf_counter() + samples_s, 0
    while time.perf_counter() < end:
        n += len(str(n))
    return n


def written(folder: Path) -> dict[str, str]:
    with Sampler(interval_s=0.0005) as sampler:
        spin_here(0.05)
    assert sampler.n_samples > 1
    return sampler.write(folder, lambda path, text: path.write_text(text, encoding="utf-8"))


def test_names_the_function_and_needs_no_network(tmp_path: Path):
    names = written(tmp_path)
    assert names == {"pyinstrument": "pyinstrument.html", "speedscope": "profile.speedscope.json"}
    page = (tmp_path / names["pyinstrument"]).read_text(encoding="utf-8")
    assert "spin_here" in page
    assert "googleapis" not in page
    profile = json.loads((tmp_path / names["speedscope"]).read_text(encoding="utf-8"))
    assert any(frame["name"] == "spin_here" for frame in profile["shared"]["frames"])
    assert profile["$schema"].startswith("https://www.speedscope.app")


def test_many_samples_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "MOST_SAMPLES", 5)
    names = written(tmp_path)
    assert "spin_here" in (tmp_path / names["pyinstrument"]).read_text(encoding="utf-8")


def test_nothing_sampled_nothing_written(tmp_path: Path):
    with Sampler(interval_s=60.0) as sampler:
        pass
    assert sampler.write(tmp_path, lambda path, text: path.write_text(text)) == {}
    assert list(tmp_path.iterdir()) == []


def test_stops_when_the_code_raises():
    with pytest.raises(ValueError, match="inside"), Sampler():
        raise ValueError("inside")
    with Sampler() as second:  # the first has let go of the profiler
        pass
    assert second.n_samples >= 0


@numba.njit
def kernel_of_this_test(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += np.sqrt(i)
    return total


def calls_the_kernel() -> None:
    for _ in range(20):
        kernel_of_this_test(3_000_000)


def test_kernels_are_named_below_their_callers(tmp_path: Path):
    kernel_of_this_test(1)
    with Sampler(interval_s=0.0005) as sampler:
        calls_the_kernel()
    sampler.write(tmp_path, lambda path, text: path.write_text(text, encoding="utf-8"))
    profile = json.loads((tmp_path / "profile.speedscope.json").read_text(encoding="utf-8"))
    names = [frame["name"] for frame in profile["shared"]["frames"]]
    callers, stack = set(), []
    for event in profile["profiles"][0]["events"]:
        if event["type"] == "C":
            stack.pop()
            continue
        if names[event["frame"]] == "kernel_of_this_test":
            callers.add(stack[-1])
        stack.append(names[event["frame"]])
    assert callers == {"calls_the_kernel"}
