"""The block of pixels that a reflection may reach, how much of it the scan records, and its rays across a panel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from hdrmx.integration.profile_model import Floats, KabschAxes, ProfileModel
from hdrmx.models import Geometry, Panel
from hdrmx.refinement.parallax import mm_to_px, px_to_mm

BOX = ("frame_min", "frame_max", "slow_min", "slow_max", "fast_min", "fast_max")
RAY = 12  # numbers in a row of `rays`


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

    With the point at X = O + f F + s S (mm; f, s in px, the parallax of the reflection's own place taken off),
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
            result[on, 3 * k] = np.einsum("ij,ij->i", e, origin)
            result[on, 3 * k + 1] = e @ along_fast
            result[on, 3 * k + 2] = e @ along_slow
        result[on, 6] = np.einsum("ij,ij->i", origin, origin)
        result[on, 7], result[on, 8] = origin @ along_fast, origin @ along_slow
        result[on, 9], result[on, 10] = along_fast @ along_fast, along_fast @ along_slow
        result[on, 11] = along_slow @ along_slow
    return result


def _local_plane(panel: Panel, slow: Floats, fast: Floats) -> tuple[Floats, Floats, Floats]:
    """(n, 3) origins, (3,) step a pixel along fast and slow, mm."""
    slow_mm, fast_mm = px_to_mm(panel, slow, fast)
    fast_axis, slow_axis = np.asarray(panel.fast_axis), np.asarray(panel.slow_axis)
    shift_fast, shift_slow = fast * panel.pixel_mm[1] - fast_mm, slow * panel.pixel_mm[0] - slow_mm
    origin = np.asarray(panel.origin_mm) - np.outer(shift_fast, fast_axis) - np.outer(shift_slow, slow_axis)
    return origin, fast_axis * panel.pixel_mm[1], slow_axis * panel.pixel_mm[0]
