"""The truth beside a simulated data set: one table of all reflections, and one file with the models.

The table is an HDF5 file with a data set a column in the group `reflections`, and others for frames and
pixels; `read_truth` makes a pandas frame of it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import __version__
from hdrmx.models import Geometry
from hdrmx.simulate.scales import grid_positions
from hdrmx.simulate.scene import Scene
from hdrmx.tables import Column

COLUMNS: tuple[Column, ...] = (
    Column("h", "int32", "", "Miller index"),
    Column("k", "int32", "", "Miller index"),
    Column("l", "int32", "", "Miller index"),
    Column("asu_h", "int32", "", "Miller index in the asymmetric unit of CCP4"),
    Column("asu_k", "int32", "", "Miller index in the asymmetric unit of CCP4"),
    Column("asu_l", "int32", "", "Miller index in the asymmetric unit of CCP4"),
    Column("plus", "bool", "", "equivalent to the asu's index itself, not only to its Friedel mate"),
    Column("lattice", "int32", "", "crystal, from 0"),
    Column("segment", "int32", "", "0 before the crystal slips, 1 after; a reflection cut by the slip has two rows"),
    Column("entering", "bool", "", "the reflection enters the Ewald sphere; False for stills"),
    Column("d", "float64", "A", "resolution"),
    Column("f_squared", "float64", "", "true intensity, equal for equivalents, on the scale of the Wilson plot"),
    Column("frame", "float64", "frame", "exact position along the scan; frame i covers [i, i + 1)"),
    Column("slow", "float64", "px", "exact position, with the mean depth of absorption in the sensor"),
    Column("fast", "float64", "px", "exact position, with the mean depth of absorption in the sensor"),
    Column("s1_x", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("s1_y", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("s1_z", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("zeta", "float64", "", "rotation axis . e1; 1 for stills"),
    Column("sigma_frame", "float64", "frame", "standard deviation along the scan; 0 for stills"),
    Column("offset", "float64", "deg", "angle from the Ewald sphere; 0 in a rotation"),
    Column("frame_min", "int32", "frame", "first frame that was given photons"),
    Column("frame_max", "int32", "frame", "last of them + 1"),
    Column("lorentz", "float64", "", "Lorentz factor; 1 for stills"),
    Column("polarization", "float64", "", "polarisation factor"),
    Column("efficiency", "float64", "", "part of the photons that the sensor absorbs"),
    Column("decay", "float64", "", "what radiation damage leaves"),
    Column("absorption", "float64", "", "transmission of the crystal"),
    Column("partiality", "float64", "", "part of the rocking curve within the scan (still: its height)"),
    Column("photons_full", "float64", "photon", "expected if fully recorded at a beam of scale 1"),
    Column("photons_expected", "float64", "photon", "expected: the sum over frames of full x partiality x scale"),
    Column("photons_drawn", "float64", "photon", "drawn, Poisson of the expected"),
    Column("photons_seen", "float64", "photon", "those of them that a live pixel counted"),
)
CHUNK = 16384


class TruthWriter:
    """Appends rows to the table, so that none are kept."""

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "w")
        group = self._file.create_group("reflections")
        for c in COLUMNS:
            data = group.create_dataset(
                c.name, (0,), c.dtype, maxshape=(None,), chunks=(CHUNK,), compression=hdf5plugin.Bitshuffle(cname="lz4")
            )
            data.attrs["unit"], data.attrs["meaning"] = c.unit, c.meaning
        self._group, self.n_rows = group, 0
        self._waiting: list[dict[str, npt.NDArray]] = []

    def append(self, rows: dict[str, npt.NDArray]) -> None:
        """Add rows; columns that are not of the table are passed over."""
        self._waiting.append({c.name: rows[c.name] for c in COLUMNS} if rows else {})
        if sum(len(w["h"]) for w in self._waiting if w) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        waiting = [w for w in self._waiting if w]
        self._waiting = []
        n = sum(len(w["h"]) for w in waiting)
        if not n:
            return
        for c in COLUMNS:
            data = self._group[c.name]
            data.resize((self.n_rows + n,))
            data[self.n_rows :] = np.concatenate([w[c.name] for w in waiting]).astype(c.dtype)
        self.n_rows += n

    def finish(self, scene: Scene) -> None:
        """Add what belongs to frames and pixels, and close."""
        self._flush()
        frames = self._file.create_group("frames")
        frames["beam_scale"] = scene.frame_scales
        frames["crystal_scale"] = scene.crystal_scales
        frames["background_scale"] = scene.background_scales
        if scene.settings.grid_rows:
            frames["row"], frames["column"] = grid_positions(scene.settings)
        pixels, pack = self._file.create_group("pixels"), hdf5plugin.Bitshuffle(cname="lz4")
        pixels.create_dataset("background_level", data=scene.background.levels, compression=pack)
        pixels["background_level_mean"] = scene.background.level_means
        pixels.create_dataset("mask", data=scene.defects.mask, compression=pack)
        pixels.create_dataset("transmission", data=scene.defects.transmission, compression=pack)
        pixels["hot"], pixels["hot_mean"] = scene.defects.hot, scene.defects.hot_counts
        self._file.close()

    def abandon(self) -> None:
        """Close after a failure, whatever the state."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            self._file.close()


def read_truth(path: Path | str) -> pd.DataFrame:
    """The table of reflections, columns `COLUMNS`, in order of the frame in which each was complete."""
    with h5py.File(path, "r") as file:
        return pd.DataFrame({c.name: file["reflections"][c.name][()] for c in COLUMNS})


def read_background(path: Path | str) -> npt.NDArray[np.float64]:
    """(slow, fast) mean background counts of every pixel at a background scale of 1."""
    with h5py.File(path, "r") as file:
        pixels = file["pixels"]
        return np.asarray(pixels["background_level_mean"][()][pixels["background_level"][()]])


def model(scene: Scene, n_rows: int, files: list[str]) -> dict[str, Any]:
    """The models behind a data set, as plain lists and numbers. Angles in names without _deg are radians."""
    n, settings = scene.n_frames, scene.settings
    marks = sorted({*range(0, n, max(10, n // 200)), n, *([settings.slip_frame] if settings.slip_frame else [])})
    return {
        "schema": "hdrmx-simulation-1",
        "version": __version__,
        "settings": asdict(settings),
        "files": files,
        "reflections": n_rows,
        "space_group": settings.space_group,
        "cell": [float(x) for x in settings.cell.split(",")],
        "d_min_A": scene.d_min,
        "sigma_b": scene.sigma_b,
        "sigma_m": scene.sigma_m,
        "photon_scale": scene.photon_scale,
        "lattices": [
            {
                "A": lattice.A.tolist(),
                "B": lattice.B.tolist(),
                "U": (lattice.A @ np.linalg.inv(lattice.B)).tolist(),
                "intensity": lattice.intensity,
                "drift_axis": lattice.drift_axis.tolist(),
                "drift_a_frame": lattice.drift_rad,
                "slip": lattice.slip.tolist(),
                "frames": marks,
                "A_at_frames": [lattice.at(z, int(_is_slipped(z, settings.slip_frame)))[0].tolist() for z in marks],
            }
            for lattice in scene.lattices
        ],
        "true": _geometry(scene.true),
        "header": _geometry(scene.told),
    }


def _is_slipped(frame: int, slip_frame: int | None) -> bool:
    return slip_frame is not None and frame >= slip_frame


def _geometry(geometry: Geometry) -> dict[str, Any]:
    panel = geometry.detector.panels[0]
    return {
        "beam": asdict(geometry.beam),
        "detector": asdict(geometry.detector),
        "goniometer": None if geometry.goniometer is None else asdict(geometry.goniometer),
        "scan": None if geometry.scan is None else asdict(geometry.scan),
        "beam_centre_px": panel.beam_centre_px(geometry.beam),
        "distance_mm": panel.distance_mm,
    }


def write_model(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
