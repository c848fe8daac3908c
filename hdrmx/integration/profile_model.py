"""The Gaussian profile model: how far a reflection spreads over the detector (sigma_b) and in rotation (sigma_m).

Kabsch's coordinates of a reflection s1: e1 = s1 x s0, e2 = s1 x e1 (unit vectors), zeta = axis . e1;
eps1,2 = e1,2 . (s' - s1) / |s1|, eps3 = zeta (phi' - phi). The spreads are measured on the strong spots' tables alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from hdrmx.errors import InputError
from hdrmx.models import Geometry
from hdrmx.refinement.parallax import observed_s1

Floats = npt.NDArray[np.float64]
MIN_ZETA = 0.05
FEWEST_SPOTS = 10
_EXACT_FRAMES = 3  # up to so many frames, a spot's centroid and variance tell how its counts divide over them
_MOSTLY = 0.9  # where so many are that short, the others are left out
_LEAST_COUNTS = 3.0
_MOST_FRAMES = 64  # of a spot that tells of sigma_m
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)


@dataclass(frozen=True)
class ProfileModel:
    """Spreads in rad (standard deviations), and how many of them a reflection's foreground reaches."""

    sigma_b_rad: float
    sigma_m_rad: float
    n_sigma: float = 3.0
    n_spots: int = 0

    @property
    def delta_b(self) -> float:
        """Radius of the foreground, rad."""
        return self.n_sigma * self.sigma_b_rad

    @property
    def delta_m(self) -> float:
        """Half-width of the foreground in eps3, rad."""
        return self.n_sigma * self.sigma_m_rad


@dataclass(frozen=True)
class KabschAxes:
    """Of n reflections: e1, e2 (n, 3) unit vectors, zeta (n,)."""

    e1: Floats
    e2: Floats
    zeta: Floats


def kabsch_axes(s1: Floats, geometry: Geometry) -> KabschAxes:
    """Axes of Kabsch (2010) Acta Cryst. D66, 133-144, at s1 (n, 3)."""
    assert geometry.goniometer is not None
    e1 = np.cross(s1, geometry.beam.s0)
    e1 /= np.linalg.norm(e1, axis=1, keepdims=True)
    e2 = np.cross(s1, e1)
    e2 /= np.linalg.norm(e2, axis=1, keepdims=True)
    return KabschAxes(e1, e2, np.asarray(e1 @ geometry.goniometer.lab_axis))


def fit_profile_model(
    refined: pd.DataFrame, geometry: Geometry, n_sigma: float = 3.0, pixels: pd.DataFrame | None = None
) -> ProfileModel:
    """sigma_b and sigma_m of the indexed strong spots.

    Parameters
    ----------
    refined : `tables.REFINED`; rows used in refinement count, or all indexed ones where those are too few
    pixels : `tables.SPOT_PIXELS` of the same spots in the same order, if they were kept; without, what they tell is
        recovered from the table

    Raises
    ------
    InputError : too few spots, or none with a spread

    Notes
    -----
    sigma_b^2 is the mean over spots of sum(c theta^2) / (sum c - 1), sigma_m the most likely width of the rocking curve
    given how the counts divide over frames. The sums over pixels are recovered from the centroids' variances
    (docs/integration.md). After Kabsch (2010), as used in DIALS.
    """
    numbered = refined.reset_index(drop=True)
    spots = _usable(numbered, geometry)
    if len(spots) < FEWEST_SPOTS:
        what = f"{len(spots)} spots tell of the profile; {FEWEST_SPOTS} are needed"
        raise InputError("profile model", what, "find more spots, or check the refined model")
    s1 = observed_s1(*_seen(spots, geometry))
    sigma_b = float(np.sqrt(np.mean(divergence_squared(spots, s1, geometry))))
    sigma_m = _sigma_m(spots, kabsch_axes(s1, geometry).zeta, geometry, pixels)
    if not (sigma_b > 0 and sigma_m > 0):
        raise InputError("profile model", "the spots have no width", "check that the frames hold counts, not a mask")
    return ProfileModel(sigma_b, sigma_m, n_sigma, len(spots))


def _seen(spots: pd.DataFrame, geometry: Geometry) -> tuple:
    position = (spots[name].to_numpy() for name in ("panel", "slow", "fast"))
    return geometry.detector, geometry.beam, *position


def _usable(refined: pd.DataFrame, geometry: Geometry) -> pd.DataFrame:
    is_fine = (refined["lattice"] >= 0) & np.isfinite(refined["frame_calc"]) & (refined["intensity"] > 1)
    chosen = refined[is_fine & refined["used"]]
    spots = chosen if len(chosen) >= FEWEST_SPOTS else refined[is_fine]
    if len(spots) == 0:
        return spots
    zeta = kabsch_axes(observed_s1(*_seen(spots, geometry)), geometry).zeta
    return spots[np.abs(zeta) > MIN_ZETA]


def sum_of_squares(spots: pd.DataFrame) -> Floats:
    """(n,) sum over each spot's pixels of count^2, from its sum, peak and number of pixels.

    Ranked by height, the pixels of a Gaussian spot on a plane fall off geometrically: counts peak * r^k with r such
    that they add up to the spot's sum.
    """
    total, n = spots["intensity"].to_numpy(), np.maximum(spots["n_pixels"].to_numpy(float), 1.0)
    peak = spots["peak"].to_numpy(float)
    share = np.where(np.isfinite(peak), np.clip(peak / total, 1.0 / n, 1.0), (1.0 - np.exp(-3.0 / n)) / 0.95)
    low, high = np.zeros(len(total)), np.ones(len(total))
    for _ in range(50):  # bisection for r of share * (1 - r^n) / (1 - r) = 1
        r = 0.5 * (low + high)
        is_short = share * (1.0 - r**n) < 1.0 - r
        low, high = np.where(is_short, r, low), np.where(is_short, high, r)
    flat = r > 1.0 - 1e-6
    decay = np.where(flat, 0.5, r)
    geometric = share**2 * (1.0 - decay ** (2 * n)) / (1.0 - decay**2)
    return total**2 * np.minimum(np.where(flat, 1.0 / n, geometric), 1.0)


def divergence_squared(spots: pd.DataFrame, s1: Floats, geometry: Geometry) -> Floats:
    """(n,) rad^2: each spot's mean squared angle from its predicted place, sum(c theta^2) / (sum c - 1)."""
    total = spots["intensity"].to_numpy()
    freedom = total**2 - sum_of_squares(spots)
    unit = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    squares = np.zeros(len(spots))
    for number, panel in enumerate(geometry.detector.panels):
        on = np.flatnonzero(spots["panel"].to_numpy() == number)
        distance = panel.normal @ np.asarray(panel.origin_mm) / (unit[on] @ panel.normal)
        away = np.zeros((len(on), 3))
        for axis, along, pixel in (
            ("slow", panel.slow_axis, panel.pixel_mm[0]),
            ("fast", panel.fast_axis, panel.pixel_mm[1]),
        ):
            seen, predicted, variance = (spots[f"{axis}{end}"].to_numpy()[on] for end in ("", "_calc", "_var"))
            step = _across(pixel * np.outer(np.ones(len(on)), along), unit[on])
            spread = np.maximum(variance - 1.0 / 12.0, 0.0) * freedom[on]
            squares[on] += spread * np.einsum("ij,ij->i", step, step) / distance**2
            away += step * (seen - predicted)[:, None]
        squares[on] += total[on] * np.einsum("ij,ij->i", away, away) / distance**2
    return squares / np.maximum(total - 1.0, 1.0)


def _across(v: Floats, unit: Floats) -> Floats:
    """(n, 3) the parts of v at right angles to unit vectors."""
    return v - np.einsum("ij,ij->i", v, unit)[:, None] * unit


def _sigma_m(spots: pd.DataFrame, zeta: Floats, geometry: Geometry, pixels: pd.DataFrame | None) -> float:
    scan = geometry.scan
    assert scan is not None
    if pixels is None:
        is_short = (spots["frame_max"] - spots["frame_min"] <= _EXACT_FRAMES).to_numpy()
        if is_short.mean() > _MOSTLY:
            spots, zeta = spots[is_short], zeta[is_short]
        counts, first = counts_by_frame(spots)
    else:
        counts, first = _counted_by_frame(spots, pixels)
    width = abs(scan.width_rad)
    tau = (first - spots["frame_calc"].to_numpy()) * width  # from the predicted angle to the spot's first frame
    return most_likely_sigma_m(counts, tau, np.abs(zeta), width)


def _counted_by_frame(spots: pd.DataFrame, pixels: pd.DataFrame) -> tuple[Floats, Floats]:
    """As `counts_by_frame`, from the pixels; the index of `spots` is the number of each spot."""
    first = spots["frame_min"].to_numpy()
    n = np.minimum(spots["frame_max"].to_numpy() - first, _MOST_FRAMES)
    row_of = np.full(int(max(spots.index.max(), pixels["spot"].max())) + 1, -1)
    row_of[spots.index.to_numpy()] = np.arange(len(spots))
    row = row_of[pixels["spot"].to_numpy()]
    at = pixels["frame"].to_numpy() - first[row]
    kept = (row >= 0) & (at >= 0) & (at < _MOST_FRAMES)
    k = np.arange(int(n.max()))
    counts = np.where(k < n[:, None], 0.0, np.nan)
    np.add.at(counts, (row[kept], at[kept]), pixels["count"].to_numpy()[kept])
    return counts, first.astype(float)


def counts_by_frame(spots: pd.DataFrame) -> tuple[Floats, Floats]:
    """((n, m) counts in the spot's frames one after the other, NaN beyond its last; (n,) its first frame).

    Up to three frames, centroid and variance tell them exactly. A longer spot is taken to be Gaussian, with a few
    counts in every frame, without which it would be shorter.
    """
    first = spots["frame_min"].to_numpy(float)
    n = np.minimum(spots["frame_max"].to_numpy() - spots["frame_min"].to_numpy(), _MOST_FRAMES)
    total = spots["intensity"].to_numpy()
    mean = spots["frame"].to_numpy() - first - 0.5
    freedom = total**2 - sum_of_squares(spots)
    variance = np.maximum(spots["frame_var"].to_numpy() - 1.0 / 12.0, 0.0) * freedom / total
    share = _long_shares(mean, variance, n, total)
    if share.shape[1] > 1:
        share[n == 2, :2] = np.column_stack([1.0 - mean, mean])[n == 2]
    if share.shape[1] > 2:
        last = 0.5 * (variance + mean**2 - mean)
        three = np.clip(np.column_stack([1.0 - mean + last, mean - 2.0 * last, last]), 0.0, 1.0)
        share[n == 3, :3] = three[n == 3]
    share[n == 1, 0] = 1.0
    return np.where(np.arange(share.shape[1]) < n[:, None], share * total[:, None], np.nan), first


def _long_shares(mean: Floats, variance: Floats, n: npt.NDArray[np.int64], total: Floats) -> Floats:
    """(spots, frames) of a Gaussian on a flat part of _LEAST_COUNTS a frame, with this mean and variance together."""
    k = np.arange(max(int(n.max()), 1))
    flat = np.minimum(_LEAST_COUNTS * n / total, 0.5)
    middle = 0.5 * (n - 1)
    of_flat = (n**2 - 1) / 12.0 + (middle - mean) ** 2
    of_rest = np.maximum((variance - flat * of_flat) / (1.0 - flat) - 1.0 / 12.0, 0.04)
    centre, spread = (mean - flat * middle) / (1.0 - flat), np.sqrt(of_rest)
    edges = (np.arange(len(k) + 1)[None, :] - 0.5 - centre[:, None]) / spread[:, None]
    inside = k < n[:, None]
    rest = np.where(inside, np.diff(ndtr(edges), axis=1), 0.0)
    rest /= np.maximum(rest.sum(axis=1, keepdims=True), 1e-300)
    return np.where(inside, (flat / n)[:, None] + (1.0 - flat)[:, None] * rest, 0.0)


def most_likely_sigma_m(counts: Floats, tau: Floats, zeta: Floats, width: float) -> float:
    """rad: maximises the likelihood of the counts (n, m) in frames of `width` rad that begin `tau` from the angle.

    L = sum over spots of [sum n ln z - K ln sum z + ln sum z], z the fraction of the rocking curve in a frame.
    """
    low, high = np.log(1e-3 * width), np.log(np.radians(20.0))
    grid = np.linspace(low, high, 40)
    args = (np.ascontiguousarray(counts), tau, zeta, width)
    best = int(np.argmax([_likelihood(g, *args) for g in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    while high - low > 1e-5:
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _likelihood(a, *args) < _likelihood(b, *args):
            low = a
        else:
            high = b
    return float(np.exp(0.5 * (low + high)))


@numba.njit(cache=True, nogil=True)
def _likelihood(log_sigma: float, counts: Floats, tau: Floats, zeta: Floats, width: float) -> float:
    sigma = np.exp(log_sigma)
    result = 0.0
    for i in range(len(counts)):
        scale = zeta[i] / (np.sqrt(2.0) * sigma)
        seen, in_spot, logs = 0.0, 0.0, 0.0
        for k in range(counts.shape[1]):
            c = counts[i, k]
            if np.isnan(c):
                break
            begin = tau[i] + k * width
            z = 0.5 * (math.erf((begin + width) * scale) - math.erf(begin * scale))
            in_spot += c
            seen += z
            if c > 0:
                logs += c * np.log(max(z, 1e-100))
        result += logs - (in_spot - 1.0) * np.log(max(seen, 1e-100))
    return result
