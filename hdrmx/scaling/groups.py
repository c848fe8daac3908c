"""Observations in order of their groups of equivalent reflections."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import packed, to_asu

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Rows `order[start[h]]` to `order[start[h + 1]]` of a table are the equivalents of reflection `hkl[h]`."""

    order: Ints  # (n,) rows of the table, group by group; within a group as in the table
    start: Ints  # (n_groups + 1,)
    hkl: npt.NDArray[np.int32]  # (n_groups, 3) in the asymmetric unit, in order
    mate_start: Ints  # as `start`, of groups with Friedel mates apart; of an acentric group I(+) comes first

    def __len__(self) -> int:
        return len(self.hkl)

    @property
    def sizes(self) -> Ints:
        """(n_groups,) observations."""
        return np.diff(self.start)

    @property
    def of_row(self) -> Ints:
        """(n,) group of each observation, in the order of groups."""
        return np.repeat(np.arange(len(self)), self.sizes)


def group(hkl: npt.NDArray[np.int32], space_group: gemmi.SpaceGroup) -> Groups:
    """Group indices (n, 3), Friedel mates together. Time ~ n log n, that of one sort."""
    mapped, isym = to_asu(hkl, space_group)
    keys = packed(mapped)
    is_minus = isym % 2 == 0
    order = np.lexsort((is_minus, keys))
    keys = keys[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, np.int64)
    start = np.append(first, len(keys)).astype(np.int64)
    unique = mapped[order][first]
    is_centric = np.asarray(space_group.operations().centric_flag_array(unique), bool)
    mate = is_minus[order] & ~np.repeat(is_centric, np.diff(start))
    changes = np.zeros(len(keys), bool)
    changes[first] = True
    changes[1:] |= mate[1:] != mate[:-1]
    return Groups(order, start, unique, np.append(np.flatnonzero(changes), len(keys)).astype(np.int64))
