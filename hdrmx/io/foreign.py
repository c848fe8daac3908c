"""Frames packed by codecs of others (gzip, zstd, Blosc, ...), read through HDF5 in a process of their own.

A damaged chunk can kill the process that runs an HDF5 filter on it, or keep it busy for ever. So h5py and hdf5plugin
run in a child: when it dies or stalls, that frame is bad, and the next frame gets a new child.

The child is `python -m hdrmx.io.foreign PATH DATASET DTYPE N_BYTES LIMIT_S`. For each frame it reads the number
(8 bytes) and answers with a byte (1 good, 0 not), a length (8 bytes) and the pixels, or the reason.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdrmx.errors import BadFrame

TIME_LIMIT_S = 60.0  # for one frame; a 16-megapixel frame takes under a second
_REQUEST = struct.Struct("<q")
_ANSWER = struct.Struct("<?q")
_LONGEST_REASON = 10_000
_PIPE_BYTES = 1 << 20


class ForeignReader:
    """Reads frames of one data set through the HDF5 filters, in a child process that is started when first needed.

    Parameters
    ----------
    path : the HDF5 file
    dataset_name : data set of shape (n_frames, slow, fast), or (slow, fast)
    shape : (..., slow, fast), px, of a frame or of the data set
    dtype : of the pixels
    time_limit_s : a child that takes longer for a frame is stopped
    """

    def __init__(
        self,
        path: str | Path,
        dataset_name: str,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self.path, self.dataset_name = Path(path), dataset_name
        self.where = f"{path}:{dataset_name}"
        self.n_bytes = shape[-2] * shape[-1] * np.dtype(dtype).itemsize
        self.dtype, self.time_limit_s = np.dtype(dtype), time_limit_s
        self._lock = threading.Lock()

    def read(self, index_in_dataset: int, scan_index: int) -> npt.NDArray[np.uint8]:
        """The pixels of one frame as bytes (n_bytes,), of the dtype asked for; safe to call from any thread.

        Raises
        ------
        BadFrame : the frame can't be read, or reading it killed or stalled the child; `scan_index` is its number there
        """
        with self._lock:
            try:
                return self._ask(index_in_dataset)
            except _Refused as error:
                raise BadFrame(self.where, scan_index, f"HDF5 can't read it: {error}") from None
            except _Died as error:
                self._stop()
                raise BadFrame(self.where, scan_index, str(error)) from None

    def close(self) -> None:
        """End the child. A later `read` starts another."""
        with self._lock:
            self._stop()

    def _ask(self, index: int) -> npt.NDArray[np.uint8]:
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        until = time.monotonic() + self.time_limit_s
        try:
            child.stdin.write(_REQUEST.pack(index))
            child.stdin.flush()
        except OSError:
            raise _Died(_last_words(child)) from None
        good, n_bytes = _ANSWER.unpack(self._receive(child, _ANSWER.size, until).tobytes())
        if n_bytes != self.n_bytes if good else not 0 <= n_bytes <= _LONGEST_REASON:
            raise _Died("the process that reads it through HDF5 answers nonsense")
        answer = self._receive(child, n_bytes, until)
        if not good:
            raise _Refused(answer.tobytes().decode(errors="replace"))
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """The child, started where there is none."""
        if self._child is not None and self._child.poll() is not None:
            self._stop()
        if self._child is None:
            # Of a package that runs from a folder, the child finds the same copy.
            package = str(Path(__file__).resolve().parents[2])
            found = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
            what = (
                str(self.path),
                self.dataset_name,
                self.dtype.str,
                str(self.n_bytes),
                str(int(self.time_limit_s) + 2),
            )
            self._child = subprocess.Popen(
                [sys.executable, "-m", "hdrmx.io.foreign", *what],
                pipesize=_PIPE_BYTES,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": found},
            )
        return self._child

    def _receive(self, child: subprocess.Popen[bytes], n: int, until: float) -> npt.NDArray[np.uint8]:
        """The next n bytes of the child, or _Died."""
        assert child.stdout is not None
        pipe = child.stdout.fileno()
        out = np.empty(n, np.uint8)
        done = 0
        while done < n:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                raise _Died(f"reading it through HDF5 took longer than {self.time_limit_s:g} s")
            got = os.readv(pipe, [memoryview(out)[done:]])
            if got == 0:
                raise _Died(_last_words(child))
            done += got
        return out

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
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


class _Refused(Exception):
    """The child could not read the frame, and is well."""


class _Died(Exception):
    """The child is dead or has to be stopped."""


def _last_words(child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    if code >= 0:
        return f"the process that reads it through HDF5 ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the process that reads it through HDF5 was killed ({name}): most likely its chunk is damaged"


def _serve(path: str, dataset_name: str, dtype: np.dtype, n_bytes: int, limit_s: int) -> None:
    """The child: answer requests until there are no more."""
    import resource

    import h5py
    import hdf5plugin  # noqa: F401  (registers its filters)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    file = None
    while len(request := requests.read(_REQUEST.size)) == _REQUEST.size:
        signal.alarm(limit_s)  # ends this process when the parent is no longer there to do so
        try:
            file = file or h5py.File(path, "r", locking=False)
            data = file[dataset_name]
            pixels = data[...] if data.ndim == 2 else data[_REQUEST.unpack(request)[0]]
            if pixels.nbytes != n_bytes:
                raise ValueError(f"there are {pixels.nbytes} bytes of pixels, the frame has {n_bytes}")
            pixels = pixels.astype(dtype, order="C", casting="equiv", copy=False)
            content, good = pixels.reshape(-1).view(np.uint8).data, True
        except Exception as error:  # whatever it is, the parent says it of the frame
            content, good = memoryview(f"{error}".encode()[:_LONGEST_REASON]), False
        answers.write(_ANSWER.pack(good, len(content)))
        answers.write(content)
        answers.flush()
        signal.alarm(0)


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], np.dtype(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
