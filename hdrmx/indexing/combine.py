"""Triplets of lattice vectors to reduced cells, the best first."""

from __future__ import annotations

import gemmi
import numpy as np

from hdrmx.indexing.reciprocal import Floats, Ints
from hdrmx.indexing.score import FLOOR, UNIFORM_VARIANCE, Fit, evaluate, fit_lattice
from hdrmx.indexing.vectors import Candidates
from hdrmx.models import cell_of

MIN_ANGLE_RAD = np.radians(20.0)  # between two vectors, and between the third and their plane
MIN_VOLUME = 25.0  # A^3
MAX_SPOTS = 4000  # points that triplets are tried on
QUANTUM = 1.0 / 256.0  # of a fractional index: sums of squares are then exact in any order
BEST_TRIPLETS = 60
BEST_CELLS = 12
OFF_LAYER_0 = 0.3  # share of indices that must lie off a layer 0 whose condition they are tested for


def triplets(candidates: Candidates, r: Floats, tolerance: float) -> tuple[Ints, Floats]:
    """All sound triplets i < j < k of the candidate vectors and what each explains.

    Returns
    -------
    (m, 3) indices and (m,) nats, best first

    Notes
    -----
    The residuals of the points r along each vector are computed once; the count and the sums of squares of
    all triplets come from three matrix products. Time ~ vectors^3 * min(points, 4000).
    """
    v = candidates.vectors
    n = len(v)
    if n < 3:
        return np.zeros((0, 3), np.int64), np.zeros(0)
    r = thinned(r, MAX_SPOTS)
    phase = np.einsum("vj,nj->vn", v, r)
    error = np.rint((phase - np.rint(phase)) / QUANTUM)
    near = (np.abs(error) <= tolerance / QUANTUM).astype(float)
    square = near * error**2
    i, j = np.triu_indices(n, 1)
    both = near[i] * near[j]
    count = both @ near.T
    total = np.stack([(both * square[i]) @ near.T, (both * square[j]) @ near.T, both @ square.T]) * QUANTUM**2
    pair, k = np.nonzero(np.arange(n)[None, :] > j[:, None])
    count, total = count[pair, k], total[:, pair, k]
    i, j = i[pair], j[pair]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = count * 0.5 * np.sum(np.log(UNIFORM_VARIANCE) - np.log(total / count + FLOOR), axis=0)
    sound = _is_sound(v[i], v[j], v[k]) & (count >= 6)
    index, gain = np.column_stack([i, j, k])[sound], gain[sound]
    order = np.argsort(-gain, kind="stable")
    return index[order], gain[order]


def thinned(r: Floats, most: int) -> Floats:
    """At most so many of the points, evenly through the list."""
    return r if len(r) <= most else r[np.linspace(0, len(r) - 1, most).astype(np.int64)]


def _is_sound(a: Floats, b: Floats, c: Floats) -> np.ndarray:
    normal = np.cross(a, b)
    ab = np.linalg.norm(normal, axis=1)
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    volume = np.abs(np.einsum("ij,ij->i", normal, c))
    low = np.sin(MIN_ANGLE_RAD)
    return (ab > low * la * lb) & (volume > low * ab * lc) & (volume > MIN_VOLUME)


def cells(candidates: Candidates, r: Floats, tolerance: float, start_d_star: float) -> tuple[list[Fit], dict[str, int]]:
    """Distinct reduced lattices fitted to the points, most informative first, and counts of the work done.

    Multiples of a cell that the spots do not call for are reduced to it (`make_primitive`). Lattices are sorted out on
    4000 points evenly through the list; those that remain are fitted to all.
    """
    index, _ = triplets(candidates, r, tolerance)
    some = thinned(r, MAX_SPOTS)
    fits: list[Fit] = []
    tried: list[Floats] = []
    for chosen in index[:BEST_TRIPLETS]:
        A = reduce_lattice(_inverse(candidates.vectors[chosen]))
        if any(is_same_lattice(A, other) for other in tried):
            continue
        tried.append(A)
        fit = primitive_fit(fit_lattice(A, some, tolerance, start_d_star), some, tolerance)
        if fit is not None and not any(is_same_lattice(fit.A, other.A) for other in fits):
            fits.append(fit)
        if len(tried) >= BEST_CELLS:
            break
    if len(some) < len(r):
        again = (fit_lattice(fit.A, r, tolerance) for fit in fits)
        fits = [fit for fit in again if fit is not None]
    fits.sort(key=lambda fit: -fit.gain)
    fits = [fit for i, fit in enumerate(fits) if not any(is_multiple(fit.A, better.A) for better in fits[:i])]
    return fits, {"candidate_triplets": len(index), "cells_tried": len(tried)}


def primitive_fit(fit: Fit | None, r: Floats, tolerance: float) -> Fit | None:
    """The fit with the multiples of its cell taken out, fitted again, on the reduced basis."""
    if fit is None:
        return None
    fractional = np.einsum("ij,nj->ni", _inverse(fit.A), r)
    hkl = np.rint(fractional).astype(np.int64)
    near = np.einsum("ij,ij->i", fractional - hkl, fractional - hkl) <= tolerance**2
    A = make_primitive(fit.A, hkl[near & hkl.any(axis=1)])
    if A is not fit.A:
        fit = fit_lattice(A, r, tolerance) or fit
    return evaluate(reduce_lattice(fit.A), r, tolerance)


def reduce_lattice(A: Floats) -> Floats:
    """The same lattice on its Niggli basis, right-handed. `A` (3, 3) has columns a*, b*, c*."""
    real = _inverse(_buerger(A))
    if np.linalg.det(real) < 0:
        real = -real
    vector = gemmi.GruberVector(gemmi.UnitCell(*cell_of(_inverse(real))), "P", True)
    vector.niggli_reduce(epsilon=1e-6 * np.abs(np.linalg.det(real)) ** (2 / 3))
    op = np.rint(np.array(vector.change_of_basis.rot, float) / gemmi.Op.DEN)
    return _inverse(op.T @ real)


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _buerger(A: Floats) -> Floats:
    """A basis of three shortest vectors of the lattice, by steps of pairwise reduction."""
    real = _inverse(A)
    for _ in range(100):
        real = real[np.argsort(np.einsum("ij,ij->i", real, real), kind="stable")]
        changed = False
        for i, others in ((1, (0,)), (2, (0, 1))):
            for j in others:
                step = np.rint(real[i] @ real[j] / (real[j] @ real[j]))
                if step != 0:
                    real[i] = real[i] - step * real[j]
                    changed = True
        if not changed:
            break
    best = real[2]
    for m in (-1, 0, 1):
        for n in (-1, 0, 1):
            trial = real[2] + m * real[0] + n * real[1]
            if trial @ trial < best @ best - 1e-9:
                best = trial
    return _inverse(np.array([real[0], real[1], best]))


def is_multiple(A: Floats, B: Floats, tolerance: float = 0.05) -> bool:
    """Are all real-space points of lattice A points of lattice B, within `tolerance` of a step?"""
    m = _inverse(A) @ B
    return bool(np.abs(m - np.rint(m)).max() < tolerance)


def is_same_lattice(A: Floats, B: Floats, tolerance: float = 0.05) -> bool:
    """Do the two bases span one lattice (in one orientation), within `tolerance` of an index?"""
    m = _inverse(A) @ B
    whole = np.rint(m)
    return bool(np.abs(m - whole).max() < tolerance and abs(abs(np.linalg.det(whole)) - 1.0) < 1e-6)


def make_primitive(A: Floats, hkl: Ints, share: float = 0.9) -> Floats:
    """The lattice without the multiples of its cell that the indices do not call for.

    Where at least `share` of the indices (n, 3) obey u . h = 0 modulo 2, 3 or 5 for some u, the real-space lattice is
    given the points u / p in addition: its reciprocal lattice keeps only those nodes. Repeated until none is found.
    """
    for _ in range(6):
        if len(hkl) == 0:
            return A
        found = _extinction(hkl, share)
        if found is None:
            return A
        u, p = found
        real = _inverse(A)
        finer = _basis_with(real, u, p)
        new = reduce_lattice(_inverse(finer))
        kept = np.einsum("nj,j->n", hkl, u) % p == 0
        hkl = np.rint(np.einsum("ij,jk,nk->ni", _inverse(new), A, hkl[kept])).astype(np.int64)
        A = new
    return A


def _extinction(hkl: Ints, share: float) -> tuple[Ints, int] | None:
    """The condition u . h = 0 mod p that most indices obey beyond `share`; None without one."""
    for p in (2, 3, 5):
        rows = [u for u in np.ndindex(p, p, p) if any(u) and next(x for x in u if x) == 1]
        directions = np.array(rows, np.int64)
        layer = np.einsum("nj,uj->un", hkl, directions)
        obeyed = (layer % p == 0).mean(axis=1)
        # layer 0 obeys any condition: most of the indices must not lie in it
        obeyed[(layer != 0).mean(axis=1) < OFF_LAYER_0] = 0.0
        best = int(np.argmax(obeyed))
        if obeyed[best] >= share:
            return directions[best], p
    return None


def _basis_with(real: Floats, u: Ints, p: int) -> Floats:
    """A basis of the lattice `real` (rows) with the vector u / p added: u has a 1 as its first entry that is not 0."""
    basis = real.copy()
    basis[int(np.flatnonzero(u)[0])] = np.einsum("i,ij->j", u, real) / p
    return basis
