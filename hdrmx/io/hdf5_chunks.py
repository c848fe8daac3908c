"""Where the frames of an HDF5 data set lie in its file: offset, size and codec of every chunk.

The HDF5 library is asked for the layout once a data set, in one pass over its chunk index; the pixels are then
read with `os.pread`, in any thread, without the library, its lock or its filters. What our own decoders don't know
is left to `foreign.ForeignReader`, which works in another process.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Codec, Frame
from hdrmx.io.foreign import ForeignReader
from hdrmx.io.hdf5_links import LIBRARY_ERRORS, open_hdf5, reading

BITSHUFFLE, LZ4, GZIP, SHUFFLE, FLETCHER32 = 32008, 32004, 1, 2, 3  # registered HDF5 filters
BITSHUFFLE_LZ4 = 2  # fifth option of the bitshuffle filter
LARGEST_CHUNK_BYTES = 1 << 30  # a larger chunk is no frame
MOST_FRAMES, MOST_PIXELS = 10_000_000, 1 << 28  # a header that announces more is damaged


class FrameStack(Protocol):
    """Frames in a row, wherever they are stored."""

    shape: tuple[int, int, int]  # (frame, slow, fast)
    dtype: np.dtype  # of the pixels delivered

    def frame(self, i: int, index: int) -> Frame:
        """Frame `i` of the stack as frame `index` of the scan."""

    def look_up(self, frames: range) -> None:
        """Look up now where these frames are stored, in all files that hold them."""


class Files:
    """Read-only descriptors, one a file, shared by all threads (`pread` moves no file position)."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._at_close: list[Callable[[], None]] = []
        self.closed = False

    def descriptor(self, path: Path) -> int:
        with self._lock:
            if self.closed:
                raise OSError("the source has been closed")
            if path not in self._descriptors:
                self._descriptors[path] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            return self._descriptors[path]

    def at_close(self, action: Callable[[], None]) -> None:
        self._at_close.append(action)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            descriptors, self._descriptors = self._descriptors, {}
        for descriptor in descriptors.values():
            os.close(descriptor)
        for action in self._at_close:
            action()
        self._at_close.clear()


@dataclass(frozen=True)
class ChunkTable:
    """Of each chunk, on the grid of chunks (frame, slow, fast), where it is."""

    offset: npt.NDArray[np.int64]  # bytes from the beginning of the file; -1: never written
    size: npt.NDArray[np.int64]  # bytes
    filter_mask: npt.NDArray[np.uint32]  # bit i set: filter i was left out


@dataclass
class StoredStack:
    """A data set of frames (or of one image) in one file.

    Frames that are one chunk, or contiguous, in a codec of ours are delivered as they lie in the file; others are
    put together, from several chunks, a part of one, or in another byte order, when they are loaded.
    """

    path: Path
    name: str
    shape: tuple[int, int, int]
    stored: np.dtype
    chunk: tuple[int, int, int]  # (frame, slow, fast); of a contiguous data set: one frame
    codec: Codec | None  # None: not ours
    files: Files
    contiguous_at: int | None = None
    chunked: bool = True
    dtype: np.dtype = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _recent: tuple[tuple[int, int, int], npt.NDArray] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.dtype = pixel_dtype(self.stored, f"{self.path}:{self.name}")
        self._whole = self.chunk == (1, *self.shape[1:]) and self.stored == self.dtype

    @property
    def where(self) -> str:
        return f"{self.path}:{self.name}"

    @functools.cached_property
    def _found(self) -> ChunkTable:
        if not self.chunked:
            return _contiguous_table(self.shape, self.stored.itemsize, self.contiguous_at)
        with open_hdf5(self.path) as file, reading(self.path, f"the chunk index of {self.name}"):
            return chunk_table(file[self.name], self.chunk)

    @property
    def table(self) -> ChunkTable:
        """Looked up at first need, once."""
        with self._lock:
            return self._found

    def look_up(self, frames: range) -> None:
        if self.codec is not None:
            _ = self.table

    def frame(self, i: int, index: int) -> Frame:
        codec, load = Codec.RAW, functools.partial(self._put_together, i, index)
        if self.codec is None:
            load = functools.partial(self._foreign, i, index)
        elif self._whole:
            table = self.table
            offset, size = int(table.offset[i, 0, 0]), int(table.size[i, 0, 0])
            codec = Codec.RAW if table.filter_mask[i, 0, 0] & 1 else self.codec
            load = functools.partial(self._read, offset, size, codec, index)
        return Frame(index, self.shape[1:], self.dtype, codec, load, self.where)

    def _read(self, offset: int, size: int, codec: Codec, index: int) -> npt.NDArray[np.uint8]:
        """The bytes of one chunk, as they are."""
        if offset < 0:
            raise BadFrame(self.where, index, "not written yet")
        n_raw = int(np.prod(self.chunk)) * self.stored.itemsize
        if codec is Codec.RAW and size != n_raw:
            raise BadFrame(self.where, index, f"an uncompressed chunk of {size} bytes where {n_raw} are due")
        try:
            descriptor = self.files.descriptor(self.path)
            end = os.fstat(descriptor).st_size
            payload = os.pread(descriptor, size, offset) if offset + size <= end else b""
        except OSError as error:
            raise BadFrame(self.where, index, error.strerror or str(error)) from None
        if len(payload) != size:
            what = f"truncated file: the frame ends at byte {offset + size}, the file at {end}"
            raise BadFrame(self.where, index, what)
        return np.frombuffer(payload, np.uint8)

    def _put_together(self, i: int, index: int) -> npt.NDArray[np.uint8]:
        """The frame as uncompressed pixels, from the chunks that cover it."""
        out = np.empty(self.shape[1:], self.dtype)
        at, inside = divmod(i, self.chunk[0])
        _, n_slow, n_fast = self.table.offset.shape
        for b in range(n_slow):
            for c in range(n_fast):
                slow, fast = b * self.chunk[1], c * self.chunk[2]
                to = out[slow : slow + self.chunk[1], fast : fast + self.chunk[2]]
                to[...] = self._decoded((at, b, c), index)[inside, : to.shape[0], : to.shape[1]]
        return out.reshape(-1).view(np.uint8)

    def _decoded(self, at: tuple[int, int, int], index: int) -> npt.NDArray:
        """One chunk of pixels. The last is kept: neighbouring frames of a thick chunk come from it."""
        recent = self._recent
        if recent is not None and recent[0] == at:
            return recent[1]
        assert self.codec is not None
        codec = Codec.RAW if self.table.filter_mask[at] & 1 else self.codec
        payload = self._read(int(self.table.offset[at]), int(self.table.size[at]), codec, index)
        pixels = decoded(payload, codec, self.chunk, self.stored, self.where, index)
        self._recent = (at, pixels)
        return pixels

    def _foreign(self, i: int, index: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            reader = self._reader
        if self.files.closed:
            raise BadFrame(self.where, index, "the source has been closed")
        pixels = reader.read(i, index).view(self.stored.newbyteorder("="))
        return pixels.astype(self.dtype, copy=False).view(np.uint8)

    @functools.cached_property
    def _reader(self) -> ForeignReader:
        reader = ForeignReader(self.path, self.name, self.shape[1:], self.stored.newbyteorder("="))
        self.files.at_close(reader.close)
        return reader

    def image(self, i: int = 0) -> npt.NDArray:
        """Frame `i` decoded: (slow, fast) of `dtype`."""
        frame = self.frame(i, i)
        return decoded(frame.load(), frame.codec, frame.shape, frame.dtype, frame.where, i)


def pixel_dtype(stored: np.dtype, where: str) -> np.dtype:
    """The type in which pixels stored as `stored` are delivered: uint8, uint16, uint32 or int32, native byte order.

    Raises InputError for what isn't counts of at most 32 bits.
    """
    if stored.kind == "u" and stored.itemsize <= 4:
        return stored.newbyteorder("=")
    if stored.kind == "i" and stored.itemsize <= 4:
        return np.dtype(np.int32)
    raise InputError(where, f"pixels are of type {stored}", "counts of 8, 16 or 32 bits can be read")


def decoded(
    payload: npt.NDArray[np.uint8], codec: Codec, shape: tuple[int, ...], dtype: np.dtype, where: str, index: int
) -> npt.NDArray:
    """Unpack one payload to an array of `shape`; BadFrame where it is corrupt."""
    if codec is Codec.RAW:
        return payload.view(dtype).reshape(shape)
    from hdrmx.kernels.decode import Workspace, decode_dense  # numba: only where something is packed

    unsigned = np.dtype(f"u{dtype.itemsize}")
    out = np.empty((int(np.prod(shape[:-1])), shape[-1]), unsigned)
    frame = Frame(index, (out.shape[0], out.shape[1]), unsigned, codec, lambda: payload, where)
    decode_dense(frame, out, Workspace(frame.shape, unsigned))
    return out.view(dtype).reshape(shape)


def codec_of(filters: list[tuple[int, tuple[int, ...]]], itemsize: int) -> Codec | None:
    """The codec of a filter pipeline [(id, options), ...]; None where it isn't one of ours."""
    if not filters:
        return Codec.RAW
    if len(filters) > 1:
        return None
    number, options = filters[0]
    if number == LZ4:
        return Codec.LZ4
    if number == BITSHUFFLE and len(options) > 4 and options[4] == BITSHUFFLE_LZ4 and options[2] == itemsize:
        return Codec.BSLZ4
    return None


def stored_stack(path: Path, name: str, files: Files) -> StoredStack:
    """Describe a data set (frame, slow, fast), or an image (slow, fast), that is stored in `path` itself.

    Raises
    ------
    InputError : not a data set of frames of counts
    """
    with open_hdf5(path) as file, reading(path, name):
        return describe(file[name], path, files)


def describe(data: h5py.Dataset, path: Path, files: Files) -> StoredStack:
    """`stored_stack` of an open data set."""
    where = f"{path}:{data.name}"
    if not isinstance(data, h5py.Dataset) or data.ndim not in (2, 3):
        dimensions = getattr(data, "shape", "no data set")
        raise InputError(where, f"is {dimensions}", "frames are (frame, slow, fast)")
    shape = frames_shape(data, where)
    filters = [(f[0], f[2]) for f in map(data.id.get_create_plist().get_filter, range(_n_filters(data)))]
    codec = codec_of(filters, data.dtype.itemsize)
    if data.chunks is not None:
        chunk = (1,) * (3 - data.ndim) + tuple(int(n) for n in data.chunks)
        if int(np.prod(chunk)) * data.dtype.itemsize > LARGEST_CHUNK_BYTES:
            codec = None
        return StoredStack(path, data.name, shape, data.dtype, chunk, codec, files)
    plist = data.id.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        codec = None  # pixels within the object's header, or in files of another kind
    chunk = (1, *shape[1:])
    return StoredStack(path, data.name, shape, data.dtype, chunk, codec, files, data.id.get_offset(), chunked=False)


def frames_shape(data: h5py.Dataset, where: str) -> tuple[int, int, int]:
    """(frame, slow, fast) of a data set, checked."""
    n, slow, fast = (1,) * (3 - data.ndim) + tuple(int(n) for n in data.shape)
    if slow * fast == 0 or n > MOST_FRAMES or slow * fast > MOST_PIXELS:
        raise InputError(where, f"is {n} frames of {slow} x {fast} pixels", "the file may be damaged")
    return n, slow, fast


def _n_filters(data: h5py.Dataset) -> int:
    return int(data.id.get_create_plist().get_nfilters())


def chunk_table(data: h5py.Dataset, chunk: tuple[int, int, int]) -> ChunkTable:
    """Look up all chunks of a data set in one pass: time ~ chunks^1.

    `get_chunk_info(i)` counts from the beginning of the index at each call, which makes a loop over it quadratic.
    """
    shape = (1,) * (3 - data.ndim) + tuple(data.shape)
    grid = tuple(-(-n // c) for n, c in zip(shape, chunk))
    table = ChunkTable(np.full(grid, -1, np.int64), np.zeros(grid, np.int64), np.zeros(grid, np.uint32))
    lead = (0,) * (3 - data.ndim)

    def note(info: h5py.h5d.StoreInfo) -> None:
        at = tuple(o // c for o, c in zip(lead + tuple(info.chunk_offset), chunk))
        if info.byte_offset is not None and all(a < n for a, n in zip(at, grid)):
            table.offset[at], table.size[at] = info.byte_offset, info.size
            table.filter_mask[at] = info.filter_mask

    if hasattr(data.id, "chunk_iter"):
        data.id.chunk_iter(note)
        return table
    for at in np.ndindex(*grid):  # older HDF5 libraries: a look-up in the index for each chunk
        try:
            note(data.id.get_chunk_info_by_coord(tuple(a * c for a, c in zip(at, chunk))[len(lead) :]))
        except LIBRARY_ERRORS:
            continue
    return table


def _contiguous_table(shape: tuple[int, int, int], itemsize: int, begin: int | None) -> ChunkTable:
    n_bytes = shape[1] * shape[2] * itemsize
    offset = np.full((shape[0], 1, 1), -1, np.int64)
    if begin is not None:
        offset[:, 0, 0] = begin + n_bytes * np.arange(shape[0])
    return ChunkTable(offset, np.full_like(offset, n_bytes), np.zeros(offset.shape, np.uint32))
