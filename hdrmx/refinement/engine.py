"""Levenberg-Marquardt on the arrow-shaped normal equations.

Damping after Nielsen (1999) IMM-REP-1999-05, as in Madsen, Nielsen & Tingleff (2004) "Methods for non-linear
least squares problems", algorithm 3.16, with the damping relative to each parameter's own diagonal element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.refinement.arrow import Arrow, arrow
from hdrmx.refinement.normal_equations import Sums, accumulate, no_sums
from hdrmx.refinement.parameters import Parametrisation
from hdrmx.refinement.problem import Data, state

Array = npt.NDArray[np.float64]
FIRST_DAMPING = 1e-5
LARGEST_DAMPING = 1e8
# Steps that would lower the sum of squares by less than this fraction change no r.m.s.d. in its sixth digit.
CONVERGED = 1e-7


# Neighbouring sample points are tied by this standard deviation (rad, strain): far too loose to be felt where there are
# reflections, but where there are none (a blank stretch, a beam stop's shadow) the crystal stays as it was before.
TIE = 0.0005
TIE_CONSTANT = 1e-7  # and by this one, strains that are to be the same everywhere


@dataclass(frozen=True)
class Evaluation:
    """One pass over the reflections at some values."""

    values: Array
    objective: float  # sum of weight * residual^2
    total: float  # that and the ties
    residual: Array  # (n, 3) mm, mm, rad
    valid: npt.NDArray[np.bool_]  # (n,)
    normals: Arrow


@dataclass(frozen=True)
class Solution:
    best: Evaluation
    steps: int  # accepted
    evaluations: int
    converged: bool


def evaluate(data: Data, model: Parametrisation, values: Array) -> Evaluation:
    """Residuals, objective and normal equations at these values."""
    sums = no_sums(model.n_border, model.n_blocks, model.n_block)
    residual, valid = np.empty((len(data.hkl), 3)), np.empty(len(data.hkl), np.bool_)
    objective = accumulate(data, state(model, values), sums, True, residual, valid)
    total = objective + tie(sums, model, values)
    return Evaluation(values, objective, total, residual, valid, arrow(sums, model.active))


def tie(sums: Sums, model: Parametrisation, values: Array) -> float:
    """Add the ties between neighbouring sample points to the sums; return their share of the sum of squares."""
    n = model.smoother.n_samples
    if n == 1 or model.n_block == 0:
        return 0.0
    k = np.arange(model.n_block)
    is_constant = (model.block >= 3) & (not model.free.cell_varies)
    weight = np.where(is_constant, TIE_CONSTANT, TIE) ** -2
    blocks = values[model.n_border :].reshape(model.n_blocks, model.n_block)
    left = np.flatnonzero(np.arange(model.n_blocks) % n < n - 1)  # the last point of one crystal isn't tied to the next
    step = blocks[left + 1] - blocks[left]
    sums.gradient[left] -= weight * step
    sums.gradient[left + 1] += weight * step
    for at, other in ((left, k), (left + 1, k)):
        sums.diagonal[at[:, None], other, other] += weight
    sums.next1[left[:, None], k, k] -= weight
    return float(np.sum(weight * step**2))


def residuals(data: Data, model: Parametrisation, values: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """(n, 3) calculated - observed in mm, mm, rad, and where there is a prediction."""
    sums = no_sums(model.n_border, 0, model.n_block)
    residual, valid = np.empty((len(data.hkl), 3)), np.empty(len(data.hkl), np.bool_)
    accumulate(data, state(model, values), sums, False, residual, valid)
    return residual, valid


def minimise(data: Data, model: Parametrisation, start: Evaluation, max_steps: int) -> Solution:
    """Lower the sum of squares from there.

    A step that leaves fewer reflections with a prediction is refused when it loses more than one in a hundred of them,
    since the sum of squares falls with each that is lost.
    """
    best = start
    damping, growth, steps, evaluations = FIRST_DAMPING, 2.0, 0, 1
    converged = False
    while evaluations <= max_steps and damping < LARGEST_DAMPING:
        step = best.normals.solve(damping)
        if step is None or not np.isfinite(step).all():
            damping, growth = damping * growth, growth * 2.0
            continue
        promised = best.normals.predicted_decrease(step, damping)
        if promised <= CONVERGED * best.total:
            converged = True
            break
        trial = evaluate(data, model, best.values + step)
        evaluations += 1
        lost = int(best.valid.sum()) - int(trial.valid.sum())
        gained = best.total - trial.total
        if gained > 0 and lost <= 0.01 * len(best.valid):
            best, steps = trial, steps + 1
            damping *= max(1.0 / 3.0, 1.0 - (2.0 * gained / promised - 1.0) ** 3)
            growth = 2.0
        else:
            damping, growth = damping * growth, growth * 2.0
    return Solution(best, steps, evaluations, converged)
