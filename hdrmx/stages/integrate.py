"""Stage `integrate`: intensities of the predicted reflections, in one pass over the frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Frame
from hdrmx.integration import flags
from hdrmx.integration.background import KINDS
from hdrmx.integration.blocks import Block, Claims, Shape, shape_of
from hdrmx.integration.corrections import lorentz_polarization, quantum_efficiency
from hdrmx.integration.profile_model import Floats, ProfileModel
from hdrmx.integration.profiles import References, choose, gaussian, is_unlike, learn, points_in_pixel
from hdrmx.integration.summation import believed, expected_intensity, is_overloaded, sum_variance, summed
from hdrmx.kernels import integrate_profile as fits
from hdrmx.kernels import integrate_sum as s
from hdrmx.kernels.bitshuffle import EVENT_BIN
from hdrmx.kernels.decode import can_decode_events, decode_dense, decode_events, pack_valid
from hdrmx.kernels.integrate_background import TABLE
from hdrmx.kernels.workspace import Events, Workspace
from hdrmx.models import Geometry
from hdrmx.observe import Around, unobserved
from hdrmx.params import Integrate
from hdrmx.stages.in_order import in_order

DEFAULT = Integrate()
# A frame whose chunk has fewer bits a pixel than this is read as events.
SPARSE_BITS_PER_PIXEL = 0.8
_AHEAD = 3  # frames in work for each thread
# Least correlation with the last profile of a reflection that is to be learned from: else it holds a defect.
MIN_CORRELATION = 0.5
_CHUNK = 128  # reflections that a thread takes at a time


@dataclass(frozen=True)
class Integrated:
    """Intensities of one scan.

    Attributes
    ----------
    table : columns `tables.INTEGRATED`, the rows of the predictions
    profile : the model used
    references : profiles of each block
    blocks : one row a block: first and last + 1 frame closed in it, reflections, references, voxels
    per_frame : frame, background (mean over reflections, count/px), mean I/sigma and number of reflections
    bad_frames : (index, reason) of frames left out
    counts : work done, by name
    """

    table: pd.DataFrame
    profile: ProfileModel
    references: tuple[References, ...]
    blocks: pd.DataFrame
    per_frame: pd.DataFrame
    bad_frames: tuple[tuple[int, str], ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def integrate(
    predicted: pd.DataFrame,
    frames: Iterable[Frame],
    mask: npt.NDArray[np.bool_],
    geometry: Geometry,
    profile: ProfileModel,
    params: Integrate = DEFAULT,
    *,
    threads: int = 1,
    skip_bad_frames: bool = False,
    around: Around = unobserved,
) -> Integrated:
    """Integrate one scan by summation and by profile fitting.

    Parameters
    ----------
    predicted : `tables.PREDICTED`, made with the same geometry and profile model
    frames : read once, in scan order; a missing one leaves its pixels unusable
    mask : (slow, fast), True where a pixel may be used; counts outside of the trusted range come on top
    threads : the result doesn't depend on it, nor on `params.kernel`
    skip_bad_frames : leave out frames that can't be decoded, and list them

    Raises
    ------
    BadFrame : a frame can't be decoded
    InputError : there is nothing to integrate; mask, frames and panels don't fit together; no frame lies in the scan

    Notes
    -----
    Boxes are open while the scan passes them, and are kept until their block of frames is complete: its reference
    profiles are learned from its own strong reflections, then fitted to all. Time ~ frames * pixels (decoding)
    + reflections * pixels of a box; memory: a few frames, and the boxes of about two blocks, whatever the scan's
    length. After Kabsch (2010) Acta Cryst. D66, 133-144 and Winter et al. (2018) Acta Cryst. D74, 85-97;
    docs/integration.md tells where it departs from these.
    """
    if len(predicted) == 0:
        raise InputError("integration", "no reflection is predicted", "check the crystal and predict.d_min")
    work = _Integrator(predicted, mask, geometry, profile, params, threads)
    bad: list[tuple[int, str]] = []
    with around("boxes"):
        for frame, seen in in_order(work.read, frames, threads, ahead=_AHEAD, name="integrate"):
            if isinstance(seen, BadFrame):
                if not skip_bad_frames:
                    raise seen
                bad.append((frame.index, seen.reason))
                continue
            work.take(seen)
        work.finish()
    if work.n_frames == 0:
        raise InputError("integration", "no frame lies within the scan", "check that model and images belong together")
    table = work.table()
    counts = work.counts() | {"bad_frames": len(bad)} | _tally(table)
    blocks = pd.DataFrame(work.blocks, columns=["frame_min", "frame_max", "reflections", "references", "voxels"])
    return Integrated(table, profile, tuple(work.references), blocks, _per_frame(table), tuple(bad), counts)


@dataclass
class _Seen:
    """A frame decoded: either laid out, or as events."""

    index: int
    n_bytes: int
    pixels: npt.NDArray | None
    events: Events | None
    workspace: Workspace


class _Integrator:
    """What the pass over the frames carries along."""

    def __init__(
        self,
        predicted: pd.DataFrame,
        mask: npt.NDArray[np.bool_],
        geometry: Geometry,
        profile: ProfileModel,
        params: Integrate,
        threads: int,
    ) -> None:
        scan = geometry.scan
        if scan is None or scan.is_still:
            raise InputError("integration", "the images are stills", "rotation data are needed")
        self._predicted, self._geometry, self._profile, self._params = predicted, geometry, profile, params
        self._mask, self._threads, self._scan = np.ascontiguousarray(mask, bool), threads, scan
        for p in geometry.detector.panels:
            if p.offset[0] + p.shape[0] > mask.shape[0] or p.offset[1] + p.shape[1] > mask.shape[1]:
                what = f"panel {p.name} ends at {p.offset[0] + p.shape[0]}, {p.offset[1] + p.shape[1]}"
                raise InputError("integration", f"{what} px; the mask has {mask.shape}", "give the frames' own mask")
        block_frames = max(ceil(np.radians(params.block_deg) / abs(scan.width_rad)), 1)
        self._shape: Shape = shape_of(predicted, geometry, profile, block_frames, params.block_voxels)
        largest = int(self._shape.n_voxels.max())
        if largest > params.block_voxels:
            what = f"a reflection's box has {largest} pixels, more than block_voxels = {params.block_voxels}"
            raise InputError("integration", what, "check the profile model, or raise predict.min_zeta")
        size = (self._shape.box[:, 3] - self._shape.box[:, 2] + 1).astype(np.int64)
        size *= self._shape.box[:, 5] - self._shape.box[:, 4] + 1
        self._corners = int(size.max())
        self._eps = np.empty(self._corners), np.empty(self._corners)
        low, high = geometry.detector.trusted
        limits = int(max(ceil(low), 0)), int(min(np.floor(high), 2**30 - 1))
        claims = np.zeros(mask.size, np.uint16)
        self._claims = Claims(self._mask.reshape(-1), claims, mask.shape[1], *limits)
        self._valid = pack_valid(self._mask)
        n = len(predicted)
        self._sums, self._fits = np.zeros((n, s.COLUMNS)), np.full((n, fits.COLUMNS), np.nan)
        self._numbers = {name: np.full(n, np.nan) for name in ("sum", "sum_var", "prf", "prf_var", "background_sum")}
        self._is_reference = np.zeros(n, bool)
        self._d = predicted["d"].to_numpy()[self._shape.order]
        self._partiality = predicted["partiality"].to_numpy()[self._shape.order]
        self._cell = _cells(self._shape, mask.shape, params.grid_cells)
        self._last_references = gaussian(params.grid_cells**2)
        self._points = points_in_pixel(geometry, profile)
        self._open: deque[Block] = deque()
        self._next_block, self._frame = 0, scan.first
        self.references: list[References] = []
        self.blocks: list[tuple[int, ...]] = []
        self.n_frames = self._n_bytes = self._n_sparse = self._n_events = 0
        self._free: deque[_Seen] = deque()
        self._mine = threading.local()

    # reading: in any thread

    def read(self, frame: Frame) -> _Seen:
        """Decode a frame; BadFrame when that fails or it is of another shape."""
        if frame.shape != self._mask.shape:
            raise InputError(
                frame.where, f"frames have {frame.shape} px, the mask {self._mask.shape}", "give its own mask"
            )
        seen = self._buffers(frame)
        seen.index = frame.index
        wants = self._params.kernel
        may = can_decode_events(frame) and frame.dtype.kind == "u" and self._claims.low == 0
        if may and wants != "dense":
            payload = frame.load()
            is_sparse = 8 * payload.size < SPARSE_BITS_PER_PIXEL * self._mask.size
            if wants == "sparse" or is_sparse:
                loaded = Frame(frame.index, frame.shape, frame.dtype, frame.codec, lambda: payload, frame.where)
                seen.events = seen.events or Events(frame.shape)
                seen.n_bytes = decode_events(loaded, self._valid, seen.events, seen.workspace)
                seen.pixels = None
                return seen
        seen.n_bytes = decode_dense(frame, seen.workspace.dense, seen.workspace)
        seen.pixels = seen.workspace.dense
        return seen

    def _buffers(self, frame: Frame) -> _Seen:
        try:
            seen = self._free.pop()
        except IndexError:
            return _Seen(0, 0, None, None, Workspace(frame.shape, frame.dtype))
        if seen.workspace.dtype != frame.dtype:
            raise BadFrame(frame.where, frame.index, f"{frame.dtype} px; the first frame had {seen.workspace.dtype}")
        return seen

    # filling boxes: in the order of the frames

    def take(self, seen: _Seen) -> None:
        """Put a frame's pixels where they belong."""
        first, n = self._scan.first, self._scan.n_frames
        if first <= seen.index < first + n:
            self._move_to(seen.index)
            for block in self._open:
                if seen.pixels is None:
                    assert seen.events is not None
                    block.take_events(seen.index, seen.events, EVENT_BIN, self._claims)
                else:
                    block.take_dense(seen.index, seen.pixels.reshape(-1), self._claims)
            self.n_frames += 1
            self._n_bytes += seen.n_bytes
            if seen.pixels is None and seen.events is not None:
                self._n_sparse += 1
                self._n_events += seen.events.n
        self._free.append(seen)

    def finish(self) -> None:
        """Close what is open."""
        self._move_to(self._scan.first + self._scan.n_frames)

    def _move_to(self, frame: int) -> None:
        """Close the boxes that ended before this frame, and open those that begin by it."""
        end = self._scan.first + self._scan.n_frames
        if frame == self._frame < end:
            self._open_boxes(frame)
        while self._frame < frame:
            self._open_boxes(self._frame)
            for block in self._open:
                block.close(self._frame, self._claims)
            self._frame += 1
            while self._open and self._shape.last[self._open[0].number] <= self._frame:
                self._finish_block(self._open.popleft())
            if self._frame < end:
                self._open_boxes(self._frame)

    def _open_boxes(self, frame: int) -> None:
        while self._next_block < len(self._shape.last) and self._shape.opens[self._next_block] <= frame:
            self._open.append(Block(self._shape, self._next_block))
            self._next_block += 1
        for block in self._open:
            block.open(frame, self._profile.delta_b, self._claims, *self._eps)

    # a block is complete

    def _finish_block(self, block: Block) -> None:
        rows = slice(block.begin, block.end)
        first = int(self._shape.last[block.number - 1]) if block.number else self._scan.first
        n_references = 0
        if len(block):
            sums, fitted = self._sums[rows], self._fits[rows]
            self._in_parts(len(block), lambda a, b: self._sum_part(block, sums, a, b))
            found = summed(sums, self._params.min_background_px)
            d, part = self._d[rows], self._partiality[rows]
            expected = expected_intensity(found.value, part, d)
            variance = sum_variance(found, part, expected)
            self._keep(rows, sum=found.value, sum_var=variance, background_sum=found.background)
            if self._params.profile:
                n_references = self._fit_block(block, sums, fitted, found.value, variance, expected)
        self.blocks.append((first, int(self._shape.last[block.number]), len(block), n_references, len(block.voxels)))

    def _fit_block(
        self, block: Block, sums: Floats, fitted: Floats, value: Floats, variance: Floats, expected: Floats
    ) -> int:
        rows = slice(block.begin, block.end)
        cell = self._cell[rows]
        chosen = choose(value, np.sqrt(variance), self._partiality[rows], sums, self._params.reference_sigma)
        self._fit_rows(block, sums, fitted, expected, cell, self._last_references, chosen)
        chosen = chosen[fitted[chosen, fits.CORRELATION] >= MIN_CORRELATION]
        before, where = self._last_references, (self._profile, self._points)
        profiles = learn(block, sums, value, chosen, cell, before, *where, self._run_all)
        self._last_references = profiles
        self.references.append(profiles)
        self._is_reference[rows][chosen] = True
        fit = (block, sums, fitted, expected, cell, profiles)
        self._in_parts(len(block), lambda a, b: self._fit_rows(*fit, np.arange(a, b)))
        of_b, of_i = fitted[:, fits.VARIANCE_B], fitted[:, fits.VARIANCE_I]
        variance = of_b + of_i * believed(fitted[:, fits.VALUE], of_b, of_i, expected)
        fails = (fitted[:, fits.FRACTION] < self._params.min_profile) | (
            sums[:, s.N_BACKGROUND] < self._params.min_background_px
        )
        fails |= is_unlike(fitted[:, fits.VALUE], variance, fitted[:, fits.CORRELATION], sums[:, s.N_VALID])
        result = np.where(fails, np.nan, fitted[:, fits.VALUE])
        self._keep(rows, prf=result, prf_var=variance)
        return len(chosen)

    def _sum_part(self, block: Block, sums: Floats, begin: int, end: int) -> None:
        tally, large = self._counting_room(block)
        boxes = (block.box, block.pixel_at, block.voxel_at, block.foreground, block.voxels)
        shares = self._params.overlaps == "share"
        s.sum_boxes(begin, end, *boxes, KINDS[self._params.background], shares, tally, large, sums)

    def _counting_room(self, block: Block) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        most = int(np.diff(block.voxel_at).max())
        room = getattr(self._mine, "room", None)
        if room is None or len(room[1]) < most:
            room = self._mine.room = (np.zeros(TABLE, np.int64), np.zeros(most, np.int64))
        return room

    def _fit_rows(
        self,
        block: Block,
        sums: Floats,
        fitted: Floats,
        expected: Floats,
        cell: npt.NDArray[np.int64],
        profiles: References,
        rows: npt.NDArray[np.int64],
    ) -> None:
        longest = int((block.box[:, 1] - block.box[:, 0]).max())
        room = [np.empty(self._corners) for _ in range(3)] + [np.empty(longest)]
        boxes = (block.ray, block.box, block.pixel_at, block.voxel_at, block.foreground, block.voxels)
        model = (profiles.across, profiles.along, self._profile.sigma_b_rad, self._points)
        shares = self._params.overlaps == "share"
        where = (sums, block.frame, block.per_frame, expected, cell)
        arguments: tuple[Any, ...] = (*boxes, *where, *model, shares, *room, fitted)
        fits.fit_boxes(rows, *arguments)

    def _in_parts(self, n: int, do: Callable[[int, int], None]) -> None:
        """Run do(begin, end) over all rows, in as many threads as may be used."""
        size = n if self._threads <= 1 else _CHUNK
        self._run_all([partial(do, a, min(a + size, n)) for a in range(0, n, size)])

    def _run_all(self, tasks: list[Callable[[], None]]) -> None:
        if self._threads <= 1 or len(tasks) == 1:
            for task in tasks:
                task()
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="integrate") as pool:
            for future in [pool.submit(task) for task in tasks]:
                future.result()

    def _keep(self, rows: slice, **values: Floats) -> None:
        for name, value in values.items():
            self._numbers[name][rows] = value

    # results

    def table(self) -> pd.DataFrame:
        """`tables.INTEGRATED`, in the order of the predictions."""
        back = np.empty_like(self._shape.order)
        back[self._shape.order] = np.arange(len(back))
        sums, fitted = self._sums[back], self._fits[back]
        numbers = {name: v[back] for name, v in self._numbers.items()}
        p = self._predicted
        s1, panel = p[["s1_x", "s1_y", "s1_z"]].to_numpy(), p["panel"].to_numpy()
        columns: dict[str, Any] = {
            "flags": self._flags(sums, fitted, numbers, self._is_reference[back]),
            "sum_value": numbers["sum"],
            "sum_variance": np.where(np.isfinite(numbers["sum"]), numbers["sum_var"], np.nan),
            "prf_value": numbers["prf"],
            "prf_variance": np.where(np.isfinite(numbers["prf"]), numbers["prf_var"], np.nan),
            "prf_correlation": fitted[:, fits.CORRELATION],
            "background": sums[:, s.BACKGROUND],
            "background_sum": numbers["background_sum"],
            "n_foreground": sums[:, s.N_FOREGROUND],
            "n_valid": sums[:, s.N_VALID],
            "n_background": sums[:, s.N_BACKGROUND],
            "profile_fraction": fitted[:, fits.FRACTION],
            "foreground_fraction": fitted[:, fits.FOREGROUND_FRACTION],
            "frame_obs": sums[:, s.FRAME],
            "slow_obs": sums[:, s.SLOW],
            "fast_obs": sums[:, s.FAST],
            "lp": lorentz_polarization(s1, self._geometry),
            "qe": quantum_efficiency(panel, s1, self._geometry),
        }
        new = {c.name: np.asarray(columns[c.name]).astype(c.dtype) for c in tables.INTEGRATED if c.name in columns}
        table = p[[c.name for c in tables.PREDICTED]].assign(**new)
        tables.check(table, tables.INTEGRATED)
        return table

    def _flags(
        self, sums: Floats, fitted: Floats, numbers: dict[str, Floats], is_reference: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int32]:
        has_background = sums[:, s.N_BACKGROUND] >= self._params.min_background_px
        has_sum, has_fit = np.isfinite(numbers["sum"]), np.isfinite(numbers["prf"])
        bits = {
            flags.PREDICTED: np.ones(len(sums), bool),
            flags.REFERENCE: is_reference,
            flags.INTEGRATED_SUM: has_sum,
            flags.INTEGRATED_PRF: has_fit,
            flags.OVERLOADED: is_overloaded(sums, self._geometry.detector.trusted[1]),
            flags.OVERLAPPED_BACKGROUND: sums[:, s.N_BACKGROUND_OVERLAPPED] > 0,
            flags.OVERLAPPED_FOREGROUND: sums[:, s.N_OVERLAPPED] > 0,
            flags.BAD_FOREGROUND: sums[:, s.N_VALID] < sums[:, s.N_FOREGROUND],
            flags.BAD_BACKGROUND: sums[:, s.N_BACKGROUND_BAD] > 0,
            flags.FAILED_BACKGROUND: ~has_background,
            flags.FAILED_SUMMATION: ~has_sum,
            flags.FAILED_PROFILE: ~has_fit if self._params.profile else np.zeros(len(sums), bool),
        }
        result = np.zeros(len(sums), np.int32)
        for bit, where in bits.items():
            result[where] |= bit
        return result

    def counts(self) -> dict[str, int]:
        """Work done, by name."""
        iterations = self._fits[:, fits.ITERATIONS]
        return {
            "frames": self.n_frames,
            "decodes": self.n_frames,
            "bytes_in": self._n_bytes,
            "pixels": self.n_frames * self._mask.size,
            "sparse_frames": self._n_sparse,
            "events": self._n_events,
            "predicted": len(self._sums),
            "shoebox_pixels": int(self._shape.n_voxels.sum()),
            "background_steps": int(self._sums[:, s.STEPS].sum()),
            "fit_iterations": int(np.nansum(iterations)),
            "blocks": len(self.blocks),
        }


def _cells(shape: Shape, frame_shape: tuple[int, int], n: int) -> npt.NDArray[np.int64]:
    """Cell of the detector that each box's middle lies in, row after row of an n x n grid."""
    middle = 0.5 * (shape.box[:, 2:6:2] + shape.box[:, 3:6:2]) + shape.place[:, :2]
    at = np.clip((middle / np.array(frame_shape) * n).astype(np.int64), 0, n - 1)
    return at[:, 0] * n + at[:, 1]


def _tally(table: pd.DataFrame) -> dict[str, int]:
    bits = table["flags"].to_numpy()
    done = {"integrated_sum": flags.INTEGRATED_SUM, "integrated_prf": flags.INTEGRATED_PRF, **flags.REASONS}
    return {name: int(((bits & bit) != 0).sum()) for name, bit in done.items()}


def _per_frame(table: pd.DataFrame) -> pd.DataFrame:
    """One row a frame in which reflections have their centre."""
    ratio = table["prf_value"] / np.sqrt(table["prf_variance"])
    ratio = ratio.where(np.isfinite(ratio), table["sum_value"] / np.sqrt(table["sum_variance"]))
    grouped = pd.DataFrame(
        {"frame": np.floor(table["frame"]).astype(np.int64), "background": table["background"], "i_over_sigma": ratio}
    ).groupby("frame")
    return grouped.agg(
        background=("background", "mean"), i_over_sigma=("i_over_sigma", "mean"), reflections=("background", "size")
    ).reset_index()
