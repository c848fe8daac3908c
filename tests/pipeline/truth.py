"""True intensities of a simulated set, to hold merged ones against."""

from __future__ import annotations

import itertools
from pathlib import Path

import gemmi
import h5py
import hdf5plugin  # noqa: F401 - the filters of the columns
import numpy as np
import pandas as pd


def true_intensities(truth: Path) -> pd.DataFrame:
    """Columns h, k, l, f_squared of the first lattice, as simulated; one row an index."""
    with h5py.File(truth) as f:
        table = pd.DataFrame({name: f["reflections"][name][()] for name in ("h", "k", "l", "f_squared", "lattice")})
    return table[table["lattice"] == 0].groupby(["h", "k", "l"], as_index=False)["f_squared"].mean()


def same_lattice(one: gemmi.UnitCell, other: gemmi.UnitCell, tolerance: float = 0.02) -> list[np.ndarray]:
    """Whole-number matrices M, of determinant 1, with axes' = axes @ M, that bring one cell's metric to the other's."""

    def metric(cell: gemmi.UnitCell) -> np.ndarray:
        axes = np.array(cell.orth.mat.tolist())
        return axes.T @ axes

    M = np.array(list(itertools.product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    M = M[np.rint(np.linalg.det(M)) == 1]
    wanted = metric(other)
    moved = np.einsum("nji,jk,nkl->nil", M, metric(one), M)
    size = np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
    return list(M[(np.abs(moved - wanted) / size).max(axis=(1, 2)) < tolerance])


def correlation(merged: Path, truth: Path, cell: str) -> tuple[float, int]:
    """Of merged with true intensities, over the best of the equal ways to index the lattice; and pairs."""
    mtz = gemmi.read_mtz_file(str(merged))
    found = pd.DataFrame({name: mtz.column_with_label(name.upper()).array.astype(int) for name in "hkl"})
    found["intensity"] = mtz.column_with_label("IMEAN").array
    asu, ops = gemmi.ReciprocalAsu(mtz.spacegroup), mtz.spacegroup.operations()
    true = true_intensities(truth)
    best, n = -1.0, 0
    for M in same_lattice(gemmi.UnitCell(*map(float, cell.split(","))), mtz.cell):
        hkl = [asu.to_asu(h, ops)[0] for h in (true[["h", "k", "l"]].to_numpy() @ M).tolist()]
        unique = pd.DataFrame(hkl, columns=["h", "k", "l"]).assign(f_squared=true["f_squared"])
        both = found.merge(unique.groupby(["h", "k", "l"], as_index=False).mean(), on=["h", "k", "l"])
        if len(both) > 10:
            cc = float(np.corrcoef(both["intensity"], both["f_squared"])[0, 1])
            if cc > best:
                best, n = cc, len(both)
    return best, n
