"""Strong pixels of one frame, from its pixels or from events; the answer does not depend on the path.

The passes: windows that might be too dispersed are marked (`threshold_dense`, `threshold_sparse`); of these, those that
can matter are tested exactly; candidates are eroded to the foreground; foreground pixels that stand out from the
background round them are strong (`threshold_exact`). `Threshold` holds what is the same for all frames,
`ThresholdWork` the buffers of one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.frames import Codec, Frame
from hdrmx.kernels import bits
from hdrmx.kernels.bitshuffle import DEFAULT_BLOCK_BYTES, HEADER_BYTES, bslz4_dense
from hdrmx.kernels.threshold_limits import Place, Test, WIDER_px, limits_of, make_test
from hdrmx.kernels.threshold_search import Buffers, make_buffers, mark_events, mark_pixels, search_marked
from hdrmx.kernels.threshold_sparse import wipe
from hdrmx.kernels.workspace import Events, Workspace
from hdrmx.models import Panel
from hdrmx.observe import Part, no_part
from hdrmx.params import FindSpots

BAND_BYTES = 4 << 20  # pixels of a band, which stay in the third cache
FIRST_ROOM = 4096  # strong pixels; grows

Room = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64]]  # slow, fast, counts


class StrongPixels(NamedTuple):
    """Strong pixels of a frame, panel after panel, each in raster order."""

    slow: npt.NDArray[np.int32]  # within the panel
    fast: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]  # (panels + 1,) where each panel's pixels begin
    windows: int  # tested exactly


@dataclass(frozen=True)
class Threshold:
    """The test of a data set: settings, masks and the constants that follow from them.

    `kernel_dtype` is what the kernels see, to keep their variants few: uint8 goes as uint16, int32 as uint32
    (negative counts are then beyond any limit) unless negative counts are trusted.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    kernel_dtype: np.dtype
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
    info = np.iinfo(dtype)
    limits = limits._replace(low=max(limits.low, int(info.min)), high=min(limits.high, int(info.max)))
    if limits.low > limits.high:  # no count is trusted
        mask, limits = np.zeros_like(mask), limits._replace(low=0, high=0)
    kind = np.dtype(np.uint16) if dtype.itemsize < 4 else dtype if limits.low < 0 else np.dtype(np.uint32)
    flat = np.ascontiguousarray(mask, bool).reshape(-1)
    shape, places = (mask.shape[0], mask.shape[1]), tuple(_place(p, mask) for p in panels)
    return Threshold(shape, dtype, kind, make_test(params, limits, kind), flat, places)


def _place(panel: Panel, mask: npt.NDArray[np.bool_]) -> Place:
    (top, left), (height, columns) = panel.offset, panel.shape
    if top < 0 or left < 0 or top + height > mask.shape[0] or left + columns > mask.shape[1]:
        what = f"covers rows {top}-{top + height} and columns {left}-{left + columns} of a frame of {mask.shape} px"
        raise InputError(f"panel {panel.name}", what, "check the detector's module offsets and sizes")
    part = mask[top : top + height, left : left + columns]
    valid = bits.pack(part)
    first, gaps = np.zeros(height + 1, np.int64), np.zeros((0, 2), np.int64)
    while (n := bits.unset_runs(valid, columns, first, gaps)) > len(gaps):
        gaps = np.zeros((n, 2), np.int64)
    return Place(mask.shape[1], top * mask.shape[1] + left, columns, valid, first, gaps)


@dataclass
class ThresholdWork:
    """Memory of one thread, each part made when it is first needed."""

    threshold: Threshold
    room: Room = field(default_factory=lambda: make_room(FIRST_ROOM))
    _buffers: dict[tuple[int, int], Buffers] = field(default_factory=dict)
    _arrays: dict[str, npt.NDArray] = field(default_factory=dict)

    def buffers(self, rows: int, columns: int) -> Buffers:
        """For a panel or band."""
        if (rows, columns) not in self._buffers:
            self._buffers[rows, columns] = make_buffers(rows, columns, self.threshold.test.limits.reach)
        return self._buffers[rows, columns]

    def array(self, name: str, size: int, dtype: npt.DTypeLike) -> npt.NDArray:
        """A flat array of at least this size, zero at first."""
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = np.zeros(size, dtype)
        return self._arrays[name]

    @property
    def laid(self) -> npt.NDArray:
        """Flat frame in which events are laid out, zero between calls."""
        return self.array("laid", self.threshold.mask.size, self.threshold.kernel_dtype)

    def taken(self, n: int) -> Room | None:
        """Copies of the n strong pixels in the room; where they didn't fit, None, and there is more room."""
        if n > len(self.room[0]):
            self.room = make_room(2 * n)
            return None
        slow, fast, counts = self.room
        return slow[:n].copy(), fast[:n].copy(), counts[:n].copy()


def make_room(n: int) -> Room:
    """Room for n strong pixels."""
    return np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64)


def strong_in_dense(threshold: Threshold, pixels: npt.NDArray, work: ThresholdWork) -> StrongPixels:
    """Strong pixels of a frame laid out in full.

    Parameters
    ----------
    pixels : (slow, fast), of the threshold's shape and dtype, C order
    """
    frame = pixels.reshape(-1)
    if threshold.dtype.itemsize < threshold.kernel_dtype.itemsize:
        wider = work.array("frame", frame.size, threshold.kernel_dtype)
        wider[:] = frame
        frame = wider
    frame, test = frame.view(threshold.kernel_dtype), threshold.test
    while True:
        n, windows, first = 0, 0, [0]
        for place in threshold.places:
            rows = len(place.valid)
            buffers = work.buffers(rows, place.columns)
            mark_pixels(frame, threshold.mask, place, test, buffers)
            n, tested = search_marked(frame, place, test, buffers.sums, buffers.maps, 0, rows, 0, n, work.room)
            windows += tested
            first.append(n)
        if found := work.taken(n):
            return StrongPixels(*found, np.array(first), windows)


def strong_in_events(threshold: Threshold, events: Events, work: ThresholdWork) -> StrongPixels:
    """Strong pixels of a frame given as events; the same as of the frame laid out in full."""
    test, laid = threshold.test, work.laid
    given = (events.index, events.count, events.offset, events.n)
    seeds = work.array("seeds", events.index.size, np.int32)
    while True:
        n, windows, first = 0, 0, [0]
        for place in threshold.places:
            buffers = work.buffers(len(place.valid), place.columns)
            sums, maps = buffers.sums, buffers.maps
            mark_events(*given, place, test, seeds, laid, sums, maps)
            n, tested = search_marked(laid, place, test, sums, maps, 0, len(place.valid), 0, n, work.room)
            wipe(place, maps[3], sums, laid)
            windows += tested
            first.append(n)
        if found := work.taken(n):
            return StrongPixels(*found, np.array(first), windows)


def strong_in_chunk(
    threshold: Threshold,
    frame: Frame,
    payload: npt.NDArray[np.uint8],
    decoding: Workspace,
    work: ThresholdWork,
    part: Part = no_part,
) -> StrongPixels | None:
    """Strong pixels of a bitshuffle-LZ4 frame, unpacked and searched in bands that stay in the cache.

    A band overlaps its neighbours by what the tests of a pixel can see, and keeps its own rows. None where that can't
    be done (another codec or type, several panels, blocks larger than a band) or the chunk is damaged: `decode_dense`
    then does it, or says what is wrong. `part` brackets decoding and testing.
    """
    (height, width), test = threshold.shape, threshold.test
    itemsize, kind = threshold.dtype.itemsize, threshold.kernel_dtype
    if frame.codec is not Codec.BSLZ4 or not threshold.is_one_panel or kind.itemsize != itemsize:
        return None
    block_bytes = _block_bytes(payload, height * width * itemsize, itemsize)
    if not 0 < block_bytes <= BAND_BYTES:
        return None
    block, beyond = block_bytes // itemsize, margin(test.limits.reach)
    rows = min(height, max(BAND_BYTES // (width * itemsize) - 2 * beyond, 2 * beyond))
    band = work.array("band", (rows + 2 * beyond) * width + block, kind)
    pixels = band.view(f"u{itemsize}")
    buffers = work.buffers(rows + 2 * beyond, width)
    decoding.fit(block_bytes)
    scratch = (decoding.words, decoding.scratch, decoding.summary)
    (whole,) = threshold.places
    while True:
        at, base, have, n, windows = HEADER_BYTES, 0, 0, 0, 0  # band[k] is pixel base + k, up to pixel `have`
        for first in range(0, height, rows):
            last = min(height, first + rows)
            top, bottom = max(0, first - beyond), min(height, last + beyond)
            band[: have - top * width] = band[top * width - base : have - base].copy()
            base = top * width
            if (missing := bottom * width - have) > 0:
                more = min(-(-missing // block) * block, height * width - have)
                target = pixels[have - base : have - base + more]
                with part("decode"):
                    at, _ = bslz4_dense(payload, at, block_bytes, target, *scratch)
                if at < 0:
                    return None
                have += more
            place = Place(width, 0, width, whole.valid[top:bottom], whole.gap_first[top : bottom + 1], whole.gaps)
            own = (first - top, last - top, top)
            with part("threshold"):
                mark_pixels(band, threshold.mask[base:], place, test, buffers)
                n, tested = search_marked(band, place, test, buffers.sums, buffers.maps, *own, n, work.room)
            windows += tested
        if found := work.taken(n):
            return StrongPixels(*found, np.array([0, n]), windows)


def margin(reach: int) -> int:
    """Rows beyond its own that the tests of a pixel see.

    The second window shows foreground, which is eroded candidates, whose windows reach out again.
    """
    return (reach + WIDER_px) + (reach - 1) + reach


def _block_bytes(payload: npt.NDArray[np.uint8], n_bytes: int, itemsize: int) -> int:
    """Bytes of a block, of a chunk's header; 0 where it isn't right."""
    if payload.size < HEADER_BYTES or int.from_bytes(payload[:8].tobytes(), "big") != n_bytes:
        return 0
    block_bytes = int.from_bytes(payload[8:HEADER_BYTES].tobytes(), "big") or DEFAULT_BLOCK_BYTES
    return 0 if block_bytes % (8 * itemsize) else block_bytes


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
