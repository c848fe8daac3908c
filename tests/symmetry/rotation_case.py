"""Observations of a rotation scan of a crystal in a random orientation, on its reduced basis, with known symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation
from scipy.special import ndtri

from hdrmx import tables
from hdrmx.indexing.combine import reduce_lattice
from hdrmx.integration import flags
from hdrmx.merging.asu import Equivalents, group_equivalents, packed, to_asu
from hdrmx.merging.halves import scrambled
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Scan
from hdrmx.refinement.symmetry import to_matrix
from hdrmx.scaling.observations import Sweep
from hdrmx.symmetry.groups import lattice_groups

Cell = tuple[float, float, float, float, float, float]
WAVELENGTH_A = 1.0
WIDTH_DEG = 0.5


@dataclass(frozen=True)
class Case:
    """`to_reduced`: h of the reduced basis = this @ h of the conventional cell."""

    table: pd.DataFrame
    crystal: Crystal
    scan: Scan
    to_reduced: np.ndarray


def measured(
    name: str,
    cell: Cell,
    *,
    d_min: float = 3.2,
    wedge_deg: float = 90.0,
    signal: float = 10.0,
    seed: int = 1,
    mate: str | None = None,
    mixed: float = 0.0,
    crystal_seed: int | None = None,
) -> Case:
    """Wilson's intensities with a B of 15 A^2, errors of counting + 5 %, a scale that drifts by 15 %.

    `signal` is I/sigma of a mean reflection at low resolution. The axis is z and the beam travels along x. Of each
    intensity the share `mixed` is that of its `mate` (such as "k,h,-l"), as in a twin. Scans of the same
    `crystal_seed` are of crystals of the same structure, each in an orientation of its own.
    """
    rng = np.random.default_rng(seed)
    group, unit = gemmi.SpaceGroup(name), gemmi.UnitCell(*cell)
    hkl = _all_indices(group, unit, d_min)
    found = group_equivalents(hkl, group)
    normal = (rng.normal(size=(len(found), 2)) if crystal_seed is None else _by_index(found.hkl, crystal_seed)) ** 2
    s2 = np.asarray(unit.calculate_1_d2_array(found.hkl))
    true = np.where(found.is_centric, normal[:, 0], normal.sum(axis=1) / 2) * found.epsilon * np.exp(-15 * s2 / 2)
    true[np.asarray(group.operations().systematic_absences(found.hkl), bool)] = 0
    A = Rotation.random(random_state=int(rng.integers(1 << 31))).as_matrix() @ np.array(unit.frac.mat.tolist()).T
    rows, phi = _crossings(hkl @ A.T, wedge_deg)
    value, mean = (_with_mates(true, hkl, found, group, mate, mixed) if mate else true[found.group])[rows], true.mean()
    sigma = np.sqrt((mean / signal) ** 2 + (0.05 * value) ** 2 + value * mean / signal**2)
    scale = 1 + 0.15 * np.sin(phi + rng.uniform(0, 6))
    centred = group.centred_to_primitive()
    to_primitive = np.array(centred.rot).T / centred.DEN
    reduced = reduce_lattice(A @ np.linalg.inv(to_primitive))
    to_reduced = np.linalg.inv(reduced) @ A
    table = pd.DataFrame(np.rint(hkl[rows] @ to_reduced.T).astype(np.int32), columns=list("hkl"))
    table["intensity"] = (value + rng.normal(size=len(rows)) * sigma) * scale
    table["sigma"], table["frame"] = sigma * scale, np.degrees(phi) / WIDTH_DEG
    scan = Scan(0, round(wedge_deg / WIDTH_DEG), 0.0, float(np.radians(WIDTH_DEG)))
    return Case(table, Crystal(to_matrix(reduced)), scan, to_reduced)


def _by_index(hkl: np.ndarray, seed: int) -> np.ndarray:
    """(n, 2) normal numbers that hang on the index alone, whichever other indices there are."""
    rows = [scrambled(packed(hkl), seed * 2 + i) >> np.uint64(11) for i in range(2)]
    return ndtri((np.array(rows).T.astype(float) + 0.5) / 2.0**53)


def as_sweep(case: Case, *, turned: bool = False, seed: int = 0, factor: float = 1.0) -> Sweep:
    """The observations as integration leaves them; `turned`: on any of the bases that the lattice can't tell apart."""
    A, hkl = np.asarray(case.crystal.A), case.table[["h", "k", "l"]].to_numpy(float)
    if turned:
        turns = lattice_groups(np.linalg.inv(A), 2.0)[-1].rotations
        turn = turns[np.random.default_rng(seed).integers(len(turns))]
        hkl, A = hkl @ turn, A @ np.linalg.inv(turn.T)
    table = tables.empty(tables.INTEGRATED, len(hkl))
    table[["h", "k", "l"]] = np.rint(hkl).astype(np.int32)
    table["frame"] = table["frame_obs"] = case.table["frame"]
    phi = np.radians(WIDTH_DEG) * case.table["frame"].to_numpy()
    s = np.einsum("nij,nj->ni", Rotation.from_rotvec(phi[:, None] * (0, 0, 1)).as_matrix(), hkl @ A.T)
    table[["s1_x", "s1_y", "s1_z"]] = s + np.array([1.0 / WAVELENGTH_A, 0, 0])
    table["d"] = 1.0 / np.linalg.norm(s, axis=1)
    table["partiality"] = table["lp"] = table["qe"] = 1.0
    table["sum_value"] = table["prf_value"] = 60.0 * factor * case.table["intensity"]
    table["sum_variance"] = table["prf_variance"] = (60.0 * factor * case.table["sigma"]) ** 2
    table["flags"] = np.int32(flags.INTEGRATED_SUM | flags.INTEGRATED_PRF)
    table["n_background"] = np.int32(100)
    geometry = Geometry(Beam(WAVELENGTH_A, (1.0, 0.0, 0.0)), Detector(()), Goniometer((0.0, 0.0, 1.0)), case.scan)
    return Sweep(table, geometry, Crystal(to_matrix(A)))


def _with_mates(
    true: np.ndarray, hkl: np.ndarray, found: Equivalents, group: gemmi.SpaceGroup, mate: str, mixed: float
) -> np.ndarray:
    """Intensities of all indices, mixed with those of their mates."""
    turned = hkl @ (np.array(gemmi.Op(mate).rot).T // gemmi.Op.DEN)
    keys, wanted = packed(found.hkl), packed(to_asu(turned.astype(np.int32), group)[0])
    order = np.argsort(keys)
    at = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    own = true[found.group]
    return np.where(keys[at] == wanted, (1 - mixed) * own + mixed * true[at], own)


def _all_indices(group: gemmi.SpaceGroup, unit: gemmi.UnitCell, d_min: float) -> np.ndarray:
    spans = [np.arange(-int(length / d_min) - 1, int(length / d_min) + 2) for length in unit.parameters[:3]]
    hkl = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)
    s2 = np.asarray(unit.calculate_1_d2_array(hkl))
    shifts = hkl @ (np.array(group.operations().cen_ops) / gemmi.Op.DEN).T
    return hkl[(s2 > 0) & (s2 < d_min**-2) & (np.abs(shifts - np.rint(shifts)) < 1e-6).all(axis=1)]


def _crossings(s: np.ndarray, wedge_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and angles at which reciprocal vectors meet the Ewald sphere within the wedge."""
    rho, r2 = np.hypot(s[:, 0], s[:, 1]), (s**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = -WAVELENGTH_A * r2 / 2 / rho
    meets = np.abs(cosine) < 1
    rows, angles = [], []
    for sign in (1, -1):
        phi = (sign * np.arccos(np.where(meets, cosine, 0.0)) - np.arctan2(s[:, 1], s[:, 0])) % (2 * np.pi)
        for turn in range(int(wedge_deg // 360) + 1):
            at = phi + turn * 2 * np.pi
            inside = np.flatnonzero(meets & (at < np.radians(wedge_deg)))
            rows.append(inside)
            angles.append(at[inside])
    return np.concatenate(rows), np.concatenate(angles)
