"""Whatever a results folder holds, as one history."""

from __future__ import annotations

from pathlib import Path

from hdrmx.analysis.history import History
from hdrmx.errors import InputError
from hdrmx.io.asv_results import is_asv_folder, read_asv
from hdrmx.io.record_history import read_record_history, record_files
from hdrmx.io.records import FILE_NAME


def read_history(folder: str | Path, repo: str | Path | None = None) -> History:
    """The history in a results folder of asv, or in a folder with records of many runs below it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "is no folder", "give the results folder of asv, or one with records")
    if is_asv_folder(folder):
        return read_asv(folder, repo)
    if record_files(folder):
        return read_record_history(folder, repo)
    raise InputError(
        folder, f"has neither results of asv nor a {FILE_NAME}", "give asv's results_dir, or a folder of runs"
    )


def is_history(folder: str | Path) -> bool:
    """Whether a folder holds many runs, and not the one that `hdrmx profile` or `hdrmx process` wrote."""
    folder = Path(folder)
    if not folder.is_dir():
        return False
    if is_asv_folder(folder):
        return True
    return not (folder / FILE_NAME).exists() and not (folder / "summary.json").exists() and bool(record_files(folder))
