"""The passes in order, from a frame to its strong pixels: dense, dense straight from a bitshuffle-LZ4 chunk, or events.

A frame of many megapixels is unpacked and searched in bands of rows, so that its pixels stay in the cache and never
go through memory. A band overlaps its neighbours by what a pixel's test can see, and keeps its own rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.bitshuffle import bslz4_dense
from hdrmx.kernels.threshold_dense import Lanes, make_lanes, screen
from hdrmx.kernels.threshold_exact import Sums, dispersed, gather, make_sums, outstanding
from hdrmx.kernels.threshold_limits import Place, WIDER_px
from hdrmx.kernels.threshold_sparse import lay_out, mark_seeds, wipe


class Work(NamedTuple):
    """Buffers of one thread for one shape of panel (or band)."""

    narrow: Lanes
    wide: Lanes
    sums: Sums
    maps: tuple[bits.BitMap, bits.BitMap, bits.BitMap, bits.BitMap]


def make_work(rows: int, columns: int, reach: int) -> Work:
    """Buffers for places of at most that many rows."""
    a, b, c, d = (bits.empty_map(rows, columns) for _ in range(4))
    return Work(make_lanes(reach, np.int16), make_lanes(reach, np.int32), make_sums(columns), (a, b, c, d))


def make_room(n: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Room for n strong pixels: slow, fast, counts."""
    return np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int64)


def margin(reach: int) -> int:
    """Rows beyond its own that the tests of a pixel see.

    The second window shows foreground, which is eroded candidates, whose windows reach out again.
    """
    return (reach + WIDER_px) + (reach - 1) + reach


@njit(cache=True, nogil=True)
def strong_in_rows(frame, mask, place, test, work, begin, end, top, n, room):
    """Append the strong pixels of rows begin to end of a place; returns (their number, windows tested).

    Parameters
    ----------
    frame, mask : (pixels,) counts; bool
    place, test : `threshold_limits.Place`, `threshold_limits.Test`
    top : added to the rows of what is found
    n, room : strong pixels so far, of `make_room`; what doesn't fit is counted only
    """
    maps = _maps(work, len(place.valid))
    screen(frame, mask, place, test, work.narrow, work.wide, maps[0])
    _choose(place, test, maps)
    windows = _test(frame, place, test, work, maps)
    return gather(frame, place, maps[1], begin, end, top, work.sums, n, room), windows


@njit(cache=True, nogil=True)
def strong_in_events(index, count, n_events, offset, seeds, laid, place, test, work, n, room):
    """Append the strong pixels of a panel of a frame given as events; returns (their number, windows tested).

    Parameters
    ----------
    index, count, n_events, offset : as in `decode.Events`
    seeds : (room for n_events,) int32 to work in
    laid : (pixels of the frame,), zero before and after
    place, test, n, room : as for `strong_in_rows`
    """
    maps = _maps(work, len(place.valid))
    mark_seeds(index, count, n_events, place, test, seeds, maps[0])
    _choose(place, test, maps)
    near = max(test.limits.reach, WIDER_px + 1)  # all that either window sees round what is marked
    bits.dilate(maps[0], near, place.valid, maps[3])
    lay_out(index, count, n_events, offset, place, maps[3], work.sums, laid)
    windows = _test(laid, place, test, work, maps)
    n = gather(laid, place, maps[1], 0, len(place.valid), 0, work.sums, n, room)
    wipe(place, maps[3], work.sums, laid)
    return n, windows


@njit(cache=True, nogil=True)
def _maps(work, rows):
    """The maps, cut to a number of rows."""
    a, b, c, d = work.maps
    return _top(a, rows), _top(b, rows), _top(c, rows), _top(d, rows)


@njit(cache=True, nogil=True)
def _top(bitmap, rows):
    return bits.BitMap(bitmap.words[:rows], bitmap.flags[:rows])


@njit(cache=True, nogil=True)
def _choose(place, test, maps):
    """Leave in map 0 the marked pixels whose window must be tested; uses map 1.

    Only candidates in a whole neighbourhood of candidates matter to the extended test, and every
    candidate is marked: so those marked pixels remain that belong to a whole neighbourhood of marked ones.
    """
    r = test.limits.reach - 1
    if test.limits.extended and r > 0:
        bits.erode(maps[0], place.columns, r, maps[1])
        bits.dilate(maps[1], r, place.valid, maps[0])


@njit(cache=True, nogil=True)
def _test(frame, place, test, work, maps):
    """Exact tests where map 0 says; strong pixels come into map 1, map 2 is used. Returns the windows tested."""
    marked, found, other = maps[0], maps[1], maps[2]
    bits.clear(other)
    windows = dispersed(frame, place, test, marked, other, work.sums, found)
    if test.limits.extended:
        bits.erode(found, place.columns, test.limits.reach - 1, other)
        windows += outstanding(frame, place, test, other, marked, work.sums, found)
    return windows


@njit(cache=True, nogil=True)
def strong_in_chunk(chunk, at, block_bytes, scratch, band, unsigned, rows, beyond, mask, place, test, work, room):
    """Unpack a bitshuffle-LZ4 chunk band by band and find the strong pixels, the panel being the whole frame.

    Parameters
    ----------
    chunk, at, block_bytes : as for `bitshuffle.bslz4_dense`
    scratch : its buffers words, scratch, summary
    band, unsigned : one buffer, as the frame's dtype and without sign; room for rows + 2 beyond rows and a block
    rows, beyond : rows of a band, and of its overlap (`margin`)
    mask, place, test, work, room : as for `strong_in_rows`

    Returns
    -------
    (strong pixels, windows tested, error of the decoder or 0)
    """
    height, width = len(place.valid), place.width
    n_pixels = height * width
    block = block_bytes // band.itemsize
    base, have, n, windows = 0, 0, 0, 0  # band[k] is pixel base + k, up to pixel `have`
    for first in range(0, height, rows):
        last = min(height, first + rows)
        top, bottom = max(0, first - beyond), min(height, last + beyond)
        _move(band, top * width - base, have - base)
        base = top * width
        missing = bottom * width - have
        if missing > 0:
            more = min((missing + block - 1) // block * block, n_pixels - have)
            at, _ = bslz4_dense(chunk, at, block_bytes, unsigned[have - base : have - base + more], *scratch)
            if at < 0:
                return n, windows, at
            have += more
        words, gaps = place.valid[top:bottom], place.gap_first[top : bottom + 1]
        part = Place(width, 0, place.columns, words, gaps, place.gaps)
        n, tested = strong_in_rows(band, mask[base:], part, test, work, first - top, last - top, top, n, room)
        windows += tested
    return n, windows, 0


@njit(cache=True, nogil=True)
def _move(band, begin, end):
    """What is still needed to the front."""
    if begin > 0:
        for k in range(begin, end):
            band[k - begin] = band[k]
