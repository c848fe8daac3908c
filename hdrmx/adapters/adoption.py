"""Orphans of the commands that we run come to us, so that their time is counted (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h


@contextlib.contextmanager
def adopting() -> Iterator[bool]:
    """Within it a process whose parent ends becomes our child, not that of process 1; False: it can't be had."""
    before = _get()
    adopted = before is not None and _set(1)
    try:
        yield adopted
    finally:
        if adopted and not before:
            _set(0)


def _get() -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    value = ctypes.c_int(0)
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL(None).prctl(_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0) == 0:
            return value.value
    return None


def _set(value: int) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, value, 0, 0, 0) == 0)
    return False
