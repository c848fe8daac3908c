"""Strong pixels joined to spots by a sweep along the scan.

Pixels that share a face (in fast, slow or frame) belong together. Only the spots that reach into the latest frame are
open; the sweep adds a frame, joins its pixels to each other and to those of the frame before, and closes the spots that
have no pixel in it. Every spot is a row of integer sums, about its first pixel, so that they are exact and joining two
rows is addition: memory is one frame of pixels and the open rows, whatever the length of the scan.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

# Columns of a spot's row.
N, SUM, SQUARES_HIGH, SQUARES_LOW = 0, 1, 2, 3  # pixels, counts, squared counts (high * 2^20 + low)
FRAME, SLOW, FAST = 4, 5, 6  # origin: the first pixel
SUM_FRAME, SUM_SLOW, SUM_FAST = 7, 8, 9  # counts times distance from the origin
SUM_FRAME_2, SUM_SLOW_2, SUM_FAST_2 = 10, 11, 12
FRAME_MIN, FRAME_MAX, SLOW_MIN, SLOW_MAX, FAST_MIN, FAST_MAX = 13, 14, 15, 16, 17, 18  # inclusive
PEAK, PEAK_FRAME, PEAK_SLOW, PEAK_FAST = 19, 20, 21, 22  # the first of the highest pixels, in (frame, slow, fast)
PANEL, LAST = 23, 24  # LAST: latest frame with a pixel
COLUMNS = 25

_SPLIT = 20  # squares of 32-bit counts are kept in two parts, or a few of them would overflow


_OPEN, _FREE, _CLOSED, _TOO_SMALL, _TOO_LARGE = range(5)  # of the numbers


class _State(NamedTuple):
    """Rows of spots and who uses them."""

    parent: npt.NDArray[np.int64]  # of each row: itself, or the row it was merged into
    opened: npt.NDArray[np.int64]  # rows in use
    free: npt.NDArray[np.int64]  # rows not in use
    rows: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]  # rows in use and free; spots closed, too small and too large so far


class Grouper:
    """The sweep. `add` frames in rising order; each returns the spots that it closed, `finish` the rest.

    Parameters
    ----------
    shapes : (slow, fast) of each panel; spots don't join across panels
    over_frames : join along the scan; else each frame by itself (stills)
    min_pixels, max_pixels : smaller and larger spots are counted, not returned
    """

    def __init__(
        self, shapes: list[tuple[int, int]], *, over_frames: bool, min_pixels: int = 1, max_pixels: int = 1 << 62
    ) -> None:
        # Pixels are compared by key: no two rows, and no two panels, meet in consecutive keys.
        self._stride = np.array([fast + 1 for _, fast in shapes], np.int64)
        span = (np.array([slow + 1 for slow, _ in shapes], np.int64)) * self._stride + self._stride.max()
        self._base = np.concatenate([[0], np.cumsum(span)[:-1]]).astype(np.int64)
        self._over_frames = over_frames
        self._limits = (int(min_pixels), int(max_pixels))
        none = np.zeros(0, np.int64)
        self._state = _State(none, none, none, np.zeros((0, COLUMNS), np.int64), np.zeros(5, np.int64))
        self._closing = np.empty((0, COLUMNS), np.int64)  # room for the rows that a frame closes
        self._keys = np.zeros(0, np.int64)  # of the frame before
        self._labels = np.zeros(0, np.int64)
        self._frame = -2

    @property
    def closed(self) -> int:
        """Spots closed so far, whatever their size."""
        return int(self._state.numbers[_CLOSED])

    @property
    def too_small(self) -> int:
        return int(self._state.numbers[_TOO_SMALL])

    @property
    def too_large(self) -> int:
        return int(self._state.numbers[_TOO_LARGE])

    def add(
        self,
        frame: int,
        slow: npt.NDArray[np.int32],
        fast: npt.NDArray[np.int32],
        counts: npt.NDArray[np.int64],
        first: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Add the strong pixels of a frame.

        Parameters
        ----------
        frame : index, above that of the call before; a gap closes all spots
        slow, fast, counts : (n,) position in the panel and counts; panel after panel, each in raster order
        first : (panels + 1,) where each panel's pixels begin

        Returns
        -------
        (m, COLUMNS) rows of the spots that this frame closed, within the limits of size
        """
        if frame <= self._frame:
            raise ValueError(f"frame {frame} comes after frame {self._frame}")
        n = len(slow)
        self._make_room(int(self._state.numbers[_OPEN]) + n)
        if not self._over_frames or frame != self._frame + 1:
            self._keys, self._labels = self._keys[:0], self._labels[:0]
        before = (self._keys, self._labels)
        self._keys, self._labels, self._frame = np.empty(n, np.int64), np.empty(n, np.int64), frame
        keys = (self._base, self._stride, self._keys, self._labels)
        return self._sweep(frame, (slow, fast, counts, first), keys, before)

    def finish(self) -> npt.NDArray[np.int64]:
        """Close what is open."""
        none = np.zeros(0, np.int32)
        pixels = (none, none, self._keys[:0], np.zeros(len(self._base) + 1, np.int64))
        self._keys, self._labels = self._keys[:0], self._labels[:0]
        keys = (self._base, self._stride, self._keys, self._labels)
        return self._sweep(self._frame + 1, pixels, keys, (self._keys, self._labels))

    def _sweep(self, frame: int, pixels: tuple, keys: tuple, before: tuple) -> npt.NDArray[np.int64]:
        n = sweep(frame, pixels, keys, before, self._limits, self._state, self._closing)
        return self._closing[:n].copy()

    def _make_room(self, n: int) -> None:
        """Let n spots be open at once."""
        size = len(self._state.parent)
        if n > size:
            more = max(n, 2 * size, 256) - size
            parent, opened, free = (np.concatenate([a, np.zeros(more, np.int64)]) for a in self._state[:3])
            n_free = int(self._state.numbers[_FREE])
            free[n_free : n_free + more] = np.arange(size, size + more)
            self._state.numbers[_FREE] += more
            rows = np.concatenate([self._state.rows, np.zeros((more, COLUMNS), np.int64)])
            self._state = _State(parent, opened, free, rows, self._state.numbers)
            self._closing = np.empty_like(rows)


@njit(cache=True, nogil=True)
def sweep(frame, pixels, places, before, limits, state, out):
    """Add a frame's pixels and close the spots without any in it; returns how many rows came into `out`.

    pixels : slow, fast, counts, first, as for `Grouper.add`
    places : of the panels: first key and stride of the rows; of the pixels, set here: keys and labels
    before : keys and labels of the frame before, if it joins
    limits : pixels of a spot that is wanted
    """
    slow, fast, counts, first = pixels
    base, stride, keys, labels = places
    keys_before, labels_before = before
    least, most = limits
    _make_keys(slow, fast, first, base, stride, keys)
    _join(frame, slow, fast, counts, first, stride, keys, labels, keys_before, labels_before, state)
    return _close(frame, least, most, state, out)


@njit(cache=True, nogil=True)
def _make_keys(slow, fast, first, base, stride, keys):
    for panel in range(len(base)):
        for i in range(first[panel], first[panel + 1]):
            keys[i] = base[panel] + slow[i] * stride[panel] + fast[i]


@njit(cache=True, nogil=True)
def _join(frame, slow, fast, counts, first, stride, keys, labels, keys_before, labels_before, state):
    """Label the pixels of a frame and add them to the rows of their spots.

    Rows merged into others remain open, with another parent, until `_close`.
    """
    parent, opened, free, rows, numbers = state
    above, before = 0, 0
    for panel in range(len(first) - 1):
        for i in range(first[panel], first[panel + 1]):
            key = keys[i]
            label = np.int64(-1)
            if i > 0 and keys[i - 1] == key - 1:
                label = _root(parent, labels[i - 1])
            while above < i and keys[above] < key - stride[panel]:
                above += 1
            if above < i and keys[above] == key - stride[panel]:
                label = _merge(rows, parent, label, _root(parent, labels[above]))
            while before < len(keys_before) and keys_before[before] < key:
                before += 1
            if before < len(keys_before) and keys_before[before] == key:
                label = _merge(rows, parent, label, _root(parent, labels_before[before]))
            if label < 0:
                numbers[_FREE] -= 1
                label = free[numbers[_FREE]]
                opened[numbers[_OPEN]] = label
                numbers[_OPEN] += 1
                parent[label] = label
                _begin(rows[label], frame, slow[i], fast[i], panel)
            labels[i] = label
            _add(rows[label], frame, slow[i], fast[i], counts[i])
    for i in range(len(labels)):
        labels[i] = _root(parent, labels[i])


@njit(cache=True, nogil=True)
def _close(frame, min_pixels, max_pixels, state, out):
    """Take out the spots without a pixel in this frame; returns how many rows came into `out`."""
    parent, opened, free, rows, numbers = state
    n_open, n_out = 0, 0
    for k in range(numbers[_OPEN]):
        label = opened[k]
        row = rows[label]
        if parent[label] == label and row[LAST] == frame:
            opened[n_open] = label
            n_open += 1
            continue
        free[numbers[_FREE]] = label
        numbers[_FREE] += 1
        if parent[label] != label:
            continue
        numbers[_CLOSED] += 1
        if row[N] < min_pixels:
            numbers[_TOO_SMALL] += 1
        elif row[N] > max_pixels:
            numbers[_TOO_LARGE] += 1
        else:
            out[n_out] = row
            n_out += 1
    numbers[_OPEN] = n_open
    return n_out


@njit(cache=True, nogil=True)
def _root(parent, label):
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@njit(cache=True, nogil=True)
def _begin(row, frame, slow, fast, panel):
    row[:] = 0
    row[FRAME], row[SLOW], row[FAST], row[PANEL] = frame, slow, fast, panel
    row[FRAME_MIN], row[SLOW_MIN], row[FAST_MIN] = frame, slow, fast
    row[FRAME_MAX], row[SLOW_MAX], row[FAST_MAX] = frame, slow, fast
    row[PEAK] = np.iinfo(np.int64).min


@njit(cache=True, nogil=True)
def _add(row, frame, slow, fast, count):
    z, y, x = frame - row[FRAME], slow - row[SLOW], fast - row[FAST]
    row[N] += 1
    row[SUM] += count
    square = np.uint64(count) * np.uint64(count)  # of at most 32 bits each
    row[SQUARES_HIGH] += np.int64(square >> np.uint64(_SPLIT))
    row[SQUARES_LOW] += np.int64(square & np.uint64((1 << _SPLIT) - 1))
    row[SUM_FRAME] += count * z
    row[SUM_SLOW] += count * y
    row[SUM_FAST] += count * x
    row[SUM_FRAME_2] += count * z * z
    row[SUM_SLOW_2] += count * y * y
    row[SUM_FAST_2] += count * x * x
    row[FRAME_MAX] = max(row[FRAME_MAX], frame)
    row[SLOW_MIN], row[SLOW_MAX] = min(row[SLOW_MIN], slow), max(row[SLOW_MAX], slow)
    row[FAST_MIN], row[FAST_MAX] = min(row[FAST_MIN], fast), max(row[FAST_MAX], fast)
    if count > row[PEAK]:  # pixels come in order, so that the first of equals stays
        row[PEAK], row[PEAK_FRAME], row[PEAK_SLOW], row[PEAK_FAST] = count, frame, slow, fast
    row[LAST] = frame


@njit(cache=True, nogil=True)
def _merge(rows, parent, label, other):
    """Join two spots, the one with fewer pixels into the other; returns the row that remains."""
    if label < 0 or label == other:
        return other
    a, b = (label, other) if rows[label, N] >= rows[other, N] else (other, label)
    into, row = rows[a], rows[b]
    for k in range(3):
        shift = row[FRAME + k] - into[FRAME + k]
        into[SUM_FRAME_2 + k] += row[SUM_FRAME_2 + k] + 2 * shift * row[SUM_FRAME + k] + shift * shift * row[SUM]
        into[SUM_FRAME + k] += row[SUM_FRAME + k] + shift * row[SUM]
        low, high = FRAME_MIN + 2 * k, FRAME_MAX + 2 * k
        into[low], into[high] = min(into[low], row[low]), max(into[high], row[high])
    for k in (N, SUM, SQUARES_HIGH, SQUARES_LOW):
        into[k] += row[k]
    if _is_before(row, into):
        for k in range(PEAK, PEAK_FAST + 1):
            into[k] = row[k]
    into[LAST] = max(into[LAST], row[LAST])
    parent[b] = a
    return a


@njit(cache=True, nogil=True)
def _is_before(row, into):
    """Whether the row's peak is higher, or as high and earlier."""
    if row[PEAK] != into[PEAK]:
        return row[PEAK] > into[PEAK]
    for k in range(PEAK_FRAME, PEAK_FAST + 1):
        if row[k] != into[k]:
            return row[k] < into[k]
    return False
