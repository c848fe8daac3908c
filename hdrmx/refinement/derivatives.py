"""The whole Jacobian, written as the formulae read: the plain counterpart of `normal_equations`.

Each parameter's derivative of r (at fixed angle), of s0 and of the detector is written out, and carried to
X, Y and phi by the chain of Waterman et al. (2016) Acta Cryst. D72, 558-575. For tests, and for those who read.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.refinement.parameters import Parametrisation, turn
from hdrmx.refinement.problem import Data, State, state

Array = npt.NDArray[np.float64]


def jacobian(data: Data, model: Parametrisation, values: Array) -> tuple[Array, Array]:
    """Residuals (n, 3) in mm, mm, rad and their derivatives (n, 3, n_values); NaN where there is no prediction."""
    at = state(model, values)
    index = np.minimum(data.block[:, None] + np.arange(3), model.n_blocks - 1)
    local = np.einsum("nt,ntk->nk", data.smooth, at.blocks[index])
    local[:, :3] += np.concatenate([np.zeros((1, 3)), at.offsets])[data.segment]
    q = np.einsum("nij,nj->ni", data.A0[data.crystal], data.hkl)
    strains = data.strains[data.crystal]
    stretch = np.eye(3) + np.einsum("nk,nkij->nij", local[:, 3:], strains)
    rotation = turn(local[:, :3])
    p = np.einsum("nij,njk,nk->ni", rotation, stretch, q)
    phi = _angle(p, data, at.s0)
    spin = turn(np.column_stack([phi, np.zeros_like(phi), np.zeros_like(phi)]))
    r = np.einsum("nij,nj->ni", spin, p)
    s1, e = at.s0 + r, np.cross([1.0, 0.0, 0.0], r)

    axes = _turn_axes(local[:, :3])
    dp = [np.cross(axes[k], p) for k in range(3)]
    dp += [np.einsum("nij,njk,nk->ni", rotation, strains[:, k], q) for k in range(6)]
    D = at.D[data.panel]
    v = np.einsum("nij,nj->ni", D, s1)
    position = np.column_stack([v[:, :2] / v[:, 2:], phi])

    def chain(dr: Array, ds0: Array) -> Array:
        dphi = -(np.einsum("ni,ni->n", s1, dr) + np.einsum("ni,ni->n", r, ds0)) / np.einsum("ni,ni->n", s1, e)
        dv = np.einsum("nij,nj->ni", D, dr + ds0 + e * dphi[:, None])
        return np.column_stack([(dv[:, :2] - position[:, :2] * dv[:, 2:]) / v[:, 2:], dphi])

    still = np.zeros_like(r)
    whole = np.zeros((len(r), 3, model.n_values))
    for column, k in enumerate(data.columns):
        local_derivative = chain(np.einsum("nij,nj->ni", spin, dp[k]), still)
        for t in range(3):
            block = np.minimum(data.block + t, model.n_blocks - 1)
            where = model.n_border + block * model.n_block + column
            whole[np.arange(len(r)), :, where] += data.smooth[:, t, None] * local_derivative
    border = _border(at, s1 / v[:, 2:], position, D, chain, still)
    border = np.concatenate([border, np.zeros((3 * len(at.offsets), len(r), 3))])
    for k in range(3):
        inside = np.flatnonzero(data.segment)
        by_turn = chain(np.einsum("nij,nj->ni", spin, dp[k]), still)
        border[6 + 3 * data.segment[inside] + k, inside] = by_turn[inside]
    whole[:, :, : model.n_border] = np.moveaxis(border, 0, 2)[:, :, data.border]
    return position - data.target, whole


def _angle(p: Array, data: Data, s0: Array) -> Array:
    a, b = s0[1] * p[:, 1] + s0[2] * p[:, 2], s0[2] * p[:, 1] - s0[1] * p[:, 2]
    c = -0.5 * np.sum(p * p, axis=1) - s0[0] * p[:, 0]
    with np.errstate(invalid="ignore"):
        phi = np.arctan2(b, a) + data.sense * np.arccos(c / np.hypot(a, b))
    return np.asarray(phi + 2.0 * np.pi * np.rint((data.target[:, 2] - phi) / (2.0 * np.pi)))


def _turn_axes(angles: Array) -> Array:
    """(3, n, 3) axes about which t1, t2, t3 turn, as they act after the other rotations."""
    later = angles.copy()
    later[:, 0] = 0.0
    first = turn(later)[:, :, 0]
    later[:, 1] = 0.0
    second = turn(later)[:, :, 1]
    return np.array([first, second, np.broadcast_to([0.0, 0.0, 1.0], first.shape)])


def _border(at: State, point: Array, position: Array, D: Array, chain, still: Array) -> Array:  # type: ignore[no-untyped-def]
    """(9, n, 3) derivatives by detector and beam. A shift dx of the detector moves X by -(dv0 - X dv2), dv = D dx."""
    out = np.zeros((9, len(point), 3))
    moves = [np.broadcast_to(at.shift[k], point.shape) for k in range(3)]
    moves += [np.cross(at.turn[k], point - at.centre) for k in range(3)]
    for k, move in enumerate(moves):
        dv = np.einsum("nij,nj->ni", D, move)
        out[k, :, :2] = -(dv[:, :2] - position[:, :2] * dv[:, 2:])
    for k in range(2):
        out[6 + k] = chain(still, np.broadcast_to(np.cross(at.beam_turn[k], at.s0), point.shape))
    out[8] = chain(still, np.broadcast_to(-at.beam_scale * at.s0, point.shape))
    return out
