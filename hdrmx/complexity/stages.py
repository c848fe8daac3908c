"""The pipeline and its stages as targets, and the gate that holds every stage to what it declares."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hdrmx
from hdrmx.complexity.growth import LINEAR, parse_growth
from hdrmx.complexity.measuring import Plan, study_function
from hdrmx.complexity.samples import FunctionTarget
from hdrmx.complexity.study import COUNTS, MEASURES, TIME, Study
from hdrmx.costs import COSTS, Cost, declared
from hdrmx.errors import InputError
from hdrmx.pipeline import STAGES

_TARGET = "hdrmx.complexity.stage_target:run"
_VARIABLE = "HDRMX_COMPLEXITY_STAGE"
_SETUP_S = 1200.0  # all stages before the one measured, at each size
_MEASURES = (COUNTS, TIME)  # others when asked for: tracing memory makes a stage several times slower
_SIZES = (30, 42, 60, 85, 120, 170, 225, 300)
_STAGE_SIZES = {"sweeps": (2, 3, 4, 6, 8, 11, 16, 22)}


def study_stage(stage: str, plan: Plan, before: str | None = None, cache: str | None = None) -> Study:
    """One stage over one driver.

    Raises
    ------
    InputError : an unknown stage or driver, or a data set that is too small
    """
    known = (*STAGES, "export")
    if stage not in known:
        raise InputError(f"stage:{stage}", "is no stage", f"choose among {', '.join(known)}")
    cost = declared(stage, plan.driver) or declared(stage)
    assert cost is not None
    driver = plan.driver or cost.driver
    sizes = plan.sizes or (cost.sizes if driver == cost.driver else _STAGE_SIZES.get(driver, _SIZES))
    growth = plan.declared or (parse_growth(cost.growth) if driver == cost.driver else LINEAR)
    with _cache(cache) as folder:
        return _study(stage, driver, replace(plan, sizes=sizes, declared=growth), before, folder)


def study_pipeline(plan: Plan, before: str | None = None) -> Study:
    """The whole pipeline over frames; with `plan.gate`, every stage over each of its drivers."""
    if not plan.gate:
        sizes = plan.sizes or _SIZES
        return _study("pipeline", plan.driver or "frames", replace(plan, sizes=sizes), before, "")
    share = plan.budget_s / len(COSTS)
    with _cache(None) as folder:
        parts = {_name(c): _held_to(c, _plan_of(c, plan, share), before, folder) for c in COSTS}
    return Study("pipeline", "each stage's own", (), LINEAR, {}, parts=parts)


def _held_to(cost: Cost, plan: Plan, before: str | None, folder: str) -> Study:
    """One stage; where it can't be run, a study that says why, so that the others are still held."""
    try:
        return study_stage(cost.stage, plan, before, folder)
    except InputError as error:
        return Study(f"stage:{cost.stage}", cost.driver, (), parse_growth(cost.growth), {}, notes=(str(error),))


@contextlib.contextmanager
def _cache(folder: str | None) -> Iterator[str]:
    """A folder for what comes before the stages: the one given, or one for this study alone."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hdrmx-complexity-") as made:
        yield made


def _plan_of(cost: Cost, plan: Plan, budget_s: float) -> Plan:
    return replace(plan, driver=cost.driver, sizes=cost.sizes, declared=None, budget_s=budget_s, gate=False)


def _name(cost: Cost) -> str:
    return f"{cost.stage}/{cost.driver}"


def _study(stage: str, driver: str, plan: Plan, before: str | None, cache: str) -> Study:
    asked = {"stage": stage, "driver": driver, "data": _data(plan), "cache": cache}
    target = FunctionTarget(_TARGET, before, environment={_VARIABLE: json.dumps(asked)})
    measures = plan.measures
    if measures == MEASURES:
        measures = _MEASURES
    label = "pipeline" if stage == "pipeline" else f"stage:{stage}"
    home = Path(hdrmx.__file__).parent
    return study_function(
        target, replace(plan, driver=driver, measures=measures, label=label, home=home, setup_s=_SETUP_S)
    )


def _data(plan: Plan) -> str:
    if plan.data is not None:
        path: Any = Path(plan.data).resolve()
        return str(path)
    from hdrmx.cli.demo import demo_data

    return str(demo_data(lambda text: print(text, file=sys.stderr)))
