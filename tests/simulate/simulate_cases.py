"""Small data sets for the tests of the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import numpy.typing as npt

from hdrmx.params import Simulate


def tiny(**changes: Any) -> Simulate:
    """A few frames on 128 x 128 pixels, without anything that is not asked for."""
    plain: dict[str, Any] = {
        "detector": "tiny",
        "frames": 12,
        "width_deg": 0.5,
        "distance_mm": 40.0,
        "cell": "40,40,30,90,90,90",
        "space_group": "P 43 21 2",
        "d_min": 3.0,
        "photons": 100.0,
        "background": 0.0,
        "beam_stop_mm": 0.0,
        "dead_fraction": 0.0,
        "hot_fraction": 0.0,
    }
    return Simulate(**(plain | changes))


def frames_of(path: Path) -> npt.NDArray:
    """All frames of an NXmx file, through the HDF5 filter."""
    with h5py.File(path, "r") as file:
        return np.asarray(file["entry/data/data"][()])


def mask_of(path: Path) -> npt.NDArray:
    with h5py.File(path, "r") as file:
        return np.asarray(file["entry/instrument/detector/pixel_mask"][()])
