"""Stage `refine`: crystals, detector and beam fitted to the positions of the indexed spots."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Refine
from hdrmx.refinement.breaks import Slip
from hdrmx.refinement.fit import Fit, refine_further, refine_scan_varying, refine_static
from hdrmx.refinement.hold import FEWEST_PER_PARAMETER
from hdrmx.refinement.observations import Observations, observations
from hdrmx.refinement.parameters import DETECTOR, Free, parametrise
from hdrmx.refinement.slips import find_slips, slip_notes
from hdrmx.refinement.summary import block_rmsds, drift, parameter_table
from hdrmx.refinement.uncertainty import Uncertainties, uncertainties

DEFAULT = Refine()
COARSEST_DEG, FINEST_DEG = 36.0, 2.0  # intervals tried when their length is left open


@dataclass(frozen=True)
class RefinedModel:
    """What refinement found.

    Attributes
    ----------
    crystals : refined; with `A_at_scan_points` where they vary along the scan, A then being the mean; `cell_sd` set
    geometry : refined
    reflections : `tables.REFINED`, the rows of the input
    rmsd_fast_px, rmsd_slow_px, rmsd_frame : over the reflections used, unweighted; also in mm and degrees
    blocks : the same by lattice and runs of frames (`summary.block_rmsds`)
    drift : the crystals at the smoother's sample points (`summary.drift`)
    parameters : name, value, sd, unit of detector, beam and each lattice's cell (`summary.parameter_table`)
    counts : work done (steps, residual evaluations, parameters, reflections, outliers, intervals)
    slips : where crystals turned suddenly, and by how much
    variance : mean weighted square of the residuals; 1 when the variances of the centroids are right
    notes : what was held and why, in words
    """

    crystals: tuple[Crystal, ...]
    geometry: Geometry
    reflections: pd.DataFrame
    rmsd_fast_px: float
    rmsd_slow_px: float
    rmsd_frame: float
    rmsd_fast_mm: float
    rmsd_slow_mm: float
    rmsd_phi_deg: float
    blocks: pd.DataFrame
    drift: pd.DataFrame
    parameters: pd.DataFrame
    counts: dict[str, int]
    slips: tuple[Slip, ...]
    variance: float
    notes: tuple[str, ...]


def refine(
    indexed: pd.DataFrame, crystals: Sequence[Crystal], geometry: Geometry, params: Refine = DEFAULT
) -> RefinedModel:
    """Fit the models to the indexed spots: a crystal that stays first, then, where the spots suffice, one that varies.

    Parameters
    ----------
    indexed : `tables.INDEXED`; `lattice` counts through `crystals`
    crystals : one a lattice; their space groups constrain their cells
    geometry : with a goniometer and a scan of finite width

    Raises
    ------
    InputError : no crystal, stills, too few usable spots, or a setting that names no parameter

    Notes
    -----
    Minimises the sum of (calculated - observed)^2 / variance over x, y and phi of all lattices together, by
    Levenberg-Marquardt. Time ~ spots + frames. After Waterman et al. (2016) Acta Cryst. D72, 558-575;
    `docs/refinement.md` lists where it departs from that.
    """
    if not crystals:
        raise InputError("refinement", "there is no crystal", "index the spots first")
    obs = observations(indexed)
    common = fit_settings(params)
    static = refine_static(obs, crystals, geometry, free=free_parameters(params), **common)
    fits = [static]
    if params.slips and (slips := find_slips(obs, static)):
        for _ in range(2):  # the first was begun, and its outliers chosen, with a geometry that the slips had bent
            static = refine_static(
                obs, static.bases, static.geometry, free=free_parameters(params), slips=slips, **common
            )
            slips = static.slips
            fits.append(static)
    last, notes = static, static.notes
    if params.scan_varying == "auto":
        n_intervals, tried = choose_intervals(obs, static, params)
        fits += tried
        if n_intervals:
            fits += along_scan(obs, static, n_intervals, common)
            last = fits[-1]
            notes += last.notes
        elif not (static.model.free.orientation or static.model.free.cell):
            notes += ("the crystal is held, so it doesn't vary along the scan",)
        else:
            notes += (f"the crystal was not let vary along the scan: only {static.n_used} spots can be used",)
    of_static = uncertainties(static.model, static.best, static.n_used)
    return refined_model(indexed, obs, of_static, last, fits, notes + slip_notes(last))


def fit_settings(params: Refine) -> dict[str, Any]:
    """What every fit of a run is made with, as the fits' keywords."""
    return {
        "max_steps": params.max_steps,
        "reject": params.outliers,
        "tukey_iqr": params.tukey_iqr,
        "per_degree": params.per_degree,
        "probability": params.outlier_probability,
    }


def free_parameters(params: Refine) -> Free:
    """What the settings leave free. Raises InputError naming a part that doesn't exist."""
    held = {p.strip() for p in params.hold.split(",") if p.strip()}
    known = {*DETECTOR, "detector", "cell", "orientation"}
    for part in sorted(held - known):
        raise InputError("refine.hold", f"there is no '{part}'", f"choose from {', '.join(sorted(known))}")
    detector = () if "detector" in held else tuple(p for p in DETECTOR if p not in held)
    beam = tuple(p.strip() for p in params.beam.split(",") if p.strip())
    return Free("orientation" not in held, "cell" not in held, detector, beam)


def choose_intervals(obs: Observations, static: Fit, params: Refine) -> tuple[int, list[Fit]]:
    """Intervals of the scan between the points of the smoother, 0 where none can be; and the fits made to find out.

    Of a given length, or fewer where there would be less than five spots a parameter. Where the length is left
    open: halved as long as Schwarz's criterion (BIC) gets better for it.
    """
    scan = static.geometry.scan
    assert scan is not None
    degrees = abs(float(np.degrees(scan.width_rad))) * scan.n_frames
    if not (static.model.free.orientation or static.model.free.cell):
        return 0, []
    wanted = max(int(degrees / (COARSEST_DEG if params.interval_deg is None else params.interval_deg)), 1)
    affordable = _affordable(static)
    if affordable == 0 or params.interval_deg is not None:
        return min(wanted, affordable), []
    chosen = obs.take(static.used)
    tried: list[Fit] = []
    best, best_criterion, n = 0, np.inf, min(wanted, affordable)
    while n <= affordable and (degrees / n >= FINEST_DEG or not tried):
        fit = refine_scan_varying(
            chosen,
            static.bases,
            static.geometry,
            n_intervals=n,
            free=_turning(static),
            slips=static.slips,
            max_steps=params.max_steps,
        )
        tried.append(fit)
        n_values = 3 * fit.n_used
        criterion = n_values * np.log(fit.objective / n_values) + fit.n_parameters * np.log(n_values)
        if criterion >= best_criterion:
            break
        best, best_criterion, n = n, criterion, 2 * n
    return best, tried


def along_scan(obs: Observations, static: Fit, n_intervals: int, common: dict[str, Any]) -> list[Fit]:
    """The fits of crystals that vary along the scan; the last one is the answer.

    First they only turn. A cell for the whole scan still tells the detector's distance, which the static cycle
    got wrong where the crystal drifts. Then the cell varies, too, if Akaike's criterion (AIC) finds that worth its
    parameters.
    """
    turning = refine_scan_varying(
        obs,
        static.bases,
        static.geometry,
        n_intervals=n_intervals,
        free=_turning(static),
        slips=static.slips,
        **common,
    )
    again = refine_further(obs, turning, turning.model.free, **common)
    fits = [turning, again]
    if not (static.model.free.cell and static.model.free.orientation):
        return fits
    swelling = _swelling(static)
    trial = refine_further(obs.take(again.used), again, swelling, max_steps=common["max_steps"])
    fits.insert(0, trial)
    if trial.n_used == again.n_used and information(trial) < information(again):
        fits.append(refine_further(obs, trial, swelling, **common))
    return fits


def information(fit: Fit) -> float:
    """Akaike's criterion: smaller is better, for fits of the same spots."""
    n = 3 * fit.n_used
    return float(n * np.log(fit.objective / n) + 2.0 * fit.n_parameters)


def _turning(static: Fit) -> Free:
    """What is free beside a crystal that turns along the scan: of the detector what a smooth turn can't mimic."""
    parts = ("distance", "shift1", "shift2") if static.model.free.orientation else ("shift1", "shift2")
    detector = tuple(p for p in static.model.free.detector if p in parts)
    return dataclasses.replace(static.model.free, detector=detector, cell_varies=not static.model.free.orientation)


def _swelling(static: Fit) -> Free:
    """What is free beside a crystal whose cell varies, too: of the detector its shifts only.

    Distance and tilts are told from cell and orientation by what these can't do in a static crystal; one that varies
    takes up most of their changes, and they would wander off (on simulated data: cell and orientation twice as far
    from the truth, for a sum of squares less than 0.05 % lower).
    """
    detector = tuple(p for p in static.model.free.detector if p in ("shift1", "shift2"))
    return dataclasses.replace(static.model.free, detector=detector, cell_varies=True)


def _affordable(static: Fit) -> int:
    """Most intervals that leave at least five spots a parameter."""
    one = parametrise(static.crystals, static.geometry, static.model.free, 1)
    per_sample = (one.n_parameters - one.n_border) // one.smoother.n_samples
    samples = int((static.n_used / FEWEST_PER_PARAMETER - one.n_border) / max(per_sample, 1))
    return samples - 2 if samples >= 5 else {2: 1, 3: 2, 4: 2}.get(samples, 0)


def refined_model(
    indexed: pd.DataFrame,
    obs: Observations,
    of_static: Uncertainties,
    last: Fit,
    fits: Sequence[Fit],
    notes: tuple[str, ...],
) -> RefinedModel:
    """All that is told of a refinement: the last fit, and the standard uncertainties of the static one's cells."""
    is_static = last.model.smoother.n_intervals == 0
    of_last = of_static if is_static else uncertainties(last.model, last.best, last.n_used)
    crystals = tuple(_with_sd(c, sd) for c, sd in zip(last.crystals, of_static.cells[:, 0]))
    return RefinedModel(
        crystals=crystals,
        geometry=last.geometry,
        reflections=_reflections(indexed, obs, last),
        rmsd_fast_px=last.rmsd_fast_px,
        rmsd_slow_px=last.rmsd_slow_px,
        rmsd_frame=last.rmsd_frame,
        rmsd_fast_mm=last.rmsd_fast_mm,
        rmsd_slow_mm=last.rmsd_slow_mm,
        rmsd_phi_deg=last.rmsd_phi_deg,
        blocks=block_rmsds(obs, last),
        drift=drift(last, of_last),
        parameters=parameter_table(last, crystals, of_last),
        counts={
            "refinement_steps": sum(f.steps for f in fits),
            "residual_evaluations": sum(f.evaluations for f in fits),
            "parameters": last.n_parameters,
            "reflections": last.n_used,
            "outliers": int(last.outlier.sum()),
            "intervals": last.model.smoother.n_intervals,
            "slips": len(last.slips),
        },
        slips=last.slips,
        variance=of_last.variance,
        notes=notes,
    )


def _with_sd(crystal: Crystal, sd: np.ndarray) -> Crystal:
    a, b, c, alpha, beta, gamma = sd.tolist()
    return dataclasses.replace(crystal, cell_sd=(a, b, c, alpha, beta, gamma) if np.isfinite(sd).all() else None)


def _reflections(indexed: pd.DataFrame, obs: Observations, fit: Fit) -> pd.DataFrame:
    """The input's rows with calculated positions and what became of each in the last cycle."""
    n = len(indexed)
    columns: dict[str, np.ndarray] = {}
    for name in ("frame_calc", "slow_calc", "fast_calc"):
        columns[name] = np.full(n, np.nan)
        columns[name][obs.row] = getattr(fit, name)
    for name in ("used", "outlier"):
        columns[name] = np.zeros(n, bool)
        columns[name][obs.row] = getattr(fit, name)
    table = indexed[[c.name for c in tables.INDEXED]].assign(**columns)
    tables.check(table, tables.REFINED)
    return table
