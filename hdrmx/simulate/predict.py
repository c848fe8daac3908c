"""Where and when reflections appear: the exact geometry of rotation and of stills.

Rotation: r(phi) = R(m, phi) S F A h meets the Ewald sphere where |s0 + r| = |s0|; with the rotation
written out this is a cos(phi) + b sin(phi) = c, which has two roots a turn or none. Widths follow Kabsch
(2010) Acta Cryst. D66, 133-144: e1 = s1 x s0, e2 = s1 x e1, zeta = m . e1, and along the scan a
Gaussian of standard deviation sigma_m / |zeta|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from hdrmx.models import Geometry, Panel, Scan
from hdrmx.simulate.crystal import Array, Lattice

N_SIGMA = 4.5  # a reflection is followed to this distance from its centre: 7e-6 of it is left out
MIN_ZETA = 0.03  # nearer to the axis the Gaussian in phi is no approximation to anything


@dataclass(frozen=True)
class Rays:
    """Diffracted rays: one row a reflection and root."""

    index: npt.NDArray[np.intp]  # (n,) row of the reflection in `crystal.Reflections`
    z: Array  # (n,) exact frame position; for stills the middle of the frame
    half_width: Array  # (n,) frames to either side of z; for stills 0.5
    s1: Array  # (n, 3), 1/A
    zeta: Array  # (n,); for stills 1
    offset_rad: Array  # (n,) angle from the Ewald sphere; 0 in a rotation
    is_entering: npt.NDArray[np.bool_]  # (n,) r moves into the Ewald sphere; False for stills

    def take(self, rows: npt.NDArray) -> Rays:
        return Rays(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def ewald_roots(r0: Array, s0: Array, axis: Array) -> Array:
    """The two rotation angles at which vectors meet the Ewald sphere.

    Parameters
    ----------
    r0 : (n, 3) reciprocal vectors at angle 0; s0 : (3,); axis : (3,) unit vector

    Returns
    -------
    (2, n) rad, within 2 pi of each other but otherwise of any turn; NaN where the sphere is never met.
    """
    along = r0 @ axis
    c = -0.5 * (r0 * r0).sum(axis=1) - (axis @ s0) * along
    a = r0 @ s0 - (axis @ s0) * along
    b = np.cross(axis, r0) @ s0
    reach = np.hypot(a, b)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.arccos(c / reach)
    middle = np.arctan2(b, a)
    return np.asarray(np.stack([middle - half, middle + half]))


def rotate(r0: Array, axis: Array, phi: Array) -> Array:
    """(n, 3), each vector turned about the axis by its own angle."""
    c, s = np.cos(phi)[:, None], np.sin(phi)[:, None]
    return r0 * c + np.cross(axis, r0) * s + np.outer(r0 @ axis, axis) * (1.0 - c)


def rotation_rays(
    hkl: npt.NDArray[np.int32],
    lattice: Lattice,
    geometry: Geometry,
    sigma_m: float,
    window: tuple[int, int],
    segment: tuple[int, int],
) -> Rays:
    """The rays whose first frame lies in a window of frames.

    Parameters
    ----------
    hkl : (n, 3)
    sigma_m : rocking width, rad
    window : (begin, end) frames, not longer than half a turn
    segment : (number, first frame) of the run of frames without a slip that holds the window. In the first
        window of a segment come also all rays that are on the way when it begins.

    Returns
    -------
    Ordered by (z, index); each turn of the scan has rays of its own. Reflections so near to the axis that they
    would last for half a turn are left out.
    """
    scan, axis, fixed = _rotation_of(geometry)
    s0, number = geometry.beam.s0, segment[0]
    r0 = hkl @ (fixed @ lattice.at(0.5 * (window[0] + window[1]), number)[0]).T
    opening = window[0] == segment[1]
    parts = []
    for root, phi in enumerate(ewald_roots(r0, s0, axis)):
        index = np.flatnonzero(np.isfinite(phi))
        z, half = scan.frame_at(phi[index]), half_width(_zeta_at(r0[index], phi[index], s0, axis), scan, sigma_m)
        margin = 1.0 + (window[1] - window[0]) * half / (N_SIGMA * sigma_m) * abs(lattice.drift_rad)
        z = _turn_within(z, half, window[0] - margin, window[1] + margin, opening, scan)
        near = np.isfinite(z)
        index, z = index[near], z[near]
        r = r0[index]
        if lattice.drift_rad:
            z, r = _follow_drift(hkl[index], z, lattice, number, root, geometry)
        parts.append(_rays(index, z, r, scan, s0, axis, sigma_m))
    rays = _joined(parts)
    first = rays.z - rays.half_width
    ends_later = rays.z + rays.half_width > window[0]
    rays = rays.take(np.flatnonzero((first < window[1]) & (ends_later if opening else first >= window[0])))
    return rays.take(np.lexsort((rays.index, rays.z)))


def half_width(zeta: Array, scan: Scan, sigma_m: float) -> Array:
    """(n,) frames to either side of its centre during which a reflection is followed."""
    return N_SIGMA * sigma_m / np.maximum(np.abs(zeta), MIN_ZETA) / abs(scan.width_rad)


def _rotation_of(geometry: Geometry) -> tuple[Scan, Array, Array]:
    """The scan, the axis in the laboratory, and what turns the crystal's frame to the laboratory's at angle 0."""
    scan, goniometer = geometry.scan, geometry.goniometer
    if scan is None or goniometer is None:
        raise ValueError("the geometry has no goniometer or no scan")
    return scan, goniometer.lab_axis, np.asarray(goniometer.setting) @ np.asarray(goniometer.fixed)


def _turn_within(z: Array, half: Array, begin: Array, end: Array, opening: bool, scan: Scan) -> Array:
    """z of the turn whose first frame z - half is in [begin, end), or NaN.

    When the window opens a segment, reflections that began earlier count too.
    """
    turn = 2.0 * np.pi / abs(scan.width_rad)
    earliest = begin - half if opening else begin + half
    z = z + np.ceil((earliest - z) / turn) * turn
    return np.where((z - half < end) & (half < turn / 4.0), z, np.nan)


def _follow_drift(
    hkl: npt.NDArray[np.int32], z: Array, lattice: Lattice, number: int, root: int, geometry: Geometry
) -> tuple[Array, Array]:
    """Solve again with the orientation at the reflection's own frame, until it stays; (z, r at angle 0)."""
    scan, axis, fixed = _rotation_of(geometry)
    r = np.empty((0, 3))
    for _ in range(6):  # each gains a factor of drift / (rotation * zeta)
        r = np.einsum("ij,njk,nk->ni", fixed, lattice.at(z, number), hkl)
        step = ewald_roots(r, geometry.beam.s0, axis)[root] - scan.angle_rad(z)
        z = z + ((step + np.pi) % (2.0 * np.pi) - np.pi) / scan.width_rad
    return z, r


def _rays(index: npt.NDArray, z: Array, r0: Array, scan: Scan, s0: Array, axis: Array, sigma_m: float) -> Rays:
    phi = scan.angle_rad(z)
    r = rotate(r0, axis, phi)
    s1 = s0 + r
    s1 *= (np.linalg.norm(s0) / np.linalg.norm(s1, axis=1))[:, None]  # rounding alone
    zeta = _zeta(s1, s0, axis)
    entering = (np.cross(axis, r) @ s0) * scan.width_rad < 0.0
    return Rays(index, z, half_width(zeta, scan, sigma_m), s1, zeta, np.zeros(len(z)), entering)


def _zeta_at(r0: Array, phi: Array, s0: Array, axis: Array) -> Array:
    return _zeta(s0 + rotate(r0, axis, phi), s0, axis)


def _zeta(s1: Array, s0: Array, axis: Array) -> Array:
    e1 = np.cross(s1, s0)
    return np.asarray((e1 @ axis) / np.linalg.norm(e1, axis=1))


def still_rays(hkl: npt.NDArray[np.int32], A: Array, geometry: Geometry, sigma_m: float, frame: int) -> Rays:
    """The rays of a still: reflections whose vector is within `N_SIGMA` sigma_m of the Ewald sphere.

    The vector is turned by the shortest way, in the plane with the beam, onto the sphere.
    """
    scan, axis, fixed = _rotation_of(geometry)
    s0 = geometry.beam.s0
    r = rotate(hkl @ (fixed @ A).T, axis, np.full(len(hkl), scan.start_rad))
    length, wave = np.linalg.norm(r, axis=1), float(np.linalg.norm(s0))
    beam = s0 / wave
    along = r @ beam
    side = r - np.outer(along, beam)
    across = np.linalg.norm(side, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = np.arccos(-length / (2.0 * wave))  # angle to the beam of a vector that ends on the sphere
        offset = np.arctan2(across, along) - wanted
        rows = np.flatnonzero((np.abs(offset) < N_SIGMA * sigma_m) & (across > 0.0))
    cosine, sine = np.cos(wanted[rows]), np.sin(wanted[rows])
    turned = length[rows, None] * (cosine[:, None] * beam + (sine / across[rows])[:, None] * side[rows])
    n = len(rows)
    return Rays(
        rows, np.full(n, frame + 0.5), np.full(n, 0.5), s0 + turned, np.ones(n), offset[rows], np.zeros(n, bool)
    )


def partiality(frame: npt.NDArray, z: Array, zeta: Array, offset_rad: Array, sigma_m: float, scan: Scan) -> Array:
    """(n,) part of a reflection that a frame records.

    Rotation: the integral of the rocking curve over the frame. Still: the curve's height relative to its peak.
    """
    if scan.is_still:
        return np.asarray(np.exp(-0.5 * (offset_rad / sigma_m) ** 2))
    sigma_z = sigma_m / np.abs(zeta) / abs(scan.width_rad)
    return np.asarray(ndtr((frame + 1 - z) / sigma_z) - ndtr((frame - z) / sigma_z))


def positions(s1: Array, panel: Panel) -> tuple[Array, Array]:
    """(slow, fast) in px where rays are counted on average; NaN for rays that fly away from the panel.

    In a sensor of some thickness that is the mean depth of absorption of the photons that it does absorb.
    """
    at = s1 @ np.linalg.inv(panel.d_matrix).T
    with np.errstate(invalid="ignore", divide="ignore"):
        fast, slow = (np.where(at[:, 2] > 0.0, at[:, k] / at[:, 2], np.nan) for k in (0, 1))
    unit = s1 / np.linalg.norm(s1, axis=1)[:, None]
    depth = mean_depth(unit @ panel.normal, panel)
    fast, slow = fast + depth * (unit @ panel.fast_axis), slow + depth * (unit @ panel.slow_axis)
    return slow / panel.pixel_mm[0], fast / panel.pixel_mm[1]


def mean_depth(cosine: Array, panel: Panel) -> Array:
    """(n,) mm along the ray, mean over the photons absorbed in the sensor."""
    if panel.thickness_mm <= 0.0 or panel.mu_per_mm <= 0.0:
        return np.zeros(len(cosine))
    mu = panel.mu_per_mm
    path = panel.thickness_mm / np.abs(cosine)
    return np.asarray(1.0 / mu - path * np.exp(-mu * path) / efficiency(cosine, panel))


def efficiency(cosine: Array, panel: Panel) -> Array:
    """(n,) fraction of the photons that the sensor absorbs."""
    if panel.thickness_mm <= 0.0 or panel.mu_per_mm <= 0.0:
        return np.ones(len(cosine))
    return np.asarray(-np.expm1(-panel.mu_per_mm * panel.thickness_mm / np.abs(cosine)))


def lorentz(rays: Rays, geometry: Geometry) -> Array:
    """(n,) Lorentz factor of the rotation method, 1 / |zeta| sin(2 theta); 1 for stills."""
    scan = geometry.scan
    if scan is None or scan.is_still:
        return np.ones(len(rays.z))
    wave = geometry.beam.wavelength_A
    sine = np.linalg.norm(np.cross(rays.s1, geometry.beam.s0), axis=1) * wave**2
    return np.asarray(1.0 / (np.abs(rays.zeta) * sine))


def polarization(s1: Array, geometry: Geometry) -> Array:
    """(n,) polarisation factor (Kahn et al. (1982) J. Appl. Cryst. 15, 330-337)."""
    beam = geometry.beam
    unit = s1 * beam.wavelength_A
    fraction, normal = beam.polarization_fraction, np.asarray(beam.polarization_normal)
    field = np.cross(normal, beam.direction)
    vertical, horizontal = 1.0 - (unit @ normal) ** 2, 1.0 - (unit @ field) ** 2
    return np.asarray(fraction * horizontal + (1.0 - fraction) * vertical)


def _joined(parts: list[Rays]) -> Rays:
    return Rays(*(np.concatenate([getattr(p, name) for p in parts]) for name in Rays.__dataclass_fields__))
