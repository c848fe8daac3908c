from __future__ import annotations

import numpy as np
import pytest
from refinement_case import crystal

from hdrmx.errors import InputError
from hdrmx.models import cell_of
from hdrmx.refinement.symmetry import free_strains, rotations, symmetrised

SYSTEMS = [
    ("P -1", (48, 61, 73, 85, 97, 104), 6),
    ("P 1 21 1", (48, 61, 73, 90, 97, 90), 4),
    ("C 1 2 1", (118, 44, 91, 90, 104, 90), 4),
    ("P 21 21 21", (48, 61, 73, 90, 90, 90), 3),
    ("P 43 21 2", (79, 79, 38, 90, 90, 90), 2),
    ("P 31 2 1", (49, 49, 54, 90, 90, 120), 2),
    ("R 3 2:H", (81, 81, 120, 90, 90, 120), 2),
    ("R 3 2:R", (61, 61, 61, 83, 83, 83), 2),
    ("P 6", (92, 92, 131, 90, 90, 120), 2),
    ("I 2 3", (78, 78, 78, 90, 90, 90), 1),
]


@pytest.mark.parametrize(("symbol", "cell", "n"), SYSTEMS)
def test_strains_leave_exactly_what_the_symmetry_leaves(symbol, cell, n):
    A = np.asarray(crystal(cell, symbol).A)
    strains = free_strains(A, symbol)
    assert len(strains) == n
    np.testing.assert_allclose(np.einsum("aij,bij->ab", strains, strains), np.eye(n), atol=1e-12)
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    values = np.random.default_rng(2).normal(size=n) * 0.05
    moved = (np.eye(3) + np.einsum("k,kij->ij", values, strains)) @ A
    direct = np.linalg.inv(moved) @ np.linalg.inv(moved).T
    for op in rotations(symbol):
        np.testing.assert_allclose(op.T @ direct @ op, direct, rtol=1e-9, atol=1e-7)
    assert max(abs(np.array(cell_of(moved)) - np.array(cell))) > 0.01


@pytest.mark.parametrize(("symbol", "cell", "n"), SYSTEMS)
def test_an_inexact_cell_is_made_to_obey(symbol, cell, n):
    rng = np.random.default_rng(5)
    rough = crystal(tuple(np.array(cell) * (1 + 0.002 * rng.normal(size=6))), symbol)
    exact = symmetrised(rough)
    direct = np.linalg.inv(exact.A) @ np.linalg.inv(exact.A).T
    for op in rotations(symbol):
        np.testing.assert_allclose(op.T @ direct @ op, direct, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(exact.A, rough.A, atol=1e-3)
    np.testing.assert_allclose(symmetrised(exact).A, exact.A, atol=1e-12)


def test_an_unknown_symbol_is_named():
    with pytest.raises(InputError, match="P 7"):
        rotations("P 7")
