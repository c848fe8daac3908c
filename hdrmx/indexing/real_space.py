"""Candidate lattice vectors of known lengths, searched over all directions."""

from __future__ import annotations

import numpy as np

from hdrmx.indexing.fft1d import half_sphere
from hdrmx.indexing.reciprocal import Floats
from hdrmx.kernels.indexing import coherence_fast

STEP_RAD = 0.02
KEPT = 30  # vectors of each length


def real_space_vectors(r: Floats, lengths: Floats) -> Floats:
    """(m, 3) A: vectors v of the given lengths with the highest sum of cos(2 pi r . v) over the points r (n, 3).

    The 30 best directions of each length on a grid of 0.02 rad, at least two steps apart. Long vectors of data
    of high resolution slip through so coarse a grid: points with |r| above 1 / (2 step |v|) are
    left out of the sum. Time ~ points / step^2.

    After Gildea et al. (2014) Acta Cryst. D70, 2652-2666.
    """
    directions = half_sphere(STEP_RAD)
    d_star = np.linalg.norm(r, axis=1)
    found = []
    for length in np.unique(np.round(lengths, 3)):
        near = r[d_star <= max(0.5 / (STEP_RAD * length), np.quantile(d_star, 0.2))]
        vectors = np.ascontiguousarray(directions * length)
        score = np.empty(len(vectors))
        coherence_fast(np.ascontiguousarray(near), vectors, score)
        found.append(_best(vectors, score))
    return np.concatenate(found)


def _best(vectors: Floats, score: Floats) -> Floats:
    kept: list[Floats] = []
    for i in np.lexsort((np.arange(len(score)), -score)):
        v = vectors[i]
        limit = 2.0 * STEP_RAD * np.linalg.norm(v)
        if all(min(np.linalg.norm(v - w), np.linalg.norm(v + w)) > limit for w in kept):
            kept.append(v)
        if len(kept) == KEPT:
            break
    return np.array(kept)
