"""Which data were read: the same frames have the same identity, other frames another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from hdrmx.errors import BadFrame
from hdrmx.frames import Codec, Frame
from hdrmx.io.identity import identify
from hdrmx.models import Beam, Detector, Geometry, Scan

A_SCAN = Geometry(Beam(1.0), Detector(()), scan=Scan(0, 5, 0.0, 0.01))


@dataclass(frozen=True)
class Memory:
    """A source that has its frames in memory; index 3 can be made unreadable."""

    name: str = "memory"
    seed: int = 1
    indices: range = range(5)
    missing: tuple[int, ...] = ()
    bad: int | None = None
    shape: tuple[int, int] = (4, 6)
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.uint16))
    geometry: Geometry = A_SCAN

    def frames(self) -> Iterator[Frame]:
        rng = np.random.default_rng(self.seed)
        for index in self.indices:
            payload = rng.integers(0, 256, 48, np.uint8)

            def load(index: int = index, payload: np.ndarray = payload) -> np.ndarray:
                if index == self.bad:
                    raise BadFrame("memory", index, "is cut short")
                return payload

            if index not in self.missing:
                yield Frame(index, self.shape, self.dtype, Codec.RAW, load, "memory")


def test_the_name_does_not_matter_and_the_frames_do():
    here = identify(Memory())
    assert identify(Memory(name="elsewhere")).identity == here.identity
    for other in (
        Memory(seed=2),
        Memory(indices=range(1, 5)),
        Memory(geometry=Geometry(Beam(1.1), Detector(()), scan=Scan(0, 5, 0.0, 0.01))),
        Memory(geometry=replace(Memory().geometry, scan=None)),
        Memory(bad=1),
    ):
        assert identify(other).identity != here.identity


def test_counts_the_frames_that_are_there():
    found = identify(Memory(missing=(2, 4)))
    assert (found.n_frames, found.first_frame, found.shape, found.dtype) == (3, 0, (4, 6), "uint16")


def test_an_empty_source_has_an_identity():
    found = identify(Memory(indices=range(0)))
    assert (found.n_frames, found.first_frame) == (0, None)
    assert len(found.identity) == 16
