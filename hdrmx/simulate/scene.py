"""All that is fixed before the first frame, and the reflections of each run of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Geometry
from hdrmx.params import Simulate
from hdrmx.simulate import crystal, geometry, predict, scales
from hdrmx.simulate.background import Background, background
from hdrmx.simulate.crystal import Array, Lattice, Reflections
from hdrmx.simulate.defects import Defects, defects
from hdrmx.simulate.predict import Rays
from hdrmx.simulate.rng import U64, make_key
from hdrmx.simulate.spots import kabsch_axes

WINDOW = 100  # frames whose reflections are predicted together
MAX_REFLECTIONS = 3e7
EDGE_PX = 8.0  # rays that meet the detector's plane this far outside are still followed


@dataclass(frozen=True)
class Scene:
    """The experiment."""

    settings: Simulate
    true: Geometry
    told: Geometry  # what the header says
    reflections: Reflections
    lattices: tuple[Lattice, ...]
    sigma_b: float  # rad, of a spot on the detector
    sigma_m: float  # rad, of the rocking curve
    d_min: float
    photon_scale: float  # photons of a reflection of |F|^2 = 1 without any factor
    frame_scales: Array  # (n_frames,) of the beam
    crystal_scales: Array  # (n_frames,) of the reflections: the beam's, times the crystal in the beam
    background_scales: Array  # (n_frames,)
    defects: Defects
    background: Background

    @property
    def n_frames(self) -> int:
        return len(self.frame_scales)


def scene(settings: Simulate) -> Scene:
    """Build the experiment. Raises InputError for settings that contradict each other."""
    true, told = geometry.build(settings)
    n = geometry.n_frames(settings)
    if settings.slip_frame is not None and settings.slip_frame >= n:
        raise InputError("slip_frame", f"is {settings.slip_frame}", f"it must be below the number of frames, {n}")
    corner = geometry.highest_resolution(true)
    d_min = max(settings.d_min, corner)
    _check_size(settings, d_min)
    reflections = crystal.reflections(settings, d_min)
    lattices = crystal.lattices(settings, n)
    sigma_b = float(np.radians(np.hypot(settings.spot_deg, settings.divergence_deg)))
    sigma_m = float(np.radians(np.hypot(settings.mosaicity_deg, settings.divergence_deg)))
    beam = scales.frame_scales(settings)
    in_beam, scatter = scales.grid_thickness(settings) if settings.grid_rows else (np.ones(n), np.ones(n))
    state = defects(settings, true)
    return Scene(
        settings=settings,
        true=true,
        told=told,
        reflections=reflections,
        lattices=lattices,
        sigma_b=sigma_b,
        sigma_m=sigma_m,
        d_min=d_min,
        photon_scale=settings.photons / mean_strength(reflections, lattices[0], true),
        frame_scales=beam,
        crystal_scales=beam * in_beam,
        background_scales=beam * scatter,
        defects=state,
        background=background(settings, true, state.transmission),
    )


def _check_size(settings: Simulate, d_min: float) -> None:
    group = crystal.space_group(settings.space_group)
    cell = crystal.unit_cell(settings.cell, group)
    expected = 4.0 / 3.0 * np.pi * cell.volume / d_min**3
    if expected > MAX_REFLECTIONS:
        what = f"{expected:.3g} reflections to {d_min:.2f} A"
        raise InputError("cell", f"has {what}; the limit is {MAX_REFLECTIONS:.0e}", "set d_min higher")


def mean_strength(reflections: Reflections, lattice: Lattice, true: Geometry) -> float:
    """Mean of |F|^2 with Lorentz, polarisation and detector efficiency over the rays of a turn on the detector."""
    assert true.scan is not None
    assert true.goniometer is not None
    step = -(-len(reflections) // 200_000)
    hkl, f_squared = reflections.hkl[::step], reflections.f_squared[::step]
    s0, axis = true.beam.s0, true.goniometer.lab_axis
    r0 = hkl @ (np.asarray(true.goniometer.setting) @ np.asarray(true.goniometer.fixed) @ lattice.base(0)).T
    total, n = 0.0, 0
    for phi in predict.ewald_roots(r0, s0, axis):
        rows = np.flatnonzero(np.isfinite(phi))
        s1 = s0 + predict.rotate(r0[rows], axis, phi[rows])
        e1 = np.cross(s1, s0)
        zeta = (e1 @ axis) / np.linalg.norm(e1, axis=1)
        rows, s1, zeta = (x[np.abs(zeta) >= predict.MIN_ZETA] for x in (rows, s1, zeta))
        zero = np.zeros(len(rows))
        rays = Rays(rows, zero, zero, s1, zeta, zero, zero.astype(bool))
        strength = f_squared[rows] * factors(rays, true)
        on = is_on_detector(s1, true, 0.0)
        total, n = total + float(strength[on].sum()), n + int(on.sum())
    return total / n if n and total > 0.0 else 1.0


def factors(rays: Rays, true: Geometry) -> Array:
    """(n,) Lorentz, polarisation and detector efficiency together."""
    cosine = rays.s1 @ true.detector.panels[0].normal * true.beam.wavelength_A
    seen = predict.efficiency(cosine, true.detector.panels[0])
    return predict.lorentz(rays, true) * predict.polarization(rays.s1, true) * seen


def is_on_detector(s1: Array, true: Geometry, edge_px: float) -> npt.NDArray[np.bool_]:
    """(n,) whether rays meet the panel, or miss it by less than an edge."""
    panel = true.detector.panels[0]
    slow, fast = predict.positions(s1, panel)
    with np.errstate(invalid="ignore"):
        inside = (slow > -edge_px) & (slow < panel.shape[0] + edge_px)
        return inside & (fast > -edge_px) & (fast < panel.shape[1] + edge_px)


def windows(scene: Scene) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """(begin, end) of runs of frames predicted together, each with its (segment number, first frame of it)."""
    n, slip, scan = scene.n_frames, scene.settings.slip_frame, scene.true.scan
    assert scan is not None
    size = 1 if scan.is_still else max(1, min(WINDOW, int(np.pi / abs(scan.width_rad))))
    bounds = [0, slip, n] if slip else [0, n]
    for number, (first, last) in enumerate(pairwise(bounds)):
        for begin in range(first, last, size):
            yield (begin, min(begin + size, last)), (number, first)


class Predictor:
    """Rows of reflections, window after window; keeps the rays of a still crystal, which are those of every still."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._kept: dict[tuple[int, int], Rays] = {}

    def new_rows(self, window: tuple[int, int], segment: tuple[int, int]) -> dict[str, npt.NDArray]:
        """The rows of the reflections that begin in a window: `truth.COLUMNS`, and what rendering needs besides."""
        scene = self._scene
        assert scene.true.scan is not None
        is_still = scene.true.scan.is_still
        if is_still and scene.crystal_scales[window[0]] <= 0.0:
            return {}
        parts = []
        for number, lattice in enumerate(scene.lattices):
            if is_still:
                rays = self._still(window[0], number, segment[0])
            else:
                hkl = scene.reflections.hkl
                rays = predict.rotation_rays(hkl, lattice, scene.true, scene.sigma_m, window, segment)
                rays = rays.take(np.flatnonzero(is_on_detector(rays.s1, scene.true, _edge_px(scene))))
            parts.append(_rows(scene, rays, number, segment))
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _still(self, frame: int, number: int, segment: int) -> Rays:
        scene, lattice = self._scene, self._scene.lattices[number]
        if (number, segment) not in self._kept or lattice.drift_rad:
            A = lattice.at(frame + 0.5, segment)[0]
            rays = predict.still_rays(scene.reflections.hkl, A, scene.true, scene.sigma_m, frame)
            on = is_on_detector(rays.s1, scene.true, _edge_px(scene))
            self._kept[number, segment] = rays.take(np.flatnonzero(on))
        rays = self._kept[number, segment]
        return replace(rays, z=np.full(len(rays.z), frame + 0.5))


def _edge_px(scene: Scene) -> float:
    panel = scene.true.detector.panels[0]
    return EDGE_PX + 5.0 * scene.sigma_b * panel.distance_mm / min(panel.pixel_mm)


def _rows(scene: Scene, rays: Rays, lattice: int, segment: tuple[int, int]) -> dict[str, npt.NDArray]:
    settings, true, all_hkl = scene.settings, scene.true, scene.reflections
    panel, scan = true.detector.panels[0], true.scan
    assert scan is not None
    n, rows = len(rays.z), rays.index
    slow, fast = predict.positions(rays.s1, panel)
    cosine = rays.s1 @ panel.normal * true.beam.wavelength_A
    hkl, asu = all_hkl.hkl[rows], all_hkl.asu[rows]
    out: dict[str, npt.NDArray] = dict(zip("hkl", hkl.T)) | dict(zip(("asu_h", "asu_k", "asu_l"), asu.T))
    out |= {
        "plus": all_hkl.is_plus[rows],
        "lattice": np.full(n, lattice),
        "segment": np.full(n, segment[0]),
        "entering": rays.is_entering,
        "d": all_hkl.d_A[rows],
        "f_squared": all_hkl.f_squared[rows],
        "frame": rays.z,
        "slow": slow,
        "fast": fast,
        "zeta": rays.zeta,
        "sigma_frame": rays.half_width / predict.N_SIGMA if not scan.is_still else np.zeros(n),
        "offset": np.degrees(rays.offset_rad),
        "lorentz": predict.lorentz(rays, true),
        "polarization": predict.polarization(rays.s1, true),
        "efficiency": predict.efficiency(cosine, panel),
        "decay": scales.decay(settings, rays.z, all_hkl.d_A[rows]),
        "absorption": scales.absorption(settings, rays.s1, np.asarray(scan.angle_rad(rays.z)), true),
    }
    out |= dict(zip(("s1_x", "s1_y", "s1_z"), rays.s1.T))
    first = np.floor(rays.z - rays.half_width).astype(np.int64)
    last = np.ceil(rays.z + rays.half_width).astype(np.int64)
    if scan.is_still:
        first, last = np.floor(rays.z).astype(np.int64), np.floor(rays.z).astype(np.int64) + 1
    slip = settings.slip_frame
    end = slip if slip and segment[0] == 0 else scene.n_frames
    out["frame_min"], out["frame_max"] = np.maximum(first, segment[1]), np.minimum(last, end)
    product = scene.photon_scale * scene.lattices[lattice].intensity * out["f_squared"]
    for name in ("lorentz", "polarization", "efficiency", "decay", "absorption"):
        product = product * out[name]
    out["photons_full"] = product
    for name in ("partiality", "photons_expected", "photons_drawn", "photons_seen"):
        out[name] = np.zeros(n)
    out["_axes"] = kabsch_axes(rays.s1, true.beam.s0)
    out["_id"] = _ids(hkl, lattice, rays.is_entering)
    return out


def _ids(hkl: npt.NDArray[np.int32], lattice: int, is_entering: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """A number that tells a reflection's ray from all others of a frame."""
    packed = crystal.pack(hkl)
    return np.asarray(packed ^ np.where(is_entering, make_key(lattice, 1), make_key(lattice, 0)).astype(U64))


def shares(scene: Scene, rows: dict[str, npt.NDArray], window: tuple[int, int]) -> tuple[npt.NDArray, ...]:
    """What each frame of a window records of which reflection.

    Returns
    -------
    (frames, row numbers, partialities), all (n,), in order of frames.
    """
    scan = scene.true.scan
    assert scan is not None
    begin = np.maximum(rows["frame_min"], window[0])
    count = np.maximum(0, np.minimum(rows["frame_max"], window[1]) - begin)
    row = np.repeat(np.arange(len(count)), count)
    starts = np.cumsum(count) - count
    frame = np.arange(len(row)) - np.repeat(starts, count) + np.repeat(begin, count)
    order = np.argsort(frame, kind="stable")
    frame, row = frame[order], row[order]
    part = predict.partiality(
        frame, rows["frame"][row], rows["zeta"][row], np.radians(rows["offset"][row]), scene.sigma_m, scan
    )
    return frame, row, part
