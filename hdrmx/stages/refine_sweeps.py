"""Stage `refine` for several sweeps of one crystal: one cell and orientation, fitted to the spots of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Refine
from hdrmx.refinement.fit import Fit
from hdrmx.refinement.joint import refine_joint
from hdrmx.refinement.observations import Observations, observations
from hdrmx.stages.refine import (
    DEFAULT,
    RefinedModel,
    along_scan,
    choose_intervals,
    fit_settings,
    free_parameters,
    refined_model,
)


def refine_sweeps(
    sweeps: Sequence[tuple[pd.DataFrame, Geometry]], crystals: Sequence[Crystal], params: Refine = DEFAULT
) -> tuple[RefinedModel, ...]:
    """Fit one set of crystals to the indexed spots of several sweeps; then let them vary along each sweep.

    Parameters
    ----------
    sweeps : `tables.INDEXED` and geometry of each; `lattice` counts through `crystals` in all
    crystals : one a lattice, at zero goniometer angles

    Returns
    -------
    One a sweep, in their order. Where a sweep has spots enough, its crystals vary about the common ones, and their A
    is the mean of that sweep; elsewhere they are the common ones. `cell_sd` is that of the common fit.

    Raises
    ------
    InputError : no sweep, no crystal, stills, too few usable spots, or a beam that is to be refined

    Notes
    -----
    Sweeps with the same detector and beam (within 1e-6 mm) keep them in common; others have their own. The detector is
    refined in the common fit only. Slips are not looked for. Time ~ spots + frames.
    """
    if not sweeps:
        raise InputError("refinement", "there is no sweep", "give the spots of one at least")
    if not crystals:
        raise InputError("refinement", "there is no crystal", "index the spots first")
    common = fit_settings(params)
    obs = [observations(table) for table, _ in sweeps]
    geometries = [geometry for _, geometry in sweeps]
    joint = refine_joint(obs, crystals, geometries, free=free_parameters(params), **common)
    models = []
    for (table, _), mine, static, sd in zip(sweeps, obs, joint.fits, joint.uncertainties):
        fits, notes = _along(mine, static, params, common)
        models.append(refined_model(table, mine, sd, fits[-1], fits, joint.notes + notes))
    return tuple(models)


def _along(obs: Observations, static: Fit, params: Refine, common: dict[str, Any]) -> tuple[list[Fit], tuple[str, ...]]:
    """The fits of one sweep, the common one first, and what is to be said of them."""
    if params.scan_varying != "auto":
        return [static], ()
    free = dataclasses.replace(static.model.free, detector=())
    held = dataclasses.replace(static, model=dataclasses.replace(static.model, free=free))
    try:
        n_intervals, tried = choose_intervals(obs, held, params)
        if n_intervals:
            varying = along_scan(obs, held, n_intervals, common)
            return [static, *tried, *varying], varying[-1].notes
    except InputError:  # too few spots of this sweep on its own
        pass
    return [static], (f"the crystal was not let vary along a sweep: only {static.n_used} of its spots can be used",)


__all__ = ["refine_sweeps"]
