"""Integrated tables at a glance: figures by resolution, partialities, and one frame with what was predicted on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.integration import flags
from hdrmx.merging.shells import shell_limits, shell_of

Floats = npt.NDArray[np.float64]

SHELLS = 20
PARTIALITY_BINS = 20
OVERVIEW_PX = 640  # longest edge of the picture of a whole frame
DETAIL_PX = 192  # edge of the part that is shown pixel by pixel


def resolution_shells(tables: Sequence[pd.DataFrame], n: int = SHELLS) -> pd.DataFrame:
    """Figures of integrated reflections in shells of equal reciprocal volume, all sweeps together.

    Parameters
    ----------
    tables : columns `tables.INTEGRATED`

    Returns
    -------
    Columns d_max, d_min (A), n (predicted), n_sum, n_prf (integrated), i_over_sigma_sum, i_over_sigma_prf, mean_sum,
    mean_prf (count), background (count/px), cc (of fit and sum where there are both); NaN where there is none. No rows
    without reflections.
    """
    names = ["d", "sum_value", "sum_variance", "prf_value", "prf_variance", "background", "partiality"]
    together = pd.concat([t[names] for t in tables], ignore_index=True) if tables else pd.DataFrame(columns=names)
    column = {name: together[name].to_numpy(np.float64) for name in names}
    d = column["d"]
    if len(d) == 0:
        return pd.DataFrame(columns=["d_max", "d_min", "n"])
    limits = shell_limits(float(d.max()), float(d.min()), n) if d.max() > d.min() else np.array([d[0], d[0]])
    shell, n_shells = shell_of(d, limits), len(limits) - 1

    def mean(values: Floats) -> Floats:
        known = np.isfinite(values)
        count = np.bincount(shell[known], minlength=n_shells)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.bincount(shell[known], values[known], n_shells) / count)

    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = {k: column[f"{k}_value"] / np.sqrt(column[f"{k}_variance"]) for k in ("sum", "prf")}
    result = {"d_max": limits[:-1], "d_min": limits[1:], "n": np.bincount(shell, minlength=n_shells)}
    for kind in ("sum", "prf"):
        result[f"n_{kind}"] = np.bincount(shell[np.isfinite(column[f"{kind}_value"])], minlength=n_shells)
    result |= {f"i_over_sigma_{kind}": mean(ratio[kind]) for kind in ("sum", "prf")}
    result |= {f"mean_{kind}": mean(column[f"{kind}_value"]) for kind in ("sum", "prf")}
    result["background"] = mean(column["background"])
    whole = column["sum_value"] / np.where(column["partiality"] > 0, column["partiality"], np.nan)
    result["cc"] = np.array([_correlation(whole[shell == k], column["prf_value"][shell == k]) for k in range(n_shells)])
    return pd.DataFrame(result)


def _correlation(x: Floats, y: Floats) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan")
    return float(np.corrcoef(x[known], y[known])[0, 1])


def partiality_histogram(tables: Sequence[pd.DataFrame]) -> npt.NDArray[np.int64]:
    """(20,) reflections by the fraction recorded, in even bins from 0 to 1."""
    total = np.zeros(PARTIALITY_BINS, np.int64)
    for table in tables:
        at = np.clip((table["partiality"].to_numpy() * PARTIALITY_BINS).astype(np.int64), 0, PARTIALITY_BINS - 1)
        total += np.bincount(at, minlength=PARTIALITY_BINS)
    return total


@dataclass(frozen=True)
class Picture:
    """A frame and the reflections whose boxes it cuts.

    Attributes
    ----------
    frame : index
    step : px of the frame that make one of the overview
    overview : (slow, fast) uint16, the largest count of step x step pixels; 65535 where no pixel can be used
    corner : (slow, fast) of the detail's first pixel
    detail : (slow, fast) uint16, counts; 65535 where a pixel can't be used
    predicted : columns slow, fast (px of the frame), slow_min .. fast_max, frame (of the centre), is_integrated
    """

    frame: int
    step: int
    overview: npt.NDArray[np.uint16]
    corner: tuple[int, int]
    detail: npt.NDArray[np.uint16]
    predicted: pd.DataFrame


UNUSABLE = 65535


def picture(
    frame: int,
    pixels: npt.NDArray[np.integer],
    usable: npt.NDArray[np.bool_],
    table: pd.DataFrame,
    offsets: Sequence[tuple[int, int]] = ((0, 0),),
) -> Picture:
    """The picture of one frame.

    Parameters
    ----------
    pixels, usable : (slow, fast)
    table : columns `tables.INTEGRATED`
    offsets : (slow, fast) of each panel within the frame
    """
    shown = np.where(usable, np.clip(pixels, 0, UNUSABLE - 1), UNUSABLE).astype(np.uint16)
    predicted = _on_frame(frame, table, offsets)
    corner = _busiest(predicted, pixels.shape)
    a, b = corner
    step = max(-(-max(pixels.shape) // OVERVIEW_PX), 1)
    detail = shown[a : a + DETAIL_PX, b : b + DETAIL_PX].copy()
    return Picture(frame, step, _reduced(shown, step), corner, detail, predicted)


def _on_frame(frame: int, table: pd.DataFrame, offsets: Sequence[tuple[int, int]]) -> pd.DataFrame:
    cut = table[(table["frame_min"] <= frame) & (table["frame_max"] > frame)]
    shift = np.asarray(offsets).reshape(-1, 2)[cut["panel"].to_numpy()]
    moved = {}
    for axis, number in (("slow", 0), ("fast", 1)):
        for name in (axis, f"{axis}_min", f"{axis}_max"):
            moved[name] = cut[name].to_numpy() + shift[:, number]
    done = flags.INTEGRATED_SUM | flags.INTEGRATED_PRF
    is_integrated = (cut["flags"].to_numpy() & done) != 0
    return pd.DataFrame({**moved, "frame": cut["frame"].to_numpy(), "is_integrated": is_integrated})


def _reduced(shown: npt.NDArray[np.uint16], step: int) -> npt.NDArray[np.uint16]:
    """Largest usable count of each step x step pixels; what is left over at the far edges makes smaller ones."""
    lowest = np.where(shown == UNUSABLE, 0, shown)
    blind = (shown == UNUSABLE).astype(np.uint8)
    for axis in (0, 1):
        starts = np.arange(0, shown.shape[axis], step)
        lowest, blind = np.maximum.reduceat(lowest, starts, axis), np.minimum.reduceat(blind, starts, axis)
    return np.where(blind == 1, UNUSABLE, lowest).astype(np.uint16)


def _busiest(predicted: pd.DataFrame, shape: tuple[int, ...]) -> tuple[int, int]:
    """Corner of the part with the most reflections; of the middle without any."""
    at = predicted[["slow", "fast"]].to_numpy() // DETAIL_PX
    if len(at) == 0:
        return max((shape[0] - DETAIL_PX) // 2, 0), max((shape[1] - DETAIL_PX) // 2, 0)
    tiles, n = np.unique(at.astype(np.int64), axis=0, return_counts=True)
    slow, fast = (tiles[int(np.argmax(n))] * DETAIL_PX).tolist()
    return min(slow, max(shape[0] - DETAIL_PX, 0)), min(fast, max(shape[1] - DETAIL_PX, 0))
