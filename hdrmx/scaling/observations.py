"""From tables of integrated reflections to the observations that are scaled, group by group."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.integration import flags
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Scale
from hdrmx.scaling.combine import Measured
from hdrmx.scaling.consistent import Choice, choose_indexing, operators, reindexed
from hdrmx.scaling.groups import Groups, group

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_INTENSITIES = ("prf_value", "prf_variance", "sum_value", "sum_variance")
_COLUMNS = ("h", "k", "l", "flags", "frame", "d", "s1_x", "s1_y", "s1_z", "partiality", "lp", "qe", *_INTENSITIES)


@dataclass(frozen=True)
class Sweep:
    """What scaling takes of one sweep: `tables.INTEGRATED`, and the refined models."""

    observations: pd.DataFrame
    geometry: Geometry
    crystal: Crystal


@dataclass(frozen=True)
class Observations:
    """Usable observations, in the order of groups.

    Attributes
    ----------
    groups : `groups.order` are their places in the order of the input, sweep by sweep
    sweep, row : (n,) sweep, and row of its table
    hkl : (n, 3) indices, as measured but for the choice of indexing
    frame, d, s1, partiality : (n,), (n,), (n, 3), (n,)
    measured : intensities
    indexing : how each sweep was reindexed; empty where there is only one way
    counts : observations left out, by reason
    """

    groups: Groups
    sweep: npt.NDArray[np.int32]
    row: Ints
    hkl: npt.NDArray[np.int32]
    frame: Floats
    d: Floats
    s1: Floats
    partiality: Floats
    measured: Measured
    indexing: tuple[Choice, ...]
    counts: dict[str, int]

    def __len__(self) -> int:
        return len(self.row)


def gather(sweeps: Sequence[Sweep], space_group: gemmi.SpaceGroup, params: Scale) -> Observations:
    """Usable observations of all sweeps. Raises InputError where there is none or no two are equivalent."""
    sizes = np.array([len(s.observations) for s in sweeps])
    together = pd.concat([s.observations[list(_COLUMNS)] for s in sweeps], ignore_index=True)
    kept, counts = usable_rows(together, params)
    if not len(kept):
        reasons = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
        raise InputError("scaling", f"no observation can be used ({reasons})", "look at the results of integration")
    together = together.iloc[kept].reset_index(drop=True)
    sweep = np.repeat(np.arange(len(sweeps), dtype=np.int32), sizes)[kept]
    row = kept - (np.cumsum(sizes) - sizes)[sweep]
    measured = measured_of(together)
    whole = together[["h", "k", "l"]].to_numpy(np.int32)
    indexing: tuple[Choice, ...] = ()
    if params.consistent_indexing and len(sweeps) > 1:
        indexing, whole = _one_indexing(whole, measured, together["d"].to_numpy(), sweep, sweeps, space_group)
    groups = group(whole, space_group)
    if not (groups.sizes > 1).any():
        raise InputError("scaling", "no two observations are equivalent", "check the space group")
    order = groups.order

    def column(name: str) -> Floats:
        return together[name].to_numpy(np.float64)[order]

    return Observations(
        groups=groups,
        sweep=sweep[order],
        row=row[order],
        hkl=whole[order],
        frame=column("frame"),
        d=column("d"),
        s1=np.column_stack([column("s1_x"), column("s1_y"), column("s1_z")]),
        partiality=column("partiality"),
        measured=measured.take(order),
        indexing=indexing,
        counts=counts,
    )


def usable_rows(table: pd.DataFrame, params: Scale) -> tuple[Ints, dict[str, int]]:
    """Rows of `tables.INTEGRATED` that can be scaled, and how many can't, by reason."""
    counts: dict[str, int] = {}
    measured = measured_of(table)
    intensity = np.where(measured.has_profile, measured.profile, measured.sum_value)
    variance = np.where(measured.has_profile, measured.profile_variance, measured.sum_variance)
    d = table["d"].to_numpy()
    keep = np.ones(len(table), bool)

    def drop(reason: str, where: Mask) -> None:
        counts[reason] = int(np.count_nonzero(where & keep))
        keep[where] = False

    drop("not_integrated", ~(measured.has_profile | measured.has_sum))
    drop("without_index", (table[["h", "k", "l"]] == 0).all(axis=1).to_numpy(bool))
    drop("partial", ~(table["partiality"].to_numpy() >= params.min_partiality))
    drop("out_of_resolution", ~(d >= (params.d_min or 0.0)) | ~(d <= (params.d_max or np.inf)))
    with np.errstate(invalid="ignore", divide="ignore"):
        drop("too_negative", ~(intensity > params.min_i_over_sigma * np.sqrt(variance)))
    drop("without_correction", ~np.isfinite(measured.factor) | ~(measured.factor > 0))
    return np.flatnonzero(keep), counts


def measured_of(table: pd.DataFrame) -> Measured:
    """Intensities of rows of `tables.INTEGRATED`."""
    bits = table["flags"].to_numpy()
    partiality = table["partiality"].to_numpy(np.float64)
    qe = table["qe"].to_numpy(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = np.where(partiality > 0, 1.0 / partiality, np.nan)
        factor = table["lp"].to_numpy(np.float64) / np.where(qe > 0, qe, 1.0)
    values = {name: table[name].to_numpy(np.float64) for name in _INTENSITIES}
    has = {
        kind: ((bits & flag) != 0) & np.isfinite(values[f"{kind}_value"]) & (values[f"{kind}_variance"] > 0)
        for kind, flag in (("prf", flags.INTEGRATED_PRF), ("sum", flags.INTEGRATED_SUM))
    }
    return Measured(
        profile=values["prf_value"],
        profile_variance=values["prf_variance"],
        has_profile=has["prf"],
        sum_value=values["sum_value"] * inverse,
        sum_variance=values["sum_variance"] * inverse**2,
        has_sum=has["sum"] & np.isfinite(inverse),
        factor=factor,
    )


def _one_indexing(
    hkl: npt.NDArray[np.int32],
    measured: Measured,
    d: Floats,
    sweep: npt.NDArray[np.int32],
    sweeps: Sequence[Sweep],
    space_group: gemmi.SpaceGroup,
) -> tuple[tuple[Choice, ...], npt.NDArray[np.int32]]:
    """How each sweep is reindexed, and the new indices; observations stand sweep by sweep."""
    cell = np.median([s.crystal.cell for s in sweeps], axis=0)
    ways = operators(tuple(float(x) for x in cell), space_group)
    limits = np.searchsorted(sweep, np.arange(len(sweeps) + 1))
    parts = [slice(a, b) for a, b in itertools.pairwise(limits)]
    filled = [i for i, part in enumerate(parts) if part.stop > part.start]
    if len(ways) < 2 or len(filled) < 2:
        return (), hkl
    intensity = np.where(measured.has_profile, measured.profile, measured.sum_value) * measured.factor
    chosen = choose_indexing(
        [hkl[parts[i]] for i in filled],
        [intensity[parts[i]] for i in filled],
        [d[parts[i]] for i in filled],
        ways,
        space_group,
    )
    choices, new = [Choice("x,y,z", float("nan"), float("nan"))] * len(sweeps), hkl.copy()
    for i, choice in zip(filled, chosen):
        choices[i] = choice
        new[parts[i]] = reindexed(hkl[parts[i]], gemmi.Op(choice.operator))
    return tuple(choices), new
