"""Integrated and scaled reflections as DIALS's programs read and write them (`.refl`), to and from ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.integration import flags
from hdrmx.io.dials import INDEXED, angles, surface_mm
from hdrmx.io.dials_pack import Columns, read_columns, write_columns
from hdrmx.models import Geometry

Floats = npt.NDArray[np.float64]
DialsColumns = dict[str, tuple[str, npt.NDArray[Any]]]

# bits of DIALS's column `flags`
OUTLIER_IN_SCALING, EXCLUDED_FOR_SCALING, SCALED = 1 << 23, 1 << 24, 1 << 26

_NUMBERS = {  # DIALS's name: ours
    "intensity.sum.value": "sum_value",
    "intensity.sum.variance": "sum_variance",
    "intensity.prf.value": "prf_value",
    "intensity.prf.variance": "prf_variance",
    "profile.correlation": "prf_correlation",
    "background.mean": "background",
    "background.sum.value": "background_sum",
    "background.sum.variance": "background_sum",
    "partiality": "partiality",
    "d": "d",
    "zeta": "zeta",
    "lp": "lp",
    "qe": "qe",
    "hdrmx.profile_fraction": "profile_fraction",
    "hdrmx.foreground_fraction": "foreground_fraction",
}
_PIXELS = {
    "num_pixels.foreground": "n_foreground",
    "num_pixels.valid": "n_valid",
    "num_pixels.background": "n_background",
}


@dataclass(frozen=True)
class Part:
    """Rows of one experiment, columns `tables.INTEGRATED`.

    `scaled` are rows of `tables.SCALED`, `row` their places in `table`; None: nothing has been scaled.
    """

    table: pd.DataFrame
    geometry: Geometry
    scaled: pd.DataFrame | None = None
    row: npt.NDArray[np.int64] | None = None


def write_integrated(path: str | Path, table: pd.DataFrame, identifiers: Mapping[int, str], geometry: Geometry) -> None:
    """Write integrated intensities of one sweep as a reflection file for `dials.symmetry` and `dials.scale`.

    Parameters
    ----------
    table : columns of `tables.INTEGRATED`; what couldn't be integrated either way is left out, as DIALS does
    identifiers : experiment's identifier by its number, those of `dials_models.write_expt`; lattice i is experiment i
    geometry : the one of the predictions

    Raises
    ------
    ValueError : a column is absent
    InputError : the file can't be written
    """
    columns = _part_columns(Part(table, geometry))
    _finish(path, columns, identifiers)


def write_parts(path: str | Path, parts: Sequence[Part], identifiers: Mapping[int, str]) -> None:
    """Write the integrated or scaled intensities of several experiments, part i being experiment i; errors as above.

    Scaled rows have DIALS's columns `intensity.scale.*` and `inverse_scale_factor*`; those that scaling left out
    are marked as excluded.
    """
    together: DialsColumns = {}
    columns = [_part_columns(part) | _numbered(part, i, parts) for i, part in enumerate(parts)]
    for name, (kind, _) in columns[0].items():
        together[name] = (kind, np.concatenate([c[name][1] for c in columns]))
    _finish(path, together, identifiers)


def _numbered(part: Part, number: int, parts: Sequence[Part]) -> DialsColumns:
    n = int(_is_done(part.table).sum())
    images = next(i for i, other in enumerate(parts) if other.geometry is part.geometry)
    return {"id": ("int", np.full(n, number, np.int32)), "imageset_id": ("int", np.full(n, images, np.int32))}


def _finish(path: str | Path, columns: DialsColumns, identifiers: Mapping[int, str]) -> None:
    n = len(columns["id"][1])
    write_columns(path, columns | {"partial_id": ("std::size_t", np.arange(n, dtype=np.uint64))}, identifiers)


def _is_done(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return np.isfinite(table["sum_value"].to_numpy()) | np.isfinite(table["prf_value"].to_numpy())


def _part_columns(part: Part) -> DialsColumns:
    absent = [c.name for c in tables.INTEGRATED if c.name not in part.table]
    if absent:
        raise ValueError(f"the table lacks {', '.join(absent)}")
    is_done = _is_done(part.table)
    done = part.table[is_done]
    columns = _integrated_positions(done, part.geometry)
    columns |= {name: ("double", np.nan_to_num(done[ours].to_numpy())) for name, ours in _NUMBERS.items()}
    columns |= {name: ("int", done[ours].to_numpy()) for name, ours in _PIXELS.items()}
    columns["num_pixels.background_used"] = ("int", done["n_background"].to_numpy())
    columns["imageset_id"] = ("int", np.zeros(len(done), np.int32))
    columns["id"] = ("int", done["lattice"].to_numpy())
    columns["flags"] = ("std::size_t", done["flags"].to_numpy() | INDEXED)
    columns["entering"] = ("bool", done["entering"].to_numpy())
    columns["miller_index"] = ("cctbx::miller::index<>", done[["h", "k", "l"]].to_numpy())
    return columns | _scaled_columns(part, is_done, columns["flags"][1])


def _scaled_columns(part: Part, is_done: npt.NDArray[np.bool_], bits: npt.NDArray[Any]) -> DialsColumns:
    if part.scaled is None or part.row is None:
        return {}
    n, v = len(part.table), part.scaled
    values = {name: np.zeros(n) for name in ("value", "variance", "factor_variance")}
    factor, marks = np.ones(n), np.full(n, EXCLUDED_FOR_SCALING, np.int64)
    scale = v["scale"].to_numpy()
    values["value"][part.row] = v["intensity"].to_numpy() * scale
    values["variance"][part.row] = (v["sigma"].to_numpy() * scale) ** 2
    values["factor_variance"][part.row] = np.nan_to_num(v["scale_sigma"].to_numpy()) ** 2
    factor[part.row] = scale
    marks[part.row] = SCALED | np.where(v["rejected"].to_numpy(), OUTLIER_IN_SCALING, 0)
    return {
        "intensity.scale.value": ("double", values["value"][is_done]),
        "intensity.scale.variance": ("double", values["variance"][is_done]),
        "inverse_scale_factor": ("double", factor[is_done]),
        "inverse_scale_factor_variance": ("double", values["factor_variance"][is_done]),
        "flags": ("std::size_t", bits | marks[is_done]),
    }


def read_integrated(path: str | Path) -> pd.DataFrame:
    """Rows of `tables.INTEGRATED` of a file that hdrmx wrote; `lattice` is the experiment's number.

    Raises
    ------
    InputError : it can't be read, or lacks a column
    """
    return _integrated(read_columns(path), path)


def _integrated(columns: Columns, path: str | Path) -> pd.DataFrame:
    v = columns.values
    _needs(columns, path, (*_NUMBERS, *_PIXELS, "miller_index", "id", "xyzcal.px", "xyzobs.px.value", "s1", "flags"))
    bits = v["flags"].astype(np.int64)
    out: dict[str, Any] = {letter: v["miller_index"][:, axis] for axis, letter in enumerate("hkl")}
    out |= {f"s1_{letter}": v["s1"][:, axis] for axis, letter in enumerate("xyz")}
    for axis, name in enumerate(("fast", "slow", "frame")):
        out |= {name: v["xyzcal.px"][:, axis], f"{name}_obs": v["xyzobs.px.value"][:, axis]}
        out |= {f"{name}_min": v["bbox"][:, 2 * axis], f"{name}_max": v["bbox"][:, 2 * axis + 1]}
    out |= {"lattice": v["id"], "entering": v["entering"], "panel": v["panel"]}
    out |= {ours: v[name] for name, ours in (_NUMBERS | _PIXELS).items()}
    for kind, bit in (("sum", flags.INTEGRATED_SUM), ("prf", flags.INTEGRATED_PRF)):
        for name in (f"{kind}_value", f"{kind}_variance"):
            out[name] = np.where((bits & bit) != 0, out[name], np.nan)
    out["prf_correlation"] = np.where(out["prf_correlation"] != 0, out["prf_correlation"], np.nan)
    out["flags"] = bits & ~(INDEXED | OUTLIER_IN_SCALING | EXCLUDED_FOR_SCALING | SCALED)
    return pd.DataFrame({c.name: np.asarray(out[c.name]).astype(c.dtype) for c in tables.INTEGRATED})


def read_scaled(path: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `tables.INTEGRATED` and, of those that were scaled, `tables.SCALED`; errors as `read_integrated`."""
    columns = read_columns(path)
    whole = _integrated(columns, path)
    names = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor")
    _needs(columns, path, (*names, "inverse_scale_factor_variance"))
    bits = columns.values["flags"].astype(np.int64)
    used = (bits & SCALED) != 0
    value, variance, scale = (columns.values[name][used] for name in names)
    rows = whole[used]
    n_background = np.maximum(rows["n_background"].to_numpy(float), 1.0)
    spread = 1.0 + rows["n_foreground"].to_numpy() / n_background
    out: dict[str, Any] = {
        "sweep": rows["lattice"],
        "intensity": value / scale,
        "sigma": np.sqrt(variance) / scale,
        "scale": scale,
        "scale_sigma": np.sqrt(columns.values["inverse_scale_factor_variance"][used]),
        "background": rows["background_sum"],
        "background_sigma": np.sqrt(np.abs(rows["background_sum"].to_numpy()) * spread),
        "rejected": (bits[used] & OUTLIER_IN_SCALING) != 0,
    }
    table = {c.name: np.asarray(out.get(c.name, rows.get(c.name))).astype(c.dtype) for c in tables.SCALED}
    return whole, pd.DataFrame(table)


def _needs(columns: Columns, path: str | Path, names: Sequence[str]) -> None:
    absent = [name for name in names if name not in columns.values]
    if absent:
        raise InputError(path, f"has no column {', '.join(absent)}", "give a file that hdrmx wrote, or run that stage")


def _integrated_positions(done: pd.DataFrame, geometry: Geometry) -> DialsColumns:
    """Where each was predicted and seen; seen where predicted, within its box, if no centroid could be had."""
    predicted = done[["fast", "slow", "frame"]].to_numpy()
    seen = done[["fast_obs", "slow_obs", "frame_obs"]].to_numpy()
    seen = np.where(np.isfinite(seen).all(axis=1)[:, None], seen, predicted)
    edges = [f"{axis}_{end}" for axis in ("fast", "slow", "frame") for end in ("min", "max")]

    def in_mm(px: Floats) -> npt.NDArray[Any]:
        plane = surface_mm(done["panel"], px[:, 1], px[:, 0], geometry)
        return np.column_stack([plane, angles(px[:, 2], geometry)])

    variance = np.full((len(done), 3), 1.0 / 12.0)
    return {
        "bbox": ("int6", done[edges].to_numpy(np.int32)),
        "panel": ("std::size_t", done["panel"].to_numpy()),
        "s1": ("vec3<double>", done[["s1_x", "s1_y", "s1_z"]].to_numpy()),
        "xyzcal.px": ("vec3<double>", predicted),
        "xyzcal.mm": ("vec3<double>", in_mm(predicted)),
        "xyzobs.px.value": ("vec3<double>", seen),
        "xyzobs.px.variance": ("vec3<double>", variance),
        "xyzobs.mm.value": ("vec3<double>", in_mm(seen)),
        "xyzobs.mm.variance": ("vec3<double>", variance * _mm_scale(done, geometry)),
    }


def _mm_scale(done: pd.DataFrame, geometry: Geometry) -> Floats:
    pixel = np.array([p.pixel_mm for p in geometry.detector.panels])[done["panel"].to_numpy()]
    width = 0.0 if geometry.scan is None else geometry.scan.width_rad
    return np.column_stack([pixel[:, 1] ** 2, pixel[:, 0] ** 2, np.full(len(done), width**2)])
