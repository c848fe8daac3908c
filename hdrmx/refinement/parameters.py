"""The parameters of refinement, and the models that a set of values stands for.

All is worked in the *spindle frame*: x along the rotation axis, the beam in the x-z plane, before the
goniometer's setting rotation and after its fixed one. There r = Rx(phi) Rz(t3) Ry(t2) Rx(t1) (1 + sum e_k E_k)
A0 h, with three rotations t and the strains E_k that the space group leaves free (`symmetry.free_strains`).
Both are of the order 1e-3, so no scaling between them is needed. The detector moves as one rigid body: three
translations and three rotations about the point where the direct beam meets it. The beam turns in the plane of
the spindle and out of it.

After Waterman et al. (2016) Acta Cryst. D72, 558-575, with strains in place of the elements of the metrical matrix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Beam, Crystal, Detector, Geometry
from hdrmx.refinement.breaks import Slip, ordered, segments
from hdrmx.refinement.smoother import Smoother
from hdrmx.refinement.symmetry import free_strains, symmetrised, to_matrix, to_vector

__all__ = ["BEAM", "CRYSTAL_ONLY", "DETECTOR", "ROTATIONS", "Free", "Parametrisation", "symmetrised"]

Array = npt.NDArray[np.float64]
DETECTOR = ("distance", "shift1", "shift2", "tau1", "tau2", "tau3")  # mm along normal, fast, slow; rad about them
BEAM = ("in_plane", "out_of_plane", "wavelength")  # rad, rad, relative
N_RIGID = len(DETECTOR) + len(BEAM)
ROTATIONS = ("t1", "t2", "t3")  # rad about the spindle, across spindle and beam, and about the third


@dataclass(frozen=True)
class Free:
    """What is refined. `cell` moves within the constraints of each crystal's space group.

    `cell_varies`: along the scan, where the orientation does; else it is one for the whole scan.

    The beam's turn out of the plane of the spindle is held: to turn crystal, detector and beam together about the
    spindle changes no observation, so one of the three must stay. DIALS holds it, too, and frees the other turn.
    """

    orientation: bool = True
    cell: bool = True
    detector: tuple[str, ...] = DETECTOR
    beam: tuple[str, ...] = ()
    cell_varies: bool = True

    def __post_init__(self) -> None:
        for name, allowed in ((self.detector, DETECTOR), (self.beam, BEAM)):
            for part in name:
                if part not in allowed:
                    raise InputError("refinement", f"'{part}' can't be refined", f"choose from {', '.join(allowed)}")


DEFAULT = Free()
CRYSTAL_ONLY = Free(detector=(), beam=())


@dataclass(frozen=True)
class Parametrisation:
    """Crystals and geometry with all parameters at zero, and where each parameter stands in a vector of values.

    A vector holds `n_border` values of detector, beam and slips (three rotations each), then `n_block` for each sample
    point of each crystal in turn: three rotations, then the strains. `start` is 0 but for the slips' rotations, and for
    a course that is given. A crystal of higher symmetry than another leaves its last strains unused (`active` False):
    these stay 0.
    """

    crystals: tuple[Crystal, ...]
    geometry: Geometry
    free: Free
    smoother: Smoother
    slips: tuple[Slip, ...]
    start: Array  # (n_values,) where minimisation begins
    course: Array | None  # (n_blocks, 9) that part of it, as given
    border: npt.NDArray[np.int64]  # (n_border,) of the nine: DETECTOR, then BEAM; from 9 on three a slip
    block: npt.NDArray[np.int64]  # (n_block,) of the nine: ROTATIONS, then strains
    active: npt.NDArray[np.bool_]  # (n_values,)
    to_spindle: Array  # (3, 3) laboratory to spindle frame
    A0: Array  # (n_crystals, 3, 3) in the spindle frame
    strains: Array  # (n_crystals, 6, 3, 3) in the spindle frame, 0 where not free

    @property
    def n_border(self) -> int:
        return len(self.border)

    @property
    def n_block(self) -> int:
        return len(self.block)

    @property
    def n_blocks(self) -> int:
        return len(self.crystals) * self.smoother.n_samples

    @property
    def n_values(self) -> int:
        return self.n_border + self.n_block * self.n_blocks

    @property
    def n_parameters(self) -> int:
        """Values that are really free."""
        n = int(self.active.sum())
        if self.free.cell_varies:
            return n
        strains = int(self.active[self.n_border :].reshape(self.n_blocks, -1)[:, self.block >= 3].sum())
        return n - strains + strains // self.smoother.n_samples

    def border_values(self, values: Array) -> Array:
        """(9,) DETECTOR and BEAM, 0 where held."""
        return self._border(values)[:N_RIGID]

    def offsets(self, values: Array) -> Array:
        """(n_slips, 3) rotations added after each slip."""
        return self._border(values)[N_RIGID:].reshape(-1, 3)

    def _border(self, values: Array) -> Array:
        full = np.zeros(N_RIGID + 3 * len(self.slips))
        full[self.border] = values[: self.n_border]
        return full

    def slips_at(self, values: Array) -> tuple[Slip, ...]:
        """The slips with their rotations."""
        return tuple(
            dataclasses.replace(s, rotation_rad=to_vector(o)) for s, o in zip(self.slips, self.offsets(values))
        )

    def block_values(self, values: Array) -> Array:
        """(n_blocks, 9) rotations and strains at the sample points of all crystals in turn, 0 where held."""
        full = np.zeros((self.n_blocks, 9))
        full[:, self.block] = values[self.n_border :].reshape(self.n_blocks, self.n_block)
        return full

    def geometry_at(self, values: Array) -> Geometry:
        """Detector and beam moved."""
        full = self.border_values(values)
        if not full.any():
            return self.geometry
        return dataclasses.replace(
            self.geometry,
            detector=move_detector(self.geometry.detector, self.geometry.beam, full[:6]),
            beam=turn_beam(self.geometry, full[6:]),
        )

    def A_at(self, values: Array, lattice: int, frame: npt.ArrayLike) -> Array:
        """(n, 3, 3) A of one crystal at these frames, in the laboratory at zero goniometer angles."""
        return self._A(self._course(values, lattice, np.atleast_1d(np.asarray(frame, float))), lattice)

    def _course(self, values: Array, lattice: int, frame: Array, with_slips: bool = True) -> Array:
        """(n, 9) rotations and strains of one crystal at these frames."""
        n = self.smoother.n_samples
        course = self.smoother.at(frame, self.block_values(values)[lattice * n : (lattice + 1) * n])
        if self.slips and with_slips:
            added = np.concatenate([np.zeros((1, 3)), self.offsets(values)])
            course[:, :3] += added[segments(self.slips, lattice, frame)]
        return course

    def _A(self, state: Array, lattice: int) -> Array:
        """(n, 3, 3) A of one crystal for values (n, 9) of its block."""
        stretch = np.eye(3) + np.einsum("nk,kij->nij", state[:, 3:], self.strains[lattice])
        in_spindle = turn(state[:, :3]) @ stretch @ self.A0[lattice]
        return np.linalg.inv(self.to_datum) @ in_spindle

    @property
    def to_datum(self) -> Array:
        """(3, 3): a vector of the crystal at zero angles to the spindle frame (the fixed rotation, then the axes)."""
        gonio = self.geometry.goniometer
        assert gonio is not None
        return self.to_spindle @ np.asarray(gonio.setting) @ np.asarray(gonio.fixed)

    def crystals_at(self, values: Array) -> tuple[Crystal, ...]:
        """Crystals moved; when they vary along the scan, with `A_at_scan_points`, and the mean in A."""
        moved = []
        for i, crystal in enumerate(self.crystals):
            state = self._course(values, i, self._borders)
            A = to_matrix(self._A(state.mean(axis=0)[None], i)[0])
            is_varying = self.smoother.n_intervals > 0 or any(slip.lattice == i for slip in self.slips)
            varying = self._A(state, i) if is_varying else None
            moved.append(dataclasses.replace(crystal, A=A, A_at_scan_points=varying))
        return tuple(moved)

    def bases_at(self, values: Array) -> tuple[Crystal, ...]:
        """Crystals moved, without what slips and the course along the scan add: where a next cycle begins."""
        moved = []
        for i, crystal in enumerate(self.crystals):
            state = self._course(values, i, self._borders, with_slips=False).mean(axis=0)
            A = to_matrix(self._A(state[None], i)[0])
            moved.append(dataclasses.replace(crystal, A=A, A_at_scan_points=None))
        return tuple(moved)

    @property
    def _borders(self) -> Array:
        """(n_frames + 1,) borders of frames."""
        scan = self.geometry.scan
        assert scan is not None
        return scan.first + np.arange(scan.n_frames + 1.0)


def parametrise(
    crystals: Sequence[Crystal],
    geometry: Geometry,
    free: Free = DEFAULT,
    n_intervals: int = 0,
    slips: Sequence[Slip] = (),
    course: Array | None = None,
) -> Parametrisation:
    """Set all parameters to zero at these models; crystals are made to obey their symmetry first.

    The rotations of slips begin with what they are given as; there are none where the orientation is held. `course`
    (n_blocks, 9), rotations and strains at the sample points, is where these begin (default: 0).

    Raises InputError for a geometry without a rotation.
    """
    if geometry.scan is None or geometry.goniometer is None or geometry.scan.is_still:
        raise InputError("refinement", "the images are stills", "rotation data with a scan of finite width are needed")
    scan, gonio = geometry.scan, geometry.goniometer
    to_spindle = spindle_frame(geometry)
    to_datum = to_spindle @ np.asarray(gonio.setting) @ np.asarray(gonio.fixed)
    exact = tuple(symmetrised(c) for c in crystals)
    A0 = np.array([to_datum @ np.asarray(c.A) for c in exact]).reshape(-1, 3, 3)
    strains = np.zeros((len(exact), 6, 3, 3))
    n_strains = np.zeros(len(exact), int)
    if free.cell:
        for i, crystal in enumerate(exact):
            found = free_strains(A0[i], crystal.space_group)
            n_strains[i] = len(found)
            strains[i, : len(found)] = found
    smoother = Smoother(scan.first, scan.first + scan.n_frames, n_intervals)
    block = np.array([*(range(3) if free.orientation else ()), *range(3, 3 + n_strains.max(initial=0))], np.int64)
    slips = ordered(slips) if free.orientation else ()
    rigid = [*(DETECTOR.index(p) for p in free.detector), *(6 + BEAM.index(p) for p in free.beam)]
    border = np.array([*sorted(rigid), *range(N_RIGID, N_RIGID + 3 * len(slips))], np.int64)
    per_crystal = block[None, :] < 3 + n_strains[:, None]
    active = np.concatenate([np.ones(len(border), bool), np.repeat(per_crystal, smoother.n_samples, axis=0).ravel()])
    start = np.zeros(len(active))
    start[len(rigid) : len(border)] = np.ravel([slip.rotation_rad for slip in slips])
    if course is not None:
        start[len(border) :] = course[:, block].ravel()
    return Parametrisation(
        exact, geometry, free, smoother, slips, start, course, border, block, active, to_spindle, A0, strains
    )


def spindle_frame(geometry: Geometry) -> Array:
    """(3, 3) rotation from the laboratory: rows are the spindle, the normal of spindle and beam, and the third."""
    assert geometry.goniometer is not None
    x = geometry.goniometer.lab_axis
    y = np.cross(x, geometry.beam.direction)
    if np.linalg.norm(y) < 1e-6:  # the beam runs along the spindle: any normal will do
        y = np.cross(x, np.eye(3)[np.argmin(np.abs(x))])
    y /= np.linalg.norm(y)
    return np.array([x, y, np.cross(x, y)])


def turn(angles: Array) -> Array:
    """(n, 3, 3) Rz(t3) Ry(t2) Rx(t1) of angles (n, 3)."""
    cos, sin = np.cos(angles), np.sin(angles)
    zero, one = np.zeros(len(angles)), np.ones(len(angles))
    x = np.array([[one, zero, zero], [zero, cos[:, 0], -sin[:, 0]], [zero, sin[:, 0], cos[:, 0]]])
    y = np.array([[cos[:, 1], zero, sin[:, 1]], [zero, one, zero], [-sin[:, 1], zero, cos[:, 1]]])
    z = np.array([[cos[:, 2], -sin[:, 2], zero], [sin[:, 2], cos[:, 2], zero], [zero, zero, one]])
    return np.einsum("ijn,jkn,kln->nil", z, y, x)


def about(axis: npt.ArrayLike, angle: float) -> Array:
    """(3, 3) rotation about a unit vector."""
    x, y, z = np.asarray(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


@dataclass(frozen=True)
class DetectorFrame:
    """Axes (rows normal, fast, slow; the normal away from the sample) and the pivot of a detector's motions, mm."""

    axes: Array
    pivot: Array


def detector_frame(detector: Detector, beam: Beam) -> DetectorFrame:
    """Of the mean plane of all panels; the pivot is where the beam meets it, else its point nearest to the sample."""
    fast = np.mean([p.fast_axis for p in detector.panels], axis=0)
    normal = np.mean([p.normal for p in detector.panels], axis=0)
    middle = np.mean([p.lab_mm(p.shape[0] / 2, p.shape[1] / 2) for p in detector.panels], axis=0)
    normal /= np.linalg.norm(normal)
    fast -= (fast @ normal) * normal
    fast /= np.linalg.norm(fast)
    slow = np.cross(normal, fast)
    distance = float(normal @ middle)
    if distance < 0:  # slow stays as it is
        normal, distance = -normal, -distance
    direction = np.asarray(beam.direction)
    # A detector swung out by more than 60 degrees from the beam meets it far away, if at all.
    towards = float(normal @ direction)
    pivot = direction * distance / towards if towards > 0.5 else normal * distance
    return DetectorFrame(np.array([normal, fast, slow]), pivot)


def move_detector(detector: Detector, beam: Beam, values: Array) -> Detector:
    """All panels moved by the six values of DETECTOR: turned about the pivot, then shifted along the old axes."""
    if not values.any():
        return detector
    frame = detector_frame(detector, beam)
    shift = values[:3] @ frame.axes
    rotation = np.eye(3)
    for axis, angle in zip(frame.axes, values[3:]):
        rotation = about(axis, angle) @ rotation
    panels = []
    for p in detector.panels:
        origin = rotation @ (np.asarray(p.origin_mm) - frame.pivot) + frame.pivot + shift
        panels.append(
            dataclasses.replace(
                p,
                origin_mm=to_vector(origin),
                fast_axis=to_vector(rotation @ np.asarray(p.fast_axis)),
                slow_axis=to_vector(rotation @ np.asarray(p.slow_axis)),
            )
        )
    return detector.with_panels(tuple(panels))


def turn_beam(geometry: Geometry, values: Array) -> Beam:
    """The beam turned by the values of BEAM: first in the plane of the spindle, then out of it."""
    beam = geometry.beam
    if not values.any():
        return beam
    axes = spindle_frame(geometry)
    direction = np.array([0.0, 0.0, 0.0]) + axes @ np.asarray(beam.direction)
    in_plane, out_of_plane = about((0, 1, 0), values[0]), about(out_axis(direction), values[1])
    turned = axes.T @ (out_of_plane @ in_plane @ direction)
    return dataclasses.replace(
        beam,
        direction=to_vector(turned / np.linalg.norm(turned)),
        wavelength_A=beam.wavelength_A * (1.0 + float(values[2])),
    )


def out_axis(direction: Array) -> Array:
    """Axis, in the spindle frame, that takes a beam in the x-z plane out of it: y x direction."""
    return np.array([direction[2], 0.0, -direction[0]]) / np.hypot(direction[0], direction[2])
