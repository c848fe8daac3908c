"""Sums over points of reciprocal space for one real-space vector: the inner loop of the search for lattice vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]


def layer_sums_plain(r: Floats, v: Floats, hold: float, out: Floats) -> None:
    """Misfit of the points r (n, 3) to the layers r . v = integer, and the normal equations of a better v.

    `out` (11,) becomes: sum of e^2 over all points, with e = r . v - round(r . v); then, over those with
    |e| < hold: their number, sum r e (3), and sum r r^T as xx, yy, zz, xy, xz, yz (6).
    """
    phase = np.einsum("ij,j->i", r, v)
    e = phase - np.rint(phase)
    near = r[np.abs(e) < hold]
    out[0] = np.sum(e * e)
    out[1] = len(near)
    out[2:5] = np.einsum("ni,n->i", near, e[np.abs(e) < hold])
    rr = np.einsum("ni,nj->ij", near, near)
    out[5:11] = rr[0, 0], rr[1, 1], rr[2, 2], rr[0, 1], rr[0, 2], rr[1, 2]


@njit(cache=True, nogil=True)
def layer_sums_fast(r, v, hold, out):
    """As `layer_sums_plain`, in one pass."""
    out[:] = 0.0
    for i in range(r.shape[0]):
        x, y, z = r[i, 0], r[i, 1], r[i, 2]
        phase = x * v[0] + y * v[1] + z * v[2]
        e = phase - np.rint(phase)
        out[0] += e * e
        if abs(e) < hold:
            out[1] += 1.0
            out[2] += x * e
            out[3] += y * e
            out[4] += z * e
            out[5] += x * x
            out[6] += y * y
            out[7] += z * z
            out[8] += x * y
            out[9] += x * z
            out[10] += y * z


def coherence_plain(r: Floats, vectors: Floats, out: Floats) -> None:
    """`out` (m,): mean over the points r (n, 3) of cos(2 pi r . v), for each of the vectors (m, 3)."""
    for i, v in enumerate(vectors):
        out[i] = np.cos(2.0 * np.pi * np.einsum("ij,j->i", r, v)).mean()


@njit(cache=True, nogil=True)
def coherence_fast(r, vectors, out):
    """As `coherence_plain`, with the cosine of the phase e in turns replaced by a polynomial (error below 1e-5)."""
    n = max(r.shape[0], 1)
    for i in range(vectors.shape[0]):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        total = 0.0
        for j in range(r.shape[0]):
            phase = r[j, 0] * x + r[j, 1] * y + r[j, 2] * z
            e = phase - np.rint(phase)
            t = 4.0 * e * e  # 0..1 over half a turn: cos(pi sqrt(t)) as a series in t
            total += 1.0 + t * (-4.934769 + t * (4.058207 + t * (-1.332793 + t * (0.230100 + t * -0.020746))))
        out[i] = total / n


def shift_scores_plain(start: Floats, u: Floats, v: Floats, xs: Floats, ys: Floats, out: Floats) -> None:
    """`out` (len(xs), len(ys)): mean over points of the product of (1 - 4 e_i^2)^2 over the three fractional indices.

    The indices (n, 3) at a shift are start + x u + y v; e_i is the distance of each from an integer.
    """
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            h = start + x * u + y * v
            e = h - np.rint(h)
            out[i, j] = np.mean(np.prod((1.0 - 4.0 * e * e) ** 2, axis=1))


@njit(cache=True, nogil=True)
def shift_scores_fast(start, u, v, xs, ys, out):
    """As `shift_scores_plain`."""
    n = max(start.shape[0], 1)
    for i in range(xs.shape[0]):
        for j in range(ys.shape[0]):
            total = 0.0
            for k in range(start.shape[0]):
                product = 1.0
                for m in range(3):
                    h = start[k, m] + xs[i] * u[k, m] + ys[j] * v[k, m]
                    e = h - np.rint(h)
                    product *= 1.0 - 4.0 * e * e
                total += product * product
            out[i, j] = total / n


LAYER_SUMS = {"plain": layer_sums_plain, "fast": layer_sums_fast}
COHERENCE = {"plain": coherence_plain, "fast": coherence_fast}
SHIFT_SCORES = {"plain": shift_scores_plain, "fast": shift_scores_fast}
