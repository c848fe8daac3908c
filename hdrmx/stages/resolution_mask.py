"""Pixels outside of the resolution limits or on rings of ice, taken out of the mask before spots are looked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hdrmx.models import Beam, Geometry, Panel
from hdrmx.params import FindSpots
from hdrmx.refinement.parallax import mm_to_px

ICE_CELL, ICE_GROUP = (4.498, 4.498, 7.338, 90, 90, 120), "P 63/m m c"  # hexagonal ice


def resolution_mask(mask: npt.NDArray[np.bool_], geometry: Geometry, params: FindSpots) -> npt.NDArray[np.bool_]:
    """The mask without pixels beyond d_min, within d_max or on ice rings; the same array where nothing is asked for.

    Parameters
    ----------
    mask : (slow, fast) of the frame, True where a pixel may be used
    """
    if params.d_min is None and params.d_max is None and not params.ice_rings:
        return mask
    mask = mask.copy()
    for panel in geometry.detector.panels:
        (top, left), (height, columns) = panel.offset, panel.shape
        d = pixel_resolution_A(panel, geometry.beam)
        drop = np.zeros(d.shape, bool)
        if params.d_min is not None:
            drop |= d <= params.d_min
        if params.d_max is not None:
            drop |= d >= params.d_max
        if params.ice_rings:
            for low, high in ice_rings(_corner_resolution_A(panel, geometry.beam), params.ice_width):
                drop |= (low <= d) & (d <= high)
        mask[top : top + height, left : left + columns] &= ~drop
    return mask


def pixel_resolution_A(panel: Panel, beam: Beam) -> npt.NDArray[np.float64]:
    """(slow, fast) d-spacing at the centre of every pixel of a panel."""
    slow, fast = np.arange(panel.shape[0]) + 0.5, np.arange(panel.shape[1]) + 0.5
    return np.stack([_resolution_A(panel, beam, np.full(len(fast), y), fast) for y in slow])


def ice_rings(d_min: float, width: float) -> Iterator[tuple[float, float]]:
    """(smallest, largest) d-spacing of every ring of hexagonal ice down to d_min; `width` is of 1/d^2, in 1/A^2."""
    import gemmi  # here and not at the top: few ask for rings, all would wait

    cell, absent = gemmi.UnitCell(*ICE_CELL), gemmi.SpaceGroup(ICE_GROUP).operations().is_systematically_absent
    n = [math.floor(length / d_min) for length in ICE_CELL[:3]]
    spacings = {}
    for hkl in itertools.product(range(n[0] + 1), range(-n[1], n[1] + 1), range(n[2] + 1)):
        if any(hkl) and not absent(hkl):
            d = cell.calculate_d(hkl)
            if d >= d_min:
                spacings[round(d, 9)] = d
    for d in spacings.values():
        inner = 1 / d**2 - width / 2
        yield 1 / math.sqrt(1 / d**2 + width / 2), 1 / math.sqrt(inner) if inner > 0 else math.inf


def _corner_resolution_A(panel: Panel, beam: Beam) -> float:
    height, columns = panel.shape
    corners = np.array([(0, 0), (0, columns), (height, 0), (height, columns)], float)
    return float(_resolution_A(panel, beam, corners[:, 0], corners[:, 1]).min())


def _resolution_A(panel: Panel, beam: Beam, slow: npt.NDArray, fast: npt.NDArray) -> npt.NDArray[np.float64]:
    """d-spacing at positions in px. Parallax is taken off in one step, as dxtbx does: edges then agree to the pixel."""
    y, x = slow * panel.pixel_mm[0], fast * panel.pixel_mm[1]
    y_shifted, x_shifted = mm_to_px(panel, y, x)
    y, x = 2 * y - y_shifted * panel.pixel_mm[0], 2 * x - x_shifted * panel.pixel_mm[1]
    ray = np.column_stack([x, y, np.ones_like(x)]) @ panel.d_matrix.T
    s1 = ray / (np.linalg.norm(ray, axis=1, keepdims=True) * beam.wavelength_A)
    with np.errstate(divide="ignore"):
        return 1.0 / np.linalg.norm(s1 - beam.s0, axis=1)
