"""Observations with planted intensities, scales, errors and outliers, for the tests of scaling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.integration import flags
from hdrmx.kernels.scaling_plain import log_jacobian
from hdrmx.merging.asu import packed, rotations, to_asu
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Scan
from hdrmx.params import Scale
from hdrmx.scaling.model import make_design, make_model
from hdrmx.scaling.observations import Sweep

Floats = npt.NDArray[np.float64]


DEFAULT = Scale()


@dataclass(frozen=True)
class Plan:
    """What is planted. `parameters` of the model that `model` makes of this scan; None: scales of 1."""

    space_group: str = "P 21 21 21"
    cell: tuple[float, float, float, float, float, float] = (50.0, 60.0, 70.0, 90.0, 90.0, 90.0)
    n_unique: int = 1000
    multiplicity: int = 6
    degrees: float = 120.0
    n_frames: int = 400
    mean: float = 500.0
    a: float = 1.0
    b: float = 0.0
    outliers: int = 0
    anomalous: float = 0.0  # difference of Friedel mates over their mean
    parameters: Floats | None = None
    model: Scale = DEFAULT
    intensities_seed: int = 1  # same seed, same crystal


@dataclass(frozen=True)
class Planted:
    sweep: Sweep
    true: Floats  # (n,) intensity of each row, on an absolute scale
    scale: Floats  # (n,) what it was multiplied with
    is_outlier: npt.NDArray[np.bool_]


def geometry_of(plan: Plan) -> Geometry:
    scan = Scan(0, plan.n_frames, 0.0, np.radians(plan.degrees) / plan.n_frames)
    return Geometry(Beam(1.0), Detector(()), Goniometer(), scan)


def intensities(hkl: npt.NDArray[np.int32], plan: Plan) -> Floats:
    """True intensity of any index: exponentially distributed, the same for equivalents."""
    group = gemmi.SpaceGroup(plan.space_group)
    asu, isym = to_asu(hkl, group)
    is_centric = np.asarray(group.operations().centric_flag_array(hkl), bool)

    def uniform(salt: int) -> Floats:
        mixed = (packed(asu).astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        return (mixed >> np.uint64(11)).astype(float) / 2.0**53

    strength = -np.log1p(-uniform(plan.intensities_seed * 7919))
    difference = plan.anomalous * np.where(uniform(104729) > 0.5, 0.5, -0.5) * np.where(isym % 2 == 0, -1.0, 1.0)
    return plan.mean * strength * (1.0 + np.where(is_centric, 0.0, difference))


def plant(plan: Plan, seed: int = 0) -> Planted:
    """A sweep of which every reflection is measured `multiplicity` times, anywhere in the scan."""
    rng = np.random.default_rng(seed)
    group = gemmi.SpaceGroup(plan.space_group)
    cell = gemmi.UnitCell(*plan.cell)
    possible = gemmi.make_miller_array(cell, group, 2.0, 30.0, True)
    unique = rng.permutation(possible)[: plan.n_unique].astype(np.int32)
    hkl = np.repeat(unique, plan.multiplicity, axis=0)
    turns = rotations(group)[rng.integers(0, len(rotations(group)), len(hkl))]
    hkl = np.einsum("ni,nij->nj", hkl, turns) * rng.choice([-1, 1], len(hkl))[:, None]
    hkl = hkl[rng.permutation(len(hkl))].astype(np.int32)
    geometry = geometry_of(plan)
    table = _table(hkl, cell, plan, rng)
    true, scale = intensities(hkl, plan), _scales(table, geometry, plan)
    expected = true * scale
    variance = expected + 20.0
    sigma = plan.a * np.sqrt(variance + (plan.b * expected) ** 2)
    measured = expected + sigma * rng.standard_normal(len(hkl))
    is_outlier = np.zeros(len(hkl), bool)
    is_outlier[rng.permutation(len(hkl))[: plan.outliers]] = True
    measured[is_outlier] += 40.0 * sigma[is_outlier]
    table["sum_value"] = table["prf_value"] = measured
    table["sum_variance"] = table["prf_variance"] = variance
    reciprocal = np.asarray(cell.frac.mat).reshape(3, 3).T
    return Planted(Sweep(table, geometry, Crystal(_matrix(reciprocal), plan.space_group)), true, scale, is_outlier)


def with_table(planted: Planted, table: pd.DataFrame) -> Sweep:
    return replace(planted.sweep, observations=table)


def _table(hkl: npt.NDArray[np.int32], cell: gemmi.UnitCell, plan: Plan, rng: np.random.Generator) -> pd.DataFrame:
    n = len(hkl)
    table = tables.empty(tables.INTEGRATED, n)
    table[["h", "k", "l"]] = hkl
    table["d"] = cell.calculate_d_array(hkl)
    table["frame"] = rng.uniform(0, plan.n_frames, n)
    directions = rng.normal(size=(n, 3))
    table[["s1_x", "s1_y", "s1_z"]] = directions / np.linalg.norm(directions, axis=1)[:, None]
    for name in ("partiality", "lp", "qe"):
        table[name] = 1.0
    table["flags"] = np.int32(flags.INTEGRATED_SUM | flags.INTEGRATED_PRF)
    table["n_background"] = np.int32(100)
    return table


def _scales(table: pd.DataFrame, geometry: Geometry, plan: Plan) -> Floats:
    if plan.parameters is None:
        return np.ones(len(table))
    model = make_model([geometry], plan.model)
    s1 = table[["s1_x", "s1_y", "s1_z"]].to_numpy()
    zero = np.zeros(len(table), np.int32)
    design = make_design(model, [geometry], zero, table["frame"].to_numpy(), table["d"].to_numpy(), s1)
    return log_jacobian(design, plan.parameters)[0]


def _matrix(m: Floats) -> tuple[tuple[float, float, float], ...]:
    return tuple(tuple(float(x) for x in row) for row in m)  # type: ignore[return-value]
