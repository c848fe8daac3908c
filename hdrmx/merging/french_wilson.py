"""Amplitudes from intensities, the negative ones too, by Bayes's rule with Wilson's distribution as the prior.

After French & Wilson (1978) Acta Cryst. A34, 517-525. The integrals are taken numerically once, as functions of one
number, and looked up; the paper has tables, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Floats = npt.NDArray[np.float64]

_LIMIT = 40.0
_STEP = 0.02
_NODES = 400


@dataclass(frozen=True)
class Amplitudes:
    f: Floats
    sigma: Floats


def amplitudes(intensity: Floats, sigma: Floats, mean: Floats, centric: npt.NDArray[np.bool_]) -> Amplitudes:
    """Expected amplitudes and their standard deviations.

    Parameters
    ----------
    intensity, sigma : (n,) merged; NaN gives NaN
    mean : (n,) expected intensity epsilon Sigma of each reflection, from its shell
    centric : (n,)

    Notes
    -----
    With x = J / sigma of the true intensity J and delta = (I - sigma^2 / mean) / sigma (half of the second term where
    centric), the posterior is x^k exp(-(x - delta)^2 / 2) on x > 0, k = 0 (acentric) or -1/2 (centric). <sqrt(x)> and
    <x> are functions of delta alone. Time ~ reflections.
    """
    usable = np.isfinite(intensity) & np.isfinite(sigma) & (sigma > 0) & (mean > 0)
    f, f_sigma = np.full(len(intensity), np.nan), np.full(len(intensity), np.nan)
    for is_centric in (False, True):
        rows = usable & (centric == is_centric)
        s = sigma[rows]
        delta = intensity[rows] / s - s / mean[rows] / (2.0 if is_centric else 1.0)
        root, spread = _root_and_spread(delta, is_centric)
        f[rows], f_sigma[rows] = np.sqrt(s) * root, np.sqrt(s) * spread
    return Amplitudes(f, f_sigma)


def _root_and_spread(delta: Floats, is_centric: bool) -> tuple[Floats, Floats]:
    """Mean and standard deviation of sqrt(x): from the table, or from series where |delta| is beyond it."""
    grid, roots, spreads = _table(is_centric)
    root, spread = np.interp(delta, grid, roots), np.interp(delta, grid, spreads)
    high, low = delta > _LIMIT, delta < -_LIMIT
    k = -0.5 if is_centric else 0.0
    # a narrow peak far from zero, at delta + k / delta, of variance 1
    big = delta[high]
    root[high] = np.sqrt(big) * (1 + (4 * k - 1) / (8 * big**2))
    spread[high] = 0.5 / np.sqrt(big)
    # far below zero the normal's tail is exponential: x^k exp(-|delta| x)
    small = -delta[low]
    level = np.exp(gammaln(k + 1.5) - gammaln(k + 1.0))
    root[low], spread[low] = level / np.sqrt(small), np.sqrt((k + 1.0 - level**2) / small)
    return root, spread


@lru_cache(maxsize=2)
def _table(is_centric: bool) -> tuple[Floats, Floats, Floats]:
    """Both on a grid of delta. With x = y^2, Gauss-Legendre over y where the integrand isn't negligible."""
    grid = np.arange(-_LIMIT, _LIMIT + _STEP / 2, _STEP)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    top = np.where(grid > 0, grid + 9.0, 80.0 / (np.abs(grid) + 9.0))  # x, where exp(-40) of the peak is left
    bottom = np.maximum(grid - 9.0, 0.0)
    y0, y1 = np.sqrt(bottom)[:, None], np.sqrt(top)[:, None]
    y = (y1 + y0) / 2 + (y1 - y0) / 2 * nodes
    x = y * y
    # dx = 2 y dy cancels x^(-1/2) of the centric prior
    density = weights * np.exp(-((x - grid[:, None]) ** 2) / 2 + np.minimum(grid, 0.0)[:, None] ** 2 / 2)
    density = density if is_centric else density * y
    norm = density.sum(axis=1)
    root = (density * y).sum(axis=1) / norm
    return grid, root, np.sqrt((density * (y - root[:, None]) ** 2).sum(axis=1) / norm)
