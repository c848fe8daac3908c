"""One choice of indices for all sweeps, where the lattice is more symmetric than the crystal.

Every sweep is indexed each possible way and correlated with the mean of the others; the best way is kept, until
nothing changes. The idea is that of Brehm & Diederichs (2014) Acta Cryst. D70, 101-109, with a mean in place of
pairs of sweeps, so that time ~ observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import packed, to_asu

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]

OBLIQUITY_DEG = 3.0  # largest, of a symmetry of the lattice
N_SHELLS = 20
FEWEST_COMMON = 10  # reflections that a correlation is made from
MOST_PASSES = 20


@dataclass(frozen=True)
class Choice:
    """How a sweep was indexed: operator (h' = h R), correlation with the others, and that of the second-best way."""

    operator: str
    correlation: float
    second: float


def operators(cell: tuple[float, ...], space_group: gemmi.SpaceGroup) -> list[gemmi.Op]:
    """Ways to index the same lattice that the space group tells apart, the identity first."""
    laws = gemmi.find_twin_laws(gemmi.UnitCell(*cell), space_group, OBLIQUITY_DEG, False)
    return [gemmi.Op("x,y,z"), *(op for op in laws if all(value % op.DEN == 0 for row in op.rot for value in row))]


def reindexed(hkl: Indices, operator: gemmi.Op) -> Indices:
    """Indices (n, 3) after an operator."""
    return np.asarray(hkl @ (np.array(operator.rot, np.int32) // operator.DEN), np.int32)


def choose_indexing(
    hkl: Sequence[Indices],
    intensity: Sequence[Floats],
    d: Sequence[Floats],
    ways: Sequence[gemmi.Op],
    space_group: gemmi.SpaceGroup,
) -> list[Choice]:
    """A way for each sweep. Sweeps with too little in common with the others keep their own, with a correlation NaN."""
    ids, n_ids = _numbered([[reindexed(h, way) for way in ways] for h in hkl], space_group)
    values = _normalised(intensity, d)
    total, count = np.zeros(n_ids), np.zeros(n_ids)
    by_size = sorted(range(len(hkl)), key=lambda s: (-len(hkl[s]), s))
    way = [-1] * len(hkl)  # not yet placed
    way[by_size[0]] = 0
    _add(total, count, ids[by_size[0]][0], values[by_size[0]], 1.0)
    scores = np.full((len(hkl), len(ways)), np.nan)
    for _ in range(MOST_PASSES):
        changed = False
        for s in by_size:
            if way[s] >= 0:
                _add(total, count, ids[s][way[s]], values[s], -1.0)
            scores[s] = [_correlation(total, count, i, values[s]) for i in ids[s]]
            best = way[s] if np.isnan(scores[s]).all() else int(np.nanargmax(scores[s]))
            changed |= best != way[s]
            way[s] = best
            if best >= 0:
                _add(total, count, ids[s][best], values[s], 1.0)
        if not changed:
            break
    return [_choice(ways, max(w, 0), scores[s]) for s, w in enumerate(way)]


def _choice(ways: Sequence[gemmi.Op], way: int, scores: Floats) -> Choice:
    others = np.delete(scores, way)
    second = float(np.nanmax(others)) if np.isfinite(others).any() else float("nan")
    return Choice(ways[way].triplet(), float(scores[way]), second)


def _numbered(hkl: list[list[Indices]], space_group: gemmi.SpaceGroup) -> tuple[list[list[Ints]], int]:
    """Number of the unique reflection, Friedel mates together, of every observation of every sweep in every way."""
    keys = [[packed(to_asu(way, space_group)[0]) for way in sweep] for sweep in hkl]
    unique = np.unique(np.concatenate([way for sweep in keys for way in sweep]))
    return [[np.searchsorted(unique, way) for way in sweep] for sweep in keys], len(unique)


def _normalised(intensity: Sequence[Floats], d: Sequence[Floats]) -> list[Floats]:
    """Intensities over the mean of their sweep's shell, limited so that a few strong ones don't decide."""
    s = np.concatenate([1.0 / di**2 for di in d])
    limits = np.quantile(s, np.linspace(0, 1, N_SHELLS + 1)[1:-1])
    out = []
    for values, di in zip(intensity, d):
        shell = np.searchsorted(limits, 1.0 / di**2)
        n = np.bincount(shell, minlength=N_SHELLS)
        mean = np.bincount(shell, values, N_SHELLS) / np.maximum(n, 1)
        mean = np.where(mean > 0, mean, np.inf)
        out.append(np.clip(values / mean[shell], -1.0, 5.0))
    return out


def _add(total: Floats, count: Floats, ids: Ints, values: Floats, sign: float) -> None:
    np.add.at(total, ids, sign * values)
    np.add.at(count, ids, sign)


def _correlation(total: Floats, count: Floats, ids: Ints, values: Floats) -> float:
    """Of a sweep's means with those of the others."""
    unique, position = np.unique(ids, return_inverse=True)
    own = np.bincount(position, values) / np.bincount(position)
    common = count[unique] > 0.5
    if np.count_nonzero(common) < FEWEST_COMMON:
        return float("nan")
    other = total[unique[common]] / count[unique[common]]
    if np.ptp(own[common]) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(own[common], other)[0, 1])
