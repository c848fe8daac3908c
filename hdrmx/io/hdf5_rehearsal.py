"""What the child of `hdf5_guard` does: touch all that the reader may touch, and open a file as the reader does.

As a process of its own (`python -m hdrmx.io.hdf5_rehearsal`) it reads a request a line. It answers with a line for each
file that it has walked over and lived, and with `seen` at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py

SMALL_BYTES = 1 << 20  # data sets up to this size are read
SAFE_FILTERS = {1, 2, 3}  # gzip, shuffle, Fletcher32: of the HDF5 library itself
SEEN = "seen"


class State(NamedTuple):
    """A file as it was when it was walked over."""

    path: str
    size: int
    mtime_ns: int


class Request(NamedTuple):
    """Walk over a file, or rehearse (`is_rehearsal`) its opening as a source of the images [first, stop)."""

    path: str
    is_rehearsal: bool
    images: tuple[int, int] | None


def state_of(path: str | Path) -> State:
    """Raises OSError where there is no such file."""
    found = os.stat(path)
    return State(os.path.abspath(path), found.st_size, found.st_mtime_ns)


def perform(request: Request, say: Callable[[str], None], limit_s: float) -> None:
    """The child's part: walk over the file of the request and over each that its opening leads to; say which.

    The process ends itself when it stalls over one of them, in case that nobody is left to end it.
    """
    from hdrmx.io.hdf5_guard import GUARD  # not at the top: the guard imports this module

    walked: set[State] = set()

    def meet(path: str | Path) -> None:
        state = state_of(path)
        if state not in walked:
            signal.alarm(int(limit_s) + 2)
            _quietly(lambda: walk(state.path))
            walked.add(state)
            say(json.dumps(state))

    GUARD.rehearsing = meet
    _quietly(lambda: meet(request.path))
    if request.is_rehearsal:
        _quietly(lambda: rehearse(request.path, range(*request.images) if request.images else None))
    say(SEEN)
    signal.alarm(0)


def rehearse(path: str, images: range | None) -> None:
    """Open the file as the reader does, with all the files that hold its frames."""
    from hdrmx.io.nexus import open_nexus

    source = open_nexus(path, images)
    try:
        source.look_up()
    finally:
        source.close()


def walk(path: str) -> None:
    """Touch whatever the reader may touch in one file; external links are left, their files are walked on their own."""
    with h5py.File(path, "r", locking=False) as file:
        todo, known = [file["/"]], set()
        while todo:
            node = todo.pop()
            for name in _each(node.attrs):
                _quietly(lambda name=name, node=node: node.attrs[name])
            if isinstance(node, h5py.Dataset):
                _quietly(lambda node=node: _walk_data(node))
                continue
            for name in _each(node):
                child = _quietly(lambda name=name, node=node: _hard_linked(node, name))
                if child is not None and (at := h5py.h5o.get_info(child.id).addr) not in known:
                    known.add(at)
                    todo.append(child)


def _hard_linked(group: h5py.Group, name: str):  # type: ignore[no-untyped-def]
    return group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None


def _walk_data(data: h5py.Dataset) -> None:
    plist = data.id.get_create_plist()
    filters = {plist.get_filter(k)[0] for k in range(plist.get_nfilters())}
    if data.is_virtual:
        data.virtual_sources()
        return
    if data.chunks is not None and hasattr(data.id, "chunk_iter"):
        data.id.chunk_iter(lambda info: None)
    if filters <= SAFE_FILTERS and data.size is not None and data.size * data.dtype.itemsize <= SMALL_BYTES:
        data[()]


def _each(node) -> list[str]:  # type: ignore[no-untyped-def]
    return _quietly(lambda: list(node)) or []


def _quietly(action):  # type: ignore[no-untyped-def]
    """What the library reports, the parent will meet and say; only what kills matters here."""
    try:
        return action()
    except Exception:
        return None


def _serve(limit_s: float) -> None:
    import resource

    from hdrmx.io import hdf5_rehearsal  # this module by its name, as the guard has it

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        path, is_rehearsal, images = json.loads(line)
        request = hdf5_rehearsal.Request(path, is_rehearsal, images)
        hdf5_rehearsal.perform(request, lambda text: print(text, flush=True), limit_s)


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
