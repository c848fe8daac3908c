"""Residuals that don't belong: Tukey's fences, and the minimum covariance determinant (MCD).

The MCD is the mean and covariance of the half of the points whose covariance has the smallest determinant; a
point is an outlier when its squared Mahalanobis distance from them exceeds a quantile of chi squared. Search:
concentration steps (Rousseeuw & Van Driessen (1999) Technometrics 41, 212-223) from a few deterministic starts
(Hubert, Rousseeuw & Verdonck (2012) J. Comput. Graph. Stat. 21, 618-637), so nothing is random and the cost is
linear in the number of points: each step is one pass and one partial sort. Departs from the latter: four starts
instead of six, those that need a full sort being left out; no re-weighting afterwards.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import gammainc, gammaincinv

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
FEWEST = 20  # points for an estimate
TRIAL_STEPS, MOST_STEPS = 2, 100
RIDGE = 1e-12  # added to the variances of standardised points, for those that lie in one plane


def tukey(residuals: Array, iqr: float = 1.5) -> Mask:
    """(n,) True where any of the k columns lies more than `iqr` interquartile ranges outside its quartiles."""
    if len(residuals) == 0:
        return np.zeros(0, bool)
    low, high = np.percentile(residuals, [25.0, 75.0], axis=0)
    reach = iqr * (high - low)
    return np.asarray(((residuals < low - reach) | (residuals > high + reach)).any(axis=1))


def mcd(residuals: Array, probability: float = 0.975) -> Mask:
    """(n,) True where the distance from the MCD of the points (n, k) is beyond this quantile; none of fewer than 20."""
    if len(residuals) < FEWEST:
        return np.zeros(len(residuals), bool)
    centre, scatter = minimum_covariance(residuals)
    return distances(residuals, centre, scatter) > _quantile(probability, residuals.shape[1])


def mcd_blocks(residuals: Array, frame: Array, block_frames: float, probability: float = 0.975) -> Mask:
    """`mcd` of runs of about `block_frames` frames, each on its own.

    The scan's extent is divided evenly; a run of fewer than 20 points is judged by the estimate from all.
    """
    n = len(residuals)
    outlier = np.zeros(n, bool)
    if n < FEWEST:
        return outlier
    first, extent = frame.min(), np.ptp(frame)
    n_blocks = max(1, round(extent / block_frames))
    if n_blocks == 1:
        return mcd(residuals, probability)
    block = np.minimum(((frame - first) * (n_blocks / extent)).astype(np.int64), n_blocks - 1)
    order = np.argsort(block, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(block, minlength=n_blocks))[:-1]):
        if len(rows) >= FEWEST:
            outlier[rows] = mcd(residuals[rows], probability)
    sparse = np.bincount(block, minlength=n_blocks) < FEWEST
    if sparse.any():
        rows = np.flatnonzero(sparse[block])
        centre, scatter = minimum_covariance(residuals)
        outlier[rows] = distances(residuals[rows], centre, scatter) > _quantile(probability, residuals.shape[1])
    return outlier


def minimum_covariance(points: Array) -> tuple[Array, Array]:
    """Centre (k,) and scatter (k, k) of points (n, k), scaled to be right for normally distributed ones."""
    n, k = points.shape
    middle = np.median(points, axis=0)
    spread = _mad(points - middle)
    z = (points - middle) / spread
    h = (n + k + 1) // 2
    trials = [_concentrate(z, *start, h, TRIAL_STEPS) for start in _starts(z)]
    best = min(trials, key=lambda t: t[2])
    centre, scatter, _ = _concentrate(z, best[0], best[1], h, MOST_STEPS)
    return middle + spread * centre, scatter * np.outer(spread, spread) * correction(n, k, h)


def correction(n: int, k: int, h: int) -> float:
    """What the scatter of the best h of n points is to be multiplied with.

    Asymptotically (Croux & Haesbroeck (1999) J. Multivariate Anal. 71, 161-190), times that for small n
    (Pison, Van Aelst & Willems (2002) Metrika 55, 111-123; for half of the points, k > 2 only).
    """
    share = h / n
    consistency = share / gammainc(k / 2 + 1, _quantile(share, k) / 2)
    if k <= 2:
        return float(consistency)
    constants = ((-1.42764571687802, 1.26263336932151, 2.0), (-1.06141115981725, 1.28907991440387, 3.0))
    left = np.array([[1.0, -np.log(c[2] * k**2)] for c in constants])
    right = np.array([np.log(-c[0] / k ** c[1]) for c in constants])
    level, power = np.linalg.solve(left, right)
    return float(consistency / (1.0 - np.exp(level) / n**power))


def distances(points: Array, centre: Array, scatter: Array) -> Array:
    """(n,) squared Mahalanobis distances."""
    offset = points - centre
    whitened = offset @ np.linalg.inv(np.linalg.cholesky(scatter)).T
    return np.einsum("ij,ij->i", whitened, whitened)


def _starts(z: Array) -> list[tuple[Array, Array]]:
    """Centres and scatters to start from, each from its own robust guess of the scatter of standardised points."""
    squares = np.einsum("ij,ij->i", z, z)
    half = np.argpartition(squares, len(z) // 2)[: len(z) // 2]
    on_sphere = z / np.sqrt(np.maximum(squares, 1e-12))[:, None]
    guesses = [np.eye(z.shape[1]), np.cov(np.tanh(z).T), on_sphere.T @ on_sphere, np.cov(z[half].T)]
    return [_rescaled(z, guess) for guess in guesses]


def _rescaled(z: Array, guess: Array) -> tuple[Array, Array]:
    """Centre and scatter with the axes of a guess, and robust scales along these."""
    axes = np.linalg.eigh(guess)[1]
    along = z @ axes
    scale = _mad(along - np.median(along, axis=0))
    scale = np.maximum(scale, np.sqrt(RIDGE))
    root, inverse = (axes * scale) @ axes.T, (axes / scale) @ axes.T
    return root @ np.median(z @ inverse, axis=0), root @ root


def _concentrate(z: Array, centre: Array, scatter: Array, h: int, steps: int) -> tuple[Array, Array, float]:
    """Mean, covariance and its determinant of the h nearest points, until it falls no more."""
    determinant = np.inf
    for _ in range(steps):
        nearest = z[np.argpartition(distances(z, centre, scatter), h - 1)[:h]]
        new_centre = nearest.mean(axis=0)
        offset = nearest - new_centre
        new_scatter = offset.T @ offset / (h - 1) + RIDGE * np.eye(len(centre))
        new = float(np.linalg.det(new_scatter))
        centre, scatter = new_centre, new_scatter
        if new >= determinant * (1.0 - 1e-12):
            determinant = new
            break
        determinant = new
    return centre, scatter, determinant


def _mad(offsets: Array) -> Array:
    """(k,) robust standard deviations of columns with median 0; of one without spread its plain one, or 1."""
    scale = 1.482602218505602 * np.median(np.abs(offsets), axis=0)
    scale = np.where(scale > 0, scale, offsets.std(axis=0))
    return np.where(scale > 0, scale, 1.0)


@lru_cache(maxsize=256)
def _quantile(probability: float, k: int) -> float:
    """Of chi squared with k degrees of freedom."""
    return float(2.0 * gammaincinv(k / 2, probability))
