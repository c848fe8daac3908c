"""A folder of processed data, of hdrmx or of DIALS, read stage by stage so that two can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.integration import flags as bits_of
from hdrmx.io.dials import read_refl
from hdrmx.io.dials_intensities import SCALED
from hdrmx.io.dials_models import Profile, read_expt
from hdrmx.io.dials_pack import Columns, read_columns
from hdrmx.models import Crystal, Geometry

BAD_FOR_SCALING = (1 << 22) | (1 << 23) | (1 << 24)  # excluded by the user, outlier, excluded otherwise
MERGED_MTZ = ("merged.mtz",)
UNMERGED_MTZ = ("unmerged.mtz", "scaled.mtz")


@dataclass(frozen=True)
class Fitted:
    """Spots with indices (`tables.INDEXED` or `REFINED`) and the models that gave them; lattice i has crystal i."""

    table: pd.DataFrame
    geometry: Geometry
    crystals: tuple[Crystal, ...]


@dataclass(frozen=True)
class Intensities:
    """Reflections with intensities, and the crystals of their lattices.

    Columns of `table`: lattice, h, k, l, panel, slow, fast, frame (predicted), d, then of integrated ones sum,
    sum_sigma, prf, prf_sigma (NaN where there is none), partiality, lp, qe; of scaled ones intensity, sigma, scale,
    rejected.
    """

    table: pd.DataFrame
    crystals: tuple[Crystal, ...]
    profile: Profile | None = None


@dataclass(frozen=True)
class MtzFile:
    """What an MTZ file says of itself; `merged` has columns h, k, l, intensity, sigma, where it is merged."""

    name: str
    space_group: str
    cell: tuple[float, ...]
    columns: tuple[str, ...]
    n_reflections: int
    n_batches: int
    merged: pd.DataFrame | None = None


@dataclass(frozen=True)
class Processing:
    """What a folder holds; None where a stage's files are absent."""

    folder: Path
    spots: pd.DataFrame | None = None
    indexed: Fitted | None = None
    refined: Fitted | None = None
    integrated: Intensities | None = None
    symmetry: Crystal | None = None
    scaled: Intensities | None = None
    merged: MtzFile | None = None
    unmerged: MtzFile | None = None


def read_processing(folder: str | Path) -> Processing:
    """Read what there is of strong.refl, indexed.*, refined.*, integrated.*, symmetrized.expt, scaled.*, and MTZ files.

    Raises
    ------
    InputError : there is no such folder, none of these files is in it, or one is damaged
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "is no folder", "give the folder that `hdrmx process`, or DIALS, wrote into")
    found = Processing(
        folder,
        spots=_spots(folder / "strong.refl"),
        indexed=_fitted(folder, "indexed"),
        refined=_fitted(folder, "refined"),
        integrated=_integrated(folder),
        symmetry=_symmetry(folder),
        scaled=_scaled(folder),
        merged=_mtz(folder, MERGED_MTZ),
        unmerged=_mtz(folder, UNMERGED_MTZ),
    )
    if all(getattr(found, name) is None for name in found.__dataclass_fields__ if name != "folder"):
        several = sorted(p.name for p in folder.glob("sweep_*"))
        what = f"holds {', '.join(several[:3])}, ...: several sweeps" if several else "holds no results of any stage"
        raise InputError(folder, what, "give a folder with strong.refl, indexed.refl and .expt, refined.refl, ...")
    return found


def _spots(path: Path) -> pd.DataFrame | None:
    return read_refl(path).table if path.exists() else None


def _fitted(folder: Path, stage: str) -> Fitted | None:
    refl, expt = folder / f"{stage}.refl", folder / f"{stage}.expt"
    if not (refl.exists() and expt.exists()):
        return None
    table, experiments = read_refl(refl).table, read_expt(expt)
    crystals = tuple(e.crystal for e in experiments if e.crystal is not None)
    if len(crystals) < len(experiments) or "lattice" not in table or not crystals:
        raise InputError(expt, "has an experiment without a crystal, or the table no indices", f"run {stage} again")
    return Fitted(table, experiments[0].geometry, crystals)


def _integrated(folder: Path) -> Intensities | None:
    refl, expt = folder / "integrated.refl", folder / "integrated.expt"
    if not (refl.exists() and expt.exists()):
        return None
    columns, experiments = read_columns(refl), read_expt(expt)
    v = columns.values
    table = _positions(columns, refl)
    bits = table.pop("flags").to_numpy()
    for kind, bit in (("sum", bits_of.INTEGRATED_SUM), ("prf", bits_of.INTEGRATED_PRF)):
        done = (bits & bit) != 0
        nothing = np.full(len(table), np.nan)
        table[kind] = np.where(done, v.get(f"intensity.{kind}.value", nothing), np.nan)
        with np.errstate(invalid="ignore"):
            table[f"{kind}_sigma"] = np.where(done, np.sqrt(v.get(f"intensity.{kind}.variance", nothing)), np.nan)
    for name in ("partiality", "lp", "qe"):
        table[name] = v.get(name, np.ones(len(table)))
    profiles = [e.profile for e in experiments if e.profile is not None]
    return Intensities(table, _crystals(experiments), profiles[0] if profiles else None)


def _scaled(folder: Path) -> Intensities | None:
    """Those that were scaled; outliers are marked, what is otherwise excluded is left out."""
    refl, expt = folder / "scaled.refl", folder / "scaled.expt"
    if not (refl.exists() and expt.exists()):
        return None
    columns, experiments = read_columns(refl), read_expt(expt)
    v, table = columns.values, _positions(columns, refl)
    names = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor")
    if any(name not in v for name in names):
        raise InputError(refl, f"lacks {', '.join(n for n in names if n not in v)}", "scale again")
    value, variance, scale = (v[name] for name in names)
    bits = table.pop("flags").to_numpy()
    outlier = (bits & (1 << 23)) != 0
    used = ((bits & SCALED) != 0) & (scale > 0) & (variance > 0) & ((bits & BAD_FOR_SCALING) == 0) | (
        outlier & (scale > 0) & (variance > 0)
    )
    divisor = np.where(scale > 0, scale, 1.0)
    table = table.assign(
        intensity=value / divisor, sigma=np.sqrt(np.maximum(variance, 0.0)) / divisor, scale=scale, rejected=outlier
    )
    return Intensities(table[used].reset_index(drop=True), _crystals(experiments))


def _positions(columns: Columns, path: Path) -> pd.DataFrame:
    v = columns.values
    absent = [name for name in ("miller_index", "xyzcal.px", "panel", "flags", "id") if name not in v]
    if absent:
        raise InputError(path, f"has no column {', '.join(absent)}", "give files of integrated reflections")
    out: dict[str, npt.NDArray[Any]] = {"lattice": v["id"].astype(np.int64)}
    out |= {letter: v["miller_index"][:, axis].astype(np.int64) for axis, letter in enumerate("hkl")}
    out |= {name: v["xyzcal.px"][:, axis] for axis, name in enumerate(("fast", "slow", "frame"))}
    out |= {"panel": v["panel"].astype(np.int64), "flags": v["flags"].astype(np.int64)}
    out["d"] = v.get("d", np.full(columns.n_rows, np.nan))
    return pd.DataFrame(out)


def _crystals(experiments: Any) -> tuple[Crystal, ...]:
    return tuple(e.crystal for e in experiments if e.crystal is not None)


def _symmetry(folder: Path) -> Crystal | None:
    path = folder / "symmetrized.expt"
    crystals = _crystals(read_expt(path)) if path.exists() else ()
    return crystals[0] if crystals else None


def _mtz(folder: Path, names: tuple[str, ...]) -> MtzFile | None:
    path = next((folder / name for name in names if (folder / name).exists()), None)
    if path is None:
        return None
    try:
        mtz = gemmi.read_mtz_file(str(path))
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(path, f"is no MTZ file that can be read ({error})", "merge or export again") from None
    group = mtz.spacegroup
    cell = mtz.get_cell(mtz.datasets[-1].id) if len(mtz.datasets) else mtz.cell
    return MtzFile(
        name=path.name,
        space_group=group.xhm() if group is not None else "",
        cell=tuple(cell.parameters),
        columns=tuple(mtz.column_labels()),
        n_reflections=mtz.nreflections,
        n_batches=len(mtz.batches),
        merged=_merged_of(mtz) if names == MERGED_MTZ else None,
    )


def _merged_of(mtz: gemmi.Mtz) -> pd.DataFrame | None:
    columns = dict(zip(mtz.column_labels(), np.asarray(mtz.array, np.float64).T))
    if not {"H", "K", "L", "IMEAN", "SIGIMEAN"} <= set(columns):
        return None
    table = pd.DataFrame({n: columns[n.upper()].astype(np.int64) for n in "hkl"})
    table = table.assign(intensity=columns["IMEAN"], sigma=columns["SIGIMEAN"])
    return table[np.isfinite(table["intensity"])].reset_index(drop=True)
