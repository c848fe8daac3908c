"""Every column of every table, once: name, dtype, unit, meaning.

Tables are pandas frames. Stages, files, tests and reports read the lists below; `empty` and `check`
keep a table to its list. Positions: pixel i covers [i, i + 1), frame i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Column:
    name: str
    dtype: str
    unit: str
    meaning: str


SPOTS: tuple[Column, ...] = (
    Column("panel", "int32", "", "panel of the detector, from 0"),
    Column("frame", "float64", "frame", "centroid along the scan, count-weighted; frame i's centre is i + 0.5"),
    Column("slow", "float64", "px", "centroid along the slow axis of the panel"),
    Column("fast", "float64", "px", "centroid along the fast axis of the panel"),
    Column("frame_var", "float64", "frame^2", "variance of the centroid along the scan, with 1/12 of a frame added"),
    Column("slow_var", "float64", "px^2", "variance of the centroid, with 1/12 of a pixel added"),
    Column("fast_var", "float64", "px^2", "variance of the centroid, with 1/12 of a pixel added"),
    Column("intensity", "float64", "count", "sum of the strong pixels, no background taken off"),
    Column("n_pixels", "int32", "px", "strong pixels"),
    Column("peak", "float64", "count", "highest pixel"),
    Column("frame_min", "int32", "frame", "first frame"),
    Column("frame_max", "int32", "frame", "last frame + 1"),
    Column("slow_min", "int32", "px", "first row"),
    Column("slow_max", "int32", "px", "last row + 1"),
    Column("fast_min", "int32", "px", "first column"),
    Column("fast_max", "int32", "px", "last column + 1"),
)

INDEXED: tuple[Column, ...] = (
    *SPOTS,
    Column("h", "int32", "", "Miller index; 0 0 0 where the spot is not indexed"),
    Column("k", "int32", "", "Miller index"),
    Column("l", "int32", "", "Miller index"),
    Column("lattice", "int32", "", "crystal the spot belongs to, from 0; -1 where not indexed"),
    Column("entering", "bool", "", "the reflection enters the Ewald sphere (else it leaves)"),
)

REFINED: tuple[Column, ...] = (
    *INDEXED,
    Column("frame_calc", "float64", "frame", "predicted position; NaN where not indexed or without a prediction"),
    Column("slow_calc", "float64", "px", "predicted position"),
    Column("fast_calc", "float64", "px", "predicted position"),
    Column("used", "bool", "", "used in the last refinement"),
    Column("outlier", "bool", "", "rejected as an outlier of the refinement"),
)


PREDICTED: tuple[Column, ...] = (
    Column("h", "int32", "", "Miller index"),
    Column("k", "int32", "", "Miller index"),
    Column("l", "int32", "", "Miller index"),
    Column("lattice", "int32", "", "crystal, from 0"),
    Column("entering", "bool", "", "the reflection enters the Ewald sphere (else it leaves)"),
    Column("panel", "int32", "", "panel of the detector, from 0"),
    Column("frame", "float64", "frame", "predicted position along the scan"),
    Column("slow", "float64", "px", "predicted position on the panel"),
    Column("fast", "float64", "px", "predicted position on the panel"),
    Column("s1_x", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("s1_y", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("s1_z", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("d", "float64", "A", "resolution"),
    Column("zeta", "float64", "", "axis . e1 of Kabsch"),
    Column("partiality", "float64", "", "fraction of the rocking curve within the box's frames"),
    Column("frame_min", "int32", "frame", "first frame of the box"),
    Column("frame_max", "int32", "frame", "last frame of the box + 1"),
    Column("slow_min", "int32", "px", "first row; may lie outside of the panel"),
    Column("slow_max", "int32", "px", "last row + 1; may lie outside of the panel"),
    Column("fast_min", "int32", "px", "first column; may lie outside of the panel"),
    Column("fast_max", "int32", "px", "last column + 1; may lie outside of the panel"),
)

INTEGRATED: tuple[Column, ...] = (
    *PREDICTED,
    Column("flags", "int32", "", "bits of `hdrmx.integration.flags`"),
    Column("sum_value", "float64", "count", "counts of the foreground less its background; NaN where it failed"),
    Column("sum_variance", "float64", "count^2", "variance of sum_value"),
    Column("prf_value", "float64", "count", "intensity by profile fit, of the whole reflection; NaN where it failed"),
    Column("prf_variance", "float64", "count^2", "variance of prf_value"),
    Column("prf_correlation", "float64", "", "of the counts with the profile"),
    Column("background", "float64", "count/px", "mean background"),
    Column("background_sum", "float64", "count", "background under the foreground"),
    Column("n_foreground", "int32", "px", "pixels of the foreground, over all frames"),
    Column("n_valid", "int32", "px", "those of them that can be used"),
    Column("n_background", "int32", "px", "pixels that told of the background"),
    Column("profile_fraction", "float64", "", "fraction of the profile on the pixels that were fitted"),
    Column("foreground_fraction", "float64", "", "fraction of the profile on the foreground, all frames"),
    Column("frame_obs", "float64", "frame", "centroid of the foreground less background; NaN where there is none"),
    Column("slow_obs", "float64", "px", "centroid of the foreground less background"),
    Column("fast_obs", "float64", "px", "centroid of the foreground less background"),
    Column("lp", "float64", "", "factor that takes off Lorentz factor and polarisation"),
    Column("qe", "float64", "", "part of the photons that the sensor absorbs"),
)


def empty(columns: tuple[Column, ...], n: int = 0) -> pd.DataFrame:
    """A table of n rows of zeros with these columns."""
    return pd.DataFrame({c.name: np.zeros(n, c.dtype) for c in columns})


def check(table: pd.DataFrame, columns: tuple[Column, ...]) -> None:
    """Raise ValueError, naming the column, unless the table has exactly these columns, in order and dtype."""
    wanted = [(c.name, c.dtype) for c in columns]
    found = [(str(name), str(dtype)) for name, dtype in zip(table.columns, table.dtypes)]
    for want, have in zip(wanted, found):
        if want != have:
            raise ValueError(f"column {have[0]} ({have[1]}) stands where {want[0]} ({want[1]}) belongs")
    if len(wanted) != len(found):
        raise ValueError(f"{len(found)} columns, {len(wanted)} expected")
