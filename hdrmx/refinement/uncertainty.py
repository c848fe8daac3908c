"""Standard uncertainties of refined parameters and cells.

The covariance is the inverse of the normal matrix times the mean weighted square of the residuals, objective /
(3 n - p), so that too optimistic variances of the centroids don't make the parameters look better than they
are. Of the inverse only the blocks on the diagonal are worked out, in time linear in the number of sample
points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.models import cell_of
from hdrmx.refinement.arrow import Arrow
from hdrmx.refinement.engine import Evaluation
from hdrmx.refinement.parameters import BEAM, DETECTOR, Parametrisation

Array = npt.NDArray[np.float64]
# Added to the unit diagonal: a direction that the data don't determine gets a huge uncertainty instead of none.
FLOOR = 1e-13


@dataclass(frozen=True)
class Covariance:
    """Diagonal blocks of the inverse of a normal matrix: detector and beam (m, m), sample points (n_blocks, k, k)."""

    border: Array
    blocks: Array


def covariance(normals: Arrow) -> Covariance:
    """Diagonal blocks of the inverse.

    Two sample points make one super-block, coupled only to the ones before and after; the inverse of such a matrix has
    its diagonal by one sweep forwards and one back (Takahashi, Fagan & Chen (1973) Proc. 8th PICA Conf., 63-69).
    The border adds E S^-1 E^T, with E the band's solution for the edge and S the Schur complement.
    """
    m, k = len(normals.border), normals.n_block
    n_blocks = normals.band.shape[1] // k if k else 0
    scale = normals.scale
    if n_blocks == 0:
        inverse = np.linalg.inv(normals.border + FLOOR * np.eye(m))
        return Covariance(inverse / np.outer(scale, scale), np.zeros((0, k, k)))
    own, coupling = _super_blocks(normals, n_blocks, k)
    n, size = len(own), 2 * k
    edge = np.zeros((n, size, m))
    edge.reshape(n * size, m)[: n_blocks * k] = normals.edge.T
    # `left` is what remains of own[i] once all before it are eliminated; band * across = edge
    inverse_own = np.empty_like(own)
    forward = edge.copy()
    for i in range(n):
        left = own[i]
        if i:
            factor = coupling[i - 1] @ inverse_own[i - 1]
            left = left - factor @ coupling[i - 1].T
            forward[i] -= factor @ forward[i - 1]
        inverse_own[i] = np.linalg.inv(left)
    diagonal, across = np.empty_like(own), np.empty_like(edge)
    diagonal[-1], across[-1] = inverse_own[-1], inverse_own[-1] @ forward[-1]
    for i in range(n - 2, -1, -1):
        factor = inverse_own[i] @ coupling[i].T
        diagonal[i] = inverse_own[i] + factor @ diagonal[i + 1] @ factor.T
        across[i] = inverse_own[i] @ forward[i] - factor @ across[i + 1]
    schur = normals.border + FLOOR * np.eye(m) - np.einsum("nsm,nsl->ml", edge, across)
    border = np.linalg.inv(schur)
    diagonal += across @ border @ across.transpose(0, 2, 1)
    singles = np.stack([diagonal[:, :k, :k], diagonal[:, k:, k:]], axis=1).reshape(2 * n, k, k)[:n_blocks]
    by_block = scale[m:].reshape(n_blocks, k)
    singles = singles / (by_block[:, :, None] * by_block[:, None, :])
    return Covariance(border / np.outer(scale[:m], scale[:m]), singles)


def _super_blocks(normals: Arrow, n_blocks: int, k: int) -> tuple[Array, Array]:
    """Diagonal (n, 2 k, 2 k), and the coupling of each super-block with the one before (n - 1, 2 k, 2 k)."""
    n, size = (n_blocks + 1) // 2, 2 * k
    own, coupling = np.zeros((n, size, size)), np.zeros((max(n - 1, 0), size, size))
    own[:] = np.eye(size)  # a last, empty half keeps this
    columns = np.arange(n_blocks * k)
    for d in range(min(normals.band.shape[0], n_blocks * k)):
        column = columns[: n_blocks * k - d]
        row, value = column + d, normals.band[d, : n_blocks * k - d]
        block, other = column // size, row // size
        same, after = block == other, other == block + 1
        own[block[same], row[same] % size, column[same] % size] = value[same]
        own[block[same], column[same] % size, row[same] % size] = value[same]
        coupling[block[after], row[after] % size, column[after] % size] = value[after]
    own += FLOOR * np.eye(size)
    return own, coupling


@dataclass(frozen=True)
class Uncertainties:
    """Standard uncertainties, in the parameters' own units.

    Attributes
    ----------
    border : name to value, of detector (mm, rad), beam (rad, relative) and slips (rad)
    rotations : (n_crystals, n_samples, 3) rad; NaN where held
    cells : (n_crystals, n_samples, 6) A and degrees; 0 for those that symmetry fixes, NaN where the cell is held
    variance : the mean weighted square the covariance was scaled with; 1 when the centroid variances are right
    """

    border: dict[str, float]
    rotations: Array
    cells: Array
    variance: float


def uncertainties(model: Parametrisation, best: Evaluation, n_used: int) -> Uncertainties:
    """Of a solution."""
    variance = best.objective / max(3 * n_used - model.n_parameters, 1)
    found = covariance(best.normals)
    names = (*DETECTOR, *BEAM, *slip_names(model))
    sd = np.sqrt(np.maximum(np.diagonal(found.border), 0.0) * variance)
    n_crystals, n_samples = len(model.crystals), model.smoother.n_samples
    rotations = np.full((n_crystals, n_samples, 3), np.nan)
    cells = np.full((n_crystals, n_samples, 6), np.nan)
    blocks = found.blocks.reshape(n_crystals, n_samples, model.n_block, model.n_block) * variance
    strains = np.flatnonzero(model.block >= 3)
    for i in range(n_crystals):
        if model.free.orientation:
            rotations[i] = np.sqrt(np.maximum(np.einsum("saa->sa", blocks[i])[:, :3], 0.0))
        if len(strains):
            slope = cell_slopes(model.A0[i], model.strains[i])[:, : len(strains)]
            spread = blocks[i][:, strains[:, None], strains[None, :]]
            cells[i] = np.sqrt(np.maximum(np.einsum("ck,skl,cl->sc", slope, spread, slope), 0.0))
    return Uncertainties({names[k]: float(s) for k, s in zip(model.border, sd)}, rotations, cells, variance)


def slip_names(model: Parametrisation) -> list[str]:
    """Of the rotations after each slip, as in the vector of values."""
    return [f"slip{i + 1}_rotation{k}[{slip.lattice}]" for i, slip in enumerate(model.slips) for k in (1, 2, 3)]


def cell_slopes(A0: Array, strains: Array) -> Array:
    """(6, 6) derivatives of a, b, c (A) and alpha, beta, gamma (degrees) by the strains."""
    step = 1e-5
    columns = []
    for strain in strains:
        above, below = (np.array(cell_of((np.eye(3) + sign * step * strain) @ A0)) for sign in (1, -1))
        columns.append((above - below) / (2 * step))
    return np.array(columns).T
