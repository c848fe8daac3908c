"""An XDS.INP for a data set that we can read: the geometry and the frames, everything else as XDS has it by default.

XDS takes any laboratory frame, so vectors are ours. Its pixel (X, Y) counts from 1 at the centre of the first, and lies
at (X - ORGX) QX x + (Y - ORGY) QY y + DISTANCE x cross y from the crystal, with x and y along rows and columns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import degrees
from pathlib import Path

import gemmi
import numpy as np

from hdrmx.errors import InputError
from hdrmx.frames import FrameSource
from hdrmx.models import Geometry, Panel, Scan

JOBS = "XYCORR INIT COLSPOT IDXREF DEFPIX INTEGRATE CORRECT"
_MASTER = "_master.h5"


def xds_inp(
    source: FrameSource,
    folder: Path,
    *,
    images: range | None = None,
    space_group: str | None = None,
    cell: str | None = None,
    extra: Sequence[str] = (),
) -> str:
    """The text of the file, for XDS to run in `folder`.

    Parameters
    ----------
    images : scan positions to use, from 0
    extra : more lines, as `KEYWORD=value`; HDF5 wants `LIB=` with the plugin that reads it

    Raises
    ------
    InputError : stills, several panels, or a space group that nobody knows
    """
    geometry = source.geometry
    scan, panels = geometry.scan, geometry.detector.panels
    if scan is None or scan.is_still or geometry.goniometer is None:
        raise InputError(source.name, "is no rotation scan", "XDS wants one")
    if len(panels) != 1:
        raise InputError(source.name, f"has {len(panels)} panels", "write an XDS.INP with segments, and give that")
    first, last = _range(scan, images)
    lines = [
        f"JOB= {JOBS}",
        f"NAME_TEMPLATE_OF_DATA_FRAMES= {_template(source.template, folder)}",
        f"DATA_RANGE= {first} {last}",
        f"SPOT_RANGE= {first} {last}",
        f"BACKGROUND_RANGE= {first} {min(last, first + 9)}",
        f"STARTING_FRAME= {scan.first + 1}",
        f"STARTING_ANGLE= {degrees(scan.start_rad):.6g}",
        f"OSCILLATION_RANGE= {degrees(scan.width_rad):.6g}",
        *_beam_lines(geometry),
        *_panel_lines(panels[0], geometry),
        *_symmetry_lines(space_group, cell),
        *extra,
    ]
    return "\n".join(lines) + "\n"


def _range(scan: Scan, images: range | None) -> tuple[int, int]:
    """Image numbers, from 1."""
    if images is None:
        return scan.first + 1, scan.first + scan.n_frames
    return max(images[0], scan.first) + 1, min(images[-1], scan.first + scan.n_frames - 1) + 1


def _template(template: str, folder: Path) -> str:
    """As seen from `folder`: XDS wants names short. Of an Eiger's master file the number replaces `master`."""
    path = os.path.relpath(Path(template).absolute(), folder.absolute())
    if path.endswith(_MASTER):
        return path.removesuffix(_MASTER) + "_??????.h5"
    return path.replace("#", "?")


def _beam_lines(geometry: Geometry) -> list[str]:
    assert geometry.goniometer is not None
    return [
        f"X-RAY_WAVELENGTH= {geometry.beam.wavelength_A:.8g}",
        f"INCIDENT_BEAM_DIRECTION= {_vector(geometry.beam.direction)}",
        f"FRACTION_OF_POLARIZATION= {geometry.beam.polarization_fraction:.6g}",
        # theirs is the normal of the plane that the electric field lies in, as ours
        f"POLARIZATION_PLANE_NORMAL= {_vector(geometry.beam.polarization_normal)}",
        f"ROTATION_AXIS= {_vector(geometry.goniometer.lab_axis)}",
    ]


def _panel_lines(panel: Panel, geometry: Geometry) -> list[str]:
    fast, slow, origin = (np.asarray(v, float) for v in (panel.fast_axis, panel.slow_axis, panel.origin_mm))
    low, high = geometry.detector.trusted
    return [
        f"DETECTOR= {'PILATUS' if 'PILATUS' in geometry.detector.name.upper() else 'EIGER'}",
        f"NX= {panel.shape[1]} NY= {panel.shape[0]} QX= {panel.pixel_mm[1]:.6g} QY= {panel.pixel_mm[0]:.6g}",
        f"ORGX= {0.5 - fast @ origin / panel.pixel_mm[1]:.4f} ORGY= {0.5 - slow @ origin / panel.pixel_mm[0]:.4f}",
        f"DETECTOR_DISTANCE= {panel.normal @ origin:.5f}",
        f"DIRECTION_OF_DETECTOR_X-AXIS= {_vector(fast)}",
        f"DIRECTION_OF_DETECTOR_Y-AXIS= {_vector(slow)}",
        f"SENSOR_THICKNESS= {panel.thickness_mm:.6g}",
        f"MINIMUM_VALID_PIXEL_VALUE= {max(0, int(low))} OVERLOAD= {int(high)}",
    ]


def _symmetry_lines(space_group: str | None, cell: str | None) -> list[str]:
    if space_group is None:
        return []
    found = gemmi.find_spacegroup_by_name(space_group)
    if found is None:
        raise InputError("--space-group", f"'{space_group}' is unknown", "give a symbol such as P212121")
    lines = [f"SPACE_GROUP_NUMBER= {found.number}"]
    return [*lines, f"UNIT_CELL_CONSTANTS= {cell.replace(',', ' ')}"] if cell else lines


def _vector(v: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{x:.8f}" for x in v)
