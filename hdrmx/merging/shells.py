"""Shells of equal reciprocal volume, and the reflections that there are in each."""

from __future__ import annotations

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import Ints

Floats = npt.NDArray[np.float64]
Cell = tuple[float, float, float, float, float, float]
EDGE = 1e-5  # relative width by which the outermost shells reach over the data


def spacings(hkl: Ints, cell: Cell) -> Floats:
    """(n,) d in A; infinite for 0 0 0."""
    inverse_square = gemmi.UnitCell(*cell).calculate_1_d2_array(np.ascontiguousarray(hkl, np.int32))
    with np.errstate(divide="ignore"):
        return 1.0 / np.sqrt(np.asarray(inverse_square, np.float64))


def shell_limits(d_max: float, d_min: float, n: int) -> Floats:
    """(n + 1,) limits in A, from low resolution to high, of shells of equal volume of reciprocal space."""
    cubes = np.linspace(d_max**-3, d_min**-3, n + 1)
    limits = cubes ** (-1 / 3)
    limits[0], limits[-1] = d_max, d_min
    return limits


def shell_of(d: Floats, limits: Floats) -> npt.NDArray[np.int64]:
    """(n,) shell of each spacing; those a little outside of the limits go to the outermost shells."""
    inner = limits[1:-1] ** -2
    return np.searchsorted(inner, np.asarray(d) ** -2.0, side="right")


def possible_reflections(cell: Cell, space_group: gemmi.SpaceGroup, d_max: float, d_min: float) -> Ints:
    """(n, 3) all unique reflections within the limits, without systematic absences. Time ~ volume / d_min^3."""
    hkl = gemmi.make_miller_array(gemmi.UnitCell(*cell), space_group, d_min * (1 - EDGE), d_max * (1 + EDGE))
    return np.asarray(hkl, np.int32).reshape(-1, 3)
