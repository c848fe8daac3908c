"""Makes a data set: predicts, draws and packs frames in threads, writes them in order, and the truth beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.cbf_write import mini_header, write_mini_cbf
from hdrmx.params import Simulate
from hdrmx.simulate.background import alias_tables, draw_background
from hdrmx.simulate.defects import codes, read_out
from hdrmx.simulate.rng import For, make_key
from hdrmx.simulate.scene import Predictor, Scene, scene, shares, windows
from hdrmx.simulate.spots import Plane, draw_spots
from hdrmx.simulate.truth import TruthWriter, model, write_model
from hdrmx.simulate.write_nxmx import NxmxSink, stem

SUFFIXES = (".nxs", ".h5", ".hdf5", ".cbf")


@dataclass(frozen=True)
class Simulated:
    """What was written."""

    data: Path  # the master file, or the first CBF file
    truth: Path  # table, `truth.read_truth`
    model: Path  # JSON
    n_frames: int
    n_reflections: int  # rows of the table
    n_bytes: int  # of the frames as packed


class Sink(Protocol):
    """Where frames go."""

    marks: npt.NDArray[np.int64]
    dtype: np.dtype

    @property
    def files(self) -> list[str]: ...

    def pack(self, index: int, frame: npt.NDArray) -> bytes: ...

    def write(self, index: int, payload: bytes) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


class CbfSink:
    """Frames as mini-CBF files; written by the thread that drew them."""

    def __init__(self, folder: Path, name: str, scene: Scene) -> None:
        self._folder, self._stem, self._told = folder, stem(name), scene.told
        self.marks = np.array([0, -1, -2], np.int64)
        self.dtype = np.dtype(np.int32)
        self.files = [f"{self._stem}_{k + 1:05d}.cbf" for k in range(scene.n_frames)]
        mini_header(scene.told, 0)  # tells now what the format can't

    def pack(self, index: int, frame: npt.NDArray) -> bytes:
        path = self._folder / self.files[index]
        write_mini_cbf(path, frame, mini_header(self._told, index))
        return b""

    def write(self, index: int, payload: bytes) -> None:
        return None

    def finish(self) -> None:
        return None

    def abandon(self) -> None:
        return None


def simulate(
    settings: Simulate,
    out_path: str | Path,
    threads: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Make a data set with known truth.

    Parameters
    ----------
    settings : all that shapes the data
    out_path : `x.nxs`, `x_master.h5` (NXmx, data files beside it) or `x.cbf` (a series x_00001.cbf ...). Beside it go
        `x_truth.h5` and `x_model.json`.
    threads : the files are the same, to the byte, for any number
    overwrite : replace files of these names
    progress : called after each frame with the number of frames written and that of all

    Returns
    -------
    The names of what was written, and how much.

    Raises
    ------
    InputError : settings that contradict each other, files that exist, a folder that can't be written, a full disk.
        Files appear under their names only when all of them are complete.

    Notes
    -----
    Time ~ frames * (pixels + photons); memory: per thread 10 bytes a pixel, and the reflections of 100 frames.
    """
    path = Path(out_path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(path, f"ends in '{path.suffix}'", f"the name must end in one of {' '.join(SUFFIXES)}")
    world = scene(settings)
    folder = _temporary(path, overwrite)
    try:
        made = _simulate_into(folder, path, world, max(1, threads), progress)
        _move(made, folder, path.parent, overwrite)
        names = [path.parent / name for name in made.names]
    except (OSError, RuntimeError) as error:  # the HDF5 library reports a full disk as either
        raise InputError(path, f"can't be written ({_reason(error)})", "check the folder and the space") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    first = next(p for p in names if p.suffix == ".cbf") if path.suffix.lower() == ".cbf" else path
    return Simulated(first, names[0], names[1], world.n_frames, made.n_rows, made.n_bytes)


@dataclass(frozen=True)
class _Made:
    names: list[str]  # truth, model, then the data files
    n_rows: int
    n_bytes: int


def _simulate_into(
    folder: Path, path: Path, world: Scene, threads: int, progress: Callable[[int, int], None] | None
) -> _Made:
    names = [f"{stem(path.name)}_truth.h5", f"{stem(path.name)}_model.json"]
    sink: Sink
    if path.suffix.lower() == ".cbf":
        sink = CbfSink(folder, path.name, world)
    else:
        sink = NxmxSink(folder, path.name, world.settings, world.told, world.defects.mask, world.n_frames)
    truth = TruthWriter(folder / names[0])
    n_bytes = 0
    try:
        for done, (index, payload) in enumerate(_frames(world, sink, truth, threads), 1):
            sink.write(index, payload)
            n_bytes += len(payload)
            if progress is not None:
                progress(done, world.n_frames)
        sink.finish()
        truth.finish(world)
    except BaseException:
        sink.abandon()
        truth.abandon()
        raise
    write_model(folder / names[1], model(world, truth.n_rows, sink.files))
    return _Made(names + sink.files, truth.n_rows, n_bytes)


def _frames(world: Scene, sink: Sink, truth: TruthWriter, threads: int) -> Iterator[tuple[int, bytes]]:
    """Packed frames in order; the truth's rows go to their table as they are complete."""
    painter, predictor = Painter(world, sink), Predictor(world)
    active: dict[str, npt.NDArray] = {}
    with ThreadPoolExecutor(threads) as pool:
        for window, segment in windows(world):
            active = _concatenated(active, predictor.new_rows(window, segment))
            for index, rows, payload, drawn, seen in _window(world, painter, active, window, pool, threads):
                if len(rows):
                    active["photons_drawn"][rows] += drawn
                    active["photons_seen"][rows] += seen
                yield index, payload
            if active:
                done = active["frame_max"] <= window[1]
                truth.append({name: column[done] for name, column in active.items()})
                active = {name: column[~done] for name, column in active.items()}


def _window(
    world: Scene,
    painter: Painter,
    active: dict[str, npt.NDArray],
    window: tuple[int, int],
    pool: ThreadPoolExecutor,
    threads: int,
) -> Iterator[tuple[int, npt.NDArray, bytes, npt.NDArray, npt.NDArray]]:
    """(frame, rows, payload, photons drawn, photons seen) of each frame of a window, in order."""
    if active:
        frame, row, part = shares(world, active, window)
        mean = active["photons_full"][row] * part * world.crystal_scales[frame]
        np.add.at(active["partiality"], row, part)
        np.add.at(active["photons_expected"], row, mean)
    else:
        frame, row, mean = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    bounds = np.searchsorted(frame, np.arange(window[0], window[1] + 1))
    waiting: deque[tuple[int, npt.NDArray, Future[Any]]] = deque()
    for index in range(*window):
        here = slice(bounds[index - window[0]], bounds[index - window[0] + 1])
        rows, means = row[here], mean[here]
        axes = active["_axes"][rows] if active else np.empty((0, 3, 3))
        ids = active["_id"][rows] if active else np.empty(0, np.uint64)
        waiting.append((index, rows, pool.submit(painter.paint, index, ids, means, axes)))
        if len(waiting) > 2 * threads:
            yield _result(*waiting.popleft())
    while waiting:
        yield _result(*waiting.popleft())


def _result(
    index: int, rows: npt.NDArray, future: Future[Any]
) -> tuple[int, npt.NDArray, bytes, npt.NDArray, npt.NDArray]:
    payload, drawn, seen = future.result()
    return index, rows, payload, drawn, seen


def _concatenated(old: dict[str, npt.NDArray], new: dict[str, npt.NDArray]) -> dict[str, npt.NDArray]:
    if not old or not new:
        return new or old
    return {name: np.concatenate([old[name], new[name]]) for name in old}


class Painter:
    """Draws frames; safe in several threads, each with buffers of its own."""

    def __init__(self, world: Scene, sink: Sink) -> None:
        self._world, self._sink = world, sink
        self._plane = Plane.of(world.true.detector.panels[0])
        self._codes = codes(world.defects.mask).ravel()
        self._saturation = int(world.true.detector.trusted[1])
        self._mine = threading.local()

    def counts(
        self, index: int, ids: npt.NDArray, means: npt.NDArray, axes: npt.NDArray
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(counts (slow, fast), photons drawn, photons seen) of a frame; the counts are this thread's buffer."""
        world, seed, state = self._world, self._world.settings.seed, self._world.defects
        counts = self._buffer("counts", np.dtype(np.uint32))
        scale, ground = float(world.background_scales[index]), world.background
        tables = alias_tables(ground.level_means * scale)
        key = make_key(seed, For.BACKGROUND, index)
        draw_background(
            key, ground.levels.ravel(), ground.level_means, ground.block_peaks, scale, *tables, counts.ravel()
        )
        drawn, seen = np.zeros(len(means), np.int64), np.zeros(len(means), np.int64)
        plane, key = self._plane, make_key(seed, For.SPOTS, index)
        draw_spots(
            key, ids, means, axes, world.sigma_b, plane.inverse, plane.axes, plane.sensor, state.transmission,
            counts, drawn, seen,
        )  # fmt: skip
        if len(state.hot):
            noise = np.random.Generator(np.random.Philox(key=[int(make_key(seed, For.DEFECTS, index)), 1]))
            counts.ravel()[state.hot] += noise.poisson(state.hot_counts).astype(np.uint32)
        return counts, drawn, seen

    def paint(
        self, index: int, ids: npt.NDArray, means: npt.NDArray, axes: npt.NDArray
    ) -> tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(packed frame, photons drawn, photons seen)."""
        counts, drawn, seen = self.counts(index, ids, means, axes)
        out = self._buffer("out", self._sink.dtype)
        read_out(counts.ravel(), self._codes, self._saturation, self._sink.marks, out.ravel())
        return self._sink.pack(index, out), drawn, seen

    def _buffer(self, name: str, dtype: np.dtype) -> npt.NDArray:
        if not hasattr(self._mine, name):
            setattr(self._mine, name, np.empty(self._world.defects.mask.shape, dtype))
        return getattr(self._mine, name)


def _temporary(path: Path, overwrite: bool) -> Path:
    """A folder beside the output, on the same file system, so that a rename completes it."""
    if path.is_dir():
        raise InputError(path, "is a folder", "give the name of a file")
    if path.exists() and not overwrite:
        raise InputError(path, "exists", "choose another name, or use --overwrite")
    if not path.parent.is_dir():
        raise InputError(path.parent, "is not a folder", "make it first")
    try:
        return Path(tempfile.mkdtemp(prefix=f".{stem(path.name)}.part", dir=path.parent))
    except OSError as error:
        raise InputError(path.parent, f"can't be written ({_reason(error)})", "choose another folder") from None


def _move(made: _Made, folder: Path, target: Path, overwrite: bool) -> None:
    """Move all files to their place, the master last."""
    for name in made.names:
        if (target / name).exists() and not overwrite:
            raise InputError(target / name, "exists", "choose another name, or use --overwrite")
    for name in made.names:
        os.replace(folder / name, target / name)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
