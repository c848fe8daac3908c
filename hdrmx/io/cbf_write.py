"""Writes frames as mini-CBF, with the header that Pilatus and Eiger detectors have."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fabio.compression import compByteOffset

from hdrmx.errors import InputError
from hdrmx.io.cbf import modules_of
from hdrmx.io.cbf_header import MARKER, SECTION
from hdrmx.models import Geometry

_PADDING = 4095  # bytes of zeros behind the pixels, as detectors write them
_SENSORS = {"Si": "Silicon", "CdTe": "CdTe", "GaAs": "GaAs"}


@dataclass(frozen=True)
class MiniHeader:
    """What a mini-CBF header tells of one image. Lengths are m, angles degrees, as the format has them."""

    detector: str
    pixel_m: tuple[float, float]  # (slow, fast)
    beam_px: tuple[float, float]  # (slow, fast)
    distance_m: float
    wavelength_A: float
    start_deg: float = 0.0
    width_deg: float = 0.0
    exposure_s: float = 0.1
    cutoff: int = 1_000_000  # highest trusted count
    material: str = "Si"
    thickness_m: float = 0.00045
    timestamp: str = "2000-01-01T00:00:00.000"


def mini_header(geometry: Geometry, index: int) -> MiniHeader:
    """The header of frame `index` of a scan.

    Raises InputError where a mini-CBF can't tell the geometry: several panels, a detector that isn't upright (fast
    axis +X, slow axis -Y), a beam not along -Z, a spindle other than +X.
    """
    panel, scan = geometry.detector.panels[0], geometry.scan
    upright = np.allclose(panel.fast_axis, (1, 0, 0)) and np.allclose(panel.slow_axis, (0, -1, 0))
    if len(geometry.detector.panels) > 1 or not upright or not np.allclose(geometry.beam.direction, (0, 0, -1)):
        raise InputError("mini-CBF", "can't tell a tilted or divided detector or an oblique beam", "write NXmx")
    if geometry.goniometer is not None and not np.allclose(geometry.goniometer.lab_axis, (1, 0, 0)):
        raise InputError("mini-CBF", f"can't tell a spindle along {geometry.goniometer.lab_axis}", "write NXmx")
    x, y, z = panel.origin_mm
    start = 0.0 if scan is None else math.degrees(float(scan.angle_rad(index)))
    width = 0.0 if scan is None else math.degrees(scan.width_rad)
    return MiniHeader(
        detector=_known_name(panel.shape),
        pixel_m=(panel.pixel_mm[0] / 1e3, panel.pixel_mm[1] / 1e3),
        beam_px=(y / panel.pixel_mm[0], -x / panel.pixel_mm[1]),
        distance_m=-z / 1e3,
        wavelength_A=geometry.beam.wavelength_A,
        start_deg=round(start, 10),
        width_deg=round(width, 10),
        exposure_s=0.0 if scan is None else scan.exposure_s,
        cutoff=int(geometry.detector.trusted[1]),
        material=panel.material,
        thickness_m=panel.thickness_mm / 1e3,
    )


def _known_name(shape: tuple[int, int]) -> str:
    """A detector line that makes other programs look for the gaps of a Pilatus or Eiger only where they are."""
    for kind, name in (("pilatus", "PILATUS3"), ("eiger", "Dectris EIGER2 Si")):
        if modules_of(shape, kind):
            return f"{name} {shape[0] * shape[1] / 1e6:.1f}M, S/N 00-0000"
    return "GENERIC, S/N 00-0000"


def write_mini_cbf(path: str | Path, pixels: npt.NDArray[np.int32], header: MiniHeader) -> None:
    """Write one frame, packed by byte offset. A file appears whole or not at all.

    Parameters
    ----------
    path : ends in .cbf
    pixels : (slow, fast), counts; as detectors do, -1 between modules and -2 for other pixels without data (DIALS
        masks the gaps by their place and takes a -1 elsewhere for a count)
    header : `mini_header`

    Raises
    ------
    ValueError : the pixels aren't two-dimensional int32, or differ by 2^31 or more
    """
    path = Path(path)
    if pixels.dtype != np.int32 or pixels.ndim != 2:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; they must be int32, (slow, fast)")
    if pixels.size and int(pixels.max()) - int(pixels.min()) >= 2**31:
        raise ValueError(f"pixels run from {pixels.min()} to {pixels.max()}; they must differ by less than 2^31")
    payload = bytes(compByteOffset(np.ascontiguousarray(pixels)))
    text = _text(path.stem, header) + _mime(pixels.shape, payload)
    part = path.with_name(path.name + f".part{os.getpid()}")
    try:
        with part.open("wb") as file:
            for piece in (text, payload, bytes(_PADDING), b"\r\n" + SECTION + b"--\r\n;\r\n\r\n"):
                file.write(piece)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(path, f"can't be written ({error.strerror})", "check the folder and the space") from None


def _text(name: str, h: MiniHeader) -> bytes:
    convention = "PILATUS_1.2" if "GENERIC" not in h.detector else "GENERIC_MINI"
    sensor = f"# {_SENSORS[h.material]} sensor, thickness {h.thickness_m:.12g} m" if h.material in _SENSORS else "#"
    lines = [
        "###CBF: VERSION 1.5",
        "",
        f"data_{name.replace(' ', '_')}",
        "",
        f'_array_data.header_convention "{convention}"',
        "_array_data.header_contents",
        ";",
        f"# Detector: {h.detector}",
        f"# {h.timestamp}",
        f"# Pixel_size {h.pixel_m[1]:.12g} m x {h.pixel_m[0]:.12g} m",
        sensor,
        f"# Exposure_time {h.exposure_s:.9g} s",
        f"# Exposure_period {h.exposure_s:.9g} s",
        f"# Count_cutoff {h.cutoff} counts",
        f"# Wavelength {h.wavelength_A:.15g} A",
        f"# Detector_distance {h.distance_m:.15g} m",
        f"# Beam_xy ({h.beam_px[1]:.15g}, {h.beam_px[0]:.15g}) pixels",
        f"# Start_angle {h.start_deg:.10g} deg.",
        f"# Angle_increment {h.width_deg:.10g} deg.",
        "# Detector_2theta 0 deg.",
        "# Polarization 0.999",
        ";",
        "",
        "_array_data.data",
        ";",
        "",
    ]
    return "\r\n".join(line for line in lines if line != "#").encode("ascii")


def _mime(shape: tuple[int, ...], payload: bytes) -> bytes:
    lines = [
        SECTION.decode(),
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(payload)}",
        "X-Binary-ID: 1",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"Content-MD5: {base64.b64encode(hashlib.md5(payload).digest()).decode()}",
        f"X-Binary-Number-of-Elements: {shape[0] * shape[1]}",
        f"X-Binary-Size-Fastest-Dimension: {shape[1]}",
        f"X-Binary-Size-Second-Dimension: {shape[0]}",
        f"X-Binary-Size-Padding: {_PADDING}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("ascii") + MARKER
