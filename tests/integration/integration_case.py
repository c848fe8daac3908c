"""A small rotation experiment, photon by photon: Gaussian reflections in Kabsch's coordinates on a flat background."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np
import pandas as pd

from hdrmx.frames import Codec, Frame
from hdrmx.integration.profile_model import ProfileModel, kabsch_axes
from hdrmx.kernels.encode import encode_bslz4
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan
from hdrmx.params import Predict
from hdrmx.stages.predict import predict

SHAPE = (180, 200)
SIGMA_B, SIGMA_M = np.radians(0.12), np.radians(0.25)


def geometry(n_frames: int = 24, width_deg: float = 0.5, panels: int = 1) -> Geometry:
    """A small detector near the crystal; with two panels, the upper and lower half."""
    parts, rows = [], SHAPE[0] // panels
    for i in range(panels):
        origin = (-10.0, 9.0 - 0.1 * rows * i, -45.0)
        shape, offset = (rows, SHAPE[1]), (rows * i, 0)
        parts.append(Panel(f"p{i}", shape, (0.1, 0.1), origin, (1.0, 0.0, 0.0), (0.0, -1.0, 0.0), offset))
    detector = Detector(tuple(parts), (0.0, 50000.0))
    return Geometry(Beam(1.0), detector, Goniometer((1.0, 0.0, 0.0)), Scan(0, n_frames, 0.2, np.radians(width_deg)))


def crystal(cell: tuple[float, ...] = (46.0, 54.0, 63.0, 90.0, 95.0, 90.0), space_group: str = "P 1") -> Crystal:
    fractional = np.array(gemmi.UnitCell(*cell).frac.mat.tolist())
    a, b = 0.4, 0.9
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    A = turn @ fractional.T
    return Crystal(tuple(tuple(row) for row in A.tolist()), space_group)


@dataclass(frozen=True)
class Case:
    geometry: Geometry
    crystal: Crystal
    profile: ProfileModel
    predicted: pd.DataFrame
    intensity: np.ndarray  # true, of the whole reflection
    stack: np.ndarray  # (frame, slow, fast)

    @property
    def mask(self) -> np.ndarray:
        return np.ones(SHAPE, bool)


def case(
    mean: float = 60.0,
    background: float = 0.3,
    seed: int = 1,
    *,
    where: Geometry | None = None,
    n_sigma: float = 3.0,
    intensity: np.ndarray | None = None,
    dtype: str = "uint16",
    **changes: object,
) -> Case:
    """Intensities of Wilson's distribution, or as given, on a background that falls off from the middle a little."""
    where = where or geometry()
    profile = ProfileModel(SIGMA_B, SIGMA_M, n_sigma)
    lattice = crystal()
    predicted = predict([lattice], where, profile, Predict(n_sigma=n_sigma, **changes)).table
    rng = np.random.default_rng(seed)
    true = rng.exponential(mean, len(predicted)) if intensity is None else np.resize(intensity, len(predicted))
    assert where.scan is not None
    stack = rng.poisson(background, (where.scan.n_frames, *SHAPE))
    scatter(stack, predicted, rng.poisson(true), where, rng)
    return Case(where, lattice, profile, predicted, true, stack.astype(dtype))


def scatter(stack: np.ndarray, predicted: pd.DataFrame, photons: np.ndarray, where: Geometry, rng) -> None:
    """Add photons: a direction s1 + eps1 e1 + eps2 e2, an angle phi + eps3 / zeta."""
    s1 = predicted[["s1_x", "s1_y", "s1_z"]].to_numpy()
    axes = kabsch_axes(s1, where)
    row = np.repeat(np.arange(len(s1)), photons)
    length = np.linalg.norm(s1[0])
    across = SIGMA_B / np.sqrt(2.0)  # sigma_b is that of the distance from the ray
    eps = rng.normal(size=(len(row), 3)) * (across, across, SIGMA_M)
    ray = s1[row] + length * (eps[:, :1] * axes.e1[row] + eps[:, 1:2] * axes.e2[row])
    frame = predicted["frame"].to_numpy()[row] + eps[:, 2] / axes.zeta[row] / where.scan.width_rad
    panel = where.detector.panels[0]  # the others continue it
    v = ray @ np.linalg.inv(panel.d_matrix).T
    at = np.column_stack([frame, v[:, 1] / v[:, 2] / panel.pixel_mm[0], v[:, 0] / v[:, 2] / panel.pixel_mm[1]])
    at = np.floor(at).astype(int)
    on = ((at >= 0) & (at < stack.shape)).all(axis=1)
    np.add.at(stack, tuple(at[on].T), 1)


def packed(stack: np.ndarray, first: int = 0) -> list[Frame]:
    """Frames as a source would deliver them."""
    out = []
    for k, frame in enumerate(stack):
        payload = np.frombuffer(encode_bslz4(frame), np.uint8)
        out.append(Frame(first + k, frame.shape, frame.dtype, Codec.BSLZ4, lambda p=payload: p, "memory"))
    return out


def with_scan(where: Geometry, **changes: object) -> Geometry:
    assert where.scan is not None
    return replace(where, scan=replace(where.scan, **changes))
