"""Experiment from a mini-CBF header: the `# Key value` lines of Pilatus and Eiger detectors.

The header tells little: distance, beam centre, wavelength, angles. The rest is agreed: the detector stands upright
in the beam (fast axis +X, slow axis -Y), and the spindle is +X but at beamlines known to differ, as in dxtbx.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.attenuation import mu_per_mm
from hdrmx.models import Beam, Detector, Geometry, Goniometer, Matrix, Panel, Scan, Vector

NO_CUTOFF = 1e8  # counts; a header without Count_cutoff
ELECTRON_WAVELENGTH_A = 0.05  # shorter: electrons, an unpolarised beam
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_X, _MINUS_X, _Y = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
_MINI_KAPPA = (0.914, 0.279, -0.297)


@dataclass(frozen=True)
class _Stand:
    """The goniometer at a detector that is known by its serial number: (header key, axis) from the crystal outwards."""

    axes: tuple[tuple[str, Vector], ...]
    since: int = 0  # year


# Facts that headers leave out; the same beamlines as dxtbx 3.12 knows.
_STANDS = {
    "60-0114": _Stand((("Omega", _Y),), since=2017),
    "60-0115": _Stand((("Omega", _Y),)),
    "E-32-0105": _Stand((("Omega", _Y),)),
    "E-32-0107": _Stand((("Omega", _Y),)),
    "60-0125": _Stand((("Omega", _MINUS_X),)),
    "60-0127": _Stand((("Omega", _MINUS_X),)),
    "60-0132": _Stand((("Omega", _MINUS_X),)),
    "60-0100": _Stand((("Phi", _X), ("Kappa", _MINI_KAPPA), ("Omega", _X))),
    "60-0126": _Stand((("Phi", _X), ("Kappa", _MINI_KAPPA), ("Omega", _X))),
    "160-0001": _Stand((("Phi", _X), ("Chi", (0.0, 0.0, -1.0)), ("Omega", _X))),
    "60-0106": _Stand((("Phi", _X), ("Chi", (0.0, 0.0, -1.0)), ("Omega", _X))),
}


def mini_fields(text: str) -> dict[str, str]:
    """The `# Key value` lines by lower-case key; `timestamp` is the line that is a date alone."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("#") or line.startswith("##"):
            continue
        content = line[1:].strip()
        if re.match(r"\d{4}[-/]\w{2,3}[-/]\d{2}", content):
            fields.setdefault("timestamp", content)
        elif found := re.match(r"([A-Za-z_0-9.]+)\s*[:=]?\s*(.*)", content):
            fields.setdefault(found.group(1).lower(), found.group(2).strip())
    return fields


def number(fields: dict[str, str], key: str, where: str | Path, default: float | None = None) -> float:
    """The first number of a field. Raises InputError when it is absent (without a default) or not finite."""
    text = fields.get(key)
    if text is None and default is not None:
        return default
    found = re.search(rf"{_NUMBER}|nan|inf", text or "", re.IGNORECASE)
    if not found or not math.isfinite(float(found.group())):
        what = "is absent" if text is None else f"is '{text[:40]}'"
        raise InputError(where, f"{key} {what} in the header", "a mini-CBF header must give it")
    return float(found.group())


def mini_geometry(text: str, shape: tuple[int, int], image: int, n_images: int, where: str | Path) -> Geometry:
    """Geometry of a series from the header of its first file.

    Parameters
    ----------
    text : header of the first file
    shape : (slow, fast), px
    image, n_images : number of the first image, and how many there are
    where : file, for messages
    """
    fields = mini_fields(text)
    notes = []
    if abs(two_theta := number(fields, "detector_2theta", where, 0.0)) > 1e-3:
        notes.append(f"the header's Detector_2theta of {two_theta} deg is not applied: it doesn't say about which axis")
    beam = _beam(fields, where)
    goniometer = _goniometer(fields, where)
    scan = _scan(fields, image, n_images, where)
    if scan.width_rad < 0:
        goniometer, scan = reverse(goniometer, scan)
    return Geometry(beam, _detector(fields, shape, beam, where), goniometer, scan, tuple(notes))


def _beam(fields: dict[str, str], where: str | Path) -> Beam:
    wavelength = number(fields, "wavelength", where)
    if not 1e-3 < wavelength < 100:
        raise InputError(where, f"the wavelength is {wavelength} A", "it must be between 0.001 and 100")
    flux = number(fields, "flux", where, 0.0) if re.search(r"\d", fields.get("flux", "")) else 0.0
    if wavelength <= ELECTRON_WAVELENGTH_A:
        return Beam(wavelength, polarization_fraction=0.5, flux_per_s=flux or None, probe="electron")
    return Beam(wavelength, flux_per_s=flux or None)


def _detector(fields: dict[str, str], shape: tuple[int, int], beam: Beam, where: str | Path) -> Detector:
    pixel = [1e3 * float(v) for v in re.findall(_NUMBER, fields.get("pixel_size", ""))][:2]
    centre = [float(v) for v in re.findall(_NUMBER, fields.get("beam_xy", ""))][:2]
    if len(pixel) != 2 or not all(1e-4 < p < 10 for p in pixel):
        raise InputError(where, f"Pixel_size is '{fields.get('pixel_size', '')[:40]}'", "two sizes in m are expected")
    if len(centre) != 2:
        raise InputError(where, f"Beam_xy is '{fields.get('beam_xy', '')[:40]}'", "two numbers in px are expected")
    distance = 1e3 * number(fields, "detector_distance", where)
    if not 0 < distance < 1e6:
        raise InputError(where, f"Detector_distance is {distance} mm", "it must be above 0")
    name = fields.get("detector", "")
    material, thickness = sensor(fields, name, where)
    panel = Panel(
        name="Panel",
        shape=shape,
        pixel_mm=(pixel[1], pixel[0]),
        origin_mm=(-centre[0] * pixel[0], centre[1] * pixel[1], -distance),
        fast_axis=_X,
        slow_axis=(0.0, -1.0, 0.0),
        thickness_mm=thickness,
        material=material,
        mu_per_mm=mu_per_mm(material, beam.wavelength_A),
    )
    cutoff = number(fields, "count_cutoff", where, NO_CUTOFF)
    kind = "ccd" if "ccd" in fields else "pixel-array"
    return Detector((panel,), trusted=(0.0, cutoff), name=name, kind=kind)


def sensor(fields: dict[str, str], name: str, where: str | Path) -> tuple[str, float]:
    """(formula, mm); an Eiger of which the header says nothing has 0.45 mm of silicon."""
    for key, formula in (("silicon", "Si"), ("cdte", "CdTe"), ("gaas", "GaAs")):
        if key in fields:
            return formula, 1e3 * number({"thickness": fields[key].split("thickness")[-1]}, "thickness", where)
    return ("Si", 0.45) if "eiger" in name.lower() else ("", 0.0)


def _goniometer(fields: dict[str, str], where: str | Path) -> Goniometer:
    detector, year = fields.get("detector", ""), int(fields.get("timestamp", "0")[:4])
    serial = next((s for s in (*_STANDS, "60-0119") if re.search(rf"(?<![\d-]){s}(?!\d)", detector)), "")
    if serial == "60-0119" and year >= 2015:
        return Goniometer(_MINUS_X if "FAST" in fields.get("oscillation_axis", "") else _Y)
    stand = _STANDS.get(serial)
    if stand is None or year < stand.since:
        return Goniometer(_X)
    if len(stand.axes) == 1:
        return Goniometer(stand.axes[0][1])
    if "alpha" in fields and serial == "60-0106":
        alpha = math.radians(number(fields, "alpha", where))
        axes: tuple[tuple[str, Vector], ...] = (
            ("Phi", _X),
            ("Kappa", (math.cos(alpha), 0.0, math.sin(alpha))),
            ("Omega", _X),
        )
        settings = {"Phi": "phi", "Kappa": "kappa", "Omega": "chi"}  # this beamline writes omega's setting as Chi
    else:
        axes, settings = stand.axes, {name: name.lower() for name, _ in stand.axes}
    scanned = 0 if fields.get("oscillation_axis", "").upper() == "PHI" and serial == "60-0106" else len(axes) - 1
    angles = [math.radians(number(fields, settings[name], where, 0.0)) for name, _ in axes]
    named = tuple((f"GON_{name.upper()}", axis, angle) for (name, axis), angle in zip(axes, angles))
    return goniometer_of(named, scanned)


def goniometer_of(axes: tuple[tuple[str, Vector, float], ...], scan_axis: int) -> Goniometer:
    """A goniometer of (name, axis at the datum, angle_rad) from the crystal outwards, turning about one of them."""
    fixed, setting = np.eye(3), np.eye(3)
    for i, (_, axis, angle) in enumerate(axes):
        if i < scan_axis:
            fixed = rotation(axis, angle) @ fixed
        elif i > scan_axis:
            setting = rotation(axis, angle) @ setting
    return Goniometer(axes[scan_axis][1], matrix(fixed), matrix(setting), axes, scan_axis)


def rotation(axis: npt.ArrayLike, angle_rad: float) -> npt.NDArray[np.float64]:
    """(3, 3) active right-handed rotation about an axis of any length (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle_rad) * cross + (1.0 - math.cos(angle_rad)) * (cross @ cross)


def matrix(m: npt.NDArray[np.float64]) -> Matrix:
    return tuple(tuple(float(v) for v in row) for row in m)  # type: ignore[return-value]


def _scan(fields: dict[str, str], image: int, n_images: int, where: str | Path) -> Scan:
    width = number(fields, "angle_increment", where, 0.0)
    if width < -180:  # from just below 360 round to 0
        width += 360
    return Scan(
        first=image - 1,
        n_frames=n_images,
        start_rad=math.radians(number(fields, "start_angle", where, 0.0)),
        width_rad=math.radians(width),
        exposure_s=number(fields, "exposure_period", where, 0.0),
    )


def reverse(goniometer: Goniometer, scan: Scan) -> tuple[Goniometer, Scan]:
    """The same rotation, told as growing angles about the opposite axis."""
    axes = tuple(
        (name, _opposite(a), -angle) if i == goniometer.scan_axis else (name, a, angle)
        for i, (name, a, angle) in enumerate(goniometer.axes)
    )
    turned = replace(goniometer, axis=_opposite(goniometer.axis), axes=axes)
    return turned, replace(scan, start_rad=-scan.start_rad, width_rad=-scan.width_rad)


def _opposite(v: Vector) -> Vector:
    return 0.0 - v[0], 0.0 - v[1], 0.0 - v[2]
