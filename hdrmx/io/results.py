"""Writes what the pipeline made into a folder, stage by stage; each file appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdrmx import __version__
from hdrmx.errors import HdrmxError
from hdrmx.frames import FrameSource
from hdrmx.io.stage_files import INTEGRATED_FILES, MERGED_FILES, SCALED_FILES, SYMMETRY_FILES
from hdrmx.io.whole import prepare_folder, write_json, write_whole
from hdrmx.params import Params

if TYPE_CHECKING:  # the pipeline brings the kernels' compiler, which not every writer needs
    from hdrmx.indexing.bravais_table import BravaisRow
    from hdrmx.io.dials_models import Experiment
    from hdrmx.models import Crystal
    from hdrmx.pipeline import Results, SweepResults

# Files of each stage: of each sweep, then of all sweeps together. Those of the stages after it are out of date once a
# stage has been run again.
SWEEP_FILES = {
    "find_spots": ("imported.expt", "strong.refl"),
    "index": ("indexed.expt", "indexed.refl", "bravais.txt"),
    "refine": ("refined.expt", "refined.refl", "refined_drift.csv", "refined_rmsds.csv"),
    "integrate": ("integrated.expt", "integrated.refl"),
}
FILES: dict[str, tuple[str, ...]] = {
    "find_spots": (),
    "index": (),
    "refine": (),
    "integrate": INTEGRATED_FILES,
    "symmetry": ("symmetrized.expt", "symmetrized.refl", *SYMMETRY_FILES),
    "scale": ("scaled.expt", "scaled.refl", "unmerged.mtz", *SCALED_FILES),
    "merge": ("merged.mtz", *MERGED_FILES),
}
SUMMARY = "summary.json"
SCHEMA = "hdrmx-summary/1"


def sweep_folders(folder: Path, n_sweeps: int) -> list[Path]:
    """Where the files of each sweep are: the folder itself, or one below for each of several."""
    return [folder] if n_sweeps == 1 else [folder / f"sweep_{i + 1}" for i in range(n_sweeps)]


class ResultWriter:
    """A `pipeline.Keep`: writes the files of each stage into a folder as the stage ends.

    Models and tables are in the form that DIALS's programs open and can go on from. `summary.json` is renewed after
    each stage, and tells which have been reached: a stage counts only once it is named there. `files` lists what has
    been written. With `reached`, the stages up to this one are taken over from an earlier run in the same folder.
    """

    def __init__(
        self, folder: Path, sources: FrameSource | Sequence[FrameSource], params: Params, reached: str | None = None
    ) -> None:
        self.folder, self.params = folder, params
        self.sources = tuple(sources) if isinstance(sources, Sequence) else (sources,)
        self.folders = sweep_folders(folder, len(self.sources))
        self.files: list[Path] = []
        self._told: dict[str, Any] = {}
        self._reached: list[str] = []
        self._started = False
        if reached is not None:
            stages = list(SWEEP_FILES | FILES)
            self._reached = [s for s in FILES if stages.index(s) <= stages.index(reached)]
            self._told = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))

    def __call__(self, stage: str, results: Results) -> None:
        if not self._started:
            self._started = True
            self._remove_old()
        self.files += getattr(self, f"_{stage}")(results)
        self._reached.append(stage)
        self._told = summary(self.sources, results, self.params, tuple(self._reached), self._told)
        write_json(self.folder / SUMMARY, self._told)

    def stopped(self, error: BaseException) -> None:
        """Add to the summary, where there is one, why the run ended before its last stage; at worst in vain."""
        if not self._told:
            return
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        with contextlib.suppress(HdrmxError, OSError, ValueError):  # the error to tell of matters more
            stopped = {"after": self._reached[-1], "reason": reason}
            write_json(self.folder / SUMMARY, self._told | {"stopped": stopped})

    def _remove_old(self) -> None:
        """The summary first: without it nothing in the folder counts. Then the files of stages to come."""
        kept = {self.folder / name for stage in self._reached for name in FILES[stage]}
        kept |= {f / name for f in self.folders for stage in self._reached for name in SWEEP_FILES.get(stage, ())}
        if self._reached:  # what is taken over stays valid if this run dies before its first stage
            cut = {key: value for key, value in self._told.items() if key not in FILES or key in self._reached}
            self._told = cut | {"stages": list(self._reached)}
            self._told.pop("stopped", None)
            write_json(self.folder / SUMMARY, self._told)
        else:
            (self.folder / SUMMARY).unlink(missing_ok=True)
        old = [f / name for f in {self.folder, *self.folders} for names in SWEEP_FILES.values() for name in names]
        old += [self.folder / name for names in FILES.values() for name in names]
        for path in old:
            if path not in kept:
                path.unlink(missing_ok=True)

    def _each(self, results: Results) -> list[tuple[Path, FrameSource, SweepResults]]:
        return list(zip((prepare_folder(f) for f in self.folders), self.sources, results.sweeps, strict=True))

    def _find_spots(self, results: Results) -> list[Path]:
        from hdrmx.io.dials import write_refl
        from hdrmx.io.dials_models import write_expt

        written = []
        for folder, source, sweep in self._each(results):
            expt, refl = (folder / name for name in SWEEP_FILES["find_spots"])
            names = write_expt(expt, sweep.geometry, source.template, indices=source.indices)
            write_refl(refl, sweep.table, names, pixels=sweep.pixels)
            written += [expt, refl]
        return written

    def _index(self, results: Results) -> list[Path]:
        from hdrmx.indexing.bravais_table import format_table

        written = []
        for folder, source, sweep in self._each(results):
            expt, refl, bravais = (folder / name for name in SWEEP_FILES["index"])
            if sweep.stills is not None:
                written += _stills(expt, refl, source, sweep)
                continue
            written += _models_and_table(expt, refl, source, sweep)
            if sweep.indexed is not None and sweep.indexed.bravais:
                written.append(write_whole(bravais, (format_table(sweep.indexed.bravais) + "\n").encode()))
        return written

    def _refine(self, results: Results) -> list[Path]:
        written = []
        for folder, source, sweep in self._each(results):
            expt, refl, drift, rmsds = (folder / name for name in SWEEP_FILES["refine"])
            written += _models_and_table(expt, refl, source, sweep)
            if sweep.refined is not None:
                written.append(write_whole(drift, sweep.refined.drift.to_csv(index=False).encode()))
                written.append(write_whole(rmsds, sweep.refined.blocks.to_csv(index=False).encode()))
        return written

    def _integrate(self, results: Results) -> list[Path]:
        from hdrmx.io.dials_intensities import write_integrated
        from hdrmx.io.dials_models import Profile, write_expt
        from hdrmx.io.stage_files import write_frame_picture, write_integrated_tables

        written, done = [], []
        for folder, source, sweep in self._each(results):
            assert sweep.integrated is not None
            done.append(sweep.integrated)
            expt, refl = (folder / name for name in SWEEP_FILES["integrate"])
            model = sweep.integrated.profile
            profile = Profile(model.sigma_b_rad, (model.sigma_m_rad,), model.n_sigma)
            names = write_expt(expt, sweep.geometry, source.template, crystals=sweep.crystals, profile=profile)
            write_integrated(refl, sweep.table, names, sweep.geometry)
            written += [expt, refl]
        picture = write_frame_picture(self.folder, self.sources[0], done[0])
        return written + write_integrated_tables(self.folder, done) + picture

    def _symmetry(self, results: Results) -> list[Path]:
        from hdrmx.io.dials_intensities import Part, write_parts
        from hdrmx.io.dials_models import write_experiments
        from hdrmx.io.stage_files import write_symmetry

        expt, refl = (self.folder / name for name in FILES["symmetry"][:2])
        names = write_experiments(expt, self._experiments(results))
        write_parts(refl, [Part(d.observations, d.geometry) for d in results.datasets], names)
        return [expt, refl, *([] if results.symmetry is None else write_symmetry(self.folder, results.symmetry))]

    def _scale(self, results: Results) -> list[Path]:
        from hdrmx.io.dials_intensities import Part, write_parts
        from hdrmx.io.dials_models import write_experiments
        from hdrmx.io.mtz import write_unmerged
        from hdrmx.io.mtz_batches import Sweep
        from hdrmx.io.stage_files import write_scaled
        from hdrmx.stages.common_symmetry import mean_cell

        scaled, group = results.scaled, results.space_group
        assert scaled is not None
        assert group is not None
        expt, refl, mtz = (self.folder / name for name in FILES["scale"][:3])
        names = write_experiments(expt, self._experiments(results))
        of = [np.flatnonzero(scaled.observations["sweep"].to_numpy() == i) for i in range(len(results.datasets))]
        parts = [
            Part(d.observations, d.geometry, scaled.observations.iloc[rows], scaled.row[rows])
            for d, rows in zip(results.datasets, of)
        ]
        write_parts(refl, parts, names)
        sweeps = [Sweep(d.geometry, d.crystal) for d in results.datasets]
        write_unmerged(mtz, scaled.observations, sweeps, group, mean_cell([d.crystal for d in results.datasets]))
        return [expt, refl, mtz, *write_scaled(self.folder, scaled, results.datasets, group)]

    def _merge(self, results: Results) -> list[Path]:
        from hdrmx.io.mtz import write_merged
        from hdrmx.io.stage_files import write_merged_tables

        assert results.merged is not None
        mtz = self.folder / FILES["merge"][0]
        write_merged(mtz, results.merged, results.datasets[0].geometry.beam.wavelength_A)
        return [mtz, *write_merged_tables(self.folder, results.merged)]

    def _experiments(self, results: Results) -> list[Experiment]:
        from hdrmx.io.dials_models import Experiment

        templates = [self.sources[i].template for i in results.sweep_of]
        return [
            Experiment("", d.geometry, d.crystal, None, t) for d, t in zip(results.datasets, templates, strict=True)
        ]


def _stills(expt: Path, refl: Path, source: FrameSource, sweep: SweepResults) -> list[Path]:
    """One experiment a lattice, each with its own image."""
    from hdrmx.io.dials import write_refl
    from hdrmx.io.dials_models import Experiment, write_experiments, write_expt

    stills = sweep.stills
    assert stills is not None
    if stills.crystals:
        experiments = [
            Experiment("", sweep.geometry, crystal, None, source.template, image)
            for crystal, image in zip(stills.crystals, stills.image)
        ]
        names = write_experiments(expt, experiments)
    else:
        names = write_expt(expt, sweep.geometry, source.template, indices=source.indices)
    write_refl(refl, sweep.table, names, sweep.geometry, sweep.pixels)
    return [expt, refl]


def _models_and_table(expt: Path, refl: Path, source: FrameSource, sweep: SweepResults) -> list[Path]:
    from hdrmx.io.dials import write_refl
    from hdrmx.io.dials_models import write_expt

    names = write_expt(expt, sweep.geometry, source.template, crystals=sweep.crystals)
    write_refl(refl, sweep.table, names, sweep.geometry, sweep.pixels)
    return [expt, refl]


def summary(
    sources: Sequence[FrameSource],
    results: Results,
    params: Params,
    stages: tuple[str, ...],
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What a script wants to know of a run; lengths in A and px, angles in degrees.

    `find_spots` to `integrate` tell of the first sweep; where there are several, `sweeps` tells of each. What
    `earlier` tells of stages that this run didn't make itself is taken over.
    """
    source = sources[0]
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "hdrmx": __version__,
        "data": source.name,
        "shape": list(source.shape),
        "dtype": str(source.dtype),
        "images": [source.indices.start + 1, source.indices.stop],
        "stages": list(stages),
        "notes": list(
            dict.fromkeys([*(n for s in sources for n in s.geometry.notes), *chain(*results.notes.values())])
        ),
        "notes_of": {stage: list(notes) for stage, notes in results.notes.items()},
        "bad_frames": [{"image": index + 1, "reason": reason} for index, reason in results.bad_frames],
    }
    earlier = earlier or {}
    told |= {key: earlier[key] for key in FILES if key in earlier and key in stages}
    told |= _told_of(results.sweeps[0])
    if len(sources) > 1:
        before = earlier.get("sweeps", [{}] * len(sources))
        told["sweeps"] = [
            old | {"data": each.name, "images": [each.indices.start + 1, each.indices.stop]} | _told_of(sweep)
            for old, each, sweep in zip(before, sources, results.sweeps, strict=True)
        ]
    return told | _told_together(results) | {"params": asdict(params)}


def _told_of(sweep: SweepResults) -> dict[str, Any]:
    from hdrmx.pipeline import (  # not at the top: the command line writes no result without it
        decodes_per_frame,
        n_integrated,
    )

    told: dict[str, Any] = {}
    found, indexed, refined, integrated = sweep.found, sweep.indexed, sweep.refined, sweep.integrated
    if found is not None:
        told["find_spots"] = found.counts
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
    if sweep.stills is not None:
        stills = sweep.stills
        told["index"] = {
            "indexed": int((stills.table["lattice"] >= 0).sum()),
            "fraction": stills.fraction,
            "lattices": [_lattice(c) | {"image": i + 1} for c, i in zip(stills.crystals, stills.image)],
            "not_indexed": [{"image": i + 1, "reason": reason} for i, reason in stills.reasons],
            "rmsd_fast_px": None,
            "rmsd_slow_px": None,
            "rmsd_frame": None,
            "bravais": [],
            "counts": stills.counts,
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
    if integrated is not None:
        profile, table = integrated.profile, integrated.table
        told["integrate"] = {
            "integrated": n_integrated(table),
            "d_min": float(table["d"].min()),
            "sigma_b_deg": float(np.degrees(profile.sigma_b_rad)),
            "sigma_m_deg": float(np.degrees(profile.sigma_m_rad)),
            "counts": integrated.counts,
        }
        decodes = decodes_per_frame([sweep])
        if decodes is not None:
            told["integrate"]["decodes_per_frame"] = decodes
    return told


def _told_together(results: Results) -> dict[str, Any]:
    told: dict[str, Any] = {}
    found, scaled, merged = results.symmetry, results.scaled, results.merged
    if found is not None:
        told["symmetry"] = {
            "space_group": found.space_group,
            "cell": list(found.crystal.cell),
            "probability": found.probability,
            "is_sure": found.is_sure,
            "change": found.change.tolist(),
            "counts": found.counts,
        }
    if scaled is not None:
        told["scale"] = {
            "error_model": {"a": scaled.error_model.a, "b": scaled.error_model.b},
            "indexing": [choice.operator for choice in scaled.indexing],
            "counts": scaled.counts,
        }
    if merged is not None:
        told["merge"] = {
            "space_group": merged.space_group,
            "cell": list(merged.cell),
            "overall": merged.overall.to_dict("records")[0],
            "outer_shell": merged.shells.to_dict("records")[-1],
            "d_cc_half": merged.resolution.d_min,
            "wilson_b": merged.wilson.b_A2,
            "counts": merged.counts,
        }
    return told


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
