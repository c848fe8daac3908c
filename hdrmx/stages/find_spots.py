"""Spot finding: strong pixels frame by frame, joined over neighbouring frames."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Frame
from hdrmx.kernels.decode import (
    Events,
    Workspace,
    can_decode_events,
    decode_dense,
    decode_events,
    pack_valid,
    payload_of,
)
from hdrmx.kernels.grouping import COLUMNS, Grouper
from hdrmx.models import Detector, Geometry
from hdrmx.observe import Around, Part, no_part, unobserved
from hdrmx.params import FindSpots
from hdrmx.stages.in_order import in_order
from hdrmx.stages.resolution_mask import resolution_mask
from hdrmx.stages.spot_pixels import spot_pixels
from hdrmx.stages.spot_table import peak_to_centroid_px, spot_table
from hdrmx.stages.strong_pixels import (
    StrongPixels,
    Threshold,
    ThresholdWork,
    make_threshold,
    strong_in_chunk,
    strong_in_dense,
    strong_in_events,
)

# A frame whose chunk has fewer bits per pixel than this is read as events (by bytes of a pixel). The chunk's size tells
# the density before the frame is decoded, and leaves the choice to the frame alone, whatever thread it falls to.
SPARSE_BITS_PER_PIXEL = {1: 1.1, 2: 1.1, 4: 1.6}
MIN_PIXELS = {"pixel-array": 3}
MIN_PIXELS_OTHERWISE = 6
_AHEAD = 4  # handfuls of frames in work for each thread: enough to keep them busy, few enough to keep memory flat
_HANDFUL_PIXELS = 4 << 20  # a handful of frames, which a thread takes at once, has about so many pixels


@dataclass(frozen=True)
class FoundSpots:
    """Spots of one scan.

    Attributes
    ----------
    spots : columns `tables.SPOTS`, by (frame, slow, fast) of the centroid
    counts : exact amounts of work, by name
    bad_frames : (index, reason) of the frames left out
    per_frame : one row a frame: index, strong_pixels, spots (whose centroid lies in it), bytes_in, sparse, events
        (-1 where the frame was decoded in full), windows (tested exactly)
    pixels : strong pixels of the spots, columns `tables.SPOT_PIXELS`; None unless `keep_pixels` asks for them
    """

    spots: pd.DataFrame
    counts: dict[str, int]
    bad_frames: tuple[tuple[int, str], ...] = ()
    per_frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    pixels: pd.DataFrame | None = None


def find_spots(
    frames: Iterable[Frame],
    mask: npt.NDArray[np.bool_],
    geometry: Geometry,
    params: FindSpots,
    *,
    threads: int = 1,
    skip_bad_frames: bool = False,
    around: Around = unobserved,
) -> FoundSpots:
    """Find the spots of one scan, or of a set of stills.

    Strong pixels are picked frame by frame by the dispersion of the counts round them, then joined over
    neighbouring frames where they share a face; in stills each frame is for itself. A frame left out is a gap, over
    which nothing is joined. Centroids are count-weighted.

    Parameters
    ----------
    frames : read once, in scan order
    mask : (slow, fast), True where a pixel may be used; counts outside of the trusted range come on top
    geometry : panels (which are looked at one by one), trusted range, beam; stills where there is no scan
    threads : frames in work at a time; the result doesn't depend on it, nor on `params.kernel`
    skip_bad_frames : leave out frames that can't be decoded, or have too many strong pixels, and list them

    Returns
    -------
    Without strong pixels the table has no rows.

    Raises
    ------
    BadFrame : a frame can't be decoded, or has more than `max_strong_fraction` of strong pixels
    InputError : frame, mask and panels don't fit together

    Notes
    -----
    Time ~ pixels (dense) or photons (sparse); memory: a few frames for each thread, and the spots.
    After Winter et al. (2018) Acta Cryst. D74, 85-97; behaviour of DIALS 3.12, from which it departs only in keeping
    sums exact (docs/spot_finding.md).
    """
    usable = resolution_mask(mask, geometry, params)
    detect = _StrongPixelFinder(usable, geometry.detector, params)
    shapes = [panel.shape for panel in geometry.detector.panels]
    over_frames = geometry.scan is not None and not geometry.scan.is_still
    grouper = Grouper(
        shapes,
        over_frames=over_frames,
        min_pixels=params.min_pixels or MIN_PIXELS.get(geometry.detector.kind, MIN_PIXELS_OTHERWISE),
        max_pixels=params.max_pixels,
    )
    closed = [np.zeros((0, COLUMNS), np.int64)]
    looks: list[_Look] = []
    strong: list[tuple[int, StrongPixels]] = []
    bad: list[tuple[int, str]] = []
    together = max(1, round(_HANDFUL_PIXELS / usable.size))
    with around("strong_pixels") as span:
        detect.part = span.part
        try:
            for frame, seen in in_order(detect, frames, threads, ahead=_AHEAD, name="find_spots", together=together):
                if isinstance(seen, BadFrame):
                    if not skip_bad_frames:
                        raise seen
                    bad.append((frame.index, seen.reason))
                    continue
                with span.part("group"):
                    closed.append(grouper.add(frame.index, *seen.strong[:4]))
                looks.append(seen.summary())
                if params.keep_pixels:
                    strong.append((frame.index, seen.strong))
        finally:  # what was reached is told also where a frame or the user ends it
            span.count(**_reached(looks, usable.size), bad_frames=len(bad))
        closed.append(grouper.finish())
    with around("spot_table"):
        rows = np.concatenate(closed)
        near = peak_to_centroid_px(rows) <= params.max_separation_px
        spots = spot_table(rows[near])
        per_frame = _per_frame(looks, spots)
        pixels = spot_pixels(strong, rows[near], shapes, over_frames=over_frames) if params.keep_pixels else None
    counts = _reached(looks, usable.size) | {
        "bad_frames": len(bad),
        "components": grouper.closed,
        "dropped_too_small": grouper.too_small,
        "dropped_too_large": grouper.too_large,
        "dropped_far_peak": len(rows) - len(spots),
        "spots": len(spots),
    }
    return FoundSpots(spots, counts, tuple(bad), per_frame, pixels)


class _Look(NamedTuple):
    """What is kept of a frame."""

    frame: int
    strong_pixels: int
    bytes_in: int
    events: int  # -1: decoded in full
    windows: int


class _Seen(NamedTuple):
    """What a worker brings back of a frame."""

    frame: int
    strong: StrongPixels
    bytes_in: int
    events: int

    def summary(self) -> _Look:
        return _Look(self.frame, len(self.strong.slow), self.bytes_in, self.events, self.strong.windows)


class _StrongPixelFinder:
    """Strong pixels of any frame; each thread has its own buffers, made at its first frame."""

    def __init__(self, usable: npt.NDArray[np.bool_], detector: Detector, params: FindSpots) -> None:
        self._usable, self._detector, self._params = usable, detector, params
        self._lock = threading.Lock()
        self._mine = threading.local()
        self.part: Part = no_part  # bracket round reading, decoding and testing
        self.threshold: Threshold | None = None
        self._valid = np.zeros(0, np.uint8)
        n_pixels = sum(panel.shape[0] * panel.shape[1] for panel in detector.panels)
        fraction = params.max_strong_fraction
        self._most = ceil(fraction * n_pixels) if fraction < 1 else n_pixels

    def __call__(self, frame: Frame) -> _Seen:
        threshold, part = self._prepare(frame), self.part
        with part("read"):
            payload = payload_of(frame)
        work, own, events = self._buffers(threshold)
        n_bytes, n_events = payload.size, -1
        if self._is_sparse(frame, threshold, payload.size):
            with part("decode"):
                decode_events(frame, self._valid, events, work, payload)
            with part("threshold"):
                strong, n_events = strong_in_events(threshold, events, own), events.n
        elif found := strong_in_chunk(threshold, frame, payload, work, own, part):
            strong = found
        else:
            with part("decode"):
                decode_dense(frame, work.dense, work, payload)
            with part("threshold"):
                strong = strong_in_dense(threshold, work.dense, own)
        if len(strong.slow) > self._most:
            reason = f"{len(strong.slow)} strong pixels, more than the {self._most} that max_strong_fraction allows"
            raise BadFrame(frame.where, frame.index, reason)
        return _Seen(frame.index, strong, n_bytes, n_events)

    def _is_sparse(self, frame: Frame, threshold: Threshold, n_bytes: int) -> bool:
        if self._params.kernel == "dense" or not threshold.takes_events:
            return False
        limit = SPARSE_BITS_PER_PIXEL[frame.dtype.itemsize] * threshold.mask.size
        few = can_decode_events(frame) and 8 * n_bytes < limit
        return self._params.kernel == "sparse" or few

    def _prepare(self, frame: Frame) -> Threshold:
        """The test, made at the first frame, whose dtype it needs."""
        threshold = self.threshold
        if threshold is None:
            with self._lock:
                threshold = self.threshold = self.threshold or self._threshold_for(frame)
        if (frame.shape, frame.dtype) != (threshold.shape, threshold.dtype):
            reason = f"{frame.dtype} {frame.shape} px; the first frame had {threshold.dtype}"
            raise BadFrame(frame.where, frame.index, f"{reason} {threshold.shape} px")
        return threshold

    def _threshold_for(self, frame: Frame) -> Threshold:
        if frame.shape != self._usable.shape:
            what = f"frame {frame.index} has {frame.shape} px, the mask {self._usable.shape}"
            raise InputError(frame.where, what, "give a mask of the frames' shape")
        self._valid = pack_valid(self._usable)
        args = (self._detector.panels, self._detector.trusted, self._params, frame.dtype)
        return make_threshold(self._usable, *args, self._detector.gain)

    def _buffers(self, threshold: Threshold) -> tuple[Workspace, ThresholdWork, Events]:
        """This thread's."""
        mine = self._mine
        if not hasattr(mine, "buffers"):
            shape = threshold.shape
            mine.buffers = (Workspace(shape, threshold.dtype), ThresholdWork(threshold), Events(shape))
        return mine.buffers


def _per_frame(looks: list[_Look], spots: pd.DataFrame) -> pd.DataFrame:
    """One row a frame that was looked at."""
    table = pd.DataFrame(looks, columns=["index", *_Look._fields[1:]]).astype(np.int64)
    index = table["index"].to_numpy()
    at = np.floor(spots["frame"].to_numpy()).astype(np.int64)
    where = np.searchsorted(index, at)
    inside = where < len(index)
    inside[inside] = index[where[inside]] == at[inside]
    table.insert(2, "spots", np.bincount(where[inside], minlength=len(index)).astype(np.int64))
    table.insert(4, "sparse", table["events"] >= 0)
    return table


def _reached(looks: list[_Look], n_pixels: int) -> dict[str, int]:
    """Exact amounts of work over the frames looked at."""
    table = np.array(looks, np.int64).reshape(-1, len(_Look._fields))
    _, strong_pixels, bytes_in, events, windows = (table[:, k] for k in range(table.shape[1]))
    sparse = events >= 0
    return {
        "frames": len(table),
        "decodes": len(table),
        "bytes_in": int(bytes_in.sum()),
        "pixels": len(table) * n_pixels,
        "events": int(events[sparse].sum()),
        "sparse_frames": int(sparse.sum()),
        "dense_frames": int((~sparse).sum()),
        "windows": int(windows.sum()),
        "strong_pixels": int(strong_pixels.sum()),
    }
