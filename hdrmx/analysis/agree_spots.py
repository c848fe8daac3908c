"""How far two spot tables of the same frames agree.

Spots have no key, so they are paired as mutual nearest neighbours, within a radius generous enough that a
disagreement shows as a distance and not as an absence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_FAR = 1e9  # between panels


@dataclass(frozen=True)
class Tolerance:
    """How near two spots must be to be paired, and how near to be called equal."""

    pair_px: float = 2.0
    pair_frames: float = 2.0
    equal_px: float = 0.01
    equal_frames: float = 0.01


@dataclass(frozen=True)
class SpotAgreement:
    """What `compare_spots` found. Rows are positions in the two tables; every array of pairs has the same order.

    Attributes
    ----------
    n_ours, n_theirs : rows of the tables
    ours, theirs : (n,) rows of the pairs, ascending in ours
    only_ours, only_theirs : rows without a partner
    apart_px : (n,) distance on the panel
    apart_frames : (n,) |difference| along the scan
    intensity_ratio : (n,) ours / theirs; NaN where theirs is 0
    intensity_only_ours, intensity_only_theirs : of the spots without a partner
    depth_ours, depth_theirs : (n_ours,), (n_theirs,) frames that each spot runs through
    is_equal : (n,) within the tolerance of equality, in both
    """

    n_ours: int
    n_theirs: int
    ours: Ints
    theirs: Ints
    only_ours: Ints
    only_theirs: Ints
    apart_px: Floats
    apart_frames: Floats
    intensity_ratio: Floats
    intensity_only_ours: Floats
    intensity_only_theirs: Floats
    depth_ours: Ints
    depth_theirs: Ints
    is_equal: npt.NDArray[np.bool_]

    @property
    def fraction_equal(self) -> float:
        """Pairs within the tolerance, of the larger table's spots: absent ones count against. 1 for empty tables."""
        larger = max(self.n_ours, self.n_theirs)
        return float(self.is_equal.sum()) / larger if larger else 1.0

    def summary(self) -> dict[str, float]:
        """The numbers for a report. Quantiles are NaN without pairs."""
        quantiles = (0.5, 0.99, 1.0)
        px, frames = (_quantiles(a, quantiles) for a in (self.apart_px, self.apart_frames))
        return {
            "ours": self.n_ours,
            "theirs": self.n_theirs,
            "matched": len(self.ours),
            "only_ours": len(self.only_ours),
            "only_theirs": len(self.only_theirs),
            "fraction_equal": self.fraction_equal,
            **{f"apart_px_{q:g}": v for q, v in zip(quantiles, px)},
            **{f"apart_frames_{q:g}": v for q, v in zip(quantiles, frames)},
            "same_intensity": float(np.mean(self.intensity_ratio == 1.0)) if len(self.ours) else np.nan,
            "mean_depth_ours": float(self.depth_ours.mean()) if self.n_ours else np.nan,
            "mean_depth_theirs": float(self.depth_theirs.mean()) if self.n_theirs else np.nan,
        }


def compare_spots(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    tolerance: Tolerance = Tolerance(),
) -> SpotAgreement:
    """Pair the spots of two tables (`tables.SPOTS`) and say how far they differ.

    A pair are spots of one panel that are each other's nearest (distances in units of the pairing radius, along the
    scan too) and within `pair_px` on the panel and `pair_frames` along the scan. The tables are left alone; an empty
    one gives no pairs. Time ~ n log n.
    """
    a, b = _places(ours, tolerance), _places(theirs, tolerance)
    rows_a, rows_b = _mutual(a, b)
    apart_px = np.hypot(*(_differences(ours, theirs, rows_a, rows_b, axis) for axis in ("slow", "fast")))
    apart_frames = np.abs(_differences(ours, theirs, rows_a, rows_b, "frame"))
    same_panel = _differences(ours, theirs, rows_a, rows_b, "panel") == 0
    near = same_panel & (apart_px <= tolerance.pair_px) & (apart_frames <= tolerance.pair_frames)
    rows_a, rows_b, apart_px, apart_frames = rows_a[near], rows_b[near], apart_px[near], apart_frames[near]
    only_a, only_b = np.setdiff1d(np.arange(len(a)), rows_a), np.setdiff1d(np.arange(len(b)), rows_b)
    intensity_a, intensity_b = ours["intensity"].to_numpy(float), theirs["intensity"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = intensity_a[rows_a] / intensity_b[rows_b]
    return SpotAgreement(
        n_ours=len(a),
        n_theirs=len(b),
        ours=rows_a,
        theirs=rows_b,
        only_ours=only_a,
        only_theirs=only_b,
        apart_px=apart_px,
        apart_frames=apart_frames,
        intensity_ratio=np.where(intensity_b[rows_b] == 0, np.nan, ratio),
        intensity_only_ours=intensity_a[only_a],
        intensity_only_theirs=intensity_b[only_b],
        depth_ours=(ours["frame_max"] - ours["frame_min"]).to_numpy(np.int64),
        depth_theirs=(theirs["frame_max"] - theirs["frame_min"]).to_numpy(np.int64),
        is_equal=(apart_px <= tolerance.equal_px) & (apart_frames <= tolerance.equal_frames),
    )


def _places(spots: pd.DataFrame, tolerance: Tolerance) -> Floats:
    """(n, 4) in units of the pairing radius; panels are far from one another."""
    scales = (tolerance.pair_px, tolerance.pair_px, tolerance.pair_frames)
    scaled = [spots[name].to_numpy(float) / scale for name, scale in zip(("slow", "fast", "frame"), scales)]
    return np.column_stack([*scaled, spots["panel"].to_numpy(float) * _FAR])


def _mutual(a: Floats, b: Floats) -> tuple[Ints, Ints]:
    """Rows that are each other's nearest neighbours, ascending in a."""
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    of_a, of_b = (np.asarray(cKDTree(q).query(p)[1], np.int64) for p, q in ((a, b), (b, a)))
    rows_a = np.flatnonzero(of_b[of_a] == np.arange(len(a)))
    return rows_a, of_a[rows_a]


def _differences(a: pd.DataFrame, b: pd.DataFrame, rows_a: Ints, rows_b: Ints, axis: str) -> Floats:
    return a[axis].to_numpy(float)[rows_a] - b[axis].to_numpy(float)[rows_b]


def _quantiles(values: Floats, at: tuple[float, ...]) -> list[float]:
    return np.quantile(values, at).tolist() if len(values) else [np.nan] * len(at)
