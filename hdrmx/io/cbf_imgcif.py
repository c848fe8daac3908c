"""Experiment from a full imgCIF header: axes that stand on one another, detector elements, a scan.

Categories as in Bernstein & Hammersley (2005) International Tables G, chapters 3.7 and 4.6. The laboratory frame is
ours: X along the goniometer's spindle, Z from the sample to the source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.attenuation import mu_per_mm
from hdrmx.io.cbf_mini import goniometer_of, mini_fields, number, reverse, rotation, sensor
from hdrmx.models import Beam, Detector, Geometry, Goniometer, Panel, Scan, Vector

Category = dict[str, list[str | bool | None]]
_DEEPEST = 30  # axes that stand on one another


@dataclass(frozen=True)
class _Axis:
    name: str
    is_rotation: bool
    equipment: str
    depends_on: str
    vector: Vector
    offset: Vector


@dataclass(frozen=True)
class _Setting:
    """Of one axis: degrees of a rotation, mm of a translation."""

    start: float  # at the start of the scan
    frame: float  # at this frame
    increment: float


def is_full_header(text: str) -> bool:
    """Whether a header describes axes and detector elements, beside the `# Key value` lines."""
    return "_axis.id" in text and "_array_structure_list" in text


class _Cif:
    """Categories of the one data block of a header, with messages that name what is absent."""

    def __init__(self, text: str, where: str | Path) -> None:
        self.where = where
        # what follows is the name of the binary item, whose value is not text
        text = text.rpartition("_array_data.data")[0] or text
        try:
            self.block = gemmi.cif.read_string(text).sole_block()
        except (RuntimeError, ValueError, UnicodeDecodeError) as error:
            raise InputError(where, f"the header is not CIF ({str(error)[:120]})", "the file is damaged") from None

    def rows(self, category: str, *columns: str, optional: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        """Values of the columns, row by row; '' for those that are optional and absent, `.` or `?`."""
        table = self._table(category)
        for column in columns:
            if column not in table:
                raise InputError(self.where, f"the header has no _{category}.{column}", "a full imgCIF header gives it")
        length = len(next(iter(table.values()), []))
        wanted = [table.get(name, [None] * length) for name in (*columns, *optional)]
        return [tuple(v if isinstance(v, str) else "" for v in row) for row in zip(*wanted)]

    def has(self, category: str) -> bool:
        return bool(self._table(category))

    def _table(self, category: str) -> Category:
        try:
            table: Category = self.block.get_mmcif_category(f"_{category}.")
        except RuntimeError as error:  # a loop over two categories
            raise InputError(self.where, str(error)[:120], "the header is damaged") from None
        return {name.lower(): values for name, values in table.items()}

    def value(self, text: str, what: str, default: float | None = None) -> float:
        if text == "" and default is not None:
            return default
        try:
            number = gemmi.cif.as_number(text)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(self.where, f"{what} is '{text[:40]}'", "a finite number is expected")
        return float(number)

    def vector(self, texts: tuple[str, ...], what: str) -> Vector:
        x, y, z = (self.value(t, what, 0.0) for t in texts)
        return x, y, z


def imgcif_geometry(text: str, shape: tuple[int, int], image: int, n_images: int, where: str | Path) -> Geometry:
    """Geometry of a series from the header of its first file; parameters as `mini_geometry`."""
    cif = _Cif(text, where)
    axes, fields = _axes(cif), mini_fields(text)
    settings = _settings(cif)
    notes: list[str] = []
    beam = _beam(cif, axes, fields)
    goniometer, scan = _rotation(cif, axes, settings, image, n_images)
    if goniometer and scan and scan.width_rad < 0:
        goniometer, scan = reverse(goniometer, scan)
    detector = _detector(cif, axes, settings, fields, shape, beam, notes)
    return Geometry(beam, detector, goniometer, scan, tuple(notes))


def _axes(cif: _Cif) -> dict[str, _Axis]:
    places = ("vector[1]", "vector[2]", "vector[3]", "offset[1]", "offset[2]", "offset[3]")
    rows = cif.rows("axis", "id", "type", "equipment", "depends_on", *places[:3], optional=(*places[3:], "rotation"))
    axes = {}
    for name, kind, equipment, parent, *numbers, extra in rows:
        if extra and cif.value(extra, f"rotation of axis {name}") != 0:
            raise InputError(cif.where, f"axis {name} has a rotation of its own", "this is not supported")
        vector = cif.vector(tuple(numbers[:3]), f"vector of axis {name}")
        offset = cif.vector(tuple(numbers[3:]), f"offset of axis {name}")
        if kind.lower() in ("rotation", "translation") and not any(vector):
            raise InputError(cif.where, f"the vector of axis {name} has no length", "the header is damaged")
        axes[name] = _Axis(name, kind.lower() == "rotation", equipment.lower(), parent, vector, offset)
    return axes


def _settings(cif: _Cif) -> dict[str, _Setting]:
    columns = ("angle_start", "angle_increment", "displacement_start", "displacement_increment")
    settings = {}
    for name, *texts in cif.rows("diffrn_scan_axis", "axis_id", optional=columns):
        angle, step, shift, shift_step = (cif.value(t, f"setting of axis {name}", 0.0) for t in texts)
        settings[name] = _Setting(angle + shift, angle + shift, step + shift_step)  # one of the two kinds is 0
    if cif.has("diffrn_scan_frame_axis"):
        for name, *texts in cif.rows("diffrn_scan_frame_axis", "axis_id", optional=("angle", "displacement")):
            scan = settings.get(name, _Setting(0.0, 0.0, 0.0))
            if any(texts):
                at = sum(cif.value(t, f"setting of axis {name}", 0.0) for t in texts)
                settings[name] = _Setting(scan.start, at, scan.increment)
    return settings


def _chain(cif: _Cif, axes: dict[str, _Axis], name: str) -> list[_Axis]:
    """The axis and those that carry it, down to the laboratory."""
    chain: list[_Axis] = []
    while name not in ("", "."):
        if name not in axes:
            raise InputError(cif.where, f"axis {name} is named but not described", "the header is damaged")
        chain.append(axes[name])
        if len(chain) > _DEEPEST:
            raise InputError(cif.where, f"axis {chain[0].name} depends on itself", "the header is damaged")
        name = axes[name].depends_on
    return chain


def _place(
    chain: list[_Axis], settings: dict[str, _Setting], point: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Position in the laboratory of a point given on the first axis of a chain, and the rotation of that axis."""
    turn = np.eye(3)
    for axis in chain:
        setting = settings[axis.name].frame if axis.name in settings else 0.0
        if axis.is_rotation:
            step = rotation(axis.vector, math.radians(setting))
            point, turn = step @ point, step @ turn
        else:
            point = point + setting * np.asarray(axis.vector)
        point = point + np.asarray(axis.offset)
    return point, turn


def _beam(cif: _Cif, axes: dict[str, _Axis], fields: dict[str, str]) -> Beam:
    wavelengths = cif.rows("diffrn_radiation_wavelength", "wavelength")
    wavelength = cif.value(wavelengths[0][0] if wavelengths else "", "the wavelength")
    if not 1e-3 < wavelength < 100:
        raise InputError(cif.where, f"the wavelength is {wavelength} A", "it must be between 0.001 and 100")
    source = next((a.vector for a in axes.values() if a.equipment == "source"), (0.0, 0.0, 1.0))
    direction = -np.asarray(source) / (np.linalg.norm(source) or 1.0)
    if not direction.any():
        raise InputError(cif.where, "the axis of the source has no length", "the header is damaged")
    polarized = cif.rows("diffrn_radiation", optional=("polarizn_source_ratio", "polarizn_source_norm"))
    ratio_text, angle_text = polarized[0] if polarized else ("", "")
    angle = math.radians(cif.value(angle_text, "polarizn_source_norm", 0.0))
    # (I_in - I_out) / (I_in + I_out); what templates of Pilatus beamlines say of it is not to be trusted
    ratio = cif.value(ratio_text, "polarizn_source_ratio", 0.998)
    fraction = 0.999 if _is_pixel_array(fields) else min(1.0, max(0.0, (1.0 + ratio) / 2.0))
    x, y, z = (float(v) + 0.0 for v in direction)
    return Beam(wavelength, (x, y, z), (math.sin(angle), math.cos(angle), 0.0), fraction)


def _is_pixel_array(fields: dict[str, str]) -> bool:
    return any(word in fields.get("detector", "").lower() for word in ("pilatus", "eiger", "jungfrau", "timepix"))


def _rotation(
    cif: _Cif, axes: dict[str, _Axis], settings: dict[str, _Setting], image: int, n_images: int
) -> tuple[Goniometer | None, Scan | None]:
    ordered = [a for a in axes.values() if a.equipment == "goniometer" and a.is_rotation]
    if not ordered:
        return None, None
    ordered.sort(key=lambda a: -len(_chain(cif, axes, a.name)))  # the crystal's own axis stands on all others
    at_rest = _Setting(0.0, 0.0, 0.0)
    moving = [i for i, a in enumerate(ordered) if settings.get(a.name, at_rest).increment != 0]
    if len(moving) > 1:
        names = ", ".join(ordered[i].name for i in moving)
        raise InputError(cif.where, f"{len(moving)} axes turn at once ({names})", "one axis may turn in a scan")
    scanned = moving[0] if moving else 0
    named = tuple((a.name, a.vector, math.radians(settings.get(a.name, at_rest).start)) for a in ordered)
    setting = settings.get(ordered[scanned].name, at_rest)
    times = cif.rows("diffrn_scan_frame", optional=("integration_time",)) if cif.has("diffrn_scan_frame") else [("",)]
    exposure = cif.value(times[0][0], "integration_time", 0.0)
    start, width = math.radians(setting.frame), math.radians(setting.increment)
    return goniometer_of(named, scanned), Scan(image - 1, n_images, start, width, exposure)


def _detector(
    cif: _Cif,
    axes: dict[str, _Axis],
    settings: dict[str, _Setting],
    fields: dict[str, str],
    shape: tuple[int, int],
    beam: Beam,
    notes: list[str],
) -> Detector:
    structure = cif.rows(
        "array_structure_list", "index", "dimension", "precedence", "axis_set_id", optional=("direction",)
    )
    by_precedence = {row[2]: row for row in structure}
    if len(structure) != 2 or set(by_precedence) != {"1", "2"}:
        raise InputError(cif.where, f"{len(structure)} dimensions of pixels are described", "one flat panel is read")
    sizes = {
        row[0]: row[1:]
        for row in cif.rows(
            "array_structure_list_axis", "axis_set_id", "axis_id", optional=("displacement", "displacement_increment")
        )
    }
    steps, start_mm = [], np.zeros(3)
    for key, n_pixels in (("1", shape[1]), ("2", shape[0])):
        _, dimension, _, axis_set, direction = by_precedence[key]
        if dimension != str(n_pixels):
            raise InputError(cif.where, f"{dimension} pixels are described, {n_pixels} are stored", "it is damaged")
        if axis_set not in sizes or sizes[axis_set][0] not in axes:
            raise InputError(cif.where, f"the axis of pixels {axis_set} is not described", "the header is damaged")
        if direction.lower() == "decreasing":
            notes.append("pixels are stored in decreasing order along an axis; read as if increasing, as CBFlib does")
        axis_id, first_text, step_text = sizes[axis_set]
        unit = np.asarray(axes[axis_id].vector) / np.linalg.norm(axes[axis_id].vector)
        step = cif.value(step_text, f"pixel size along {axis_id}")
        start_mm += cif.value(first_text, f"first pixel along {axis_id}", 0.0) * unit
        steps.append((axis_id, unit, step))
    return _placed(cif, axes, settings, fields, shape, beam, steps, start_mm)


def _placed(
    cif: _Cif,
    axes: dict[str, _Axis],
    settings: dict[str, _Setting],
    fields: dict[str, str],
    shape: tuple[int, int],
    beam: Beam,
    steps: list[tuple[str, npt.NDArray[np.float64], float]],
    start_mm: npt.NDArray[np.float64],
) -> Detector:
    chain = max((_chain(cif, axes, axis_id) for axis_id, _, _ in steps), key=len)
    origin, turn = _place(chain, settings, start_mm)
    (_, fast, fast_mm), (_, slow, slow_mm) = steps
    if not (1e-4 < abs(fast_mm) < 10 and 1e-4 < abs(slow_mm) < 10):
        raise InputError(cif.where, f"the pixels are {slow_mm} x {fast_mm} mm", "the header is damaged")
    fast, slow = turn @ fast * math.copysign(1.0, fast_mm), turn @ slow * math.copysign(1.0, slow_mm)
    if np.linalg.norm(np.cross(fast, slow)) < 0.9:
        raise InputError(cif.where, "the two axes of the pixels are not at right angles", "the header is damaged")
    material, thickness = sensor(fields, fields.get("detector", ""), cif.where)
    panel = Panel(
        name="Panel",
        shape=shape,
        pixel_mm=(abs(slow_mm), abs(fast_mm)),
        origin_mm=_vector(origin),
        fast_axis=_vector(fast),
        slow_axis=_vector(slow),
        thickness_mm=thickness,
        material=material,
        mu_per_mm=mu_per_mm(material, beam.wavelength_A),
    )
    gain, trusted = _intensities(cif, fields)
    kind = "pixel-array" if _is_pixel_array(fields) else "ccd"
    return Detector((panel,), trusted=trusted, gain=gain, name=fields.get("detector", ""), kind=kind)


def _intensities(cif: _Cif, fields: dict[str, str]) -> tuple[float, tuple[float, float]]:
    """(gain, trusted range). Values below 0 mark pixels without data."""
    rows = (
        cif.rows("array_intensities", optional=("gain", "overload", "undefined_value"))
        if cif.has("array_intensities")
        else []
    )
    gain, overload, undefined = rows[0] if rows else ("", "", "")
    cutoff = cif.value(overload, "overload", number(fields, "count_cutoff", cif.where, 1e6))
    return cif.value(gain, "gain", 1.0), (max(0.0, cif.value(undefined, "undefined_value", 0.0)), cutoff)


def _vector(v: npt.NDArray[np.float64]) -> Vector:
    return float(v[0]), float(v[1]), float(v[2])
