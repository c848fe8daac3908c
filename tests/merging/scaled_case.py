"""Scaled observations with known truth, and those of unmerged MTZ files."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.merging.asu import rotations, space_group_of

Cell = tuple[float, float, float, float, float, float]


def simulated(
    name: str = "P 21 21 21",
    cell: Cell = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0),
    d_min: float = 2.5,
    copies: int = 4,
    noise: float = 5.0,
    b_A2: float = 20.0,
    twin: gemmi.Op | None = None,
    seed: int = 1,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Observations (columns `tables.SCALED`) and true intensities by unique index.

    Intensities are Wilson's, fall off with B, and are measured `copies` times each, as equivalents or mates drawn at
    random, with a normal error of `noise` + 3 %.
    """
    rng = np.random.default_rng(seed)
    group = space_group_of(name)
    hkl = np.asarray(gemmi.make_miller_array(gemmi.UnitCell(*cell), group, d_min), np.int32)
    centric = np.asarray(group.operations().centric_flag_array(hkl), bool)
    epsilon = np.asarray(group.operations().epsilon_factor_without_centering_array(hkl))
    s2 = np.asarray(gemmi.UnitCell(*cell).calculate_1_d2_array(hkl))
    normal = rng.normal(0, 1, (len(hkl), 2)) ** 2
    true = np.where(centric, normal[:, 0], normal.sum(axis=1) / 2) * epsilon * 1000 * np.exp(-b_A2 * s2 / 2)
    rows = np.repeat(np.arange(len(hkl)), copies)
    turns = rotations(group)[rng.integers(0, len(rotations(group)), len(rows))]
    measured = np.einsum("ni,nij->nj", hkl[rows], turns) * rng.choice((-1, 1), len(rows))[:, None]
    sigma = np.sqrt(noise**2 + (0.03 * true[rows]) ** 2)
    table = tables.empty(tables.SCALED, len(rows))
    for axis, letter in enumerate("hkl"):
        table[letter] = measured[:, axis].astype(np.int32)
    table["intensity"], table["sigma"] = true[rows] + rng.normal(0, 1, len(rows)) * sigma, sigma
    table["scale"], table["partiality"], table["frame"] = 1.0, 1.0, rng.uniform(0, 100, len(rows))
    truth = pd.DataFrame({"h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2], "true": true})
    order = rng.permutation(len(table))
    return table.iloc[order].reset_index(drop=True), truth


def unmerged_mtz(path: Path) -> tuple[pd.DataFrame, str, Cell]:
    """Observations, space group and cell of an unmerged MTZ file of scaled data."""
    mtz = gemmi.read_mtz_file(str(path))
    mtz.switch_to_original_hkl()
    columns = dict(zip(mtz.column_labels(), np.asarray(mtz.array, np.float64).T))
    table = tables.empty(tables.SCALED, mtz.nreflections)
    for letter in "hkl":
        table[letter] = columns[letter.upper()].astype(np.int32)
    table["intensity"], table["sigma"], table["scale"] = columns["I"], columns["SIGI"], columns["SCALEUSED"]
    table["frame"] = columns["BATCH"] - 0.5
    return table, mtz.spacegroup.xhm(), mtz.cell.parameters
