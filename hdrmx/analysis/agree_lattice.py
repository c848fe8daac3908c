"""Indices and models of two processings: the change of basis between them, and what is left once it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hdrmx.analysis.agree_checks import Check, Demands, Floats, Ints, Stage, of_both, relative
from hdrmx.analysis.agree_spots import Tolerance, compare_spots
from hdrmx.io.compared import Fitted
from hdrmx.models import Crystal, cell_of
from hdrmx.refinement.symmetry import to_matrix

FEWEST = 10  # pairs that a change of basis is found from
MOST = 0.5  # part of the pairs that must obey it
DENOMINATORS = 6  # elements of a change of basis are multiples of one sixth: centred and primitive cells
ROUNDS = 10
SAME_LATTICE = 0.02  # largest relative difference of edges of one lattice


@dataclass(frozen=True)
class Change:
    """h (theirs) = matrix @ h (ours), found from `n` pairs, of which the part `fraction` obeys it."""

    matrix: Floats
    n: int
    fraction: float

    @property
    def text(self) -> str:
        """The new indices in terms of the old, as in `h, -k, -l`."""
        return ", ".join(_sum_of(row) for row in self.matrix)


def _sum_of(row: Floats) -> str:
    out = ""
    for value, letter in zip(row, "hkl"):
        if value == 0:
            continue
        size = "" if abs(value) == 1 else f"{abs(value):.3g}"
        out += ("-" if value < 0 else "+" if out else "") + size + letter
    return out or "0"


def find_change(ours: Ints, theirs: Ints) -> Change | None:
    """The change of basis that most pairs of indices (n, 3) obey; None where there is none, or too few pairs."""
    known = ours.any(axis=1) & theirs.any(axis=1)
    a, b = ours[known].astype(float), theirs[known].astype(float)
    if len(a) < FEWEST or np.linalg.matrix_rank(a) < 3:
        return None
    matrix = _fitted(a, b)
    if matrix is None:
        return None
    fraction = float((np.abs(a @ matrix.T - b) < 1e-6).all(axis=1).mean())
    return Change(matrix, len(a), fraction) if fraction > MOST else None


def _fitted(a: Floats, b: Floats) -> Floats | None:
    """Least squares, then again with the pairs that lie nearest, until nothing changes."""
    weight, matrix = np.ones(len(a)), None
    for _ in range(ROUNDS):
        x, *_ = np.linalg.lstsq(a * weight[:, None], b * weight[:, None], rcond=None)
        rounded = np.rint(x.T * DENOMINATORS) / DENOMINATORS
        if matrix is not None and np.array_equal(rounded, matrix):
            break
        matrix = rounded
        off = np.abs(a @ x - b).sum(axis=1)
        weight = 1.0 / (1.0 + (off / max(float(np.median(off)), 1e-3)) ** 2)
    return matrix if matrix is not None and abs(np.linalg.det(matrix)) > 1e-6 else None


@dataclass(frozen=True)
class Joined:
    """Spots of two tables in pairs, and for each of our lattices the one of theirs with most spots in common."""

    ours: Ints
    theirs: Ints
    partner: dict[int, int]
    changes: dict[int, Change]


def join_spots(ours: Fitted, theirs: Fitted) -> Joined:
    """Pair spots by position, then lattices by spots, then find each lattice's change of basis."""
    pairs = compare_spots(ours.table, theirs.table, Tolerance())
    a, b = (t["lattice"].to_numpy()[rows] for t, rows in ((ours.table, pairs.ours), (theirs.table, pairs.theirs)))
    partner: dict[int, int] = {}
    changes: dict[int, Change] = {}
    for number in range(len(ours.crystals)):
        mine = b[(a == number) & (b >= 0)]
        if len(mine) == 0:
            continue
        partner[number] = int(np.bincount(mine).argmax())
        rows = (a == number) & (b == partner[number])
        hkl = [
            t[["h", "k", "l"]].to_numpy(np.int64)[rows_of[rows]]
            for t, rows_of in ((ours.table, pairs.ours), (theirs.table, pairs.theirs))
        ]
        change = find_change(*hkl)
        if change is not None:
            changes[number] = change
    return Joined(pairs.ours, pairs.theirs, partner, changes)


def compare_indexed(ours: Fitted, theirs: Fitted, demands: Demands) -> Stage:
    """How many spots are indexed, and the same way."""
    joined = join_spots(ours, theirs)
    is_ours, is_theirs = ((f.table["lattice"] >= 0).to_numpy() for f in (ours, theirs))
    both = is_ours[joined.ours] & is_theirs[joined.theirs]
    same = _same(ours.table, theirs.table, joined) & both
    n_both = int(both.sum())
    checks = [
        Check("lattices", len(ours.crystals), len(theirs.crystals)),
        Check("spots indexed", int(is_ours.sum()), int(is_theirs.sum())),
        Check(
            "same h k l, of those indexed in both",
            int(same.sum()),
            n_both,
            same.sum() / n_both if n_both else math.nan,
            demands.same_index,
            at_least=True,
        ),
    ]
    return Stage("index", tuple(checks), notes=_notes(ours, theirs, joined))


def _same(ours: pd.DataFrame, theirs: pd.DataFrame, joined: Joined) -> np.ndarray:
    a = ours[["h", "k", "l"]].to_numpy(float)[joined.ours]
    b = theirs[["h", "k", "l"]].to_numpy(float)[joined.theirs]
    of_a, of_b = ours["lattice"].to_numpy()[joined.ours], theirs["lattice"].to_numpy()[joined.theirs]
    same = np.zeros(len(a), bool)
    for number, change in joined.changes.items():
        rows = (of_a == number) & (of_b == joined.partner[number])
        same |= rows & (np.abs(a @ change.matrix.T - b) < 1e-6).all(axis=1)
    return same


def _notes(ours: Fitted, theirs: Fitted, joined: Joined) -> tuple[str, ...]:
    notes = []
    for number in range(len(ours.crystals)):
        change = joined.changes.get(number)
        of = f" of lattice {number + 1}" if len(ours.crystals) > 1 else ""
        if change is None:
            notes.append(f"no change of basis{of} was found: too few common spots, or other lattices")
            continue
        if not np.array_equal(change.matrix, np.eye(3)):
            notes.append(f"our h, k, l{of} are theirs as {change.text}")
        if np.linalg.det(change.matrix) < 0:
            notes.append(f"the change of basis{of} turns the hand round: one of the two is wrong")
        cell, wanted = in_their_basis(ours.crystals[number], change).cell, theirs.crystals[joined.partner[number]].cell
        if max(abs(relative(x, y)) for x, y in zip(cell[:3], wanted[:3])) > SAME_LATTICE:
            notes.append(f"the change of basis{of} doesn't bring the cells together: indices agree by chance")
    return tuple(notes)


def mean_cell(crystal: Crystal) -> tuple[float, ...]:
    """A and degrees; of a crystal that varies, the mean along the scan."""
    points = crystal.A_at_scan_points
    if points is None:
        return crystal.cell
    return tuple(np.mean([cell_of(A) for A in points], axis=0).tolist())


def in_their_basis(crystal: Crystal, change: Change) -> Crystal:
    """Our crystal on their axes."""
    back = np.linalg.inv(change.matrix)
    points = crystal.A_at_scan_points
    A = to_matrix(np.asarray(crystal.A, float) @ back)
    return replace(crystal, A=A, A_at_scan_points=None if points is None else points @ back, cell_sd=None)


def middle_of(crystal: Crystal) -> Floats:
    """A in the middle of the scan."""
    points = crystal.A_at_scan_points
    return np.asarray(crystal.A, float) if points is None else np.asarray(points[len(points) // 2], float)


def compare_models(ours: Fitted, theirs: Fitted, demands: Demands) -> Stage:
    """Cell, orientation, geometry and r.m.s.d.s of refinement."""
    joined = join_spots(ours, theirs)
    checks: list[Check] = []
    many = len(ours.crystals) > 1
    for number, change in joined.changes.items():
        of = f" of lattice {number + 1}" if many else ""
        other = theirs.crystals[joined.partner[number]]
        mine = in_their_basis(ours.crystals[number], change)
        cell, wanted = mine.cell, other.cell
        edges = max(abs(relative(x, y)) for x, y in zip(cell[:3], wanted[:3]))
        angles = max(abs(x - y) for x, y in zip(cell[3:], wanted[3:]))
        names = [" ".join(f"{v:.3f}" for v in c[:3]) for c in (cell, wanted)]
        checks.append(of_both(f"edges{of}, A", names, edges, demands.cell_edges))
        names = [" ".join(f"{v:.2f}" for v in c[3:]) for c in (cell, wanted)]
        checks.append(of_both(f"angles{of}, deg", names, angles))
        if mine.A_at_scan_points is not None or other.A_at_scan_points is not None:
            means = [mean_cell(c) for c in (mine, other)]
            names = [" ".join(f"{v:.3f}" for v in c[:3]) for c in means]
            apart = max(abs(relative(x, y)) for x, y in zip(means[0][:3], means[1][:3]))
            checks.append(of_both(f"edges{of}, mean along the scan", names, apart))
        turned = rotation_between_deg(middle_of(mine), middle_of(other))
        checks.append(Check(f"misorientation{of}, deg", None, None, turned, demands.misorientation_deg))
    checks += _rmsds(ours, theirs, joined, demands)
    a, b = (f.geometry.detector.panels[0] for f in (ours, theirs))
    checks.append(Check("distance, mm", a.distance_mm, b.distance_mm, abs(a.distance_mm - b.distance_mm)))
    beam = [f.geometry.detector.panels[0].beam_centre_px(f.geometry.beam) for f in (ours, theirs)]
    if beam[0] is not None and beam[1] is not None:
        words = [f"{fast:.2f} {slow:.2f}" for slow, fast in (beam[0], beam[1])]
        apart = float(np.hypot(beam[0][0] - beam[1][0], beam[0][1] - beam[1][1]))
        checks.append(of_both("beam centre, px (fast, slow)", words, apart))
    return Stage("refine", tuple(checks), notes=_notes(ours, theirs, joined))


def rotation_between_deg(A: Floats, B: Floats) -> float:
    """Angle of the rotation nearest to what takes A to B (polar decomposition)."""
    u, _, vt = np.linalg.svd(np.asarray(B) @ np.linalg.inv(A))
    turn = u @ vt
    sine = 0.5 * np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(np.degrees(np.arctan2(sine, 0.5 * (np.trace(turn) - 1.0))))


def _rmsds(ours: Fitted, theirs: Fitted, joined: Joined, demands: Demands) -> list[Check]:
    """Of the spots that both index the same way and neither calls an outlier."""
    if any("fast_calc" not in f.table for f in (ours, theirs)):
        return []
    rows = _same(ours.table, theirs.table, joined)
    tables = [ours.table.iloc[joined.ours[rows]], theirs.table.iloc[joined.theirs[rows]]]
    good = np.logical_and(*(~t["outlier"].to_numpy() & np.isfinite(t["frame_calc"].to_numpy()) for t in tables))
    checks = []
    for axis, unit in (("fast", "px"), ("slow", "px"), ("frame", "images")):
        values = [_rms((t[axis] - t[f"{axis}_calc"]).to_numpy()[good]) for t in tables]
        checks.append(of_both(f"r.m.s.d. {axis}, {unit}", values, relative(*values), demands.rmsd))
    return checks


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else math.nan
