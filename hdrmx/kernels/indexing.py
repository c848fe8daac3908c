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


LAYER_SUMS = {"plain": layer_sums_plain, "fast": layer_sums_fast}
