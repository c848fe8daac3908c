"""From the integer sums of grouped pixels to the table of spots, and the filters on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.kernels import grouping as g

Array = npt.NDArray[np.float64]
WIDTH_VARIANCE = 1.0 / 12.0  # of a position known to one pixel (or frame)


def spot_table(rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """One row per spot, columns `tables.SPOTS`, by (frame, slow, fast) of the centroid.

    Parameters
    ----------
    rows : (n, grouping.COLUMNS)

    Notes
    -----
    With counts c, their sum S and squares sum to Q, a centroid is sum(c x) / S, and its variance
    sum(c (x - centroid)^2) / (S^2 - Q) + 1/12: the unbiased variance of the mean, and the width of a pixel (alone,
    where the spot has a single pixel).
    """
    table = _as_table(rows)
    return table.iloc[_order(table)].reset_index(drop=True)


def spot_order(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) which of `rows` each row of `spot_table(rows)` is made of."""
    return _order(_as_table(rows))


def _as_table(rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    total = rows[:, g.SUM].astype(float)
    squares = rows[:, g.SQUARES_HIGH] * 2.0**20 + rows[:, g.SQUARES_LOW]
    freedom = total * total - squares
    freedom[freedom <= 0] = 1.0  # a single pixel, without spread
    columns: dict[str, npt.NDArray] = {"panel": rows[:, g.PANEL]}
    variances = {}
    for k, name in enumerate(("frame", "slow", "fast")):
        first, second = rows[:, g.SUM_FRAME + k].astype(float), rows[:, g.SUM_FRAME_2 + k].astype(float)
        mean = np.divide(first, total, out=np.zeros_like(first), where=total != 0)
        columns[name] = rows[:, g.FRAME + k] + 0.5 + mean
        variances[f"{name}_var"] = np.maximum(second - first * mean, 0.0) / freedom + WIDTH_VARIANCE
    columns |= variances
    columns |= {"intensity": total, "n_pixels": rows[:, g.N], "peak": rows[:, g.PEAK]}
    for k, name in enumerate(("frame", "slow", "fast")):
        columns[f"{name}_min"] = rows[:, g.FRAME_MIN + 2 * k]
        columns[f"{name}_max"] = rows[:, g.FRAME_MAX + 2 * k] + 1
    return pd.DataFrame({c.name: columns[c.name].astype(c.dtype) for c in tables.SPOTS})


def _order(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    keys = ("frame", "slow", "fast", "panel", "frame_min", "slow_min", "fast_min")
    return np.lexsort([table[k] for k in reversed(keys)])


def peak_to_centroid_px(rows: npt.NDArray[np.int64]) -> Array:
    """(n,) distance from the highest pixel to the centroid, frames counted as pixels."""
    total = np.maximum(rows[:, g.SUM].astype(float), 1.0)
    squared = np.zeros(len(rows))
    for k in range(3):
        centroid = rows[:, g.FRAME + k] + 0.5 + rows[:, g.SUM_FRAME + k] / total
        squared += (rows[:, g.PEAK_FRAME + k] + 0.5 - centroid) ** 2
    return np.sqrt(squared)
