"""Groups of rotations that a lattice may have, each with its conventional cell and space groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.indexing import bravais
from hdrmx.indexing.bravais import centring
from hdrmx.indexing.reciprocal import Floats, Ints

POINT_GROUPS = {
    1: ("1 1",),
    2: ("1 2 1",),
    3: ("3",),
    4: ("2 2 2", "4"),
    6: ("3 2 1", "3 1 2", "3 2", "6"),
    8: ("4 2 2",),
    12: ("6 2 2", "2 3"),
    24: ("4 3 2",),
}
_IDENTITY = np.eye(3, dtype=np.int64)


@dataclass(frozen=True)
class Group:
    """A group of rotations of the lattice.

    Attributes
    ----------
    rotations : (n, 3, 3) int on the reduced basis; indices turn as rows, h' = h @ W
    change : (3, 3) int, rows are the conventional axes in terms of the reduced ones: h' = change @ h
    space_group : the symmorphic one in the conventional setting
    laue : its Laue class, as gemmi writes it
    misfit_deg : largest angular misfit of its two-fold axes; 0 without any
    """

    rotations: Ints
    change: Ints
    space_group: str
    laue: str
    misfit_deg: float

    @property
    def order(self) -> int:
        return len(self.rotations)

    @property
    def keys(self) -> frozenset[bytes]:
        return frozenset(w.tobytes() for w in self.rotations)


def lattice_groups(real: Floats, tolerance_deg: float) -> tuple[Group, ...]:
    """Every group of rotations that the lattice (rows a, b, c, Niggli-reduced) has within the tolerance.

    Lowest order first. The groups are those that any two rotations generate, which is all there are in a crystal.
    """
    misfits = {w.tobytes(): misfit for w, misfit in bravais.twofold_axes(real, tolerance_deg)}
    whole = _whole(list(misfits), real)
    found: dict[bytes, Ints] = {}
    for members in whole:
        for pair in itertools.combinations_with_replacement(members, 2):
            closed = bravais._closure(list(pair))
            if closed is not None:
                found.setdefault(closed.tobytes(), closed)
    all_groups = sorted(found.values(), key=lambda g: (len(g), g.ravel().tolist()))
    groups = []
    for rotations in all_groups:
        setting = _setting(rotations, all_groups, real)
        if setting is None:
            continue
        misfit = max((misfits.get(w.tobytes(), 0.0) for w in rotations), default=0.0)
        change, space_group = setting
        groups.append(Group(rotations, change, space_group.xhm(), space_group.laue_str(), misfit))
    return tuple(groups)


def _whole(twofolds: Sequence[bytes], real: Floats) -> list[list[Ints]]:
    """The largest groups that the half turns generate: one, but for distorted lattices near several symmetries."""
    turns = [np.frombuffer(t, np.int64).reshape(3, 3) for t in twofolds]
    closed = bravais._closure(turns) if turns else _IDENTITY[None]
    if closed is not None:
        return [list(closed)]
    maximal: list[frozenset[bytes]] = []
    for n in (3, 2, 1):
        for chosen in itertools.combinations(turns, n):
            group = bravais._closure(list(chosen))
            if group is None:
                continue
            keys = frozenset(w.tobytes() for w in group)
            if not any(keys <= other for other in maximal):
                maximal = [other for other in maximal if not other <= keys] + [keys]
    return [[np.frombuffer(k, np.int64).reshape(3, 3) for k in sorted(keys)] for keys in maximal]


def _setting(rotations: Ints, groups: Sequence[Ints], real: Floats) -> tuple[Ints, gemmi.SpaceGroup] | None:
    """Conventional axes, and the symmorphic space group on them; those of a lattice of more symmetry where needed."""
    mine = {w.tobytes() for w in rotations}
    for group in groups:  # lowest order first, itself among them
        if len(group) % len(rotations) or not mine <= {w.tobytes() for w in group}:
            continue
        change = _axes_of(group, len(rotations), real)
        if change is None:
            continue
        if np.linalg.det(np.einsum("ij,jk->ik", change, real)) < 0:
            change = -change
        for symbol in POINT_GROUPS[len(rotations)]:
            letter = centring(change)
            name = f"{letter} {symbol}" + (":H" if letter == "R" else "")
            space_group = gemmi.find_spacegroup_by_name("P 1" if symbol == "1 1" else name)
            if space_group is not None and turns_of(space_group) == _on(rotations, change):
                return change, space_group
    return None


def _axes_of(group: Ints, order: int, real: Floats) -> Ints | None:
    """Conventional axes of a group, to be used for one of its subgroups of this order."""
    orders = sorted(bravais._order(w) for w in group)
    n = len(group)
    if n == 1:
        return _IDENTITY
    same_system = {2: (2,), 3: (6, 12), 4: (4, 8), 6: (6, 12), 8: (8,), 12: (12, 24), 24: (24,)}
    if n not in same_system[order]:
        return None
    made: tuple[str, Ints] | None = None
    if n == 2:
        made = bravais._monoclinic(group, real)
    elif n == 4 and orders == [1, 2, 2, 2]:
        made = bravais._orthorhombic(group, real)
    elif n == 6 and 6 not in orders:
        made = bravais._rhombohedral(group, real)
    elif n == 8 and 4 in orders:
        made = bravais._tetragonal(group, real)
    elif n == 12 and 6 in orders:
        made = bravais._hexagonal(group, real)
    elif n == 24:
        made = bravais._cubic(group, real)
    return None if made is None else made[1]


def _on(rotations: Ints, change: Ints) -> frozenset[tuple[int, ...]]:
    """The rotations on conventional axes: W' = C^-T W C^T."""
    transposed = change.T.astype(float)
    turned = np.einsum("ij,njk,kl->nil", np.linalg.inv(transposed), rotations, transposed)
    return frozenset(tuple(w.ravel().tolist()) for w in np.rint(turned).astype(np.int64))


def turns_of(space_group: gemmi.SpaceGroup) -> frozenset[tuple[int, ...]]:
    """Rotation parts of a space group."""
    return frozenset(tuple(x // op.DEN for row in op.rot for x in row) for op in space_group.operations().sym_ops)


@lru_cache(maxsize=64)
def candidates(symmorphic: str) -> tuple[gemmi.SpaceGroup, ...]:
    """Chiral space groups with the rotations and the centring of a symmorphic one, on its axes; in gemmi's order."""
    wanted = gemmi.find_spacegroup_by_name(symmorphic)
    turns, centred = turns_of(wanted), centring_of(wanted)
    return tuple(
        group
        for group in gemmi.spacegroup_table()
        if group.is_sohncke() and turns_of(group) == turns and centring_of(group) == centred and _is_usual(group)
    )


def centring_of(space_group: gemmi.SpaceGroup) -> frozenset[tuple[int, ...]]:
    """Translations of the lattice's centring, in twenty-fourths."""
    return frozenset(tuple(t) for t in space_group.operations().cen_ops)


def _is_usual(space_group: gemmi.SpaceGroup) -> bool:
    """Leaves out settings that differ by their origin alone, and second names such as I 1 21 1 for I 1 2 1."""
    return space_group.qualifier not in ("b4", "b5", "b6") and not space_group.hm.endswith(("a", ")"))


def elements(groups: Sequence[Group]) -> list[npt.NDArray[np.int64]]:
    """The rotations other than none that occur in any of the groups, of each and its inverse one."""
    found: dict[bytes, Ints] = {}
    for group in groups:
        for w in group.rotations:
            inverse = np.rint(np.linalg.inv(w)).astype(np.int64)
            if bravais._order(w) > 1 and inverse.tobytes() not in found:
                found.setdefault(w.tobytes(), w)
    return sorted(found.values(), key=lambda w: (bravais._order(w), w.ravel().tolist()))
