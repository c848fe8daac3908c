"""Background: its mean in each pixel, and Poisson counts drawn from it.

The mean is kept as one of 255 levels a pixel, with the level dithered so that the mean over
neighbouring pixels is right (levels are a few per cent apart); what is drawn is exactly Poisson of the
level's mean. Pixels go in blocks of 256, each with random numbers of its own. A block of low mean walks
from count to count (a Poisson process thinned to the pixel's mean); in others each pixel looks up Walker's
alias table of its level (Walker (1977) ACM Trans. Math. Softw. 3, 253-256; built after Vose (1991)).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.models import Geometry
from hdrmx.params import Simulate
from hdrmx.simulate.geometry import pixel_cosines
from hdrmx.simulate.rng import U64, For, draw, make_key, mix, to_unit, uniforms

BLOCK = 256
N_LEVELS = 256  # level 0 is no background at all
TABLE_SIZE = 1 << 17  # steps of the radial profile in sin(theta)
TABLE = 64  # outcomes of a table; a mean above 16 is drawn as a sum of several
MEAN_A_DRAW = 16.0
SPARSE_BELOW = 0.1  # counts/px in the highest pixel of a block; where both ways take equally long
_FRACTION_BITS = 26
_FRACTION = np.uint32((1 << _FRACTION_BITS) - 1)

# d in A and strength of the powder rings of hexagonal ice, relative to the strongest.
ICE_RINGS = (
    (3.897, 1.0), (3.669, 0.55), (3.441, 0.75), (2.671, 0.25), (2.249, 0.45), (2.072, 0.40),
    (1.948, 0.10), (1.918, 0.30), (1.883, 0.25), (1.721, 0.08), (1.522, 0.12), (1.473, 0.05), (1.372, 0.08),
)  # fmt: skip
ICE_WIDTH = 0.0012  # sigma in 1/d^2, 1/A^2


@dataclass(frozen=True)
class Background:
    """Mean counts of every pixel at frame scale 1."""

    levels: npt.NDArray[np.uint8]  # (slow, fast)
    level_means: npt.NDArray[np.float64]  # (N_LEVELS,)
    block_peaks: npt.NDArray[np.float64]  # (blocks,) highest mean in a block

    def mean(self) -> npt.NDArray[np.float32]:
        """(slow, fast) counts."""
        return self.level_means.astype(np.float32)[self.levels]


def profile(settings: Simulate, inverse_d: npt.NDArray) -> npt.NDArray:
    """Radial profile of the background without ice, in any unit, at 1/d in 1/A.

    Air scatters forwards; solvent and loop make a broad ring at 3.6 A, over a floor of incoherent scatter.
    """
    air = np.exp(-inverse_d / 0.12)
    ring = np.exp(-0.5 * ((inverse_d - 1.0 / 3.6) / 0.07) ** 2) + 0.35 * np.exp(-inverse_d / 0.6)
    return settings.air * air / 0.25 + (1.0 - settings.air) * ring


def ice_profile(inverse_d: npt.NDArray) -> npt.NDArray:
    """Ice rings at 1/d, strongest 1."""
    square = np.asarray(inverse_d) ** 2
    total = np.zeros_like(square)
    for d, strength in ICE_RINGS:
        total += strength * np.exp(-0.5 * ((square - 1.0 / d**2) / ICE_WIDTH) ** 2)
    return total


def background(settings: Simulate, geometry: Geometry, transmission: npt.NDArray[np.uint8]) -> Background:
    """The mean background on a detector behind its shadows.

    Parameters
    ----------
    transmission : (slow, fast), 255 for a free pixel, 0 for one that counts nothing
    """
    table = _Profile(settings, geometry, transmission)
    if table.peak <= 0.0:
        none = np.zeros_like(transmission)
        return Background(none, np.zeros(N_LEVELS), np.zeros(_n_blocks(none.size)))
    level_means = np.concatenate([[0.0], np.geomspace(table.floor, table.peak * (1 + 1e-6), N_LEVELS - 1)])
    levels = np.empty_like(transmission)
    key = make_key(settings.seed, For.LEVELS)
    for rows in bands(len(levels)):
        levels[rows] = _dithered(table.means(rows), level_means, key, rows.start * levels.shape[1])
    padded = np.zeros(_n_blocks(levels.size) * BLOCK, np.uint8)
    padded[: levels.size] = levels.ravel()
    return Background(levels, level_means, level_means[padded.reshape(-1, BLOCK).max(axis=1)])


def _n_blocks(n_pixels: int) -> int:
    return -(-n_pixels // BLOCK)


def bands(n_rows: int) -> Iterator[slice]:
    """Runs of rows small enough that temporary arrays of a large detector stay small."""
    return (slice(row, min(row + 128, n_rows)) for row in range(0, n_rows, 128))


class _Profile:
    """Mean counts of pixels: the radial profile at the right height, by table, behind the shadows."""

    def __init__(self, settings: Simulate, geometry: Geometry, transmission: npt.NDArray[np.uint8]) -> None:
        self._panel, self._beam, self._transmission = geometry.detector.panels[0], geometry.beam, transmission
        inverse_d = np.arange(TABLE_SIZE + 1) / TABLE_SIZE * 2.0 / geometry.beam.wavelength_A
        shape = profile(settings, inverse_d)
        self._table = shape.astype(np.float32)
        total, free = 0.0, 0
        for rows in bands(len(transmission)):
            values = self._looked_up(rows)[transmission[rows] == 255]
            total, free = total + float(values.sum(dtype=np.float64)), free + values.size
        height = settings.background * free / total if free else settings.background
        self._table = (shape * height + settings.ice * ice_profile(inverse_d)).astype(np.float32)
        self.peak, self.floor = 0.0, np.inf
        for rows in bands(len(transmission)):
            values = self.means(rows)
            values = values[values > 0.0]
            if values.size:
                self.peak, self.floor = max(self.peak, float(values.max())), min(self.floor, float(values.min()))
        self.floor = max(self.floor, self.peak * 1e-5) if self.peak else 0.0

    def _looked_up(self, rows: slice) -> npt.NDArray[np.float32]:
        sine = np.sqrt(np.maximum(0.0, 0.5 - 0.5 * pixel_cosines(self._panel, self._beam, rows)))
        return np.asarray(self._table[np.rint(sine * TABLE_SIZE).astype(np.int32)])

    def means(self, rows: slice) -> npt.NDArray[np.float32]:
        """(rows, fast) counts."""
        return self._looked_up(rows) * (self._transmission[rows].astype(np.float32) / np.float32(255))


def _dithered(
    means: npt.NDArray[np.float32], level_means: npt.NDArray, key: np.uint64, first: int
) -> npt.NDArray[np.uint8]:
    """Level of each pixel: one of the two around its mean, so that the expectation is the mean."""
    floor, step = level_means[1], np.log(level_means[2] / level_means[1])
    mean = np.maximum(means.astype(np.float64), floor)
    lower = np.clip(1 + np.floor(np.log(mean / floor) / step), 1, N_LEVELS - 2).astype(np.int64)
    below, above = level_means[lower], level_means[lower + 1]
    u = uniforms(key, (np.arange(mean.size, dtype=np.uint64) + U64(first)).reshape(mean.shape))
    levels = lower + (u < (mean - below) / (above - below))
    return np.where(means > 0.0, levels, 0).astype(np.uint8)


def alias_tables(means: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """(thresholds (n, TABLE) uint32, others (n, TABLE) uint8, draws (n,) uint8) for Poisson means."""
    thresholds = np.empty((len(means), TABLE), np.uint32)
    others = np.empty((len(means), TABLE), np.uint8)
    draws = np.empty(len(means), np.uint8)
    fill_tables(np.asarray(means, np.float64), thresholds, others, draws)
    return thresholds, others, draws


@njit(cache=True, nogil=True)
def fill_tables(means, thresholds, others, draws):  # type: ignore[no-untyped-def]
    """One alias table a mean: outcome j stays j when the fraction is below its threshold, else it is other[j]."""
    p = np.empty(TABLE)
    small, large = np.empty(TABLE, np.int32), np.empty(TABLE, np.int32)
    for level in range(len(means)):
        n_draws = max(1, math.ceil(means[level] / MEAN_A_DRAW))
        draws[level] = min(n_draws, 255)
        mean = means[level] / draws[level]
        value = math.exp(-mean)
        total = 0.0
        for k in range(TABLE):
            p[k] = value
            total += value
            value *= mean / (k + 1)
        n_small = n_large = 0
        for k in range(TABLE):
            p[k] *= TABLE / total
            thresholds[level, k] = _FRACTION + 1
            others[level, k] = k
            if p[k] < 1.0:
                small[n_small] = k
                n_small += 1
            else:
                large[n_large] = k
                n_large += 1
        while n_small > 0 and n_large > 0:
            n_small -= 1
            low, high = small[n_small], large[n_large - 1]
            thresholds[level, low] = np.uint32(p[low] * (_FRACTION + 1))
            others[level, low] = high
            p[high] -= 1.0 - p[low]
            if p[high] < 1.0:
                n_large -= 1
                small[n_small] = high
                n_small += 1


@njit(cache=True, nogil=True)
def draw_background(key, levels, level_means, block_peaks, scale, thresholds, others, draws, out):  # type: ignore[no-untyped-def]
    """Fill a frame with counts.

    Parameters
    ----------
    levels : (n,) uint8, pixels in one row; level_means (N_LEVELS,); block_peaks (blocks,)
    scale : of this frame; thresholds, others, draws : `alias_tables` of level_means * scale
    out : (n,) uint32, overwritten
    """
    for block in range(len(block_peaks)):
        begin = block * BLOCK
        end = min(begin + BLOCK, len(out))
        peak = block_peaks[block] * scale
        block_key = mix(key ^ mix(U64(block)))
        if peak < SPARSE_BELOW:
            for i in range(begin, end):
                out[i] = np.uint32(0)
            if peak > 0.0:
                _walk(block_key, levels, level_means, scale, peak, begin, end, out)
        else:
            _look_up(block_key, levels, thresholds, others, draws, begin, end, out)


@njit(cache=True, nogil=True)
def _walk(key, levels, level_means, scale, peak, begin, end, out):  # type: ignore[no-untyped-def]
    """Events of a Poisson process of the block's highest rate, each kept in proportion to its pixel's mean."""
    counter = 0
    at = float(begin)
    while True:
        at -= math.log(to_unit(draw(key, counter))) / peak
        if at >= end:
            return
        pixel = int(at)
        if to_unit(draw(key, counter + 1)) * peak < level_means[levels[pixel]] * scale:
            out[pixel] += np.uint32(1)
        counter += 2


@njit(cache=True, nogil=True)
def _look_up(key, levels, thresholds, others, draws, begin, end, out):  # type: ignore[no-untyped-def]
    """One random word a pair of pixels; more for pixels of several draws."""
    for i in range(begin, end):
        word = draw(key, np.int64(i - begin) >> 1)
        bits = np.uint32(word >> U64(32)) if (i - begin) & 1 else np.uint32(word & U64(0xFFFFFFFF))
        level = levels[i]
        total = _outcome(bits, level, thresholds, others)
        for extra in range(1, np.int64(draws[level])):
            more = draw(key, BLOCK + extra * BLOCK + (i - begin))
            total += _outcome(np.uint32(more & U64(0xFFFFFFFF)), level, thresholds, others)
        out[i] = total


@njit(cache=True, nogil=True)
def _outcome(bits, level, thresholds, others):  # type: ignore[no-untyped-def]
    column = np.int64(bits >> np.uint32(_FRACTION_BITS))
    if (bits & _FRACTION) < thresholds[level, column]:
        return np.uint32(column)
    return np.uint32(others[level, column])
