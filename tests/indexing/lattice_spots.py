"""Spot lists with a known answer: the reflections of a crystal, predicted here from the geometry alone."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.models import Beam, Crystal, Detector, Geometry, Goniometer, Panel, Scan


def rotation(axis, angle_deg: float) -> np.ndarray:
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    t = np.radians(angle_deg)
    return np.eye(3) + np.sin(t) * k + (1 - np.cos(t)) * k @ k


def random_rotation(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def crystal(cell, space_group: str = "P 1", seed: int = 1) -> Crystal:
    B = np.linalg.inv(np.array(gemmi.UnitCell(*cell).orth.mat.tolist()))
    A = random_rotation(seed) @ B.T
    return Crystal(tuple(map(tuple, A.tolist())), space_group)


def geometry(
    distance_mm: float = 150.0, n_frames: int = 90, width_deg: float = 1.0, wavelength_A: float = 1.0
) -> Geometry:
    """A flat detector of 1000 x 1000 pixels of 0.15 mm, the beam near its middle, rotation about x."""
    panel = Panel("p", (1000, 1000), (0.15, 0.15), (-75.3, 74.6, -distance_mm), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    scan = Scan(0, n_frames, 0.0, np.radians(width_deg))
    return Geometry(Beam(wavelength_A), Detector((panel,)), Goniometer(), scan)


def reflections(crystal: Crystal, geometry: Geometry, d_min: float) -> pd.DataFrame:
    """h, k, l, frame, slow, fast, entering of all reflections on the detector during the scan."""
    A = np.asarray(crystal.A)
    real = np.linalg.inv(A)
    reach = np.ceil(np.linalg.norm(real, axis=1) / d_min).astype(int)
    hkl = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    group = gemmi.find_spacegroup_by_name(crystal.space_group).operations()
    r = hkl @ A.T
    keep = (np.linalg.norm(r, axis=1) <= 1 / d_min) & hkl.any(axis=1)
    keep &= ~np.array([group.is_systematically_absent(list(h)) for h in hkl.tolist()])
    hkl, r = hkl[keep], r[keep]
    e, s0 = geometry.goniometer.lab_axis, geometry.beam.s0
    # s0 . R(phi) r = -|r|^2 / 2, with R r = e (e.r) + cos (r - e (e.r)) + sin e x r
    along = (r @ e)[:, None] * e
    a, b = (r - along) @ s0, np.cross(e, r) @ s0
    c = -0.5 * np.einsum("ij,ij->i", r, r) - along @ s0
    size = np.hypot(a, b)
    ok = (size > 1e-9) & (np.abs(c) <= size)
    hkl, r, along, a, b, c, size = (x[ok] for x in (hkl, r, along, a, b, c, size))
    out = []
    for sign in (1, -1):
        phi = np.arctan2(b, a) + sign * np.arccos(c / size)
        frame = geometry.scan.frame_at(geometry.scan.start_rad + np.mod(phi - geometry.scan.start_rad, 2 * np.pi))
        s1 = s0 + along + np.cos(phi)[:, None] * (r - along) + np.sin(phi)[:, None] * np.cross(e, r)
        panel = geometry.detector.panels[0]
        x, y, w = np.linalg.solve(panel.d_matrix, s1.T)
        fast, slow = x / w / panel.pixel_mm[1], y / w / panel.pixel_mm[0]
        seen = (w > 0) & (fast > 0) & (fast < panel.shape[1]) & (slow > 0) & (slow < panel.shape[0])
        seen &= (frame >= 0) & (frame < geometry.scan.n_frames)
        # too near to the spindle to be seen as a spot
        seen &= np.abs(s1 @ np.cross(s0, e)) * geometry.beam.wavelength_A**2 > 0.02
        entering = s1 @ np.cross(s0, e) < 0
        columns = np.column_stack([hkl, frame, slow, fast, entering])[seen]
        out.append(pd.DataFrame(columns, columns=["h", "k", "l", "frame", "slow", "fast", "entering"]))
    return pd.concat(out, ignore_index=True).sort_values(["frame", "slow", "fast"], ignore_index=True)


def spots_of(
    found: pd.DataFrame, sigma_px: float = 0.15, sigma_frame: float = 0.08, noise: int = 0, seed: int = 1
) -> pd.DataFrame:
    """A table of spots at these reflections, with errors and `noise` spots at random places, in the order given."""
    rng = np.random.default_rng(seed)
    table = tables.empty(tables.SPOTS, len(found) + noise)
    n = len(found)
    table.loc[: n - 1, "frame"] = found["frame"].to_numpy() + rng.normal(0, sigma_frame, n)
    table.loc[: n - 1, "slow"] = found["slow"].to_numpy() + rng.normal(0, sigma_px, n)
    table.loc[: n - 1, "fast"] = found["fast"].to_numpy() + rng.normal(0, sigma_px, n)
    top = float(found["frame"].max()) if n else 10.0
    for name, high in (("frame", top), ("slow", 1000.0), ("fast", 1000.0)):
        table.loc[n:, name] = rng.uniform(0, high, noise)
    table["frame_var"], table["slow_var"], table["fast_var"] = sigma_frame**2 + 1 / 12, sigma_px**2, sigma_px**2
    for name, half in (("frame", 0.5), ("slow", 2), ("fast", 2)):
        table[f"{name}_min"] = np.floor(table[name] - half).astype("int32")
        table[f"{name}_max"] = np.ceil(table[name] + half).astype("int32")
    table["intensity"] = rng.exponential(1000.0, n + noise)
    table["n_pixels"], table["peak"] = np.int32(9), table["intensity"] / 4
    return table
