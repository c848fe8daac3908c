"""The stages in order: the first file to read.

Each stage is a pure function; `around` brackets it so that it can be watched from outside
(`hdrmx.observe`), and the results are the same whether anybody watches or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hdrmx.frames import FrameSource
from hdrmx.models import Geometry
from hdrmx.observe import Around, unobserved
from hdrmx.params import Params
from hdrmx.stages.find_spots import FoundSpots, find_spots


@dataclass(frozen=True)
class Results:
    """What the pipeline made."""

    geometry: Geometry
    found: FoundSpots

    @property
    def spots(self) -> pd.DataFrame:
        """Columns `tables.SPOTS`."""
        return self.found.spots


def process(
    source: FrameSource,
    params: Params,
    around: Around = unobserved,
    *,
    threads: int = 1,
    skip_bad_frames: bool = False,
    mask: np.ndarray | None = None,
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

    Raises
    ------
    InputError, BadFrame : with the file, what is wrong and what to try
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
    return Results(source.geometry, found)
