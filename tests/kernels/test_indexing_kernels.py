import numpy as np
import pytest

from hdrmx.kernels.indexing import COHERENCE, LAYER_SUMS, SHIFT_SCORES


@pytest.fixture
def points():
    return np.random.default_rng(3).normal(0, 0.2, (200, 3))


@pytest.mark.parametrize("kernel", LAYER_SUMS)
def test_layer_sums(kernel, points):
    v = np.array([11.3, -7.2, 4.1])
    out = np.empty(11)
    LAYER_SUMS[kernel](points, v, 0.25, out)
    x = points @ v
    e = x - np.rint(x)
    near = np.abs(e) < 0.25
    normal = points[near].T @ points[near]
    assert out[0] == pytest.approx(np.sum(e**2))
    assert out[1] == near.sum()
    np.testing.assert_allclose(out[2:5], points[near].T @ e[near], rtol=1e-9)
    np.testing.assert_allclose(out[5:], normal[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], rtol=1e-9)


@pytest.mark.parametrize("kernel", COHERENCE)
def test_coherence(kernel, points):
    vectors = np.array([[11.3, -7.2, 4.1], [0.0, 0.0, 0.0], [50.0, 3.0, 2.0]])
    out = np.empty(3)
    COHERENCE[kernel](points, vectors, out)
    np.testing.assert_allclose(out, np.cos(2 * np.pi * points @ vectors.T).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("kernel", SHIFT_SCORES)
def test_shift_scores_peak_where_all_indices_are_integers(kernel):
    rng = np.random.default_rng(5)
    u, v = rng.normal(size=(2, 100, 3))
    start = rng.integers(-9, 9, (100, 3)) - 0.4 * u + 0.2 * v
    grid = np.linspace(-1, 1, 11)
    out = np.empty((11, 11))
    SHIFT_SCORES[kernel](start, u, v, grid, grid, out)
    assert np.unravel_index(out.argmax(), out.shape) == (7, 4)
    assert out.max() == pytest.approx(1.0)
    assert np.median(out) < 0.3


def test_shift_scores_agree():
    start, u, v = np.random.default_rng(6).normal(0, 2, (3, 50, 3))
    grid = np.linspace(-0.7, 0.9, 5)
    found = []
    for kernel in SHIFT_SCORES.values():
        out = np.empty((5, 5))
        kernel(start, u, v, grid, grid, out)
        found.append(out)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
