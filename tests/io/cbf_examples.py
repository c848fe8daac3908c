"""Small CBF series and headers for the tests."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from hdrmx.io.cbf_write import mini_header, write_mini_cbf
from hdrmx.models import Beam, Detector, Geometry, Goniometer, Panel, Scan

SHAPE = (24, 31)


def geometry(shape: tuple[int, int] = SHAPE, n_frames: int = 5, width_deg: float = 0.1) -> Geometry:
    panel = Panel(
        "Panel", shape, (0.075, 0.075), (-1.1234567, 0.9, -123.456), (1, 0, 0), (0, -1, 0), (0, 0), 0.45, "Si", 1.0
    )
    scan = Scan(0, n_frames, math.radians(10), math.radians(width_deg), 0.05)
    return Geometry(Beam(0.98), Detector((panel,), (0.0, 10000.0)), Goniometer(), scan)


def frames(n: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(n, slow, fast) int32 with every width of step that byte-offset packing has."""
    pixels = np.random.default_rng(1).poisson(1.0, (n, *shape)).astype(np.int32)
    pixels[:, 0, 0], pixels[:, 3, 5], pixels[:, 4, 4], pixels[:, 5, 5] = -2, -1, 100_000, 200
    return pixels


def write_series(folder: Path, n: int = 5, width_deg: float = 0.1, name: str = "x_{:04d}.cbf") -> np.ndarray:
    pixels, model = frames(n), geometry(n_frames=n, width_deg=width_deg)
    for i, frame in enumerate(pixels):
        write_mini_cbf(folder / name.format(i + 1), frame, mini_header(model, i))
    return pixels


IMGCIF = """###CBF: VERSION 1.5
data_test
_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
# Detector: PILATUS 2M, S/N 24-0107 Diamond
# Silicon sensor, thickness 0.000320 m
;
loop_
_diffrn_radiation.diffrn_id
_diffrn_radiation.polarizn_source_ratio
_diffrn_radiation.polarizn_source_norm
D 0.8 30.0
_diffrn_radiation_wavelength.id W1
_diffrn_radiation_wavelength.wavelength 0.68890
loop_
_diffrn_scan_axis.scan_id
_diffrn_scan_axis.axis_id
_diffrn_scan_axis.angle_start
_diffrn_scan_axis.angle_range
_diffrn_scan_axis.angle_increment
_diffrn_scan_axis.displacement_start
_diffrn_scan_axis.displacement_range
_diffrn_scan_axis.displacement_increment
SCAN1 GON_OMEGA  -145.0000 0.1000 OMEGA_STEP 0.0 0.0 0.0
SCAN1 GON_PHI    30.0000 0.0000 0.0000 0.0 0.0 0.0
SCAN1 DET_2THETA 30.0000 0.0 0.0 0.0 0.0 0.0
SCAN1 DET_Z      0.0 0.0 0.0 160.00 0.0 0.0
loop_
_diffrn_scan_frame_axis.frame_id
_diffrn_scan_frame_axis.axis_id
_diffrn_scan_frame_axis.angle
_diffrn_scan_frame_axis.displacement
FRAME1 GON_OMEGA -144.8000 0.0
FRAME1 DET_Z 0.0 170.00
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1] _axis.vector[2] _axis.vector[3]
_axis.offset[1] _axis.offset[2] _axis.offset[3]
GON_OMEGA  rotation    goniometer .       1 0 0 . . .
GON_PHI    rotation    goniometer GON_OMEGA 0.5774 -0.8165 0 . . .
SOURCE     general     source   .         0 0 1 . . .
GRAVITY    general     gravity  .         0 -1 0 . . .
DET_2THETA rotation    detector .         1 0 0 . . .
DET_Z      translation detector DET_2THETA 0 0 -1 0 0 0
ELEMENT_X  translation detector DET_Z     0 1 0 -148.78 -125.56 0
ELEMENT_Y  translation detector ELEMENT_X 1 0 0 0 0 0
loop_
_array_structure_list.array_id
_array_structure_list.index
_array_structure_list.dimension
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
ARRAY1 1 1475 1 increasing ELEMENT_X
ARRAY1 2 1679 2 increasing ELEMENT_Y
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.axis_id
_array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
ELEMENT_X ELEMENT_X 0.5 0.1720
ELEMENT_Y ELEMENT_Y 0.0 0.1720
loop_
_array_intensities.array_id
_array_intensities.gain
_array_intensities.overload
_array_intensities.undefined_value
ARRAY1 1.0 388705 -1
_array_data.data
;
"""
