"""Solving and inverting the arrow-shaped normal equations in time linear in the number of sample points.

The blocks of the sample points form a band of half-width three; detector and beam are a border coupled to all.
The band is factorised by Cholesky, the border eliminated through its Schur complement. All is scaled to a unit
diagonal first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cho_solve_banded, cholesky_banded

from hdrmx.refinement.normal_equations import Sums

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Arrow:
    """Scaled normal matrix: border (m, m), edge (m, n), lower band (b, n); gradient (m + n,); scale (m + n,)."""

    border: Array
    edge: Array
    band: Array
    gradient: Array
    scale: Array  # square root of the diagonal; 1 where nothing bears on a parameter
    n_block: int

    def solve(self, damping: float) -> Array | None:
        """Step (m + n,) that solves (N + damping * diag N) step = -gradient; None when N isn't positive definite."""
        m = len(self.border)
        corner = self.border + damping * np.eye(m)
        rhs = -self.gradient / self.scale
        step = np.empty_like(rhs)
        try:
            if self.band.shape[1] == 0:
                step[:] = cho_solve(cho_factor(corner, lower=True), rhs)
                return step / self.scale
            band = self.band.copy()
            band[0] += damping
            factor = cholesky_banded(band, lower=True, check_finite=False)
            across = cho_solve_banded((factor, True), np.column_stack([self.edge.T, rhs[m:]]), check_finite=False)
            schur = corner - self.edge @ across[:, :m]
            if m:
                step[:m] = cho_solve(cho_factor(schur, lower=True), rhs[:m] - self.edge @ across[:, m])
            step[m:] = across[:, m] - across[:, :m] @ step[:m]
        except (LinAlgError, ValueError):
            return None
        return step / self.scale

    def predicted_decrease(self, step: Array, damping: float) -> float:
        """By how much the objective falls along a damped step if the model is linear."""
        scaled = step * self.scale
        return float(damping * scaled @ scaled - step @ self.gradient)


def arrow(sums: Sums, active: Mask) -> Arrow:
    """Scaled arrow of these sums. Parameters that aren't active, or that nothing bears on, are uncoupled and stay."""
    m = len(sums.corner)
    n_blocks, k = sums.gradient.shape
    corner = np.tril(sums.corner) + np.tril(sums.corner, -1).T
    diagonal = np.concatenate([np.diagonal(corner), np.einsum("jaa->ja", sums.diagonal).ravel()])
    active = active & (diagonal > 0)
    scale = np.sqrt(np.where(active, diagonal, 1.0))
    edge = sums.edge.transpose(1, 0, 2).reshape(m, n_blocks * k) / (scale[:m, None] * scale[None, m:])
    band = _band(sums)
    offset = np.arange(band.shape[0])[:, None] + np.arange(n_blocks * k)[None, :]
    inside = offset < n_blocks * k
    other = np.where(inside, offset, 0)
    band /= scale[m:][None, :] * np.where(inside, scale[m:][other], 1.0)
    gradient = np.concatenate([sums.corner_gradient, sums.gradient.ravel()])
    border = corner / (scale[:m, None] * scale[None, :m])
    _hold(border, edge, band, ~active[:m], ~active[m:])
    return Arrow(border, edge, band, np.where(active, gradient, 0.0), scale, k)


def _band(sums: Sums) -> Array:
    """(3 k, n_blocks * k) lower band of the blocks, in LAPACK's storage."""
    n_blocks, k = sums.gradient.shape
    band = np.zeros((max(3 * k, 1), n_blocks, k))
    for row in range(k):
        for column in range(k):
            if row >= column:
                band[row - column, :, column] = sums.diagonal[:, row, column]
            band[k + row - column, :-1, column] = sums.next1[:-1, row, column]
            band[2 * k + row - column, :-2, column] = sums.next2[:-2, row, column]
    return band.reshape(band.shape[0], n_blocks * k)


def _hold(
    border: Array, edge: Array, band: Array, held_border: npt.NDArray[np.bool_], held: npt.NDArray[np.bool_]
) -> None:
    """Uncouple held parameters and put a 1 on their diagonal."""
    border[held_border, :] = 0.0
    border[:, held_border] = 0.0
    border[held_border, held_border] = 1.0
    edge[held_border, :] = 0.0
    edge[:, held] = 0.0
    for j in np.flatnonzero(held):
        band[:, j] = 0.0
        for d in range(1, min(band.shape[0], j + 1)):
            band[d, j - d] = 0.0
        band[0, j] = 1.0
