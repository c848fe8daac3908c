"""One cycle of refinement: choose the reflections, throw out what doesn't belong, minimise, say how it went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Geometry
from hdrmx.refinement import outliers
from hdrmx.refinement.breaks import Slip
from hdrmx.refinement.engine import Evaluation, Solution, minimise, residuals
from hdrmx.refinement.hold import hold_what_is_loose
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parallax import mm_to_px, observed_s1
from hdrmx.refinement.parameters import DEFAULT, Free, Parametrisation, parametrise
from hdrmx.refinement.problem import Data, data, rebound

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
# So close to the plane of spindle and beam the angle of a reflection is too ill determined: |(s1 x s0).spindle| in
# 1/A^2, as DIALS counts it, and as a fraction of |s1 x s0| (zeta), which is what matters at short wavelengths.
CLOSE_TO_SPINDLE, SMALLEST_ZETA = 0.02, 0.02
BLOCK_DEG, FEWEST_PER_BLOCK = 18.0, 80  # runs of frames in which outliers are looked for


@dataclass(frozen=True)
class Fit:
    """Refined models, and how the observations fit them.

    `used`, `outlier` and the calculated positions have a row for each observation given; positions are NaN where
    there is no prediction. R.m.s.d.s are over `used`, unweighted; `objective` is the sum of weight * residual^2
    over it.
    """

    crystals: tuple[Crystal, ...]
    bases: tuple[Crystal, ...]  # without what slips and the course along the scan add: where a next cycle begins
    slips: tuple[Slip, ...]
    geometry: Geometry
    used: Mask
    outlier: Mask
    frame_calc: Array
    slow_calc: Array
    fast_calc: Array
    rmsd_fast_px: float
    rmsd_slow_px: float
    rmsd_frame: float
    rmsd_fast_mm: float
    rmsd_slow_mm: float
    rmsd_phi_deg: float
    objective: float
    n_used: int
    n_parameters: int
    steps: int
    evaluations: int
    notes: tuple[str, ...]
    model: Parametrisation
    best: Evaluation  # at the last values, of the reflections used


def refine_static(
    obs: Observations,
    crystals: Sequence[Crystal],
    geometry: Geometry,
    *,
    free: Free = DEFAULT,
    max_steps: int = 100,
    reject: str = "none",
    tukey_iqr: float = 1.5,
    per_degree: float = 0.0,
    probability: float = 0.975,
    slips: Sequence[Slip] = (),
) -> Fit:
    """Refine crystals that don't change along the scan, all lattices together, and the one geometry.

    Parameters
    ----------
    obs : indexed spots; `lattice` counts through `crystals`
    reject : "none", "tukey" (all lattices and frames together) or "mcd" (runs of about 18 degrees of each lattice)
    per_degree : above 0, only about so many reflections a degree are fitted, spread evenly over the frames
    probability : of chi squared, beyond which "mcd" rejects
    slips : where crystals turn suddenly, and about by how much

    Raises
    ------
    InputError : stills, or fewer than three usable reflections

    Notes
    -----
    Minimises the sum over x, y and phi of (calculated - observed)^2 / variance. Time ~ n.
    """
    return _fit(obs, crystals, geometry, free, 0, max_steps, reject, tukey_iqr, per_degree, probability, slips)


def refine_scan_varying(
    obs: Observations,
    crystals: Sequence[Crystal],
    geometry: Geometry,
    *,
    n_intervals: int,
    free: Free = DEFAULT,
    max_steps: int = 100,
    reject: str = "none",
    tukey_iqr: float = 1.5,
    per_degree: float = 0.0,
    probability: float = 0.975,
    slips: Sequence[Slip] = (),
    course: Array | None = None,
) -> Fit:
    """As `refine_static`, with orientation and cell of every crystal smoothed over `n_intervals` of the scan.

    The crystals come back with `A_at_scan_points`. `course` is where their values at the sample points begin, relative
    to `crystals`. Time ~ n + n_intervals.
    """
    return _fit(
        obs, crystals, geometry, free, n_intervals, max_steps, reject, tukey_iqr, per_degree, probability, slips, course
    )


def refine_further(obs: Observations, before: Fit, free: Free, **settings: Any) -> Fit:
    """Go on from a scan-varying fit, with other parts free and outliers looked for anew; `settings` as there."""
    course = before.model.block_values(before.best.values)
    n_intervals = before.model.smoother.n_intervals
    crystals, slips = before.model.crystals, before.slips
    return refine_scan_varying(
        obs, crystals, before.geometry, n_intervals=n_intervals, free=free, slips=slips, course=course, **settings
    )


def _fit(
    obs: Observations,
    crystals: Sequence[Crystal],
    geometry: Geometry,
    free: Free,
    n_intervals: int,
    max_steps: int,
    reject: str,
    tukey_iqr: float,
    per_degree: float,
    probability: float,
    slips: Sequence[Slip],
    course: Array | None = None,
) -> Fit:
    check(obs, crystals, geometry)
    model = parametrise(crystals, geometry, free, n_intervals, slips, course)
    everything = data(obs, model)
    residual, valid = residuals(everything, model, model.start)
    usable = valid & np.isfinite(residual).all(axis=1) & np.isfinite(everything.weight).all(axis=1)
    usable &= ~near_spindle(obs, geometry)
    outlier = np.zeros(len(obs), bool)
    outlier[usable] = find_outliers(residual[usable], obs.take(usable), geometry, reject, tukey_iqr, probability)
    used = usable & ~outlier
    if per_degree > 0:
        used = thinned(used, obs.frame, per_degree, geometry)
    if used.sum() < 3:
        raise InputError(
            "refinement", f"{int(used.sum())} of {len(obs)} indexed spots can be used", "index more spots first"
        )
    start = hold_what_is_loose(select(everything, used), model, int(used.sum()))
    solution = minimise(start.chosen, start.model, start.evaluation, max_steps)
    return report(obs, rebound(everything, start.model), start.model, solution, used, outlier, start.notes)


def check(obs: Observations, crystals: Sequence[Crystal], geometry: Geometry) -> None:
    """Raise InputError where spots name a lattice or panel that there isn't."""
    for what, number, limit in (
        ("lattice", obs.lattice, len(crystals)),
        ("panel", obs.panel, len(geometry.detector.panels)),
    ):
        if len(number) and not (number.min() >= 0 and number.max() < limit):
            wrong = int(number.max() if number.max() >= limit else number.min())
            raise InputError("refinement", f"a spot belongs to {what} {wrong} of {limit}", "index the spots again")


def near_spindle(obs: Observations, geometry: Geometry) -> Mask:
    """(n,) True where the spindle, s0 and s1 (as observed) lie nearly in one plane."""
    assert geometry.goniometer is not None
    s0 = geometry.beam.s0
    across = np.cross(observed_s1(geometry.detector, geometry.beam, obs.panel, obs.slow, obs.fast), s0)
    volume = np.abs(across @ geometry.goniometer.lab_axis)
    return np.asarray((volume <= CLOSE_TO_SPINDLE) | (volume <= SMALLEST_ZETA * np.linalg.norm(across, axis=1)))


def find_outliers(
    residual: Array, obs: Observations, geometry: Geometry, reject: str, tukey_iqr: float, probability: float
) -> Mask:
    """(n,) True where the residuals (mm, mm, rad) don't belong."""
    if reject == "tukey":
        return outliers.tukey(residual, tukey_iqr)
    found = np.zeros(len(obs), bool)
    if reject == "none":
        return found
    if reject != "mcd":
        raise InputError("reject", f"is '{reject}'", "it must be one of none, tukey, mcd")
    assert geometry.scan is not None
    width = abs(np.degrees(geometry.scan.width_rad))
    order = np.argsort(obs.lattice, kind="stable")
    for rows in np.split(order, np.cumsum(np.bincount(obs.lattice))[:-1]):
        if len(rows) == 0:
            continue
        extent = float(np.ptp(obs.frame[rows])) * width
        n_blocks = max(1, min(int(extent / BLOCK_DEG), len(rows) // FEWEST_PER_BLOCK))
        block_frames = max(extent / width / n_blocks, 1e-9)
        found[rows] = outliers.mcd_blocks(residual[rows], obs.frame[rows], block_frames, probability)
    return found


def select(everything: Data, rows: Mask) -> Data:
    """The data of some of the reflections."""
    n = len(rows)
    if rows.all():
        return everything
    per_row = ("hkl", "crystal", "block", "smooth", "segment", "panel", "sense", "target", "weight")
    assert all(len(getattr(everything, name)) == n for name in per_row)
    return everything._replace(**{name: getattr(everything, name)[rows] for name in per_row})


def thinned(used: Mask, frame: Array, per_degree: float, geometry: Geometry) -> Mask:
    """At most so many reflections a degree of the range they span, evenly spaced in the order of frames."""
    assert geometry.scan is not None
    rows = np.flatnonzero(used)
    if len(rows) == 0:
        return used
    degrees = abs(np.degrees(geometry.scan.width_rad)) * max(float(np.ptp(frame[rows])), 1.0)
    wanted = max(int(np.ceil(per_degree * degrees)), 3)
    if wanted >= len(rows):
        return used
    order = rows[np.argsort(frame[rows], kind="stable")]
    thinned = np.zeros_like(used)
    thinned[order[(np.arange(wanted) * len(order)) // wanted]] = True
    return thinned


def report(
    obs: Observations,
    everything: Data,
    model: Parametrisation,
    solution: Solution,
    used: Mask,
    outlier: Mask,
    notes: tuple[str, ...],
) -> Fit:
    """What a minimisation led to; `everything` are the data of all `obs`, `solution` is that of those used."""
    values = solution.best.values
    geometry = model.geometry_at(values)
    residual, valid = residuals(everything, model, values)
    residual = np.where(valid[:, None], residual, np.nan)
    frame, slow, fast = positions_px(everything.target + residual, obs.panel, geometry)
    offsets = np.column_stack([fast - obs.fast, slow - obs.slow, frame - obs.frame])[used & valid]
    rmsd = np.sqrt(np.mean(offsets**2, axis=0))
    rmsd_mm = np.sqrt(np.mean(residual[used & valid] ** 2, axis=0))
    return Fit(
        crystals=model.crystals_at(values),
        bases=model.bases_at(values),
        slips=model.slips_at(values),
        geometry=geometry,
        used=used & valid,
        outlier=outlier,
        frame_calc=frame,
        slow_calc=slow,
        fast_calc=fast,
        rmsd_fast_px=float(rmsd[0]),
        rmsd_slow_px=float(rmsd[1]),
        rmsd_frame=float(rmsd[2]),
        rmsd_fast_mm=float(rmsd_mm[0]),
        rmsd_slow_mm=float(rmsd_mm[1]),
        rmsd_phi_deg=float(np.degrees(rmsd_mm[2])),
        objective=solution.best.objective,
        n_used=int(used.sum()),
        n_parameters=model.n_parameters,
        steps=solution.steps,
        evaluations=solution.evaluations,
        notes=notes,
        model=model,
        best=solution.best,
    )


def positions_px(position: Array, panel: npt.NDArray[np.int32], geometry: Geometry) -> tuple[Array, Array, Array]:
    """(frame, slow, fast) of positions (n, 3) X mm, Y mm, phi rad."""
    assert geometry.scan is not None
    slow, fast = np.full(len(panel), np.nan), np.full(len(panel), np.nan)
    for i, p in enumerate(geometry.detector.panels):
        on = panel == i
        slow[on], fast[on] = mm_to_px(p, position[on, 1], position[on, 0])
    return geometry.scan.frame_at(position[:, 2]), slow, fast
