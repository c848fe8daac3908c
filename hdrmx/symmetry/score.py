"""How likely each rotation, and each group of them, is a symmetry of the intensities.

After Evans (2006) Acta Cryst. D62, 72-82 and (2011) Acta Cryst. D67, 282-292. Departs from it: correlations are of
means over repeated observations and Friedel mates, weighted by the errors usual at their resolution, so that more turns
of data make no more pairs; the correlation expected of a symmetry follows from the sigmas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import packed
from hdrmx.merging.halves import scrambled
from hdrmx.merging.wilson import local_mean
from hdrmx.symmetry.groups import Group, elements
from hdrmx.symmetry.normalise import Normalised, friedel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST_PAIRS = 10
WIDTH = 0.1  # least half-width of the distribution of a correlation
SHORTFALL = 0.95  # what systematic errors leave of the correlation that sigmas promise
CAP = 6.0  # E^2 above this counts as this


@dataclass(frozen=True)
class Element:
    """One rotation. `likelihood` = P(cc | symmetry) / (P(cc | symmetry) + P(cc | none)); 1/2 where nothing is known."""

    rotation: Ints
    cc: float
    n_pairs: int
    likelihood: float


@dataclass(frozen=True)
class Scored:
    """A group of rotations, its probability among all of the lattice, and correlations within and without."""

    group: Group
    probability: float
    cc_in: float
    cc_out: float


@dataclass(frozen=True)
class Scores:
    """Groups by falling probability. Unrelated pairs have the mean `cc_unrelated` and the spread `sd_one` / sqrt(n)."""

    elements: tuple[Element, ...]
    groups: tuple[Scored, ...]
    cc_expected: float
    cc_unrelated: float
    sd_one: float


def score(data: Normalised, groups: Sequence[Group], seed: int) -> Scores:
    """Probabilities of all groups of the lattice. Time ~ unique reflections * rotations."""
    e2 = np.minimum(data.e2, CAP)
    # what is usual at the resolution: weights that knew the intensity itself would lessen its correlation
    usual = local_mean(data.d, data.variance * data.n, 100, 30) / data.n
    weight = 1.0 / (1.0 + np.where(np.isfinite(usual), usual, data.variance))
    unrelated, sd_one = _unrelated(e2, weight, data.d, seed)
    expected = _expected(e2, weight, data.variance)
    scored: list[Element] = []
    for w in elements(groups):
        one, other = _pairs(data, w)
        cc, n_eff = _correlation(e2, weight, one, other)
        if len(one) < FEWEST_PAIRS or not np.isfinite(cc):
            scored.append(Element(w, float("nan"), len(one), 0.5))
            continue
        spread = max(sd_one / np.sqrt(n_eff), WIDTH)
        scored.append(Element(w, cc, len(one), _likelihood(cc, expected, unrelated, spread)))
    return Scores(tuple(scored), _group_scores(scored, groups), expected, unrelated, sd_one)


def _group_scores(scored: Sequence[Element], groups: Sequence[Group]) -> tuple[Scored, ...]:
    log, cc_in, cc_out = [], [], []
    for group in groups:
        keys = group.keys
        inside = [e for e in scored if e.rotation.tobytes() in keys]
        outside = [e for e in scored if e.rotation.tobytes() not in keys]
        log.append(sum(np.log(e.likelihood) for e in inside) + sum(np.log1p(-e.likelihood) for e in outside))
        cc_in.append(_mean_cc(inside))
        cc_out.append(_mean_cc(outside))
    probability = np.exp(np.array(log) - max(log))
    probability /= probability.sum()
    made = [Scored(*each) for each in zip(groups, probability.tolist(), cc_in, cc_out)]
    return tuple(sorted(made, key=lambda s: (-s.probability, -s.group.order)))


def _mean_cc(chosen: Sequence[Element]) -> float:
    known = [(e.cc, e.n_pairs) for e in chosen if np.isfinite(e.cc)]
    total = sum(n for _, n in known)
    return sum(cc * n for cc, n in known) / total if total else float("nan")


def _pairs(data: Normalised, w: Ints) -> tuple[Ints, Ints]:
    """Rows of reflections and of those they are turned into; each pair once, none with itself."""
    turned = packed(friedel(np.einsum("nj,ji->ni", data.hkl, w)))
    at = np.minimum(np.searchsorted(data.code, turned), len(data.code) - 1)
    one = np.flatnonzero((data.code[at] == turned) & (at != np.arange(len(at))))
    other = at[one]
    low, high = np.minimum(one, other), np.maximum(one, other)
    _, first = np.unique(low * len(data.code) + high, return_index=True)
    return one[first], other[first]


def _correlation(e2: Floats, weight: Floats, one: Ints, other: Ints) -> tuple[float, float]:
    """Weighted correlation, symmetric in the pair, and the number of pairs that the weights amount to."""
    if len(one) < 3:
        return float("nan"), 0.0
    w = weight[one] * weight[other]
    x, y, total = e2[one], e2[other], w.sum()
    mean = (w * (x + y)).sum() / (2 * total)
    x, y = x - mean, y - mean
    variance = (w * (x * x + y * y)).sum() / 2
    if variance <= 0:
        return float("nan"), 0.0
    return float((w * x * y).sum() / variance), float(total**2 / (w * w).sum())


def _unrelated(e2: Floats, weight: Floats, d: Floats, seed: int) -> tuple[float, float]:
    """Mean correlation of pairs of about the same resolution that no rotation relates, and spread * sqrt(n) of it."""
    order = np.argsort(-d, kind="stable")
    n = len(order)
    if n < 200:
        return 0.0, 1.0
    steps = 5 + (scrambled(np.arange(24), seed) % np.uint64(min(200, n // 4))).astype(np.int64)
    found = [_correlation(e2, weight, order[:-step], order[step:]) for step in np.unique(steps).tolist()]
    cc = np.array([f[0] for f in found])
    parts = []
    for step in np.unique(steps).tolist():
        for rows in np.array_split(np.arange(n - step), max(1, (n - step) // 100)):
            parts.append(_correlation(e2, weight, order[rows], order[rows + step]))
    spread = np.array([(c - cc.mean()) * np.sqrt(m) for c, m in parts if np.isfinite(c)])
    return float(np.clip(cc.mean(), 0.0, 0.5)), float(np.clip(np.sqrt(np.mean(spread**2)), 0.5, 3.0))


def _expected(e2: Floats, weight: Floats, variance: Floats) -> float:
    """Correlation of equivalents that the sigmas promise: 1 - noise / variance of all, and a little less."""
    w = weight**2
    mean = (w * e2).sum() / w.sum()
    spread = (w * (e2 - mean) ** 2).sum() / w.sum()
    noise = (w * np.minimum(variance, spread)).sum() / w.sum()
    return float(np.clip(SHORTFALL * (1 - noise / max(spread, 1e-12)), 0.1, 0.98))


def _likelihood(cc: float, expected: float, unrelated: float, width: float) -> float:
    if_so = _cauchy(cc, np.array([expected]), width)[0]
    # no symmetry: unrelated, or related by halves, with sqrt(1 - m^2) of a correlation m that is no symmetry
    m = np.linspace(0.0, 1.0, 101)[:-1] + 0.005
    prior = np.sqrt(1 - m**2)
    centres = unrelated + (expected - unrelated) * m if expected > unrelated else np.full(100, unrelated)
    if_not = float((prior * _cauchy(cc, centres, width)).sum() / prior.sum())
    return float(if_so / (if_so + if_not))


def _cauchy(cc: float, centre: Floats, width: float) -> Floats:
    """Density at cc of Cauchy's distribution about each centre, cut off outside of -1 and 1."""
    inside = (np.arctan((1 - centre) / width) - np.arctan((-1 - centre) / width)) / np.pi
    return 1.0 / (np.pi * width * (1 + ((cc - centre) / width) ** 2)) / inside
