import itertools

import gemmi
import lattice_spots as synth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.indexing.combine import is_multiple, is_same_lattice, make_primitive, reduce_lattice, triplets
from hdrmx.indexing.score import evaluate, fit_lattice, information
from hdrmx.indexing.search import chance_gain, find_lattices
from hdrmx.indexing.vectors import Candidates
from hdrmx.models import cell_of

CELL = (31.0, 38.0, 47.0, 82.0, 95.0, 101.0)


def nodes(A, d_min, fraction=1.0, sigma=0.0, seed=1):
    real = np.linalg.inv(A)
    reach = np.ceil(np.linalg.norm(real, axis=1) / d_min).astype(int)
    hkl = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    rng = np.random.default_rng(seed)
    r = hkl @ A.T
    keep = (np.linalg.norm(r, axis=1) < 1 / d_min) & hkl.any(axis=1) & (rng.random(len(hkl)) < fraction)
    return hkl[keep], r[keep] + rng.normal(0, sigma, (keep.sum(), 3))


@pytest.fixture(scope="module")
def A():
    return np.asarray(synth.crystal(CELL).A)


unimodular = st.lists(st.tuples(st.permutations(range(3)), st.integers(-2, 2)), min_size=1, max_size=4)


@given(unimodular, st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_reduction_depends_on_the_lattice_alone(steps, seed):
    rng = np.random.default_rng(seed)
    cell = (*rng.uniform(20, 60, 3), *rng.uniform(70, 110, 3))
    A = np.asarray(synth.crystal(cell, seed=seed).A)
    real = np.linalg.inv(A)
    mixed = real.copy()
    for (i, j, _), n in steps:
        mixed[i] += n * mixed[j]
    first, second = reduce_lattice(A), reduce_lattice(np.linalg.inv(mixed))
    assert np.linalg.det(first) > 0
    assert is_same_lattice(first, A)
    np.testing.assert_allclose(cell_of(first), cell_of(second), atol=1e-5)
    expected = gemmi.GruberVector(gemmi.UnitCell(*cell_of(A)), "P")
    expected.niggli_reduce(epsilon=1e-6)
    np.testing.assert_allclose(cell_of(first), expected.cell_parameters(), atol=1e-4)


def test_same_lattice(A):
    real = np.linalg.inv(A)
    other = np.array([real[0] + real[1], real[1], -real[2]])
    assert is_same_lattice(A, np.linalg.inv(other))
    assert not is_same_lattice(A, np.linalg.inv(real * [[2], [1], [1]]))
    assert not is_same_lattice(A, synth.rotation((1, 0, 0), 5) @ A)


def test_multiples(A):
    real = np.linalg.inv(A)
    larger = np.linalg.inv(np.array([[2, 1, 0], [0, 1, 0], [1, 0, 4]]) @ real)
    assert is_multiple(larger, A)
    assert not is_multiple(A, larger)
    assert is_multiple(A, A)


def test_true_triplet_is_ahead_of_multiples(A):
    _, r = nodes(A, 4.0, sigma=5e-4)
    a, b, c = np.linalg.inv(A)
    vectors = np.array([a, b, c, 2 * a, b + 2 * c, np.array([20.0, 30.0, 11.0])])
    index, gain = triplets(Candidates(vectors, np.ones(6)), r, 0.3)
    assert set(index[0]) == {0, 1, 2}
    assert gain[0] > 1.05 * gain[1]
    assert triplets(Candidates(vectors[:2], np.ones(2)), r, 0.3)[0].shape == (0, 3)


def test_a_supercell_or_a_subcell_gains_less(A):
    _, r = nodes(A, 4.0, sigma=1e-3)
    real = np.linalg.inv(A)
    true = evaluate(A, r, 0.3)
    double = evaluate(np.linalg.inv(real * [[2], [1], [1]]), r, 0.3)
    half = evaluate(np.linalg.inv(real * [[0.5], [1], [1]]), r, 0.3)
    assert true.n_indexed == double.n_indexed == len(r)
    assert true.gain > double.gain
    assert true.gain > 1.3 * half.gain


def test_information_counts_nats():
    assert information(10, np.eye(3) / 12) == pytest.approx(0.0, abs=0.03)
    assert information(10, np.eye(3) / 12 / 4) == pytest.approx(10 * 3 * np.log(2), rel=0.01)


def test_fit_finds_the_lattice_from_a_rough_start(A):
    _, r = nodes(A, 3.0, sigma=3e-4)
    rough = synth.rotation((1, 1, 0), 0.6) @ A * 1.004
    fit = fit_lattice(rough, r, 0.3, start_d_star=0.1)
    np.testing.assert_allclose(fit.A, A, atol=2e-6)
    assert fit.fraction == 1.0
    assert fit.volume == pytest.approx(abs(1 / np.linalg.det(A)), rel=1e-3)
    assert fit_lattice(A, r[:3], 0.3) is None


@pytest.mark.parametrize("multiple", [(2, 1, 1), (1, 1, 3), (2, 2, 1), (1, 5, 1)])
def test_multiples_of_the_cell_are_reduced(A, multiple):
    hkl, _ = nodes(A, 4.0)
    real = np.linalg.inv(A) * np.array(multiple)[:, None]
    found = make_primitive(np.linalg.inv(real), hkl * multiple)
    assert is_same_lattice(found, A)


def test_a_weak_superlattice_is_kept(A):
    """A quarter of the spots on the odd layers speaks for them."""
    hkl, _ = nodes(A, 3.0)
    even = hkl[hkl[:, 0] % 2 == 0]
    odd = hkl[hkl[:, 0] % 2 == 1]
    found = make_primitive(A, np.concatenate([even, odd[: len(even) // 4]]))
    assert is_same_lattice(found, A)


def test_search_finds_the_lattice_among_noise(A):
    _, r = nodes(A, 4.0, fraction=0.4, sigma=5e-4)
    noise = np.random.default_rng(1).normal(0, 0.12, (len(r) // 2, 3))
    everything = np.concatenate([r, noise[np.linalg.norm(noise, axis=1) < 0.25]])
    found = find_lattices(everything, 60.0, method="fft3d", min_cell=3.0, tolerance=0.3)
    assert is_same_lattice(found.fits[0].A, A)
    assert found.fits[0].gain > chance_gain(len(everything))
    assert found.counts["cells_tried"] <= 12


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_points_without_order_stay_below_the_chance_level(n):
    for seed in range(3):
        r = np.random.default_rng(seed).uniform(-0.2, 0.2, (n, 3))
        fits = find_lattices(r, 80.0, method="fft3d", min_cell=3.0, tolerance=0.3).fits
        assert all(f.gain < chance_gain(n) for f in fits)
