"""Figures frame by frame, and how observations drift apart with the dose between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.merging.average import Means
from hdrmx.merging.halves import ranks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_STEPS = 8  # neighbours along the scan that an observation is compared with


def frame_table(
    sweep: Ints, frame: Ints, used: npt.NDArray[np.bool_], scale: Floats, intensity: Floats, sigma: Floats, mean: Floats
) -> pd.DataFrame:
    """Columns `tables.FRAMES`, one row for each frame from the first with an observation to the last, sweep by sweep.

    Parameters
    ----------
    sweep, frame : (n,) of each observation
    used : (n,) False for those that were rejected or can't be used
    mean : (n,) merged intensity of the observation's reflection where it has another observation, else NaN
    """
    parts = []
    for number in np.unique(sweep):
        rows = np.flatnonzero(sweep == number)
        first = int(frame[rows].min())
        n_frames = int(frame[rows].max()) - first + 1
        at, ok = frame[rows] - first, used[rows]
        rows, place = rows[ok], at[ok]
        i, s, m = intensity[rows], sigma[rows], mean[rows]
        shared = np.isfinite(m)
        weight = np.where(shared, s**-2.0, 0.0)

        def total(
            values: Floats, place: Ints = place, n_frames: int = n_frames, keep: npt.NDArray[np.bool_] | None = None
        ) -> Floats:
            kept = values if keep is None else np.where(keep, values, 0.0)
            return np.bincount(place, kept, n_frames).astype(np.float64)

        n = np.bincount(place, minlength=n_frames)
        with np.errstate(invalid="ignore", divide="ignore"):
            columns = {
                "sweep": np.full(n_frames, number),
                "frame": np.arange(first, first + n_frames),
                "n": n,
                "n_rejected": np.bincount(at[~ok], minlength=n_frames),
                "scale": total(scale[rows]) / n,
                "i_over_sigma": total(i / s) / n,
                "r_merge": total(np.abs(i - m), keep=shared) / total(i, keep=shared),
                "relative": total(weight * i * m, keep=shared) / total(weight * m * m, keep=shared),
            }
        parts.append(pd.DataFrame({c.name: np.asarray(columns[c.name]).astype(c.dtype) for c in tables.FRAMES}))
    return pd.concat(parts, ignore_index=True) if parts else tables.empty(tables.FRAMES)


def drift(group: Ints, position: Floats, intensity: Floats, n_bins: int = 20) -> pd.DataFrame:
    """R of pairs of equivalent observations against the number of frames between them: flat without damage.

    Parameters
    ----------
    group : (n,) observations of one sweep, mates apart or together
    position : (n,) along the scan, frames

    Returns
    -------
    Columns frames_apart (middle of the bin), n_pairs, r_d; no rows without pairs.

    Notes
    -----
    R_d = sum |Ii - Ij| / sum (Ii + Ij) / 2 of Diederichs (2006) Acta Cryst. D62, 96-101. Departs from it: each
    observation is paired with the eight that follow it in its group along the scan, and not with all, so that
    time ~ observations.
    """
    if len(group) == 0:
        return pd.DataFrame({"frames_apart": np.zeros(0), "n_pairs": np.zeros(0, np.int64), "r_d": np.zeros(0)})
    order = np.lexsort((ranks(group, position), group))
    g, p, i = group[order], position[order], intensity[order]
    apart, difference, level = [], [], []
    for step in range(1, MOST_STEPS + 1):
        same = np.flatnonzero(g[step:] == g[:-step])
        apart.append(p[same + step] - p[same])
        difference.append(np.abs(i[same + step] - i[same]))
        level.append((i[same + step] + i[same]) / 2)
    distance = np.concatenate(apart)
    if len(distance) == 0:
        return drift(group[:0], position[:0], intensity[:0], n_bins)
    width = max(float(distance.max()), 1e-9) / n_bins
    place = np.minimum((distance / width).astype(np.int64), n_bins - 1)
    n = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.bincount(place, np.concatenate(difference), n_bins) / np.bincount(place, np.concatenate(level), n_bins)
    middle = (np.arange(n_bins) + 0.5) * width
    return pd.DataFrame({"frames_apart": middle, "n_pairs": n, "r_d": np.where(n > 0, r, np.nan)})


def means_of_others(group: Ints, means: Means) -> Floats:
    """(n,) merged intensity of the observation's group; NaN where the observation is alone."""
    return np.where(means.n[group] > 1, means.intensity[group], np.nan)
