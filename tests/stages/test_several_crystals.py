"""Sweeps of one crystal and of many, each on a basis of its own: one symmetry, one choice of indices, one scale."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "symmetry"))
from calibration_sets import CASES
from rotation_case import Cell, as_sweep, measured

from hdrmx.merging.asu import space_group_of
from hdrmx.models import cell_of
from hdrmx.params import Merge, Scale, Symmetry
from hdrmx.scaling.observations import Sweep
from hdrmx.stages.common_symmetry import common_symmetry
from hdrmx.stages.merge import Merged, merge
from hdrmx.stages.scale import scale

AMBIGUOUS: list[tuple[str, Cell]] = [
    ("P 31", CASES["P 31"]),
    ("P 41", CASES["P 41"]),
    ("I 2 3", CASES["I 2 3"]),
    ("C 1 2 1", (70, 70.1, 50, 90, 90, 90)),
    ("P 21 21 21", (50, 50, 60, 90, 90, 90)),
    ("P 1", (40, 50, 60, 90, 90, 90)),
]


def crystals(name: str, cell: Cell, n: int = 5, wedge_deg: float = 40.0, signal: float = 10.0) -> list[Sweep]:
    """Each in a random orientation, indexed on any of the lattice's bases, with cells that differ by 0.1 %."""
    rng = np.random.default_rng(1)
    sweeps = []
    for i in range(n):
        stretch = np.exp(0.001 * rng.standard_normal())
        own = (cell[0] * stretch, cell[1] * stretch, cell[2] * stretch, *cell[3:])
        case = measured(name, own, wedge_deg=wedge_deg, signal=signal, d_min=3.8, seed=i, crystal_seed=3)
        sweeps.append(as_sweep(case, turned=True, seed=i, factor=float(rng.uniform(0.3, 3))))
    return sweeps


def processed(sweeps: list[Sweep], lattice_of: list[int]) -> tuple[str, int, Merged]:
    found, brought = common_symmetry(sweeps, lattice_of, Symmetry())
    scaled = scale(list(brought.values()), found.space_group, Scale(absorption="off"))
    merged = merge(scaled.observations, found.space_group, found.crystal.cell, Merge(shells=5))
    return found.space_group, len(brought), merged


@pytest.mark.parametrize(("name", "cell"), AMBIGUOUS, ids=[name for name, _ in AMBIGUOUS])
def test_crystals_of_an_ambiguous_lattice(name: str, cell: Cell) -> None:
    found, n, merged = processed(crystals(name, cell), list(range(5)))
    assert space_group_of(found).point_group_hm() == space_group_of(name).point_group_hm()
    assert n == 5
    # errors are a tenth of a mean intensity; a wrong choice of indices has an Rmeas of 0.5 or so
    assert merged.overall["r_meas"].iloc[0] < 0.18
    assert merged.overall["cc_half"].iloc[0] > 0.97


def test_sweeps_of_one_crystal_are_looked_at_together() -> None:
    case = measured("P 41", CASES["P 41"], wedge_deg=80, d_min=3.8, signal=10.0)
    whole = as_sweep(case)
    frame = whole.observations["frame"].to_numpy()
    halves = [frame < 60, frame >= 100]
    sweeps = [dataclasses.replace(whole, observations=whole.observations[half]) for half in halves]
    found, n, merged = processed(sweeps, [0, 0])
    assert (found, n) == ("P 41", 2)
    assert merged.overall["r_meas"].iloc[0] < 0.18


def test_a_crystal_of_another_lattice_is_left_out() -> None:
    sweeps = crystals("P 41", CASES["P 41"], n=3)
    other = as_sweep(measured("P 1", (40, 50, 60, 80, 85, 95), wedge_deg=20, d_min=3.8))
    found, brought = common_symmetry([*sweeps, other], [0, 1, 2, 3], Symmetry())
    assert sorted(brought) == [0, 1, 2]
    assert any("sweep 4" in note for note in found.notes)
    assert cell_of(found.crystal.A)[0] == pytest.approx(50, rel=0.005)
