"""Records that were written elsewhere: by the public interface, in another process, on another day."""

from __future__ import annotations

from pathlib import Path

from hdrmx.errors import InputError
from hdrmx.io.records import FILE_NAME, read_record
from hdrmx.record import Record


def attached(folder: Path, *, missing_ok: bool = False) -> list[tuple[Record, Path]]:
    """All records of a folder and of the folders within it, with where each lies, by name.

    Raises InputError where there is none (unless `missing_ok`), or one can't be read.
    """
    paths = [folder] if folder.is_file() else sorted([*folder.glob(FILE_NAME), *folder.glob(f"*/{FILE_NAME}")])
    if not paths and not missing_ok:
        what = "holds no record.json" if folder.is_dir() else "no such folder"
        raise InputError(folder, what, "give a folder that hdrmx-profile or hdrmx.measure.recording wrote")
    return [(read_record(path), path.parent) for path in paths]
