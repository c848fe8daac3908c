"""What a folder of results holds, read for its page: nothing that isn't stored there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.indexing.reciprocal import map_spots
from hdrmx.io.dials import read_refl
from hdrmx.io.dials_models import read_expt
from hdrmx.io.results import SCHEMA, SUMMARY, sweep_folders
from hdrmx.models import Crystal, Geometry
from hdrmx.report.stage_results import Later, read, read_csv, read_later

Floats = npt.NDArray[np.float64]
# last stage first: the table and the models that a later stage has written hold all of an earlier one's
_TABLES = {
    "refine": ("refined.refl", "refined.expt"),
    "index": ("indexed.refl", "indexed.expt"),
    "find_spots": ("strong.refl", "imported.expt"),
}


@dataclass(frozen=True)
class Processed:
    """A run, as far as it came; of several sweeps, spots and models are those of the first.

    Attributes
    ----------
    told : `summary.json`
    spots : columns `tables.REFINED`, `INDEXED` or `SPOTS`, with `lattice` in any case (-1: not indexed)
    r : (n, 3) 1/A, the spots in reciprocal space, all goniometer angles zero
    drift, blocks : `refinement.summary.drift` and `block_rmsds`; None where refinement was not reached
    frames : from the first to the last
    later : what the stages after refinement found
    """

    told: dict[str, Any]
    spots: pd.DataFrame
    r: Floats
    geometry: Geometry
    crystals: tuple[Crystal, ...]
    drift: pd.DataFrame | None
    blocks: pd.DataFrame | None
    frames: range
    later: Later = field(default_factory=Later)

    @property
    def is_indexed(self) -> npt.NDArray[np.bool_]:
        return (self.spots["lattice"] >= 0).to_numpy()

    @property
    def is_still(self) -> bool:
        scan = self.geometry.scan
        return scan is None or scan.is_still

    @property
    def stages(self) -> list[str]:
        return list(self.told.get("stages", []))


def read_processed(folder: str | Path) -> Processed:
    """Read the results that `hdrmx process` wrote.

    Raises
    ------
    InputError : there is no `summary.json`, or a file that it speaks of is absent or damaged
    """
    folder = Path(folder)
    told = _summary(folder / SUMMARY)
    first_sweep = sweep_folders(folder, len(told.get("sweeps", [0])))[0]
    reached = [stage for stage in _TABLES if stage in told["stages"]]
    if not reached:
        raise InputError(folder / SUMMARY, "tells of no stage whose files could be shown", "run `hdrmx process` again")
    refl, expt = (first_sweep / name for name in _TABLES[reached[0]])
    spots = read_refl(refl).table
    if "lattice" not in spots:
        spots = spots.assign(lattice=np.full(len(spots), -1, np.int32))
    experiments = read_expt(expt)
    if not experiments:
        raise InputError(expt, "holds no experiment", "run `hdrmx process` again")
    geometry = experiments[0].geometry
    first, last = told["images"]
    refined = "refine" in reached
    return Processed(
        told=told,
        spots=spots,
        r=map_spots(spots, geometry).r,
        geometry=geometry,
        crystals=tuple(e.crystal for e in experiments if e.crystal is not None),
        drift=read_csv(first_sweep / "refined_drift.csv") if refined else None,
        blocks=read_csv(first_sweep / "refined_rmsds.csv") if refined else None,
        frames=range(first - 1, last),
        later=read_later(folder, told["stages"]),
    )


def _summary(path: Path) -> dict[str, Any]:
    told = read(path, lambda p: json.loads(p.read_text(encoding="utf-8")))
    schema = told.get("schema") if isinstance(told, dict) else None
    if schema != SCHEMA:
        raise InputError(path, f"its schema is {schema!r}, not '{SCHEMA}'", "draw it with the hdrmx that wrote it")
    absent = [key for key in ("stages", "images", "data", "shape", "find_spots") if key not in told]
    if absent:
        raise InputError(path, f"lacks {', '.join(absent)}", "run `hdrmx process` again")
    return dict(told)
