"""A small rotation experiment made up for the tests of refinement: predictions of a known crystal, with noise on
request."""

from __future__ import annotations

import dataclasses

import gemmi
import numpy as np

from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import about
from hdrmx.refinement.predict import predict_scan
from hdrmx.refinement.symmetry import to_matrix


def unit(values):
    v = np.asarray(values, float)
    return tuple(v / np.linalg.norm(v))


def geometry(n_panels: int = 1, n_frames: int = 400, width_deg: float = 0.2, mu: float = 0.0) -> Geometry:
    """An oblique spindle, a tilted detector, fixed and setting rotations: nothing is along an axis."""
    fast = np.array(unit((1.0, 0.01, -0.02)))
    normal = np.array(unit(np.cross(fast, (0.02, -1.0, 0.03))))
    slow = np.cross(normal, fast)
    panels = []
    for i in range(n_panels):
        rows = 1000 // n_panels
        origin = np.array([-52.0, 51.0, -120.0]) + slow * 0.1 * rows * i
        panels.append(
            Panel(
                f"p{i}",
                (rows, 1040),
                (0.1, 0.1),
                tuple(origin),
                tuple(fast),
                tuple(slow),
                (rows * i, 0),
                0.45,
                "Si",
                mu,
            )
        )
    fixed = about(unit((0.2, 1.0, 0.4)), 0.4)
    setting = about(unit((0.1, -0.3, 1.0)), 0.1)
    return Geometry(
        Beam(0.9763, unit((0.01, -0.005, -1.0))),
        Detector(tuple(panels)),
        Goniometer(unit((1.0, 0.03, -0.02)), to_matrix(fixed), to_matrix(setting)),
        Scan(0, n_frames, 0.3, np.radians(width_deg)),
    )


def crystal(cell=(48.0, 61.0, 73.0, 85.0, 97.0, 104.0), space_group: str = "P 1", angle: float = 0.7) -> Crystal:
    fractional = np.array(gemmi.UnitCell(*cell).frac.mat.tolist())  # rows a*, b*, c*
    return Crystal(to_matrix(about(unit((1.0, 2.0, -0.7)), angle) @ fractional.T), space_group)


def observe(
    crystals: list[Crystal], geometry: Geometry, d_min: float = 3.0, noise: float = 0.0, seed: int = 1
) -> Observations:
    """Observations at the predicted places, off by normal noise of this many standard deviations of their variances."""
    rng = np.random.default_rng(seed)
    parts = []
    for i, each in enumerate(crystals):
        limit = [int(c / d_min) + 1 for c in each.cell[:3]]
        grid = np.mgrid[tuple(slice(-m, m + 1) for m in limit)].reshape(3, -1).T
        grid = grid[np.linalg.norm(grid @ np.asarray(each.A).T, axis=1) < 1.0 / d_min]
        found = predict_scan(grid, each, geometry)
        n = len(found.frame)
        parts.append(
            Observations(
                np.arange(n),
                grid[found.index].astype(np.int32),
                np.full(n, i, np.int32),
                found.panel,
                found.frame,
                found.slow,
                found.fast,
                rng.uniform(0.05, 0.2, n),
                rng.uniform(0.05, 0.2, n),
                rng.uniform(0.05, 0.2, n),
                found.entering,
            )
        )
    joined = Observations(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in dataclasses.fields(Observations)}
    )
    moved = {
        axis: getattr(joined, axis) + noise * rng.normal(size=len(joined)) * np.sqrt(getattr(joined, f"{axis}_var"))
        for axis in ("frame", "slow", "fast")
    }
    return dataclasses.replace(joined, row=np.arange(len(joined)), **moved)
