"""Kernels of scaling against their plain counterparts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.kernels import harmonics, scaling, scaling_plain

N_SWEEPS, PER_SWEEP, TERMS = 3, 5 + 4 + 8, 8


def _case(seed: int, n_groups: int = 30, with_surface: bool = True):
    """Observations of three sweeps, the last of them without decay and surface, in groups of 1 to 7."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, n_groups)
    start = np.append(0, np.cumsum(sizes)).astype(np.int64)
    n = int(start[-1])
    sweep = rng.integers(0, N_SWEEPS, n).astype(np.int32)
    first = PER_SWEEP * sweep
    weights = rng.uniform(0.1, 1, (n, 3))
    weights[rng.random(n) < 0.3, 2] = 0.0
    design = scaling.Design(
        (first + rng.integers(0, 3, n)).astype(np.int32),
        weights / weights.sum(axis=1)[:, None],
        (first + 5 + rng.integers(0, 2, n)).astype(np.int32)[:, None],
        np.where((sweep < 2)[:, None], rng.uniform(0, 0.1, (n, 3)), 0.0),
        np.where(with_surface & (sweep < 2), first + 9, -1).astype(np.int32),
        rng.normal(size=(n, TERMS)),
    )
    parameters = rng.uniform(0.8, 1.2, N_SWEEPS * PER_SWEEP)
    for s in range(N_SWEEPS):
        parameters[s * PER_SWEEP + 9 : (s + 1) * PER_SWEEP] = rng.normal(0, 0.03, TERMS)
    intensity = np.repeat(rng.exponential(100, n_groups), sizes) + rng.normal(0, 10, n)
    weight = np.where(rng.random(n) < 0.1, 0.0, rng.uniform(0.001, 0.02, n))
    return design, parameters, start, intensity, weight, sweep


def _scales(design: scaling.Design, parameters: np.ndarray) -> np.ndarray:
    out = np.empty(len(design.scale_at))
    scaling.scales(design, parameters, out)
    return out


@pytest.mark.parametrize("n_groups", [1, 4, 60])  # few touch few columns, many are a dense matrix
@pytest.mark.parametrize("with_surface", [True, False])
def test_normal_equations(n_groups: int, with_surface: bool) -> None:
    design, parameters, start, intensity, weight, _ = _case(n_groups, n_groups, with_surface)
    target, matrix, gradient = scaling_plain.normal_equations(design, parameters, start, intensity, weight)
    scale = _scales(design, parameters)
    np.testing.assert_allclose(scale, scaling_plain.log_jacobian(design, parameters)[0], rtol=1e-13)
    mean, total = np.empty(n_groups), np.empty(n_groups)
    found = scaling.means(start, intensity, weight, scale, mean, total)
    assert found == pytest.approx(target, rel=1e-12)
    ours, slope = np.zeros_like(matrix), np.zeros_like(gradient)
    scaling.accumulate(design, parameters, start, intensity, weight, scale, ours, slope)
    np.testing.assert_allclose(np.triu(ours), np.triu(matrix), atol=1e-11 * abs(matrix).max())
    np.testing.assert_allclose(slope, gradient, atol=1e-11 * abs(gradient).max())


def test_normal_equations_with_grids() -> None:
    """More than one row of three neighbours in the exponent."""
    design, parameters, start, intensity, weight, _ = _case(3)
    rng = np.random.default_rng(4)
    rows = design.decay_at + 3 * np.arange(3, dtype=np.int32)
    design = design._replace(
        decay_at=rows, decay_weight=rng.uniform(0, 0.1, (len(rows), 9)), surface_at=np.full(len(rows), -1, np.int32)
    )
    _, matrix, gradient = scaling_plain.normal_equations(design, parameters, start, intensity, weight)
    ours, slope = np.zeros_like(matrix), np.zeros_like(gradient)
    scaling.accumulate(design, parameters, start, intensity, weight, _scales(design, parameters), ours, slope)
    np.testing.assert_allclose(np.triu(ours), np.triu(matrix), atol=1e-11 * abs(matrix).max())
    np.testing.assert_allclose(slope, gradient, atol=1e-11 * abs(gradient).max())


def test_gradient_is_the_slope_of_the_target() -> None:
    design, parameters, start, intensity, weight, _ = _case(5)
    _, _, gradient = scaling_plain.normal_equations(design, parameters, start, intensity, weight)
    for column in (0, 6, 12, 40):
        step = np.zeros_like(parameters)
        step[column] = 1e-5
        up, down = (
            scaling_plain.normal_equations(design, parameters + s * step, start, intensity, weight)[0] for s in (1, -1)
        )
        assert (up - down) / 4e-5 == pytest.approx(gradient[column], rel=1e-5, abs=1e-6)


def test_products_with_the_matrix() -> None:
    design, parameters, start, intensity, weight, _ = _case(7)
    matrix = scaling_plain.normal_equations(design, parameters, start, intensity, weight)[1]
    vector = np.random.default_rng(2).normal(size=len(parameters))
    out, along = np.zeros(len(parameters)), np.zeros(len(intensity))
    scaling.multiply(design, parameters, start, intensity, weight, _scales(design, parameters), vector, out, along)
    np.testing.assert_allclose(out, matrix @ vector, atol=1e-11 * abs(matrix).max())


def test_blocks_of_sweeps() -> None:
    design, parameters, start, intensity, weight, sweep = _case(8)
    g, l = scaling_plain.log_jacobian(design, parameters)
    mean, total = np.empty(len(start) - 1), np.empty(len(start) - 1)
    scaling.means(start, intensity, weight, g, mean, total)
    strength = weight * (g * np.repeat(mean, np.diff(start))) ** 2
    blocks, gradient = np.zeros((N_SWEEPS, PER_SWEEP, PER_SWEEP)), np.zeros(len(parameters))
    first = (PER_SWEEP * np.arange(N_SWEEPS)).astype(np.int32)
    scaling.accumulate_blocks(design, parameters, start, intensity, weight, g, sweep, first, blocks, gradient)
    for s in range(N_SWEEPS):
        own = slice(first[s], first[s] + PER_SWEEP)
        expected = (l[:, own] * strength[:, None]).T @ l[:, own]
        np.testing.assert_allclose(np.triu(blocks[s]), np.triu(expected), atol=1e-11 * abs(expected).max())
    np.testing.assert_allclose(
        gradient, scaling_plain.normal_equations(design, parameters, start, intensity, weight)[2], rtol=1e-8, atol=1e-8
    )


def test_variances_of_scales() -> None:
    design, parameters, _, _, _, sweep = _case(9)
    root = np.random.default_rng(1).normal(size=(N_SWEEPS, PER_SWEEP, PER_SWEEP))
    covariances = root @ root.transpose(0, 2, 1)
    l = scaling_plain.log_jacobian(design, parameters)[1]
    out, first = np.empty(len(l)), (PER_SWEEP * np.arange(N_SWEEPS)).astype(np.int32)
    scaling.variances(design, parameters, sweep, first, covariances, out)
    for i, s in enumerate(sweep):
        own = l[i, first[s] : first[s] + PER_SWEEP]
        assert out[i] == pytest.approx(own @ covariances[s] @ own, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.floats(0.5, 6.0))
def test_outliers(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    start = np.append(0, np.cumsum(rng.integers(1, 9, 6))).astype(np.int64)
    n = int(start[-1])
    intensity, scale = rng.normal(50, 3, n), rng.uniform(0.5, 2, n)
    intensity[rng.random(n) < 0.2] += 40
    weight = np.where(rng.random(n) < 0.1, 0.0, 10.0 ** rng.uniform(-2, 1, n))
    found = np.zeros(n, bool)
    scaling.mark_outliers(start, intensity, weight, scale, limit, found)
    np.testing.assert_array_equal(found, scaling_plain.outliers(start, intensity, weight, scale, limit))


def test_restricted_likelihood() -> None:
    _, _, start, intensity, _, _ = _case(11)
    rng = np.random.default_rng(3)
    n = len(intensity)
    variance, scale = rng.uniform(1, 9, n), rng.uniform(0.5, 2, n)
    expected = np.abs(intensity)

    def ours(a: float, b: float) -> float:
        parts = scaling.restricted_sums(start, intensity, variance, expected, scale, np.ones(n, bool), b * b)
        return parts[0] + parts[1] / a**2 + parts[2] * np.log(a**2)

    def plain(a: float, b: float) -> float:
        return scaling_plain.restricted_log_likelihood(start, intensity, variance, expected, scale, a, b)

    reference = ours(1.0, 0.02) - plain(1.0, 0.02)  # the constant
    for a, b in ((1.3, 0.0), (0.7, 0.1), (2.0, 0.5)):
        assert ours(a, b) - plain(a, b) == pytest.approx(reference, abs=1e-6)


@pytest.mark.parametrize("l_max", [1, 4, 6])
def test_harmonics(l_max: int) -> None:
    directions = np.random.default_rng(4).normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    directions[0] = (0, 0, 1)  # where angles are undefined
    out = np.zeros((200, harmonics.number_of_harmonics(l_max)))
    harmonics.add_harmonics(directions, l_max, 1.0, out)
    np.testing.assert_allclose(out, harmonics.plain_harmonics(directions, l_max), atol=1e-12)


def test_harmonics_are_orthonormal() -> None:
    cosine, weight = np.polynomial.legendre.leggauss(12)
    phi = 2 * np.pi * np.arange(24) / 24
    z, angle = np.meshgrid(cosine, phi, indexing="ij")
    sine = np.sqrt(1 - z**2)
    points = np.column_stack([(sine * np.cos(angle)).ravel(), (sine * np.sin(angle)).ravel(), z.ravel()])
    out = np.zeros((len(points), 24))
    harmonics.add_harmonics(points, 4, 1.0, out)
    area = np.repeat(weight, 24) * 2 * np.pi / 24
    np.testing.assert_allclose((out * area[:, None]).T @ out, np.eye(24), atol=1e-12)
