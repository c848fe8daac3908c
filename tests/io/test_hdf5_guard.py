"""The child that meets HDF5 files first: what kills or stalls it, what it costs, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from nxmx_fixture import all_pixels, counts, pixels, write_nxmx

from hdrmx.errors import InputError
from hdrmx.io import hdf5_guard, hdf5_rehearsal
from hdrmx.io.hdf5_guard import Guard
from hdrmx.io.nexus import open_nexus

SHAPE = (7, 40, 52)
forks = pytest.mark.skipif(sys.platform != "linux", reason="the guard forks only on Linux")


@pytest.fixture(autouse=True)
def alone() -> None:
    """Idle threads of earlier tests would keep the guard from forking."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(timeout=5.0)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool]]:
    """What the program's own guard asks of forks and of spawned children."""
    asked: list[tuple[str, str, bool]] = []

    def noting(kind: str):
        original = getattr(Guard, kind)

        def noted(guard: Guard, request: hdf5_rehearsal.Request) -> bool:
            asked.append((kind, Path(request.path).name, request.is_rehearsal))
            return original(guard, request)

        return noted

    for kind in ("_forked", "_spawned"):
        monkeypatch.setattr(Guard, kind, noting(kind))
    return asked


def made(tmp_path: Path, name: str = "made.nxs", **kwargs) -> Path:
    return write_nxmx(tmp_path / name, counts(SHAPE), **{"layout": "single", **kwargs})


def has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def test_a_file_that_kills_the_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned child is told to end itself over one file, as the library does over a damaged one; the next is fine."""
    bad, good = made(tmp_path, "bad.nxs"), made(tmp_path, "good.nxs")
    killer = tmp_path / "sitecustomize.py"
    killer.write_text(
        "import h5py, os\n"
        "class File(h5py.File):\n"
        "    def __init__(self, name, *args, **kwargs):\n"
        "        os.abort() if str(name).endswith('bad.nxs') else super().__init__(name, *args, **kwargs)\n"
        "h5py.File = File\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    guard = Guard(may_fork=False)
    with pytest.raises(InputError, match=r"bad\.nxs: the file is damaged: reading its structure kills"):
        guard.walk(bad)
    guard.walk(good)


def test_a_file_over_which_the_library_loops_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path)
    guard = Guard(time_limit_s=20.0, may_fork=False)
    guard.walk(path)
    os.utime(path, ns=(1, 1))
    guard.time_limit_s = 0.05
    assert guard._child is not None
    os.kill(guard._child.pid, signal.SIGSTOP)
    with pytest.raises(InputError, match="kills or stalls"):
        guard.walk(path)


@forks
@pytest.mark.parametrize("end", ["abort", "segfault", "exit", "interrupt"])
def test_a_fork_that_dies(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """Whatever ends it, the file is refused, without a word on standard error and without an exception in the child."""
    bad, good = made(tmp_path, "bad.nxs"), made(tmp_path, "good.nxs")
    deaths = {
        "abort": os.abort,
        "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "exit": lambda: sys.exit(3),
        "interrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    }
    walk = hdf5_rehearsal.walk
    monkeypatch.setattr(hdf5_rehearsal, "walk", lambda path: deaths[end]() if path.endswith("bad.nxs") else walk(path))
    guard = Guard()
    for ask in (guard.walk, guard.rehearse):
        with pytest.raises(InputError, match=r"bad\.nxs: the file is damaged: reading its structure kills"):
            ask(bad)
    guard.walk(good)
    assert capfd.readouterr() == ("", "")
    assert not has_children()


@forks
def test_a_fork_that_stalls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path)

    def loop(path: str) -> None:
        while True:
            signal.pause()

    monkeypatch.setattr(hdf5_rehearsal, "walk", loop)
    with pytest.raises(InputError, match="kills or stalls"):
        Guard(time_limit_s=0.05).walk(path)
    assert not has_children()


@forks
def test_an_interrupted_wait_leaves_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(guard: Guard, answers: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Guard, "_listen", interrupted)
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(KeyboardInterrupt):
        Guard().walk(made(tmp_path))
    assert not has_children()
    assert os.listdir("/proc/self/fd") == descriptors


@forks
@pytest.mark.parametrize("layout", ["links", "vds", "vds-links"])
def test_one_fork_sees_to_all_files_of_a_set(layout: str, tmp_path: Path, requests: list) -> None:
    """Also to those that are opened later, in threads: where forks are no longer possible."""
    frames = counts((12, 40, 52))
    source = open_nexus(write_nxmx(tmp_path / "made.nxs", frames, layout=layout, per_file=3))
    with ThreadPoolExecutor(2) as pool:
        found = np.array(list(pool.map(pixels, source.frames())))
    np.testing.assert_array_equal(found, frames)
    source.close()
    assert requests == [("_forked", "made.nxs", True)]


@forks
def test_files_of_other_frames_are_left_alone(tmp_path: Path, requests: list) -> None:
    frames = counts((12, 40, 52))
    path = write_nxmx(tmp_path / "made.nxs", frames, layout="vds", per_file=3)
    (tmp_path / "made_000004.h5").write_bytes(b"nothing")
    source = open_nexus(path, range(0, 6))
    walked = {Path(state.path).name for state in hdf5_guard.GUARD._walked if Path(state.path).parent == tmp_path}
    assert walked == {"made.nxs", "made_000001.h5", "made_000002.h5"}
    np.testing.assert_array_equal(all_pixels(source), frames[:6])
    source.close()
    assert len(requests) == 1


@forks
def test_beside_another_thread_there_is_no_fork(tmp_path: Path, requests: list) -> None:
    path, stop = made(tmp_path), threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        guard = Guard()
        guard.rehearse(path)
        guard.walk(path)
    finally:
        stop.set()
        other.join()
    assert requests == [("_spawned", "made.nxs", True)]


def test_a_file_that_has_changed_is_walked_over_again(tmp_path: Path, requests: list) -> None:
    path, guard = made(tmp_path), Guard()
    for _ in range(3):
        guard.walk(path)
        guard.rehearse(path)
    assert len(requests) == 2
    os.utime(path, ns=(1, 1))
    guard.rehearse(path)
    guard.walk(path)
    assert len(requests) == 3


@forks
def test_nothing_stays_open(tmp_path: Path) -> None:
    path = made(tmp_path, layout="vds")
    before = (os.listdir("/proc/self/fd"), h5py.h5f.get_obj_count())
    source = open_nexus(path)
    all_pixels(source)
    source.close()
    assert (os.listdir("/proc/self/fd"), h5py.h5f.get_obj_count()) == before
    assert not has_children()


@forks
def test_files_that_are_open_here_are_left_as_they_are(tmp_path: Path) -> None:
    """The fork has copies of open files; it must not write what is still to be written."""
    path, other = made(tmp_path), tmp_path / "other.h5"
    with h5py.File(other, "w") as writing, h5py.File(path, locking=False) as reading:
        writing["x"] = np.arange(1000)
        open_nexus(path).close()
        writing["y"] = np.arange(10)
        assert reading["/entry/data/data"].shape == SHAPE
    with h5py.File(other) as file:
        assert (file["x"].shape, file["y"].shape) == ((1000,), (10,))


@pytest.mark.parametrize("may_fork", [pytest.param(True, marks=forks), False])
def test_a_program_says_its_own_words_once_and_ends_quietly(may_fork: bool, tmp_path: Path) -> None:
    """Text that waits in buffers, and what is done at exit, stay with the program; so do its last moments."""
    program = (
        "import atexit, sys\n"
        "from hdrmx.io import hdf5_guard\n"
        "from hdrmx.io.open import open_source\n"
        f"hdf5_guard.GUARD.may_fork = {may_fork}\n"
        "atexit.register(lambda: print('bye'))\n"
        "print('before', end=' ')\n"
        "source = open_source(sys.argv[1])\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(made(tmp_path))], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "before after\nbye\n", "")


def test_a_program_with_its_standard_streams_closed(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "for descriptor in (0, 1, 2):\n"
        "    os.close(descriptor)\n"
        "from hdrmx.io.open import open_source\n"
        "open_source(sys.argv[1]).close()\n"
        "os._exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(made(tmp_path))]).returncode == 7
