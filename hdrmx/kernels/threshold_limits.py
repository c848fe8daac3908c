"""Constants of the dispersion test, and the two bounds that let most windows go untested.

Notation: a window has m usable pixels with sum x and sum of squares y; g is the gain, b the setting
`sigma_background`, M the number of pixels of a full window. A window is too dispersed for background when

    y > R(m, x) = x^2 / m + g x c(m),    c(m) = (m - 1 + b sqrt(2 (m - 1))) / m.

Line. For any slope A, x^2/m + g x c - A x is least at x = m (A - g c)/2, so that R(m, x) >= A x - B with
B = max over m of m/4 max(0, A - g c(m))^2. A window that passes therefore has sum(p^2 - A p) > -B: one box sum of
one function of the pixel, in integers, whatever the mask. The bound is tight near x = M (A - g c(M))/2, so A
is chosen by the local mean; any A gives the same answer in the end, since what passes is tested exactly.

Seed. y <= p_max x and x >= p_max in a window of counts, so that a window passes only if
p_max > g (1 + b sqrt(2 / (m - 1))) for some m: no candidate without such a pixel within reach.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hdrmx.params import FindSpots

BIG = 1 << 24  # counts from here on stand outside all sums, as in DIALS; the pixels themselves are tested
WIDER_px = 2  # the second window of the extended test is this much wider on each side


class Limits(NamedTuple):
    """The test as the kernels take it."""

    reach: int  # half-width of the first window, px
    min_local: int
    gain: float
    unit_gain: bool  # the formula without a gain rounds differently in the last bit
    sigma_background: float
    sigma_strong: float
    above: float  # a strong pixel has more counts than this
    low: int  # trusted counts, inclusive
    high: int
    extended: bool


class Test(NamedTuple):
    """The test of a data set, as the kernels take it; `make_test` makes it."""

    limits: Limits
    limit: tuple[np.generic, np.generic]  # trusted counts, inclusive, in the frame's dtype
    spread: npt.NDArray[np.float64]  # of `spread_table`
    lines: npt.NDArray[np.int64]  # of `lines_of`
    best_slope: float
    seed: int


class Place(NamedTuple):
    """Rows of a panel within a flat frame."""

    width: int  # pixels in a row of the frame
    first: int  # index of the first pixel
    columns: int
    valid: npt.NDArray[np.uint64]  # (rows, words), the mask, 64 pixels a word
    gap_first: npt.NDArray[np.int64]  # (rows + 1,) the gaps of each row
    gaps: npt.NDArray[np.int64]  # (n, 2) begin and end of the runs of masked pixels


class Line(NamedTuple):
    """A window may be too dispersed only if sum(p^2 - slope p) > floor, p clamped to [slope - cap, cap]."""

    slope: int
    floor: int
    cap: int


def limits_of(params: FindSpots, trusted: tuple[float, float], detector_gain: float = 1.0) -> Limits:
    """Settings and trusted range as the kernels take them. ValueError where `min_local` exceeds the window."""
    window = (2 * params.kernel_px + 1) ** 2
    if params.min_local > window:
        raise ValueError(f"min_local is {params.min_local}; a window has {window} pixels")
    gain = params.gain * detector_gain
    low, high = max(trusted[0], -(2.0**31)), min(trusted[1], 2.0**32 - 1)
    return Limits(
        reach=params.kernel_px,
        min_local=params.min_local,
        gain=gain,
        unit_gain=gain == 1.0,
        sigma_background=params.sigma_background,
        sigma_strong=params.sigma_strong,
        above=params.global_threshold * detector_gain,
        low=math.ceil(low),
        high=math.floor(high),
        extended=params.threshold == "dispersion_extended",
    )


def make_test(params: FindSpots, limits: Limits, dtype: np.dtype) -> Test | None:
    """The test for frames of a dtype; None where none of its counts can be trusted."""
    info = np.iinfo(dtype)
    low, high = max(limits.low, int(info.min)), min(limits.high, int(info.max))
    if low > high:
        return None
    lines, best_slope = lines_of(params, limits.gain)
    limit = (dtype.type(low), dtype.type(high))
    return Test(limits, limit, spread_table(limits.reach), lines, best_slope, seed_count(params, limits.gain))


def spread_table(reach: int) -> npt.NDArray[np.float64]:
    """(M + 1,) sqrt(2 (m - 1)) for each number m of usable pixels in a window; 0 where m is 0."""
    m = np.arange((2 * reach + 1) ** 2 + 1, dtype=np.float64)
    return np.sqrt(2.0 * np.maximum(m - 1.0, 0.0))


def seed_count(params: FindSpots, gain: float) -> int:
    """Fewest counts of the brightest pixel of a window that is too dispersed, over all masks."""
    m = np.arange(params.min_local, (2 * params.kernel_px + 1) ** 2 + 1)
    bound = gain * (1.0 + params.sigma_background * np.sqrt(2.0 / (m - 1))).min()
    return max(1, math.floor(bound * (1.0 - 1e-9)) + 1)


def lines_of(params: FindSpots, gain: float) -> tuple[npt.NDArray[np.int64], float]:
    """Lines for every local mean, by rising slope, and the slope that suits a mean of 0.

    Returns
    -------
    (n, 4) int64: slope, floor, cap, bits of the lanes its sums fit (16 or 32). Beyond the last slope nothing fits:
    a row of zeros in `bits` stands for that.
    best_slope : for a local mean mu the line with a slope near best_slope + 2 mu is the tightest
    """
    rows: list[tuple[int, int, int, int]] = []
    m, c = _proportional(params, gain)
    best = float(c[-1])
    slope = max(1, round(best))
    while True:
        line = _line(m, c, slope, 16)
        bits = 16 if line else 32
        line = line or _line(m, c, slope, 32)
        if line is None:
            break
        rows.append((*line, bits))
        slope += max(1, slope // 32)
    rows.append((slope, 0, 0, 0))
    return np.array(rows, np.int64), best


def _proportional(params: FindSpots, gain: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """m and g c(m), for every number of usable pixels."""
    m = np.arange(params.min_local, (2 * params.kernel_px + 1) ** 2 + 1, dtype=np.float64)
    return m, gain * (m - 1.0 + params.sigma_background * np.sqrt(2.0 * (m - 1.0))) / m


def _line(m: npt.NDArray[np.float64], c: npt.NDArray[np.float64], slope: int, bits: int) -> Line | None:
    """The line of a slope, or None where its sums don't fit that many bits; m and c of `_proportional`."""
    window = int(m[-1])
    if slope > c.min() * (1.0 - 1e-6):
        drop = float((m / 4.0 * np.maximum(0.0, slope - c) ** 2).max())
        floor = math.floor(-drop - 1e-9 * (1.0 + drop))
    else:
        floor = 0
    top = (1 << (bits - 1)) - 1
    least = -(slope // 2) * (slope - slope // 2)  # of p^2 - slope p over the integers
    highest = (top + floor) // window  # of the clamped term, so that floor - sum fits too
    cap = (slope + math.isqrt(slope * slope + 4 * max(highest, 0))) // 2
    while cap * (cap - slope) > highest:
        cap -= 1
    fits = highest > 0 and floor - window * least <= top and slope < cap <= top
    one_is_enough = cap * (cap - slope) + (window - 1) * least > floor  # a clamped pixel marks its windows
    return Line(slope, floor, cap) if fits and one_is_enough else None
