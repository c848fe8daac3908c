"""Writing files so that each appears whole or not at all."""

from __future__ import annotations

import json
import math
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


def write_whole(path: str | Path, content: bytes | Callable[[Path], None]) -> Path:
    """Write `content`, or call it, under a temporary name beside `path`, then rename: nobody ever sees half a file.

    Raises InputError when that can't be done; then nothing is left behind.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        what = f"can't be written ({error.strerror or error})"
        raise InputError(path, what, "check the folder, its permissions and the free space") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, content: Any) -> Path:
    """One JSON document, keys in the order given; NaN and infinity, which JSON doesn't have, become null."""
    return write_whole(path, (json.dumps(finite(content), indent=1, allow_nan=False) + "\n").encode())


def finite(content: Any) -> Any:
    """The same with None for numbers that JSON doesn't have, and plain numbers for numpy's."""
    if isinstance(content, dict):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if hasattr(content, "item"):  # a number of numpy's
        content = content.item()
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
