"""Geometry of the older Eiger filewriter's masters: near NeXus, without definition and dependency chains.

The detector's place is a translation and the directions of its two edges (detector/geometry), the goniometer a list of
angles by name; which way it turns is known only for the beamline. Vectors have the McStas z axis reversed.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.nexus_geometry import read_beam, sensor_of, trusted_range
from hdrmx.io.nexus_header import header, item, lab, number, text, unit_vector
from hdrmx.io.nexus_scan import Turn, make_scan
from hdrmx.models import Beam, Detector, Goniometer, Panel, Scan, Vector

# Rotation axes (McStas frame) of beamlines where it isn't the usual horizontal one, by the detector's number.
ROTATION_AXIS: dict[str, Vector] = {"E-32-0105": (0.0, 1.0, 0.0)}
USUAL_AXIS: Vector = (-1.0, 0.0, 0.0)


def is_legacy(entry: h5py.Group) -> bool:
    """An entry without a definition, that places its detector the old way."""
    return "definition" not in entry and item(entry, "instrument/detector/geometry/translation/distances") is not None


def read_legacy(
    entry: h5py.Group, shape: tuple[int, int] | None, dtype: np.dtype | None, path: Path, notes: list[str]
) -> tuple[Beam, Detector]:
    """Beam and detector of a master of the older layout.

    Raises
    ------
    InputError : something is missing or not finite; the message names it
    """
    beam = read_beam(entry, path, notes)
    group = entry["instrument/detector"]
    with header(path, "the detector"):
        panel = _panel(group, beam, shape or _announced_shape(group, path), path, notes)
        trusted = trusted_range(group, dtype, notes)
        detector = Detector((panel,), trusted, name=text(group, "description"))
    return beam, detector


def legacy_scan(
    entry: h5py.Group, n_frames: int | None, exposure_s: float, path: Path, notes: list[str]
) -> tuple[Goniometer, Scan]:
    """Goniometer and scan: omega turns; kappa, chi and phi must stand still."""
    with header(path, "the goniometer"):
        group = entry["sample/goniometer"]
        _others_stand_still(group, path, notes)
        angles, width = _omega(group, n_frames, path)
        axis = _axis(entry)
    return make_scan([Turn("omega", lab(axis), angles, width)], n_frames, exposure_s, path, notes)


def _panel(group: h5py.Group, beam: Beam, shape: tuple[int, int], path: Path, notes: list[str]) -> Panel:
    place = np.ravel(group["geometry/translation/distances"][()]).astype(float) * 1000.0  # metres to mm
    edges = np.ravel(group["geometry/orientation/value"][()]).astype(float)
    pixel = [number(group, name, "mm", "m") for name in ("y_pixel_size", "x_pixel_size")]
    if place.shape != (3,) or edges.shape != (6,) or not np.all(np.isfinite(place)):
        raise InputError(path, f"{group.name}/geometry has {place} mm and {edges}", "correct the header")
    if any(p is None or not np.isfinite(p) or p <= 0 for p in pixel):
        raise InputError(path, f"the pixels measure {pixel} mm", "it must be above 0; correct the header")
    thickness, material, mu = sensor_of(group, beam, notes)
    reverse_z = np.array([1.0, 1.0, -1.0])
    return Panel(
        name=str(group.name),
        shape=shape,
        pixel_mm=(float(pixel[0] or 0), float(pixel[1] or 0)),
        origin_mm=lab(place * reverse_z),
        fast_axis=lab(unit_vector(edges[:3] * reverse_z, "the fast direction", path)),
        slow_axis=lab(unit_vector(edges[3:] * reverse_z, "the slow direction", path)),
        thickness_mm=thickness,
        material=material,
        mu_per_mm=mu,
    )


def _announced_shape(group: h5py.Group, path: Path) -> tuple[int, int]:
    slow, fast = (number(group, f"detectorSpecific/{k}_pixels_in_detector") for k in "yx")
    if not slow or not fast:
        raise InputError(path, "the number of pixels is not known", "the header is incomplete")
    return int(slow), int(fast)


def _axis(entry: h5py.Group) -> npt.ArrayLike:
    omega = item(entry, "sample/transformations/omega")
    if omega is not None and "vector" in omega.attrs:
        return np.asarray(omega.attrs["vector"], float)
    return ROTATION_AXIS.get(text(entry, "instrument/detector/detector_number"), USUAL_AXIS)


def _omega(group: h5py.Group, n_frames: int | None, path: Path) -> tuple[npt.NDArray[np.float64], float]:
    """Angles of the frames and their width, degrees: the list where it is complete, else start and increment."""
    listed = item(group, "omega")
    angles = np.ravel(listed[()]).astype(float) if listed is not None else np.zeros(0)
    width = next(
        (w for name in ("omega_increment", "omega_range_average") if (w := number(group, name)) is not None), 0.0
    )
    width = round(width, 6)  # single precision in the file: 0.1 is 0.10000000149
    if n_frames is None:
        n_frames = _announced_frames(group, width) or len(angles) or 1
    if len(angles) != n_frames or not len(angles):
        start = number(group, "omega_start")
        start = start if start is not None else float(angles[0]) if len(angles) else 0.0
        angles = start + width * np.arange(n_frames)
    if not np.all(np.isfinite(angles)) or not np.isfinite(width):
        raise InputError(path, f"{group.name}/omega has values that are not finite", "correct the header")
    return angles, width


def _announced_frames(group: h5py.Group, width: float) -> int:
    total = number(group, "omega_range_total")
    return round(total / width) if total and width else 0


def _others_stand_still(group: h5py.Group, path: Path, notes: list[str]) -> None:
    for name in ("kappa", "chi", "phi"):
        data = item(group, name)
        angles = np.ravel(data[()]).astype(float) if data is not None else np.zeros(1)
        if abs(number(group, name + "_increment") or 0.0) > 0 or (angles.size and np.ptp(angles) > 0):
            raise InputError(path, f"{name} turns; its axis is not in the file", "only scans about omega can be read")
        if angles.size and angles[0] != 0:
            notes.append(f"{name} stands at {angles[0]:g} deg; its axis is not in the file, so it was left out")
