"""Weighted least squares with few non-negative coefficients, for many designs at once."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_RIDGE = 1e-13  # of the diagonal: two columns that are the same share their coefficient


def non_negative(designs: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The best non-negative coefficients of each design, by trying every set of positive ones.

    Parameters
    ----------
    designs : (m, k, p), p at most 3 or so
    y : (k,)

    Returns
    -------
    coefficients (m, p), and the sums of squared residuals (m,)
    """
    m, _, p = designs.shape
    best, rss = np.zeros((m, p)), np.full(m, float(y @ y))
    for size in range(1, p + 1):
        for chosen in combinations(range(p), size):
            part = designs[:, :, chosen]
            coefficients = unconstrained(part, y)
            left = _rss(part, coefficients, y)
            better = (coefficients >= 0).all(axis=1) & (left < rss)
            best[better] = 0.0
            best[np.ix_(np.nonzero(better)[0], np.array(chosen))] = coefficients[better]
            rss[better] = left[better]
    return best, rss


def unconstrained(designs: Floats, y: Floats) -> Floats:
    """(m, p) coefficients of each design, of either sign."""
    normal = np.einsum("mkp,mkq->mpq", designs, designs)
    diagonal = np.einsum("mpp->mp", normal)
    diagonal += _RIDGE * np.maximum(diagonal, 1e-300)
    return np.linalg.solve(normal, np.einsum("mkp,k->mp", designs, y)[..., None])[..., 0]


def residuals_squared(designs: Floats, coefficients: Floats, y: Floats) -> Floats:
    """(m,) sums of squared residuals."""
    return _rss(designs, coefficients, y)


def _rss(designs: Floats, coefficients: Floats, y: Floats) -> Floats:
    left = y - np.einsum("mkp,mp->mk", designs, coefficients)
    return np.einsum("mk,mk->m", left, left)
