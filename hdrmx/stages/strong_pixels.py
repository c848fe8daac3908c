"""Strong pixels of one frame: screen, exact test, erosion, final test, from a dense frame or from events.

`Threshold` holds what is the same for all frames, `ThresholdWork` the buffers of one thread. The answer does not depend
on the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.frames import Codec, Frame
from hdrmx.kernels import bits, threshold_frame
from hdrmx.kernels.bitshuffle import DEFAULT_BLOCK_BYTES, HEADER_BYTES
from hdrmx.kernels.threshold_limits import Place, Test, limits_of, make_test
from hdrmx.kernels.workspace import Events, Workspace
from hdrmx.models import Panel
from hdrmx.params import FindSpots

BAND_BYTES = 2 << 20  # pixels of a band: they stay in the second and third cache
FIRST_ROOM = 4096  # strong pixels; grows


class StrongPixels(NamedTuple):
    """Strong pixels of a frame, panel after panel, each in raster order."""

    slow: npt.NDArray[np.int32]  # within the panel
    fast: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]  # (panels + 1,) where each panel's pixels begin
    windows: int  # tested exactly


@dataclass(frozen=True)
class Threshold:
    """The test of a data set: settings, masks and the constants that follow from them."""

    shape: tuple[int, int]
    dtype: np.dtype
    test: Test
    mask: npt.NDArray[np.bool_]  # of the frame, flat
    places: tuple[Place, ...]  # of the panels

    @property
    def takes_events(self) -> bool:
        """Events leave out zeros (which must then be trusted) and have no sign."""
        return self.test.limits.low <= 0 and self.dtype.kind == "u"

    @property
    def is_one_panel(self) -> bool:
        """Whether a single panel makes up the whole frame."""
        (place, *others) = self.places
        return not others and (len(place.valid), place.columns) == self.shape


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
    test = make_test(params, limits, dtype)
    if test is None:  # no count is trusted
        mask, test = np.zeros_like(mask), make_test(params, limits._replace(low=0, high=0), dtype)
    assert test is not None
    flat = np.ascontiguousarray(mask, bool).reshape(-1)
    return Threshold((mask.shape[0], mask.shape[1]), dtype, test, flat, tuple(_place(p, mask) for p in panels))


def _place(panel: Panel, mask: npt.NDArray[np.bool_]) -> Place:
    (top, left), (height, columns) = panel.offset, panel.shape
    if top < 0 or left < 0 or top + height > mask.shape[0] or left + columns > mask.shape[1]:
        what = f"covers rows {top}-{top + height} and columns {left}-{left + columns} of a frame of {mask.shape} px"
        raise InputError(f"panel {panel.name}", what, "check the detector's module offsets and sizes")
    part = mask[top : top + height, left : left + columns]
    edges = np.diff(np.pad(part, ((0, 0), (1, 1)), constant_values=True).astype(np.int8), axis=1)
    rows, begins = np.nonzero(edges < 0)
    gaps = np.stack([begins, np.nonzero(edges > 0)[1]], axis=1).astype(np.int64)
    first = np.searchsorted(rows, np.arange(height + 1)).astype(np.int64)
    return Place(mask.shape[1], top * mask.shape[1] + left, columns, bits.pack(part), first, gaps)


@dataclass
class ThresholdWork:
    """Buffers of one thread, each made when it is first needed."""

    threshold: Threshold
    room: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64]] = field(
        default_factory=lambda: threshold_frame.make_room(FIRST_ROOM)
    )
    seeds: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    _of_shape: dict[tuple[int, int], threshold_frame.Work] = field(default_factory=dict)
    _laid: npt.NDArray | None = None
    _band: npt.NDArray | None = None

    def of_shape(self, rows: int, columns: int) -> threshold_frame.Work:
        """Buffers for a panel or band."""
        if (rows, columns) not in self._of_shape:
            reach = self.threshold.test.limits.reach
            self._of_shape[rows, columns] = threshold_frame.make_work(rows, columns, reach)
        return self._of_shape[rows, columns]

    @property
    def laid(self) -> npt.NDArray:
        """Flat frame in which events are laid out, zero between calls."""
        if self._laid is None:
            self._laid = np.zeros(self.threshold.mask.size, self.threshold.dtype)
        return self._laid

    def band(self, n_pixels: int) -> npt.NDArray:
        """Room for the pixels of a band."""
        if self._band is None or self._band.size < n_pixels:
            self._band = np.zeros(n_pixels, self.threshold.dtype)
        return self._band

    def taken(self, n: int) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray] | None:
        """Copies of the n strong pixels in the room; where they didn't fit, None, and there is more room."""
        if n > len(self.room[0]):
            self.room = threshold_frame.make_room(2 * n)
            return None
        slow, fast, counts = self.room
        return slow[:n].copy(), fast[:n].copy(), counts[:n].copy()


def strong_in_dense(threshold: Threshold, pixels: npt.NDArray, work: ThresholdWork) -> StrongPixels:
    """Strong pixels of a frame laid out in full.

    Parameters
    ----------
    pixels : (slow, fast), of the threshold's shape and dtype
    """
    frame = pixels.reshape(-1)
    while True:
        n, windows, first = 0, 0, [0]
        for place in threshold.places:
            rows = len(place.valid)
            own = work.of_shape(rows, place.columns)
            n, tested = threshold_frame.strong_in_rows(
                frame, threshold.mask, place, threshold.test, own, 0, rows, 0, n, work.room
            )
            windows += tested
            first.append(n)
        if found := work.taken(n):
            return StrongPixels(*found, np.array(first), windows)


def strong_in_events(threshold: Threshold, events: Events, work: ThresholdWork) -> StrongPixels:
    """Strong pixels of a frame given as events; the same as of the frame laid out in full."""
    if work.seeds.size < events.index.size:
        work.seeds = np.empty(events.index.size, np.int32)
    given = (events.index, events.count, events.n, events.offset, work.seeds, work.laid)
    while True:
        n, windows, first = 0, 0, [0]
        for place in threshold.places:
            own = work.of_shape(len(place.valid), place.columns)
            n, tested = threshold_frame.strong_in_events(*given, place, threshold.test, own, n, work.room)
            windows += tested
            first.append(n)
        if found := work.taken(n):
            return StrongPixels(*found, np.array(first), windows)


def strong_in_chunk(
    threshold: Threshold, frame: Frame, payload: npt.NDArray[np.uint8], decoding: Workspace, work: ThresholdWork
) -> StrongPixels | None:
    """Strong pixels of a bitshuffle-LZ4 frame, unpacked and searched in bands that stay in the cache.

    None where that can't be done (another codec, several panels, blocks larger than a band) or the chunk is damaged:
    `decode_dense` then does it, or says what is wrong.
    """
    height, width = threshold.shape
    itemsize = threshold.dtype.itemsize
    if frame.codec is not Codec.BSLZ4 or not threshold.is_one_panel or payload.size < HEADER_BYTES:
        return None
    block_bytes = int.from_bytes(payload[8:12].tobytes(), "big") or DEFAULT_BLOCK_BYTES
    announced = int.from_bytes(payload[:8].tobytes(), "big")
    if announced != height * width * itemsize or block_bytes % (8 * itemsize) or block_bytes > BAND_BYTES:
        return None
    beyond = threshold_frame.margin(threshold.test.limits.reach)
    rows = min(height, max(BAND_BYTES // (width * itemsize) - 2 * beyond, 2 * beyond))
    decoding.fit(block_bytes)
    scratch = (decoding.words, decoding.scratch, decoding.summary)
    band = work.band((rows + 2 * beyond) * width + block_bytes // itemsize)
    bands = (band, band.view(f"u{itemsize}"), rows, beyond)
    own = work.of_shape(rows + 2 * beyond, width)
    given = (
        payload,
        HEADER_BYTES,
        block_bytes,
        scratch,
        *bands,
        threshold.mask,
        threshold.places[0],
        threshold.test,
        own,
    )
    while True:
        n, windows, error = threshold_frame.strong_in_chunk(*given, work.room)
        if error < 0:
            return None
        if found := work.taken(n):
            return StrongPixels(*found, np.array([0, n]), windows)


def strong_map(threshold: Threshold, strong: StrongPixels) -> npt.NDArray[np.bool_]:
    """(slow, fast) of the frame, True at the strong pixels."""
    out = np.zeros(threshold.shape, bool)
    for place, begin, end in zip(threshold.places, strong.first[:-1], strong.first[1:]):
        top, left = divmod(place.first, place.width)
        out[top + strong.slow[begin:end], left + strong.fast[begin:end]] = True
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
    work = ThresholdWork(threshold)
    return strong_map(threshold, strong_in_dense(threshold, np.ascontiguousarray(counts), work))
