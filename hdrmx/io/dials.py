"""Reflection tables as DIALS's programs read and write them (`.refl`), to and from ours.

DIALS gives positions as (fast, slow, frame) in px and frames, and as (fast, slow, angle) in mm and rad with the
parallax taken off; rows of no experiment have id -1 and index 0 0 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.indexing.reciprocal import laboratory_rotations, rays, true_positions
from hdrmx.io.dials_pack import Columns, read_columns, write_columns
from hdrmx.io.dials_shoeboxes import pack_shoeboxes
from hdrmx.models import Geometry, Goniometer

Floats = npt.NDArray[np.float64]

# bits of DIALS's column `flags`
PREDICTED, INDEXED, USED_IN_REFINEMENT, STRONG, CENTROID_OUTLIER = 1, 4, 8, 32, 1 << 17

MOST_PANELS = 1 << 20
_NEEDED = ("xyzobs.px.value", "bbox", "panel")
_TYPES = {
    "xyzobs.px.value": "vec3<double>",
    "xyzobs.px.variance": "vec3<double>",
    "xyzcal.px": "vec3<double>",
    "bbox": "int6",
    "panel": "std::size_t",
    "id": "int",
    "flags": "std::size_t",
    "n_signal": "int",
    "intensity.sum.value": "double",
    "miller_index": "cctbx::miller::index<>",
    "entering": "bool",
    "peak": "double",
}


@dataclass(frozen=True)
class Reflections:
    """What a `.refl` file holds.

    Attributes
    ----------
    table : columns `tables.SPOTS`, `tables.INDEXED` or `tables.REFINED`, as far as the file goes, in the file's order
    identifiers : experiment's identifier by its number
    columns : every column of the file under DIALS's name
    """

    table: pd.DataFrame
    identifiers: dict[int, str]
    columns: Columns


def read_refl(path: str | Path) -> Reflections:
    """Read a reflection file of any stage.

    The peak is ours, where the file has it, or the highest pixel of the spot's shoebox, else NaN. `n_pixels` is 0 where
    the file doesn't tell.

    Raises
    ------
    InputError : it can't be read (see `dials_pack.read_columns`), or lacks observed positions
    """
    columns = read_columns(path)
    absent = [name for name in _NEEDED if name not in columns.values]
    if absent:
        raise InputError(path, f"has no column {', '.join(absent)}", "give a table with observed spots")
    for name, kind in columns.types.items():
        if kind != _TYPES.get(name, kind):
            raise InputError(path, f"column {name} is of type {kind}, not {_TYPES[name]}", "the file is damaged")
    if columns.n_rows and columns.values["panel"].max() > MOST_PANELS:
        raise InputError(path, f"a spot is on panel {columns.values['panel'].max()}", "the file is damaged")
    table = _spots(columns)
    wanted = tables.SPOTS
    if "miller_index" in columns.values:
        wanted = tables.INDEXED
        _add_indices(table, columns)
        if "xyzcal.px" in columns.values:
            wanted = tables.REFINED
            _add_predictions(table, columns)
    return Reflections(table[[c.name for c in wanted]], columns.identifiers, columns)


def _spots(columns: Columns) -> pd.DataFrame:
    v, n = columns.values, columns.n_rows
    nothing = np.zeros((n, 3))
    xyz, variance, box = v["xyzobs.px.value"], v.get("xyzobs.px.variance", nothing), v["bbox"]
    unknown = columns.shoeboxes.peaks() if columns.shoeboxes is not None else np.full(n, np.nan)
    table = {"panel": v["panel"], "n_pixels": v.get("n_signal", np.zeros(n, int)), "peak": v.get("peak", unknown)}
    table |= {"intensity": v.get("intensity.sum.value", np.full(n, np.nan))}
    for axis, name in enumerate(("fast", "slow", "frame")):
        table |= {name: xyz[:, axis], f"{name}_var": variance[:, axis]}
        table |= {f"{name}_min": box[:, 2 * axis], f"{name}_max": box[:, 2 * axis + 1]}
    return pd.DataFrame({c.name: np.asarray(table[c.name]).astype(c.dtype) for c in tables.SPOTS})


def _add_indices(table: pd.DataFrame, columns: Columns) -> None:
    v = columns.values
    flags = v.get("flags", np.zeros(columns.n_rows, np.uint64)).astype(np.int64)
    hkl, ids = v["miller_index"], v.get("id", np.zeros(columns.n_rows, np.int32))
    is_indexed = (ids >= 0) & hkl.any(axis=1)
    for axis, name in enumerate("hkl"):
        table[name] = np.where(is_indexed, hkl[:, axis], 0).astype(np.int32)
    table["lattice"] = np.where(is_indexed, ids, -1).astype(np.int32)
    table["entering"] = v.get("entering", np.zeros(columns.n_rows, bool))
    table["used"] = is_indexed & ((flags & USED_IN_REFINEMENT) != 0)
    table["outlier"] = is_indexed & ((flags & CENTROID_OUTLIER) != 0)


def _add_predictions(table: pd.DataFrame, columns: Columns) -> None:
    calculated = np.where((table["lattice"] >= 0).to_numpy()[:, None], columns.values["xyzcal.px"], np.nan)
    for axis, name in enumerate(("fast", "slow", "frame")):
        table[f"{name}_calc"] = calculated[:, axis]


def write_refl(
    path: str | Path,
    table: pd.DataFrame,
    identifiers: Mapping[int, str],
    geometry: Geometry | None = None,
    pixels: pd.DataFrame | None = None,
) -> None:
    """Write a table as a reflection file that DIALS's programs open.

    Parameters
    ----------
    table : columns of `tables.SPOTS`, `tables.INDEXED` or `tables.REFINED`
    identifiers : experiment's identifier by its number, those of `dials_models.write_expt`; lattice i is experiment i
    geometry : needed for indexed tables, whose positions are written in mm, too, and in reciprocal space
    pixels : strong pixels of the rows, columns `tables.SPOT_PIXELS`, for shoeboxes; without them the file has none

    Raises
    ------
    ValueError : a column is absent, a geometry is needed, or pixels aren't of this table
    InputError : the file can't be written
    """
    absent = [c.name for c in tables.SPOTS if c.name not in table]
    if absent:
        raise ValueError(f"the table lacks {', '.join(absent)}")
    columns = _spot_columns(table)
    if "lattice" in table:
        if geometry is None:
            raise ValueError("an indexed table needs the geometry it was indexed with")
        columns |= _indexed_columns(table, geometry)
    shoeboxes = None if pixels is None else pack_shoeboxes(table, pixels, path)
    write_columns(path, columns, identifiers, shoeboxes)


def _spot_columns(table: pd.DataFrame) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    axes = ("fast", "slow", "frame")
    edges = [f"{axis}_{end}" for axis in axes for end in ("min", "max")]
    n = len(table)
    columns: dict[str, tuple[str, npt.NDArray[Any]]] = {
        "bbox": ("int6", table[edges].to_numpy(np.int32)),
        "flags": ("std::size_t", np.full(n, STRONG, np.uint64)),
        "id": ("int", np.zeros(n, np.int32)),
        "intensity.sum.value": ("double", table["intensity"].to_numpy()),
        "intensity.sum.variance": ("double", table["intensity"].to_numpy()),  # counts, without background
        "n_signal": ("int", table["n_pixels"].to_numpy()),
        "panel": ("std::size_t", table["panel"].to_numpy()),
        "xyzobs.px.value": ("vec3<double>", table[list(axes)].to_numpy()),
        "xyzobs.px.variance": ("vec3<double>", table[[f"{axis}_var" for axis in axes]].to_numpy()),
    }
    if np.isfinite(table["peak"]).all():
        columns["peak"] = ("double", table["peak"].to_numpy())
    return columns


def _indexed_columns(table: pd.DataFrame, geometry: Geometry) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    lattice = table["lattice"].to_numpy()
    is_indexed = lattice >= 0
    flags = STRONG + INDEXED * is_indexed
    s1 = rays(table, geometry)
    angle = angles(table["frame"].to_numpy(), geometry)
    rotation = laboratory_rotations(geometry.goniometer or Goniometer(), angle)
    seen_mm = surface_mm(table["panel"], table["slow"], table["fast"], geometry)
    columns: dict[str, tuple[str, npt.NDArray[Any]]] = {
        "id": ("int", lattice),
        "imageset_id": ("int", np.zeros(len(table), np.int32)),
        "miller_index": ("cctbx::miller::index<>", table[["h", "k", "l"]].to_numpy()),
        "entering": ("bool", table["entering"].to_numpy()),
        "s1": ("vec3<double>", s1),
        "rlp": ("vec3<double>", np.einsum("nji,nj->ni", rotation, s1 - geometry.beam.s0)),
        "xyzobs.mm.value": ("vec3<double>", np.column_stack([seen_mm, angle])),
        "xyzobs.mm.variance": ("vec3<double>", _mm_variances(table, geometry)),
    }
    if "frame_calc" in table:
        calculated = table[["fast_calc", "slow_calc", "frame_calc"]].to_numpy()
        is_predicted = np.isfinite(calculated).all(axis=1)
        flags = flags + PREDICTED * is_predicted + USED_IN_REFINEMENT * table["used"].to_numpy()
        flags = flags + CENTROID_OUTLIER * table["outlier"].to_numpy()
        px = np.where(is_predicted[:, None], calculated, 0.0)
        mm = np.column_stack([surface_mm(table["panel"], px[:, 1], px[:, 0], geometry), angles(px[:, 2], geometry)])
        columns["xyzcal.px"] = ("vec3<double>", px)
        columns["xyzcal.mm"] = ("vec3<double>", np.where(is_predicted[:, None], mm, 0.0))
    columns["flags"] = ("std::size_t", flags)
    return columns


def angles(frame: Floats, geometry: Geometry) -> Floats:
    scan = geometry.scan
    return np.zeros(len(frame)) if scan is None else scan.angle_rad(frame)


def surface_mm(panel_of: Any, slow_px: Any, fast_px: Any, geometry: Geometry) -> Floats:
    """(n, 2) mm along fast and slow, where the ray met the sensor's surface."""
    panel_of, slow, fast = (np.asarray(v) for v in (panel_of, slow_px, fast_px))
    result = np.zeros((len(slow), 2))
    for number, panel in enumerate(geometry.detector.panels):
        mine = panel_of == number
        from_corner = true_positions(panel, slow[mine], fast[mine]) - np.asarray(panel.origin_mm)
        result[mine] = from_corner @ np.column_stack([panel.fast_axis, panel.slow_axis])
    return result


def _mm_variances(table: pd.DataFrame, geometry: Geometry) -> Floats:
    pixel = np.array([p.pixel_mm for p in geometry.detector.panels])[table["panel"].to_numpy()]
    width = 0.0 if geometry.scan is None else geometry.scan.width_rad
    variances = (table["fast_var"] * pixel[:, 1] ** 2, table["slow_var"] * pixel[:, 0] ** 2)
    return np.column_stack([*variances, table["frame_var"] * width**2])
