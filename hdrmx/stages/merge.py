"""Stage: scaled observations to merged intensities and amplitudes, and the figures of their quality."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.merging.asu import Equivalents, group_equivalents, space_group_of
from hdrmx.merging.average import weighted_means
from hdrmx.merging.error_model import Scatter, fit_scatter
from hdrmx.merging.frames import drift, frame_table, means_of_others
from hdrmx.merging.free_set import free_set
from hdrmx.merging.french_wilson import amplitudes
from hdrmx.merging.halves import halves, scrambled
from hdrmx.merging.resolution import ResolutionLimit, n_shells, resolution_limit
from hdrmx.merging.shells import Cell, shell_limits, spacings
from hdrmx.merging.statistics import overall, ratios, shell_sums
from hdrmx.merging.twinning import TwinTests, twin_tests
from hdrmx.merging.wilson import Wilson, local_mean, wilson_b
from hdrmx.params import Merge

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Merged:
    """What merging gives.

    Attributes
    ----------
    table : columns `tables.MERGED`, in order of h, k, l
    sums : columns `tables.SHELL_SUMS`, lowest resolution first; they add up to the whole
    shells, overall : columns `tables.SHELLS` of the shells, and one row of all data
    frames : columns `tables.FRAMES`
    drift : by sweep, R_d against frames between observations (`merging.frames.drift`)
    resolution : where CC1/2 falls to the limit asked for
    wilson, scatter, twinning : Wilson's B, ISa, tests for twinning
    space_group, cell : of the merged data
    counts : observations given, used, rejected, absent, unusable, out of range
    notes : what was doubted
    """

    table: pd.DataFrame
    sums: pd.DataFrame
    shells: pd.DataFrame
    overall: pd.DataFrame
    frames: pd.DataFrame
    drift: dict[int, pd.DataFrame]
    resolution: ResolutionLimit
    wilson: Wilson
    scatter: Scatter
    twinning: TwinTests
    space_group: str
    cell: Cell
    counts: dict[str, int]
    notes: tuple[str, ...]


def merge(scaled: pd.DataFrame, space_group: str, cell: Cell, params: Merge) -> Merged:
    """Merge the observations of one crystal form.

    Parameters
    ----------
    scaled : columns `tables.SCALED`; rows that are rejected, without a finite intensity, with a sigma of 0 or less, or
        systematically absent are left out and counted
    space_group : symbol; the indices belong to its setting
    cell : a, b, c in A and angles in degrees

    Raises
    ------
    InputError : the space group is unknown, or no observation is left

    Notes
    -----
    Means have weights 1 / sigma^2. The result doesn't depend on the order of rows, but for rounding. Time ~ n log n of
    the observations, that of sorting them, + reflections that there are.
    """
    tables.check(scaled, tables.SCALED)
    group = space_group_of(space_group)
    hkl = np.ascontiguousarray(scaled[["h", "k", "l"]].to_numpy(np.int32))
    d = spacings(hkl, cell)
    usable, counts = _selection(scaled, hkl, d, group, params)
    if not usable.any():
        raise InputError("merging", f"none of {len(scaled)} observations can be merged", _remedy(counts))
    rows = scaled[usable]
    equivalents = group_equivalents(hkl[usable], group)
    intensity, sigma = rows["intensity"].to_numpy(), rows["sigma"].to_numpy()
    identity = scrambled(*(rows[name].to_numpy() for name in ("h", "k", "l", "sweep", "frame", "intensity")))
    half = halves(equivalents.group, identity, params.seed)
    half_of_mates = halves(equivalents.mates, identity, params.seed)
    low, high = float(d[usable].max()), float(d[usable].min())

    def sums_of(n: int) -> pd.DataFrame:
        limits = shell_limits(low, high, n)
        return shell_sums(
            equivalents, intensity, sigma, half, half_of_mates, cell=cell, space_group=group, limits=limits
        )

    sums = sums_of(params.shells)
    whole = overall(sums)
    resolution = resolution_limit(sums_of(n_shells(int(whole["cc_n"].iloc[0]))), params.cc_half)
    table, notes = _merged_table(equivalents, intensity, sigma, group, cell, params)
    mean = weighted_means(equivalents.group, len(equivalents), intensity, sigma)
    frames, drifts = _along_the_scan(scaled, usable, equivalents, means_of_others(equivalents.group, mean))
    spacing, value, epsilon = (table[name].to_numpy() for name in ("d", "intensity", "epsilon"))
    result = Merged(
        table=table,
        sums=sums,
        shells=ratios(sums),
        overall=ratios(whole),
        frames=frames,
        drift=drifts,
        resolution=resolution,
        wilson=wilson_b(spacing, value, epsilon),
        scatter=fit_scatter(equivalents.group, len(equivalents), intensity, sigma),
        twinning=twin_tests(
            equivalents.hkl, spacing, value, table["sigma"].to_numpy(), epsilon, equivalents.is_centric
        ),
        space_group=group.xhm(),
        cell=cell,
        counts=counts,
        notes=notes,
    )
    tables.check(result.table, tables.MERGED)
    return result


def _selection(
    scaled: pd.DataFrame, hkl: npt.NDArray[np.int32], d: Floats, group: gemmi.SpaceGroup, params: Merge
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which rows are merged, and how many are left out for what; each is counted under the first cause."""
    intensity, sigma = scaled["intensity"].to_numpy(), scaled["sigma"].to_numpy()
    with np.errstate(invalid="ignore"):
        causes = {
            "unusable": ~(np.isfinite(intensity) & np.isfinite(sigma) & (sigma > 0) & np.isfinite(d)),
            "rejected": scaled["rejected"].to_numpy(),
            "absent": np.asarray(group.operations().systematic_absences(hkl), bool),
            "out_of_range": (d < (params.d_min or 0.0)) | (d > (params.d_max or np.inf)),
        }
    left = np.ones(len(scaled), bool)
    counts = {"given": len(scaled)}
    for name, is_so in causes.items():
        counts[name] = int((left & is_so).sum())
        left &= ~is_so
    counts["used"] = int(left.sum())
    return left, counts


def _remedy(counts: dict[str, int]) -> str:
    left_out = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n and name != "given")
    return f"{left_out or 'there are none'}: check the limits of resolution, the space group and the scaling"


def _merged_table(
    equivalents: Equivalents, intensity: Floats, sigma: Floats, group: gemmi.SpaceGroup, cell: Cell, params: Merge
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    m, centric = len(equivalents), equivalents.is_centric
    both = weighted_means(equivalents.group, m, intensity, sigma)
    mates = weighted_means(equivalents.mates, 2 * m, intensity, sigma)
    columns: dict[str, npt.NDArray[np.generic]] = dict(zip("hkl", equivalents.hkl.T))
    d = spacings(equivalents.hkl, cell)
    columns |= {"d": d, "centric": centric, "epsilon": equivalents.epsilon}
    columns |= {"n": both.n, "intensity": both.intensity, "sigma": both.sigma}
    sides = [
        (name, mates.n[at::2], mates.intensity[at::2], mates.sigma[at::2]) for at, name in enumerate(("plus", "minus"))
    ]
    prior = equivalents.epsilon * local_mean(d, both.intensity / equivalents.epsilon, params.wilson_reflections)
    notes: tuple[str, ...] = ()
    if not np.isfinite(prior).all():
        notes = ("no shell has a mean intensity above 0: there are no amplitudes",)
    f = amplitudes(both.intensity, both.sigma, prior, centric)
    columns |= {"f": f.f, "f_sigma": f.sigma}
    for name, n, i, s in sides:
        columns |= {f"n_{name}": n, f"intensity_{name}": i, f"sigma_{name}": s}
        f = amplitudes(i, s, prior, centric)
        columns |= {f"f_{name}": f.f, f"f_{name}_sigma": f.sigma}
    columns["free"] = free_set(equivalents.hkl, group, params.free_sets, params.seed)
    return pd.DataFrame({c.name: np.asarray(columns[c.name]).astype(c.dtype) for c in tables.MERGED}), notes


def _along_the_scan(
    scaled: pd.DataFrame, usable: npt.NDArray[np.bool_], equivalents: Equivalents, mean_of_used: Floats
) -> tuple[pd.DataFrame, dict[int, pd.DataFrame]]:
    sweep, position = scaled["sweep"].to_numpy(np.int64), scaled["frame"].to_numpy()
    intensity, sigma = scaled["intensity"].to_numpy(), scaled["sigma"].to_numpy()
    mean = np.full(len(scaled), np.nan)
    mean[usable] = mean_of_used
    placed = np.isfinite(position)
    frame = np.floor(np.where(placed, position, 0.0)).astype(np.int64)
    columns = (sweep, frame, usable, scaled["scale"].to_numpy(), intensity, sigma, mean)
    frames = frame_table(*(c[placed] for c in columns))
    drifts = {}
    used_sweep, used_position = sweep[usable], position[usable]
    order = np.argsort(used_sweep, kind="stable")
    numbers, starts = np.unique(used_sweep[order], return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(order, starts[1:])):
        drifts[number] = drift(equivalents.group[rows], used_position[rows], intensity[usable][rows])
    return frames, drifts
