"""Every derivative against finite differences, and the fast sums against the plain Jacobian."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refinement_case import crystal, geometry, observe

from hdrmx.refinement.breaks import Slip
from hdrmx.refinement.derivatives import jacobian
from hdrmx.refinement.engine import TIE, evaluate, residuals
from hdrmx.refinement.fit import near_spindle
from hdrmx.refinement.parameters import BEAM, DETECTOR, Free, parametrise
from hdrmx.refinement.problem import data
from hdrmx.refinement.uncertainty import covariance

EVERYTHING = Free(detector=DETECTOR, beam=BEAM)
ORTHORHOMBIC = crystal((48.0, 61.0, 73.0, 90.0, 90.0, 90.0), "P 21 21 21", 1.1)


SLIPS = (
    Slip(0, 120.0, (0.004, -0.002, 0.003)),
    Slip(0, 260.5, (0.001, 0.005, 0.0)),
    Slip(1, 200.0, (0.0, 0.003, 0.004)),
)


def case(n_intervals, n_panels=1, free=EVERYTHING, crystals=None, slips=()):
    crystals = crystals or [crystal(), ORTHORHOMBIC]
    place = geometry(n_panels, mu=3.9)
    obs = observe(crystals, place, d_min=9.0, noise=0.5)
    obs = obs.take(~near_spindle(obs, place))
    model = parametrise(crystals, place, free, n_intervals, slips)
    values = model.start + 2e-3 * np.random.default_rng(3).normal(size=model.n_values) * model.active
    return obs, model, data(obs, model), values


@pytest.mark.parametrize("n_intervals", [0, 1, 2, 4])
@pytest.mark.parametrize(("n_panels", "slips"), [(1, ()), (2, ()), (1, SLIPS)])
def test_derivatives_are_those_of_finite_differences(n_intervals, n_panels, slips):
    _, model, given, values = case(n_intervals, n_panels, slips=slips)
    calculated, derivative = jacobian(given, model, values)
    fast_residual, valid = residuals(given, model, values)
    assert valid.mean() > 0.99
    np.testing.assert_allclose(fast_residual[valid], calculated[valid], atol=1e-10)
    for k in np.flatnonzero(model.active):
        step = 1e-3 if k < 3 else 1e-5  # mm; rad
        both, numeric = valid, np.zeros_like(calculated)
        for offset, share in ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)):
            moved = values + offset * step * (np.arange(len(values)) == k)
            found, predicted = residuals(given, model, moved)
            numeric, both = numeric + found * share / (12 * step), both & predicted
        scale = np.abs(derivative[both, :, k]).max(axis=0) + 1e-2
        np.testing.assert_allclose(
            numeric[both] / scale, derivative[both, :, k] / scale, rtol=0, atol=2e-6, err_msg=f"value {k}"
        )


def dense(arrow):
    """The whole scaled normal matrix of an arrow."""
    m, n = arrow.edge.shape
    whole = np.zeros((m + n, m + n))
    whole[:m, :m] = arrow.border
    whole[:m, m:], whole[m:, :m] = arrow.edge, arrow.edge.T
    for d in range(min(arrow.band.shape[0], n)):
        for j in range(n - d):
            whole[m + j + d, m + j] = whole[m + j, m + j + d] = arrow.band[d, j]
    return whole


@pytest.mark.parametrize("n_intervals", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("slips", [(), SLIPS])
@pytest.mark.parametrize("free", [EVERYTHING, Free(detector=(), beam=()), Free(orientation=False), Free(cell=False)])
def test_sums_by_block_are_those_of_the_whole_jacobian(n_intervals, free, slips):
    _, model, given, values = case(n_intervals, free=free, slips=slips)
    result = evaluate(given, model, values)
    residual, derivative = jacobian(given, model, values)
    keep = result.valid
    flat = derivative[keep].reshape(-1, model.n_values)
    weight = given.weight[keep].ravel()
    normal, slope = flat.T @ (weight[:, None] * flat), flat.T @ (weight * residual[keep].ravel())
    n, first = model.smoother.n_samples, model.n_border
    for j in range(model.n_blocks):
        if j % n < n - 1:
            for k in range(model.n_block):
                a, b = first + j * model.n_block + k, first + (j + 1) * model.n_block + k
                pair = np.zeros(model.n_values)
                pair[a], pair[b] = -1 / TIE, 1 / TIE
                normal += np.outer(pair, pair)
                slope += pair * (pair @ values)
    assert result.objective == pytest.approx(float(weight @ residual[keep].ravel() ** 2), rel=1e-12)
    arrow = result.normals
    found = dense(arrow) * np.outer(arrow.scale, arrow.scale)
    on = model.active & (np.diagonal(normal) > 0)
    scale = np.sqrt(np.diagonal(normal)[on])
    np.testing.assert_allclose(
        found[np.ix_(on, on)] / np.outer(scale, scale), normal[np.ix_(on, on)] / np.outer(scale, scale), atol=1e-12
    )
    np.testing.assert_allclose(arrow.gradient[on] / scale, slope[on] / scale, rtol=1e-9, atol=1e-9)
    assert not arrow.gradient[~on].any()


@pytest.mark.parametrize("n_intervals", [0, 2, 5])
def test_a_step_solves_the_whole_normal_equations(n_intervals):
    _, model, given, values = case(n_intervals)
    arrow = evaluate(given, model, values).normals
    for damping in (1e-3, 1.0):
        whole = dense(arrow) + damping * np.eye(model.n_values)
        expected = np.linalg.solve(whole, -arrow.gradient / arrow.scale) / arrow.scale
        np.testing.assert_allclose(arrow.solve(damping), expected, rtol=1e-7, atol=1e-12)
        assert not arrow.solve(damping)[~model.active].any()


@pytest.mark.parametrize("n_intervals", [0, 1, 2, 3, 4, 7])
def test_covariance_by_blocks_is_that_of_the_whole_inverse(n_intervals):
    _, model, given, values = case(n_intervals, free=Free())  # with the wavelength free as well it would be singular
    arrow = evaluate(given, model, values).normals
    found = covariance(arrow)
    whole = np.linalg.inv(dense(arrow)) / np.outer(arrow.scale, arrow.scale)
    m, k = model.n_border, model.n_block
    np.testing.assert_allclose(found.border, whole[:m, :m], rtol=1e-6, atol=1e-6 * np.abs(whole[:m, :m]).max())
    for j in range(model.n_blocks):
        own = slice(m + j * k, m + (j + 1) * k)
        np.testing.assert_allclose(
            found.blocks[j], whole[own, own], rtol=1e-5, atol=1e-6 * np.abs(whole[own, own]).max()
        )


def test_not_positive_definite_gives_no_step():
    _, model, given, values = case(0)
    arrow = evaluate(given, model, values).normals
    assert dataclasses.replace(arrow, band=-arrow.band).solve(1e-3) is None
