"""Writes frames as NXmx: bitshuffle-LZ4 chunks in data files, and a master file that links them.

The master follows the NXmx definition of NeXus (Bernstein et al. (2020) IUCrJ 7, 784-792). Vectors are
turned from the imgCIF laboratory frame to NeXus's: (x, y, z) to (-x, y, -z).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.io.attenuation import KEV_A
from hdrmx.kernels.encode import encode_bslz4
from hdrmx.models import Geometry
from hdrmx.params import Simulate
from hdrmx.simulate.scales import grid_positions

BSLZ4 = 32008
DATA = "/entry/data/data"
TRANSFORMATIONS = "/entry/instrument/detector/transformations"


class NxmxSink:
    """Takes packed frames in order; `finish` writes the master file.

    Parameters
    ----------
    folder : where the files are made; all links are relative
    name : of the master file; told : geometry for the header; mask : (slow, fast) uint32
    """

    def __init__(
        self, folder: Path, name: str, settings: Simulate, told: Geometry, mask: npt.NDArray[np.uint32], n_frames: int
    ) -> None:
        self._folder, self._name, self._settings, self._told = folder, name, settings, told
        self._mask, self._n = mask, n_frames
        self._dtype = np.dtype(settings.dtype)
        self._file: h5py.File | None = None
        self._data: h5py.Dataset | None = None
        self._first = 0
        self._parts: list[tuple[str, int]] = []  # (file name, frames) of the data files
        top = np.iinfo(self._dtype).max
        self.marks = np.array([0, top, top], np.int64)  # a good pixel, a gap, a dead pixel
        self.dtype = self._dtype

    @property
    def _per_file(self) -> int:
        return self._n if self._settings.layout == "single" else min(self._n, self._settings.frames_per_file)

    @property
    def files(self) -> list[str]:
        """Names of all files, the master last."""
        return [name for name, _ in self._parts if name != self._name] + [self._name]

    def pack(self, index: int, frame: npt.NDArray) -> bytes:
        """Compress a frame; called from any thread."""
        return encode_bslz4(frame)

    def write(self, index: int, payload: bytes) -> None:
        """Append a frame. Frames come in order."""
        if index - self._first >= self._per_file or self._data is None:
            self._next_file(index)
        assert self._data is not None
        self._data.id.write_direct_chunk((index - self._first, 0, 0), payload)

    def _next_file(self, index: int) -> None:
        self._close()
        n = min(self._per_file, self._n - index)
        name = self._name
        if self._settings.layout != "single":
            name = f"{stem(self._name)}_data_{len(self._parts) + 1:06d}.h5"
        self._file = h5py.File(self._folder / name, "w")
        entry = _group(self._file, "entry", "NXentry")
        data = _group(entry, "data", "NXdata", signal="data")
        shape = self._mask.shape
        self._data = data.create_dataset(
            "data", (n, *shape), self._dtype, chunks=(1, *shape), compression=BSLZ4, compression_opts=(0, 2)
        )
        if name != self._name:
            self._data.attrs["image_nr_low"], self._data.attrs["image_nr_high"] = index + 1, index + n
        self._first = index
        self._parts.append((name, n))

    def _close(self) -> None:
        if self._file is not None and self._settings.layout != "single":
            self._file.close()
            self._file = None

    def finish(self) -> None:
        """Write the master file and close all."""
        self._close()
        file = self._file or h5py.File(self._folder / self._name, "w")
        self._file = file
        file.attrs["NX_class"], file.attrs["default"] = np.bytes_("NXroot"), "entry"
        if "entry" not in file:
            entry = _group(file, "entry", "NXentry")
            self._link(_group(entry, "data", "NXdata", signal="data"))
        write_entry(file["entry"], self._settings, self._told, self._mask, self._n)
        file.close()
        self._file = None

    def _link(self, data: h5py.Group) -> None:
        layout = self._settings.layout
        if layout == "links" and len(self._parts) == 1:
            data["data"] = h5py.ExternalLink(self._parts[0][0], DATA)
            return
        for k, (name, _) in enumerate(self._parts):
            data[f"data_{k + 1:06d}"] = h5py.ExternalLink(name, DATA)
        if layout == "links":
            data.attrs["signal"] = "data_000001"
            return
        _virtual(data, self._parts, self._mask.shape, self._dtype)

    def abandon(self) -> None:
        """Close after a failure, whatever the state."""
        if self._file is not None:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                self._file.close()


def _virtual(group: h5py.Group, parts: list[tuple[str, int]], shape: tuple[int, ...], dtype: np.dtype) -> None:
    """The virtual data set of all parts; by hand, since h5py's own would keep the time of day in the file."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.VIRTUAL)
    plan.set_obj_track_times(False)
    total = sum(n for _, n in parts)
    space, at = h5py.h5s.create_simple((total, *shape)), 0
    for name, n in parts:
        space.select_hyperslab((at, *(0 for _ in shape)), (n, *shape))
        plan.set_virtual(space, name.encode(), DATA.encode(), h5py.h5s.create_simple((n, *shape)))
        at += n
    space.select_all()
    h5py.h5d.create(group.id, b"data", h5py.h5t.py_create(dtype), space, plan)


def stem(name: str) -> str:
    """`x` of x.nxs, x.h5 and x_master.h5."""
    return Path(name).stem.removesuffix("_master")


def write_entry(
    entry: h5py.Group, settings: Simulate, told: Geometry, mask: npt.NDArray[np.uint32], n_frames: int
) -> None:
    """Everything of the entry but the frames."""
    entry.attrs["default"] = "data"
    _put(entry, "definition", "NXmx", version="1.4")
    _put(entry, "start_time", "2025-01-01T00:00:00Z")
    _put(entry, "end_time_estimated", "2025-01-01T01:00:00Z")
    source = _group(entry, "source", "NXsource")
    _put(source, "name", "Simulated source", short_name="SIM")
    _put(source, "type", "Synchrotron X-ray Source")
    instrument = _group(entry, "instrument", "NXinstrument")
    _put(instrument, "name", "SIMULATED", short_name="SIM")
    beam = _group(instrument, "beam", "NXbeam")
    _put(beam, "incident_wavelength", told.beam.wavelength_A, units="angstrom")
    fraction = told.beam.polarization_fraction
    _put(beam, "incident_polarization_stokes", [1.0, 2.0 * fraction - 1.0, 0.0, 0.0])
    _detector(_group(instrument, "detector", "NXdetector"), settings, told, mask, n_frames)
    _sample(_group(entry, "sample", "NXsample"), settings, told, n_frames)
    entry["sample"]["beam"] = beam


def _detector(
    group: h5py.Group, settings: Simulate, told: Geometry, mask: npt.NDArray[np.uint32], n_frames: int
) -> None:
    panel, bits = told.detector.panels[0], np.dtype(settings.dtype).itemsize * 8
    centre = panel.beam_centre_px(told.beam) or (float("nan"), float("nan"))
    saturation = int(told.detector.trusted[1])
    _put(group, "description", f"Simulated {told.detector.name}")
    _put(group, "type", "HPC")
    _put(group, "depends_on", f"{TRANSFORMATIONS}/det_z")
    _put(group, "beam_center_x", centre[1], units="pixel")
    _put(group, "beam_center_y", centre[0], units="pixel")
    for name in ("distance", "detector_distance"):
        _put(group, name, panel.distance_mm / 1e3, units="m")
    _put(group, "x_pixel_size", panel.pixel_mm[1] / 1e3, units="m")
    _put(group, "y_pixel_size", panel.pixel_mm[0] / 1e3, units="m")
    _put(group, "sensor_material", "Si")
    _put(group, "sensor_thickness", panel.thickness_mm / 1e3, units="m")
    _put(group, "count_time", settings.exposure_s, units="s")
    _put(group, "frame_time", settings.exposure_s, units="s")
    _put(group, "saturation_value", saturation)
    _put(group, "underload_value", 0)
    _put(group, "bit_depth_readout", bits)
    _put(group, "bit_depth_image", bits)
    _put(group, "photon_energy", 1e3 * KEV_A / told.beam.wavelength_A, units="eV")
    _put(group, "threshold_energy", 5e2 * KEV_A / told.beam.wavelength_A, units="eV")
    for name in ("pixel_mask_applied", "flatfield_applied", "countrate_correction_applied"):
        _put(group, name, np.int8(1))
    group.create_dataset(
        "pixel_mask",
        data=mask,
        compression=BSLZ4,
        compression_opts=(0, 2),
        chunks=(min(256, mask.shape[0]), mask.shape[1]),
    )
    specific = _group(group, "detectorSpecific", "NXcollection")
    for name, value in (
        ("nimages", n_frames),
        ("ntrigger", 1),
        ("x_pixels_in_detector", mask.shape[1]),
        ("y_pixels_in_detector", mask.shape[0]),
        ("countrate_correction_count_cutoff", saturation),
    ):
        _put(specific, name, value)
    _axis(
        _group(group, "transformations", "NXtransformations"),
        "det_z",
        [panel.distance_mm],
        "translation",
        "mm",
        (0.0, 0.0, 1.0),
        ".",
    )
    _module(_group(group, "module", "NXdetector_module"), told)


def _module(group: h5py.Group, told: Geometry) -> None:
    panel = told.detector.panels[0]
    _put(group, "data_origin", [0, 0])
    _put(group, "data_size", list(panel.shape))
    _put(group, "data_stride", [1, 1])
    where = np.asarray(_nexus(panel.origin_mm)) - [0.0, 0.0, panel.distance_mm]
    base = f"{TRANSFORMATIONS}/det_z"
    _axis(group, "module_offset", [0.0], "translation", "mm", (1.0, 0.0, 0.0), base, tuple(where))
    on = "/entry/instrument/detector/module/module_offset"
    for name, size, vector in (
        ("fast_pixel_direction", panel.pixel_mm[1], panel.fast_axis),
        ("slow_pixel_direction", panel.pixel_mm[0], panel.slow_axis),
    ):
        _axis(group, name, [size], "translation", "mm", _nexus(vector), on)


def _sample(group: h5py.Group, settings: Simulate, told: Geometry, n_frames: int) -> None:
    assert told.scan is not None
    assert told.goniometer is not None
    _put(group, "name", "simulated crystal")
    place = "/entry/sample/transformations"
    _put(group, "depends_on", f"{place}/omega")
    axes = _group(group, "transformations", "NXtransformations")
    width = round(float(np.degrees(told.scan.width_rad)), 12)
    start = settings.start_deg + width * np.arange(n_frames)
    on = f"{place}/sam_y" if settings.grid_rows else "."
    axis = _nexus((float(told.goniometer.lab_axis[0]), *map(float, told.goniometer.lab_axis[1:])))
    _axis(axes, "omega", start, "rotation", "deg", axis, on)
    _put(axes, "omega_end", start + width, units="deg")
    _put(axes, "omega_increment_set", np.full(n_frames, width), units="deg")
    if settings.grid_rows:
        row, column = grid_positions(settings)
        step = settings.grid_step_um / 1e3
        _axis(axes, "sam_y", row * step, "translation", "mm", (0.0, 1.0, 0.0), f"{place}/sam_x")
        _axis(axes, "sam_x", column * step, "translation", "mm", (1.0, 0.0, 0.0), ".")


def _nexus(v: tuple[float, ...]) -> tuple[float, float, float]:
    """From the imgCIF laboratory frame to that of NeXus."""
    return (-v[0] + 0.0, v[1] + 0.0, -v[2] + 0.0)


def _axis(
    group: h5py.Group,
    name: str,
    values: npt.ArrayLike,
    kind: str,
    unit: str,
    vector: tuple[float, ...],
    depends_on: str,
    offset: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> None:
    data = group.create_dataset(name, data=np.asarray(values, float))
    data.attrs["transformation_type"], data.attrs["units"] = np.bytes_(kind), np.bytes_(unit)
    data.attrs["vector"], data.attrs["offset"] = np.asarray(vector, float), np.asarray(offset, float)
    data.attrs["offset_units"], data.attrs["depends_on"] = np.bytes_("mm"), np.bytes_(depends_on)


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: str) -> h5py.Group:
    group = parent.require_group(name)
    group.attrs["NX_class"] = np.bytes_(nx_class)
    for key, text in attributes.items():
        group.attrs[key] = text
    return group


def _put(group: h5py.Group, name: str, value: Any, **attributes: str) -> None:
    group[name] = np.bytes_(value) if isinstance(value, str) else value
    for key, text in attributes.items():
        group[name].attrs[key] = np.bytes_(text)
