"""The dispersion tests as their formulae read: whole arrays, double precision, no short cuts.

Winter et al. (2018) Acta Cryst. D74, 85-97, and for the extended test the behaviour of DIALS 3.12. The fast
kernels (`threshold_dense`, `threshold_sparse`) give the same pixels; the tests run over all of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hdrmx.kernels.threshold_limits import BIG, WIDER_px, limits_of
from hdrmx.params import FindSpots

Bools = npt.NDArray[np.bool_]


def strong_pixels_plain(
    counts: npt.NDArray, usable: Bools, trusted: tuple[float, float], params: FindSpots, detector_gain: float = 1.0
) -> Bools:
    """Strong pixels of one panel.

    Parameters
    ----------
    counts : (slow, fast) integers
    usable : (slow, fast), True where a pixel may be used at any frame
    trusted : counts that can be trusted, inclusive; others are masked in this frame

    Returns
    -------
    (slow, fast) bool

    Notes
    -----
    Extended test: candidates are pixels whose window is too dispersed for background; of these, those whose whole
    neighbourhood of kernel - 1 pixels consists of candidates (pixels beyond the edge don't count, masked ones do) are
    the foreground; a foreground pixel is strong when it stands out from the mean of the pixels that are not
    foreground in a window wider by 2 px on each side.
    """
    test = limits_of(params, trusted, detector_gain)
    p = counts.astype(np.float64)
    valid = usable & (p >= test.low) & (p <= test.high)
    summed = valid & (p < BIG)
    m = box_sum(summed, test.reach)
    x = box_sum(np.where(summed, p, 0.0), test.reach)
    y = box_sum(np.where(summed, p * p, 0.0), test.reach)
    root = np.sqrt(2.0 * np.maximum(m - 1.0, 0.0))
    if test.unit_gain:
        dispersed = m * y - x * x - x * (m - 1.0) > x * params.sigma_background * root
    else:
        dispersed = m * y - x * x > test.gain * x * (m - 1.0 + params.sigma_background * root)
    candidate = valid & (m >= test.min_local) & (x >= 0) & dispersed
    if not test.extended:
        return (
            candidate & (p > test.above) & (m * p - x > params.sigma_strong * np.sqrt(test.gain * np.maximum(x, 0) * m))
        )

    side = 2 * test.reach - 1
    foreground = ndimage.minimum_filter(candidate.view(np.uint8), size=side, mode="constant", cval=1).astype(bool)
    background = summed & ~foreground
    m = box_sum(background, test.reach + WIDER_px)
    x = box_sum(np.where(background, p, 0.0), test.reach + WIDER_px)
    mean = np.divide(x, m, out=np.zeros_like(x), where=m >= 2)
    bright = p >= mean + params.sigma_strong * np.sqrt(test.gain * np.maximum(mean, 0.0))
    return foreground & valid & (x >= 0) & (p > test.above) & bright


def box_sum(values: npt.NDArray, reach: int) -> npt.NDArray[np.float64]:
    """Sum over the window of half-width `reach` round every pixel, clipped at the edges.

    Through a summed-area table: exact while the sum over the whole array stays below 2^53.
    """
    n, k = values.shape
    table = np.zeros((n + 1, k + 1))
    np.cumsum(values, axis=0, dtype=np.float64, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    above, below = np.maximum(np.arange(n) - reach, 0), np.minimum(np.arange(n) + reach + 1, n)
    left, right = np.maximum(np.arange(k) - reach, 0), np.minimum(np.arange(k) + reach + 1, k)
    rows = table[below] - table[above]
    return rows[:, right] - rows[:, left]
