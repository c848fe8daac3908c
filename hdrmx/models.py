"""Models of an experiment: frozen, with units, in the laboratory frame of imgCIF.

Laboratory frame: Z points from the sample to the source (the beam travels along -Z), X along a
goniometer axis where the beamline is so built, Y completes a right-handed set. NeXus (McStas)
vectors (x, y, z) become (-x, y, -z). Reciprocal vectors are 1/d, in 1/A, without 2 pi.
Rotations are active: a vector r of the crystal at scan angle phi is S R(axis, phi) F r with the
goniometer's setting rotation S and fixed rotation F, as in DIALS.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Beam:
    """A monochromatic beam (X-rays, or electrons where `probe` says so).

    `direction` is the unit vector along which the beam travels; s0 = direction / wavelength.
    """

    wavelength_A: float
    direction: Vector = (0.0, 0.0, -1.0)
    polarization_normal: Vector = (0.0, 1.0, 0.0)
    polarization_fraction: float = 0.999
    divergence_rad: float = 0.0
    flux_per_s: float | None = None
    probe: str = "x-ray"

    @property
    def s0(self) -> npt.NDArray[np.float64]:
        """(3,), 1/A."""
        return np.asarray(self.direction) / self.wavelength_A


@dataclass(frozen=True)
class Panel:
    """A flat, regular array of pixels; a module, or a whole detector drawn as one.

    Pixel (slow i, fast j) covers [i, i+1) x [j, j+1): its centre is at i + 0.5, j + 0.5. The point at
    (slow, fast) in px lies at origin + fast * pixel_mm[1] * fast_axis + slow * pixel_mm[0] * slow_axis.
    """

    name: str
    shape: tuple[int, int]  # (slow, fast), px
    pixel_mm: tuple[float, float]  # (slow, fast)
    origin_mm: Vector  # outer corner of pixel (0, 0)
    fast_axis: Vector  # unit
    slow_axis: Vector  # unit
    offset: tuple[int, int] = (0, 0)  # (slow, fast) of this panel's first pixel within the frame
    thickness_mm: float = 0.0  # 0: no parallax correction
    material: str = ""
    mu_per_mm: float = 0.0  # absorption of the sensor at the beam's wavelength

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Unit vector fast x slow."""
        return np.cross(self.fast_axis, self.slow_axis)

    @property
    def distance_mm(self) -> float:
        """From the sample along the panel's normal."""
        return abs(float(self.normal @ np.asarray(self.origin_mm)))

    @property
    def d_matrix(self) -> npt.NDArray[np.float64]:
        """(3, 3) mm: columns fast, slow, origin; (x_mm, y_mm, 1) to the laboratory."""
        return np.column_stack([self.fast_axis, self.slow_axis, self.origin_mm])

    def lab_mm(self, slow_px: npt.ArrayLike, fast_px: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(n, 3) mm, positions of points given in px, without parallax."""
        fast_mm = np.asarray(fast_px, float)[..., None] * self.pixel_mm[1]
        slow_mm = np.asarray(slow_px, float)[..., None] * self.pixel_mm[0]
        return np.asarray(self.origin_mm) + fast_mm * np.asarray(self.fast_axis) + slow_mm * np.asarray(self.slow_axis)

    def beam_centre_px(self, beam: Beam) -> tuple[float, float] | None:
        """(slow, fast) where the direct beam meets the panel's plane; None when it never does."""
        x, y, w = np.linalg.solve(self.d_matrix, np.asarray(beam.direction))
        if w <= 0:
            return None
        return float(y / w / self.pixel_mm[0]), float(x / w / self.pixel_mm[1])


@dataclass(frozen=True)
class Detector:
    """One or more panels, and the counts that can be trusted (inclusive)."""

    panels: tuple[Panel, ...]
    trusted: tuple[float, float] = (0.0, 65534.0)  # (underload, saturation), counts
    gain: float = 1.0
    name: str = ""
    kind: str = "pixel-array"  # "ccd" and others need larger spots and a gain

    def with_panels(self, panels: tuple[Panel, ...]) -> Detector:
        return replace(self, panels=panels)


@dataclass(frozen=True)
class Goniometer:
    """A rotation about `axis`; the other axes of the goniometer are folded into two fixed rotations.

    `axis` is stated in the frame in which `setting` is still to be applied, as in DIALS:
    r_lab = setting @ R(axis, phi) @ fixed @ r_crystal.
    """

    axis: Vector = (1.0, 0.0, 0.0)
    fixed: Matrix = IDENTITY
    setting: Matrix = IDENTITY
    # (name, axis at the datum, angle_rad at the start) from the crystal outwards, where the file tells; for output only
    axes: tuple[tuple[str, Vector, float], ...] = ()
    scan_axis: int = 0

    @property
    def lab_axis(self) -> npt.NDArray[np.float64]:
        """(3,) unit vector of the rotation in the laboratory."""
        return np.asarray(self.setting) @ np.asarray(self.axis)


@dataclass(frozen=True)
class Scan:
    """Evenly spaced rotation angles. Frame i covers [start_rad + (i - first) * width_rad, + width_rad)."""

    first: int  # index of the first frame, from 0 (image number - 1)
    n_frames: int
    start_rad: float  # angle at the beginning of frame `first`
    width_rad: float  # 0 for stills
    exposure_s: float = 0.0

    def angle_rad(self, frame: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Angle at fractional frame positions (frame i begins at i)."""
        return self.start_rad + (np.asarray(frame, float) - self.first) * self.width_rad

    def frame_at(self, angle_rad: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Inverse of `angle_rad`."""
        return self.first + (np.asarray(angle_rad, float) - self.start_rad) / self.width_rad

    @property
    def is_still(self) -> bool:
        return self.width_rad == 0.0

    def part(self, first: int, n_frames: int) -> Scan:
        """The scan of a run of its frames."""
        return replace(self, first=first, n_frames=n_frames, start_rad=float(self.angle_rad(first)))


@dataclass(frozen=True)
class Crystal:
    """A lattice and its orientation at zero goniometer angles.

    `A` is UB: h (column, integers) to reciprocal space, 1/A. `A_at_scan_points`, where the crystal was
    refined scan-varying, holds A at each frame boundary: (n_frames + 1, 3, 3).
    """

    A: Matrix
    space_group: str = "P 1"  # extended Hermann-Mauguin symbol, as gemmi writes it
    A_at_scan_points: npt.NDArray[np.float64] | None = None
    cell_sd: tuple[float, float, float, float, float, float] | None = None  # A, degrees
    mosaicity_rad: float | None = None

    @property
    def cell(self) -> tuple[float, float, float, float, float, float]:
        """a, b, c in A and alpha, beta, gamma in degrees."""
        return cell_of(np.asarray(self.A))


def cell_of(A: npt.NDArray[np.float64]) -> tuple[float, float, float, float, float, float]:
    """Cell constants (A, degrees) of a reciprocal basis A (columns a*, b*, c* in 1/A)."""
    real = np.linalg.inv(A)  # rows a, b, c
    a, b, c = np.linalg.norm(real, axis=1)
    cosines = (real[1] @ real[2] / (b * c), real[0] @ real[2] / (a * c), real[0] @ real[1] / (a * b))
    alpha, beta, gamma = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return float(a), float(b), float(c), float(alpha), float(beta), float(gamma)


@dataclass(frozen=True)
class Geometry:
    """All that a frame source knows of the experiment. No goniometer or scan: stills."""

    beam: Beam
    detector: Detector
    goniometer: Goniometer | None = None
    scan: Scan | None = None
    notes: tuple[str, ...] = field(default=())  # doubts about the header, in words
