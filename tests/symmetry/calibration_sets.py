"""Simulated sets of all Laue classes, weak to strong, narrow to a whole turn, on which symmetry is put to the proof."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
from rotation_case import Case, Cell, measured

from hdrmx.merging.asu import space_group_of
from hdrmx.stages.symmetry import SymmetryFound
from hdrmx.symmetry.groups import turns_of

CASES: dict[str, Cell] = {
    "P 1": (40, 50, 60, 80, 85, 95),
    "P 1 21 1": (40, 50, 60, 90, 103, 90),
    "C 1 2 1": (70, 40, 50, 90, 110, 90),
    "P 21 21 21": (40, 50, 60, 90, 90, 90),
    "C 2 2 21": (50, 70, 40, 90, 90, 90),
    "I 2 2 2": (45, 60, 70, 90, 90, 90),
    "F 2 2 2": (60, 70, 80, 90, 90, 90),
    "P 41": (50, 50, 60, 90, 90, 90),
    "P 43 21 2": (50, 50, 60, 90, 90, 90),
    "I 4": (60, 60, 50, 90, 90, 90),
    "I 41 2 2": (60, 60, 50, 90, 90, 90),
    "P 31": (50, 50, 60, 90, 90, 120),
    "P 31 2 1": (50, 50, 60, 90, 90, 120),
    "P 31 1 2": (50, 50, 60, 90, 90, 120),
    "R 3:H": (70, 70, 60, 90, 90, 120),
    "R 3 2:H": (70, 70, 60, 90, 90, 120),
    "P 61": (50, 50, 60, 90, 90, 120),
    "P 61 2 2": (50, 50, 60, 90, 90, 120),
    "P 21 3": (60, 60, 60, 90, 90, 90),
    "I 2 3": (70, 70, 70, 90, 90, 90),
    "P 41 3 2": (60, 60, 60, 90, 90, 90),
    "F 4 3 2": (90, 90, 90, 90, 90, 90),
}
PSEUDO: list[tuple[str, Cell]] = [
    ("P 1 21 1", (40, 50, 60, 90, 90, 90)),
    ("P 21 21 21", (50, 50, 60, 90, 90, 90)),
    ("P 1 2 1", (40, 50, 40, 90, 110, 90)),
    ("P 1 21 1", (50, 60, 50, 90, 120, 90)),
    ("P 21 21 21", (50, 50, 50, 90, 90, 90)),
    ("C 2 2 21", (50, 86.6025, 60, 90, 90, 90)),
]
# lattices of more symmetry than the crystal, and a rotation (of indices, as gemmi writes it) that they have besides
MATES = {
    "P 41": "k,h,-l",
    "I 4": "k,h,-l",
    "P 31": "-h,-k,l",
    "P 31 2 1": "-h,-k,l",
    "P 31 1 2": "-h,-k,l",
    "R 3:H": "k,h,-l",
    "P 61": "k,h,-l",
    "P 21 3": "k,h,-l",
    "I 2 3": "k,h,-l",
}
PSEUDO_MATES = ("h,-k,-l", "k,h,-l", "l,k,-h", "l,k,-h", "k,h,-l", None)
N_TRIALS = 200


@dataclass(frozen=True)
class Trial:
    """One set. Of each intensity the share `mixed` is its mate's by a rotation that is no symmetry, as in a twin."""

    name: str
    cell: Cell
    wedge_deg: float
    signal: float
    mate: str | None
    mixed: float
    seed: int

    def case(self) -> Case:
        mate = self.mate if self.mixed else None
        return measured(
            self.name,
            self.cell,
            wedge_deg=self.wedge_deg,
            signal=self.signal,
            seed=self.seed,
            mate=mate,
            mixed=self.mixed,
        )


def trials(n: int = N_TRIALS, seed: int = 20) -> list[Trial]:
    """The sets, always the same: every space group by turns, the rest drawn."""
    rng = np.random.default_rng(seed)
    items = [(name, cell, MATES.get(name)) for name, cell in CASES.items()]
    items += [(name, cell, mate) for (name, cell), mate in zip(PSEUDO, PSEUDO_MATES)]
    out = []
    for k in range(n):
        name, cell, mate = items[k % len(items)]
        wedge, signal = rng.choice([20, 30, 45, 60, 90, 180, 360]), rng.choice([0.7, 1.0, 2.0, 4.0, 10.0, 30.0])
        mixed = float(rng.choice([0.0, 0.0, 0.1, 0.2])) if mate else 0.0
        out.append(Trial(name, cell, float(wedge), float(signal), mate, mixed, 1000 * seed + k))
    return out


def true_rotations(case: Case, name: str) -> set[tuple[int, ...]]:
    """Rotations of the crystal on the reduced basis, row by row."""
    back = case.to_reduced.T
    return {
        tuple(np.rint(np.linalg.inv(back) @ np.reshape(w, (3, 3)) @ back).astype(int).ravel().tolist())
        for w in turns_of(gemmi.SpaceGroup(name))
    }


def is_right(found: SymmetryFound, case: Case, name: str) -> bool:
    """Whether the rotations found are those of the truth, all on the reduced basis."""
    return {tuple(w.ravel().tolist()) for w in found.scores.groups[0].group.rotations} == true_rotations(case, name)


def extinctions(name: str) -> list[int]:
    """How many reflections of each order along any axis are extinguished, whatever the axes' names."""
    hkl = np.concatenate([np.arange(1, 13)[:, None] * np.eye(3, dtype=int)[i] for i in range(3)]).astype(np.int32)
    return sorted(np.asarray(space_group_of(name).operations().systematic_absences(hkl)).reshape(3, 12).sum(axis=1))
