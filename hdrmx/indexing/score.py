"""How much a lattice explains: the information, in nats, that its nodes hold about where the spots are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdrmx.indexing.reciprocal import Floats

UNIFORM_VARIANCE = 1.0 / 12.0  # of a fractional index without any lattice
FLOOR = 0.01**2  # variance below which a fit counts as perfect
OUTLIER_SD = 3.5
MIN_SPOTS = 6


@dataclass(frozen=True)
class Fit:
    """A lattice fitted to points by least squares.

    Attributes
    ----------
    A : (3, 3) 1/A, columns a*, b*, c*
    n_indexed, n_points : of the points within the resolution limit
    rms : of the distances of indexed points from their nodes, 1/A
    gain : nats, see `information`
    """

    A: Floats
    n_indexed: int
    n_points: int
    rms: float
    gain: float

    @property
    def fraction(self) -> float:
        return self.n_indexed / max(self.n_points, 1)

    @property
    def volume(self) -> float:
        """A^3."""
        return float(1.0 / abs(np.linalg.det(self.A)))


def information(n_indexed: int, covariance: Floats) -> float:
    """n (1/2) ln(det(1/12) / det(covariance)) for the covariance (3, 3) of the indexed points' fractional residuals.

    A point that a lattice places within a small part of its reciprocal cell needs so many fewer nats to be
    described. A supercell that indexes no more spots loses ln 2 a spot for each doubling, a subcell that indexes
    half of them loses half of the sum: with residuals of a twentieth of an index the true cell is far ahead of
    both, and no weights have to be set between volume, misfit and number indexed.
    """
    _, log_det = np.linalg.slogdet(covariance + FLOOR * np.eye(3))
    return float(n_indexed * 0.5 * (3.0 * np.log(UNIFORM_VARIANCE) - log_det))


def fit_lattice(A: Floats, r: Floats, tolerance: float, start_d_star: float | None = None) -> Fit | None:
    """Fit A to the points r (n, 3), low resolution first; None when the points do not determine it.

    Indices are rounded, A follows from sum |r - A h|^2, and points beyond 3.5 robust standard deviations are left
    out of the next fit. The limit grows by half from `start_d_star` (1/A) to all points.
    """
    d_star = np.sqrt(np.einsum("ij,ij->i", r, r))
    top = float(d_star.max(initial=0.0))
    limit = min(top, start_d_star) if start_d_star else top
    while True:
        near = r[d_star <= limit]
        for _ in range(2):
            better = _least_squares(A, near, tolerance)
            if better is None:
                break
            A = better
        if limit >= top:
            break
        limit = min(top, 1.5 * limit)
    return evaluate(A, r, tolerance)


def _least_squares(A: Floats, r: Floats, tolerance: float) -> Floats | None:
    if len(r) < MIN_SPOTS or abs(np.linalg.det(A)) < 1e-15:
        return None
    fractional = np.einsum("ij,nj->ni", np.linalg.inv(A), r)
    h = np.rint(fractional)
    off = np.sqrt(np.einsum("ij,ij->i", fractional - h, fractional - h))
    use = (off <= tolerance) & h.any(axis=1)
    if use.sum() < MIN_SPOTS:
        return None
    use &= off <= max(OUTLIER_SD * 0.65 * float(np.median(off[use])), 0.02)
    hh = np.einsum("ni,nj->ij", h[use], h[use])
    if np.linalg.cond(hh) > 1e8:
        return None
    return np.einsum("ni,nj->ij", r[use], h[use]) @ np.linalg.inv(hh)


def evaluate(A: Floats, r: Floats, tolerance: float) -> Fit | None:
    """Count and score the points that the lattice A explains as it stands."""
    if abs(np.linalg.det(A)) < 1e-15:
        return None
    fractional = np.einsum("ij,nj->ni", np.linalg.inv(A), r)
    h = np.rint(fractional)
    e = fractional - h
    use = (np.einsum("ij,ij->i", e, e) <= tolerance**2) & h.any(axis=1)
    n = int(use.sum())
    if n < MIN_SPOTS:
        return None
    covariance = np.einsum("ni,nj->ij", e[use], e[use]) / n
    miss = np.einsum("ij,nj->ni", A, e[use])
    rms = float(np.sqrt(np.einsum("ij,ij->", miss, miss) / n))
    return Fit(A, n, len(r), rms, information(n, covariance))
