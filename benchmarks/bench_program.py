"""What every run pays: imports, opening, simulation; and a benchmark that does nothing, as the floor."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from benchmarks.datasets import axis, dataset
from hdrmx.io.open import open_source
from hdrmx.params import Params
from hdrmx.pipeline import process
from hdrmx.simulate import PRESETS, simulate


def timeraw_import_hdrmx() -> str:
    return "import hdrmx"


def timeraw_import_pipeline() -> str:
    return "import hdrmx.pipeline, hdrmx.io.nexus"


class Nothing:
    """The floor of memory and time."""

    def time_nothing(self) -> None:
        pass

    def peakmem_nothing(self) -> None:
        pass


class Open:
    """Opening costs the same however long the scan."""

    params: ClassVar = axis([16, 64, 256])
    param_names: ClassVar = ["n_frames"]

    def setup_cache(self) -> dict[int, str]:
        return {n: str(dataset("sparse", detector="tiny", frames=n)) for n in self.params}

    def time_open(self, paths: dict[int, str], n_frames: int) -> None:
        open_source(paths[n_frames]).close()


class Pipeline:
    """`hdrmx process` on the demo data."""

    timeout = 600

    def setup_cache(self) -> str:
        return str(dataset("demo"))

    def setup(self, path: str) -> None:
        self.source = open_source(path)
        self.run()

    def teardown(self, path: str) -> None:
        self.source.close()

    def run(self):
        return process(self.source, Params())

    def time_process(self, path: str) -> None:
        self.run()

    def peakmem_process(self, path: str) -> None:
        self.run()

    def track_spots(self, path: str) -> int:
        return len(self.run().spots)

    track_spots.unit = "spots"


class Simulate:
    """One core, compression and writing included."""

    params: ClassVar = ["sparse", "dense"]
    param_names: ClassVar = ["density"]
    n_frames = 8

    def setup(self, density: str) -> None:
        self.settings = replace(PRESETS[density][1], detector="1M", frames=self.n_frames)
        self.run()

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            simulate(self.settings, Path(folder) / "data.nxs")

    def time_simulate(self, density: str) -> None:
        self.run()
