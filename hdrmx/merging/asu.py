"""Indices to the asymmetric unit of reciprocal space that the CCP4 suite agreed on, and groups of equivalents."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.errors import InputError

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

MAX_INDEX = (1 << 20) - 1

# gemmi's names of Laue classes; of trigonal ones the setting of the two-folds matters, too
_CLASSES = {
    "-1": 0,
    "2/m": 1,
    "mmm": 2,
    "4/m": 3,
    "4/mmm": 4,
    "-3": 5,
    "-3m": 6,
    "6/m": 8,
    "6/mmm": 9,
    "m-3": 10,
    "m-3m": 11,
}
_TRIGONAL_312 = frozenset((149, 151, 153, 157, 159, 162, 163))


@njit(cache=True, nogil=True)
def _is_in(h: int, k: int, l: int, laue: int) -> bool:
    """Whether an index, in the reference setting, lies in the asymmetric unit of its Laue class."""
    if laue == 0:
        return l > 0 or (l == 0 and (h > 0 or (h == 0 and k >= 0)))
    if laue == 1:
        return k >= 0 and (l > 0 or (l == 0 and h >= 0))
    if laue == 2:
        return h >= 0 and k >= 0 and l >= 0
    if laue == 3 or laue == 8:
        return l >= 0 and ((h >= 0 and k > 0) or (h == 0 and k == 0))
    if laue == 4 or laue == 9:
        return h >= k and k >= 0 and l >= 0
    if laue == 5:
        return (h >= 0 and k > 0) or (h == 0 and k == 0 and l >= 0)
    if laue == 6:
        return h >= k and k >= 0 and (h > k or l >= 0)
    if laue == 7:
        return h >= k and k >= 0 and (k > 0 or l >= 0)
    if laue == 10:
        return h >= 0 and ((l >= h and k > h) or (l == h and k == h))
    return k >= l and l >= h and h >= 0


@njit(cache=True, nogil=True)
def _map(hkl, turns, to_reference, laue, out, isym):  # type: ignore[no-untyped-def]
    """Fill `out` and `isym` (M/ISYM without the M); an index that no turn brings in gets isym 0."""
    c = to_reference
    for n in range(len(hkl)):
        h, k, l = hkl[n, 0], hkl[n, 1], hkl[n, 2]
        for i in range(len(turns)):
            t = turns[i]
            x = h * t[0, 0] + k * t[1, 0] + l * t[2, 0]
            y = h * t[0, 1] + k * t[1, 1] + l * t[2, 1]
            z = h * t[0, 2] + k * t[1, 2] + l * t[2, 2]
            p = x * c[0, 0] + y * c[1, 0] + z * c[2, 0]
            q = x * c[0, 1] + y * c[1, 1] + z * c[2, 1]
            r = x * c[0, 2] + y * c[1, 2] + z * c[2, 2]
            if _is_in(p, q, r, laue):
                out[n, 0], out[n, 1], out[n, 2] = x, y, z
                isym[n] = 2 * i + 1
                break
            if _is_in(-p, -q, -r, laue):
                out[n, 0], out[n, 1], out[n, 2] = -x, -y, -z
                isym[n] = 2 * i + 2
                break


def space_group_of(name: str) -> gemmi.SpaceGroup:
    """gemmi's space group of a symbol. Raises InputError when there is none."""
    group = gemmi.find_spacegroup_by_name(name)
    if group is None:
        raise InputError("space group", f"'{name}' is not known", "give a symbol such as 'P 21 21 21'")
    return group


def rotations(space_group: gemmi.SpaceGroup) -> Ints:
    """(n, 3, 3) rotation parts of the group, in gemmi's order; they turn rows: h' = h @ R."""
    return np.array([np.array(op.rot) // op.DEN for op in space_group.operations().sym_ops], np.int32)


def to_asu(hkl: Ints, space_group: gemmi.SpaceGroup) -> tuple[Ints, Ints]:
    """Equivalent indices in the asymmetric unit, and M/ISYM: odd for I(+), even for I(-), 2 i + 1 of operation i.

    Parameters
    ----------
    hkl : (n, 3) int32

    Notes
    -----
    The choice of unit and operation is gemmi's `ReciprocalAsu.to_asu`, which takes one index at a time. Time ~ n.
    """
    hkl = np.ascontiguousarray(hkl, np.int32)
    if len(hkl) and np.abs(hkl).max() > MAX_INDEX:
        raise InputError("reflections", f"an index exceeds {MAX_INDEX}", "the table is damaged")
    # relations between indices don't change with their scale, so that the twenty-fourths may stay
    to_reference = np.array(space_group.basisop.rot, np.int32)
    laue = _CLASSES[space_group.laue_str()]
    if laue == 6 and space_group.number in _TRIGONAL_312:
        laue = 7
    mapped, isym = np.zeros_like(hkl), np.zeros(len(hkl), np.int32)
    _map(hkl, rotations(space_group), to_reference, laue, mapped, isym)
    return mapped, isym


@dataclass(frozen=True)
class Equivalents:
    """Observations grouped by unique reflection, Friedel mates together.

    Attributes
    ----------
    hkl : (m, 3) int32, unique reflections in the asymmetric unit, in order of h, k, l
    group : (n,) int64, row of `hkl` that an observation belongs to
    isym : (n,) int32, as MTZ files have it: even for I(-)
    is_minus : (n,) bool; a centric reflection has no minus
    is_centric : (m,) bool
    epsilon : (m,) int, the statistical factor, lattice centring left out
    """

    hkl: Ints
    group: npt.NDArray[np.int64]
    isym: Ints
    is_minus: npt.NDArray[np.bool_]
    is_centric: npt.NDArray[np.bool_]
    epsilon: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.hkl)

    @property
    def mates(self) -> npt.NDArray[np.int64]:
        """(n,) 2 group for I(+), 2 group + 1 for I(-)."""
        return 2 * self.group + self.is_minus


def packed(hkl: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """(n,) one integer for each index, in the order of h, k, l."""
    shifted = np.asarray(hkl, np.int64) + (MAX_INDEX + 1)
    return (shifted[:, 0] << 42) | (shifted[:, 1] << 21) | shifted[:, 2]


def group_equivalents(hkl: Ints, space_group: gemmi.SpaceGroup) -> Equivalents:
    """Group observed indices (n, 3). Time ~ n log n, that of one sort."""
    mapped, isym = to_asu(hkl, space_group)
    _, first, group = np.unique(packed(mapped), return_index=True, return_inverse=True)
    unique = mapped[first]
    operations = space_group.operations()
    is_centric = np.asarray(operations.centric_flag_array(unique), bool)
    epsilon = np.asarray(operations.epsilon_factor_without_centering_array(unique), np.int64)
    is_minus = (isym % 2 == 0) & ~is_centric[group]
    return Equivalents(unique, group.reshape(-1), isym, is_minus, is_centric, epsilon)
