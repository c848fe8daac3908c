"""Small NXmx files for tests, written with h5py and hdf5plugin: every layout, codec and geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from hdrmx.frames import Frame, FrameSource
from hdrmx.kernels.decode import Workspace, decode_dense

CODECS: dict[str, dict[str, Any]] = {
    "bslz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bszstd": dict(hdf5plugin.Bitshuffle(cname="zstd")),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="none")),
    "lz4": dict(hdf5plugin.LZ4()),
    "zstd": dict(hdf5plugin.Zstd()),
    "blosc": dict(hdf5plugin.Blosc()),
    "gzip": {"compression": "gzip"},
    "gzip+shuffle": {"compression": "gzip", "shuffle": True},
    "none": {},
}
TRANSFORMATIONS = "/entry/instrument/detector/transformations"
SAMPLE_AXES = "/entry/sample/transformations"


@dataclass(frozen=True)
class Axis:
    """An axis of a dependency chain, in the McStas frame; `end` are the angles at the ends of the frames."""

    name: str
    kind: str  # rotation, translation
    vector: tuple[float, float, float]
    values: Any
    units: str
    end: Any = None
    offset: tuple[float, float, float] | None = None
    offset_units: str = "mm"


@dataclass(frozen=True)
class Module:
    """Origin in mm in the frame of the last detector axis; directions in the McStas frame."""

    origin_mm: tuple[float, float, float]
    size: tuple[int, int]  # (slow, fast)
    at: tuple[int, int] = (0, 0)  # first pixel in the frame
    fast: tuple[float, float, float] = (-1.0, 0.0, 0.0)
    slow: tuple[float, float, float] = (0.0, -1.0, 0.0)


@dataclass(frozen=True)
class Header:
    """What the file says beside the frames. `goniometer` runs from the crystal outwards, `arm` from the detector."""

    wavelength_A: Any = 1.0
    weights: Any = None
    pixel_mm: tuple[float, float] = (0.1, 0.1)  # (slow, fast)
    modules: Sequence[Module] | None = None
    arm: Sequence[Axis] = (Axis("det_z", "translation", (0.0, 0.0, 1.0), 100.0, "mm"),)
    goniometer: Sequence[Axis] | None = None
    start_deg: float = 0.0
    width_deg: float = 0.1
    sensor: tuple[float, str] | None = (0.45, "Si")  # mm, material
    underload: float | None = 0
    saturation: float | None = 60000
    probe: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # further data sets, by path; (value, attributes) or value


def write_nxmx(
    path: Path,
    frames: npt.NDArray,
    *,
    mask: npt.NDArray | None = None,
    layout: str = "links",
    codec: str = "bslz4",
    per_file: int | None = None,
    chunk: tuple[int, int, int] | None = None,
    stored: npt.DTypeLike | None = None,
    header: Header | None = None,
    libver: str | tuple[str, str] | None = None,
) -> Path:
    """Write frames (frame, slow, fast) and a header as `path`.

    Parameters
    ----------
    layout : links (data_000001, ... in files beside it), vds (over such files), vds-links (over the links), single
        (chunked), contiguous
    codec : of `CODECS`
    per_file : frames in each data file; half of them by default
    chunk : one frame by default
    stored : type in the file, that of `frames` by default
    """
    header, path = header or Header(), Path(path)
    data = np.asarray(frames).astype(stored or frames.dtype)
    with h5py.File(path, "w", libver=libver) as file:
        entry = _group(file, "entry", "NXentry")
        entry["definition"] = "NXmx"
        entry.attrs["default"] = "data"
        group = _group(entry, "data", "NXdata")
        group.attrs["signal"] = "data_000001" if layout == "links" else "data"
        kwargs = {"chunks": chunk or (1, *data.shape[1:]), **CODECS[codec]}
        if layout == "contiguous":
            group.create_dataset("data", data=data)
        elif layout == "single":
            group.create_dataset("data", data=data, **kwargs)
        else:
            _split(group, path, data, layout, per_file or -(-len(data) // 2), kwargs, libver)
        _header(entry, header, data, mask)
    return path


def _split(
    group: h5py.Group, path: Path, data: npt.NDArray, layout: str, per_file: int, kwargs: dict, libver: Any
) -> None:
    virtual = h5py.VirtualLayout(data.shape, data.dtype)
    for k, first in enumerate(range(0, len(data), per_file), 1):
        part, name = data[first : first + per_file], f"{path.stem}_{k:06d}.h5"
        with h5py.File(path.parent / name, "w", libver=libver) as file:
            file.create_dataset("/entry/data/data", data=part, **kwargs)
        if layout != "vds":
            group[f"data_{k:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        file_name, where = (name, "/entry/data/data") if layout == "vds" else (".", f"{group.name}/data_{k:06d}")
        virtual[first : first + len(part)] = h5py.VirtualSource(file_name, where, part.shape, part.dtype)
    if layout != "links":
        group.create_virtual_dataset("data", virtual, fillvalue=0)


def _header(entry: h5py.Group, header: Header, data: npt.NDArray, mask: npt.NDArray | None) -> None:
    n, slow, fast = data.shape
    instrument = _group(entry, "instrument", "NXinstrument")
    beam = _group(instrument, "beam", "NXbeam")
    _put(beam, "incident_wavelength", header.wavelength_A, units="angstrom")
    if header.weights is not None:
        _put(beam, "incident_wavelength_weights", header.weights)
    detector = _group(instrument, "detector", "NXdetector")
    _put(detector, "description", "Simulated")
    _put(detector, "frame_time", 0.01, units="s")
    _axes(_group(detector, "transformations", "NXtransformations"), header.arm)
    half = header.pixel_mm[1] * fast / 2, header.pixel_mm[0] * slow / 2
    for k, module in enumerate(header.modules or [Module((half[0], half[1], 0.0), (slow, fast))]):
        _module(detector, "module" if not k else f"module_{k}", module, header)
    if header.sensor is not None:
        _put(detector, "sensor_thickness", header.sensor[0], units="mm")
        _put(detector, "sensor_material", header.sensor[1])
    for name, value in (("underload_value", header.underload), ("saturation_value", header.saturation)):
        if value is not None:
            _put(detector, name, value)
    if mask is not None:
        detector.create_dataset("pixel_mask", data=mask, compression="gzip")
    sample = _group(entry, "sample", "NXsample")
    angles = header.start_deg + header.width_deg * np.arange(n)
    omega = Axis("omega", "rotation", (-1.0, 0.0, 0.0), angles, "deg", angles + header.width_deg)
    goniometer = (omega,) if header.goniometer is None else header.goniometer
    if goniometer:
        sample["depends_on"] = f"{SAMPLE_AXES}/{goniometer[0].name}"
        _axes(_group(sample, "transformations", "NXtransformations"), goniometer)
    if header.probe:
        _put(_group(entry, "source", "NXsource"), "probe", header.probe)
    for name, value in header.extra.items():
        value, attributes = value if isinstance(value, tuple) else (value, {})
        if name in entry:
            del entry[name]
        if isinstance(value, (h5py.ExternalLink, h5py.SoftLink)):
            entry[name] = value
        else:
            _put(entry, name, value, **attributes)


def _module(detector: h5py.Group, name: str, module: Module, header: Header) -> None:
    group = _group(detector, name, "NXdetector_module")
    _put(group, "data_origin", np.array(module.at))
    _put(group, "data_size", np.array(module.size))
    last = f"{TRANSFORMATIONS}/{header.arm[0].name}" if header.arm else "."
    about = {"transformation_type": "translation", "units": "mm", "offset_units": "mm"}
    _put(
        group, "module_offset", 0.0, vector=(1.0, 0.0, 0.0), offset=np.array(module.origin_mm), depends_on=last, **about
    )
    for direction, vector, size in (
        ("slow_pixel_direction", module.slow, header.pixel_mm[0]),
        ("fast_pixel_direction", module.fast, header.pixel_mm[1]),
    ):
        _put(
            group, direction, size, vector=vector, offset=np.zeros(3), depends_on=f"{group.name}/module_offset", **about
        )


def _axes(group: h5py.Group, axes: Sequence[Axis]) -> None:
    for k, axis in enumerate(axes):
        after = f"{group.name}/{axes[k + 1].name}" if k + 1 < len(axes) else "."
        attributes: dict[str, Any] = {"transformation_type": axis.kind, "vector": axis.vector, "units": axis.units}
        if axis.offset is not None:
            attributes |= {"offset": axis.offset, "offset_units": axis.offset_units}
        _put(group, axis.name, axis.values, depends_on=after, **attributes)
        if axis.end is not None:
            _put(group, axis.name + "_end", axis.end, units=axis.units)


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group


def _put(group: h5py.Group, name: str, value: Any, **attributes: Any) -> None:
    group[name] = value
    for key, attribute in attributes.items():
        group[name].attrs[key] = attribute


def counts(shape: tuple[int, int, int], dtype: npt.DTypeLike = np.uint16, seed: int = 1) -> npt.NDArray:
    """Poisson counts with a few bright pixels."""
    rng = np.random.default_rng(seed)
    frames = rng.poisson(0.3, shape)
    frames[rng.random(shape) < 0.001] += 90
    return frames.astype(dtype)


def pixels(frame: Frame) -> npt.NDArray:
    """Load and decode one frame."""
    out = np.empty(frame.shape, frame.dtype)
    decode_dense(frame, out, Workspace(frame.shape, frame.dtype))
    return out


def all_pixels(source: FrameSource) -> npt.NDArray:
    return np.array([pixels(frame) for frame in source.frames()])
