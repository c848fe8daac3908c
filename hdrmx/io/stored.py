"""Results of an earlier run, read from its folder so that the pipeline can go on from there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from hdrmx.errors import InputError
from hdrmx.frames import FrameSource
from hdrmx.io.dials import read_refl
from hdrmx.io.dials_intensities import read_integrated, read_scaled
from hdrmx.io.dials_models import Experiment, read_expt
from hdrmx.io.results import FILES, SCHEMA, SUMMARY, SWEEP_FILES, sweep_folders
from hdrmx.params import Params
from hdrmx.pipeline import OF_EACH_SWEEP, STAGES, Results, SweepResults
from hdrmx.scaling.observations import Sweep as Dataset

_SETTINGS = {"integrate": ("predict", "integrate")}  # of the stages that have others than those of their own name
_AGAIN = "run `hdrmx process` without --from or --resume"


def first_to_run(folder: Path, sources: Sequence[FrameSource], params: Params) -> str | None:
    """The first stage whose results are absent from the folder or were made otherwise; None: all are there.

    Raises InputError when the folder holds the results of other data. A folder without a run gives the first stage.
    """
    if not (folder / SUMMARY).exists():
        return STAGES[0]
    told = _summary(folder, sources)
    settings, now = told.get("params", {}), json.loads(json.dumps(asdict(params)))
    for stage in STAGES:
        names = _SETTINGS.get(stage, (stage,))
        if stage not in told["stages"] or any(settings.get(name) != now.get(name) for name in names):
            return stage
    return None


def read_reached(folder: Path, sources: Sequence[FrameSource], begin: str) -> tuple[str, Results] | None:
    """What the stages before `begin` left in the folder, for `pipeline.process`; None where it is the first.

    Raises
    ------
    InputError : they haven't been run, or on other data; a file is absent or damaged

    Notes
    -----
    Pixels of spots are not read back: the profile model is then made from the table of spots alone.
    """
    if begin == STAGES[0]:
        return None
    stage = STAGES[STAGES.index(begin) - 1]
    told = _summary(folder, sources)
    if stage not in told["stages"]:
        had = ", ".join(told["stages"]) or "none"
        raise InputError(folder / SUMMARY, f"{stage} has not been run there (only {had})", f"begin with --from {had}")
    kept = STAGES[: STAGES.index(begin)]
    notes = {name: tuple(texts) for name, texts in told.get("notes_of", {}).items() if name in kept}
    folders = sweep_folders(folder, len(sources))
    if stage in OF_EACH_SWEEP:
        sweeps = tuple(_sweep(f, stage, source) for f, source in zip(folders, sources))
        return stage, Results(sweeps, notes=notes)
    sweeps = tuple(SweepResults(source.geometry, pd.DataFrame()) for source in sources)
    expt, refl = (folder / name for name in FILES[stage][:2])
    experiments = read_expt(expt)
    observations = None
    if stage == "symmetry":
        table = read_integrated(refl)
    else:
        table, observations = read_scaled(refl)
    datasets = tuple(_dataset(e, i, table, expt) for i, e in enumerate(experiments))
    if not datasets:
        raise InputError(expt, "holds no experiment", _AGAIN)
    sweep_of = tuple(_sweep_number(e, sources, expt) for e in experiments)
    group = datasets[0].crystal.space_group
    return stage, Results(sweeps, datasets, sweep_of, group, observations, notes=notes)


def _sweep(folder: Path, stage: str, source: FrameSource) -> SweepResults:
    expt, refl = (folder / name for name in SWEEP_FILES[stage][:2])
    experiments = read_expt(expt)
    if not experiments:
        raise InputError(expt, "holds no experiment", _AGAIN)
    crystals = tuple(e.crystal for e in experiments if e.crystal is not None)
    if stage == "integrate":
        table = read_integrated(refl)
    else:
        table = read_refl(refl).table
    geometry = source.geometry if stage == "find_spots" else experiments[0].geometry
    return SweepResults(geometry, table, crystals)


def _dataset(experiment: Experiment, number: int, table: pd.DataFrame, expt: Path) -> Dataset:
    if experiment.crystal is None:
        raise InputError(expt, f"experiment {number} has no crystal", _AGAIN)
    rows = table[table["lattice"] == number].reset_index(drop=True)
    return Dataset(rows, experiment.geometry, experiment.crystal)


def _sweep_number(experiment: Experiment, sources: Sequence[FrameSource], expt: Path) -> int:
    scan = experiment.geometry.scan
    for i, source in enumerate(sources):
        same = Path(experiment.template).name == Path(source.template).name
        if same and scan is not None and source.indices.start == scan.first:
            return i
    raise InputError(expt, f"{experiment.template} is none of the data sets given", "give the same data again")


def _summary(folder: Path, sources: Sequence[FrameSource]) -> dict[str, Any]:
    path = folder / SUMMARY
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        schema, stages = told["schema"], told["stages"]
        before = [(t["data"], t["images"]) for t in told.get("sweeps", [told])]
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "give the folder of an earlier run (-o)") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(path, f"is damaged ({error})", _AGAIN) from None
    if schema != SCHEMA or not isinstance(stages, list):
        raise InputError(path, f"its schema is {schema!r}, not {SCHEMA!r}", _AGAIN)
    now = [(source.name, [source.indices.start + 1, source.indices.stop]) for source in sources]
    for (old, images), (new, wanted) in zip(before, now):
        if Path(old).name != Path(new).name or images != wanted:
            what = f"holds the results of {old}, images {images[0]}-{images[1]}"
            raise InputError(folder, f"{what}, not of {new}, images {wanted[0]}-{wanted[1]}", "give another folder")
    if len(before) != len(now):
        raise InputError(folder, f"holds the results of {len(before)} sweeps, not {len(now)}", "give another folder")
    return dict(told)
