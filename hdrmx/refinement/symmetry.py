"""What a space group leaves free of a cell."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Matrix, Vector

Array = npt.NDArray[np.float64]
# Symmetric 3 x 3 tensors of unit length, xx yy zz yz xz xy
UNIT_TENSORS = np.zeros((6, 3, 3))
for _k, (_i, _j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    UNIT_TENSORS[_k, _i, _j] = UNIT_TENSORS[_k, _j, _i] = 1.0 if _i == _j else np.sqrt(0.5)


@lru_cache(maxsize=64)
def rotations(space_group: str) -> Array:
    """(m, 3, 3) rotation parts that act on fractional coordinates, in the setting of the symbol."""
    found = gemmi.find_spacegroup_by_name(space_group)
    if found is None:
        raise InputError("space group", f"'{space_group}' is not a known symbol", "give one such as 'P 43 21 2'")
    unique = {tuple(np.ravel(op.rot)) for op in found.operations().sym_ops}
    return np.array(sorted(unique), float).reshape(-1, 3, 3) / gemmi.Op.DEN


def symmetrised(crystal: Crystal) -> Crystal:
    """The crystal with the nearest A whose metric obeys its space group.

    The direct metric is averaged over the group; the orientation is that of the least change of A.
    """
    ops = rotations(crystal.space_group)
    A = np.asarray(crystal.A, float)
    if len(ops) == 1:
        return crystal
    direct = np.linalg.inv(A)  # rows a, b, c
    metric = np.mean(ops.transpose(0, 2, 1) @ (direct @ direct.T) @ ops, axis=0)
    B = np.linalg.cholesky(np.linalg.inv(metric)).T
    left, _, right = np.linalg.svd(A @ np.linalg.inv(B))
    return dataclasses.replace(crystal, A=to_matrix(left @ right @ B))


def free_strains(A: Array, space_group: str) -> Array:
    """(k, 3, 3) orthonormal symmetric tensors E: A -> (1 + sum e_k E_k) A keeps the symmetry of the metric for any e.

    k is 6 triclinic, 4 monoclinic, 3 orthorhombic, 2 tetragonal, trigonal and hexagonal, 1 cubic. The group acts on
    Cartesian vectors by rotations Q; the tensors with Q E Q^T = E for all of them also hold the square of each
    member, so the new metric A^T (1 + E)^2 A is invariant exactly, not only to first order.
    """
    ops = rotations(space_group)
    if len(ops) == 1:
        return UNIT_TENSORS
    # Worked out in the frame of the cell itself (upper triangular B): the orientation has no part in the choice.
    B = np.linalg.cholesky(A.T @ A).T
    frame = A @ np.linalg.inv(B)
    Q = np.linalg.inv(B.T) @ ops @ B.T
    projected = np.mean(np.einsum("gij,tjk,glk->gtil", Q, UNIT_TENSORS, Q), axis=0)
    basis: list[Array] = []
    for tensor in projected:
        for other in basis:
            tensor = tensor - np.sum(tensor * other) * other
        length = np.sqrt(np.sum(tensor**2))
        if length > 1e-3:  # what rounding leaves of a dependent tensor is < 1e-10
            basis.append(tensor / length)
    return frame @ np.array(basis) @ frame.T


def to_vector(values: npt.ArrayLike) -> Vector:
    """Three numbers as the tuple that models hold."""
    x, y, z = np.asarray(values, float).tolist()
    return x, y, z


def to_matrix(values: npt.ArrayLike) -> Matrix:
    """A 3 x 3 array as the tuples that models hold."""
    a, b, c = np.asarray(values, float)
    return to_vector(a), to_vector(b), to_vector(c)
