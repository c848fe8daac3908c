"""Writes what the pipeline made into a folder; each file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdrmx import __version__
from hdrmx.errors import InputError
from hdrmx.frames import FrameSource
from hdrmx.params import Params

if TYPE_CHECKING:  # the pipeline brings the kernels' compiler, which not every writer needs
    from hdrmx.pipeline import Results


def prepare_folder(folder: str | Path) -> Path:
    """Make the output folder and prove that it can be written, before any work is done."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix=".hdrmx-", dir=folder)
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise InputError(folder, f"can't be written ({error.strerror})", "choose another folder with -o") from None
    return folder


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Call `write` with a temporary name beside `path`, then rename: nothing half-written is ever seen."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        what = f"can't be written ({error.strerror or error})"
        raise InputError(path, what, "check free space and permissions") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: Any) -> Path:
    """One JSON document, keys in the order given."""
    text = json.dumps(content, indent=1) + "\n"

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_whole(path, write)


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
