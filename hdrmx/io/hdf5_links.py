"""HDF5 files opened and links followed by hand, so that what is missing or broken is named.

The HDF5 library answers a dangling external link or a missing source of a virtual data set with a
fill value or with a text that names neither; here each is an `InputError` of one line.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import h5py

from hdrmx.errors import InputError
from hdrmx.io.hdf5_guard import GUARD

MAX_LINKS = 32
LIBRARY_ERRORS = (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError, IndexError)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file to read, without a lock; a file written in SWMR mode may still grow.

    Raises
    ------
    InputError : not there, not readable, not HDF5, truncated, or still open for writing
    """
    with _opened(path) as file:
        yield file


def _opened(path: Path) -> h5py.File:
    try:
        if _is_locked(path):
            raise _open_error(path, OSError("already open"))
        GUARD.walk(path)
        return h5py.File(path, "r", locking=False)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(path, "no such file", "check the path") from None
    except IsADirectoryError:
        raise InputError(path, "is a directory", "name the .nxs or _master.h5 file in it") from None
    except PermissionError:
        raise InputError(path, "permission denied", "check the file's permissions") from None
    except LIBRARY_ERRORS as error:
        if "already open" not in str(error) and "SWMR" not in str(error):
            raise _open_error(path, error) from None
    try:
        return h5py.File(path, "r", locking=False, swmr=True)
    except LIBRARY_ERRORS as error:
        raise _open_error(path, error) from None


def _is_locked(path: Path) -> bool:
    """Whether a writer holds the file; raises OSError where it can't be read. The HDF5 library locks with flock.

    The lock is given back at once: one that stayed could keep the writer out.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            pass
    return False


def _open_error(path: Path, error: BaseException) -> InputError:
    text, size = str(error), path.stat().st_size
    if size == 0:
        return InputError(path, "the file is empty", "wait until it has been written, or copy it again")
    if "truncated" in text:
        what = f"the file is cut off at {size} bytes"
        return InputError(path, what, "wait until it has been written, or copy it again")
    if "signature not found" in text:
        return InputError(path, "is not an HDF5 file", "name a .nxs, _master.h5 or .h5 file")
    if "already open" in text or "SWMR" in text or "lock" in text:
        what = "the file is still open for writing (or its writer died)"
        return InputError(path, what, "wait until the data collection has ended; if it has, run h5clear -s on a copy")
    return InputError(path, f"the file is damaged ({_brief(text)})", "copy it again from where it was written")


def _brief(text: str) -> str:
    """The inner message of the HDF5 library, without its outer wrapping."""
    return text.split("(", 1)[-1].rstrip(")").strip() or "no reason given"


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn what the library raises over damaged contents into an InputError that names `what`."""
    try:
        yield
    except InputError:
        raise
    except LIBRARY_ERRORS as error:
        raise InputError(path, f"{what} can't be read ({_brief(str(error))})", "the file may be damaged") from None


def beside(path: Path, target: str) -> Path:
    """The file that a link in `path` names: as it stands, beside `path`, or by its last name beside `path`."""
    named = Path(target)
    first = path.parent / named  # an absolute name stays as it is
    for candidate in (first, path.resolve().parent / named, path.parent / named.name):
        if os.path.exists(candidate):  # unlike Path.exists, never raises
            return candidate
    return first


def locate(path: Path, name: str) -> tuple[Path, str]:
    """Follow soft and external links from the object `name` of file `path` to where it is stored.

    Returns
    -------
    The file and the object's name in it, with no link on the way.

    Raises
    ------
    InputError : a link leads nowhere (the message names file and link), or round in a circle
    """
    chain = [f"{path.name}:{name}"]
    here, rest = path, name
    while True:
        with open_hdf5(here) as file, reading(here, name):
            follow = _first_link(file, rest)
        if follow is None:
            raise InputError(here, f"has no '{rest}'" + _by(chain), "check that the file is complete")
        if not follow.is_link:
            return here, rest
        target, rest = follow.file, follow.name
        if target:
            linked = beside(here, target)
            if not os.path.exists(linked):
                what = f"link '{name}' leads to {linked}, which does not exist" + _by(chain)
                raise InputError(here, what, "copy the missing file beside the master file")
            here = linked
        chain.append(f"{here.name}:{rest}")
        if len(chain) > MAX_LINKS:
            raise InputError(path, f"the links of '{name}' run in a circle ({' -> '.join(chain[:4])} ...)")


def _by(chain: list[str]) -> str:
    return f" (reached by {' -> '.join(chain)})" if len(chain) > 1 else ""


class _Step(NamedTuple):
    is_link: bool
    file: str  # '' within the same file
    name: str


def _first_link(file: h5py.File, name: str) -> _Step | None:
    """Resolve the first link on the way to `name`; None where there is nothing."""
    parts = [part for part in PurePosixPath("/" + name).parts[1:] if part != "."]
    node: h5py.Group = file
    for i, part in enumerate(parts):
        if not isinstance(node, h5py.Group):
            return None
        if not node.id.links.exists(part.encode()):
            return None
        link = node.get(part, getlink=True)
        after = "/".join(parts[i + 1 :])
        if isinstance(link, h5py.ExternalLink):
            return _Step(True, os.fspath(link.filename), "/".join(p for p in (link.path.strip("/"), after) if p))
        if isinstance(link, h5py.SoftLink):
            base = "" if link.path.startswith("/") else "/".join(parts[:i])
            return _Step(True, "", "/".join(p for p in (base, link.path.strip("/"), after) if p))
        node = node[part]
    return _Step(False, "", name)
