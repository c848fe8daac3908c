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
