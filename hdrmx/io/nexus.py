"""NXmx files (.nxs, _master.h5) and masters of the older Eiger filewriter as sources of frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.frames import Frame
from hdrmx.io.eiger_legacy import is_legacy, legacy_scan, read_legacy
from hdrmx.io.hdf5_chunks import FLETCHER32, GZIP, SHUFFLE, Files, FrameStack, describe
from hdrmx.io.hdf5_guard import GUARD
from hdrmx.io.hdf5_links import locate, open_hdf5, reading
from hdrmx.io.hdf5_virtual import JoinedStack, VirtualStack, open_stack
from hdrmx.io.nexus_geometry import read_beam, read_detector, the_detector
from hdrmx.io.nexus_header import as_text, find_class, header, item, number, text
from hdrmx.io.nexus_scan import exposure_of, read_scan
from hdrmx.models import Geometry, Goniometer, Scan

LINKED = re.compile(r"data_\d+$")
SAFE_FILTERS = {GZIP, SHUFFLE, FLETCHER32}  # of the HDF5 library itself


class NexusSource:
    """The frames of one NXmx file: a `frames.FrameSource`."""

    def __init__(
        self, name: str, stack: FrameStack, geometry: Geometry, mask: npt.NDArray[np.bool_], part: range, files: Files
    ) -> None:
        self._name, self._stack, self._geometry, self._mask = name, stack, geometry, mask
        self._indices, self._files = part, files

    @property
    def name(self) -> str:
        return self._name

    @property
    def template(self) -> str:
        return self._name

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        return self._mask

    @property
    def shape(self) -> tuple[int, int]:
        return self._stack.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return self._stack.dtype

    @property
    def indices(self) -> range:
        return self._indices

    def frames(self) -> Iterator[Frame]:
        """In scan order. Each data file's chunks are looked up when the first of its frames is due."""
        for i in self._indices:
            yield self._stack.frame(i, i)

    def look_up(self) -> None:
        """Look up now, in all files, where the chunks of the frames are."""
        self._stack.look_up(self._indices)

    def close(self) -> None:
        self._files.close()


def open_nexus(path: str | Path, images: range | None = None) -> NexusSource:
    """Open an NXmx file or an older Eiger master.

    Parameters
    ----------
    path : the `.nxs`, `_master.h5` or `.h5` file
    images : frames to deliver, counted from 0, without a stride; all when None

    Raises
    ------
    InputError : missing or damaged file, link or header; several scans; no frames; the message says which
    """
    path, files = Path(path), Files()
    GUARD.rehearse(path, images)
    try:
        with open_hdf5(path) as file, header(path, "the file"):
            entry = _the_entry(file, path)
            group, names = _data_of(entry, path)
            stack = _stack_of(group, names, path, files, images)
            part = _part(images, stack.shape[0], path)
            if isinstance(stack, VirtualStack):
                stack.check(part)
            geometry = _geometry(entry, path, stack.shape, stack.dtype)
            geometry = _noted_if_short(geometry, entry, stack.shape[0])
            mask = _mask(entry, geometry, stack.shape[1:], path, files)
        if geometry.scan is not None:
            geometry = replace(geometry, scan=geometry.scan.part(part.start, len(part)))
        return NexusSource(str(path), stack, geometry, mask, part, files)
    except BaseException:
        files.close()
        raise


def read_geometry(path: str | Path) -> Geometry:
    """The geometry alone; the files with the pixels may be absent.

    Raises
    ------
    InputError : as `open_nexus`
    """
    path = Path(path)
    GUARD.rehearse(path)
    with open_hdf5(path) as file, header(path, "the file"):
        entry = _the_entry(file, path)
        group, names = _data_of(entry, path)
        data = item(group, names[0]) if len(names) == 1 and not LINKED.match(names[0]) else None
        if data is not None and data.ndim == 3:
            return _geometry(entry, path, data.shape, None)
        return _geometry(entry, path, None, None)


def open_bare(path: str | Path, name: str = "/entry/data/data", files: Files | None = None) -> FrameStack:
    """The frames of one data set of an HDF5 file, without geometry (a data file alone)."""
    return open_stack(Path(path), name, files or Files())


def _the_entry(file: h5py.File, path: Path) -> h5py.Group:
    """The one entry with the definition NXmx, or of the older layout."""
    with reading(path, "the entries"):
        entries = find_class(file, "NXentry")
        good = [e for e in entries if text(e, "definition") == "NXmx" or is_legacy(e)]
    if len(good) > 1:
        names = ", ".join(e.name for e in good)
        raise InputError(path, f"it has several scans ({names})", "split it into single scans")
    if good:
        return good[0]
    if any(item(e, "data/data") is not None for e in entries):
        raise InputError(path, "holds frames without geometry", "name the master file (_master.h5 or .nxs) instead")
    raise InputError(path, "has no entry with the definition NXmx", "name a .nxs or _master.h5 file")


def _data_of(entry: h5py.Group, path: Path) -> tuple[h5py.Group, list[str]]:
    """The NXdata group and the names in it that hold the frames, in order."""
    with reading(path, "the NXdata groups"):
        found = [(group, names) for group in find_class(entry, "NXdata") if (names := _frame_names(group))]
    if not found:
        raise InputError(path, f"{entry.name} has no data", "the data collection may not have begun")
    if len(found) > 1:
        default = as_text(entry.attrs.get("default"))
        targets = {_target(group, names[0]) for group, names in found}
        if len(targets) > 1:
            groups = ", ".join(group.name for group, _ in found)
            raise InputError(path, f"it has several data sets ({groups})", "split it into single scans")
        found.sort(key=lambda pair: pair[0].name.rsplit("/", 1)[-1] != default)
    return found[0]


def _frame_names(group: h5py.Group) -> list[str]:
    """The signal, or `data`, or all of data_000001, data_000002, ..., or the only data set of three dimensions."""
    links = list(group)
    signal = as_text(group.attrs.get("signal"))
    for name in (signal, "data"):
        if name in links and not LINKED.match(str(name)):
            return [str(name)]
    numbered = sorted((n for n in links if LINKED.match(n)), key=lambda n: int(n[5:]))
    if numbered:
        return numbered
    images = [n for n in links if isinstance(d := item(group, n), h5py.Dataset) and d.ndim == 3]
    return images if len(images) == 1 else []


def _target(group: h5py.Group, name: str) -> tuple[str, str]:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return str(link.filename), link.path.strip("/")
    data = group.get(name)
    return (str(data.file.filename), str(h5py.h5o.get_info(data.id).addr)) if data is not None else ("", str(link.path))


def _stack_of(group: h5py.Group, names: list[str], path: Path, files: Files, images: range | None) -> FrameStack:
    """The frames. Numbered links whose files are missing are an error, unless the frames asked for come before."""
    stacks: list[FrameStack] = []
    for name in names:
        try:
            stacks.append(open_stack(path, f"{group.name}/{name}", files))
        except InputError:
            known = sum(stack.shape[0] for stack in stacks)
            if not stacks or known < (images.stop if images else _announced(group.parent) or known + 1):
                raise
            break  # the older filewriter lists more links than it writes files
    if len(stacks) == 1:
        return stacks[0]
    return JoinedStack(stacks, names[: len(stacks)], str(path))


def _announced(entry: h5py.Group) -> int:
    """Frames that the detector was asked for; 0 where it isn't told."""
    counts = [number(entry, f"instrument/detector/detectorSpecific/{name}") for name in ("nimages", "ntrigger")]
    return int((counts[0] or 0) * (counts[1] or 1))


def _part(images: range | None, n: int, path: Path) -> range:
    if n < 1:
        raise InputError(path, "holds no frames", "the data collection may not have begun, or was stopped")
    if images is None:
        return range(n)
    if images.step != 1 or len(images) < 1 or images.start < 0 or images.stop > n:
        asked = f"{images.start + 1}-{images.stop}" + (f" in steps of {images.step}" if images.step != 1 else "")
        raise InputError(path, f"images {asked} were asked for; it has 1-{n}", "give a range within it, without a step")
    return images


def _geometry(entry: h5py.Group, path: Path, shape: tuple[int, int, int] | None, dtype: np.dtype | None) -> Geometry:
    """Geometry for frames of this shape and type; where they aren't known, for those that the header announces."""
    notes: list[str] = []
    n, frame = (int(shape[0]), (int(shape[1]), int(shape[2]))) if shape else (_announced(entry) or None, None)
    exposure_s = exposure_of(the_detector(entry, path), path)
    if is_legacy(entry):
        beam, detector = read_legacy(entry, frame, dtype, path, notes)
        goniometer: Goniometer | None
        scan: Scan | None
        goniometer, scan = legacy_scan(entry, n if shape else None, exposure_s, path, notes)
    else:
        beam = read_beam(entry, path, notes)
        detector = read_detector(entry, beam, frame, dtype, path, notes)
        goniometer, scan = read_scan(entry, n, exposure_s, path, notes)
    return Geometry(beam, detector, goniometer, scan, tuple(notes))


def _noted_if_short(geometry: Geometry, entry: h5py.Group, n: int) -> Geometry:
    announced = _announced(entry)
    if announced <= n:
        return geometry
    note = f"{announced} frames were announced and {n} are there: stopped early, or still being written"
    return replace(geometry, notes=(*geometry.notes, note))


def _mask(
    entry: h5py.Group, geometry: Geometry, shape: tuple[int, int], path: Path, files: Files
) -> npt.NDArray[np.bool_]:
    """Pixels of a panel whose pixel masks are 0 in all bits."""
    usable = np.zeros(shape, bool)
    for panel in geometry.detector.panels:
        (slow, fast), (n_slow, n_fast) = panel.offset, panel.shape
        if slow + n_slow > shape[0] or fast + n_fast > shape[1]:
            what = f"{panel.name} covers pixels to {slow + n_slow} x {fast + n_fast}, the frames have {shape}"
            raise InputError(path, what, "header and frames do not belong together")
        usable[slow : slow + n_slow, fast : fast + n_fast] = True
    detector = the_detector(entry, path)
    with header(path, "the pixel mask"):
        names = [n for n in detector if n == "pixel_mask" or re.match(r"pixel_mask_\d+$", n)]
        if not names and "detectorSpecific/pixel_mask" in detector:
            names = ["detectorSpecific/pixel_mask"]
    for name in names:
        bits = _read_image(path, f"{detector.name}/{name}", files)
        if bits.shape != shape:
            raise InputError(path, f"{name} is {bits.shape}, the frames are {shape}", "they do not belong together")
        usable &= bits == 0
    return usable


def _read_image(path: Path, name: str, files: Files) -> npt.NDArray:
    """A two-dimensional array, without a filter plugin of the HDF5 library in this process."""
    path, name = locate(path, name)
    with open_hdf5(path) as file, reading(path, name):
        data = file[name]
        plist = data.id.get_create_plist()
        if {plist.get_filter(k)[0] for k in range(plist.get_nfilters())} <= SAFE_FILTERS and not data.is_virtual:
            array = data[()]
            return array[0] if array.ndim == 3 and len(array) == 1 else array
        if data.ndim == 3 and data.shape[0] > 1:
            raise InputError(path, f"{name} is {data.shape}", "a mask for each frame can't be used")
        stack = describe(data, path, files)
    if GUARD.rehearsing is not None:  # what is left to do is not done by the HDF5 library
        stack.look_up(range(1))
        return np.zeros(stack.shape[1:], bool)
    return stack.image()
