"""A stage of the pipeline as a function of one driver, for `child.py`: only that stage is measured.

The stage, the driver and the data set are told by the environment variable `VARIABLE` (JSON). What comes before the
stage is worked out once in a process for a slice of frames, else by sampling rows of the tables that it takes.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdrmx.complexity.counters import count
from hdrmx.errors import InputError
from hdrmx.frames import Codec, Frame, FrameSource
from hdrmx.io.open import open_source
from hdrmx.io.whole import write_whole
from hdrmx.kernels.decode import Workspace, decode_dense
from hdrmx.models import Geometry
from hdrmx.observe import no_part
from hdrmx.params import Params
from hdrmx.pipeline import STAGES, Results, nothing_yet, process

VARIABLE = "HDRMX_COMPLEXITY_STAGE"
EXPORT = "export"
_SWEEP_FRAMES, _MEMORY_FRAMES, _EXPORTED = 60, 6, 12_000
Sources = tuple[FrameSource, ...]
Work = Callable[[], Any]


@dataclass(frozen=True)
class Request:
    stage: str  # of STAGES, or "export", or "pipeline" for all of them
    driver: str
    data: str
    cache: str = ""  # folder for what comes before the stages, shared by all processes of a study


def run(work: Work) -> None:
    """What is measured."""
    work()


def setup_run(n: int) -> Work:
    """The stage made ready for n units of its driver."""
    request = _request()
    make = _DRIVERS.get(request.driver)
    if make is None:
        raise InputError(request.stage, f"has no driver '{request.driver}'", f"choose among {', '.join(_DRIVERS)}")
    return make(request, n)


def _request() -> Request:
    return Request(**json.loads(os.environ[VARIABLE]))


def _stage(request: Request, sources: Sources, results: Results) -> Work:
    """Just this stage, of results that are there."""
    until = STAGES[-1] if request.stage == "pipeline" else request.stage
    before = None if until == STAGES[0] or request.stage == "pipeline" else STAGES[STAGES.index(until) - 1]
    reached = None if before is None else (before, results)

    def work() -> None:
        process(sources, Params(), _Counting, until=until, reached=reached)

    return work


class _Counting:
    """The bracket that keeps a stage's counters and measures nothing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> _Counting:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def count(self, **counts: int) -> None:
        if self._name in STAGES:
            count(**counts)

    def answer(self, **answers: object) -> None:
        return None

    def part(self, name: str) -> AbstractContextManager[object]:
        return no_part(name)


@functools.cache
def _source(data: str, n_frames: int | None) -> FrameSource:
    return open_source(data, None if n_frames is None else range(n_frames))


@functools.cache
def _reached(data: str, n_frames: int | None, stage: str) -> Results:
    """Results after the stage before this one; for "export", after scaling."""
    before = STAGES.index(stage) - 1 if stage in STAGES else len(STAGES) - 2
    if before < 0:
        return nothing_yet((_source(data, n_frames),))
    request = _request()
    if not request.cache:
        return _until(data, n_frames, before)
    path = Path(request.cache) / f"{STAGES[before]}_{n_frames}.pickle"
    if not path.is_file():
        write_whole(path, pickle.dumps(_until(data, n_frames, before)))
    results: Results = pickle.loads(path.read_bytes())
    return results


def _until(data: str, n_frames: int | None, before: int) -> Results:
    source = _source(data, n_frames)
    if before == 0:
        return process(source, Params(), until=STAGES[0])
    return process(
        source, Params(), until=STAGES[before], reached=(STAGES[before - 1], _reached(data, n_frames, STAGES[before]))
    )


def _frames(request: Request, n: int) -> Work:
    available = len(_source(request.data, None).indices)
    if n > available:
        raise InputError(request.data, f"has {available} frames, not {n}", "give smaller --sizes or more --data")
    if request.stage == "pipeline":
        return _stage(request, (_source(request.data, n),), nothing_yet((_source(request.data, n),)))
    return _stage(request, (_source(request.data, n),), _reached(request.data, n, request.stage))


def _sweeps(request: Request, n: int) -> Work:
    """The first frames, n times."""
    one = _source(request.data, _SWEEP_FRAMES)
    sources = (one,) * n
    if request.stage == "pipeline":
        return _stage(request, sources, nothing_yet(sources))
    results = _reached(request.data, _SWEEP_FRAMES, request.stage)
    many = replace(
        results,
        sweeps=results.sweeps * n,
        datasets=results.datasets * n,
        sweep_of=tuple(k for k in range(n) for _ in results.datasets),
    )
    return _stage(request, sources, many)


def _sample(n: int, available: int, what: str) -> npt.NDArray[np.int64]:
    if n > available:
        raise InputError(what, f"there are {available}, not {n}", "give smaller --sizes or more --data")
    return np.sort(np.random.default_rng(1).permutation(available)[:n])


def _spots(request: Request, n: int) -> Work:
    """n of all spots, at random."""
    results = _reached(request.data, None, request.stage)
    sweep = results.sweeps[0]
    table = sweep.table.iloc[_sample(n, len(sweep.table), "spots")].reset_index(drop=True)
    sweeps = (replace(sweep, table=table, pixels=None),)
    return _stage(request, (_source(request.data, None),), replace(results, sweeps=sweeps))


def _reflections(request: Request, n: int) -> Work:
    """n of all observations, at random."""
    results = _reached(request.data, None, request.stage)
    if request.stage == "merge":
        assert results.observations is not None
        rows = _sample(n, len(results.observations), "observations")
        results = replace(results, observations=results.observations.iloc[rows].reset_index(drop=True))
    elif request.stage == "scale":
        dataset = results.datasets[0]
        rows = _sample(n, len(dataset.observations), "observations")
        observations = dataset.observations.iloc[rows].reset_index(drop=True)
        results = replace(results, datasets=(replace(dataset, observations=observations),), sweep_of=(0,))
    else:
        sweep = results.sweeps[0]
        rows = _sample(n, len(sweep.table), "reflections")
        results = replace(results, sweeps=(replace(sweep, table=sweep.table.iloc[rows].reset_index(drop=True)),))
    return _stage(request, (_source(request.data, None),), results)


def _batches(request: Request, n: int) -> Work:
    """The same observations spread over n frames, written with a header for each."""
    from hdrmx.io.mtz import write_unmerged
    from hdrmx.io.mtz_batches import Sweep

    results = _reached(request.data, None, EXPORT)
    assert results.observations is not None
    assert results.space_group is not None
    dataset = results.datasets[0]
    scan = dataset.geometry.scan
    assert scan is not None
    old = scan.n_frames
    scan = replace(scan, first=0, n_frames=n, width_rad=scan.width_rad * old / n)
    sweep = Sweep(replace(dataset.geometry, scan=scan), replace(dataset.crystal, A_at_scan_points=None))
    scaled = results.observations.iloc[: min(len(results.observations), _EXPORTED)].copy()
    for name in [c for c in scaled.columns if c.startswith("frame")]:
        scaled[name] = np.clip(scaled[name] * n / old, 0, n - 1e-3).astype(scaled[name].dtype)
    folder = tempfile.TemporaryDirectory(prefix="hdrmx-complexity-")

    def work() -> None:
        assert results.space_group is not None
        written = write_unmerged(
            Path(folder.name) / "unmerged.mtz", scaled, [sweep], results.space_group, dataset.crystal.cell
        )
        count(batches=written.batches)

    return work


class _InMemory:
    """Frames that are held as plain pixels."""

    def __init__(
        self, source: FrameSource, pixels: Sequence[npt.NDArray], geometry: Geometry, mask: npt.NDArray
    ) -> None:
        self.name, self.template = source.name, source.template
        self.geometry, self.mask, self.shape, self.dtype = geometry, mask, mask.shape, pixels[0].dtype
        self.indices = range(len(pixels))
        self._bytes = [np.frombuffer(np.ascontiguousarray(p).tobytes(), np.uint8) for p in pixels]

    def frames(self) -> Iterator[Frame]:
        for i, payload in enumerate(self._bytes):
            yield Frame(i, self.shape, self.dtype, Codec.RAW, functools.partial(np.asarray, payload), self.name)

    def close(self) -> None:
        self._bytes = []


@functools.cache
def _decoded(data: str) -> list[npt.NDArray]:
    found = []
    for frame in _source(data, _MEMORY_FRAMES).frames():
        out = np.empty(frame.shape, frame.dtype)
        decode_dense(frame, out, Workspace(frame.shape, frame.dtype))
        found.append(out)
    return found


def _pixels(request: Request, n: int) -> Work:
    """The first rows of a few frames, so many that they have about n pixels."""
    source = _source(request.data, _MEMORY_FRAMES)
    height, width = source.shape
    rows = max(n // width, 16)
    if rows > height or len(source.geometry.detector.panels) != 1:
        raise InputError(request.data, f"has {height * width} px a frame", "give smaller --sizes, or one panel")
    panel = source.geometry.detector.panels[0]
    detector = replace(source.geometry.detector, panels=(replace(panel, shape=(rows, width)),))
    cut = [pixels[:rows] for pixels in _decoded(request.data)]
    small = _InMemory(source, cut, replace(source.geometry, detector=detector), source.mask[:rows])
    return _stage(request, (small,), nothing_yet((small,)))


def _photons(request: Request, n: int) -> Work:
    """A few frames thinned at random to about n photons each."""
    source = _source(request.data, _MEMORY_FRAMES)
    rng = np.random.default_rng(1)
    thinned = []
    for pixels in _decoded(request.data):
        usable = source.mask & (pixels < np.iinfo(pixels.dtype).max - 1)
        photons = np.where(usable, pixels, 0)
        total = int(photons.sum())
        thinned.append(rng.binomial(photons, min(n / max(total, 1), 1.0)).astype(pixels.dtype))
    small = _InMemory(source, thinned, source.geometry, source.mask)
    return _stage(request, (small,), nothing_yet((small,)))


_DRIVERS: dict[str, Callable[[Request, int], Work]] = {
    "frames": _frames,
    "sweeps": _sweeps,
    "spots": _spots,
    "reflections": _reflections,
    "batches": _batches,
    "pixels": _pixels,
    "photons": _photons,
}
