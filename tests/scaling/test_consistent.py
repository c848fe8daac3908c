"""One choice of indices for several sweeps."""

from __future__ import annotations

import gemmi
import numpy as np
from scaling_case import Plan, plant

from hdrmx.scaling.consistent import choose_indexing, operators, reindexed

PLAN = Plan(space_group="P 41", cell=(60.0, 60.0, 80.0, 90.0, 90.0, 90.0), n_unique=800, multiplicity=1, degrees=20.0)
GROUP = gemmi.SpaceGroup("P 41")


def _sweep(seed: int, way: gemmi.Op) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = plant(PLAN, seed).sweep.observations
    hkl = reindexed(table[["h", "k", "l"]].to_numpy(np.int32), way)
    return hkl, table["prf_value"].to_numpy(), table["d"].to_numpy()


def test_ways_of_a_lattice() -> None:
    assert len(operators(PLAN.cell, GROUP)) == 2
    assert len(operators((50.0, 60.0, 70.0, 90.0, 90.0, 90.0), gemmi.SpaceGroup("P 21 21 21"))) == 1
    assert len(operators((78.0,) * 3 + (90.0,) * 3, gemmi.SpaceGroup("I 2 3"))) == 2
    assert len(operators((60.0, 60.0, 80.0, 90.0, 90.0, 120.0), gemmi.SpaceGroup("P 3"))) == 4


def test_sweeps_are_brought_together() -> None:
    ways = operators(PLAN.cell, GROUP)
    planted = [0, 1, 1, 0, 1, 0]
    sweeps = [_sweep(seed, ways[way]) for seed, way in enumerate(planted)]
    found = choose_indexing(*zip(*sweeps), ways, GROUP)
    chosen = np.array([c.operator != "x,y,z" for c in found]).astype(int)
    assert (chosen == planted).all() or (chosen == 1 - np.array(planted)).all()
    assert min(c.correlation for c in found) > 0.8
    assert max(c.second for c in found) < 0.5


def test_a_sweep_with_nothing_in_common_keeps_its_own() -> None:
    ways = operators(PLAN.cell, GROUP)
    one, two = _sweep(0, ways[0]), _sweep(1, ways[0])
    far = (one[0][:5], one[1][:5], one[2][:5])
    found = choose_indexing(*zip(one, far, two), ways, GROUP)
    assert found[1].operator == "x,y,z"
    assert np.isnan(found[1].correlation)
