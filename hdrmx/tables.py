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
