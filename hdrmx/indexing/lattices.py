"""Comparison of lattices of one crystal form."""

from __future__ import annotations

import itertools

import numpy as np

from hdrmx.indexing.combine import reduce_lattice
from hdrmx.indexing.reciprocal import Floats

REACH = 2  # lattice vectors looked at, in steps of the reduced axes
EDGE_TOLERANCE = 0.05
ANGLE_TOLERANCE_DEG = 3.0


def equivalent_bases(real: Floats, like: Floats, edge_tolerance: float, angle_tolerance_deg: float) -> list[Floats]:
    """All right-handed bases (3, 3; rows) of the lattice `real` with the edges and angles of the basis `like`.

    `real` is best a reduced basis, and `like` of the same volume. All triples of lattice vectors of about the right
    lengths are tried, so that no choice between nearly equal reduced cells matters.
    """
    index = np.array(list(itertools.product(range(-REACH - 1, REACH + 2), repeat=3)))
    vectors = np.einsum("ni,ij->nj", index, real)
    length = np.linalg.norm(vectors, axis=1)
    want = np.linalg.norm(like, axis=1)
    first, second, third = (np.flatnonzero(np.abs(length - w) <= edge_tolerance * w) for w in want)
    unit = vectors / np.maximum(length, 1e-9)[:, None]
    angle = [_angle_deg(like[i] / want[i], like[j] / want[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    found = []
    for i, j in itertools.product(first, second):
        if abs(_angle_deg(unit[i], unit[j]) - angle[0]) > angle_tolerance_deg:
            continue
        near = np.abs(_angles_deg(unit[third], unit[i]) - angle[1]) <= angle_tolerance_deg
        near &= np.abs(_angles_deg(unit[third], unit[j]) - angle[2]) <= angle_tolerance_deg
        for k in third[near]:
            if round(np.linalg.det(index[[i, j, k]])) == 1:
                found.append(vectors[[i, j, k]])
    return found


def _angle_deg(a: Floats, b: Floats) -> float:
    return float(_angles_deg(a[None], b)[0])


def _angles_deg(units: Floats, unit: Floats) -> Floats:
    return np.degrees(np.arccos(np.clip(np.einsum("ni,i->n", units, unit), -1.0, 1.0)))


def misorientation_deg(A: Floats, B: Floats) -> float:
    """Smallest rotation, in degrees, that takes lattice A to lattice B (3, 3), whatever the choice of their axes.

    180 where the two differ by more than 5 % in an edge or 3 degrees in an angle.
    """
    target = np.asarray(np.linalg.inv(reduce_lattice(B)), np.float64)
    smallest = 180.0
    real = np.asarray(np.linalg.inv(reduce_lattice(A)), np.float64)
    for basis in equivalent_bases(real, target, EDGE_TOLERANCE, ANGLE_TOLERANCE_DEG):
        u, _, vt = np.linalg.svd(target.T @ np.linalg.inv(basis.T))
        turn = u @ vt
        if np.linalg.det(turn) > 0:
            smallest = min(smallest, float(np.degrees(np.arccos(np.clip(0.5 * (np.trace(turn) - 1.0), -1.0, 1.0)))))
    return smallest
