"""Where reflections cross the Ewald sphere during a rotation, and where they meet the detector.

A reflection p (at zero angle, in the spindle frame) is on the sphere when |s0 + Rx(phi) p| = |s0|, that is a
cos(phi) + b sin(phi) = c with a = s0y py + s0z pz, b = s0z py - s0y pz, c = -p^2/2 - s0x px: exactly solved by
phi = atan2(b, a) +- acos(c / |a, b|), + where it enters the sphere, - where it leaves. A crystal that varies
along the scan is taken at the angle found, and the angle found again, until it stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Detector, Geometry
from hdrmx.refinement.parallax import mm_to_px
from hdrmx.refinement.parameters import spindle_frame

Array = npt.NDArray[np.float64]
ROUNDS = 20  # the error shrinks by the crystal's turn per radian of the scan, some 1e-3, each round
SETTLED_RAD = 1e-9


@dataclass(frozen=True)
class Predicted:
    """Positions of n reflections: frame, slow, fast (NaN: none), panel (-1: none), s1 (n, 3) in 1/A."""

    frame: Array
    slow: Array
    fast: Array
    panel: npt.NDArray[np.int32]
    s1: Array


@dataclass(frozen=True)
class PredictedScan(Predicted):
    """All m crossings in a scan, in the order of `index` (which hkl), then frame."""

    index: npt.NDArray[np.int64]
    entering: npt.NDArray[np.bool_]


def is_entering(s1: Array, geometry: Geometry) -> npt.NDArray[np.bool_]:
    """(n,) True where a reflection with this s1 goes into the Ewald sphere as the angle grows."""
    assert geometry.goniometer is not None
    return np.asarray(s1 @ np.cross(geometry.beam.s0, geometry.goniometer.lab_axis) < 0)


def predict(
    hkl: npt.ArrayLike,
    A: npt.ArrayLike,
    geometry: Geometry,
    entering: npt.ArrayLike,
    near_frame: npt.ArrayLike | None = None,
    panel: npt.ArrayLike | None = None,
) -> Predicted:
    """One crossing of each reflection: the one that enters or leaves, as told.

    Parameters
    ----------
    hkl : (n, 3)
    A : (3, 3), or one for each reflection (n, 3, 3)
    near_frame : (n,) the turn nearest to these is taken; else the first one at or after the beginning of the scan
    panel : (n,) the position on the plane of this panel is given, even outside its pixels; else that on the panel hit
    """
    to_spindle, to_datum = frames_of(geometry)
    scan = geometry.scan
    assert scan is not None
    p = (to_datum @ np.asarray(A, float) @ np.atleast_2d(np.asarray(hkl, float))[:, :, None])[:, :, 0]
    s0 = to_spindle @ geometry.beam.s0
    a, b = s0[1] * p[:, 1] + s0[2] * p[:, 2], s0[2] * p[:, 1] - s0[1] * p[:, 2]
    c = -0.5 * np.einsum("ij,ij->i", p, p) - s0[0] * p[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = c / np.hypot(a, b)
        half = np.arccos(np.where(np.abs(cosine) < 1.0, cosine, np.nan))
    phi = np.arctan2(b, a) + np.where(np.asarray(entering, bool), half, -half)
    if near_frame is None:
        lowest = min(float(scan.angle_rad(scan.first)), float(scan.angle_rad(scan.first + scan.n_frames)))
        phi += 2.0 * np.pi * np.ceil((lowest - phi) / (2.0 * np.pi))
    else:
        phi += 2.0 * np.pi * np.rint((scan.angle_rad(near_frame) - phi) / (2.0 * np.pi))
    cos, sin = np.cos(phi), np.sin(phi)
    r = np.column_stack([p[:, 0], cos * p[:, 1] - sin * p[:, 2], sin * p[:, 1] + cos * p[:, 2]])
    s1 = (s0 + r) @ to_spindle
    number, slow, fast = detector_positions(s1, geometry.detector, panel)
    return Predicted(scan.frame_at(phi), slow, fast, number, s1)


def predict_scan(hkl: npt.ArrayLike, crystal: Crystal, geometry: Geometry) -> PredictedScan:
    """Every crossing of every reflection within the scan, both roots, all turns; only those that hit a panel.

    With `crystal.A_at_scan_points`, A between frame boundaries is interpolated linearly. Time ~ reflections * turns.
    """
    to_spindle, to_datum = frames_of(geometry)
    scan = geometry.scan
    assert scan is not None
    indices = np.ascontiguousarray(np.atleast_2d(np.asarray(hkl)), np.float64)
    points = np.asarray(crystal.A)[None] if crystal.A_at_scan_points is None else crystal.A_at_scan_points
    turns = int(np.ceil(scan.n_frames * abs(scan.width_rad) / (2.0 * np.pi))) + 1
    room = len(indices) * 2 * turns
    index, entering = np.empty(room, np.int64), np.empty(room, np.bool_)
    phi, s1 = np.empty(room), np.empty((room, 3))
    begin, end = (float(scan.angle_rad(scan.first + i)) for i in (0, scan.n_frames))
    n = crossings(
        indices,
        np.ascontiguousarray(to_datum @ points),
        to_spindle @ geometry.beam.s0,
        begin,
        end,
        index,
        entering,
        phi,
        s1,
    )
    lab = s1[:n] @ to_spindle
    panel, slow, fast = detector_positions(lab, geometry.detector)
    frame = scan.frame_at(phi[:n])
    on = np.flatnonzero(panel >= 0)
    on = on[np.lexsort((frame[on], index[on]))]
    return PredictedScan(frame[on], slow[on], fast[on], panel[on], lab[on], index[on], entering[on])


@numba.njit(cache=True, nogil=True)
def crossings(
    hkl: Array,
    A: Array,
    s0: Array,
    begin: float,
    end: float,
    index: npt.NDArray[np.int64],
    entering: npt.NDArray[np.bool_],
    phi: Array,
    s1: Array,
) -> int:
    """Write the crossings between the angles `begin` and `end` (rad; descending in a scan backwards), return how many.

    A (m, 3, 3) in the spindle frame, at m evenly spaced angles from begin to end, or m = 1.
    """
    n, p = 0, np.empty(3)
    low, high = min(begin, end), max(begin, end)
    middle = 0.5 * (low + high)
    for i in range(len(hkl)):
        if hkl[i, 0] == 0.0 and hkl[i, 1] == 0.0 and hkl[i, 2] == 0.0:
            continue
        for root in range(2):
            sense = 1.0 - 2.0 * root
            guess = _crossing(hkl[i], A, s0, begin, end, middle, sense, middle, p)
            if math.isnan(guess):
                continue
            first = math.floor((low - guess) / (2.0 * math.pi)) - 1
            last = math.ceil((high - guess) / (2.0 * math.pi)) + 1
            for turn in range(first, last + 1):
                at = guess + 2.0 * math.pi * turn
                # Only a crystal that turns by more than half a radian within the scan could bring back one further off.
                if at < low - 0.5 or at > high + 0.5:
                    continue
                at = _settle(hkl[i], A, s0, begin, end, at, sense, p)
                # The end belongs to the next frame, whichever way the scan runs.
                inside = begin <= at < end if end > begin else end < at <= begin
                if not inside or n >= len(index):
                    continue
                index[n], entering[n], phi[n] = i, sense > 0, at
                cos, sin = math.cos(at), math.sin(at)
                s1[n, 0] = s0[0] + p[0]
                s1[n, 1] = s0[1] + cos * p[1] - sin * p[2]
                s1[n, 2] = s0[2] + sin * p[1] + cos * p[2]
                n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _settle(hkl: Array, A: Array, s0: Array, begin: float, end: float, at: float, sense: float, p: Array) -> float:
    """The crossing near an angle, with the crystal as it is then; NaN where there is none. p is left as it is there."""
    if len(A) == 1:
        return _crossing(hkl, A, s0, begin, end, at, sense, at, p)
    for _ in range(ROUNDS):
        new = _crossing(hkl, A, s0, begin, end, at, sense, at, p)
        if math.isnan(new) or abs(new - at) < SETTLED_RAD:
            return new
        at = new
    return math.nan


@numba.njit(cache=True, nogil=True)
def _crossing(
    hkl: Array, A: Array, s0: Array, begin: float, end: float, state: float, sense: float, near: float, p: Array
) -> float:
    """Angle of the crossing nearest to `near` for the crystal as at angle `state`; p is left there."""
    last = len(A) - 1
    x = 0.0 if last == 0 else min(max((state - begin) / (end - begin), 0.0), 1.0) * last
    j = min(int(x), max(last - 1, 0))
    weight = x - j
    for k in range(3):
        p[k] = 0.0
        for m in range(3):
            element = A[j, k, m]
            if weight != 0.0:
                element += weight * (A[j + 1, k, m] - element)
            p[k] += element * hkl[m]
    a = s0[1] * p[1] + s0[2] * p[2]
    b = s0[2] * p[1] - s0[1] * p[2]
    c = -0.5 * (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]) - s0[0] * p[0]
    length = math.sqrt(a * a + b * b)
    if not abs(c) < length:
        return math.nan
    phi = math.atan2(b, a) + sense * math.acos(c / length)
    return phi + 2.0 * math.pi * np.rint((near - phi) / (2.0 * math.pi))


def detector_positions(
    s1: Array, detector: Detector, panel: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.int32], Array, Array]:
    """panel, slow, fast (px) where rays s1 (n, 3) meet the detector: -1 and NaN where they don't.

    With `panel` given, the positions on the planes of these panels, inside or out.
    """
    n = len(s1)
    number = np.full(n, -1, np.int32)
    slow, fast = np.full(n, np.nan), np.full(n, np.nan)
    asked = None if panel is None else np.broadcast_to(np.asarray(panel), (n,))
    for i, each in enumerate(detector.panels):
        rows = np.flatnonzero(number < 0 if asked is None else asked == i)
        if len(rows) == 0:
            continue
        v = s1[rows] @ np.linalg.inv(each.d_matrix).T
        ahead = v[:, 2] > 0
        rows, v = rows[ahead], v[ahead]
        y, x = mm_to_px(each, v[:, 1] / v[:, 2], v[:, 0] / v[:, 2])
        hit = (y >= 0) & (y < each.shape[0]) & (x >= 0) & (x < each.shape[1])
        if asked is not None:
            hit[:] = True
        number[rows[hit]], slow[rows[hit]], fast[rows[hit]] = i, y[hit], x[hit]
    return number, slow, fast


def frames_of(geometry: Geometry) -> tuple[Array, Array]:
    """(3, 3) laboratory to spindle frame, and crystal at zero angles to spindle frame. InputError for stills."""
    if geometry.scan is None or geometry.goniometer is None or geometry.scan.is_still:
        raise InputError("prediction", "the images are stills", "rotation data with a scan of finite width are needed")
    to_spindle, gonio = spindle_frame(geometry), geometry.goniometer
    return to_spindle, to_spindle @ np.asarray(gonio.setting) @ np.asarray(gonio.fixed)
