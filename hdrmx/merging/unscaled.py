"""Integrated reflections as observations that nobody has scaled: for symmetry, and for files of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.scaling.observations import measured_of

KINDS = ("best", "sum", "profile")


def unscaled(sweeps: Sequence[pd.DataFrame], kind: str = "best") -> pd.DataFrame:
    """Observations of one or more sweeps, columns `tables.SCALED`, each row of the input once, in its order.

    Parameters
    ----------
    sweeps : columns `tables.INTEGRATED`
    kind : the intensity taken: the profile fit's, or the sum's where there is none ("best"), or either alone; NaN where
        there is none. LP and QE are applied; sums are divided by partiality

    Raises
    ------
    ValueError : the kind is none of these
    """
    if kind not in KINDS:
        raise ValueError(f"kind is '{kind}'; it must be one of {', '.join(KINDS)}")
    parts = [_of_sweep(table, number, kind) for number, table in enumerate(sweeps)]
    return pd.concat(parts, ignore_index=True) if parts else tables.empty(tables.SCALED)


def _of_sweep(table: pd.DataFrame, number: int, kind: str) -> pd.DataFrame:
    m = measured_of(table)
    value, variance = np.full(len(table), np.nan), np.full(len(table), np.nan)
    if kind in ("best", "sum"):
        value = np.where(m.has_sum, m.sum_value, value)
        variance = np.where(m.has_sum, m.sum_variance, variance)
    if kind in ("best", "profile"):
        value = np.where(m.has_profile, m.profile, value)
        variance = np.where(m.has_profile, m.profile_variance, variance)
    background = table["background_sum"].to_numpy(np.float64)
    n_background = np.maximum(table["n_background"].to_numpy(np.float64), 1.0)
    spread = 1.0 + table["n_foreground"].to_numpy(np.float64) / n_background
    columns = {
        "sweep": np.full(len(table), number),
        "intensity": value * m.factor,
        "sigma": np.sqrt(variance) * m.factor,
        "scale": np.ones(len(table)),
        "scale_sigma": np.full(len(table), np.nan),
        "background": background,
        "background_sigma": np.sqrt(np.abs(background) * spread),
        "rejected": np.zeros(len(table), bool),
    }
    return pd.DataFrame(
        {c.name: np.asarray(columns.get(c.name, table.get(c.name))).astype(c.dtype) for c in tables.SCALED}
    )
