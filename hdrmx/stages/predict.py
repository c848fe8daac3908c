"""Stage `predict`: every reflection that the refined crystals bring onto the detector during the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.integration.boxes import BOX, boxes, partiality
from hdrmx.integration.profile_model import Floats, ProfileModel, kabsch_axes
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Predict
from hdrmx.refinement.predict import PredictedScan, predict_scan

DEFAULT = Predict()
MOST_INDICES = 50_000_000
PADDING_RAD = np.radians(1.0)


@dataclass(frozen=True)
class Predictions:
    """What can be seen.

    Attributes
    ----------
    table : columns `tables.PREDICTED`, by lattice, then h k l, then frame
    profile : the model that the boxes were made with
    d_min_A : limit used
    counts : work done, by name
    """

    table: pd.DataFrame
    profile: ProfileModel
    d_min_A: float
    counts: dict[str, int]


def predict(
    crystals: Sequence[Crystal], geometry: Geometry, profile: ProfileModel, params: Predict = DEFAULT
) -> Predictions:
    """Predict the reflections of all lattices.

    Parameters
    ----------
    crystals : with `A_at_scan_points` where they vary along the scan
    geometry : with a goniometer and a scan of finite width

    Raises
    ------
    InputError : no crystal, stills, a resolution that makes too many reflections, or nothing predicted at all

    Notes
    -----
    Both crossings of the Ewald sphere in every turn, exactly, also those up to a degree outside of the scan that reach
    into it; absences of the lattice's centring are left out, those of
    screw axes and glide planes are kept. Time ~ reflections of the sphere within d_min.
    """
    if not crystals:
        raise InputError("prediction", "there is no crystal", "index the spots first")
    d_min = highest_resolution(geometry) if params.d_min is None else params.d_min
    parts, tried = [], 0
    for number, crystal in enumerate(crystals):
        hkl = indices_within(crystal, d_min)
        tried += len(hkl)
        crossings = predict_scan(hkl, *_padded(crystal, geometry))
        parts.append(_table(number, hkl, crystal, crossings, geometry, profile, params))
    table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    if len(table) == 0:
        raise InputError(
            "prediction", "no reflection falls onto the detector", "check d_min, the cell and the geometry"
        )
    tables.check(table, tables.PREDICTED)
    return Predictions(table, profile, d_min, {"indices": tried, "predicted": len(table)})


def _padded(crystal: Crystal, geometry: Geometry) -> tuple[Crystal, Geometry]:
    """Of a scan a little longer at either end, whose reflections may reach in; the crystal stays as at the ends."""
    scan = geometry.scan
    if scan is None or scan.is_still:
        return crystal, geometry
    n = int(np.ceil(PADDING_RAD / abs(scan.width_rad)))
    longer = replace(geometry, scan=scan.part(scan.first - n, scan.n_frames + 2 * n))
    points = crystal.A_at_scan_points
    if points is None:
        return crystal, longer
    ends = [np.repeat(points[:1], n, axis=0), points, np.repeat(points[-1:], n, axis=0)]
    return replace(crystal, A_at_scan_points=np.concatenate(ends)), longer


def highest_resolution(geometry: Geometry) -> float:
    """A: d at the corner of the detector that is farthest from the beam."""
    s0 = geometry.beam.s0
    best = np.inf
    for p in geometry.detector.panels:
        corners = p.lab_mm([0, 0, p.shape[0], p.shape[0]], [0, p.shape[1], 0, p.shape[1]])
        s1 = corners / np.linalg.norm(corners, axis=1, keepdims=True) / geometry.beam.wavelength_A
        best = min(best, 1.0 / float(np.linalg.norm(s1 - s0, axis=1).max()))
    return best


def indices_within(crystal: Crystal, d_min: float) -> npt.NDArray[np.int32]:
    """(n, 3) all indices with d >= d_min, without the lattice's absences, ascending; 0 0 0 is left out."""
    A = np.asarray(crystal.A)
    real = np.linalg.inv(A)
    most = np.floor(np.linalg.norm(real, axis=1) / d_min).astype(int)
    if np.prod(2.0 * most + 1.0) > MOST_INDICES:
        what = f"d_min {d_min:.3g} A means up to {np.prod(2.0 * most + 1.0):.2g} indices"
        raise InputError("prediction", what, "set predict.d_min to a resolution that the crystal can reach")
    metric = A.T @ A
    k, l = (v.ravel() for v in np.meshgrid(*(np.arange(-m, m + 1) for m in most[1:]), indexing="ij"))
    centring = _centring(crystal.space_group)
    parts = []
    for h in range(-most[0], most[0] + 1):
        q = np.column_stack([np.full(len(k), h), k, l])
        inside = np.einsum("ij,ij->i", q @ metric, q) <= 1.0 / d_min**2
        for shift in centring:
            inside &= (q @ shift) % 24 == 0
        parts.append(q[inside].astype(np.int32))
    hkl = np.concatenate(parts)
    return hkl[hkl.any(axis=1)]


def _centring(space_group: str) -> list[npt.NDArray[np.int64]]:
    """Centring translations in 24ths of the cell."""
    group = gemmi.find_spacegroup_by_name(space_group)
    if group is None:
        raise InputError("prediction", f"there is no space group '{space_group}'", "give one that gemmi knows")
    return [np.array(op) for op in group.operations().cen_ops if any(op)]


def _table(
    number: int,
    hkl: npt.NDArray[np.int32],
    crystal: Crystal,
    found: PredictedScan,
    geometry: Geometry,
    profile: ProfileModel,
    params: Predict,
) -> pd.DataFrame:
    zeta = kabsch_axes(found.s1, geometry).zeta
    scan = geometry.scan
    assert scan is not None
    off = np.maximum(scan.first - found.frame, found.frame - scan.first - scan.n_frames)
    reach = profile.delta_m / np.maximum(np.abs(zeta), 1e-9) / abs(scan.width_rad)
    kept = np.flatnonzero((np.abs(zeta) >= params.min_zeta) & (off < reach))
    s1, frame, panel = found.s1[kept], found.frame[kept], found.panel[kept]
    axes = kabsch_axes(s1, geometry)
    box = boxes(frame, panel, s1, axes, geometry, profile, params.box_scale)
    index = hkl[found.index[kept]]
    columns: dict[str, npt.NDArray] = {"h": index[:, 0], "k": index[:, 1], "l": index[:, 2]}
    columns |= {"lattice": np.full(len(kept), number), "entering": found.entering[kept], "panel": panel}
    columns |= {"frame": frame, "slow": found.slow[kept], "fast": found.fast[kept]}
    columns |= {f"s1_{axis}": s1[:, i] for i, axis in enumerate("xyz")}
    columns |= {"d": _d(index, crystal), "zeta": axes.zeta}
    columns["partiality"] = partiality(frame, box, axes.zeta, geometry, profile)
    columns |= {name: box[:, i] for i, name in enumerate(BOX)}
    return pd.DataFrame({c.name: columns[c.name].astype(c.dtype) for c in tables.PREDICTED})


def _d(hkl: npt.NDArray[np.int32], crystal: Crystal) -> Floats:
    return np.asarray(1.0 / np.linalg.norm(hkl @ np.asarray(crystal.A).T, axis=1))
