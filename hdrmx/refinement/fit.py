"""One cycle of refinement: choose the reflections, throw out what doesn't belong, minimise, say how it went."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Geometry
from hdrmx.refinement import outliers
from hdrmx.refinement.engine import Evaluation, Solution, evaluate, minimise, residuals
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parallax import mm_to_px, observed_s1
from hdrmx.refinement.parameters import DEFAULT, Free, Parametrisation, parametrise
from hdrmx.refinement.problem import Data, data
from hdrmx.refinement.uncertainty import uncertainties

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
# So close to the plane of spindle and beam the angle of a reflection is too ill determined: |(s1 x s0).spindle| in
# 1/A^2, as DIALS counts it, and as a fraction of |s1 x s0| (zeta), which is what matters at short wavelengths.
CLOSE_TO_SPINDLE, SMALLEST_ZETA = 0.02, 0.02
FEWEST_PER_PARAMETER = 5
BLOCK_DEG, FEWEST_PER_BLOCK = 18.0, 80  # runs of frames in which outliers are looked for
# A detector's distance or tilt that the data determine no better than this (fraction; rad) is held: the sphere is so
# flat, or the scan so narrow, that cell and orientation take up any change of it.
LOOSE_DISTANCE, LOOSE_TILT = 0.003, 0.01
LOOSE_PARTS = (("distance", ("distance",)), ("tilts", ("tau2", "tau3")), ("turn about its normal", ("tau1",)))
# What is held, in turn, when the reflections are too few for all.
HOLD_ORDER = (
    ("detector tilts", {"tau2", "tau3"}),
    ("detector distance", {"distance"}),
    ("detector and beam", {"tau1", "shift1", "shift2", "in_plane", "out_of_plane", "wavelength"}),
    ("cell", {"cell"}),
)


@dataclass(frozen=True)
class Fit:
    """Refined models, and how the observations fit them.

    `used`, `outlier` and the calculated positions have a row for each observation given; positions are NaN where
    there is no prediction. R.m.s.d.s are over `used`, unweighted; `objective` is the sum of weight * residual^2
    over it.
    """

    crystals: tuple[Crystal, ...]
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
) -> Fit:
    """Refine crystals that don't change along the scan, all lattices together, and the one geometry.

    Parameters
    ----------
    obs : indexed spots; `lattice` counts through `crystals`
    reject : "none", "tukey" (all lattices and frames together) or "mcd" (runs of about 18 degrees of each lattice)
    per_degree : above 0, only about so many reflections a degree are fitted, spread evenly over the frames
    probability : of chi squared, beyond which "mcd" rejects

    Raises
    ------
    InputError : stills, or fewer than three usable reflections

    Notes
    -----
    Minimises the sum over x, y and phi of (calculated - observed)^2 / variance. Time ~ n.
    """
    return _fit(obs, crystals, geometry, free, 0, max_steps, reject, tukey_iqr, per_degree, probability)


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
) -> Fit:
    """As `refine_static`, with orientation and cell of every crystal smoothed over `n_intervals` of the scan.

    The crystals come back with `A_at_scan_points`. Time ~ n + n_intervals.
    """
    return _fit(obs, crystals, geometry, free, n_intervals, max_steps, reject, tukey_iqr, per_degree, probability)


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
) -> Fit:
    model = parametrise(crystals, geometry, free, n_intervals)
    everything = data(obs, model)
    start = np.zeros(model.n_values)
    residual, valid = residuals(everything, model, start)
    usable = valid & ~near_spindle(obs, geometry)
    outlier = np.zeros(len(obs), bool)
    outlier[usable] = find_outliers(residual[usable], obs.take(usable), geometry, reject, tukey_iqr, probability)
    used = usable & ~outlier
    if per_degree > 0:
        used = _thinned(used, obs.frame, per_degree, geometry)
    if used.sum() < 3:
        raise InputError(
            "refinement", f"{int(used.sum())} of {len(obs)} indexed spots can be used", "index more spots first"
        )
    model, notes = _held(model, int(used.sum()))
    model, more = _undetermined(select(data(obs, model), used), model, int(used.sum()))
    notes += more
    chosen = select(everything if not notes else data(obs, model), used)
    solution = minimise(chosen, model, np.zeros(model.n_values), max_steps)
    return _report(obs, everything, model, solution, used, outlier, notes)


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
    per_row = ("hkl", "crystal", "block", "smooth", "panel", "sense", "target", "weight")
    assert all(len(getattr(everything, name)) == n for name in per_row)
    return everything._replace(**{name: getattr(everything, name)[rows] for name in per_row})


def _thinned(used: Mask, frame: Array, per_degree: float, geometry: Geometry) -> Mask:
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


def _held(model: Parametrisation, n_used: int) -> tuple[Parametrisation, tuple[str, ...]]:
    """The parametrisation with as many parameters held as the number of reflections demands."""
    notes: list[str] = []
    for name, parts in HOLD_ORDER:
        if n_used >= FEWEST_PER_PARAMETER * model.n_parameters:
            break
        free = dataclasses.replace(
            model.free,
            detector=tuple(p for p in model.free.detector if p not in parts),
            beam=tuple(p for p in model.free.beam if p not in parts),
            cell=model.free.cell and "cell" not in parts,
        )
        if free != model.free:
            notes.append(f"{name} held: {n_used} reflections for {model.n_parameters} parameters")
            model = parametrise(model.crystals, model.geometry, free, model.smoother.n_intervals)
    return model, tuple(notes)


def _undetermined(chosen: Data, model: Parametrisation, n_used: int) -> tuple[Parametrisation, tuple[str, ...]]:
    """The parametrisation without a distance, then without tilts, that cell and orientation would take up."""
    notes: tuple[str, ...] = ()
    for name, parts in LOOSE_PARTS:
        asked = [p for p in parts if p in model.free.detector]
        if name != "distance" and "out_of_plane" in model.free.beam:  # the beam turns with them: see `Free`
            continue
        if not asked or not (model.free.cell or model.free.orientation):
            continue
        at = evaluate(chosen, model, np.zeros(model.n_values))
        sd = uncertainties(model, at, n_used).border
        distance = model.geometry.detector.panels[0].distance_mm
        worst = max(sd[p] / (LOOSE_DISTANCE * distance if p == "distance" else LOOSE_TILT) for p in asked)
        if worst > 1.0:
            loose = sd["distance"] / distance if name == "distance" else max(sd[p] for p in asked)
            unit = "of itself" if name == "distance" else "rad"
            notes += (f"detector {name} held: determined only to {loose:.2g} {unit}",)
            free = dataclasses.replace(model.free, detector=tuple(p for p in model.free.detector if p not in parts))
            model = parametrise(model.crystals, model.geometry, free, model.smoother.n_intervals)
            chosen = chosen._replace(border=model.border)
    return model, notes


def _report(
    obs: Observations,
    everything: Data,
    model: Parametrisation,
    solution: Solution,
    used: Mask,
    outlier: Mask,
    notes: tuple[str, ...],
) -> Fit:
    values = solution.best.values
    geometry = model.geometry_at(values)
    if notes:
        everything = data(obs, model)
    residual, valid = residuals(everything, model, values)
    residual = np.where(valid[:, None], residual, np.nan)
    frame, slow, fast = positions_px(everything.target + residual, obs.panel, geometry)
    offsets = np.column_stack([fast - obs.fast, slow - obs.slow, frame - obs.frame])[used & valid]
    rmsd = np.sqrt(np.mean(offsets**2, axis=0))
    rmsd_mm = np.sqrt(np.mean(residual[used & valid] ** 2, axis=0))
    return Fit(
        crystals=model.crystals_at(values),
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
