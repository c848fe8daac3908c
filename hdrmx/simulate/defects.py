"""What a detector gets wrong: gaps, dead and noisy pixels, shadows, saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.models import Geometry
from hdrmx.params import Simulate
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
    live = np.flatnonzero(~gaps)
    n_dead, n_noisy = (round(f * live.size) for f in (settings.dead_fraction, settings.hot_fraction))
    picked = live[rng.permutation(live.size)[: n_dead + n_noisy + settings.hot_unmasked]]
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
    slow = (np.arange(panel.shape[0], dtype=np.float32) + np.float32(0.5 - centre[0]))[:, None]
    fast = (np.arange(panel.shape[1], dtype=np.float32) + np.float32(0.5 - centre[1]))[None, :]
    outside = np.hypot(slow, fast) - np.float32(settings.beam_stop_mm / panel.pixel_mm[0])
    holder = np.maximum(np.abs(fast) - np.float32(HOLDER_MM / 2 / panel.pixel_mm[1]), slow)
    edge = np.minimum(outside, holder) + np.float32(0.5)
    return np.rint(255 * np.clip(edge, 0.0, 1.0)).astype(np.uint8)


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
    return np.where(mask & GAP, 1, np.where(mask & (DEAD | NOISY), 2, 0)).astype(np.uint8)
