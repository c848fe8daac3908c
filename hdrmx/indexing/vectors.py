"""Candidate lattice vectors: sharpened on the spots themselves, ranked, and thinned to those that say something new."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdrmx.indexing.reciprocal import Bools, Floats, Ints
from hdrmx.kernels.indexing import layer_sums_fast

STEPS = 4
HOLD = 0.25  # of a layer: spots farther from a layer do not draw on the vector
CHANCE = 0.05  # coherence below which a vector is given up
MIN_POINTS = 6
GENERATED = 0.05  # residual, relative to its length, of a vector that others generate
NEAR = 0.2  # residual, relative to the vectors that generate it


@dataclass(frozen=True)
class Candidates:
    """Real-space vectors v with the share of spots that lie on their layers r . v = integer.

    Attributes
    ----------
    vectors : (m, 3) A
    coherence : (m,) 1 - 12 mean(e^2), e = r . v - round(r . v) of all spots: 1 for a lattice vector, 0 by chance
    """

    vectors: Floats
    coherence: Floats

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, which: Ints | Bools) -> Candidates:
        return Candidates(self.vectors[which], self.coherence[which])


def sharpen(vectors: Floats, r: Floats) -> Candidates:
    """Least-squares fit of every vector to the layers on which the points r (n, 3) lie.

    A step solves sum r r^T dv = -sum r e over the points with |e| < 1/4, e = r . v - round(r . v). A vector that
    gets worse by it is left as it was, and one that is no better than chance is given up. Time ~ vectors * points.
    """
    out = np.empty_like(vectors)
    coherence = np.empty(len(vectors))
    r = np.ascontiguousarray(r)
    for i, start in enumerate(vectors):
        out[i], coherence[i] = _sharpen_one(np.ascontiguousarray(start), r)
    return Candidates(out, coherence)


def _sharpen_one(start: Floats, r: Floats) -> tuple[Floats, float]:
    sums = np.empty(11)
    vector, best, best_coherence = start, start, -np.inf
    for step in range(STEPS + 1):
        layer_sums_fast(r, vector, HOLD, sums)
        coherence = 1.0 - 12.0 * float(sums[0]) / max(len(r), 1)
        if coherence <= best_coherence:
            break
        best, best_coherence = vector, coherence
        if sums[1] < MIN_POINTS or (step == 1 and coherence < CHANCE):
            break
        xx, yy, zz, xy, xz, yz = sums[5:11]
        normal = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        # points in a plane leave one direction open: the pseudo-inverse holds it
        vector = vector - np.linalg.pinv(normal, rcond=1e-6) @ sums[2:5]
    return best, best_coherence


def choose(
    candidates: Candidates, min_length: float, max_length: float, share: float = 0.4, most: int = 30
) -> Candidates:
    """Vectors worth combining, shortest first.

    Kept are vectors of usable length and of at least `share` of the best coherence, one of each set of equal ones;
    left out are those that one or two shorter ones generate (their integer combinations): in a lattice with
    one long axis the short vectors of a plane would otherwise crowd out the third direction.
    Of what is left the `most` coherent stay.
    """
    length = np.linalg.norm(candidates.vectors, axis=1)
    usable = (length >= min_length) & (length <= max_length)
    if usable.any():
        usable &= candidates.coherence >= share * candidates.coherence[usable].max()
    usable &= candidates.coherence > 0
    order = np.flatnonzero(usable)
    order = order[np.lexsort((order, length[order]))]
    kept: list[int] = []
    for i in order:
        if not _is_known(candidates.vectors[i], candidates.vectors[kept]):
            kept.append(int(i))
    chosen = np.array(kept, np.int64)
    chosen = chosen[np.argsort(-candidates.coherence[chosen], kind="stable")[:most]]
    return candidates.take(chosen[np.argsort(length[chosen], kind="stable")])


def _is_known(vector: Floats, kept: Floats) -> bool:
    """Is the vector one of those kept, or an integer combination of one or two of them?"""
    if len(kept) == 0:
        return False
    limit = GENERATED * np.linalg.norm(vector)
    length = np.linalg.norm(kept, axis=1)
    multiple = np.rint(np.einsum("ij,j->i", kept, vector) / length**2)
    rest = np.linalg.norm(vector - multiple[:, None] * kept, axis=1)
    if (rest < np.minimum(limit, NEAR * length)).any():
        return True
    if len(kept) < 2:
        return False
    i, j = np.triu_indices(len(kept), 1)
    a, b = kept[i], kept[j]
    aa, bb, ab = (np.einsum("ij,ij->i", x, y) for x, y in ((a, a), (b, b), (a, b)))
    av, bv = np.einsum("ij,j->i", a, vector), np.einsum("ij,j->i", b, vector)
    det = aa * bb - ab * ab
    sound = det > 0.03 * aa * bb  # pairs at less than 10 degrees span no plane
    det = np.where(sound, det, 1.0)
    m, n = np.rint((bb * av - ab * bv) / det), np.rint((aa * bv - ab * av) / det)
    rest = np.linalg.norm(vector - m[:, None] * a - n[:, None] * b, axis=1)
    return bool((sound & (rest < np.minimum(limit, NEAR * np.minimum(length[i], length[j])))).any())
