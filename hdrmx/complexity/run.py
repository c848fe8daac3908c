"""`hdrmx complexity` from Python: a target of any kind to a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hdrmx.complexity.command import study_command
from hdrmx.complexity.limits import blame_callers, hold_to_baseline, hold_to_limits
from hdrmx.complexity.measuring import Plan, study_function
from hdrmx.complexity.samples import FunctionTarget
from hdrmx.complexity.study import Study
from hdrmx.errors import InputError

PIPELINE, STAGE = "pipeline", "stage:"


def complexity(
    target: str,
    plan: Plan | None = None,
    *,
    before: str | None = None,
    python: str | None = None,
    limits: Mapping[str, float] | None = None,
    baseline: Mapping[str, Any] | None = None,
) -> Study:
    """Measure how the cost of a target grows, and judge it.

    Parameters
    ----------
    target : `pipeline`, `stage:NAME`, `file.py:function`, `module:function`, or a shell command with `{n}`
    plan : sizes, declared class, measures, budget
    before : a function (named as a target is) that is called in the measured process before all else
    python : interpreter for functions of another program's; this one, when not given
    limits : amounts per unit of the driver by counter, function, `memory` or `counts`
    baseline : JSON of an earlier study

    Raises
    ------
    InputError : the target can't be found or fails, or too few sizes fit into the budget
    """
    plan = plan or Plan()
    if "{n}" in target:
        study = study_command(target, plan)
    elif target == PIPELINE or target.startswith(STAGE):
        from hdrmx.complexity.stages import study_pipeline, study_stage

        if target == PIPELINE:
            study = study_pipeline(plan, before)
        else:
            study = study_stage(target.removeprefix(STAGE), plan, before)
    elif ":" in target:
        function = FunctionTarget(target, before)
        study = study_function(function if python is None else replace(function, python=python), plan)
    else:
        what = "is neither pipeline, stage:NAME, file.py:function, module:function nor a command with {n}"
        raise InputError(target, what, "see hdrmx complexity --help")
    study = blame_callers(study)
    if limits:
        study = hold_to_limits(study, limits)
    return study if baseline is None else hold_to_baseline(study, baseline)
