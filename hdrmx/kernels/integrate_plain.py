"""The kernels of integration written as the papers read: slow, for tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import poisson

from hdrmx.kernels.integrate_background import TUNING

Floats = npt.NDArray[np.float64]


def robust_poisson_mean(counts: npt.NDArray) -> float:
    """The mean m for which the mean of psi((y - m) / sqrt(m)) over the counts is what Poisson's distribution expects.

    psi clips at +-TUNING. After Cantoni & Ronchetti (2001) J. Am. Stat. Assoc. 96, 1022-1030, section 2, a constant.
    """

    def excess(m: float) -> float:
        y = np.arange(int(m + 20 * np.sqrt(m) + 40))
        expected = np.sum(poisson.pmf(y, m) * np.clip((y - m) / np.sqrt(m), -TUNING, TUNING))
        return float(np.mean(np.clip((counts - m) / np.sqrt(m), -TUNING, TUNING)) - expected)

    if not counts.any():
        return 0.0
    return float(brentq(excess, 1e-8, 1.5 * counts.max() + 1.0, xtol=1e-12))


def foreground(corners: Floats, s1: Floats, e1: Floats, e2: Floats, delta: float) -> npt.NDArray[np.bool_]:
    """(slow, fast) True where any corner of a pixel is within delta of the reflection in eps1, eps2.

    Parameters
    ----------
    corners : (slow + 1, fast + 1, 3) laboratory positions of the corners, mm
    """
    ray = corners / np.linalg.norm(corners, axis=2, keepdims=True)
    from_centre = ray - s1 / np.linalg.norm(s1)
    inside = (from_centre @ e1) ** 2 + (from_centre @ e2) ** 2 <= delta**2
    return inside[:-1, :-1] | inside[:-1, 1:] | inside[1:, :-1] | inside[1:, 1:]


def summation(
    counts: Floats, is_foreground: npt.NDArray[np.bool_], is_usable: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """(sum of the foreground less background, mean background) of a box (frame, slow, fast)."""
    inside = np.broadcast_to(is_foreground, counts.shape)
    background = robust_poisson_mean(counts[~inside & is_usable])
    chosen = inside & is_usable
    return float(np.sum(counts[chosen] - background)), background


def fit(counts: Floats, profile: Floats, background: float, weighted_by: float) -> tuple[float, float, float]:
    """I = sum(w p (c - b)) / sum(w p^2), w = 1 / (b + J p); and its variance, b known, as (at I = 0, per unit of I)."""
    w = profile / (background + weighted_by * profile)
    norm = np.sum(w * profile)
    value = np.sum(w * (counts - background)) / norm
    return float(value), float(background * np.sum(w**2) / norm**2), float(np.sum(w**2 * profile) / norm**2)


def collect(
    frames: npt.NDArray, usable: npt.NDArray[np.bool_], high: int, box: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """(frame, slow, fast) counts of a box that may reach out of the frames (n, slow, fast); -1 where unusable."""
    out = np.full((box[1] - box[0], box[3] - box[2], box[5] - box[4]), -1, np.int64)
    for z in range(box[0], box[1]):
        for y in range(max(box[2], 0), min(box[3], frames.shape[1])):
            for x in range(max(box[4], 0), min(box[5], frames.shape[2])):
                if usable[y, x] and frames[z, y, x] <= high:
                    out[z - box[0], y - box[2], x - box[4]] = frames[z, y, x]
    return out
