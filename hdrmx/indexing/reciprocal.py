"""Spots to reciprocal space: pixel, to the ray of the diffracted beam, to a point fixed to the crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.models import Geometry, Goniometer, Panel
from hdrmx.refinement.breaks import Slip, segments
from hdrmx.refinement.parameters import spindle_frame, turn

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PARALLAX_STEPS = 3  # each step shrinks the error a hundredfold


@dataclass(frozen=True)
class Points:
    """Spots of one or more sweeps in the frame of the crystal (all goniometer angles zero).

    Attributes
    ----------
    r : (n, 3) 1/A, point of reciprocal space
    s1 : (n, 3) 1/A, diffracted beam in the laboratory
    angle_rad : (n,) scan angle; 0 for stills
    entering : (n,) the reflection enters the Ewald sphere
    sweep : (n,) which sweep the spot belongs to
    rotation : (n, 3, 3) laboratory vector = rotation @ crystal vector
    """

    r: Floats
    s1: Floats
    angle_rad: Floats
    entering: Bools
    sweep: Ints
    rotation: Floats

    def __len__(self) -> int:
        return len(self.r)

    def take(self, rows: Bools) -> Points:
        """Some of the points."""
        return Points(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def d_star(self) -> Floats:
        """(n,) 1/d, 1/A."""
        return np.linalg.norm(self.r, axis=1)


def map_spots(spots: pd.DataFrame, geometry: Geometry) -> Points:
    """Reciprocal-space points of the spots (`tables.SPOTS`) of one sweep, in their order."""
    s1 = rays(spots, geometry)
    s0 = geometry.beam.s0
    gonio = geometry.goniometer or Goniometer()
    if geometry.scan is None or geometry.scan.is_still:
        angle = np.zeros(len(spots))
    else:
        angle = geometry.scan.angle_rad(spots["frame"].to_numpy())
    rotation = laboratory_rotations(gonio, angle)
    entering = np.einsum("nj,j->n", s1, np.cross(s0, gonio.lab_axis)) < 0
    r = np.einsum("nji,nj->ni", rotation, s1 - s0)
    return Points(r, s1, angle, entering, np.zeros(len(r), np.int64), rotation)


def map_sweeps(sweeps: Sequence[tuple[pd.DataFrame, Geometry]]) -> Points:
    """Points of several sweeps of one crystal, one after the other, in the common frame of the crystal."""
    parts = [map_spots(spots, geometry) for spots, geometry in sweeps]
    return Points(
        np.concatenate([p.r for p in parts]),
        np.concatenate([p.s1 for p in parts]),
        np.concatenate([p.angle_rad for p in parts]),
        np.concatenate([p.entering for p in parts]),
        np.concatenate([np.full(len(p), i) for i, p in enumerate(parts)]),
        np.concatenate([p.rotation for p in parts]),
    )


def without_slips(points: Points, spots: pd.DataFrame, geometry: Geometry, slips: Sequence[Slip]) -> Points:
    """Points of one sweep as they would be if the crystal hadn't slipped: turned back, so that one lattice fits all.

    What holds a crystal holds its fragments, too: the slips of the first lattice are taken for those of all.
    """
    mine = [slip for slip in slips if slip.lattice == 0]
    if not mine or geometry.goniometer is None:
        return points
    gonio = geometry.goniometer
    to_spindle = spindle_frame(geometry) @ np.asarray(gonio.setting) @ np.asarray(gonio.fixed)
    turns = turn(np.array([(0.0, 0.0, 0.0), *(slip.rotation_rad for slip in mine)]))
    turns = np.einsum("ji,njk,kl->nil", to_spindle, turns, to_spindle)
    each = turns[segments(mine, 0, spots["frame"].to_numpy())]
    r = np.einsum("nji,nj->ni", each, points.r)
    return replace(points, r=r, rotation=np.einsum("nij,njk->nik", points.rotation, each))


def rays(spots: pd.DataFrame, geometry: Geometry) -> Floats:
    """(n, 3) 1/A: diffracted beams s1, of length 1/wavelength, through the spots' centroids."""
    panel_of = spots["panel"].to_numpy()
    slow, fast = spots["slow"].to_numpy(), spots["fast"].to_numpy()
    lab = np.empty((len(spots), 3))
    for number, panel in enumerate(geometry.detector.panels):
        mine = panel_of == number
        lab[mine] = true_positions(panel, slow[mine], fast[mine])
    return lab / np.linalg.norm(lab, axis=1, keepdims=True) / geometry.beam.wavelength_A


def true_positions(panel: Panel, slow_px: Floats, fast_px: Floats) -> Floats:
    """(n, 3) mm: where the ray met the panel's surface, given where its absorption was seen.

    Within the sensor a ray goes on for the mean depth of absorption
    o = 1/mu - (t + 1/mu) exp(-mu t), t = thickness / cos(incidence), and is seen displaced by o times
    the ray's components along the two axes. Solved by fixed-point steps.
    """
    seen = panel.lab_mm(slow_px, fast_px)
    if panel.thickness_mm <= 0 or panel.mu_per_mm <= 0:
        return seen
    axes = np.array([panel.fast_axis, panel.slow_axis])
    surface = seen
    for _ in range(PARALLAX_STEPS):
        ray = surface / np.linalg.norm(surface, axis=1, keepdims=True)
        depth = absorption_depth_mm(panel, ray)
        along = np.einsum("nj,kj->nk", ray, axes)
        surface = seen - np.einsum("nk,kj->nj", depth[:, None] * along, axes)
    return surface


def absorption_depth_mm(panel: Panel, ray: Floats) -> Floats:
    """(n,) mm along the ray (unit vectors) to where its photons are absorbed on average."""
    path = panel.thickness_mm / np.maximum(np.abs(np.einsum("nj,j->n", ray, panel.normal)), 1e-3)
    mu = panel.mu_per_mm
    return 1.0 / mu - (path + 1.0 / mu) * np.exp(-mu * path)


def laboratory_rotations(gonio: Goniometer, angle_rad: Floats) -> Floats:
    """(n, 3, 3): setting @ R(axis, angle) @ fixed for every angle (Rodrigues' formula)."""
    u = np.asarray(gonio.axis, float)
    cross = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
    c, s = np.cos(angle_rad)[:, None, None], np.sin(angle_rad)[:, None, None]
    turn = c * np.eye(3) + s * cross + (1.0 - c) * np.outer(u, u)
    return np.asarray(gonio.setting) @ turn @ np.asarray(gonio.fixed)
