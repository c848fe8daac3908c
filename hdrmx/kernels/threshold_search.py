"""The passes of the dispersion test one after the other: a panel, or a band of its rows, in one call.

A call from Python gives the interpreter's lock back and takes it again, and unpacks its arguments; a dozen of them a
frame cost small frames a tenth of their time, and keep threads waiting for each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.threshold_dense import Lanes, make_lanes, make_tiles, screen
from hdrmx.kernels.threshold_exact import Sums, dispersed, gather, make_sums, outstanding
from hdrmx.kernels.threshold_limits import WIDER_px
from hdrmx.kernels.threshold_sparse import lay_out, mark_seeds


class Buffers(NamedTuple):
    """Memory of one thread for panels (or bands) of one shape."""

    narrow: Lanes
    wide: Lanes
    tiles: npt.NDArray[np.bool_]
    sums: Sums
    maps: tuple[bits.BitMap, bits.BitMap, bits.BitMap, bits.BitMap]


def make_buffers(rows: int, columns: int, reach: int) -> Buffers:
    """Buffers for at most that many rows."""
    a, b, c, d = (bits.empty_map(rows, columns) for _ in range(4))
    lanes = (make_lanes(reach, np.uint16), make_lanes(reach, np.int32))
    return Buffers(*lanes, make_tiles(rows, columns), make_sums(columns), (a, b, c, d))


@njit(cache=True, nogil=True)
def mark_pixels(frame, mask, place, test, buffers):
    """Mark the windows of a panel, given as pixels, that must be tested exactly: into map 0.

    Parameters
    ----------
    frame, mask : (pixels,) counts; bool, True where a pixel may be used
    place, test : `threshold_limits.Place`, `threshold_limits.Test`
    buffers : `Buffers` for so many rows and columns
    """
    marked = buffers.maps[0]
    bits.clear(marked)
    buffers.tiles[:] = False
    if screen(frame, mask, place, test, test.narrow, buffers.narrow, buffers.tiles, marked):
        screen(frame, mask, place, test, test.wide, buffers.wide, buffers.tiles, marked)
    _leave_what_matters(test.limits, place, buffers.maps)


@njit(cache=True, nogil=True)
def mark_events(index, count, offset, n_events, place, test, seeds, laid, sums, maps):
    """The same of a panel given as events, which are laid out where the tests will look: where map 3 is set.

    Parameters
    ----------
    index, count, offset : `workspace.Events`
    seeds : (room for n_events,) int32 to work in
    laid : (pixels of the frame,) counts, zero before; `threshold_sparse.wipe` makes it so again
    """
    mark_seeds(index, count, n_events, place, test, seeds, maps[0])
    _leave_what_matters(test.limits, place, maps)
    bits.dilate(maps[0], max(test.limits.reach, WIDER_px + 1), place.valid, maps[3])  # what either window sees
    lay_out(index, count, n_events, offset, place, maps[3], sums, laid)


@njit(cache=True, nogil=True)
def _leave_what_matters(limits, place, maps):
    """Leave in map 0 the marked pixels whose window must be tested; uses map 1.

    Only candidates in a whole neighbourhood of candidates matter to the extended test, and every
    candidate is marked: so those marked pixels remain that belong to a whole neighbourhood of marked ones.
    """
    r = limits.reach - 1
    if limits.extended and r > 0:
        bits.erode(maps[0], len(place.valid), place.columns, r, maps[1])
        bits.dilate(maps[1], r, place.valid, maps[0])


@njit(cache=True, nogil=True)
def search_marked(frame, place, test, sums, maps, begin, end, top, n, room):
    """Test exactly where map 0 says, and append the strong pixels of rows begin to end; uses maps 1 and 2.

    Parameters
    ----------
    frame : (pixels,) counts, right within reach of what is marked
    top : added to the rows of the pixels found
    n, room : pixels found before, and arrays to append to: slow, fast, counts

    Returns
    -------
    (pixels found, counted on where they don't fit the room; windows tested)
    """
    marked, found, other = maps[0], maps[1], maps[2]
    bits.clear(other)
    windows = dispersed(frame, place, test, marked, other, sums, found)
    if test.limits.extended:
        bits.erode(found, len(place.valid), place.columns, test.limits.reach - 1, other)
        windows += outstanding(frame, place, test, other, marked, sums, found)
    return gather(frame, place, found, begin, end, top, sums, n, room), windows
