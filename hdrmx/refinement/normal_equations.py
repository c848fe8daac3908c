"""Residuals and normal equations in one pass over the reflections, in the shape of an arrow.

A reflection bears on the detector and the beam (the border) and on three sample points of one crystal
(blocks of up to nine parameters), so its share of J^T W J falls into three neighbouring blocks and the border.
One pass costs about n * (border + block)^2, whatever the number of sample points. The plain counterpart, which
makes the whole Jacobian, is `derivatives.jacobian`.

Derivatives after Waterman et al. (2016) Acta Cryst. D72, 558-575. With r on the Ewald sphere, e = x * r (x the
spindle) and s1 = s0 + r, a change dr of r at fixed angle and ds0 of s0 move the angle by dphi = -(s1.dr +
r.ds0) / (s1.e) and s1 by ds1 = dr + ds0 + e dphi; on a panel with D = (fast, slow, origin)^-1 and v = D s1, X =
v0 / v2, Y = v1 / v2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from hdrmx.refinement.problem import Data, State

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Sums(NamedTuple):
    """J^T W J and J^T W residual, by block. Couplings of blocks two or more crystals' ends apart stay 0."""

    corner: Array  # (border, border)
    edge: Array  # (n_blocks, border, block)
    diagonal: Array  # (n_blocks, block, block)
    next1: Array  # (n_blocks, block, block) block j with j + 1
    next2: Array  # (n_blocks, block, block) block j with j + 2
    corner_gradient: Array  # (border,)
    gradient: Array  # (n_blocks, block)


def no_sums(n_border: int, n_blocks: int, n_block: int) -> Sums:
    """All zero."""
    square = (n_blocks, n_block, n_block)
    return Sums(
        np.zeros((n_border, n_border)),
        np.zeros((n_blocks, n_border, n_block)),
        np.zeros(square),
        np.zeros(square),
        np.zeros(square),
        np.zeros(n_border),
        np.zeros((n_blocks, n_block)),
    )


@numba.njit(cache=True, nogil=True)
def accumulate(data: Data, state: State, sums: Sums, with_normals: bool, residual: Array, valid: Mask) -> float:
    """Fill `residual` (n, 3), calculated - observed in mm, mm, rad, and `valid` (n,); add to `sums`.

    Returns the sum of weight * residual^2 over the valid reflections. Serial, so that the order of summation is fixed.
    """
    # p and its parts, then r, s1, e; gradients of X, Y, phi by r and by s0
    vectors, by_r, by_s0 = np.empty((6, 3)), np.empty((3, 3)), np.empty((3, 3))
    angles, stretch, jac_block = np.empty((2, 3)), np.empty((3, 3)), np.empty((3, 9))
    product = np.empty((len(data.columns), len(data.columns)))
    position = np.empty(4)
    jac_border = np.zeros((3, 9 + 3 * len(state.offsets)))  # the last ones of the slips
    total = 0.0
    for i in range(len(data.hkl)):
        _crystal_vector(data, state, i, angles, stretch, vectors)
        valid[i] = _predict(data, state, i, vectors, position)
        if not valid[i]:
            residual[i, :] = 0.0
            continue
        for j in range(3):
            residual[i, j] = position[j] - data.target[i, j]
            total += data.weight[i, j] * residual[i, j] ** 2
        if with_normals:
            _gradients(state.D[data.panel[i]], vectors, position, by_r, by_s0)
            _border_row(state, vectors, position, by_s0, state.D[data.panel[i]], jac_border)
            _block_row(data, i, angles, vectors, position, by_r, jac_block)
            _slip_row(data.segment[i], jac_block, jac_border)
            _add(data, i, residual, jac_border, jac_block, product, sums)
    return total


@numba.njit(cache=True, nogil=True)
def _crystal_vector(data: Data, state: State, i: int, angles: Array, stretch: Array, vectors: Array) -> None:
    """q = A0 h to vectors[0] and p = Rz Ry Rx (1 + e) q to vectors[1], with the values smoothed to this frame."""
    first, crystal = data.block[i], data.crystal[i]
    stretch[:, :] = 0.0
    angles[0, :] = 0.0
    for k in range(9):
        value = 0.0
        for t in range(3):
            if data.smooth[i, t] != 0.0:
                value += data.smooth[i, t] * state.blocks[first + t, k]
        if k < 3:
            if data.segment[i] > 0:
                value += state.offsets[data.segment[i] - 1, k]
            angles[0, k] = math.cos(value)
            angles[1, k] = math.sin(value)
        elif value != 0.0:
            for a in range(3):
                for b in range(3):
                    stretch[a, b] += value * data.strains[crystal, k - 3, a, b]
    q, p = vectors[0], vectors[1]
    for a in range(3):
        q[a] = 0.0
        for b in range(3):
            q[a] += data.A0[crystal, a, b] * data.hkl[i, b]
    x = q[0] + stretch[0, 0] * q[0] + stretch[0, 1] * q[1] + stretch[0, 2] * q[2]
    y = q[1] + stretch[1, 0] * q[0] + stretch[1, 1] * q[1] + stretch[1, 2] * q[2]
    z = q[2] + stretch[2, 0] * q[0] + stretch[2, 1] * q[1] + stretch[2, 2] * q[2]
    y, z = angles[0, 0] * y - angles[1, 0] * z, angles[1, 0] * y + angles[0, 0] * z
    x, z = angles[0, 1] * x + angles[1, 1] * z, angles[0, 1] * z - angles[1, 1] * x
    p[0] = angles[0, 2] * x - angles[1, 2] * y
    p[1] = angles[1, 2] * x + angles[0, 2] * y
    p[2] = z


@numba.njit(cache=True, nogil=True)
def _predict(data: Data, state: State, i: int, vectors: Array, position: Array) -> bool:
    """X, Y, phi and D2.s1 to `position`; r, s1 and e to vectors[2:5]. False where sphere or panel is never met.

    The angle solves s0.r(phi) = -p^2 / 2, that is a cos(phi) + b sin(phi) = c, at the turn nearest to the observed.
    """
    p, r, s1, e, s0 = vectors[1], vectors[2], vectors[3], vectors[4], state.s0
    a = s0[1] * p[1] + s0[2] * p[2]
    b = s0[2] * p[1] - s0[1] * p[2]
    c = -0.5 * (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) - s0[0] * p[0]
    length = math.sqrt(a * a + b * b)
    if not abs(c) < length:
        return False
    phi = math.atan2(b, a) + data.sense[i] * math.acos(c / length)
    phi += 2.0 * math.pi * np.rint((data.target[i, 2] - phi) / (2.0 * math.pi))
    cos, sin = math.cos(phi), math.sin(phi)
    r[0] = p[0]
    r[1] = cos * p[1] - sin * p[2]
    r[2] = sin * p[1] + cos * p[2]
    e[0] = 0.0
    e[1] = -r[2]
    e[2] = r[1]
    for k in range(3):
        s1[k] = s0[k] + r[k]
    D = state.D[data.panel[i]]
    w = D[2, 0] * s1[0] + D[2, 1] * s1[1] + D[2, 2] * s1[2]
    if not w > 0.0:
        return False
    position[0] = (D[0, 0] * s1[0] + D[0, 1] * s1[1] + D[0, 2] * s1[2]) / w
    position[1] = (D[1, 0] * s1[0] + D[1, 1] * s1[1] + D[1, 2] * s1[2]) / w
    position[2] = phi
    position[3] = w
    return True


@numba.njit(cache=True, nogil=True)
def _gradients(D: Array, vectors: Array, position: Array, by_r: Array, by_s0: Array) -> None:
    """Derivatives of X, Y and phi by r at fixed angle, and by s0."""
    r, s1, e = vectors[2], vectors[3], vectors[4]
    speed = s1[1] * e[1] + s1[2] * e[2]
    for k in range(3):
        by_r[2, k] = -s1[k] / speed
        by_s0[2, k] = -r[k] / speed
    for j in range(2):
        along = 0.0  # of e on the panel
        for k in range(3):
            along += (D[j, k] - position[j] * D[2, k]) * e[k]
        for k in range(3):
            direct = D[j, k] - position[j] * D[2, k]
            by_r[j, k] = (direct + along * by_r[2, k]) / position[3]
            by_s0[j, k] = (direct + along * by_s0[2, k]) / position[3]


@numba.njit(cache=True, nogil=True)
def _border_row(state: State, vectors: Array, position: Array, by_s0: Array, D: Array, row: Array) -> None:
    """Derivatives by the six of the detector and the three of the beam."""
    s1, s0 = vectors[3], state.s0
    x = s1[0] / position[3] - state.centre[0]
    y = s1[1] / position[3] - state.centre[1]
    z = s1[2] / position[3] - state.centre[2]
    for j in range(2):
        u0 = D[j, 0] - position[j] * D[2, 0]
        u1 = D[j, 1] - position[j] * D[2, 1]
        u2 = D[j, 2] - position[j] * D[2, 2]
        for k in range(3):
            row[j, k] = -(u0 * state.shift[k, 0] + u1 * state.shift[k, 1] + u2 * state.shift[k, 2])
            row[j, 3 + k] = -(
                state.turn[k, 0] * (y * u2 - z * u1)
                + state.turn[k, 1] * (z * u0 - x * u2)
                + state.turn[k, 2] * (x * u1 - y * u0)
            )
    row[2, :6] = 0.0
    for j in range(3):
        g = by_s0[j]
        for k in range(2):
            row[j, 6 + k] = (
                state.beam_turn[k, 0] * (s0[1] * g[2] - s0[2] * g[1])
                + state.beam_turn[k, 1] * (s0[2] * g[0] - s0[0] * g[2])
                + state.beam_turn[k, 2] * (s0[0] * g[1] - s0[1] * g[0])
            )
        row[j, 8] = -state.beam_scale * (g[0] * s0[0] + g[1] * s0[1] + g[2] * s0[2])


@numba.njit(cache=True, nogil=True)
def _block_row(data: Data, i: int, angles: Array, vectors: Array, position: Array, by_r: Array, row: Array) -> None:
    """Derivatives by three rotations and the strains, before the weights of the smoother."""
    q, p, crystal = vectors[0], vectors[1], data.crystal[i]
    cos, sin = math.cos(position[2]), math.sin(position[2])
    cx, cy, cz = angles[0, 0], angles[0, 1], angles[0, 2]
    sx, sy, sz = angles[1, 0], angles[1, 1], angles[1, 2]
    n_strains = len(data.columns) - (3 if len(data.columns) > 0 and data.columns[0] == 0 else 0)
    for j in range(3):
        g0 = by_r[j, 0]
        g1 = cos * by_r[j, 1] + sin * by_r[j, 2]
        g2 = cos * by_r[j, 2] - sin * by_r[j, 1]
        # p * g: the change for a turn about each axis; the axes of t1 and t2 are themselves turned
        m0, m1, m2 = p[1] * g2 - p[2] * g1, p[2] * g0 - p[0] * g2, p[0] * g1 - p[1] * g0
        row[j, 0] = cz * cy * m0 + sz * cy * m1 - sy * m2
        row[j, 1] = -sz * m0 + cz * m1
        row[j, 2] = m2
        # g turned back to before the rotations
        h0, h1 = cz * g0 + sz * g1, cz * g1 - sz * g0
        f0, h2 = cy * h0 - sy * g2, sy * h0 + cy * g2
        f1, f2 = cx * h1 + sx * h2, cx * h2 - sx * h1
        for k in range(n_strains):
            E = data.strains[crystal, k]
            row[j, 3 + k] = (
                f0 * (E[0, 0] * q[0] + E[0, 1] * q[1] + E[0, 2] * q[2])
                + f1 * (E[1, 0] * q[0] + E[1, 1] * q[1] + E[1, 2] * q[2])
                + f2 * (E[2, 0] * q[0] + E[2, 1] * q[1] + E[2, 2] * q[2])
            )


@numba.njit(cache=True, nogil=True)
def _slip_row(segment: int, block: Array, border: Array) -> None:
    """Derivatives by the rotations after each slip: those of the orientation, for the segment the reflection is in."""
    for j in range(3):
        for k in range(9, border.shape[1]):
            border[j, k] = 0.0
        if segment > 0:
            for k in range(3):
                border[j, 6 + 3 * segment + k] = block[j, k]


@numba.njit(cache=True, nogil=True)
def _add(data: Data, i: int, residual: Array, border: Array, block: Array, product: Array, sums: Sums) -> None:
    """Add one reflection's share."""
    weight, first = data.weight[i], data.block[i]
    n_border, n_block = len(data.border), len(data.columns)
    for a in range(n_border):
        ca = data.border[a]
        w0, w1, w2 = weight[0] * border[0, ca], weight[1] * border[1, ca], weight[2] * border[2, ca]
        sums.corner_gradient[a] += w0 * residual[i, 0] + w1 * residual[i, 1] + w2 * residual[i, 2]
        for b in range(a + 1):
            cb = data.border[b]
            sums.corner[a, b] += w0 * border[0, cb] + w1 * border[1, cb] + w2 * border[2, cb]
        for b in range(n_block):
            cb = data.columns[b]
            value = w0 * block[0, cb] + w1 * block[1, cb] + w2 * block[2, cb]
            for t in range(3):
                if data.smooth[i, t] != 0.0:
                    sums.edge[first + t, a, b] += data.smooth[i, t] * value
    for a in range(n_block):
        ca = data.columns[a]
        w0, w1, w2 = weight[0] * block[0, ca], weight[1] * block[1, ca], weight[2] * block[2, ca]
        slope = w0 * residual[i, 0] + w1 * residual[i, 1] + w2 * residual[i, 2]
        for t in range(3):
            if data.smooth[i, t] != 0.0:
                sums.gradient[first + t, a] += data.smooth[i, t] * slope
        for b in range(a + 1):
            cb = data.columns[b]
            product[a, b] = w0 * block[0, cb] + w1 * block[1, cb] + w2 * block[2, cb]
            product[b, a] = product[a, b]
    for t in range(3):
        weight_t = data.smooth[i, t]
        if weight_t == 0.0:
            continue
        _add_scaled(sums.diagonal[first + t], product, weight_t * weight_t)
        if t < 2 and data.smooth[i, t + 1] != 0.0:
            _add_scaled(sums.next1[first + t], product, weight_t * data.smooth[i, t + 1])
        if t < 1 and data.smooth[i, t + 2] != 0.0:
            _add_scaled(sums.next2[first + t], product, weight_t * data.smooth[i, t + 2])


@numba.njit(cache=True, nogil=True)
def _add_scaled(target: Array, product: Array, scale: float) -> None:
    n = len(product)
    for a in range(n):
        for b in range(n):
            target[a, b] += scale * product[a, b]
