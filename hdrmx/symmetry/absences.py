"""Space groups of one point group, told apart by the reflections that they extinguish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.symmetry.frequency import share

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

STRAY = 0.03  # of absent reflections, those that show intensity for some other reason
LEAK = 0.02  # of the mean intensity: the error that neighbours and background add to an absent one
_NODES = 64


@dataclass(frozen=True)
class Candidate:
    """Space groups that extinguish the same reflections of those measured.

    Attributes
    ----------
    space_groups : symbols; the first is the most frequent among proteins (`frequency`), and is the one to take
    probability : of this candidate among all of the point group
    n_absent : reflections measured that it extinguishes
    i_over_sigma_absent : their mean I/sigma; NaN without any
    is_measured : the space groups extinguish the same of all reflections, and not only of those measured; they are
        enantiomorphs, or one of the two pairs (I 2 2 2, I 21 21 21; I 2 3, I 21 3) that no absence can tell apart
    """

    space_groups: tuple[str, ...]
    probability: float
    n_absent: int
    i_over_sigma_absent: float
    is_measured: bool


@dataclass(frozen=True)
class Absences:
    """Candidates by falling probability, and how many reflections could tell them apart."""

    candidates: tuple[Candidate, ...]
    n_telling: int


def judge(groups: Sequence[gemmi.SpaceGroup], hkl: Ints, e2: Floats, sigma: Floats) -> Absences:
    """Probability of each pattern of extinctions.

    Parameters
    ----------
    groups : space groups of one point group, on the same axes
    hkl : (n, 3) unique reflections in their setting
    e2, sigma : (n,) intensities relative to the mean at their resolution, and sigmas

    Notes
    -----
    A reflection that a group extinguishes is normal about 0 with its sigma, or, once in thirty, like any other; one
    that it doesn't has Wilson's centric distribution times its statistical factor, with the measurement's error.
    Reflections count as independent. All patterns are equally likely beforehand. Time ~ reflections on axes.
    """
    absent = np.array([np.asarray(g.operations().systematic_absences(hkl), bool) for g in groups]).reshape(
        len(groups), len(hkl)
    )
    telling = np.flatnonzero(absent.any(axis=0) & ~absent.all(axis=0))
    absent, hkl, e2, sigma = absent[:, telling], hkl[telling], e2[telling], sigma[telling]
    epsilon = np.asarray(groups[0].operations().epsilon_factor_without_centering_array(hkl), float)
    present = _log_present(e2, sigma, epsilon)
    spread = np.hypot(sigma, LEAK)
    is_zero = np.exp(-((e2 / spread) ** 2) / 2) / (np.sqrt(2 * np.pi) * spread)
    gone = np.log((1 - STRAY) * is_zero + STRAY * np.exp(present))
    log = np.where(absent, gone, present).sum(axis=1)
    patterns: dict[bytes, list[int]] = {}
    for i, pattern in enumerate(absent):
        patterns.setdefault(pattern.tobytes(), []).append(i)
    firsts = np.array([members[0] for members in patterns.values()])
    probability = np.exp(log[firsts] - log[firsts].max())
    probability /= probability.sum()
    made = []
    for p, members in zip(probability.tolist(), patterns.values()):
        rows = absent[members[0]]
        mean = float((e2[rows] / sigma[rows]).mean()) if rows.any() else float("nan")
        ordered = sorted(
            members, key=lambda i: (-share(groups[i].number), _extinctions(groups[i]), groups[i].number, i)
        )
        alike = len({_extinctions(groups[i]) for i in members}) == 1
        made.append(Candidate(tuple(groups[i].xhm() for i in ordered), p, int(rows.sum()), mean, alike))
    return Absences(tuple(sorted(made, key=lambda c: (-c.probability, c.n_absent))), len(telling))


def _log_present(e2: Floats, sigma: Floats, epsilon: Floats) -> Floats:
    """ln of the density of a measured intensity whose true one is epsilon times a chi squared of one degree."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)  # of a normal amplitude
    true = epsilon[:, None] * nodes**2
    width = np.hypot(sigma, 0.1)[:, None] + 0.1 * true  # no narrower than the nodes are apart
    density = np.exp(-(((e2[:, None] - true) / width) ** 2) / 2) / (np.sqrt(2 * np.pi) * width)
    return np.log((density * weights).sum(axis=1) / weights.sum() + 1e-12)


def _extinctions(group: gemmi.SpaceGroup) -> int:
    """How many of the reflections on the axes, to the twelfth order, the group extinguishes."""
    n = np.arange(1, 13)
    zero = np.zeros_like(n)
    lines = [(n, zero, zero), (zero, n, zero), (zero, zero, n)]
    hkl = np.concatenate([np.stack(line, axis=1) for line in lines]).astype(np.int32)
    return int(np.asarray(group.operations().systematic_absences(hkl), bool).sum())
