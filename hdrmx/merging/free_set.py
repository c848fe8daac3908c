"""The set of reflections kept for cross-validation."""

from __future__ import annotations

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.merging.asu import Ints, to_asu
from hdrmx.merging.halves import scrambled

HIGHEST = {
    "triclinic": "P -1",
    "monoclinic": "P 1 2/m 1",
    "orthorhombic": "P m m m",
    "tetragonal": "P 4/m m m",
    "trigonal": "P 6/m m m",
    "hexagonal": "P 6/m m m",
    "cubic": "P m -3 m",
}


def free_set(hkl: Ints, space_group: gemmi.SpaceGroup, n_sets: int, seed: int) -> npt.NDArray[np.int32]:
    """(n,) set of each reflection, 0 to n_sets - 1.

    Reflections that the highest symmetry of the crystal system relates share a set, so that twinning and
    pseudo-symmetry don't tell the free set what the others know. The set of an index depends on the seed alone: data
    of the same crystal form to any resolution share theirs.
    """
    name = HIGHEST[space_group.crystal_system_str()]
    if space_group.ext == "R":
        name = "R -3 m:R"
    elif space_group.monoclinic_unique_axis() in ("a", "c"):
        name = {"a": "P 2/m 1 1", "c": "P 1 1 2/m"}[space_group.monoclinic_unique_axis()]
    mapped, _ = to_asu(hkl, gemmi.find_spacegroup_by_name(name))
    if len(hkl) == 0:
        return np.zeros(0, np.int32)
    number = scrambled(mapped[:, 0], mapped[:, 1], mapped[:, 2], seed) >> np.uint64(33)
    return (number % np.uint64(n_sets)).astype(np.int32)
