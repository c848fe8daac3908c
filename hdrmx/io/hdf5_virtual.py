"""Frames that are spread over several data sets: virtual data sets, and rows of external links."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Codec, Frame
from hdrmx.io.hdf5_chunks import Files, FrameStack, decoded, describe, frames_shape, pixel_dtype
from hdrmx.io.hdf5_links import beside, locate, open_hdf5, reading

MAX_NESTING = 8

Region = tuple[slice, slice]  # (slow, fast)


def open_stack(path: Path, name: str, files: Files, depth: int = 0) -> FrameStack:
    """The frames of data set `name` of file `path`, through all links and virtual data sets.

    Raises
    ------
    InputError : a link or source leads nowhere or round in a circle, or it isn't a data set of counts
    """
    if depth > MAX_NESTING:
        raise InputError(path, f"the virtual data sets of '{name}' run in a circle")
    path, name = locate(path, name)
    with open_hdf5(path) as file, reading(path, name):
        data = file[name]
        if not isinstance(data, h5py.Dataset) or not data.is_virtual:
            return describe(data, path, files)
        return VirtualStack(path, data, files, depth)


@dataclass
class _Layer:
    """One region of the frame and where each frame's pixels for it come from."""

    to: Region
    cut: Region  # of the source's frame
    source: npt.NDArray[np.int32]  # number of the source; -1: none
    frame: npt.NDArray[np.int64]  # frame within the source


class VirtualStack:
    """A virtual data set: its frames as they lie in the source files, which are opened when they are first needed.

    Frames that are laid together from regions (modules in files of their own) come uncompressed.
    """

    def __init__(self, path: Path, data: h5py.Dataset, files: Files, depth: int) -> None:
        self.where, self.path, self.files, self._depth = f"{path}:{data.name}", path, files, depth
        self.shape = frames_shape(data, self.where)
        self._fill = data.fillvalue
        self._names: list[tuple[str, str]] = []
        self._layers: dict[tuple, _Layer] = {}
        numbers: dict[tuple[str, str], int] = {}
        for source in data.virtual_sources():
            name = (source.file_name, source.dset_name)
            if numbers.setdefault(name, len(self._names)) == len(self._names):
                self._names.append(name)
            self._add(source, numbers[name])
        self._stacks: dict[int, FrameStack] = {}
        self.dtype = self._stack(0).dtype if self._names else pixel_dtype(data.dtype, self.where)

    def check(self, frames: range) -> None:
        """InputError naming the first file that these frames need and that isn't there."""
        for number in self._needed(frames):
            if number not in self._stacks:
                file, name = self._names[number]
                if file == ".":
                    locate(self.path, name)
                else:
                    self._source_file(file)

    def look_up(self, frames: range) -> None:
        for number in self._needed(frames):
            stack = self._stack(number)
            stack.look_up(range(stack.shape[0]))

    def _needed(self, frames: range) -> list[int]:
        """The numbers of the sources that hold these frames."""
        parts = [layer.source[frames.start : frames.stop] for layer in self._layers.values()]
        return [int(n) for n in np.unique(np.concatenate(parts)) if n >= 0] if parts else []

    def frame(self, i: int, index: int) -> Frame:
        used = [layer for layer in self._layers.values() if layer.source[i] >= 0]
        if len(used) == 1 and _extent(used[0].to) == self.shape[1:]:
            stack = self._stack(int(used[0].source[i]))
            if stack.shape[1:] == self.shape[1:]:
                return stack.frame(int(used[0].frame[i]), index)
        load = functools.partial(self._laid_together, i, index, used)
        return Frame(index, self.shape[1:], self.dtype, Codec.RAW, load, self.where)

    def _laid_together(self, i: int, index: int, used: list[_Layer]) -> npt.NDArray[np.uint8]:
        if not used:
            raise BadFrame(self.where, index, "not written yet: no source file holds it")
        out = np.full(self.shape[1:], self._fill).astype(self.dtype)
        for layer in used:
            part = self._stack(int(layer.source[i])).frame(int(layer.frame[i]), index)
            pixels = decoded(part.load(), part.codec, part.shape, part.dtype, part.where, index)
            out[layer.to] = pixels[layer.cut]
        return out.reshape(-1).view(np.uint8)

    def _stack(self, number: int) -> FrameStack:
        """The frames of one source, opened once."""
        if number not in self._stacks:
            file, name = self._names[number]
            at = self._source_file(file)
            stack = open_stack(at, name, self.files, self._depth + 1)
            if self._stacks and stack.dtype != self.dtype:
                what = f"its sources differ in type: {self.dtype}, and {stack.dtype} in {at}"
                raise InputError(self.where, what)
            self._stacks[number] = stack
        return self._stacks[number]

    def _source_file(self, file: str) -> Path:
        at = self.path if file == "." else beside(self.path, file)
        if not os.path.exists(at):
            what = f"its source {at} does not exist"
            raise InputError(self.where, what, "copy the missing file beside the master file")
        return at

    def _add(self, source: h5py._hl.vds.VDSmap, number: int) -> None:
        if "%" in source.file_name or "%" in source.dset_name:
            what = f"takes its sources by the pattern {source.file_name}:{source.dset_name}"
            raise InputError(self.where, what, "patterns of source names can't be read")
        to_frames, to = _selection(source.vspace, self.where)
        if source.src_space.get_simple_extent_ndims():
            from_frames, cut = _selection(source.src_space, self.where)
        else:  # all of the source, whose shape the mapping doesn't tell
            n_slow, n_fast = _extent(to)
            from_frames, cut = np.arange(len(to_frames)), (slice(0, n_slow), slice(0, n_fast))
        if len(to_frames) != len(from_frames) or _extent(to) != _extent(cut):
            raise InputError(self.where, f"its mapping to {source.file_name} does not fit", "the file may be damaged")
        key = (to[0].start, to[1].start, cut[0].start, cut[1].start, *_extent(to))
        if key not in self._layers:
            n = self.shape[0]
            self._layers[key] = _Layer(to, cut, np.full(n, -1, np.int32), np.zeros(n, np.int64))
        inside = to_frames < self.shape[0]
        self._layers[key].source[to_frames[inside]] = number
        self._layers[key].frame[to_frames[inside]] = from_frames[inside]


def _selection(space: h5py.h5s.SpaceID, where: str) -> tuple[npt.NDArray[np.int64], Region]:
    """Frame numbers and region of a selection: all of the space, or one regular block of it."""
    dims = tuple(int(n) for n in space.get_simple_extent_dims())
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        begin, stride, count, block = (0,) * len(dims), (1,) * len(dims), dims, (1,) * len(dims)
    elif space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and space.is_regular_hyperslab():
        begin, stride, count, block = space.get_regular_hyperslab()
    else:
        raise InputError(where, "its mapping is not made of rectangular blocks", "it can't be read")
    if len(dims) not in (2, 3):
        raise InputError(where, f"its mapping has {len(dims)} dimensions", "frames are (frame, slow, fast)")
    if len(dims) == 2:
        begin, stride, count, block = ((fill, *old) for fill, old in zip((0, 1, 1, 1), (begin, stride, count, block)))
    if max(count) > 1 << 40:
        raise InputError(where, "its mapping has no end", "patterns of source names can't be read")
    for k in (1, 2):
        if count[k] > 1 and stride[k] != block[k]:
            raise InputError(where, "its mapping skips rows or columns", "it can't be read")
    frames = (begin[0] + stride[0] * np.arange(count[0])[:, None] + np.arange(block[0])).reshape(-1)
    slow, fast = (slice(int(begin[k]), int(begin[k] + count[k] * block[k])) for k in (1, 2))
    return frames.astype(np.int64), (slow, fast)


def _extent(region: Region) -> tuple[int, int]:
    return region[0].stop - region[0].start, region[1].stop - region[1].start


class JoinedStack:
    """Stacks one after the other, as the external links data_000001, data_000002, ... name them."""

    def __init__(self, stacks: list[FrameStack], names: list[str], where: str) -> None:
        first = stacks[0]
        for stack, name in zip(stacks, names):
            if stack.shape[1:] != first.shape[1:] or stack.dtype != first.dtype:
                kinds = [f"{n} has {s.shape[1:]} {s.dtype}" for n, s in ((names[0], first), (name, stack))]
                what = f"frames differ: {', '.join(kinds)}"
                raise InputError(where, what, "the files do not belong together")
        self._stacks = stacks
        self._ends = np.cumsum([stack.shape[0] for stack in stacks])
        self.shape, self.dtype = (int(self._ends[-1]), *first.shape[1:]), first.dtype

    def frame(self, i: int, index: int) -> Frame:
        number = int(np.searchsorted(self._ends, i, side="right"))
        before = int(self._ends[number - 1]) if number else 0
        return self._stacks[number].frame(i - before, index)

    def look_up(self, frames: range) -> None:
        first = 0
        for stack, end in zip(self._stacks, self._ends.tolist()):
            part = range(max(frames.start, first) - first, min(frames.stop, end) - first)
            if part:
                stack.look_up(part)
            first = end
