"""Intensities in units of what is expected at their place: E^2, free of fall-off, anisotropy and drift of scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import packed
from hdrmx.merging.wilson import local_mean

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CYCLES = 20
MOST_FITTED = 50_000  # observations, evenly through the list
BLOCK = 300  # observations over which the scale along the scan is taken as constant


@dataclass(frozen=True)
class Normalised:
    """Unique reflections, Friedel mates together, sorted by `code`.

    Attributes
    ----------
    hkl : (m, 3) on the basis given
    code : (m,) packed indices
    e2, variance : (m,) mean normalised intensity, and its variance from the sigmas
    d : (m,) A
    n : (m,) observations
    cc_identity : correlation of repeated observations; NaN below 20 pairs
    """

    hkl: Ints
    code: Ints
    e2: Floats
    variance: Floats
    d: Floats
    n: Ints
    cc_identity: float


def friedel(hkl: Ints) -> Ints:
    """Of h and -h the one whose first index other than 0 is positive."""
    h, k, l = hkl.T
    flip = (h < 0) | ((h == 0) & ((k < 0) | ((k == 0) & (l < 0))))
    return np.where(flip[:, None], -hkl, hkl)


def normalise(hkl: Ints, A: Floats, intensity: Floats, sigma: Floats, frame: Floats) -> Normalised:
    """E^2 of each unique reflection.

    Parameters
    ----------
    hkl : (n, 3) observations on the basis A (3, 3), 1/A
    frame : (n,) along the scan, any unit

    Notes
    -----
    The expected intensity is exp(c + s b s) with a symmetric tensor b, fitted by the likelihood of exponential
    intensities (a generalised linear model with a logarithmic link), weighted by 1 / (1 + (sigma / expected)^2); what
    remains is divided by means of shells, then of runs of 300 observations along the scan. Sigmas get 3 % of the
    intensity added. Time ~ observations.
    """
    s = np.einsum("ij,nj->ni", A, hkl)
    d = 1.0 / np.linalg.norm(s, axis=1)
    expected = _anisotropic(s, intensity, sigma)
    e2 = intensity / expected
    shells = local_mean(d, e2, 200, 30)
    expected = expected * np.where(np.isfinite(shells) & (shells > 0), shells, 1.0)
    expected = expected * _along_scan(frame, intensity / expected, sigma / expected)
    e2 = intensity / expected
    variance = (sigma / expected) ** 2 + (0.03 * e2) ** 2
    half = friedel(hkl)
    code, first, group = np.unique(packed(half), return_index=True, return_inverse=True)
    n = np.bincount(group)
    weight = 1.0 / (variance + 0.01)  # flat, so that no observation rules its mean
    total = np.bincount(group, weight)
    mean = np.bincount(group, weight * e2) / total
    mean_variance = np.bincount(group, weight**2 * variance) / total**2
    return Normalised(half[first], code, mean, mean_variance, d[first], n, _identity(group, n, e2))


def _anisotropic(s: Floats, intensity: Floats, sigma: Floats) -> Floats:
    """Expected intensity at each s. Sums are einsum's, whose order doesn't hang on the number of threads."""
    x, y, z = s.T
    columns = np.stack([np.ones(len(s)), x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    X = columns / np.maximum(np.abs(columns).max(axis=0), 1e-30)
    level = max(float(intensity.mean()), 1e-6 * float(np.abs(intensity).max()), 1e-12)
    lowest, highest = np.log(level) - 20, np.log(level) + 20
    chosen = np.linspace(0, len(s) - 1, min(len(s), MOST_FITTED)).astype(np.int64)
    fitted, value, error = X[chosen], intensity[chosen], sigma[chosen]
    beta = np.zeros(7)
    beta[0] = np.log(level)
    for _ in range(CYCLES):
        mu = np.exp(np.clip(np.einsum("ni,i->n", fitted, beta), lowest, highest))
        weight = 1.0 / (1.0 + (error / mu) ** 2)
        gradient = np.einsum("ni,n->i", fitted, weight * (value / mu - 1.0))
        hessian = np.einsum("ni,nj->ij", fitted * weight[:, None], fitted) + 1e-6 * len(fitted) * np.eye(7)
        step = np.clip(np.linalg.solve(hessian, gradient), -1.0, 1.0)
        beta = beta + step
        if np.abs(step).max() < 1e-4:
            break
    return np.exp(np.clip(np.einsum("ni,i->n", X, beta), lowest, highest))


def _along_scan(frame: Floats, e2: Floats, sigma: Floats) -> Floats:
    """Scale of each observation's run of neighbours along the scan, relative to the mean of all."""
    n_blocks = len(frame) // BLOCK
    if n_blocks < 2:
        return np.ones(len(frame))
    order = np.argsort(frame, kind="stable")
    block = np.empty(len(frame), np.int64)
    block[order] = np.arange(len(frame)) * n_blocks // len(frame)
    weight = 1.0 / (1.0 + sigma**2)
    mean = np.bincount(block, weight * e2) / np.bincount(block, weight)
    overall = float((weight * e2).sum() / weight.sum())
    if overall <= 0:
        return np.ones(len(frame))
    return np.clip(mean / overall, 0.2, 5.0)[block]


def _identity(group: Ints, n: Ints, e2: Floats) -> float:
    """Correlation of the first two observations of each reflection that has two."""
    order = np.argsort(group, kind="stable")
    starts = (np.cumsum(n) - n)[n > 1]
    if len(starts) < 20:
        return float("nan")
    return float(np.corrcoef(e2[order[starts]], e2[order[starts + 1]])[0, 1])
