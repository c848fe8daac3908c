"""One space group for several sweeps, and all of them in its setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import gemmi
import numpy as np
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.merging.asu import space_group_of
from hdrmx.merging.unscaled import unscaled
from hdrmx.models import Crystal
from hdrmx.params import Scale, Symmetry
from hdrmx.scaling.consistent import Choice
from hdrmx.scaling.observations import Sweep, gather
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
    What all sweeps together say, and the sweeps that could be brought to that setting, by their number and in their
    order. The best measured crystal's symmetry comes first; the other sweeps are brought to its setting and, where the
    lattice allows several, to one choice of indices; then all are looked at together. `notes` name the sweeps left out.

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
    notes: list[str] = []
    for key, numbers in together.items():
        try:
            own = found if key == first else _of_crystal([sweeps[i] for i in numbers], known)
        except InputError as error:
            names = ", ".join(str(i + 1) for i in numbers)
            notes.append(f"left out: sweep {names}, which has no {found.space_group} ({error.what})")
            continue
        for i in numbers:
            brought[i] = in_setting(sweeps[i], own.change, found.space_group)
    counts = {"sweeps": len(sweeps), "sweeps_left_out": len(sweeps) - len(brought)}
    if len(together) > 1 and len(brought) > 1:
        found, brought = _all_together(found, brought, params)
    notes += [note for note in found.notes if note not in notes]
    return replace(found, notes=tuple(notes), counts=found.counts | counts), dict(sorted(brought.items()))


def _all_together(
    found: SymmetryFound, brought: dict[int, Sweep], params: Symmetry
) -> tuple[SymmetryFound, dict[int, Sweep]]:
    """Looked at once more, all sweeps as one, each brought to the same choice of indices and mean intensity before."""
    observations = gather(list(brought.values()), space_group_of(found.space_group), Scale())
    if observations.indexing:
        brought = {i: chosen(s, choice) for (i, s), choice in zip(brought.items(), observations.indexing)}
    parts, begin = [], 0.0
    for sweep in brought.values():
        part = unscaled([sweep.observations])
        mean = float(np.nanmean(np.abs(part["intensity"])))
        frame = part["frame"] - part["frame"].min() + begin  # no frame belongs to two sweeps
        part = part.assign(intensity=part["intensity"] / mean, sigma=part["sigma"] / mean, frame=frame)
        begin = float(np.floor(frame.max())) + 1.0
        parts.append(part)
    crystal = next(iter(brought.values())).crystal
    again = symmetry(pd.concat(parts, ignore_index=True), crystal, None, params)
    return again, {i: in_setting(s, again.change, again.space_group) for i, s in brought.items()}


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
