"""Keeps compiled kernels from outliving the sources that went into them.

The kernel compiler keeps its results beside each source file and looks at that file alone to see whether they are
still good. A kernel has the code of those that it calls from other files compiled in, so that after a change there
(an edit, `git pull`) it would go on with the old code. So all results are dropped when any kernel source has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

PACKAGE = Path(__file__).parent
STATE = "kernels.sha256"
SUFFIXES = (".nbi", ".nbc")


def discard_stale(package: Path = PACKAGE) -> int:
    """Drop compiled kernels whose sources may have changed since; returns how many files went.

    Where the package's folders can't be written nothing is done: there, results are not kept beside the sources.
    With NUMBA_CACHE_DIR set, the folder that it names is the user's own: take a new one for each version.
    """
    state = package / "__pycache__" / STATE
    now = digest(package)
    try:
        if state.read_text() == now:
            return 0
    except OSError:
        pass
    dropped = 0
    for folder in package.glob("**/__pycache__"):
        for file in folder.iterdir():
            if file.suffix in SUFFIXES:
                with contextlib.suppress(OSError):
                    file.unlink()
                    dropped += 1
    with contextlib.suppress(OSError):
        state.parent.mkdir(exist_ok=True)
        part = state.with_name(f"{STATE}.{os.getpid()}")
        part.write_text(now)
        part.replace(state)
    return dropped


def digest(package: Path) -> str:
    """Of the contents of all source files that have kernels."""
    total = hashlib.sha256()
    for file in sorted(package.glob("*/*.py")):
        source = file.read_bytes()
        if b"njit" in source:
            total.update(file.name.encode() + source)
    return total.hexdigest()
