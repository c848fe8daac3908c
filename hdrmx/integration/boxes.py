"""The block of pixels that a reflection may reach, how much of it the scan records, and its rays across a panel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from hdrmx.integration.profile_model import Floats, KabschAxes, ProfileModel
from hdrmx.kernels import integrate_profile as kernel
from hdrmx.models import Geometry, Panel
from hdrmx.refinement.parallax import has_parallax, mm_to_px, px_to_mm

BOX = ("frame_min", "frame_max", "slow_min", "slow_max", "fast_min", "fast_max")
RAY = 12  # numbers in a row of `rays`
_NEAR_PX = 3.0


def boxes(
    frame: Floats,
    panel: npt.NDArray[np.int32],
    s1: Floats,
    axes: KabschAxes,
    geometry: Geometry,
    profile: ProfileModel,
    box_scale: float,
) -> npt.NDArray[np.int32]:
    """(n, 6) int32: first and last + 1 frame, slow, fast. Frames are kept to the scan, pixels aren't kept to the panel.

    Parameters
    ----------
    frame : (n,) predicted
    box_scale : a box reaches this many radii of the foreground, so that background is seen around it
    """
    scan = geometry.scan
    assert scan is not None
    result = np.empty((len(frame), 6), np.int32)
    reach = profile.delta_m / np.abs(axes.zeta) / abs(scan.width_rad)
    result[:, 0] = np.clip(np.floor(frame - reach), scan.first, scan.first + scan.n_frames - 1)
    result[:, 1] = np.clip(np.ceil(frame + reach), result[:, 0] + 1, scan.first + scan.n_frames)
    length = np.linalg.norm(s1, axis=1, keepdims=True)
    delta = box_scale * profile.delta_b * length
    corners = [s1 + delta * (i * axes.e1 + j * axes.e2) for i in (-1, 1) for j in (-1, 1)]
    for number, p in enumerate(geometry.detector.panels):
        on = np.flatnonzero(panel == number)
        if len(on) == 0:
            continue
        inverse = np.linalg.inv(p.d_matrix).T
        places = [c[on] @ inverse for c in corners]
        px = np.array([mm_to_px(p, v[:, 1] / v[:, 2], v[:, 0] / v[:, 2]) for v in places])  # (4, 2, n)
        px = np.clip(px, -(2**30), 2**30)
        result[on, 2::2] = np.floor(px.min(axis=0)).T
        result[on, 3::2] = np.ceil(px.max(axis=0)).T
    return result


def partiality(
    frame: Floats, box: npt.NDArray[np.int32], zeta: Floats, geometry: Geometry, profile: ProfileModel
) -> Floats:
    """(n,) fraction of the rocking curve, a Gaussian, within the box's frames."""
    assert geometry.scan is not None
    scale = np.abs(zeta) * abs(geometry.scan.width_rad) / (np.sqrt(2.0) * profile.sigma_m_rad)
    return np.asarray(0.5 * (erf((box[:, 1] - frame) * scale) - erf((box[:, 0] - frame) * scale)))


def rays(
    panel: npt.NDArray[np.int32], slow: Floats, fast: Floats, axes: KabschAxes, geometry: Geometry
) -> npt.NDArray[np.float64]:
    """(n, RAY): what gives eps1, eps2 at any point of a panel near each reflection.

    With the point at X = O + f F + s S (mm; f, s in px; parallax as it is about the reflection's place),
    eps1 = e1 . X / |X|, as e1 is at right angles to s1. A row holds e1 . (O, F, S), e2 . (O, F, S) and
    O . O, O . F, O . S, F . F, F . S, S . S.
    """
    result = np.empty((len(panel), RAY))
    for number, p in enumerate(geometry.detector.panels):
        on = np.flatnonzero(panel == number)
        if len(on) == 0:
            continue
        origin, along_fast, along_slow = _local_plane(p, slow[on], fast[on])
        for k, e in enumerate((axes.e1[on], axes.e2[on])):
            for m, vector in enumerate((origin, along_fast, along_slow)):
                result[on, 3 * k + m] = _dot(e, vector)
        basis = (origin, along_fast, along_slow)
        for m, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
            result[on, 6 + m] = _dot(basis[i], basis[j])
    return result


def lay_of(
    panel: npt.NDArray[np.int32],
    slow: Floats,
    fast: Floats,
    s1: Floats,
    ray: Floats,
    geometry: Geometry,
    profile: ProfileModel,
) -> npt.NDArray[np.float64]:
    """(n, LAY): how each reflection's profile lies on its panel, for `kernels.integrate_profile`.

    Linear about the predicted place, which over the few pixels of a foreground leaves less than 0.01 px.
    """
    result = np.zeros((len(panel), kernel.LAY))
    quadratic = ray[:, 9] * fast**2 + ray[:, 11] * slow**2 + 2.0 * ray[:, 10] * fast * slow
    length = np.sqrt(ray[:, 6] + 2.0 * (ray[:, 7] * fast + ray[:, 8] * slow) + quadratic)
    scale = 1.0 / (length * profile.sigma_b_rad * kernel.STEP)
    result[:, :6] = ray[:, :6] * scale[:, None]
    result[:, [kernel.X0, kernel.Y0]] += kernel.REACH / kernel.STEP
    out = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    for number, p in enumerate(geometry.detector.panels):
        on = np.flatnonzero(panel == number)
        if len(on) and has_parallax(p):
            result[on, kernel.FAST_MM] = out[on] @ np.asarray(p.fast_axis) / p.pixel_mm[1]
            result[on, kernel.SLOW_MM] = out[on] @ np.asarray(p.slow_axis) / p.pixel_mm[0]
            result[on, kernel.MU] = p.mu_per_mm
            result[on, kernel.PATH] = p.thickness_mm / np.abs(out[on] @ p.normal)
    return result


def _dot(u: Floats, v: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", u, v))


def _local_plane(panel: Panel, slow: Floats, fast: Floats) -> tuple[Floats, Floats, Floats]:
    """(n, 3) mm: O, and a pixel's steps F, S, true within some pixels of each place: parallax included."""
    axes = np.column_stack([panel.slow_axis, panel.fast_axis]).T

    def true_place(at_slow: Floats, at_fast: Floats) -> Floats:
        return np.asarray(panel.origin_mm) + np.column_stack(px_to_mm(panel, at_slow, at_fast)) @ axes

    along_slow = (true_place(slow + _NEAR_PX, fast) - true_place(slow - _NEAR_PX, fast)) / (2 * _NEAR_PX)
    along_fast = (true_place(slow, fast + _NEAR_PX) - true_place(slow, fast - _NEAR_PX)) / (2 * _NEAR_PX)
    origin = true_place(slow, fast) - slow[:, None] * along_slow - fast[:, None] * along_fast
    return origin, along_fast, along_slow
