"""Defects planted in our own pipeline are found by the gate, and the planted function is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_defects import PLANTED

from hdrmx.complexity.measuring import Plan
from hdrmx.complexity.stages import study_stage
from hdrmx.complexity.study import COUNTS, Study
from hdrmx.costs import COSTS, declared
from hdrmx.pipeline import STAGES

HERE = Path(__file__).parent
SIZES = {  # where the planted work is a small part of the stage
    "batches_quadratic": (32, 40, 52, 64, 80, 100, 128, 160),
    "batches_cubic": (64, 80, 96, 112, 136, 160, 184, 208),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("before"))


def study(defect: str, stage: str, driver: str, cache: str, before: str | None) -> Study:
    plan = Plan(SIZES.get(defect), measures=(COUNTS,), budget_s=20.0, driver=driver)
    return study_stage(stage, plan, before, cache)


@pytest.mark.slow
@pytest.mark.parametrize("defect", PLANTED)
def test_planted_and_found(defect: str, cache: str) -> None:
    stage, driver, guilty = PLANTED[defect]
    clean = study(defect, stage, driver, cache, None)
    assert clean.verdict == "within"
    assert not clean.guilty
    spoilt = study(defect, stage, driver, cache, f"{HERE / 'pipeline_defects.py'}:{defect}")
    assert spoilt.verdict == "exceeds"
    assert spoilt.guilty[0].function == guilty


def test_every_stage_declares_its_cost() -> None:
    assert {cost.stage for cost in COSTS} == {*STAGES, "export"}
    for stage in STAGES:
        assert declared(stage) is not None
    assert all(len(cost.sizes) >= 7 for cost in COSTS)
