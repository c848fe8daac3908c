"""Stage: point group, screw axes and setting of a crystal, from integrated intensities."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.indexing.combine import reduce_lattice
from hdrmx.indexing.reciprocal import Floats
from hdrmx.merging.asu import group_equivalents, space_group_of
from hdrmx.models import Crystal, Scan
from hdrmx.params import Symmetry
from hdrmx.refinement.symmetry import symmetrised, to_matrix
from hdrmx.symmetry.absences import Absences, judge
from hdrmx.symmetry.groups import Group, candidates, centring_of, lattice_groups, turns_of
from hdrmx.symmetry.normalise import Normalised, normalise
from hdrmx.symmetry.score import Scored, Scores, score

FEWEST = 20  # observations
SHELL = 100  # unique reflections of a shell that is to show some signal
LEAST_SIGNAL = 0.5  # mean I/sigma of such a shell


@dataclass(frozen=True)
class SymmetryFound:
    """What the intensities say.

    Attributes
    ----------
    space_group : extended Hermann-Mauguin symbol, in the setting of `crystal`
    crystal : on the conventional axes, its metric obeying the space group, at all scan points
    change : (3, 3) new h = change @ h of the indices given; with fractions where those were of a centred cell
    scores : every rotation and every group of the lattice
    probability : of the group of rotations that was chosen
    absences : space groups of its point group; None where they were not looked at
    is_sure : neither point group nor screw axes are in doubt
    d_min : resolution that was looked at
    counts : work done: observations, unique reflections, rotations, groups
    notes : doubts in words
    """

    space_group: str
    crystal: Crystal
    change: Floats
    scores: Scores
    probability: float
    absences: Absences | None
    is_sure: bool
    d_min: float
    counts: dict[str, int]
    notes: tuple[str, ...]


def symmetry(observations: pd.DataFrame, crystal: Crystal, scan: Scan | None, params: Symmetry) -> SymmetryFound:
    """Find the symmetry of one crystal, and the change of its indices to the conventional setting.

    Parameters
    ----------
    observations : columns h, k, l, intensity, sigma, frame, and, where known, partiality, rejected (such as
        `tables.SCALED`); intensities with LP and QE applied, scaled or not
    crystal : on the axes of these indices; a centred cell by its space group
    scan : tells how many frames make a turn; None: all observations are looked at

    Raises
    ------
    InputError : fewer than 20 observations are left, or the lattice doesn't have the symmetry of the space group given

    Notes
    -----
    Only observations of the first turn (`params.turns`) are looked at, as further ones tell little more. Time ~
    observations of a turn, n log n, + unique reflections * rotations of the lattice.
    """
    to_primitive = _primitive(crystal.space_group)
    A = np.asarray(crystal.A, float) @ np.linalg.inv(to_primitive)
    reduced = reduce_lattice(A)
    to_reduced = np.rint(np.linalg.inv(reduced) @ A) @ to_primitive
    rows = _selected(observations, scan, params)
    hkl = np.rint(np.einsum("ij,nj->ni", to_reduced, rows[["h", "k", "l"]].to_numpy(float))).astype(np.int64)
    columns = tuple(rows[name].to_numpy(np.float64) for name in ("intensity", "sigma", "frame"))
    data, d_min = _to_signal(normalise(hkl, reduced, *columns), params.d_min)
    groups = lattice_groups(np.linalg.inv(reduced).astype(np.float64), params.lattice_tolerance_deg)
    scores = score(data, groups, params.seed)
    known = space_group_of(params.space_group) if params.space_group else None
    chosen = scores.groups[0] if known is None else _matching(known, scores)
    group, notes = chosen.group, _doubts(scores, chosen.probability, params, known is not None)
    absences, space_group = None, known.xhm() if known is not None else group.space_group
    if known is None and params.absences:
        absences = _absences(group, data)
        space_group = absences.candidates[0].space_groups[0]
        notes += _doubts_of_axes(absences, params)
    change = group.change @ to_reduced
    return SymmetryFound(
        space_group=space_group,
        crystal=reindexed(crystal, change, space_group),
        change=change,
        scores=scores,
        probability=chosen.probability,
        absences=absences,
        is_sure=known is not None or not notes,
        d_min=d_min,
        counts={
            "observations": len(rows),
            "unique": len(data.code),
            "rotations": len(scores.elements),
            "groups": len(groups),
        },
        notes=notes,
    )


def reindexed(crystal: Crystal, change: npt.ArrayLike, space_group: str) -> Crystal:
    """The crystal on new axes, new h = change @ h, its metric made to obey the space group, at each scan point."""
    back = np.linalg.inv(np.asarray(change, float))
    A = symmetrised(Crystal(to_matrix(np.asarray(crystal.A, float) @ back), space_group)).A
    points = crystal.A_at_scan_points
    if points is not None:
        points = np.array([symmetrised(Crystal(to_matrix(a @ back), space_group)).A for a in points])
    return dataclasses.replace(crystal, A=A, space_group=space_group, A_at_scan_points=points, cell_sd=None)


def reindexed_table(table: pd.DataFrame, change: npt.ArrayLike) -> pd.DataFrame:
    """The same rows with h, k, l on new axes. Raises ValueError where an index would not be an integer."""
    new = np.einsum("ij,nj->ni", np.asarray(change, float), table[["h", "k", "l"]].to_numpy(float))
    if len(new) and np.abs(new - np.rint(new)).max() > 1e-3:
        raise ValueError("the change of axes gives indices that are no integers")
    whole = np.rint(new).astype(np.int32)
    return table.assign(h=whole[:, 0], k=whole[:, 1], l=whole[:, 2])


def _primitive(space_group: str) -> Floats:
    """(3, 3) h of a primitive cell = this @ h of the space group's cell."""
    op = space_group_of(space_group).centred_to_primitive()
    return np.asarray(op.rot, float).T / op.DEN


def _selected(observations: pd.DataFrame, scan: Scan | None, params: Symmetry) -> pd.DataFrame:
    intensity, sigma = observations["intensity"].to_numpy(), observations["sigma"].to_numpy()
    frame = observations["frame"].to_numpy()
    with np.errstate(invalid="ignore"):
        good = np.isfinite(intensity) & np.isfinite(frame) & (sigma > 0) & (intensity > -5 * sigma)
        if "partiality" in observations:
            good &= observations["partiality"].to_numpy() >= params.min_partiality
        if "rejected" in observations:
            good &= ~observations["rejected"].to_numpy()
        if params.turns > 0 and scan is not None and not scan.is_still:
            good &= frame < scan.first + params.turns * 2 * np.pi / abs(scan.width_rad)
    good &= (observations[["h", "k", "l"]] != 0).any(axis=1).to_numpy()
    if good.sum() < FEWEST:
        raise InputError("symmetry", f"{good.sum()} observations can be used, {FEWEST} are needed", "check integration")
    return observations[good]


def _to_signal(data: Normalised, d_min: float | None) -> tuple[Normalised, float]:
    """Reflections to the resolution given, or to where a shell of a hundred no longer shows a signal."""
    if d_min is None:
        order = np.argsort(-data.d, kind="stable")
        shells = np.array_split(order, max(1, len(order) // SHELL))
        signal = [float((data.e2[rows] / np.sqrt(data.variance[rows])).mean()) for rows in shells]
        weak = next((i for i, s in enumerate(signal) if s < LEAST_SIGNAL), len(shells))
        d_min = float(data.d[shells[max(weak - 1, 0)]].min())
    keep = data.d >= d_min
    columns = {name: getattr(data, name)[keep] for name in ("hkl", "code", "e2", "variance", "d", "n")}
    return dataclasses.replace(data, **columns), d_min


def _matching(known: gemmi.SpaceGroup, scores: Scores) -> Scored:
    """The likeliest group of rotations that is that of the known space group on the same kind of axes."""
    for scored in scores.groups:
        mine = space_group_of(scored.group.space_group)
        if turns_of(mine) == turns_of(known) and centring_of(mine) == centring_of(known):
            return scored
    fits = sorted({s.group.space_group for s in scores.groups})
    raise InputError(
        "symmetry",
        f"the lattice has no symmetry of space group {known.xhm()} on conventional axes",
        f"it has those of {', '.join(fits)}; check the space group, or raise symmetry.lattice_tolerance_deg",
    )


def _absences(group: Group, data: Normalised) -> Absences:
    hkl = np.einsum("ij,nj->ni", group.change, data.hkl).astype(np.int32)
    symmorphic = space_group_of(group.space_group)
    equivalents = group_equivalents(hkl, symmorphic)
    weight = 1.0 / (data.variance + 0.01)
    total = np.bincount(equivalents.group, weight)
    e2 = np.bincount(equivalents.group, weight * data.e2) / total
    sigma = np.sqrt(np.bincount(equivalents.group, weight**2 * data.variance)) / total
    return judge(candidates(group.space_group), equivalents.hkl, e2, sigma)


def _doubts(scores: Scores, probability: float, params: Symmetry, is_given: bool) -> tuple[str, ...]:
    best = scores.groups[0]
    if is_given:
        if probability < 0.05 and best.probability >= params.min_probability:
            return (f"the intensities speak for {best.group.space_group} (probability {best.probability:.3f})",)
        return ()
    notes: tuple[str, ...] = ()
    if best.probability < params.min_probability:
        others = ", ".join(f"{s.group.space_group} ({s.probability:.2f})" for s in scores.groups[:3])
        notes = (f"the point group can't be told: {others}; measure more of the crystal, or give the space group",)
    blind = sum(not np.isfinite(e.cc) for e in scores.elements)
    if blind:
        notes += (f"{blind} of {len(scores.elements)} rotations of the lattice have too few pairs to be judged",)
    return notes


def _doubts_of_axes(absences: Absences, params: Symmetry) -> tuple[str, ...]:
    best = absences.candidates[0]
    notes: tuple[str, ...] = ()
    if best.probability < params.min_probability:
        others = ", ".join(f"{c.space_groups[0]} ({c.probability:.2f})" for c in absences.candidates[:3])
        notes = (f"screw axes can't be told: {others}",)
    if not best.is_measured:
        notes += (f"the reflections measured don't tell {', '.join(best.space_groups)} apart",)
    return notes
