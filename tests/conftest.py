"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real and independently simulated data sets; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HDRMX_TEST_DATA", beside))
    if not (folder / "README.md").exists():
        pytest.skip(f"no test data at {folder}: set HDRMX_TEST_DATA to the folder that has them")
    return folder


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The master file of a small simulated rotation that the whole pipeline can process, in about a second."""
    from hdrmx.params import Simulate
    from hdrmx.simulate import simulate

    settings = Simulate(
        detector="500K",
        frames=30,
        width_deg=1.0,
        distance_mm=80.0,
        space_group="P 21 21 21",
        cell="34,42,55,90,90,90",
        background=0.05,
        photons=300.0,
    )
    return simulate(settings, tmp_path_factory.mktemp("small") / "small.nxs").data


@pytest.fixture(scope="session")
def small_run(small_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of results of that set, all stages; not to be written into."""
    from hdrmx import cli

    folder = tmp_path_factory.mktemp("small_run") / "results"
    assert cli.run(cli.group, "hdrmx", ["process", str(small_set), "-o", str(folder), "-j", "1"]) == 0
    return folder
