"""Memory that ends (or begins) where an unreadable page does, so that a step too far kills the process."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
import numpy.typing as npt

CAN_GUARD = sys.platform.startswith("linux")
_PAGE = mmap.PAGESIZE


class Guarded:
    """Room for up to `n_bytes` bytes between two unreadable pages."""

    def __init__(self, n_bytes: int) -> None:
        self._inside = -(-n_bytes // _PAGE) * _PAGE
        self._map = mmap.mmap(-1, self._inside + 2 * _PAGE)
        self._bytes = np.frombuffer(self._map, np.uint8)
        start = self._bytes.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for page in (start, start + _PAGE + self._inside):
            if protect(page, _PAGE, mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def at_end(self, n: int) -> npt.NDArray[np.uint8]:
        """The last n bytes before the unreadable page."""
        end = _PAGE + self._inside
        return self._bytes[end - n : end]

    def at_start(self, n: int) -> npt.NDArray[np.uint8]:
        """The first n bytes after the unreadable page."""
        return self._bytes[_PAGE : _PAGE + n]
