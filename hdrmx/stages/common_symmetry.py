"""One space group for several sweeps: the best measured one tells it, the others are brought to its setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import gemmi
import numpy as np

from hdrmx.errors import InputError
from hdrmx.merging.unscaled import unscaled
from hdrmx.models import Crystal
from hdrmx.params import Symmetry
from hdrmx.scaling.consistent import Choice
from hdrmx.scaling.observations import Sweep
from hdrmx.stages.symmetry import SymmetryFound, reindexed, reindexed_table, symmetry


def common_symmetry(
    sweeps: Sequence[Sweep], lattice_of: Sequence[int], params: Symmetry
) -> tuple[SymmetryFound, dict[int, Sweep]]:
    """The symmetry of all sweeps, and the sweeps in its setting.

    Parameters
    ----------
    sweeps : each with the crystal on the axes of its own indices
    lattice_of : number of the lattice that each sweep was indexed on; sweeps of the same one are looked at together

    Returns
    -------
    What the sweeps of the best measured crystal say, and the sweeps that could be brought to that setting, by their
    number and in their order. Where the lattice allows several choices of indices, scaling makes them consistent.
    `notes` name the sweeps left out.

    Raises
    ------
    InputError : as `stages.symmetry.symmetry`, for the best measured crystal
    """
    together: dict[int, list[int]] = {}
    for number, lattice in enumerate(lattice_of):
        together.setdefault(lattice, []).append(number)
    sizes = {key: sum(len(sweeps[i].observations) for i in rows) for key, rows in together.items()}
    first = max(together, key=lambda key: (sizes[key], -together[key][0]))
    found = _of_crystal([sweeps[i] for i in together[first]], params)
    known = replace(params, space_group=found.space_group)
    brought: dict[int, Sweep] = {}
    notes = list(found.notes)
    for key, numbers in together.items():
        try:
            own = found if key == first else _of_crystal([sweeps[i] for i in numbers], known)
        except InputError as error:
            names = ", ".join(str(i + 1) for i in numbers)
            notes.append(f"left out: sweep {names}, which has no {found.space_group} ({error.what})")
            continue
        for i in numbers:
            brought[i] = in_setting(sweeps[i], own.change, found.space_group)
    counts = found.counts | {"sweeps": len(sweeps), "sweeps_left_out": len(sweeps) - len(brought)}
    return replace(found, notes=tuple(notes), counts=counts), {i: brought[i] for i in sorted(brought)}


def _of_crystal(sweeps: Sequence[Sweep], params: Symmetry) -> SymmetryFound:
    scan = sweeps[0].geometry.scan if len(sweeps) == 1 else None
    return symmetry(unscaled([s.observations for s in sweeps]), sweeps[0].crystal, scan, params)


def in_setting(sweep: Sweep, change: np.ndarray, space_group: str) -> Sweep:
    """The sweep on new axes, new h = change @ h."""
    table = reindexed_table(sweep.observations, change)
    return replace(sweep, observations=table, crystal=reindexed(sweep.crystal, change, space_group))


def chosen(sweep: Sweep, choice: Choice) -> Sweep:
    """The sweep after one of the equal ways to index its lattice, as scaling chose it (h' = h R)."""
    op = gemmi.Op(choice.operator)
    change = np.asarray(op.rot, float).T / op.DEN
    return sweep if np.array_equal(change, np.eye(3)) else in_setting(sweep, change, sweep.crystal.space_group)


def mean_cell(crystals: Sequence[Crystal]) -> tuple[float, float, float, float, float, float]:
    """A, degrees: plain mean of the cells, which keeps what their common symmetry asks of them."""
    a, b, c, alpha, beta, gamma = np.mean([crystal.cell for crystal in crystals], axis=0)
    return float(a), float(b), float(c), float(alpha), float(beta), float(gamma)
