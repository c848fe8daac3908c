"""Batch headers of unmerged MTZ files: one a frame, with the crystal and geometry as they were there.

In the Cambridge frame: z along the rotation axis, the beam travels in the plane of x and z, nearly along x.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Geometry, Goniometer, Scan

Floats = npt.NDArray[np.float64]

LARGEST_BATCH = 1 << 24  # a column of 32-bit floats holds no larger integers

# Where things stand among the 156 floats and 29 integers of a header (CCP4's mtzdata.h)
_CELL, _U, _MOSAICITY, _PHI_START, _PHI_END, _SCAN_AXIS = 0, 6, 21, 36, 37, 38
_B_SCALE, _PHI_RANGE, _E1, _IDEAL_SOURCE, _SOURCE = 43, 47, 59, 80, 83
_DISTANCE, _LIMIT_FAST, _LIMIT_SLOW = 111, 114, 116
_CELL_FLAGS, _N_CRYSTALS, _DATA_TYPE, _SCAN_AXIS_NUMBER, _N_AXES, _N_DETECTORS = 4, 12, 14, 15, 17, 19
_ROTATION_DATA = 2
_CHUNK = 1024


@dataclass(frozen=True)
class Sweep:
    """What is written of a sweep. Frames are those of its scan; stills have none and get one batch."""

    geometry: Geometry
    crystal: Crystal

    @property
    def scan(self) -> Scan:
        return self.geometry.scan or Scan(first=0, n_frames=1, start_rad=0.0, width_rad=0.0)


def batch_offsets(scans: Sequence[Scan]) -> list[int]:
    """What is added to a sweep's image numbers (frame + 1) to give its batch numbers.

    Image numbers are kept where they neither overlap nor adjoin those of a sweep before; the other sweeps go above all
    of them, each beginning with a number that ends in 01 and doesn't follow directly. The rule is that of DIALS.

    Raises
    ------
    InputError : numbers grow too large for an MTZ file
    """
    offsets = [0] * len(scans)
    lows: list[int] = []
    highs: list[int] = []
    moved = []
    for i, scan in enumerate(scans):
        low, high = scan.first + 1, scan.first + scan.n_frames
        at = bisect.bisect_left(lows, low)
        touches_below = at > 0 and highs[at - 1] >= low - 1
        touches_above = at < len(lows) and lows[at] <= high + 1
        if touches_below or touches_above:
            moved.append(i)
            continue
        lows.insert(at, low)
        highs.insert(at, high)
    top = highs[-1] if highs else 0
    for i in moved:
        begin = top - top % 100 + 101 if top % 100 != 99 else top + 2
        offsets[i] = begin - (scans[i].first + 1)
        top = begin + scans[i].n_frames - 1
    if top >= LARGEST_BATCH:
        raise InputError("MTZ file", f"batch numbers reach {top}, more than {LARGEST_BATCH - 1}", "write fewer sweeps")
    return offsets


def append_batches(mtz: gemmi.Mtz, sweep: Sweep, offset: int, dataset_id: int) -> int:
    """Append the headers of a sweep; returns how many. Time and memory ~ frames, whatever stands there already."""
    turn = cambridge_frame(sweep.geometry)
    template, rows = _template(sweep, turn, dataset_id), _varying(sweep, turn)
    first = sweep.scan.first + 1 + offset
    places = [*range(_CELL, _CELL + 6), *range(_U, _U + 9), _PHI_START, _PHI_END]
    for begin in range(0, len(rows), _CHUNK):  # numbers as Python's objects take ten times the memory
        for number, values in enumerate(rows[begin : begin + _CHUNK].tolist(), first + begin):
            batch = template.clone()
            batch.number = number
            batch.title = f"Batch {number}"
            floats = batch.floats
            for place, value in zip(places, values):
                floats[place] = value
            mtz.batches.append(batch)
    return len(rows)


def _template(sweep: Sweep, turn: Floats, dataset_id: int) -> gemmi.Mtz.Batch:
    """A header with all that doesn't vary along the scan."""
    geometry, crystal = sweep.geometry, sweep.crystal
    batch = gemmi.Mtz.Batch()
    integers, floats = batch.ints, batch.floats
    for i in range(6):
        integers[_CELL_FLAGS + i] = -1
    for place, value in (
        (_N_CRYSTALS, 1),
        (_DATA_TYPE, _ROTATION_DATA),
        (_SCAN_AXIS_NUMBER, 1),
        (_N_AXES, 1),
        (_N_DETECTORS, 1),
    ):
        integers[place] = value
    axis = turn @ geometry.goniometer.lab_axis if geometry.goniometer else np.zeros(3)
    source = -(turn @ np.asarray(geometry.beam.direction))
    ideal = np.zeros(3)
    ideal[np.argmin(source)] = -1.0
    for place, vector in ((_SCAN_AXIS, axis), (_E1, axis), (_IDEAL_SOURCE, ideal), (_SOURCE, source)):
        for i in range(3):
            floats[place + i] = float(vector[i])
    panels = geometry.detector.panels
    floats[_B_SCALE] = 1.0
    floats[_MOSAICITY] = float(np.degrees(crystal.mosaicity_rad or 0.0))
    floats[_PHI_RANGE] = float(np.degrees(sweep.scan.width_rad))
    floats[_DISTANCE] = panels[0].distance_mm
    floats[_LIMIT_FAST] = float(max(p.offset[1] + p.shape[1] for p in panels))
    floats[_LIMIT_SLOW] = float(max(p.offset[0] + p.shape[0] for p in panels))
    batch.wavelength = geometry.beam.wavelength_A
    batch.dataset_id = dataset_id
    batch.axes = ["AXIS"]
    return batch


def _varying(sweep: Sweep, turn: Floats) -> Floats:
    """(n, 17) cell, U by columns, angle at the beginning and the end of each frame, degrees."""
    scan, n = sweep.scan, sweep.scan.n_frames
    goniometer = sweep.geometry.goniometer or Goniometer()
    points = sweep.crystal.A_at_scan_points
    if points is None:
        A = np.asarray(sweep.crystal.A, float)[None]
    else:  # mean of either edge: the rotation between them is far too small to matter
        A = (points[:-1] + points[1:]) / 2
    lab = turn @ np.asarray(goniometer.setting) @ np.asarray(goniometer.fixed) @ A
    cell = cells(A)
    u = lab @ np.linalg.inv(_b_matrices(cell))
    constant = np.column_stack([cell, u.transpose(0, 2, 1).reshape(-1, 9)])
    edges = np.degrees(scan.angle_rad(np.arange(scan.first, scan.first + n + 1)))
    return np.column_stack([np.broadcast_to(constant, (n, 15)), edges[:-1], edges[1:]])


def cells(A: Floats) -> Floats:
    """(n, 6) A and degrees, of reciprocal bases (n, 3, 3)."""
    real = np.linalg.inv(A)
    lengths = np.linalg.norm(real, axis=2)
    unit = real / lengths[:, :, None]
    pairs = ((1, 2), (0, 2), (0, 1))
    cosines = np.stack([np.einsum("ni,ni->n", unit[:, i], unit[:, j]) for i, j in pairs], axis=1)
    return np.column_stack([lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))])


def _b_matrices(cell: Floats) -> Floats:
    """(n, 3, 3) Busing & Levy's (1967, Acta Cryst. 22, 457-464): a* along x, b* in the plane of x and y."""
    a, b, c = cell[:, :3].T
    cosines, sines = np.cos(np.radians(cell[:, 3:])).T, np.sin(np.radians(cell[:, 3:])).T
    ca, cb, cg = cosines
    sa, sb, sg = sines
    volume = a * b * c * np.sqrt(1 - ca**2 - cb**2 - cg**2 + 2 * ca * cb * cg)
    a_star, b_star, c_star = b * c * sa / volume, a * c * sb / volume, a * b * sg / volume
    cos_b_star, cos_g_star = (ca * cg - cb) / (sa * sg), (ca * cb - cg) / (sa * sb)
    sin_b_star, sin_g_star = np.sqrt(1 - cos_b_star**2), np.sqrt(1 - cos_g_star**2)
    B = np.zeros((len(cell), 3, 3))
    B[:, 0, 0], B[:, 0, 1], B[:, 0, 2] = a_star, b_star * cos_g_star, c_star * cos_b_star
    B[:, 1, 1], B[:, 1, 2], B[:, 2, 2] = b_star * sin_g_star, -c_star * sin_b_star * ca, 1 / c
    return B


def cambridge_frame(geometry: Geometry) -> Floats:
    """(3, 3) rotation from the laboratory to the frame with the rotation axis along z and the beam near x."""
    goniometer = geometry.goniometer
    z = goniometer.lab_axis if goniometer is not None else np.array([1.0, 0.0, 0.0])
    z = z / np.linalg.norm(z)
    beam = np.asarray(geometry.beam.direction)
    x = beam - (beam @ z) * z
    if np.linalg.norm(x) < 1e-6:
        raise InputError("MTZ file", "the rotation axis lies along the beam", "check the geometry")
    x = x / np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])
