"""What a detector gets wrong: gaps, dead and noisy pixels, shadows, saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.models import Geometry
from hdrmx.params import Simulate
from hdrmx.simulate.background import bands
from hdrmx.simulate.geometry import LAYOUTS
from hdrmx.simulate.rng import For, generator

# Bits of the NXmx pixel_mask.
GAP, DEAD, NOISY, SHADED = 1, 1 << 1, 1 << 4, 1 << 8
HOLDER_MM = 0.6  # width of the beam stop's holder, which comes from the top


@dataclass(frozen=True)
class Defects:
    """The state of the pixels."""

    mask: npt.NDArray[np.uint32]  # (slow, fast), NXmx bits, 0 good
    transmission: npt.NDArray[np.uint8]  # (slow, fast), 255 free, 0 counts no photons
    hot: npt.NDArray[np.int64]  # (n,) pixels that count without photons and are not in the mask, by index in the frame
    hot_counts: npt.NDArray[np.float64]  # (n,) mean of each


def defects(settings: Simulate, geometry: Geometry) -> Defects:
    """Draw the defects of a detector, and cast the beam stop's shadow on it."""
    gaps = LAYOUTS[settings.detector].is_gap()
    rng = generator(settings.seed, For.DEFECTS)
    mask = np.where(gaps, np.uint32(GAP), np.uint32(0))
    n_live = gaps.size - int(gaps.sum())
    n_dead, n_noisy = (round(f * n_live) for f in (settings.dead_fraction, settings.hot_fraction))
    picked = _some_live(gaps.ravel(), min(n_dead + n_noisy + settings.hot_unmasked, n_live), rng)
    mask.flat[picked[:n_dead]] = DEAD
    mask.flat[picked[n_dead : n_dead + n_noisy]] = NOISY
    hot = np.sort(picked[n_dead + n_noisy :])
    transmission = beam_stop(settings, geometry)
    shaded = transmission < 255
    transmission[mask != 0] = 0
    if settings.beam_stop_masked:
        mask[shaded] |= SHADED
    return Defects(mask, transmission, hot.astype(np.int64), 10.0 ** rng.uniform(0.5, 3.5, hot.size))


def beam_stop(settings: Simulate, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """(slow, fast) transmission of the beam stop and its holder, with an edge one pixel wide."""
    panel = geometry.detector.panels[0]
    centre = panel.beam_centre_px(geometry.beam)
    if not settings.beam_stop_mm or centre is None:
        return np.full(panel.shape, 255, np.uint8)
    out = np.empty(panel.shape, np.uint8)
    fast = (np.arange(panel.shape[1], dtype=np.float32) + np.float32(0.5 - centre[1]))[None, :]
    for rows in bands(panel.shape[0]):
        slow = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - centre[0]))[:, None]
        outside = np.hypot(slow, fast) - np.float32(settings.beam_stop_mm / panel.pixel_mm[0])
        holder = np.maximum(np.abs(fast) - np.float32(HOLDER_MM / 2 / panel.pixel_mm[1]), slow)
        out[rows] = np.rint(255 * np.clip(np.minimum(outside, holder) + np.float32(0.5), 0.0, 1.0))
    return out


def _some_live(is_gap: npt.NDArray[np.bool_], n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """n different pixels outside the gaps."""
    tries = n
    while True:
        tries = min(is_gap.size, 2 * tries + 100)
        picked = rng.choice(is_gap.size, tries, replace=False)
        picked = picked[~is_gap[picked]]
        if len(picked) >= n:
            return picked[:n]


@njit(cache=True, nogil=True)
def read_out(counts, masked, saturation, marks, out):  # type: ignore[no-untyped-def]
    """What the detector delivers for its counts.

    Parameters
    ----------
    counts : (n,) uint32; masked : (n,) uint8, 0 good, 1 gap, 2 dead or noisy
    saturation : a pixel stops counting one above it; marks : (3,) values of masked pixels by their code
    out : (n,), overwritten
    """
    limit = np.uint32(saturation + 1)
    for i in range(len(counts)):
        value = min(counts[i], limit)
        out[i] = value
    for i in range(len(counts)):
        if masked[i]:
            out[i] = marks[masked[i]]


def codes(mask: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """(slow, fast) codes of `read_out` from mask bits; a shaded pixel counts all the same."""
    out = np.zeros(mask.shape, np.uint8)
    for rows in bands(len(mask)):
        out[rows][(mask[rows] & (DEAD | NOISY)) != 0] = 2
        out[rows][(mask[rows] & GAP) != 0] = 1
    return out
