"""The stages in order: the first file to read.

Each stage is a pure function; `around` brackets it so that it can be watched from outside
(`hdrmx.observe`), and the results are the same whether anybody watches or not. `keep` is handed the
results after each stage, so that what was reached is safe when a later stage fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hdrmx.errors import InputError
from hdrmx.frames import FrameSource
from hdrmx.models import Crystal, Geometry
from hdrmx.observe import Around, Span, unobserved
from hdrmx.params import Params

if TYPE_CHECKING:  # a stage's module is imported when the stage is reached: scipy and its like take a second
    from hdrmx.scaling.observations import Sweep as Dataset
    from hdrmx.stages.find_spots import FoundSpots
    from hdrmx.stages.index import Indexed
    from hdrmx.stages.index_stills import IndexedStills
    from hdrmx.stages.integrate import Integrated
    from hdrmx.stages.merge import Merged
    from hdrmx.stages.predict import Predictions
    from hdrmx.stages.refine import RefinedModel
    from hdrmx.stages.scale import Scaled
    from hdrmx.stages.symmetry import SymmetryFound

STAGES = ("find_spots", "index", "refine", "integrate", "symmetry", "scale", "merge")
OF_EACH_SWEEP = STAGES[:4]  # the others take all sweeps together


@dataclass(frozen=True)
class SweepResults:
    """One scan on its way through the stages.

    `geometry`, `crystals` and `table` (columns `tables.SPOTS`, `INDEXED`, `REFINED` or `INTEGRATED`) are those of the
    last stage reached, and all that the next one needs. The rest is what the stages of this run gave; of a stage that
    was not reached, or whose results were read from files, it is None.
    """

    geometry: Geometry
    table: pd.DataFrame
    crystals: tuple[Crystal, ...] = ()
    pixels: pd.DataFrame | None = None  # of the spots, where they were kept
    found: FoundSpots | None = None
    indexed: Indexed | None = None
    stills: IndexedStills | None = None
    refined: RefinedModel | None = None
    predicted: Predictions | None = None
    integrated: Integrated | None = None


@dataclass(frozen=True)
class Results:
    """What the pipeline made so far; a stage that was not reached is None.

    Attributes
    ----------
    sweeps : one for each scan, in the order given
    datasets : from symmetry on: each lattice of each sweep with its intensities, in one setting
    sweep_of : number of the sweep of each data set
    space_group : of the datasets
    observations : columns `tables.SCALED`, from scaling on
    symmetry, scaled, merged : what the stages gave
    notes : what the stages doubted, in words, by stage
    """

    sweeps: tuple[SweepResults, ...]
    datasets: tuple[Dataset, ...] = ()
    sweep_of: tuple[int, ...] = ()
    space_group: str | None = None
    observations: pd.DataFrame | None = None
    symmetry: SymmetryFound | None = None
    scaled: Scaled | None = None
    merged: Merged | None = None
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def spots(self) -> pd.DataFrame:
        """Columns `tables.SPOTS` at least, of all sweeps."""
        return pd.concat([s.found.spots for s in self.sweeps if s.found is not None], ignore_index=True)

    @property
    def bad_frames(self) -> tuple[tuple[int, str], ...]:
        """(index, reason) of frames left out by any stage."""
        stages = [stage for s in self.sweeps for stage in (s.found, s.integrated) if stage is not None]
        return tuple(dict.fromkeys(bad for stage in stages for bad in stage.bad_frames))


def nothing_yet(sources: Sequence[FrameSource]) -> Results:
    """Results before the first stage."""
    return Results(tuple(SweepResults(source.geometry, pd.DataFrame()) for source in sources))


def noted(results: Results, stage: str, notes: tuple[str, ...]) -> Results:
    """The same with what a stage doubted."""
    return replace(results, notes={**results.notes, stage: notes}) if notes else results


Keep = Callable[[str, Results], None]


def keep_nothing(stage: str, results: Results) -> None:
    """The default of `process`."""


def process(
    sources: FrameSource | Sequence[FrameSource],
    params: Params,
    around: Around = unobserved,
    *,
    threads: int = 1,
    skip_bad_frames: bool = False,
    mask: np.ndarray | None = None,
    until: str = STAGES[-1],
    reached: tuple[str, Results] | None = None,
    keep: Keep = keep_nothing,
) -> Results:
    """Process one scan, or several of the same crystal form, down to merged intensities.

    Parameters
    ----------
    sources : frames and geometry, one for each scan
    params : settings of all stages
    around : bracket round every stage; `observe.unobserved` watches nothing
    threads : worker threads; the results don't depend on it
    skip_bad_frames : go on without frames that can't be decoded (they are listed in `Results.bad_frames`)
    mask : (slow, fast) bool, pixels that may be used beside the sources' own masks
    until : last stage, one of `STAGES`; stills end with index at the latest, and a note says so
    reached : the last stage whose results there are already, and these; the run begins after it
    keep : called after each stage with its name and the results so far

    Raises
    ------
    InputError, BadFrame, IndexFailure : with the file, what is wrong and what to try
    """
    several = tuple(sources) if isinstance(sources, Sequence) else (sources,)
    run = _Run(several, params, around, threads, skip_bad_frames, mask)
    first = 0 if reached is None else STAGES.index(reached[0]) + 1
    results = nothing_yet(several) if reached is None else reached[1]
    if any(_is_still(s.geometry) for s in results.sweeps):
        until, note = _last_of_stills(results, until, params)
        results = noted(results, "find_spots", (note,))
    for stage in STAGES[first : STAGES.index(until) + 1]:
        with around(stage) as span:
            results = getattr(run, stage)(results, span)
        keep(stage, results)
    return results


@dataclass(frozen=True)
class _Run:
    """The stages, each from results to results."""

    sources: tuple[FrameSource, ...]
    params: Params
    around: Around
    threads: int
    skip_bad_frames: bool
    mask: np.ndarray | None

    def _usable(self, source: FrameSource) -> np.ndarray:
        if self.mask is None:
            return source.mask
        if self.mask.shape != source.shape:
            raise InputError("mask", f"has {self.mask.shape} px, {source.name} {source.shape}", "give one that fits")
        return source.mask & self.mask

    def find_spots(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.find_spots import find_spots

        done = []
        for sweep, source in zip(results.sweeps, self.sources):
            found = find_spots(
                source.frames(),
                self._usable(source),
                sweep.geometry,
                self.params.find_spots,
                threads=self.threads,
                skip_bad_frames=self.skip_bad_frames,
                around=self.around,
            )
            span.count(**found.counts)
            done.append(replace(sweep, table=found.spots, pixels=found.pixels, found=found))
        span.answer(spots=sum(len(sweep.table) for sweep in done))
        return replace(results, sweeps=tuple(done))

    def index(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.index import index, index_sweeps

        if any(_is_still(sweep.geometry) for sweep in results.sweeps):
            return self._index_stills(results, span)
        if self.params.index.joint and len(results.sweeps) > 1:
            together = index_sweeps([(s.table, s.geometry) for s in results.sweeps], self.params.index)
            each, notes = together.by_sweep(), together.notes
            span.count(**together.counts)
        else:
            each = tuple(index(s.table, s.geometry, self.params.index) for s in results.sweeps)
            notes = tuple(note for found in each for note in found.notes)
            for found in each:
                span.count(**found.counts)
        done = []
        for sweep, found in zip(results.sweeps, each):
            span.answer(
                indexed=found.fraction,
                cells=[crystal.cell for crystal in found.crystals],
                rmsd_px_px_frames=(found.rmsd_fast_px, found.rmsd_slow_px, found.rmsd_frame),
            )
            new = replace(sweep, geometry=found.geometry, table=found.table, crystals=found.crystals)
            done.append(replace(new, indexed=found))
        return noted(replace(results, sweeps=tuple(done)), "index", notes)

    def _index_stills(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.index_stills import index_stills

        done = []
        notes: tuple[str, ...] = ()
        for sweep in results.sweeps:
            found = index_stills(sweep.table, sweep.geometry, self.params.index)
            span.count(**found.counts)
            span.answer(indexed=found.fraction, cells=[crystal.cell for crystal in found.crystals])
            notes += found.notes
            done.append(replace(sweep, table=found.table, crystals=found.crystals, stills=found))
        return noted(replace(results, sweeps=tuple(done)), "index", notes)

    def refine(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.refine import refine
        from hdrmx.stages.refine_sweeps import refine_sweeps

        if self.params.index.joint and len(results.sweeps) > 1:
            sweeps = [(s.table, s.geometry) for s in results.sweeps]
            each = refine_sweeps(sweeps, results.sweeps[0].crystals, self.params.refine)
        else:
            each = tuple(refine(s.table, s.crystals, s.geometry, self.params.refine) for s in results.sweeps)
        done = []
        for sweep, found in zip(results.sweeps, each):
            span.count(**found.counts)
            span.answer(
                cells=[crystal.cell for crystal in found.crystals],
                rmsd_px_px_frames=(found.rmsd_fast_px, found.rmsd_slow_px, found.rmsd_frame),
            )
            new = replace(sweep, geometry=found.geometry, table=found.reflections, crystals=found.crystals)
            done.append(replace(new, refined=found))
        notes = tuple(dict.fromkeys(note for found in each for note in found.notes))
        return noted(replace(results, sweeps=tuple(done)), "refine", notes)

    def integrate(self, results: Results, span: Span) -> Results:
        from hdrmx.integration.profile_model import fit_profile_model
        from hdrmx.stages.integrate import integrate
        from hdrmx.stages.predict import predict

        done = []
        for sweep, source in zip(results.sweeps, self.sources):
            with self.around("profile_model") as inner:
                profile = fit_profile_model(sweep.table, sweep.geometry, self.params.predict.n_sigma, sweep.pixels)
                inner.count(spots=profile.n_spots)
            with self.around("predict") as inner:
                predicted = predict(sweep.crystals, sweep.geometry, profile, self.params.predict)
                inner.count(**predicted.counts)
            integrated = integrate(
                predicted.table,
                source.frames(),
                self._usable(source),
                sweep.geometry,
                profile,
                self.params.integrate,
                threads=self.threads,
                skip_bad_frames=self.skip_bad_frames,
                around=self.around,
            )
            span.count(**integrated.counts)
            span.answer(
                sigma_b_deg=float(np.degrees(profile.sigma_b_rad)), sigma_m_deg=float(np.degrees(profile.sigma_m_rad))
            )
            done.append(replace(sweep, table=integrated.table, predicted=predicted, integrated=integrated))
        span.answer(integrated=sum(n_integrated(sweep.table) for sweep in done), **_decodes(done))
        return replace(results, sweeps=tuple(done))

    def symmetry(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.common_symmetry import common_symmetry

        all_sets, sweep_of, lattice_of = _datasets(results.sweeps)
        crystal_of = lattice_of if self.params.index.joint else range(len(all_sets))
        found, brought = common_symmetry(all_sets, crystal_of, self.params.symmetry)
        span.count(**found.counts)
        span.answer(space_group=found.space_group, probability=found.probability, is_sure=found.is_sure)
        new = replace(
            results,
            datasets=tuple(brought.values()),
            sweep_of=tuple(sweep_of[number] for number in brought),
            space_group=found.space_group,
            symmetry=found,
        )
        return noted(new, "symmetry", found.notes)

    def scale(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.common_symmetry import chosen
        from hdrmx.stages.scale import scale

        assert results.space_group is not None
        scaled = scale(results.datasets, results.space_group, self.params.scale)
        datasets = results.datasets
        if scaled.indexing:
            datasets = tuple(chosen(*pair) for pair in zip(datasets, scaled.indexing, strict=True))
        span.count(**scaled.counts)
        span.answer(error_model=(scaled.error_model.a, scaled.error_model.b))
        new = replace(results, datasets=datasets, observations=scaled.observations, scaled=scaled)
        return noted(new, "scale", scaled.notes)

    def merge(self, results: Results, span: Span) -> Results:
        from hdrmx.stages.common_symmetry import mean_cell
        from hdrmx.stages.merge import merge

        assert results.observations is not None
        assert results.space_group is not None
        cell = mean_cell([dataset.crystal for dataset in results.datasets])
        merged = merge(results.observations, results.space_group, cell, self.params.merge)
        span.count(**merged.counts)
        whole = merged.overall.iloc[0]
        names = ("n_unique", "completeness", "multiplicity", "r_meas", "r_pim", "cc_half", "i_over_sigma")
        span.answer(**{name: whole[name].item() for name in names}, d_cc_half=merged.resolution.d_min)
        return noted(replace(results, merged=merged), "merge", merged.notes)


def _is_still(geometry: Geometry) -> bool:
    return geometry.scan is None or geometry.scan.is_still


def _last_of_stills(results: Results, until: str, params: Params) -> tuple[str, str]:
    """Where the pipeline ends for stills, and why."""
    n = sum(1 if s.geometry.scan is None else s.geometry.scan.n_frames for s in results.sweeps)
    if until == STAGES[0] or (n > params.index.max_stills and params.index.cell is None):
        remedy = "" if until == STAGES[0] else "; give the cell (--cell) to index each of them"
        return STAGES[0], f"stills: the pipeline ends with their spots{remedy}"
    return STAGES[1], "stills: each is indexed on its own, and the pipeline ends there"


def decodes_per_frame(sweeps: Sequence[SweepResults]) -> float | None:
    """How often the pipeline has decoded each frame; None where a stage that decodes was not part of this run."""
    counts = [stage.counts for s in sweeps for stage in (s.found, s.integrated) if stage is not None]
    frames = sum(s.found.counts["frames"] for s in sweeps if s.found is not None)
    if len(counts) < 2 * len(sweeps) or not frames:
        return None
    return sum(c["decodes"] for c in counts) / frames


def _decodes(sweeps: Sequence[SweepResults]) -> dict[str, float]:
    value = decodes_per_frame(sweeps)
    return {} if value is None else {"decodes_per_frame": value}


def n_integrated(table: pd.DataFrame) -> int:
    """Reflections of `tables.INTEGRATED` with an intensity of either kind."""
    return int((table["sum_value"].notna() | table["prf_value"].notna()).sum())


def _datasets(sweeps: Sequence[SweepResults]) -> tuple[list[Dataset], list[int], list[int]]:
    """Each lattice of each sweep apart, the number of its sweep, and that of the lattice."""
    from hdrmx.scaling.observations import Sweep as Dataset

    datasets, sweep_of, lattice_of = [], [], []
    for i, sweep in enumerate(sweeps):
        lattice = sweep.table["lattice"].to_numpy()
        for number, crystal in enumerate(sweep.crystals):
            table = sweep.table if len(sweep.crystals) == 1 else sweep.table[lattice == number]
            datasets.append(Dataset(table.reset_index(drop=True), sweep.geometry, crystal))
            sweep_of.append(i)
            lattice_of.append(number)
    return datasets, sweep_of, lattice_of
