"""Writes what the pipeline made into a folder, stage by stage; each file appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdrmx import __version__
from hdrmx.errors import HdrmxError
from hdrmx.frames import FrameSource
from hdrmx.io.whole import write_json, write_whole
from hdrmx.params import Params

if TYPE_CHECKING:  # the pipeline brings the kernels' compiler, which not every writer needs
    from hdrmx.indexing.bravais_table import BravaisRow
    from hdrmx.models import Crystal
    from hdrmx.pipeline import Results

# Files of each stage. Those of the stages after it are out of date once a stage has been run again.
FILES = {
    "find_spots": ("imported.expt", "strong.refl"),
    "index": ("indexed.expt", "indexed.refl", "bravais.txt"),
    "refine": ("refined.expt", "refined.refl", "refined_drift.csv", "refined_rmsds.csv"),
}
SUMMARY = "summary.json"


class ResultWriter:
    """A `pipeline.Keep`: writes the files of each stage into a folder as the stage ends.

    Models and tables are in the form that DIALS's programs open and can go on from. `summary.json` is renewed after
    each stage, and tells which have been reached. `files` lists what has been written.
    """

    def __init__(self, folder: Path, source: FrameSource, params: Params) -> None:
        self.folder, self.source, self.params = folder, source, params
        self.files: list[Path] = []
        self._reached: list[str] = []

    def __call__(self, stage: str, results: Results) -> None:
        if not self._reached:
            self._remove_old()
        getattr(self, f"_{stage}")(*(self.folder / name for name in FILES[stage]), results)
        self._reached.append(stage)
        self.files += [self.folder / name for name in FILES[stage] if (self.folder / name).exists()]
        write_json(self.folder / SUMMARY, summary(self.source, results, self.params, tuple(self._reached)))

    def stopped(self, error: BaseException) -> None:
        """Add to the summary, where there is one, why the run ended before its last stage; at worst in vain."""
        if not self._reached:
            return
        path = self.folder / SUMMARY
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        with contextlib.suppress(HdrmxError, OSError, ValueError):  # the error to tell of matters more
            told = json.loads(path.read_text(encoding="utf-8"))
            write_json(path, told | {"stopped": {"after": self._reached[-1], "reason": reason}})

    def _remove_old(self) -> None:
        for name in (SUMMARY, *(name for names in FILES.values() for name in names)):
            (self.folder / name).unlink(missing_ok=True)

    def _find_spots(self, expt: Path, refl: Path, results: Results) -> None:
        from hdrmx.io.dials import write_refl
        from hdrmx.io.dials_models import write_expt

        names = write_expt(expt, results.geometry, self.source.template, indices=self.source.indices)
        write_refl(refl, results.spots, names, pixels=results.found.pixels)

    def _index(self, expt: Path, refl: Path, bravais: Path, results: Results) -> None:
        from hdrmx.indexing.bravais_table import format_table
        from hdrmx.io.dials import write_refl
        from hdrmx.io.dials_models import write_expt

        indexed = results.indexed
        assert indexed is not None
        names = write_expt(expt, indexed.geometry, self.source.template, crystals=indexed.crystals)
        write_refl(refl, indexed.table, names, indexed.geometry, results.found.pixels)
        if indexed.bravais:
            write_whole(bravais, (format_table(indexed.bravais) + "\n").encode())

    def _refine(self, expt: Path, refl: Path, drift: Path, rmsds: Path, results: Results) -> None:
        from hdrmx.io.dials import write_refl
        from hdrmx.io.dials_models import write_expt

        refined = results.refined
        assert refined is not None
        names = write_expt(expt, refined.geometry, self.source.template, crystals=refined.crystals)
        write_refl(refl, refined.reflections, names, refined.geometry, results.found.pixels)
        write_whole(drift, refined.drift.to_csv(index=False).encode())
        write_whole(rmsds, refined.blocks.to_csv(index=False).encode())


def summary(source: FrameSource, results: Results, params: Params, stages: tuple[str, ...]) -> dict[str, Any]:
    """What a script wants to know of a run; lengths in A and px, angles in degrees."""
    found, indexed, refined = results.found, results.indexed, results.refined
    told: dict[str, Any] = {
        "schema": "hdrmx-summary/1",
        "hdrmx": __version__,
        "data": source.name,
        "shape": list(source.shape),
        "dtype": str(source.dtype),
        "images": [source.indices.start + 1, source.indices.stop],
        "stages": list(stages),
        "notes": [*results.geometry.notes, *results.notes],
        "find_spots": found.counts,
        "bad_frames": [{"image": index + 1, "reason": reason} for index, reason in found.bad_frames],
    }
    if indexed is not None:
        told["index"] = {
            "indexed": int((indexed.table["lattice"] >= 0).sum()),
            "fraction": indexed.fraction,
            "lattices": [_lattice(c) for c in indexed.crystals],
            "rmsd_fast_px": indexed.rmsd_fast_px,
            "rmsd_slow_px": indexed.rmsd_slow_px,
            "rmsd_frame": indexed.rmsd_frame,
            "bravais": [_setting(row) for row in indexed.bravais],
            "counts": indexed.counts,
        }
    if refined is not None:
        told["refine"] = {
            "lattices": [_lattice(c) for c in refined.crystals],
            "rmsd_fast_px": refined.rmsd_fast_px,
            "rmsd_slow_px": refined.rmsd_slow_px,
            "rmsd_frame": refined.rmsd_frame,
            "parameters": refined.parameters.to_dict("records"),
            "counts": refined.counts,
        }
    return told | {"params": asdict(params)}


def _lattice(crystal: Crystal) -> dict[str, Any]:
    return {"cell": list(crystal.cell), "cell_sd": crystal.cell_sd, "space_group": crystal.space_group}


def _setting(row: BravaisRow) -> dict[str, Any]:
    from hdrmx.indexing.bravais_table import change_text

    return {
        "number": row.number,
        "lattice": row.setting.bravais,
        "metric_fit_deg": row.setting.misfit_deg,
        "space_group": row.crystal.space_group,
        "cell": list(row.crystal.cell),
        "rmsd_px": row.rmsd_px,
        "min_cc": row.min_cc,
        "max_cc": row.max_cc,
        "spots": row.n_spots,
        "change": change_text(row.change),
        "recommended": row.recommended,
        "best": row.best,
    }
