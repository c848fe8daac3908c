"""hdrmx: continuous performance improvement for macromolecular-crystallography data processing."""

from __future__ import annotations

import importlib
from typing import Any

from hdrmx.kernel_cache import discard_stale

__version__ = "0.1.0"

# Imported when first asked for, so that `import hdrmx` costs nothing.
_LAZY = {
    "process": "hdrmx.api",
    "profile": "hdrmx.api",
    "simulate": "hdrmx.simulate",
    "open_source": "hdrmx.io.open",
    "Params": "hdrmx.params",
}

discard_stale()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hdrmx' has no attribute '{name}'")
