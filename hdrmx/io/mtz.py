"""MTZ files, unmerged and merged, through gemmi; columns and conventions are those that DIALS exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import __version__, tables
from hdrmx.errors import InputError
from hdrmx.io.mtz_batches import Sweep, append_batches, batch_offsets
from hdrmx.io.whole import write_whole
from hdrmx.merging.asu import space_group_of, to_asu

if TYPE_CHECKING:  # reading or writing a file needs no stage
    from hdrmx.stages.merge import Merged

Cell = tuple[float, float, float, float, float, float]

SAME_WAVELENGTH_A = 1e-4

_MERGED = (
    ("FreeR_flag", "I", "free"),
    ("IMEAN", "J", "intensity"),
    ("SIGIMEAN", "Q", "sigma"),
    ("I(+)", "K", "intensity_plus"),
    ("SIGI(+)", "M", "sigma_plus"),
    ("I(-)", "K", "intensity_minus"),
    ("SIGI(-)", "M", "sigma_minus"),
    ("N(+)", "I", "n_plus"),
    ("N(-)", "I", "n_minus"),
    ("F", "F", "f"),
    ("SIGF", "Q", "f_sigma"),
    ("F(+)", "G", "f_plus"),
    ("SIGF(+)", "L", "f_plus_sigma"),
    ("F(-)", "G", "f_minus"),
    ("SIGF(-)", "L", "f_minus_sigma"),
)


@dataclass(frozen=True)
class Names:
    """Of project, crystal and data set, as MTZ files have them."""

    project: str = "hdrmx"
    crystal: str = "XTAL"
    dataset: str = "NATIVE"


@dataclass(frozen=True)
class Written:
    """What went into an unmerged file: counts of work done, and the batch numbers of each sweep, inclusive."""

    reflections: int
    batches: int
    ranges: tuple[tuple[int, int], ...]


def write_unmerged(
    path: str | Path,
    scaled: pd.DataFrame,
    sweeps: Sequence[Sweep],
    space_group: str,
    cell: Cell,
    *,
    profile: pd.DataFrame | None = None,
    names: Names = Names(),
) -> Written:
    """Write observations with a batch header for each frame of each sweep.

    Parameters
    ----------
    scaled : columns `tables.SCALED`; rejected rows and those without an intensity or a positive sigma are left out
    sweeps : by the number in `scaled.sweep`
    space_group, cell : of the indices and of the file; the cells of frames are in their batch headers
    profile : columns intensity, sigma of the same rows, written as IPR, SIGIPR, where I is a summation's and nothing
        has been scaled

    Raises
    ------
    InputError : no row or no sweep is left, a row's sweep is unknown, or the file can't be written

    Notes
    -----
    Columns H K L M/ISYM BATCH I SIGI [IPR SIGIPR] [SCALEUSED SIGSCALEUSED] BG SIGBG FRACTIONCALC XDET YDET ROT LP QE,
    in the table's order. BATCH is the frame of the observed centroid (predicted, where there is none) + 1 + the sweep's
    offset; ROT the predicted angle in degrees. Several wavelengths give as many data sets. Time and memory ~
    reflections + batches.
    """
    tables.check(scaled, tables.SCALED)
    keep = ~scaled["rejected"].to_numpy() & np.isfinite(scaled["intensity"].to_numpy())
    with np.errstate(invalid="ignore"):
        keep &= scaled["sigma"].to_numpy() > 0
    rows = scaled[keep]
    sweep_of = rows["sweep"].to_numpy()
    if len(rows) == 0 or len(sweeps) == 0:
        raise InputError(path, f"{len(rows)} observations of {len(sweeps)} sweeps", "there is nothing to write")
    if sweep_of.min() < 0 or sweep_of.max() >= len(sweeps):
        raise InputError(path, f"observations of sweep {sweep_of.max()}, of {len(sweeps)} sweeps", "give every sweep")
    mtz, dataset_ids = _started(space_group, cell, sweeps, names)
    offsets = batch_offsets([sweep.scan for sweep in sweeps])
    n_batches = sum(append_batches(mtz, *each) for each in zip(sweeps, offsets, dataset_ids))
    columns = _unmerged_columns(rows, sweeps, offsets, space_group_of(space_group))
    if profile is not None:
        at = list(columns).index("SIGI") + 1
        more = {"IPR": ("J", profile["intensity"].to_numpy()[keep]), "SIGIPR": ("Q", profile["sigma"].to_numpy()[keep])}
        columns = dict([*list(columns.items())[:at], *more.items(), *list(columns.items())[at:]])
    _fill(mtz, columns, dataset_ids[-1])
    _save(mtz, path)
    ends = [(s.scan.first + 1 + o, s.scan.first + s.scan.n_frames + o) for s, o in zip(sweeps, offsets)]
    return Written(len(rows), n_batches, tuple(ends))


def write_merged(path: str | Path, merged: Merged, wavelength_A: float, names: Names = Names()) -> int:
    """Write merged intensities, amplitudes and the free set; returns the number of reflections.

    Columns H K L FreeR_flag IMEAN SIGIMEAN I(+) SIGI(+) I(-) SIGI(-) N(+) N(-) F SIGF F(+) SIGF(+) F(-) SIGF(-) DANO
    SIGDANO; a centric reflection stands under (+) alone. What was not measured is missing (NaN). Set 0 of FreeR_flag
    is for cross-validation. Raises InputError when the file can't be written.
    """
    table = merged.table
    mtz = _new(merged.space_group, merged.cell, "hdrmx merged data")
    dataset = mtz.add_dataset(names.dataset)
    _name(dataset, 1, names, wavelength_A)
    columns: dict[str, tuple[str, npt.NDArray[np.generic]]] = {
        letter.upper(): ("H", table[letter].to_numpy()) for letter in "hkl"
    }
    for label, kind, name in _MERGED:
        values = table[name].to_numpy(np.float64)
        columns[label] = (kind, np.where(values > 0, values, np.nan) if name.startswith("n_") else values)
    f = {name: table[name].to_numpy() for name in ("f_plus", "f_minus", "f_plus_sigma", "f_minus_sigma")}
    columns["DANO"] = ("D", f["f_plus"] - f["f_minus"])
    columns["SIGDANO"] = ("Q", np.hypot(f["f_plus_sigma"], f["f_minus_sigma"]))
    _fill(mtz, columns, dataset.id)
    _save(mtz, path)
    return len(table)


def _unmerged_columns(
    rows: pd.DataFrame, sweeps: Sequence[Sweep], offsets: Sequence[int], space_group: gemmi.SpaceGroup
) -> dict[str, tuple[str, npt.NDArray[np.generic]]]:
    """Type and values of every column by its label."""
    mapped, isym = to_asu(rows[["h", "k", "l"]].to_numpy(np.int32), space_group)
    columns: dict[str, tuple[str, npt.NDArray[np.generic]]] = {}
    for axis, label in enumerate("HKL"):
        columns[label] = ("H", mapped[:, axis])
    v = {name: rows[name].to_numpy() for name in rows.columns}
    sweep_of = v["sweep"]
    scans = [sweep.scan for sweep in sweeps]
    start, width, first, last, offset = (
        np.array(values, float)[sweep_of]
        for values in (
            [np.degrees(s.start_rad) for s in scans],
            [np.degrees(s.width_rad) for s in scans],
            [s.first for s in scans],
            [s.first + s.n_frames - 1 for s in scans],
            offsets,
        )
    )
    position = np.where(np.isfinite(v["frame_obs"]), v["frame_obs"], v["frame"])
    frame = np.clip(np.floor(position), first, last)
    columns["M/ISYM"] = ("Y", isym)
    columns["BATCH"] = ("B", frame + 1 + offset)
    columns["I"], columns["SIGI"] = ("J", v["intensity"]), ("Q", v["sigma"])
    if (v["scale"] != 1.0).any():
        columns["SCALEUSED"] = ("R", v["scale"])
        columns["SIGSCALEUSED"] = ("R", v["scale_sigma"])
    columns |= {"BG": ("R", v["background"]), "SIGBG": ("R", v["background_sigma"])}
    columns |= {"FRACTIONCALC": ("R", v["partiality"]), "XDET": ("R", v["fast_obs"]), "YDET": ("R", v["slow_obs"])}
    columns["ROT"] = ("R", start + (v["frame"] - first) * width)
    columns |= {"LP": ("R", v["lp"]), "QE": ("R", v["qe"])}
    return columns


def _started(space_group: str, cell: Cell, sweeps: Sequence[Sweep], names: Names) -> tuple[gemmi.Mtz, list[int]]:
    """A file with a data set for each wavelength, and the data set of each sweep."""
    mtz = _new(space_group, cell, "hdrmx unmerged data")
    wavelengths: list[float] = []
    ids = []
    for sweep in sweeps:
        value = sweep.geometry.beam.wavelength_A
        same = [i for i, w in enumerate(wavelengths) if abs(w - value) <= SAME_WAVELENGTH_A]
        if not same:
            same = [len(wavelengths)]
            wavelengths.append(value)
        ids.append(same[0] + 1)
    for number, value in enumerate(wavelengths, 1):
        dataset = mtz.add_dataset(names.dataset)
        _name(dataset, number, names, value)
        if len(wavelengths) > 1:
            dataset.dataset_name = f"{names.dataset}_{number}"
    return mtz, ids


def _new(space_group: str, cell: Cell, title: str) -> gemmi.Mtz:
    mtz = gemmi.Mtz(with_base=False)
    mtz.title = title
    mtz.history = [f"From hdrmx {__version__}"]
    mtz.spacegroup = space_group_of(space_group)
    mtz.set_cell_for_all(gemmi.UnitCell(*cell))
    return mtz


def _name(dataset: gemmi.Mtz.Dataset, number: int, names: Names, wavelength_A: float) -> None:
    dataset.id = number
    dataset.project_name, dataset.crystal_name, dataset.wavelength = names.project, names.crystal, wavelength_A


def _fill(mtz: gemmi.Mtz, columns: dict[str, tuple[str, npt.NDArray[np.generic]]], dataset_id: int) -> None:
    mtz.set_cell_for_all(mtz.cell)
    data = np.empty((len(next(iter(columns.values()))[1]), len(columns)), np.float32)
    for i, (label, (kind, values)) in enumerate(columns.items()):
        mtz.add_column(label, kind, dataset_id=dataset_id, pos=-1, expand_data=False)
        data[:, i] = values
    mtz.set_data(data)
    mtz.update_reso()


def _save(mtz: gemmi.Mtz, path: str | Path) -> None:
    write_whole(path, lambda temporary: mtz.write_to_file(str(temporary)))
