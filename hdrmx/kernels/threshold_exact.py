"""The dispersion tests in double precision, for the few windows that a screen has marked.

The frame is given flat and need only be right within reach of the marked pixels, so that the same code serves dense
frames and frames laid out from events. Formulae and order of operations are those of `threshold_plain`; all sums
are of integers below 2^53 and so exact in double precision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels import bits
from hdrmx.kernels.threshold_limits import BIG, WIDER_px


class Sums(NamedTuple):
    """Work buffers of one row of a panel: sums down the columns of a window, and runs of marked pixels."""

    m: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]


def make_sums(columns: int) -> Sums:
    """Buffers for a panel of that many columns."""
    m, x, y = np.zeros((3, columns))
    starts, stops = np.zeros((2, columns // 2 + 33), np.int64)
    return Sums(m, x, y, starts, stops)


@njit(cache=True, nogil=True)
def dispersed(frame, mask, place, test, marked, sums, found):
    """Set in `found` the marked pixels that pass the test of their window; returns the windows tested.

    For the extended test these are the candidates; for the simple one the strong pixels.

    Parameters
    ----------
    frame, mask : (pixels,) counts; bool
    place : `threshold_limits.Place`
    test : `threshold_limits.Test`
    marked, found : `bits.BitMap`; marked pixels are unmasked
    """
    height, columns = len(marked.words), place.columns
    reach = test.limits.reach
    tested = 0
    bits.clear(found)
    for i in range(height):
        n_runs = bits.runs(marked, i, sums.starts, sums.stops)
        for r in range(n_runs):
            begin, end = sums.starts[r], sums.stops[r]
            a, b = max(0, begin - reach), min(columns, end + reach)
            m, x, y = sums.m[: b - a], sums.x[: b - a], sums.y[: b - a]
            m[:], x[:], y[:] = 0.0, 0.0, 0.0
            for k in range(max(0, i - reach), min(height, i + reach + 1)):
                at = place.first + k * place.width + a
                _add_columns(frame[at : at + b - a], mask[at : at + b - a], test.limit, m, x, y)
            row = place.first + i * place.width
            tested += _test_run(frame, row, begin, end, a, b, test, m, x, y, found, i)
    return tested


@njit(cache=True, nogil=True)
def _add_columns(pixels, mask, limit, m, x, y):
    low, high = limit
    for j in range(len(pixels)):
        v = pixels[j]
        summed = (v >= low) & (v <= high) & (v < BIG) & mask[j]
        one = 1.0 if summed else 0.0
        p = np.float64(v) if summed else 0.0
        m[j] += one
        x[j] += p
        y[j] += p * p


@njit(cache=True, nogil=True)
def _test_run(frame, row, begin, end, a, b, test, m, x, y, found, i):
    """Test the windows of pixels begin to end of one row; m, x, y are sums down columns a to b."""
    low, high = test.limit
    limits, reach = test.limits, test.limits.reach
    m_in, x_in, y_in = 0.0, 0.0, 0.0
    for c in range(a, min(b, begin + reach)):
        m_in, x_in, y_in = m_in + m[c - a], x_in + x[c - a], y_in + y[c - a]
    for c in range(begin, end):
        if c + reach < b:
            m_in, x_in, y_in = m_in + m[c + reach - a], x_in + x[c + reach - a], y_in + y[c + reach - a]
        v = frame[row + c]
        if v >= low and v <= high and m_in >= limits.min_local and x_in >= 0.0:
            root = test.spread[np.int64(m_in)]
            if limits.unit_gain:
                passes = m_in * y_in - x_in * x_in - x_in * (m_in - 1.0) > x_in * limits.sigma_background * root
            else:
                allowed = m_in - 1.0 + limits.sigma_background * root
                passes = m_in * y_in - x_in * x_in > limits.gain * x_in * allowed
            if passes and not limits.extended:
                excess = m_in * v - x_in
                passes = v > limits.above and excess > limits.sigma_strong * np.sqrt(limits.gain * x_in * m_in)
            if passes:
                bits.put(found, i, c // 64, bits.ONE << np.uint64(c % 64))
        if c - reach >= a:
            m_in, x_in, y_in = m_in - m[c - reach - a], x_in - x[c - reach - a], y_in - y[c - reach - a]
    return end - begin


@njit(cache=True, nogil=True)
def outstanding(frame, mask, place, test, foreground, sums, found):
    """Set in `found` the foreground pixels that stand out from the background round them; returns windows tested.

    The background of a pixel is what is not foreground in a window wider by 2 px on each side.
    Parameters as for `dispersed`; `foreground` is the eroded map of candidates.
    """
    height, columns = len(foreground.words), place.columns
    reach = test.limits.reach + WIDER_px
    tested = 0
    bits.clear(found)
    for i in range(height):
        n_runs = bits.runs(foreground, i, sums.starts, sums.stops)
        row = place.first + i * place.width
        for r in range(n_runs):
            begin, end = _shorten(frame, row, sums.starts[r], sums.stops[r], test.limits.above)
            if begin == end:
                continue
            a, b = max(0, begin - reach), min(columns, end + reach)
            m, x = sums.m[: b - a], sums.x[: b - a]
            m[:], x[:] = 0.0, 0.0
            for k in range(max(0, i - reach), min(height, i + reach + 1)):
                at = place.first + k * place.width + a
                _add_background(frame[at : at + b - a], mask[at : at + b - a], test.limit, foreground.words[k], a, m, x)
            tested += _stand_out(frame, row, begin, end, a, b, test.limits, m, x, reach, found, i)
    return tested


@njit(cache=True, nogil=True)
def _shorten(frame, row, begin, end, above):
    """The part of a run from its first to its last pixel with more counts than `above`."""
    while begin < end and not frame[row + begin] > above:
        begin += 1
    while begin < end and not frame[row + end - 1] > above:
        end -= 1
    return begin, end


@njit(cache=True, nogil=True)
def _add_background(pixels, mask, limit, foreground, a, m, x):
    low, high = limit
    for j in range(len(pixels)):
        v = pixels[j]
        c = a + j
        is_foreground = (foreground[c // 64] >> np.uint64(c % 64)) & bits.ONE != bits.ZERO
        if v >= low and v <= high and v < BIG and mask[j] and not is_foreground:
            m[j] += 1.0
            x[j] += np.float64(v)


@njit(cache=True, nogil=True)
def _stand_out(frame, row, begin, end, a, b, limits, m, x, reach, found, i):
    tested = 0
    m_in, x_in = 0.0, 0.0
    for c in range(a, min(b, begin + reach)):
        m_in, x_in = m_in + m[c - a], x_in + x[c - a]
    for c in range(begin, end):
        if c + reach < b:
            m_in, x_in = m_in + m[c + reach - a], x_in + x[c + reach - a]
        v = np.float64(frame[row + c])
        if v > limits.above and x_in >= 0.0:
            tested += 1
            mean = x_in / m_in if m_in >= 2.0 else 0.0
            if v >= mean + limits.sigma_strong * np.sqrt(limits.gain * mean):
                bits.put(found, i, c // 64, bits.ONE << np.uint64(c % 64))
        if c - reach >= a:
            m_in, x_in = m_in - m[c - reach - a], x_in - x[c - reach - a]
    return tested


@njit(cache=True, nogil=True)
def gather(frame, place, strong, begin, end, top, sums, n, room):
    """Append the strong pixels of rows begin to end, in raster order, to the n in the room; returns how many there are.

    `top` is added to the row. What doesn't fit the room is counted only.
    """
    slow, fast, counts = room
    for i in range(begin, end):
        n_runs = bits.runs(strong, i, sums.starts, sums.stops)
        for r in range(n_runs):
            for c in range(sums.starts[r], sums.stops[r]):
                if n < len(slow):
                    slow[n] = top + i
                    fast[n] = c
                    counts[n] = frame[place.first + i * place.width + c]
                n += 1
    return n
