"""Constants of the dispersion test, and the two bounds that let most windows go untested.

Notation: a window has m usable pixels with sum x and sum of squares y; g is the gain, b the setting
`sigma_background`, M the number of pixels of a full window. A window is too dispersed for background when

    y > R(m, x) = x^2 / m + g x c(m),    c(m) = (m - 1 + b sqrt(2 (m - 1))) / m.

Screen. R(m, x) >= x^2 / M + g x min c for every mask, which takes two box sums of integers and no
mask at all. Counts are cut to `cap`, so that the sums fit their integers; the square of the cap alone exceeds the bound
of any window with x up to `most`, and a window with more than that is let through.

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
    narrow: Screen  # for sums in uint16
    wide: Screen  # for sums in int32
    narrow_mean: float  # up to this local mean the narrow one is of use
    seed: int


class Place(NamedTuple):
    """Rows of a panel within a flat frame."""

    width: int  # pixels in a row of the frame
    first: int  # index of the first pixel
    columns: int
    valid: npt.NDArray[np.uint64]  # (rows, words), the mask, 64 pixels a word
    gap_first: npt.NDArray[np.int64]  # (rows + 1,) the gaps of each row
    gaps: npt.NDArray[np.int64]  # (n, 2) begin and end of the runs of masked pixels


class Screen(NamedTuple):
    """x^2 / M + g x min c in integers of some width: x (x + slope) / window, rounded down."""

    window: int  # M
    slope: int
    cap: int  # counts are cut to this
    most: int  # largest x that is tested


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


def make_test(params: FindSpots, limits: Limits, dtype: np.dtype) -> Test:
    """The test for frames of a dtype; it must hold the limits."""
    limit = (dtype.type(limits.low), dtype.type(limits.high))
    narrow, wide = (screen_of(params, limits.gain, top) for top in (2**16 - 1, 2**31 - 1))
    mean, seed = 0.85 * narrow.most / narrow.window, seed_count(params, limits.gain)
    return Test(limits, limit, spread_table(limits.reach), narrow, wide, mean, seed)


def spread_table(reach: int) -> npt.NDArray[np.float64]:
    """(M + 1,) sqrt(2 (m - 1)) for each number m of usable pixels in a window; 0 where m is 0."""
    m = np.arange((2 * reach + 1) ** 2 + 1, dtype=np.float64)
    return np.sqrt(2.0 * np.maximum(m - 1.0, 0.0))


def seed_count(params: FindSpots, gain: float) -> int:
    """Fewest counts of the brightest pixel of a window that is too dispersed, over all masks."""
    m = np.arange(params.min_local, (2 * params.kernel_px + 1) ** 2 + 1)
    bound = gain * (1.0 + params.sigma_background * np.sqrt(2.0 / (m - 1))).min()
    return max(1, math.floor(bound * (1.0 - 1e-9)) + 1)


def screen_of(params: FindSpots, gain: float, top: int) -> Screen:
    """The screen for sums up to `top`."""
    window = (2 * params.kernel_px + 1) ** 2
    m = np.arange(params.min_local, window + 1, dtype=np.float64)
    least = gain * ((m - 1.0 + params.sigma_background * np.sqrt(2.0 * (m - 1.0))) / m).min()
    cap = math.isqrt(top // window)
    slope = min(math.floor(window * least * (1.0 - 1e-9)), top)
    room = min(top, window * (cap * cap - 1))  # for x (x + slope)
    most = (math.isqrt(slope * slope + 4 * room) - slope) // 2
    return Screen(window, slope, cap, most)
