import itertools

import lattice_spots as synth
import numpy as np
import pytest

from hdrmx.indexing.fft1d import fft1d_vectors, half_sphere
from hdrmx.indexing.fft3d import choose_grid, fft3d_vectors, grid_points
from hdrmx.indexing.real_space import real_space_vectors
from hdrmx.indexing.vectors import Candidates, choose, sharpen


@pytest.fixture(scope="module")
def lattice():
    """Real axes (rows) of a triclinic cell and 1500 of its reciprocal points."""
    A = np.asarray(synth.crystal((31, 38, 47, 82, 95, 101)).A)
    hkl = np.array(list(itertools.product(range(-8, 9), repeat=3)))
    r = hkl @ A.T
    r = r[(np.linalg.norm(r, axis=1) < 0.25) & hkl.any(axis=1)]
    rng = np.random.default_rng(2)
    r = r[rng.permutation(len(r))[:1500]]
    return np.linalg.inv(A), r + rng.normal(0, 2e-4, r.shape)


def nearest(vectors, axis):
    return min(min(np.linalg.norm(v - axis), np.linalg.norm(v + axis)) for v in vectors)


def test_grid_reaches_beyond_the_longest_edge():
    grid = choose_grid(100.0)
    assert grid.n == 256
    assert grid.d_min == pytest.approx(500 / 256)
    assert 0.5 * grid.n * grid.real_spacing == pytest.approx(125.0)
    coarse = choose_grid(100.0, 4.0)
    assert coarse.d_min == 4.0
    assert coarse.n in range(126, 140)
    assert 0.5 * coarse.n * coarse.real_spacing >= 124.0


def test_transform_is_the_sum_over_points(lattice):
    """The map's value at a grid point, by the formula written out."""
    _, r = lattice
    grid = choose_grid(20.0, 4.0)
    density = grid_points(r, grid)
    inside = np.linalg.norm(r, axis=1) <= 0.25
    weight = np.exp(np.log(0.05) * 16 * np.sum(r[inside] ** 2, axis=1))
    assert density.sum() == pytest.approx(weight.sum(), rel=1e-5)
    node = np.rint(r[inside] / grid.spacing)
    spectrum = np.fft.fftn(density).real
    at = (3, 5, 2)
    assert spectrum[at] == pytest.approx(np.sum(weight * np.cos(2 * np.pi * node @ at / grid.n)), rel=1e-4)


def test_fft3d_finds_the_axes(lattice):
    axes, r = lattice
    grid = choose_grid(60.0, 4.0)
    vectors, heights = fft3d_vectors(r, grid)
    assert (np.diff(heights) <= 0).all()
    for axis in axes:
        assert nearest(vectors, axis) < grid.real_spacing


def test_no_points_give_no_vectors():
    vectors, heights = fft3d_vectors(np.zeros((0, 3)), choose_grid(50.0, 4.0))
    assert vectors.shape == (0, 3)
    assert len(heights) == 0


def test_fft1d_finds_the_axes_roughly(lattice):
    axes, r = lattice
    vectors = fft1d_vectors(r, 60.0)
    sharp = sharpen(vectors, r)
    for axis in axes:
        assert nearest(sharp.vectors, axis) < 0.05


def test_real_space_finds_known_lengths(lattice):
    axes, r = lattice
    sharp = sharpen(real_space_vectors(r, np.linalg.norm(axes, axis=1)), r)
    for axis in axes:
        assert nearest(sharp.vectors, axis) < 0.05


def test_half_sphere_is_even_and_has_no_opposites():
    u = half_sphere(0.1)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1)
    cosine = u @ u.T - 2 * np.eye(len(u))
    assert np.arccos(np.clip(cosine.max(axis=1), -1, 1)).max() < 0.15
    assert (u @ u.T).min() > -0.9999
    assert len(u) == pytest.approx(2 * np.pi / 0.01, rel=0.1)


def test_sharpen_reaches_the_lattice_vector(lattice):
    axes, r = lattice
    sharp = sharpen(axes + 0.4, r)
    np.testing.assert_allclose(sharp.vectors, axes, atol=0.01)
    assert (sharp.coherence > 0.99).all()
    assert abs(sharpen(np.array([[17.3, 21.1, 5.5]]), r).coherence[0]) < 0.3


def test_choose_leaves_out_what_shorter_vectors_generate(lattice):
    axes, _ = lattice
    a, b, c = axes
    many = np.array([a, b, c, a + b, a - b, 2 * a, b + c, a + 2 * b, -c, [3.0, 0, 0]])
    chosen = choose(Candidates(many, np.ones(len(many))), 4.0, 200.0)
    assert len(chosen) == 3
    np.testing.assert_allclose(abs(np.linalg.det(chosen.vectors)), abs(np.linalg.det(axes)))


def test_choose_keeps_the_long_axis_of_a_needle():
    """All short vectors lie in one plane: they must not crowd out the third direction."""
    a, b, c = np.array([20.0, 0, 0]), np.array([0, 21.0, 0]), np.array([0, 0, 300.0])
    plane = [m * a + n * b for m in range(-7, 8) for n in range(0, 8) if (m, n) > (0, 0) or n > 0]
    many = np.array([*plane, c, c + a, c - b])
    chosen = choose(Candidates(many, np.ones(len(many))), 3.0, 600.0)
    assert abs(np.linalg.det(chosen.vectors[:3])) == pytest.approx(20 * 21 * 300)
