"""A child process that meets the structure of an HDF5 file first.

The HDF5 library can die (SIGSEGV) or loop over damaged metadata: of 600 copies of a small NXmx file with up to 29 bytes
overwritten at random it died over 5 (HDF5 2.0). The child walks over each file (groups, attributes, small data sets,
chunk indices, sources of virtual data sets) and rehearses the opening of a master file with the very code that opens it
here. When it dies, the file is refused and the program lives.

The child is `python -m hdrmx.io.hdf5_guard`: a request a line (JSON: what to do, path), an answer a line (`seen`).
It is started when it is first needed (earlier with `GUARD.start()`, to let it import while this process does), serves
all files, and ends with this process.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import h5py

from hdrmx.errors import InputError

TIME_LIMIT_S = 30.0
SMALL_BYTES = 1 << 20  # data sets up to this size are read
SAFE_FILTERS = {1, 2, 3}  # gzip, shuffle, Fletcher32: of the HDF5 library itself


class Guard:
    """Has files walked over by the child, each once for as long as it does not change."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S) -> None:
        self.time_limit_s = time_limit_s
        self._child: subprocess.Popen[str] | None = None
        self._owner = 0  # a process forked from the one that started the child needs its own
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str, int, int]] = set()
        self.off = False  # in the child itself

    def start(self) -> None:
        """Start the child, so that it is ready when a file is opened."""
        with self._lock:
            self._running()

    def walk(self, path: Path) -> None:
        """Raise InputError where walking over the file kills or stalls a process."""
        self._check("walk", path)

    def rehearse(self, path: Path) -> None:
        """Raise InputError where opening `path` as a source of frames kills or stalls a process."""
        self._check("rehearse", path)

    def _check(self, action: str, path: Path) -> None:
        if self.off or not os.path.isfile(path):
            return
        state = os.stat(path)
        key = (action, os.path.abspath(path), state.st_size, state.st_mtime_ns)
        with self._lock:
            if key in self._seen:
                return
            if not self._survived(key[:2]):
                self._stop()
                what = "the file is damaged: reading its structure kills or stalls the HDF5 library"
                raise InputError(path, what, "copy it again from where it was written")
            self._seen.add(key)

    def _survived(self, request: tuple[str, str]) -> bool:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
        except OSError:
            return False
        ready, _, _ = select.select([child.stdout], [], [], self.time_limit_s)
        return bool(ready) and child.stdout.readline() == "seen\n"

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            self._stop()
            self._owner = os.getpid()
            package = str(Path(__file__).resolve().parents[2])  # the child finds the same copy of the package
            found = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "hdrmx.io.hdf5_guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "PYTHONPATH": found},
            )
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # a request that the child did not take
                pass

    def __del__(self) -> None:
        self._stop()


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


def rehearse(path: str) -> None:
    """Open the file as the reader does."""
    from hdrmx.io.nexus import open_nexus

    open_nexus(path).close()


def _serve() -> None:
    import resource

    from hdrmx.io import hdf5_guard, nexus_geometry  # this module by its name, as the reader has it

    hdf5_guard.GUARD.off = True
    vars(nexus_geometry)["mu_per_mm"] = lambda *_: 1.0  # its table takes a second to import, and no HDF5
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    actions = {"walk": walk, "rehearse": rehearse}
    for line in sys.stdin:
        action, path = json.loads(line)
        _quietly(lambda action=action, path=path: actions[action](path))
        print("seen", flush=True)


GUARD = Guard()

if __name__ == "__main__":
    _serve()
