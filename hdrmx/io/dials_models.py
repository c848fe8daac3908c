"""Models as DIALS's programs read and write them (`.expt`, JSON), to and from ours.

One experiment is a beam, detector, goniometer, scan and images, and for each lattice a crystal. Angles are degrees in
the file, and its beam `direction` points from the sample to the source.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.cbf_mini import ELECTRON_WAVELENGTH_A, goniometer_of, matrix
from hdrmx.io.dials_json import BeamJson, CrystalJson, ExptJson, GoniometerJson, NodeJson, PanelJson, ScanJson
from hdrmx.io.whole import write_whole
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan, Vector

_KINDS = ("beam", "detector", "goniometer", "scan", "crystal", "profile")


@dataclass(frozen=True)
class Profile:
    """The Gaussian profile model: spreads of the diffracted beam and of the rocking curve."""

    sigma_b_rad: float
    sigma_m_rad: tuple[float, ...]  # one, or one a frame
    n_sigma: float = 3.0


@dataclass(frozen=True)
class Experiment:
    """One entry of an experiment list. `template` names the images: a path, with # for the image number or without.

    `image` is the index of the frame of a still, which is written without scan and goniometer.
    """

    identifier: str
    geometry: Geometry
    crystal: Crystal | None = None
    profile: Profile | None = None
    template: str = ""
    image: int | None = None


def write_expt(
    path: str | Path,
    geometry: Geometry,
    images: str | Path,
    *,
    crystals: Sequence[Crystal] = (),
    profile: Profile | None = None,
    indices: range | None = None,
) -> dict[int, str]:
    """Write an experiment list that DIALS's programs open: one experiment, or one for each crystal.

    Parameters
    ----------
    images : the HDF5 file, or the template of the image files (`CbfSource.template`)
    crystals : lattices, in the order of the column `lattice`
    profile : of all crystals
    indices : frames, needed where the geometry has no scan

    Returns
    -------
    Identifier of each experiment by its number, for `dials.write_refl`. They follow from the content alone, whatever
    the folder of the images.

    Raises
    ------
    InputError : the file can't be written
    ValueError : a geometry without scan and no indices
    """
    if geometry.scan is None:
        if indices is None:
            raise ValueError("a geometry without scan needs the indices of its frames")
        geometry = replace(geometry, scan=Scan(indices.start, len(indices), 0.0, 0.0))
    return write_experiments(
        path, [Experiment("", geometry, crystal, profile, str(images)) for crystal in crystals or (None,)]
    )


def write_experiments(path: str | Path, experiments: Sequence[Experiment]) -> dict[int, str]:
    """Write a list of experiments, such as the lattices of several sweeps; models that are equal are written once.

    Identifiers follow from the content, those given are not used; returned as by `write_expt`. Every geometry needs
    a scan, but for those of single images.
    """
    models: dict[str, list[Any]] = {kind: [] for kind in (*_KINDS, "imageset")}
    places: dict[tuple[str, bytes], int] = {}

    def place(kind: str, model: Any) -> int:
        key = kind, msgspec.json.encode(model)
        if key not in places:
            places[key] = len(models[kind])
            models[kind].append(model)
        return places[key]

    names: dict[int, str] = {}
    entries = []
    seen: dict[tuple[int, ...], int] = {}  # lattices so far of the same images and models
    for i, experiment in enumerate(experiments):
        shared, images_json = _shared_models(experiment)
        at = {kind: place(kind, model) for kind, model in shared.items()}
        images = place("imageset", images_json)
        key = (*at.values(), images)
        number = seen[key] = seen.get(key, -1) + 1
        crystal = {} if experiment.crystal is None else _crystal_json(experiment.crystal)
        names[i] = _identifier([os.path.basename(experiment.template), number, shared, crystal])
        entry: dict[str, Any] = {"__id__": "Experiment", "identifier": names[i], **at}
        if experiment.crystal is not None:
            models["crystal"].append(crystal)  # one each: DIALS takes experiments that share a crystal for one lattice
            entry["crystal"] = len(models["crystal"]) - 1
        if experiment.profile is not None:
            entry["profile"] = place("profile", _profile_json(experiment.profile))
        entries.append(entry | {"imageset": images})
    document = {
        "__id__": "ExperimentList",
        "experiment": entries,
        "imageset": models.pop("imageset"),
        **models,
        "scaling_model": [],
    }
    write_whole(path, msgspec.json.format(msgspec.json.encode(document), indent=2))
    return names


def _shared_models(experiment: Experiment) -> tuple[dict[str, Any], dict[str, Any]]:
    """Models but for crystal and profile, by kind; and the images."""
    geometry, scan = experiment.geometry, experiment.geometry.scan
    shared = {"beam": _beam_json(geometry.beam), "detector": _detector_json(geometry.detector)}
    if experiment.image is not None:
        return shared, _still_json(experiment.template, experiment.image)
    if scan is None:
        raise ValueError("an experiment needs a scan, or an image")
    shared |= {"goniometer": _goniometer_json(geometry.goniometer or Goniometer()), "scan": _scan_json(scan)}
    return shared, _images_json(experiment.template, scan)


def _still_json(images: str | Path, index: int) -> dict[str, Any]:
    """One image that is no part of a scan: a file of its own, or a frame of a file."""
    name = os.path.basename(images)
    lookups = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    if "#" not in name:
        path, one = os.path.abspath(images), {"single_file_indices": [index]}
    else:
        width = name.count("#")
        filled = name.replace("#" * width, str(index + 1).zfill(width))
        path, one = os.path.abspath(os.path.join(os.path.dirname(images), filled)), {}
    return {"__id__": "ImageSet", "images": [path], **one, **lookups, "params": {}}


def _identifier(content: Any) -> str:
    """Looks like a UUID, follows from the content."""
    digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def _images_json(images: str | Path, scan: Scan) -> dict[str, Any]:
    one_file = {} if "#" in os.path.basename(images) else {"single_file_indices": list(_frame_indices(scan))}
    lookups = dict.fromkeys(("mask", "gain", "pedestal", "dx", "dy"))
    return {"__id__": "ImageSequence", "template": os.path.abspath(images), **one_file, **lookups, "params": {}}


def _frame_indices(scan: Scan) -> range:
    return range(scan.first, scan.first + scan.n_frames)


def _beam_json(beam: Beam) -> dict[str, Any]:
    return {
        "direction": [0.0 - v for v in beam.direction],
        "wavelength": beam.wavelength_A,
        "divergence": math.degrees(beam.divergence_rad),
        "sigma_divergence": 0.0,
        "polarization_normal": list(beam.polarization_normal),
        "polarization_fraction": beam.polarization_fraction,
        "flux": beam.flux_per_s or 0.0,
        "transmission": 1.0,
    }


def _detector_json(detector: Detector) -> dict[str, Any]:
    sensor = "SENSOR_PAD" if detector.kind == "pixel-array" else "SENSOR_CCD" if detector.kind == "ccd" else ""
    root = _panel_json(None, Detector(()), "") | {"children": [{"panel": i} for i in range(len(detector.panels))]}
    return {
        "panels": [_panel_json(p, detector, sensor or "SENSOR_UNKNOWN") for p in detector.panels],
        "hierarchy": root,
    }


def _panel_json(panel: Panel | None, detector: Detector, sensor: str) -> dict[str, Any]:
    """A panel, or (None) the group that all panels belong to, which is the laboratory."""
    p = panel or Panel("", (0, 0), (0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    has_parallax = p.mu_per_mm > 0 and p.thickness_mm > 0
    return {
        "name": p.name,
        "type": sensor,
        "fast_axis": list(p.fast_axis),
        "slow_axis": list(p.slow_axis),
        "origin": list(p.origin_mm),
        "raw_image_offset": [p.offset[1], p.offset[0]],
        "image_size": [p.shape[1], p.shape[0]],
        "pixel_size": [p.pixel_mm[1], p.pixel_mm[0]],
        "trusted_range": _open_below(detector.trusted) if panel else [0.0, 0.0],
        "thickness": p.thickness_mm,
        "material": p.material,
        "mu": p.mu_per_mm,
        "identifier": detector.name,
        "mask": [],
        "gain": detector.gain,
        "pedestal": 0.0,
        "px_mm_strategy": {"type": "ParallaxCorrectedPxMmStrategy" if has_parallax else "SimplePxMmStrategy"},
    }


def _goniometer_json(goniometer: Goniometer) -> dict[str, Any]:
    """With all its axes, where these make up the two fixed rotations (refinement may have turned them)."""
    if goniometer.axes:
        whole = goniometer_of(goniometer.axes, goniometer.scan_axis)
        same = ((whole.fixed, goniometer.fixed), (whole.setting, goniometer.setting), (whole.axis, goniometer.axis))
        if all(np.allclose(a, b, atol=1e-9) for a, b in same):
            return {
                "axes": [list(axis) for _, axis, _ in goniometer.axes],
                "angles": [math.degrees(angle) for _, _, angle in goniometer.axes],
                "names": [name for name, _, _ in goniometer.axes],
                "scan_axis": goniometer.scan_axis,
            }
    return {
        "rotation_axis": list(goniometer.axis),
        "fixed_rotation": np.ravel(goniometer.fixed).tolist(),
        "setting_rotation": np.ravel(goniometer.setting).tolist(),
    }


def _scan_json(scan: Scan) -> dict[str, Any]:
    return {
        "image_range": [scan.first + 1, scan.first + scan.n_frames],
        "batch_offset": scan.first,
        "oscillation": [math.degrees(scan.start_rad), math.degrees(scan.width_rad)],
        "exposure_time": [scan.exposure_s] * scan.n_frames,
        "epochs": [scan.exposure_s * i for i in range(scan.n_frames)],
        "valid_image_ranges": {},
    }


def _crystal_json(crystal: Crystal) -> dict[str, Any]:
    import gemmi  # here and not at the top: results without a crystal need not wait for it

    group = gemmi.find_spacegroup_by_name(crystal.space_group)
    if group is None:
        raise ValueError(f"there is no space group '{crystal.space_group}'")
    a, b, c = np.linalg.inv(np.asarray(crystal.A)).tolist()
    model = {
        "__id__": "crystal",
        "real_space_a": a,
        "real_space_b": b,
        "real_space_c": c,
        "space_group_hall_symbol": f" {group.hall}",
    }
    if crystal.A_at_scan_points is not None:
        model["A_at_scan_points"] = crystal.A_at_scan_points.reshape(-1, 9).tolist()
    return model


def _profile_json(profile: Profile) -> dict[str, Any]:
    sigma_m = [math.degrees(v) for v in profile.sigma_m_rad]
    return {
        "__id__": "gaussian_rs",
        "n_sigma": profile.n_sigma,
        "sigma_b": math.degrees(profile.sigma_b_rad),
        "sigma_m": sigma_m[0] if len(sigma_m) == 1 else sigma_m,
    }


def read_expt(path: str | Path) -> tuple[Experiment, ...]:
    """Read an experiment list of any stage, of DIALS 1.x to 3.x. Images, masks and scaling models are not opened.

    Raises
    ------
    InputError : it isn't such a list, is damaged, or keeps its models in other files
    """
    path = Path(path)
    try:
        document = msgspec.json.decode(path.read_bytes(), type=ExptJson)
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "check the path") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, f"is not an experiment list of DIALS ({error})", "give a .expt file") from None
    if document.id != "ExperimentList":
        raise InputError(path, f"says that it is '{document.id}'", "an ExperimentList is expected")
    try:
        return tuple(_experiment(document, i) for i in range(len(document.experiment)))
    except (ValueError, ZeroDivisionError, OverflowError, np.linalg.LinAlgError, IndexError, RuntimeError) as error:
        raise InputError(path, f"its models can't be used ({error})", "the file is damaged") from None


def _experiment(document: ExptJson, number: int) -> Experiment:
    entry = document.experiment[number]

    def model(kind: str, needed: bool = False) -> Any:
        index, models = getattr(entry, kind), getattr(document, kind)
        if index is None and not needed:
            return None
        if index is None or not 0 <= index < len(models):
            raise ValueError(f"experiment {number} has {kind} {index}, of {len(models)}")
        return models[index]

    goniometer, scan, crystal, profile = (model(kind) for kind in ("goniometer", "scan", "crystal", "profile"))
    detector = model("detector", needed=True)
    geometry = Geometry(
        _beam(model("beam", needed=True)),
        _detector(detector.panels, detector.hierarchy),
        None if goniometer is None else _goniometer(goniometer),
        None if scan is None else _scan(scan),
    )
    images = model("imageset")
    return Experiment(
        identifier=entry.identifier,
        geometry=geometry,
        crystal=None if crystal is None else _crystal(crystal),
        profile=None if profile is None else _profile(profile),
        template="" if images is None else images.template or (images.images or [""])[0],
    )


def _unit(v: Sequence[float], what: str) -> Vector:
    length = math.sqrt(sum(x * x for x in v))
    if not 0.5 < length < 2:
        raise ValueError(f"{what} has length {length:g}")
    return v[0] / length + 0.0, v[1] / length + 0.0, v[2] / length + 0.0


def _beam(beam: BeamJson) -> Beam:
    if not beam.wavelength > 0:
        raise ValueError(f"the wavelength is {beam.wavelength}")
    x, y, z = _unit(beam.direction, "the beam's direction")
    return Beam(
        wavelength_A=beam.wavelength,
        direction=(0.0 - x, 0.0 - y, 0.0 - z),
        polarization_normal=_unit(beam.polarization_normal, "the normal of polarisation"),
        polarization_fraction=beam.polarization_fraction,
        divergence_rad=math.radians(beam.divergence),
        flux_per_s=beam.flux or None,
        probe="electron" if beam.wavelength <= ELECTRON_WAVELENGTH_A else "x-ray",
    )


def _open_below(trusted: tuple[float, float]) -> list[float]:
    """As dxtbx 3.11 writes it: it does not trust the limits themselves, so a range from 0 begins at -1."""
    return [trusted[0] - 1, trusted[1]]


def _closed_below(low: float, high: float) -> tuple[float, float]:
    """Later versions of dxtbx trust both limits, and a file doesn't tell its version: from 0 on, a limit is a count."""
    return (low + 1 if low < 0 else low), high


def _detector(panels: list[PanelJson], hierarchy: NodeJson | None) -> Detector:
    if not panels:
        raise ValueError("the detector has no panel")
    frames = dict.fromkeys(range(len(panels)), np.eye(4)) if hierarchy is None else _group_frames(hierarchy, np.eye(4))
    if set(frames) != set(range(len(panels))):
        raise ValueError(f"{len(frames)} of {len(panels)} panels stand in the hierarchy")
    first = panels[0]
    kind = {"SENSOR_CCD": "ccd", "SENSOR_IMAGE_PLATE": "image-plate"}.get(first.type, "pixel-array")
    return Detector(
        tuple(_panel(p, frames[i]) for i, p in enumerate(panels)),
        trusted=_closed_below(*first.trusted_range),
        gain=first.gain,
        name=first.identifier,
        kind=kind,
    )


def _group_frames(node: NodeJson, parent: npt.NDArray[np.float64], depth: int = 0) -> dict[int, Any]:
    """(4, 4) to the laboratory of the group that each panel stands in."""
    if depth > 20:
        raise ValueError("the detector's hierarchy is too deep")
    here, frames = parent @ _local_frame(node.fast_axis, node.slow_axis, node.origin), {}
    for child in node.children:
        if child.panel is not None:
            frames[child.panel] = here
        else:
            frames |= _group_frames(child, here, depth + 1)
    return frames


def _local_frame(fast: Sequence[float], slow: Sequence[float], origin: Sequence[float]) -> npt.NDArray[np.float64]:
    frame = np.eye(4)
    frame[:3] = np.column_stack([fast, slow, np.cross(fast, slow), origin])
    return frame


def _panel(p: PanelJson, group: npt.NDArray[np.float64]) -> Panel:
    fast, slow, _, origin = (group @ _local_frame(p.fast_axis, p.slow_axis, p.origin))[:3].T.tolist()
    if min(p.image_size) < 1 or min(p.pixel_size) <= 0:
        raise ValueError(f"panel {p.name} is {p.image_size} px of {p.pixel_size} mm")
    return Panel(
        name=p.name,
        shape=(p.image_size[1], p.image_size[0]),
        pixel_mm=(p.pixel_size[1], p.pixel_size[0]),
        origin_mm=(origin[0], origin[1], origin[2]),
        fast_axis=_unit(fast, "a fast axis"),
        slow_axis=_unit(slow, "a slow axis"),
        offset=(p.raw_image_offset[1], p.raw_image_offset[0]),
        thickness_mm=p.thickness,
        material=p.material,
        mu_per_mm=p.mu if p.px_mm_strategy.type.startswith("Parallax") else 0.0,
    )


def _goniometer(g: GoniometerJson) -> Goniometer:
    if g.axes:
        if not len(g.axes) == len(g.angles) == len(g.names) or not 0 <= g.scan_axis < len(g.axes):
            raise ValueError("the goniometer's axes, angles and names differ in number")
        axes = tuple(
            (name, _unit(axis, f"axis {name}"), math.radians(angle))
            for name, axis, angle in zip(g.names, g.axes, g.angles)
        )
        return goniometer_of(axes, g.scan_axis)
    fixed, setting = np.reshape(g.fixed_rotation, (3, 3)), np.reshape(g.setting_rotation, (3, 3))
    for turn in (fixed, setting):
        if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
            raise ValueError("a rotation of the goniometer isn't one")
    return Goniometer(_unit(g.rotation_axis, "the rotation axis"), matrix(fixed), matrix(setting))


def _scan(s: ScanJson) -> Scan:
    first, last = s.image_range
    if last < first:
        raise ValueError(f"the images run from {first} to {last}")
    start, width = s.oscillation
    exposure = s.exposure_time if isinstance(s.exposure_time, float) else (s.exposure_time or [0.0])[0]
    return Scan(first - 1, last - first + 1, math.radians(start), math.radians(width), exposure)


def _crystal(c: CrystalJson) -> Crystal:
    import gemmi

    group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(c.space_group_hall_symbol.strip()))
    if group is None:
        raise ValueError(f"Hall symbol '{c.space_group_hall_symbol}' is of no known setting")
    real = np.array([c.real_space_a, c.real_space_b, c.real_space_c])
    points = None if not c.A_at_scan_points else np.reshape(c.A_at_scan_points, (-1, 3, 3))
    mosaicity = None if c.mosaicity is None else math.radians(c.mosaicity)
    return Crystal(matrix(np.linalg.inv(real)), group.xhm(), points, mosaicity_rad=mosaicity)


def _profile(profile: dict[str, Any]) -> Profile | None:
    """None for models other than the Gaussian one."""
    try:
        sigma_m = profile["sigma_m"]
        spread = tuple(math.radians(v) for v in (sigma_m if isinstance(sigma_m, list) else [sigma_m]))
        return Profile(math.radians(profile["sigma_b"]), spread, float(profile.get("n_sigma", 3.0)))
    except (KeyError, TypeError):
        return None
