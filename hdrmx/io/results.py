"""Writes what the pipeline made into a folder; each file appears whole or not at all."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdrmx import __version__
from hdrmx.frames import FrameSource
from hdrmx.io.whole import write_json
from hdrmx.params import Params

if TYPE_CHECKING:  # the pipeline brings the kernels' compiler, which not every writer needs
    from hdrmx.pipeline import Results


def write_results(folder: Path, source: FrameSource, results: Results, params: Params) -> list[Path]:
    """Write spots and geometry as DIALS's programs read them, and a summary for scripts.

    Returns
    -------
    The files: `imported.expt`, `strong.refl`, `summary.json`. The summary comes last, so that
    a folder that has it has everything.
    """
    from hdrmx.io.dials import write_refl
    from hdrmx.io.dials_models import write_expt

    expt, refl, summary = folder / "imported.expt", folder / "strong.refl", folder / "summary.json"
    summary.unlink(missing_ok=True)
    names = write_expt(expt, results.geometry, source.template, indices=source.indices)
    write_refl(refl, results.spots, names)
    write_json(summary, _summary(source, results, params))
    return [expt, refl, summary]


def _summary(source: FrameSource, results: Results, params: Params) -> dict[str, Any]:
    found = results.found
    return {
        "schema": "hdrmx-summary/1",
        "hdrmx": __version__,
        "data": source.name,
        "shape": list(source.shape),
        "dtype": str(source.dtype),
        "images": [source.indices.start + 1, source.indices.stop],
        "notes": list(results.geometry.notes),
        "find_spots": found.counts,
        "bad_frames": [{"image": index + 1, "reason": reason} for index, reason in found.bad_frames],
        "params": asdict(params),
    }
