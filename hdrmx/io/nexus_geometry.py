"""Beam and detector from the metadata of an NXmx file.

Vectors of the file are in the McStas frame (x, y, z); in the laboratory frame of `models` they are (-x, y, -z).
What the header leaves out or contradicts is said in `Geometry.notes`; what makes it unusable is an `InputError`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from hdrmx.errors import InputError
from hdrmx.io.attenuation import mu_per_mm, sensor_material
from hdrmx.io.nexus_axes import chain, read_axis, standing
from hdrmx.io.nexus_header import as_text, find_class, header, item, lab, number, text, unit_factor, unit_vector
from hdrmx.models import Beam, Detector, Panel

BEAM_CENTRE_PX = 2.0  # header and axes may differ by this before it is said
WAVELENGTH_SPREAD = 1e-3  # relative; wavelengths that spread wider aren't one beam


def read_beam(entry: h5py.Group, path: Path, notes: list[str]) -> Beam:
    """The beam of the instrument, or else of the sample. It travels along +z of the McStas frame."""
    with header(path, "the beam"):
        parts = [*find_class(entry, "NXinstrument"), *find_class(entry, "NXsample")]
        beams = [b for part in parts for b in find_class(part, "NXbeam")]
        beams = [b for b in beams if item(b, "incident_wavelength") is not None]
        if not beams:
            raise InputError(path, "there is no incident_wavelength", "the header is incomplete")
        group = beams[0]
        wavelength = _wavelength(group, path)
        flux = number(group, "total_flux", "Hz", "Hz")
        stokes = item(group, "incident_polarisation_stokes")
        probe = probe_of(entry, path)
        fraction = 0.5 if probe == "electron" else 0.999
        if stokes is not None:
            i, q, u = np.ravel(stokes[()])[:3].astype(float)
            if i > 0 and abs(q / i) <= 1 and abs(u / i) < 0.01:
                fraction = (1.0 + q / i) / 2.0
            else:
                notes.append(
                    f"the beam's Stokes vector ({i:g}, {q:g}, {u:g}) was left out: {fraction} is polarised in x"
                )
    return Beam(wavelength, lab((0, 0, 1)), polarization_fraction=fraction, flux_per_s=flux or None, probe=probe)


def probe_of(entry: h5py.Group, path: Path) -> str:
    """'electron' where the source says so, else 'x-ray'."""
    for group in (entry, *find_class(entry, "NXinstrument")):
        for source in find_class(group, "NXsource"):
            if "electron" in text(source, "probe").lower():
                return "electron"
    return "x-ray"


def _wavelength(group: h5py.Group, path: Path) -> float:
    data = group["incident_wavelength"]
    values = np.ravel(data[()]).astype(float) * unit_factor(data, "A")
    weights = item(group, "incident_wavelength_weights")
    weight = np.ravel(weights[()]).astype(float) if weights is not None else np.ones(len(values))
    if len(weight) != len(values):
        raise InputError(path, f"{data.name} has {len(values)} wavelengths with {len(weight)} weights")
    if not np.all(np.isfinite(values)) or not np.all(values > 0) or not weight.sum() > 0:
        raise InputError(path, f"the wavelength is {values[0]:g} A", "it must be a number above 0; correct the header")
    mean = float(np.average(values, weights=weight))
    spread = float(np.sqrt(np.average((values - mean) ** 2, weights=weight))) / mean
    if spread > WAVELENGTH_SPREAD:
        what = f"the wavelengths spread by {100 * spread:.2g} % (standard deviation) about {mean:.5g} A"
        raise InputError(path, what, f"only a beam within {100 * WAVELENGTH_SPREAD:g} % can be processed")
    return mean


def read_detector(
    entry: h5py.Group, beam: Beam, shape: tuple[int, int] | None, dtype: np.dtype | None, path: Path, notes: list[str]
) -> Detector:
    """The detector; each of its modules is a panel.

    Parameters
    ----------
    shape, dtype : of the frames, where known; `shape` settles a data_size that was written the wrong way round
    """
    group = the_detector(entry, path)
    with header(path, f"the detector {group.name}"):
        modules = find_class(group, "NXdetector_module")
        if not modules:
            raise InputError(path, f"{group.name} has no NXdetector_module", "the header is incomplete")
        said = tuple(number(group, f"detectorSpecific/{k}_pixels_in_detector") for k in "yx")
        sensor = sensor_of(group, beam, notes)
        whole = shape or (tuple(int(n) for n in said if n) if all(said) else None)
        panels = [_panel(m, len(modules) == 1, whole, sensor, path, notes) for m in modules]
        if len(panels) == 1:
            panels = [_checked_centre(_downstream(panels[0], beam, notes), group, beam, notes)]
        kind = "ccd" if "ccd" in text(group, "type").lower() else "pixel-array"
        trusted = trusted_range(group, dtype, notes)
        gain = _gain(entry, path)
    return Detector(tuple(panels), trusted, gain, text(group, "description"), kind)


def the_detector(entry: h5py.Group, path: Path) -> h5py.Group:
    with header(path, "the detector"):
        detectors = [d for i in find_class(entry, "NXinstrument") for d in find_class(i, "NXdetector")]
    if len(detectors) != 1:
        found = ", ".join(str(d.name) for d in detectors) or "none"
        raise InputError(path, f"it has {len(detectors)} detectors ({found})", "exactly one can be processed")
    return detectors[0]


def sensor_of(group: h5py.Group, beam: Beam, notes: list[str]) -> tuple[float, str, float]:
    """Thickness (mm), material, absorption (1/mm)."""
    thickness = number(group, "sensor_thickness", "mm", "m", notes) or 0.0
    material = sensor_material(text(group, "sensor_material"))
    mu = mu_per_mm(material, beam.wavelength_A)
    if not (thickness > 0 and mu > 0):
        notes.append("sensor thickness or material is not known: no correction for parallax")
        return 0.0, material, 0.0
    return thickness, material, mu


def _panel(
    module: h5py.Group,
    only: bool,
    whole: tuple[int, ...] | None,
    sensor: tuple[float, str, float],
    path: Path,
    notes: list[str],
) -> Panel:
    """One module. Its origin is what the axes that its fast direction depends on make of (0, 0, 0)."""
    name = str(module.name)
    size = tuple(int(n) for n in np.ravel(module["data_size"][()]))
    offset = tuple(int(n) for n in np.ravel(module["data_origin"][()]))[-2:]
    if len(size) != 2 or len(offset) != 2 or min(size) < 1 or min(offset) < 0:
        raise InputError(path, f"{name} has data_origin {offset} and data_size {size}", "it takes (slow, fast)")
    if only and whole and size != whole and size[::-1] == whole:
        notes.append(f"data_size of {name} is written as (fast, slow); it was turned round to {whole}")
        size = (whole[0], whole[1])
    axes = [read_axis(module[f"{k}_pixel_direction"], path) for k in ("slow", "fast")]
    places = {a.depends_on: standing(chain(module, a.depends_on, path)) for a in axes}
    directions = [unit_vector(places[a.depends_on][:3, :3] @ a.vector, a.name, path) for a in axes]
    pixel_mm = [float(a.values("mm")[0]) for a in axes]
    if not all(np.isfinite(p) and p > 0 for p in pixel_mm):
        raise InputError(path, f"the pixels of {name} measure {pixel_mm} mm", "it must be above 0; correct the header")
    if abs(float(directions[0] @ directions[1])) > 1e-3:
        raise InputError(path, f"fast and slow direction of {name} are not at right angles", "correct the header")
    origin = places[axes[1].depends_on][:3, 3]
    thickness, material, mu = sensor
    return Panel(
        name=name,
        shape=(size[0], size[1]),
        pixel_mm=(pixel_mm[0], pixel_mm[1]),
        origin_mm=lab(origin),
        fast_axis=lab(directions[1]),
        slow_axis=lab(directions[0]),
        offset=(offset[0], offset[1]),
        thickness_mm=thickness,
        material=material,
        mu_per_mm=mu,
    )


def _downstream(panel: Panel, beam: Beam, notes: list[str]) -> Panel:
    """A detector across the beam that is placed between source and sample was given the wrong sign: turn it."""
    direction = np.asarray(beam.direction)
    if abs(panel.normal @ direction) < 0.99 or np.asarray(panel.origin_mm) @ direction >= 0:
        return panel
    x, y, z = panel.origin_mm
    notes.append("the detector was placed before the sample; its distance was taken with the other sign")
    return replace(panel, origin_mm=(x, y, -z))


def _checked_centre(panel: Panel, group: h5py.Group, beam: Beam, notes: list[str]) -> Panel:
    """Compare the beam centre that the header states with the one that follows from the axes.

    Axes that put the beam exactly on the frame's corner say nothing about the centre; then the stated one is taken.
    """
    stated = [_centre_px(group, name, mm) for name, mm in zip(("beam_center_y", "beam_center_x"), panel.pixel_mm)]
    found = panel.beam_centre_px(beam)
    if found is None or None in stated:
        return panel
    slow, fast = (float(s or 0.0) - o for s, o in zip(stated, panel.offset))
    words = f"the header's beam centre is (fast, slow) {fast:.1f}, {slow:.1f} px, its axes put it at "
    words += f"{found[1]:.1f}, {found[0]:.1f}"
    if max(abs(found[0]), abs(found[1])) < 1e-6 and max(slow, fast) > BEAM_CENTRE_PX:
        notes.append(words + ": the stated one was taken")
        shift = slow * panel.pixel_mm[0] * np.asarray(panel.slow_axis)
        shift = shift + fast * panel.pixel_mm[1] * np.asarray(panel.fast_axis)
        x, y, z = (np.asarray(panel.origin_mm) - shift).tolist()
        return replace(panel, origin_mm=(x, y, z))
    if max(abs(found[0] - slow), abs(found[1] - fast)) > BEAM_CENTRE_PX:
        notes.append(words + ": the axes were followed")
    return panel


def _centre_px(group: h5py.Group, name: str, pixel_mm: float) -> float | None:
    data = item(group, name)
    if data is None:
        return None
    units = as_text(data.attrs.get("units")) or "pixel"
    if units.lower().startswith("pix"):
        return number(group, name)
    mm = number(group, name, "mm")
    return None if mm is None else mm / pixel_mm


def trusted_range(group: h5py.Group, dtype: np.dtype | None, notes: list[str]) -> tuple[float, float]:
    """Lowest and highest count that can be trusted, both inclusive.

    With `top` = 2^8, 2^16 or, for 32 bits, 2^31 (by the type of the frames), `top` - 1 and `top` - 2 are marks (masked,
    saturated), never counts.
    """
    if dtype is not None:
        bits = 8 * dtype.itemsize
    else:
        bits = int(number(group, "bit_depth_image") or number(group, "bit_depth_readout") or 16)
    highest = float((1 << (31 if bits >= 32 else bits)) - 3)
    saturation = number(group, "saturation_value", notes=notes)
    if saturation is None:
        saturation = number(group, "detectorSpecific/countrate_correction_count_cutoff")
    if saturation is None or not saturation > 0:
        notes.append(f"the header has no saturation_value: counts up to {highest:.0f} were trusted")
        saturation = highest
    underload = number(group, "underload_value", notes=notes)
    lowest = 0.0 if underload is None else underload
    if not lowest <= saturation:
        raise InputError(group.file.filename, f"underload_value {lowest} is above saturation_value {saturation}")
    return lowest, min(saturation, highest)


def _gain(entry: h5py.Group, path: Path) -> float:
    """Counts per photon: 1 / data_scaling_factor."""
    groups = find_class(entry, "NXdata")
    names = ("data_scaling_factor", "data_scale_factor")
    factors = [f for g in groups for name in names if (f := number(g, name)) is not None]
    offsets = [o for g in groups if (o := number(g, "data_offset"))]
    if offsets:
        raise InputError(path, f"data_offset is {offsets[0]:g}", "only data that need no offset can be processed")
    if factors and not factors[0] > 0:
        raise InputError(path, f"data_scaling_factor is {factors[0]:g}", "it must be above 0")
    return 1.0 / factors[0] if factors else 1.0
