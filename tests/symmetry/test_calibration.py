"""Point groups of simulated sets of all Laue classes: right as often as DIALS's, and sure only where they are right.

DIALS's answers on the same observations stand in `tests/reference/dials/symmetry.json`, made by
`tests/reference/make_symmetry_reference.py` with DIALS 3.12; a set that it was not run on is null there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from calibration_sets import N_TRIALS, Trial, extinctions, is_right, trials

from hdrmx.params import Symmetry
from hdrmx.stages.symmetry import symmetry

THEIRS = json.loads((Path(__file__).parents[1] / "reference" / "dials" / "symmetry.json").read_text())["sets"]


def told(trial: Trial) -> tuple[bool, float, bool, bool]:
    """Point group right, its probability, whether that and the screw axes are called sure, and are right."""
    case = trial.case()
    found = symmetry(case.table, case.crystal, case.scan, Symmetry())
    right = is_right(found, case, trial.name)
    groups = found.absences.candidates[0].space_groups if found.absences else ()
    return right, found.probability, found.is_sure, right and extinctions(trial.name) in map(extinctions, groups)


def check(chosen: list[int]) -> None:
    ours = [told(trials()[i]) for i in chosen]
    right = np.array([each[0] for each in ours])
    both = [place for place, i in enumerate(chosen) if THEIRS[i] is not None]
    assert len(both) > 0.7 * len(chosen)
    assert right[both].sum() >= sum(THEIRS[chosen[place]]["right"] for place in both)
    probability = np.array([each[1] for each in ours])
    assert right[probability > 0.8].all()
    # as often right as the probabilities say, or oftener, but for chance
    assert right.sum() > probability.sum() - 2 * np.sqrt((probability * (1 - probability)).sum())
    for _, _, is_sure, all_right in ours:
        assert all_right or not is_sure


def test_every_sixth_set() -> None:
    check(list(range(0, N_TRIALS, 6)))


@pytest.mark.slow
def test_all_sets() -> None:
    check(list(range(N_TRIALS)))
