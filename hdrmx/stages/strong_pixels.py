"""Strong pixels of one frame: screen, exact test, erosion, final test, from a dense frame or from events.

`Threshold` holds what is the same for all frames, `ThresholdWork` the buffers of one thread. The answer does not depend
on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.kernels import bits
from hdrmx.kernels.threshold_dense import Lanes, make_lanes, screen
from hdrmx.kernels.threshold_exact import Sums, dispersed, gather, make_sums, outstanding
from hdrmx.kernels.threshold_limits import Limits, WIDER_px, limits_of, lines_of, seed_count, spread_table
from hdrmx.kernels.threshold_sparse import lay_out, mark_seeds, wipe
from hdrmx.kernels.workspace import Events
from hdrmx.models import Panel
from hdrmx.params import FindSpots


class StrongPixels(NamedTuple):
    """Strong pixels of a frame, panel after panel, each in raster order."""

    slow: npt.NDArray[np.int32]  # within the panel
    fast: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]  # (panels + 1,) where each panel's pixels begin
    windows: int  # tested exactly


@dataclass(frozen=True)
class PanelPlace:
    """A panel's part of the frame, and its mask."""

    top: int
    left: int
    height: int
    columns: int
    valid: npt.NDArray[np.uint64]  # (height, words)


@dataclass(frozen=True)
class Threshold:
    """The test of a data set: settings, masks and the constants that follow from them."""

    shape: tuple[int, int]
    dtype: np.dtype
    limits: Limits
    limit: tuple[np.generic, np.generic]  # trusted counts in the frame's dtype
    spread: npt.NDArray[np.float64]
    lines: npt.NDArray[np.int64]
    best_slope: float
    seed: int
    mask: npt.NDArray[np.bool_]  # of the frame, flat
    panels: tuple[PanelPlace, ...]

    @property
    def takes_events(self) -> bool:
        """Events leave out zeros (which must then be trusted) and have no sign."""
        return self.limits.low <= 0 and self.dtype.kind == "u"


def make_threshold(
    mask: npt.NDArray[np.bool_],
    panels: Sequence[Panel],
    trusted: tuple[float, float],
    params: FindSpots,
    dtype: np.dtype,
    detector_gain: float = 1.0,
) -> Threshold:
    """Prepare the test for frames of the mask's shape.

    Raises
    ------
    InputError : a panel lies outside of the frame, or `min_local` is more than a window has
    """
    dtype = np.dtype(dtype)
    try:
        limits = limits_of(params, trusted, detector_gain)
    except ValueError as error:
        raise InputError("find_spots", str(error), "choose a smaller min_local or a larger kernel_px") from None
    info = np.iinfo(dtype)
    low, high = max(limits.low, int(info.min)), min(limits.high, int(info.max))
    nothing = low > high  # then no count is trusted
    lines, best_slope = lines_of(params, limits.gain)
    return Threshold(
        shape=(mask.shape[0], mask.shape[1]),
        dtype=dtype,
        limits=limits,
        limit=(dtype.type(0 if nothing else low), dtype.type(0 if nothing else high)),
        spread=spread_table(params.kernel_px),
        lines=lines,
        best_slope=best_slope,
        seed=seed_count(params, limits.gain),
        mask=np.zeros(mask.size, bool) if nothing else np.ascontiguousarray(mask, bool).reshape(-1),
        panels=tuple(_place(panel, mask, nothing) for panel in panels),
    )


def _place(panel: Panel, mask: npt.NDArray[np.bool_], nothing: bool) -> PanelPlace:
    (top, left), (height, columns) = panel.offset, panel.shape
    if top < 0 or left < 0 or top + height > mask.shape[0] or left + columns > mask.shape[1]:
        what = f"covers rows {top}-{top + height} and columns {left}-{left + columns} of a frame of {mask.shape} px"
        raise InputError(f"panel {panel.name}", what, "check the detector's module offsets and sizes")
    part = mask[top : top + height, left : left + columns]
    return PanelPlace(top, left, height, columns, bits.pack(part & (not nothing)))


@dataclass(frozen=True)
class ThresholdWork:
    """Buffers of one thread."""

    narrow: Lanes
    wide: Lanes
    sums: Sums
    maps: dict[tuple[int, int], tuple[bits.BitMap, ...]]  # four for each shape of panel
    room: list[npt.NDArray]  # for strong pixels: slow, fast, counts
    laid: npt.NDArray  # flat frame for events, zero between calls

    @staticmethod
    def of(threshold: Threshold, *, events: bool) -> ThresholdWork:
        """Buffers for frames of `threshold`; with a frame to lay out events in where asked for."""
        shapes = {(p.height, p.columns) for p in threshold.panels}
        reach = threshold.limits.reach
        return ThresholdWork(
            narrow=make_lanes(reach, np.int16),
            wide=make_lanes(reach, np.int32),
            sums=make_sums(max(p.columns for p in threshold.panels)),
            maps={shape: tuple(bits.empty_map(*shape) for _ in range(4)) for shape in shapes},
            room=[np.empty(4096, dtype) for dtype in (np.int32, np.int32, np.int64)],
            laid=np.zeros(threshold.mask.size if events else 0, threshold.dtype),
        )


def strong_in_dense(threshold: Threshold, pixels: npt.NDArray, work: ThresholdWork) -> StrongPixels:
    """Strong pixels of a frame laid out in full.

    Parameters
    ----------
    pixels : (slow, fast), of the threshold's shape and dtype
    """
    frame = pixels.reshape(-1)
    found = []
    for place in threshold.panels:
        maps = work.maps[place.height, place.columns]
        screen(
            frame,
            threshold.mask,
            threshold.shape[1],
            place.top * threshold.shape[1] + place.left,
            threshold.limit,
            threshold.lines,
            threshold.best_slope,
            work.narrow,
            work.wide,
            threshold.limits.reach,
            place.columns,
            place.valid,
            maps[0],
        )
        _choose(threshold, place, maps)
        found.append(_strong(threshold, place, frame, maps, work))
    return _joined(found)


def strong_in_events(threshold: Threshold, events: Events, work: ThresholdWork) -> StrongPixels:
    """Strong pixels of a frame given as events; the same as of the frame laid out in full."""
    width, reach = threshold.shape[1], threshold.limits.reach
    list_of = (events.index, events.count, events.n)
    found = []
    for place in threshold.panels:
        at = (width, place.top, place.left)
        maps = work.maps[place.height, place.columns]
        high = np.uint32(threshold.limit[1])
        mark_seeds(*list_of, threshold.seed, high, *at, place.columns, reach, place.valid, maps[0])
        _choose(threshold, place, maps)
        near = maps[3]
        bits.dilate(maps[0], max(reach, WIDER_px + 1), place.valid, near)  # all that either window sees
        lay_out(*list_of, events.offset, *at, place.columns, near, work.sums, work.laid)
        found.append(_strong(threshold, place, work.laid, maps, work))
        wipe(*at, place.columns, near, work.sums, work.laid)
    return _joined(found)


def _choose(threshold: Threshold, place: PanelPlace, maps: tuple[bits.BitMap, ...]) -> None:
    """Leave in map 0 the marked pixels whose window must be tested; uses map 1.

    Only candidates in a whole neighbourhood of candidates matter to the extended test, and every
    candidate is marked: so those marked pixels remain that belong to a whole neighbourhood of marked ones.
    """
    r = threshold.limits.reach - 1
    if threshold.limits.extended and r > 0:
        bits.erode(maps[0], place.columns, r, maps[1])
        bits.dilate(maps[1], r, place.valid, maps[0])


def _strong(
    threshold: Threshold,
    place: PanelPlace,
    frame: npt.NDArray,
    maps: tuple[bits.BitMap, ...],
    work: ThresholdWork,
) -> StrongPixels:
    """Exact tests of one panel where map 0 says; uses maps 1 and 2."""
    width = threshold.shape[1]
    first = place.top * width + place.left
    at = (frame, threshold.mask, width, first, place.columns, threshold.limit, threshold.limits)
    found = maps[1]
    windows = dispersed(*at, threshold.spread, maps[0], work.sums, found)
    if threshold.limits.extended:
        bits.erode(found, place.columns, threshold.limits.reach - 1, maps[2])
        windows += outstanding(*at, maps[2], work.sums, found)
    n = gather(frame, width, first, found, work.sums, *work.room)
    if n > len(work.room[0]):
        work.room[:] = [np.empty(2 * n, array.dtype) for array in work.room]
        gather(frame, width, first, found, work.sums, *work.room)
    slow, fast, counts = (array[:n].copy() for array in work.room)
    return StrongPixels(slow, fast, counts, np.array([0, n]), windows)


def _joined(panels: list[StrongPixels]) -> StrongPixels:
    if len(panels) == 1:
        return panels[0]
    first = np.concatenate([[0], np.cumsum([len(p.slow) for p in panels])])
    slow, fast, counts = (np.concatenate([p[k] for p in panels]) for k in range(3))
    return StrongPixels(slow, fast, counts, first, sum(p.windows for p in panels))


def strong_map(threshold: Threshold, strong: StrongPixels) -> npt.NDArray[np.bool_]:
    """(slow, fast) of the frame, True at the strong pixels."""
    out = np.zeros(threshold.shape, bool)
    for place, begin, end in zip(threshold.panels, strong.first[:-1], strong.first[1:]):
        out[place.top + strong.slow[begin:end], place.left + strong.fast[begin:end]] = True
    return out


def strong_pixels(
    counts: npt.NDArray, mask: npt.NDArray[np.bool_], trusted: tuple[float, float], params: FindSpots
) -> npt.NDArray[np.bool_]:
    """Strong pixels of one array taken as one panel, through the dense path: for comparisons and notebooks.

    Parameters
    ----------
    counts : (slow, fast), uint8, uint16, uint32 or int32
    mask : (slow, fast), True where a pixel may be used
    trusted : counts that can be trusted, inclusive
    """
    panel = Panel("whole", counts.shape, (1.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    threshold = make_threshold(mask, [panel], trusted, params, counts.dtype)
    work = ThresholdWork.of(threshold, events=False)
    return strong_map(threshold, strong_in_dense(threshold, np.ascontiguousarray(counts), work))
