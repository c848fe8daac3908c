"""Writes what the pipeline made into a folder; each file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdrmx.errors import InputError


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
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8") and None)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
