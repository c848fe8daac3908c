"""Spot finding, from compressed frames to the table, and the decoding within it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.datasets import axis, dataset
from hdrmx.io.open import open_source
from hdrmx.kernels.decode import Events, Workspace, decode_dense, decode_events, pack_valid
from hdrmx.kernels.warm import warm_up
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots

BACKGROUND = {"sparse": 0.02, "dense": 1.0}  # counts per pixel


class FindSpotsScaling:
    """Frames up by factors of two: the exponent of time and of every count is one, that of memory none."""

    params = (axis([16, 32, 64, 128]), ["sparse", "dense"])
    param_names: ClassVar = ["n_frames", "density"]
    timeout = 600

    def setup_cache(self) -> dict[str, str]:
        return {name: str(dataset(name, detector="500K", frames=128)) for name in BACKGROUND}

    def setup(self, paths: dict[str, str], n_frames: int, density: str) -> None:
        self.source = open_source(paths[density], range(n_frames))
        warm_up(self.source.dtype)

    def teardown(self, *_: object) -> None:
        self.source.close()

    def _find(self):
        return find_spots(self.source.frames(), self.source.mask, self.source.geometry, FindSpots())

    def time_find_spots(self, *_: object) -> None:
        self._find()

    def peakmem_find_spots(self, *_: object) -> None:
        self._find()

    def track_spots(self, *_: object) -> int:
        return self._find().counts["spots"]

    def track_strong_pixels(self, *_: object) -> int:
        return self._find().counts["strong_pixels"]

    def track_windows_per_frame(self, paths: dict[str, str], n_frames: int, density: str) -> float:
        return self._find().counts["windows"] / n_frames

    def track_decodes_per_frame(self, paths: dict[str, str], n_frames: int, density: str) -> float:
        return self._find().counts["decodes"] / n_frames

    track_spots.unit = "spots"
    track_strong_pixels.unit = "pixels"
    track_windows_per_frame.unit = "windows"
    track_decodes_per_frame.unit = "decodes"


class FindSpotsDetectors:
    """One frame's worth of each detector, by density: what a pixel costs must not grow with the frame."""

    params = (axis(["500K", "1M", "4M", "16M"]), ["sparse", "dense"])
    param_names: ClassVar = ["detector", "density"]
    timeout = 600
    n_frames = 4

    def setup_cache(self) -> dict[tuple[str, str], str]:
        return {
            (detector, name): str(dataset(name, detector=detector, frames=self.n_frames))
            for detector in self.params[0]
            for name in BACKGROUND
        }

    def setup(self, paths: dict[tuple[str, str], str], detector: str, density: str) -> None:
        self.source = open_source(paths[detector, density])
        self.frames = list(self.source.frames())
        dtype = self.source.dtype
        self.work, self.out = Workspace(self.source.shape, dtype), np.empty(self.source.shape, dtype)
        self.events, self.valid = Events(self.source.shape), pack_valid(self.source.mask)
        warm_up(dtype)

    def teardown(self, *_: object) -> None:
        self.source.close()

    def time_find_spots(self, *_: object) -> None:
        find_spots(self.frames, self.source.mask, self.source.geometry, FindSpots())

    def time_decode_dense(self, *_: object) -> None:
        for frame in self.frames:
            decode_dense(frame, self.out, self.work)

    def time_decode_events(self, *_: object) -> None:
        for frame in self.frames:
            decode_events(frame, self.valid, self.events, self.work)

    def time_read_pixels_once(self, *_: object) -> None:
        """The limit that memory sets to anything that looks at every pixel."""
        for _frame in self.frames:
            self.out.view(np.uint8).max()

    def track_bits_per_pixel(self, *_: object) -> float:
        n_bytes = sum(frame.load().size for frame in self.frames)
        return 8 * n_bytes / (len(self.frames) * self.out.size)

    track_bits_per_pixel.unit = "bits"
