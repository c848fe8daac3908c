"""Assignment and refinement in turn, at growing resolution, until both stand still."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.indexing.assign import Assignment, assign_global, assign_local
from hdrmx.indexing.reciprocal import Points, map_sweeps, without_slips
from hdrmx.indexing.score import MIN_SPOTS, fit_lattice
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Index
from hdrmx.refinement.breaks import Slip
from hdrmx.refinement.fit import Fit, refine_static
from hdrmx.refinement.joint import JointFit, refine_joint
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import DETECTOR, Free
from hdrmx.refinement.symmetry import symmetrised, to_matrix

NARROW_DEG = 5.0  # scans below this leave distance and cell apart only by the curvature of the Ewald sphere
# Fence in interquartile ranges. DIALS takes 1.5, which cuts into the weak spots' own errors and lets the cell drift
# with what is cut: 2.0 came nearer to the truth of simulated data.
OUTLIER_IQR = 2.0
SETTLED = 1e-3  # share of indices that may still change when the cycles end
VOLUME_CHANGE = 0.5  # of a cell, beyond which refinement has gone astray

Sweep = tuple[pd.DataFrame, Geometry]


@dataclass(frozen=True)
class Model:
    """Crystals and geometry with the assignment they give to all spots.

    `fit` is that of a single sweep, `joint` that of several; neither, where nothing but the lattice itself could be
    fitted (stills). `outlier_rows` are the spots that the last refinement rejected. With `slips`, crystals are as
    before the first of them, and `points` are turned back.
    """

    crystals: tuple[Crystal, ...]
    sweeps: tuple[Sweep, ...]
    points: Points
    assignment: Assignment
    fit: Fit | None
    outlier_rows: np.ndarray
    counts: dict[str, int]
    notes: tuple[str, ...]
    slips: tuple[Slip, ...] = ()
    joint: JointFit | None = None

    def observations(self) -> list[Observations]:
        """The indexed spots of each sweep; `row` counts through its own table."""
        return observations_by_sweep(self.sweeps, self.assignment, self.points)


def refine_cycles(
    sweeps: Sequence[Sweep],
    crystals: Sequence[Crystal],
    params: Index,
    d_mins: Sequence[float | None],
    slips: Sequence[Slip] = (),
) -> Model:
    """Assign, refine, and assign again for each resolution limit in turn (None: all spots).

    Cycles at one limit stop as soon as no more than one index in a thousand changes. Raises InputError when the spots
    do not carry the refinement.
    """
    sweeps, crystals = tuple(sweeps), tuple(symmetrised(c) for c in crystals)
    points, slips = map_slipped(sweeps, slips), tuple(slips)
    counts = {"assignments": 0, "refinements": 0, "refinement_steps": 0, "refinement_evaluations": 0}
    fit: Fit | None = None
    joint: JointFit | None = None
    outlier_rows = np.zeros(0, np.int64)
    notes: tuple[str, ...] = ()
    before: Assignment | None = None
    last_limit: float | None = -1.0
    for d_min in d_mins:
        assignment = _assign(points, crystals, params, d_min)
        counts["assignments"] += 1
        if d_min == last_limit and before is not None:
            changed = (before.hkl != assignment.hkl).any(axis=1)
            if changed.sum() <= SETTLED * len(points):
                break
        before, last_limit = assignment, d_min
        if not _are_scans(sweeps):
            crystals = _fit_lattices(points, assignment, crystals, params)
        elif len(sweeps) > 1:
            by_sweep = observations_by_sweep(sweeps, assignment, points)
            joint = _refine_joint(by_sweep, sweeps, crystals, params)
            outlier_rows = np.concatenate(
                [
                    np.flatnonzero(points.sweep == i)[o.row[f.outlier]]
                    for i, (o, f) in enumerate(zip(by_sweep, joint.fits))
                ]
            )
            _check_volumes(crystals, joint.crystals)
            crystals, notes = joint.crystals, joint.notes
            sweeps = tuple((spots, f.geometry) for (spots, _), f in zip(sweeps, joint.fits))
            counts["refinements"] += 1
            counts["refinement_steps"] += joint.steps
            counts["refinement_evaluations"] += joint.evaluations
            points = map_slipped(sweeps, ())
        else:
            obs = observations_of(sweeps[0][0], assignment, points)
            fit = _refine(obs, sweeps[0][1], crystals, params, slips)
            outlier_rows = obs.row[fit.outlier]
            _check_volumes(crystals, fit.crystals)
            crystals, sweeps, notes = fit.bases, ((sweeps[0][0], fit.geometry),), fit.notes
            slips = fit.slips
            counts["refinements"] += 1
            counts["refinement_steps"] += fit.steps
            counts["refinement_evaluations"] += fit.evaluations
            points = map_slipped(sweeps, slips)
    final = _assign(points, crystals, params, None)
    return Model(crystals, sweeps, points, final, fit, outlier_rows, counts, notes, slips, joint)


def _are_scans(sweeps: Sequence[Sweep]) -> bool:
    return all(geometry.scan is not None and not geometry.scan.is_still for _, geometry in sweeps)


def _assign(points: Points, crystals: Sequence[Crystal], params: Index, d_min: float | None) -> Assignment:
    lattices = [np.asarray(c.A, float) for c in crystals]
    if params.assignment == "local" and len(lattices) == 1:
        return assign_local(points, lattices[0], d_min)
    return assign_global(points, lattices, params.tolerance, d_min)


def free_parameters(geometries: Sequence[Geometry], params: Index) -> Free:
    """What the scans can determine: the distance is held where they turn too little to tell it from the cell."""
    scan = geometries[0].scan
    narrow = scan is None or abs(np.degrees(scan.width_rad)) * scan.n_frames < NARROW_DEG
    narrow &= len(geometries) == 1  # several show the crystal from several sides
    if params.hold_detector:
        return Free(detector=(), beam=())
    if params.hold_distance or narrow:
        return Free(detector=tuple(p for p in DETECTOR if p != "distance"))
    return Free()


def map_slipped(sweeps: Sequence[Sweep], slips: Sequence[Slip]) -> Points:
    """Points of all sweeps; of a single one with the crystal's slips turned back."""
    points = map_sweeps(sweeps)
    return without_slips(points, *sweeps[0], slips) if slips else points


def _refine(
    obs: Observations, geometry: Geometry, crystals: Sequence[Crystal], params: Index, slips: Sequence[Slip]
) -> Fit:
    return refine_static(
        obs,
        crystals,
        geometry,
        free=free_parameters([geometry], params),
        reject="tukey",
        tukey_iqr=OUTLIER_IQR,
        per_degree=params.per_degree,
        slips=[
            dataclasses.replace(slip, lattice=i) for slip in slips if slip.lattice == 0 for i in range(len(crystals))
        ],
    )


def _refine_joint(
    observations: Sequence[Observations], sweeps: Sequence[Sweep], crystals: Sequence[Crystal], params: Index
) -> JointFit:
    geometries = [geometry for _, geometry in sweeps]
    return refine_joint(
        observations,
        crystals,
        geometries,
        free=free_parameters(geometries, params),
        reject="tukey",
        tukey_iqr=OUTLIER_IQR,
        per_degree=params.per_degree,
    )


def observations_by_sweep(sweeps: Sequence[Sweep], assignment: Assignment, points: Points) -> list[Observations]:
    """The indexed spots of each sweep; `row` counts through its own table."""
    found = []
    for i, (spots, _) in enumerate(sweeps):
        mine = points.sweep == i
        found.append(observations_of(spots, assignment.take(mine), points.take(mine)))
    return found


def observations_of(spots: pd.DataFrame, assignment: Assignment, points: Points) -> Observations:
    """The indexed spots as refinement reads them."""
    row = np.flatnonzero(assignment.lattice >= 0)

    def column(name: str, dtype: str) -> np.ndarray:
        return spots[name].to_numpy()[row].astype(dtype)

    return Observations(
        row=row,
        hkl=assignment.hkl[row].astype(np.int32),
        lattice=assignment.lattice[row].astype(np.int32),
        panel=column("panel", "int32"),
        frame=column("frame", "float64"),
        slow=column("slow", "float64"),
        fast=column("fast", "float64"),
        frame_var=column("frame_var", "float64"),
        slow_var=column("slow_var", "float64"),
        fast_var=column("fast_var", "float64"),
        entering=points.entering[row],
    )


def _fit_lattices(
    points: Points, assignment: Assignment, crystals: Sequence[Crystal], params: Index
) -> tuple[Crystal, ...]:
    """Each lattice by least squares on its own points, where geometry can't be refined."""
    out = []
    for number, crystal in enumerate(crystals):
        mine = points.r[assignment.lattice == number]
        fit = fit_lattice(np.asarray(crystal.A, float), mine, params.tolerance) if len(mine) >= MIN_SPOTS else None
        moved = crystal if fit is None else dataclasses.replace(crystal, A=to_matrix(fit.A))
        out.append(symmetrised(moved))
    return tuple(out)


def _check_volumes(before: Sequence[Crystal], after: Sequence[Crystal]) -> None:
    for old, new in zip(before, after):
        ratio = abs(np.linalg.det(np.asarray(old.A)) / np.linalg.det(np.asarray(new.A)))
        if not (1.0 - VOLUME_CHANGE < ratio < 1.0 + VOLUME_CHANGE):
            raise InputError(
                "refinement", f"the cell's volume changed by a factor of {ratio:.2f}", "the lattice found is unlikely"
            )
