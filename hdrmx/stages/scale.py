"""Stage `scale`: what varied between equivalent observations is taken out, outliers are marked, errors put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.merging.asu import space_group_of
from hdrmx.params import Scale
from hdrmx.scaling.consistent import Choice
from hdrmx.scaling.error_model import ErrorModel
from hdrmx.scaling.fit import Fit
from hdrmx.scaling.model import Model
from hdrmx.scaling.observations import Observations, Sweep, gather
from hdrmx.scaling.run import LEAST_SCALE, Run
from hdrmx.scaling.summary import islands, parameter_table

DEFAULT = Scale()
_AS_THEY_ARE = ("frame", "frame_obs", "slow_obs", "fast_obs", "partiality", "lp", "qe")
_CARRIED = (*_AS_THEY_ARE, "background_sum", "n_foreground", "n_background")
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scaled:
    """What scaling found.

    Attributes
    ----------
    observations : `tables.SCALED`, sweep by sweep, in the order of the input; rows that can't be used are left out
    row : (n,) row of each in its sweep's table
    model, parameters : model of scales, and the values of its parameters
    parameter_table : the same with standard deviations (`summary.parameter_table`)
    error_model : a and b
    middle : intensity at which summation takes over from profile fit; 0: all by fit, 1: all by summation
    middles : columns middle, r_meas of all that were tried
    indexing : how each sweep was reindexed; empty where there is only one way
    counts : work done, and observations left out by reason
    notes : doubts, in words
    """

    observations: pd.DataFrame
    row: Ints
    model: Model
    parameters: Floats
    parameter_table: pd.DataFrame
    error_model: ErrorModel
    middle: float
    middles: pd.DataFrame
    indexing: tuple[Choice, ...]
    counts: dict[str, int]
    notes: tuple[str, ...]


def scale(sweeps: Sequence[Sweep], space_group: str, params: Scale = DEFAULT) -> Scaled:
    """Scale the observations of one or more sweeps together.

    Parameters
    ----------
    sweeps : with indices in the setting of `space_group`
    space_group : symbol; Friedel mates are scaled together

    Raises
    ------
    InputError : no sweep, an unknown space group, no observation that can be used, or no two that are equivalent

    Notes
    -----
    Fit, outliers, choice between profile fit and summation; fit, outliers, errors; fit with these, outliers, errors.
    Time ~ observations. After Beilsten-Edmands et al. (2020) Acta Cryst. D76, 385-399; `docs/scaling.md` lists where
    it departs from that.
    """
    if not sweeps:
        raise InputError("scaling", "there is no sweep", "integrate first")
    with threadpool_limits(1, user_api="blas"):  # sums of one order: the same bytes on any machine
        return _scale(sweeps, gather(sweeps, space_group_of(space_group), params), params)


def _scale(sweeps: Sequence[Sweep], observations: Observations, params: Scale) -> Scaled:
    run = Run(observations, [s.geometry for s in sweeps], params)
    run.start()
    run.reject()
    fits = [run.fit()]
    run.reject()
    middles = run.combine()
    fits.append(run.fit())
    run.reject()
    run.find_errors()
    fits.append(run.fit())
    run.expand(with_variance=True)
    run.reject()
    run.find_errors()
    table, row = _table(sweeps, observations, run)
    return Scaled(
        observations=table,
        row=row,
        model=run.model,
        parameters=run.parameters,
        parameter_table=parameter_table(run.model, run.parameters, run.covariances),
        error_model=run.error_model,
        middle=run.middle,
        middles=middles,
        indexing=observations.indexing,
        counts=_counts(observations, run, fits),
        notes=_notes(observations, run, fits, len(sweeps)),
    )


def _table(sweeps: Sequence[Sweep], obs: Observations, run: Run) -> tuple[pd.DataFrame, Ints]:
    """`tables.SCALED` in the order of the input, and rows."""
    back = np.argsort(obs.groups.order)
    row, sweep = obs.row[back], obs.sweep[back]
    sizes = np.array([len(s.observations) for s in sweeps])
    together = pd.concat([s.observations[list(_CARRIED)] for s in sweeps], ignore_index=True)
    source = together.iloc[row + (np.cumsum(sizes) - sizes)[sweep]]
    scale = run.scale[back]
    kept = scale > LEAST_SCALE
    divisor = np.where(kept, scale, 1.0)
    background = source["background_sum"].to_numpy(np.float64)
    n_background = np.maximum(source["n_background"].to_numpy(np.float64), 1.0)
    columns = {
        "h": obs.hkl[back, 0],
        "k": obs.hkl[back, 1],
        "l": obs.hkl[back, 2],
        "sweep": sweep,
        "intensity": run.intensity[back] / divisor,
        "sigma": np.sqrt(run.final_variance()[back]) / divisor,
        "scale": divisor,
        "scale_sigma": np.sqrt(run.log_variance[back]) * divisor,
        "background": background,
        "background_sigma": np.sqrt(np.abs(background) * (1.0 + source["n_foreground"].to_numpy() / n_background)),
        "rejected": run.outlier[back] | ~kept,
    }
    for name in _AS_THEY_ARE:
        columns[name] = source[name].to_numpy()
    table = pd.DataFrame({c.name: np.asarray(columns[c.name]).astype(c.dtype) for c in tables.SCALED})
    tables.check(table, tables.SCALED)
    return table, row


def _counts(obs: Observations, run: Run, fits: Sequence[Fit]) -> dict[str, int]:
    return {
        "observations": len(obs),
        "unique": len(obs.groups),
        "parameters": run.model.n_parameters,
        "fitted_observations": run.n_fitted,
        "fit_steps": sum(f.steps for f in fits),
        "fit_evaluations": sum(f.evaluations for f in fits),
        "outliers": int(np.count_nonzero(run.outlier)),
        **obs.counts,
    }


def _notes(obs: Observations, run: Run, fits: Sequence[Fit], n_sweeps: int) -> tuple[str, ...]:
    notes = []
    n_islands = islands(obs.sweep, obs.groups.of_row, n_sweeps)
    if n_islands > 1:
        notes.append(
            f"the sweeps fall into {n_islands} sets with no reflection in common: their scales can't be compared"
        )
    n_small = int(np.count_nonzero(~(run.scale > LEAST_SCALE)))
    if n_small:
        notes.append(f"{n_small} observations were rejected for a scale below {LEAST_SCALE}")
    if not fits[-1].converged:
        notes.append(f"the last fit had not settled after {fits[-1].steps} steps; raise scale.max_steps")
    if run.params.error_model != "none" and run.error_model.n == 0:
        b = run.error_model.b
        notes.append(f"too few strong equivalent observations to find an error model: a = 1, b = {b} are assumed")
    unsure = [i for i, c in enumerate(obs.indexing) if not c.correlation - c.second > 0.05]
    if unsure:
        notes.append(f"the choice of indexing is unsure for {len(unsure)} of {n_sweeps} sweeps")
    return tuple(notes)
