"""Frames of a CBF series: Pilatus and Eiger mini-CBF, full imgCIF, packed by gzip or bzip2 or not."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Frame
from hdrmx.io.cbf_files import Series, find_series, read_all, read_head
from hdrmx.io.cbf_header import HEADER_LIMIT, CbfHeader, Layout, parse_header
from hdrmx.io.cbf_imgcif import imgcif_geometry, is_full_header
from hdrmx.io.cbf_mini import mini_fields, mini_geometry, number
from hdrmx.models import Geometry, Scan

_USUAL_HEADER = 1 << 16  # bytes; looked through first
_CURVED = (5071, 2463)  # (slow, fast) of the Pilatus 12M: 24 modules on a barrel, which a mini-CBF can't describe

# (slow, fast) of a module and of the gaps between modules, px
_MODULES = {
    "pilatus": (((195, 487), (17, 7)),),
    "eiger": (((514, 1030), (37, 10)), ((512, 1028), (38, 12))),
}


def open_cbf(what: Path | str, images: range | None = None, *, check_md5: bool = False) -> CbfSource:
    """Open a series of CBF files, one frame a file. Costs one listing and two headers, whatever the length.

    Parameters
    ----------
    what : a file, a template (`x_####.cbf`, `x_%05d.cbf`), a glob or a folder; also of `.cbf.gz` and `.cbf.bz2`
    images : scan indices wanted, 0-based (image number - 1), without steps; all when None
    check_md5 : compare each frame's Content-MD5, where the file has it, when it is loaded

    Raises
    ------
    InputError : nothing or more than one series is there, an image is missing (stills may have gaps), or the headers
        can't be used; says which file and why
    """
    series = _select(find_series(what), images, str(what))
    first, last = next(iter(series.files)), next(reversed(series.files))
    path = series.files[first]
    head = parse_header(read_head(path, HEADER_LIMIT), path)
    shape, n_images = head.layout.shape, last - first + 1
    if shape == _CURVED:
        raise InputError(path, "is of a curved detector (Pilatus 12M)", "its geometry isn't in the header; use NXmx")
    read_geometry = imgcif_geometry if is_full_header(head.text) else mini_geometry
    geometry = read_geometry(head.text, shape, first, n_images, path)
    geometry = _checked_gaps(series, geometry)
    step_deg = _step(head, series, geometry)
    if step_deg is None:
        doubt = "all headers give the same start angle; it is taken as that of the first image"
        geometry = replace(geometry, notes=(*geometry.notes, doubt))
    return CbfSource(str(what), series, geometry, head, step_deg, check_md5)


class CbfSource:
    """A `FrameSource` over CBF files. `template` and `files` (by image number) tell where the frames are."""

    def __init__(
        self, name: str, series: Series, geometry: Geometry, head: CbfHeader, step_deg: float | None, check_md5: bool
    ) -> None:
        self.name, self.template, self.files = name, series.template, series.files
        self.geometry = geometry
        self.shape, self.dtype = head.layout.shape, head.layout.dtype
        self.mask = ~module_gaps(self.shape, geometry.detector.name)
        self._layout, self._step_deg, self._check_md5 = head.layout, step_deg, check_md5
        self._first = next(iter(series.files))
        self._start_deg = start_angle_deg(head.text)

    @property
    def indices(self) -> range:
        """From the first image to the last; `frames` leaves out what a set of stills doesn't have."""
        return range(self._first - 1, next(reversed(self.files)))

    def frames(self) -> Iterator[Frame]:
        for image, path in self.files.items():
            load = functools.partial(self._load, image, path)
            yield Frame(image - 1, self.shape, self.dtype, self._layout.codec, load, str(path))

    def close(self) -> None:
        """Nothing is held open."""

    def _load(self, image: int, path: Path) -> npt.NDArray[np.uint8]:
        try:
            raw = read_all(path, HEADER_LIMIT + self._largest_payload())
            head = _parse_loaded(raw, path)
        except InputError as error:
            raise BadFrame(path, image - 1, error.what) from None
        layout = head.layout
        if (layout.shape, layout.codec, layout.dtype) != (self.shape, self._layout.codec, self.dtype):
            found = f"{layout.shape} {layout.dtype} {layout.codec.value}"
            wanted = f"{self.shape} {self.dtype} {self._layout.codec.value}"
            raise BadFrame(path, image - 1, f"is {found}, the series is {wanted}")
        if len(raw) < layout.start + layout.n_bytes:
            found_bytes = max(0, len(raw) - layout.start)
            raise BadFrame(path, image - 1, f"is cut short: {found_bytes} of {layout.n_bytes} bytes of pixels")
        self._check_angle(head, image, path)
        payload = raw[layout.start : layout.start + layout.n_bytes]
        if self._check_md5 and layout.md5 and base64.b64encode(hashlib.md5(payload).digest()).decode() != layout.md5:
            raise BadFrame(path, image - 1, "the pixels don't match their Content-MD5")
        return payload

    def _largest_payload(self) -> int:
        return 7 * self.shape[0] * self.shape[1]

    def _check_angle(self, head: CbfHeader, image: int, path: Path) -> None:
        angle = start_angle_deg(head.text)
        if angle is None or self._start_deg is None or not self._step_deg:
            return
        expected = self._start_deg + (image - self._first) * self._step_deg
        if _apart_deg(angle, expected) > 0.5 * abs(self._step_deg):
            raise BadFrame(path, image - 1, f"starts at {angle:g} deg where the scan is at {expected:g}")


def start_angle_deg(text: str) -> float | None:
    """The `# Start_angle` of a header, where it has one."""
    line = next((line for line in text.splitlines() if line.lower().startswith("# start_angle")), None)
    return None if line is None else number(mini_fields(line), "start_angle", "", math.nan)


def module_gaps(shape: tuple[int, int], detector: str) -> npt.NDArray[np.bool_]:
    """(slow, fast) bool, True between the modules of a Pilatus or Eiger; all False for a size that is neither's.

    Module and gap sizes: DECTRIS's technical specifications.
    """
    gaps = np.zeros(shape, bool)
    kind = next((kind for kind in _MODULES if kind in detector.lower()), "")
    found = modules_of(shape, kind)
    if found:
        (module_slow, module_fast), (gap_slow, gap_fast) = found
        gaps |= (np.arange(shape[0]) % (module_slow + gap_slow) >= module_slow)[:, None]
        gaps |= (np.arange(shape[1]) % (module_fast + gap_fast) >= module_fast)[None, :]
    return gaps


def modules_of(shape: tuple[int, int], kind: str) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(slow, fast) of a module and of a gap, when whole modules of a "pilatus" or "eiger" make up the shape."""
    for module, gap in _MODULES.get(kind, ()):
        if all((n + g) % (m + g) == 0 for n, m, g in zip(shape, module, gap)):
            return module, gap
    return None


def _select(series: Series, images: range | None, name: str) -> Series:
    if images is None:
        return series
    if images.step != 1 or not len(images):
        raise InputError("--images", f"{images} is empty or has steps", "give a range such as 1-900")
    files = {i + 1: series.files[i + 1] for i in images if i + 1 in series.files}
    numbers = list(series.files)
    if images.start + 1 not in files or images.stop not in files:
        raise InputError(
            name,
            f"images {images.start + 1} to {images.stop} are wanted; there are {numbers[0]} to {numbers[-1]}",
            "give --images within these",
        )
    return Series(series.template, files)


def _checked_gaps(series: Series, geometry: Geometry) -> Geometry:
    """A scan must be complete; stills may have gaps, which become a note."""
    numbers = list(series.files)
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers):
        return geometry
    missing = []
    for before, after in itertools.pairwise(numbers):
        if after == before + 2:
            missing.append(f"{before + 1}")
        elif after > before + 2:
            missing.append(f"{before + 1}-{after - 1}")
    listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    if geometry.scan is not None and not geometry.scan.is_still:
        raise InputError(
            series.template,
            f"image {listed} is missing between {first} and {last}",
            f"find the files, or use --images {first}-{int(missing[0].split('-')[0]) - 1}",
        )
    return replace(geometry, notes=(*geometry.notes, f"images {listed} are absent"))


def _step(head: CbfHeader, series: Series, geometry: Geometry) -> float | None:
    """Degrees from one header's start angle to the next, checked against the last file; None when it never changes."""
    first, last = next(iter(series.files)), next(reversed(series.files))
    path = series.files[last]
    end = parse_header(read_head(path, HEADER_LIMIT), path)
    _check_same(head.layout, end.layout, path)
    start_deg, end_deg = start_angle_deg(head.text), start_angle_deg(end.text)
    scan: Scan | None = geometry.scan
    if scan is None or scan.is_still or first == last or start_deg is None or end_deg is None:
        return 0.0
    if start_deg == end_deg:
        return None
    width = math.degrees(scan.width_rad)
    for step in (width, -width):  # a scan towards smaller angles is told about the opposite axis
        if _apart_deg(end_deg, start_deg + (last - first) * step) <= 0.5 * width:
            return step
    raise InputError(
        path,
        f"starts at {end_deg:g} deg, which is not {last - first} steps of {width:g} deg from {start_deg:g}",
        "choose the images of one scan with --images",
    )


def _check_same(first: Layout, last: Layout, path: Path) -> None:
    if first.shape != last.shape:
        raise InputError(path, f"is {last.shape}, the first image is {first.shape}", "choose images of one size")


def _apart_deg(a: float, b: float) -> float:
    return abs((a - b + 180.0) % 360.0 - 180.0)


def _parse_loaded(raw: npt.NDArray[np.uint8], path: Path) -> CbfHeader:
    try:
        return parse_header(raw[:_USUAL_HEADER].tobytes(), path)
    except InputError:
        return parse_header(raw[:HEADER_LIMIT].tobytes(), path)
