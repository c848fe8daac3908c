"""hdrmx from Python: the commands as functions (`hdrmx.process`, `hdrmx.profile`, `hdrmx.simulate`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from hdrmx.io.open import open_source
from hdrmx.io.results import ResultWriter
from hdrmx.io.whole import prepare_folder
from hdrmx.params import Params
from hdrmx.pipeline import STAGES, Results, keep_nothing
from hdrmx.pipeline import process as run_pipeline
from hdrmx.record import Record


def process(
    data: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    params: Params | None = None,
    *,
    images: range | None = None,
    threads: int = 1,
    until: str = STAGES[-1],
    skip_bad_frames: bool = False,
    mask: np.ndarray | None = None,
) -> Results:
    """Process one scan or several together, as `hdrmx process` does.

    Parameters
    ----------
    data : NXmx or Eiger HDF5 file, or CBF as a file, template, glob or folder; or several of them
    output : folder for the results; None: nothing is written
    images : scan positions, from 0 (image number - 1); None: all
    until : last stage, one of `pipeline.STAGES`
    mask : (slow, fast) bool, True where a pixel may be used

    Raises
    ------
    InputError, BadFrame, IndexFailure : with the file, what is wrong and what to try
    """
    params = params or Params()
    names = [data] if isinstance(data, (str, Path)) else data
    with ExitStack() as stack:
        sources = [stack.enter_context(closing(open_source(name, images))) for name in names]
        keep = keep_nothing if output is None else ResultWriter(prepare_folder(output), sources, params)
        return run_pipeline(
            sources, params, threads=threads, skip_bad_frames=skip_bad_frames, mask=mask, until=until, keep=keep
        )


def profile(
    data: str | Path,
    output: str | Path,
    params: Params | None = None,
    *,
    images: range | None = None,
    threads: int = 1,
    until: str = STAGES[-1],
    skip_bad_frames: bool = False,
    sampling: bool = True,
) -> Record:
    """Process one scan, measured, as `hdrmx profile` does; record, samples and results go into the folder `output`.

    Parameters and errors as `process`. `report.terminal.render` draws the record as the command prints it.
    """
    from hdrmx.profiling import Options
    from hdrmx.profiling import profile as run_profile

    options = Options(images=images, threads=threads, skip_bad_frames=skip_bad_frames, sampling=sampling, until=until)
    return run_profile(data, output, params or Params(), options)
