"""A child process that meets the structure of an HDF5 file first.

The HDF5 library can die (SIGSEGV) or loop over damaged metadata: of 600 copies of a small NXmx file with up to 29 bytes
overwritten at random it died over 5 (HDF5 2.0). The child walks over each file (groups, attributes, small data sets,
chunk indices, sources of virtual data sets) and rehearses the opening of a master file with the very code that opens it
here (`hdf5_rehearsal`). When it dies, the file is refused and the program lives.

On Linux, in a process of a single Python thread, the child is a fork of this process: it costs milliseconds. A fork
takes no other threads along, and locks that they hold would stay locked in it; so elsewhere the child is a Python of
its own, that takes a third of a second to start, serves all files, and ends with this process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hdrmx.errors import InputError
from hdrmx.io import hdf5_rehearsal
from hdrmx.io.hdf5_rehearsal import SEEN, Request, State, state_of

if TYPE_CHECKING:
    import subprocess

TIME_LIMIT_S = 30.0


class Guard:
    """Has files walked over by a child, each once for as long as it does not change.

    Parameters
    ----------
    time_limit_s : a child that has not done with a file after it is stopped, and the file refused
    may_fork : by default on Linux
    """

    def __init__(self, time_limit_s: float = TIME_LIMIT_S, may_fork: bool | None = None) -> None:
        self.time_limit_s = time_limit_s
        self.may_fork = sys.platform == "linux" if may_fork is None else may_fork
        self.rehearsing: Callable[[Path], None] | None = None  # in the child itself: what it does with a file
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0  # a process forked from the one that started the child needs its own
        self._end: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._walked: set[State] = set()
        self._rehearsed: set[tuple[State, tuple[int, int] | None]] = set()

    def walk(self, path: Path) -> None:
        """Raise InputError where walking over the file kills or stalls a process."""
        if self.rehearsing is not None:
            self.rehearsing(path)
        elif os.path.isfile(path):
            with self._lock:
                state = state_of(path)
                if state not in self._walked:
                    self._ask(Request(state.path, False, None), path)

    def rehearse(self, path: Path, images: range | None = None) -> None:
        """Raise InputError where opening `path` as a source of these frames kills or stalls a process."""
        if self.rehearsing is not None or not os.path.isfile(path):
            return
        part = (images.start, images.stop) if images is not None else None
        with self._lock:
            state = state_of(path)
            if (state, part) not in self._rehearsed:
                self._ask(Request(state.path, True, part), path)
                self._rehearsed.add((state, part))

    def _ask(self, request: Request, path: Path) -> None:
        survived = self._forked(request) if self._can_fork() else self._spawned(request)
        if not survived:
            what = "the file is damaged: reading its structure kills or stalls the HDF5 library"
            raise InputError(path, what, "copy it again from where it was written")

    def _can_fork(self) -> bool:
        alone = threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
        return self.may_fork and alone

    def _forked(self, request: Request) -> bool:
        """Have the request done by a fork of this process, which is gone afterwards."""
        answers, to_parent = os.pipe()
        child = 0
        try:
            child = _fork()
            if child == 0:
                _be_the_child(request, to_parent, self.time_limit_s)
            os.close(to_parent)
            to_parent = -1
            return self._listen(answers)
        finally:
            if child:
                _kill(child)
            for descriptor in (answers, to_parent):
                if descriptor >= 0:
                    os.close(descriptor)

    def _spawned(self, request: Request) -> bool:
        """Have the request done by a Python of its own, which is kept."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
        except OSError:
            self._end()
            return False
        if self._listen(child.stdout.fileno()):
            return True
        self._end()
        return False

    def _listen(self, answers: int) -> bool:
        """Note which files the child has walked over; False when it dies, or falls silent for too long."""
        text = b""
        until = time.monotonic() + self.time_limit_s
        while select.select([answers], [], [], max(0.0, until - time.monotonic()))[0]:
            got = os.read(answers, 1 << 16)
            if not got:
                return False
            *lines, text = (text + got).split(b"\n")
            for line in lines:
                if line.decode() == SEEN:
                    return True
                self._walked.add(State(*json.loads(line)))
                until = time.monotonic() + self.time_limit_s
        return False

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            import subprocess

            self._end()
            self._owner = os.getpid()
            package = str(Path(__file__).resolve().parents[2])  # the child finds the same copy of the package
            found = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
            self._child = subprocess.Popen(
                [sys.executable, "-m", "hdrmx.io.hdf5_rehearsal", str(self.time_limit_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": found},
            )
            self._end = weakref.finalize(self, _stop, self._child, self._owner)  # also when the interpreter ends
        return self._child


def _stop(child: subprocess.Popen[bytes], owner: int) -> None:
    if owner != os.getpid():
        return
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:  # a request that the child did not take
            pass


def _fork() -> int:
    """os.fork without the warning about threads: numpy's and numba's wait idly, and the child uses none of them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):  # where SIGCHLD is ignored, nothing is left to wait for
        pass


def _be_the_child(request: Request, to_parent: int, limit_s: float) -> NoReturn:
    """In the fork: do what is asked and be gone, without a word and without what programs do at their end."""
    code = 1
    try:
        import faulthandler
        import gc
        import resource

        gc.disable()  # rubbish of the parent is the parent's to take away
        sys.settrace(None)
        sys.setprofile(None)
        faulthandler.disable()
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(name, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in {0, 1, 2} - {to_parent}:
            os.dup2(nowhere, descriptor)
        hdf5_rehearsal.perform(request, lambda text: _write(to_parent, text), limit_s)
        code = 0
    finally:
        os._exit(code)


def _write(descriptor: int, text: str) -> None:
    data = text.encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


GUARD = Guard()
