"""The stages in order: the first file to read.

Each stage is a pure function; `around` brackets it so that it can be watched from outside
(`hdrmx.observe`), and the results are the same whether anybody watches or not. `keep` is handed the
results after each stage, so that what was reached is safe when a later stage fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hdrmx.frames import FrameSource
from hdrmx.models import Geometry
from hdrmx.observe import Around, unobserved
from hdrmx.params import Params
from hdrmx.stages.find_spots import FoundSpots, find_spots

if TYPE_CHECKING:  # a stage's module is imported when the stage is reached: scipy and its like take a second
    from hdrmx.stages.index import Indexed
    from hdrmx.stages.refine import RefinedModel

STAGES = ("find_spots", "index", "refine")


@dataclass(frozen=True)
class Results:
    """What the pipeline made so far; a stage that was not reached is None.

    `notes` say in words why the pipeline ended before its last stage, and what the stages doubted.
    """

    geometry: Geometry
    found: FoundSpots
    indexed: Indexed | None = None
    refined: RefinedModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def spots(self) -> pd.DataFrame:
        """Columns `tables.SPOTS`."""
        return self.found.spots


Keep = Callable[[str, Results], None]


def keep_nothing(stage: str, results: Results) -> None:
    """The default of `process`."""


def process(
    source: FrameSource,
    params: Params,
    around: Around = unobserved,
    *,
    threads: int = 1,
    skip_bad_frames: bool = False,
    mask: np.ndarray | None = None,
    until: str = STAGES[-1],
    keep: Keep = keep_nothing,
) -> Results:
    """Process one scan.

    Parameters
    ----------
    source : frames and geometry
    params : settings of all stages
    around : bracket round every stage; `observe.unobserved` watches nothing
    threads : worker threads; the results don't depend on it
    skip_bad_frames : go on without frames that can't be decoded (they are listed in `found.bad_frames`)
    mask : (slow, fast) bool, pixels that may be used beside the source's own mask
    until : last stage, one of `STAGES`; stills end with find_spots, and a note says so
    keep : called after each stage with its name and the results so far

    Raises
    ------
    InputError, BadFrame, IndexFailure : with the file, what is wrong and what to try
    """
    usable = source.mask if mask is None else source.mask & mask
    with around("find_spots") as span:
        found = find_spots(
            source.frames(),
            usable,
            source.geometry,
            params.find_spots,
            threads=threads,
            skip_bad_frames=skip_bad_frames,
            around=around,
        )
        span.count(**found.counts)
        span.answer(spots=len(found.spots))
    results = Results(source.geometry, found)
    if source.geometry.scan is None or source.geometry.scan.is_still:
        results = replace(results, notes=("stills: the pipeline ends with their spots",))
        until = "find_spots"
    keep("find_spots", results)
    if until == "find_spots":
        return results

    from hdrmx.stages.index import index

    with around("index") as span:
        indexed = index(found.spots, source.geometry, params.index)
        span.count(**indexed.counts)
        span.answer(
            indexed=indexed.fraction,
            cells=[crystal.cell for crystal in indexed.crystals],
            rmsd_px_px_frames=(indexed.rmsd_fast_px, indexed.rmsd_slow_px, indexed.rmsd_frame),
        )
    results = replace(results, indexed=indexed, notes=results.notes + indexed.notes)
    keep("index", results)
    if until == "index":
        return results

    from hdrmx.stages.refine import refine

    with around("refine") as span:
        refined = refine(indexed.table, indexed.crystals, indexed.geometry, params.refine)
        span.count(**refined.counts)
        span.answer(
            cells=[crystal.cell for crystal in refined.crystals],
            rmsd_px_px_frames=(refined.rmsd_fast_px, refined.rmsd_slow_px, refined.rmsd_frame),
        )
    results = replace(results, refined=refined, notes=results.notes + refined.notes)
    keep("refine", results)
    return results
