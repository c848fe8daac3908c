"""Fit of the model of scales to equivalent observations, by Gauss and Newton's method.

Target: sum w (J - g I)^2 + sum of restraints, with I = sum w g J / sum w g^2 of each group put in (Hamilton, Rollett &
Sparks (1965) Acta Cryst. 18, 129-130). The step leaves out how I changes with residuals (Kaufman (1975) BIT 15, 49-57).
Few parameters: their matrix is made in one pass over the observations. Many (of many sweeps): it is only ever
multiplied with vectors, by conjugate gradients, which keeps a step linear in observations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse

from hdrmx.kernels import scaling as kernels
from hdrmx.kernels.scaling import Design
from hdrmx.scaling.model import Model

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_DENSE = 400  # parameters whose matrix is made as a whole
RIDGE = 1e-9  # relative, on the diagonal: some directions change nothing
SMALLEST_SCALE = 1e-6  # no step may bring a fitted scale below
MOST_HALVINGS = 12
BLOCK_RIDGE = 1e-6
CG_TOLERANCE, CG_STEPS = 1e-4, 200
RCOND = 1e-10  # relative, of eigenvalues that count as 0


@dataclass(frozen=True)
class Data:
    """Observations in the order of groups; those of weight 0 take no part."""

    design: Design
    start: Ints
    intensity: Floats
    weight: Floats
    sweep: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Fit:
    """Result of a fit: target and work done with it."""

    parameters: Floats
    target: float  # without restraints
    steps: int
    evaluations: int  # passes over the observations
    converged: bool


def fit(model: Model, data: Data, parameters: Floats, *, tolerance: float, max_steps: int) -> Fit:
    """Minimise from `parameters`; scales then have the mean 1 over the observations that take part."""
    restraints, scale = model.restraints(), np.empty(len(data.intensity))
    target = _target(data, parameters, scale)
    evaluations, converged, steps = 1, False, 0
    while steps < max_steps and not converged:
        total = target + restraints @ parameters**2
        change, passes = _step(model, data, parameters, scale, restraints)
        evaluations += passes
        steps += 1
        for halving in range(MOST_HALVINGS):
            tried = parameters + change * 0.5**halving
            new = _target(data, tried, scale)
            evaluations += 1
            if new + restraints @ tried**2 <= total:
                break
        else:
            _target(data, parameters, scale)
            converged = True  # no way down
            break
        converged = bool(total - (new + restraints @ tried**2) <= tolerance * total)
        parameters, target = tried, new
    mean = float(scale[data.weight > 0].mean()) if (data.weight > 0).any() else 1.0
    return Fit(model.multiplied(parameters, 1.0 / mean), target, steps, evaluations, converged)


def _target(data: Data, parameters: Floats, scale: Floats) -> float:
    """The target, and the scales in `scale`; infinite where an observation that takes part has a scale near 0."""
    kernels.scales(data.design, parameters, scale)
    if not (scale[data.weight > 0] > SMALLEST_SCALE).all():
        return np.inf
    n = len(data.start) - 1
    return float(kernels.means(data.start, data.intensity, data.weight, scale, np.empty(n), np.empty(n)))


def normal_equations(model: Model, data: Data, parameters: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Matrix (p, p), without restraints, and gradient of half the target."""
    n = model.n_parameters
    matrix, gradient = np.zeros((n, n)), np.zeros(n)
    kernels.accumulate(data.design, parameters, data.start, data.intensity, data.weight, scale, matrix, gradient)
    return _whole(matrix), gradient


def _step(model: Model, data: Data, parameters: Floats, scale: Floats, restraints: Floats) -> tuple[Floats, int]:
    """The change of parameters, and passes over the observations it took."""
    if model.n_parameters <= MOST_DENSE:
        matrix, gradient = normal_equations(model, data, parameters, scale)
        return _solve(matrix + np.diag(restraints), -(gradient + restraints * parameters)), 1
    return _step_by_products(model, data, parameters, scale, restraints)


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solution, with as much added to the diagonal as it takes; parameters that bear on nothing stay."""
    diagonal = np.diag(matrix).copy()
    free = diagonal > 0
    root = np.sqrt(diagonal[free])
    scaled = matrix[np.ix_(free, free)] / np.outer(root, root)
    out, ridge = np.zeros(len(right)), RIDGE
    while True:
        try:
            factor = linalg.cho_factor(scaled + ridge * np.eye(len(root)))
        except linalg.LinAlgError:
            ridge *= 100.0
            continue
        out[free] = linalg.cho_solve(factor, right[free] / root) / root
        return out


def _step_by_products(
    model: Model, data: Data, parameters: Floats, scale: Floats, restraints: Floats
) -> tuple[Floats, int]:
    """Conjugate gradients, preconditioned with each sweep's own matrix, the best I of groups held."""
    blocks, gradient = sweep_matrices(model, data, parameters, scale)
    right = -(gradient + restraints * parameters)
    columns = model.padded_columns
    diagonal = np.arange(columns.shape[1])
    blocks[:, diagonal, diagonal] += np.append(restraints, 1.0)[columns]
    blocks[:, diagonal, diagonal] *= 1.0 + BLOCK_RIDGE
    blocks[:, diagonal, diagonal] += blocks[:, diagonal, diagonal] == 0  # parameters that bear on nothing
    inverses = np.linalg.inv(blocks)
    along, passes = np.zeros(len(data.intensity)), 1

    def product(vector: Floats) -> Floats:
        nonlocal passes
        passes += 1
        out = restraints * vector
        kernels.multiply(data.design, parameters, data.start, data.intensity, data.weight, scale, vector, out, along)
        return out

    def precondition(vector: Floats) -> Floats:
        out = np.empty(len(vector) + 1)
        out[columns] = np.matmul(inverses, np.append(vector, 0.0)[columns][:, :, None])[:, :, 0]
        return out[:-1]

    shape = (model.n_parameters, model.n_parameters)
    change, _ = sparse.linalg.cg(
        sparse.linalg.LinearOperator(shape, matvec=product, dtype=np.float64),
        right,
        rtol=CG_TOLERANCE,
        maxiter=CG_STEPS,
        M=sparse.linalg.LinearOperator(shape, matvec=precondition, dtype=np.float64),
    )
    return change, passes


def sweep_matrices(model: Model, data: Data, parameters: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Each sweep's sum W l l^T, as if the best I of groups were known; and the gradient of half the target.

    Blocks are (sweeps, widest, widest), 0 beyond a sweep's own parameters.
    """
    width = max(s.n for s in model.sweeps)
    blocks, gradient = np.zeros((len(model.sweeps), width, width)), np.zeros(model.n_parameters)
    kernels.accumulate_blocks(
        data.design,
        parameters,
        data.start,
        data.intensity,
        data.weight,
        scale,
        data.sweep,
        model.first_of_sweep,
        blocks,
        gradient,
    )
    return _whole(blocks), gradient


def _whole(upper: Floats) -> Floats:
    return upper + np.swapaxes(np.triu(upper, 1), -1, -2)


def covariances(model: Model, data: Data, parameters: Floats) -> Floats:
    """Covariance of each sweep's parameters (sweeps, widest, widest), the rest 0.

    Nothing is said of directions that change no relative intensity. Weights are taken as 1 / variance. Of many
    parameters: that of each sweep's by itself, the others held.
    """
    scale = np.empty(len(data.intensity))
    _target(data, parameters, scale)
    restraints = model.restraints()
    width = max(s.n for s in model.sweeps)
    out = np.zeros((len(model.sweeps), width, width))
    if model.n_parameters <= MOST_DENSE:
        matrix, _ = normal_equations(model, data, parameters, scale)
        whole = _pseudo_inverse(matrix + np.diag(restraints), model.free_directions(parameters))
        for block, s in zip(out, model.sweeps):
            block[: s.n, : s.n] = whole[s.columns, s.columns]
        return out
    blocks = sweep_matrices(model, data, parameters, scale)[0]
    diagonal = np.arange(width)
    blocks[:, diagonal, diagonal] += np.append(restraints, 0.0)[model.padded_columns]
    return np.asarray(np.linalg.pinv(blocks, rcond=RCOND, hermitian=True), np.float64)


def _pseudo_inverse(matrix: Floats, free: Floats) -> Floats:
    """Inverse on the space orthogonal to the columns of `free`."""
    keep = np.eye(len(matrix)) - free @ free.T
    inverse = np.linalg.pinv(keep @ matrix @ keep, rcond=RCOND, hermitian=True)
    return keep @ inverse @ keep
