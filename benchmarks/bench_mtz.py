"""MTZ files with one batch header a frame: the cost grows with batches and reflections, and no faster."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from benchmarks.datasets import axis
from hdrmx import tables
from hdrmx.io.mtz import write_unmerged
from hdrmx.io.mtz_batches import Sweep
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan

A = ((0.0126, 0.0, 0.0), (0.0, 0.0126, 0.0), (0.0, 0.0, 0.0264))
CELL = (79.1, 79.1, 37.9, 90.0, 90.0, 90.0)


def sweeps_of(n_batches: int, frames_per_sweep: int) -> list[Sweep]:
    panel = Panel("p", (512, 1028), (0.075, 0.075), (-38.5, 19.2, -100.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    n = n_batches // frames_per_sweep
    geometry = Geometry(Beam(0.9763), Detector((panel,)), Goniometer(), Scan(0, frames_per_sweep, 0.0, 0.002))
    return [Sweep(geometry, Crystal(A, "P 43 21 2"))] * n


def observations(n: int, n_sweeps: int, frames_per_sweep: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    table = tables.empty(tables.SCALED, n)
    for letter in "hkl":
        table[letter] = rng.integers(1, 20, n).astype(np.int32)
    table["sweep"] = np.sort(rng.integers(0, n_sweeps, n)).astype(np.int32)
    table["frame"] = table["frame_obs"] = rng.uniform(0, frames_per_sweep, n)
    table["intensity"], table["sigma"] = rng.gamma(2.0, 50.0, n), 5.0
    for name in ("scale", "partiality", "lp", "qe"):
        table[name] = 1.0
    return table


class WriteUnmerged:
    """50,000 reflections; one sweep, or sweeps of 36 frames."""

    params = (axis([3_600, 14_400, 57_600, 115_200]), ["one sweep", "sweeps of 36"])
    param_names: ClassVar = ["n_batches", "sweeps"]
    timeout = 600

    def setup(self, n_batches: int, sweeps: str) -> None:
        length = n_batches if sweeps == "one sweep" else 36
        self.sweeps = sweeps_of(n_batches, length)
        self.table = observations(50_000, len(self.sweeps), length)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "x.mtz"

    def teardown(self, *_: object) -> None:
        self.folder.cleanup()

    def _write(self) -> int:
        return write_unmerged(self.path, self.table, self.sweeps, "P 43 21 2", CELL).batches

    def time_write_unmerged(self, *_: object) -> None:
        self._write()

    def peakmem_write_unmerged(self, *_: object) -> None:
        self._write()

    def track_bytes_per_batch(self, n_batches: int, sweeps: str) -> float:
        self._write()
        return self.path.stat().st_size / n_batches

    track_bytes_per_batch.unit = "bytes"
