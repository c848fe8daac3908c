"""Miller indices for points of reciprocal space, from a lattice: globally, or carried from neighbour to neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

from hdrmx.indexing.reciprocal import Bools, Floats, Ints, Points

TOLERANCE = 0.3  # largest distance from an integer triple
SAME_PASS_RAD = np.radians(45.0)  # spots of one index and sense closer than this in angle are one crossing
OFFSET = 1024  # indices below this in size are packed into one integer

LOCAL_EPSILON = 0.05  # a difference of indices this near to an integer costs nothing
LOCAL_DELTA = 8.0  # differences of indices larger than this cost
LOCAL_L_MIN = 0.8
LOCAL_NEIGHBOURS = 20


@dataclass(frozen=True)
class Assignment:
    """Indices of every point.

    Attributes
    ----------
    hkl : (n, 3) int, 0 0 0 where not indexed
    lattice : (n,) int, which of the lattices; -1 where not indexed
    misfit : (n,) distance from the integer triple, in units of hkl, to the nearest lattice
    """

    hkl: Ints
    lattice: Ints
    misfit: Floats

    def take(self, rows: Bools) -> Assignment:
        """Of some of the points."""
        return Assignment(self.hkl[rows], self.lattice[rows], self.misfit[rows])

    @property
    def n_indexed(self) -> int:
        return int((self.lattice >= 0).sum())


def assign_global(
    points: Points, lattices: list[Floats], tolerance: float = TOLERANCE, d_min: float | None = None
) -> Assignment:
    """Each point gets the nearest node of that lattice (A matrices, (3, 3)) whose node is nearest.

    A point is left out when its fractional indices are more than `tolerance` from integers, when the node is
    0 0 0, when it lies beyond `d_min`, or when another point of the same index, sense of crossing and sweep within
    45 degrees is nearer to the node.

    Notes
    -----
    Time ~ points * lattices (and one sort). Between lattices the distance counts in 1/A, not in hkl.
    """
    n = len(points)
    hkl = np.zeros((n, 3), np.int64)
    lattice = np.full(n, -1, np.int64)
    misfit = np.full(n, np.inf)
    nearest = np.full(n, np.inf)
    within = np.ones(n, bool) if d_min is None else points.d_star <= 1.0 / d_min
    for number, A in enumerate(lattices):
        fractional = np.einsum("ij,nj->ni", np.linalg.inv(A), points.r)
        node = np.rint(fractional)
        off = np.sqrt(np.einsum("ij,ij->i", fractional - node, fractional - node))
        distance = np.linalg.norm(points.r - np.einsum("ij,nj->ni", A, node), axis=1)
        take = (
            within & (off <= tolerance) & (distance < nearest) & (np.abs(node) < OFFSET).all(axis=1) & node.any(axis=1)
        )
        hkl[take] = node[take].astype(np.int64)
        lattice[take], nearest[take] = number, distance[take]
        misfit = np.where(take, off, np.where(lattice < 0, np.minimum(misfit, off), misfit))
    drop = _farther_duplicates(points, hkl, lattice, misfit)
    hkl[drop], lattice[drop] = 0, -1
    return Assignment(hkl, lattice, misfit)


def _farther_duplicates(points: Points, hkl: Ints, lattice: Ints, misfit: Floats) -> Ints:
    """Rows of indexed points that are not the nearest to their node in one crossing of the sphere."""
    rows = np.flatnonzero(lattice >= 0)
    if len(rows) == 0:
        return rows
    code = _pack(hkl[rows])
    group = (lattice[rows] * (points.sweep.max() + 1) + points.sweep[rows]) * 2 + points.entering[rows]
    angle = points.angle_rad[rows]
    order = np.lexsort((rows, angle, code, group))
    starts = np.ones(len(rows), bool)
    starts[1:] = (np.diff(group[order]) != 0) | (np.diff(code[order]) != 0) | (np.diff(angle[order]) >= SAME_PASS_RAD)
    crossing = np.empty(len(rows), np.int64)
    crossing[order] = np.cumsum(starts)
    best_first = np.lexsort((rows, misfit[rows], crossing))
    first = np.ones(len(rows), bool)
    first[1:] = np.diff(crossing[best_first]) != 0
    return rows[best_first[~first]]


def _pack(hkl: Ints) -> Ints:
    """One integer per triple, in their order."""
    shifted = hkl + OFFSET
    return (shifted[:, 0] * (2 * OFFSET) + shifted[:, 1]) * (2 * OFFSET) + shifted[:, 2]


def assign_local(points: Points, A: Floats, d_min: float | None = None) -> Assignment:
    """Indices carried along a tree of neighbours: each link adds the rounded difference of fractional indices.

    Survives errors that grow across the data set (a wrong beam centre, a slipping crystal), under which the fractional
    indices drift but their differences between neighbours stay near integers. Links join the 20 nearest neighbours; a
    link's cost is 1 - exp(-2 sum ((max(|dx - m| - 0.05, 0) / 0.05)^2 + max(|m| - 8, 0)^2)), m = round(dx); links with
    quality exp(...) below 0.2 are cut. The largest tree is kept; its origin is the commonest rounded offset.

    Notes
    -----
    After Kabsch (2010) Acta Cryst. D66, 125-132, section 4. Time ~ points log points.
    """
    rows = np.arange(len(points)) if d_min is None else np.flatnonzero(points.d_star <= 1.0 / d_min)
    n = len(rows)
    hkl, lattice = np.zeros((len(points), 3), np.int64), np.full(len(points), -1, np.int64)
    misfit = np.full(len(points), np.inf)
    if n < 2:
        return Assignment(hkl, lattice, misfit)
    r = points.r[rows]
    fractional = np.einsum("ij,nj->ni", np.linalg.inv(A), r)
    order, parent = _tree(r, fractional)
    carried = np.zeros((n, 3), np.int64)
    for node in order[1:]:
        up = parent[node]
        carried[node] = carried[up] + np.rint(fractional[node] - fractional[up]).astype(np.int64)
    offset = fractional[order] - carried[order]
    carried[order] += np.rint(np.median(offset, axis=0)).astype(np.int64)
    off = np.linalg.norm(fractional[order] - carried[order], axis=1)
    misfit[rows[order]] = off
    real = carried[order].any(axis=1) & (np.abs(carried[order]) < OFFSET).all(axis=1)
    hkl[rows[order[real]]], lattice[rows[order[real]]] = carried[order[real]], 0
    drop = _farther_duplicates(points, hkl, lattice, misfit)
    hkl[drop], lattice[drop] = 0, -1
    return Assignment(hkl, lattice, misfit)


def _tree(r: Floats, fractional: Floats) -> tuple[Ints, Ints]:
    """The nodes of the largest tree of good links, from its root outwards, and each node's parent."""
    n = len(r)
    neighbour = np.asarray(cKDTree(r).query(r, k=min(LOCAL_NEIGHBOURS + 1, n))[1])
    a = np.repeat(np.arange(n), neighbour.shape[1] - 1)
    b = neighbour[:, 1:].ravel()
    difference = fractional[a] - fractional[b]
    step = np.rint(difference)
    excess = np.maximum(np.abs(difference - step) - LOCAL_EPSILON, 0.0) / LOCAL_EPSILON
    far = np.maximum(np.abs(step) - LOCAL_DELTA, 0.0)
    cost = 1.0 - np.exp(-2.0 * (excess**2 + far**2).sum(axis=1))
    good = (cost < LOCAL_L_MIN) & (a != b)
    # a stored zero means "no link" to the graph routines
    graph = scipy.sparse.coo_array((cost[good] + 1e-6, (a[good], b[good])), shape=(n, n)).tocsr()
    tree = minimum_spanning_tree(graph.maximum(graph.T))
    _, part = connected_components(tree, directed=False)
    root = int(np.flatnonzero(part == np.bincount(part).argmax())[0])
    order, parent = breadth_first_order(tree, root, directed=False, return_predecessors=True)
    return order.astype(np.int64), parent.astype(np.int64)
