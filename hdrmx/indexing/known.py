"""A lattice put into the cell and space group that are known beforehand."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np

from hdrmx.errors import InputError
from hdrmx.indexing.bravais import Setting, centring
from hdrmx.indexing.combine import reduce_lattice
from hdrmx.indexing.lattices import equivalent_bases
from hdrmx.indexing.reciprocal import Floats, Ints
from hdrmx.models import cell_of

Cell = tuple[float, float, float, float, float, float]

# Rows: primitive axes in terms of the axes of the centred cell (obverse, for R)
PRIMITIVE = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]]),
    "B": np.array([[0.5, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3.0,
}
SYSTEM_OF = {
    "a": "triclinic",
    "m": "monoclinic",
    "o": "orthorhombic",
    "t": "tetragonal",
    "h": "hexagonal",
    "c": "cubic",
}


def parse_cell(text: str) -> Cell:
    """Six numbers of a text; InputError names what is wrong with it."""
    try:
        values = [float(x) for x in text.replace(" ", ",").split(",") if x]
    except ValueError:
        values = []
    if len(values) != 6 or min(values, default=0.0) <= 0 or max(values[3:], default=180.0) >= 180:
        raise InputError("index.cell", f"is '{text}'", "give a,b,c in A and alpha,beta,gamma in degrees, all above 0")
    cell = gemmi.UnitCell(*values)
    if not np.isfinite(cell.volume) or cell.volume < 1.0:
        raise InputError("index.cell", f"'{text}' has no volume", "check the three angles")
    a, b, c, alpha, beta, gamma = values
    return a, b, c, alpha, beta, gamma


def parse_space_group(text: str) -> gemmi.SpaceGroup:
    """A symbol or a number as gemmi knows it."""
    found = gemmi.find_spacegroup_by_name(text)
    if found is None and text.strip().isdigit():
        found = gemmi.find_spacegroup_by_number(int(text))
    if found is None:
        raise InputError("index.space_group", f"'{text}' is not a known symbol", "give one such as 'P 43 21 2' or 96")
    return found


def primitive_axes(cell: Cell, kind: str) -> Floats:
    """(3, 3) A: rows are primitive axes of a cell with this centring, in a Cartesian frame."""
    return np.einsum("ij,kj->ik", PRIMITIVE[kind], np.array(gemmi.UnitCell(*cell).orth.mat.tolist()))


def reduced_axes(cell: Cell, kind: str) -> Floats:
    """(3, 3) A: rows are the reduced primitive axes of a cell with this centring."""
    return _inverse(reduce_lattice(_inverse(primitive_axes(cell, kind))))


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def match_cell(A: Floats, cell: Cell, kind: str, edge_tolerance: float, angle_tolerance_deg: float) -> Floats | None:
    """The lattice A on the axes of a known cell with centring `kind`; None where they differ beyond the tolerances.

    All lattice vectors of about the lengths of the known cell's reduced axes are tried in all triples, so that no flip
    of the reduced cell within the errors can hide a match. The closest metric wins.
    """
    reduced = reduced_axes(cell, kind)
    real = _inverse(reduce_lattice(A))
    want = np.linalg.norm(reduced, axis=1)
    scale = np.outer(want, want)
    best, best_misfit = None, np.inf
    for basis in equivalent_bases(real, reduced, edge_tolerance, angle_tolerance_deg):
        misfit = float(np.sum(((basis @ basis.T - reduced @ reduced.T) / scale) ** 2))
        if misfit < best_misfit - 1e-12:
            best, best_misfit = basis, misfit
    if best is None:
        return None
    # conventional axes in terms of the reduced ones, the same in both frames
    conventional = np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    change = np.rint(np.einsum("ij,jk->ik", conventional, np.linalg.inv(reduced)))
    return _inverse(change @ best)


def centring_of(group: gemmi.SpaceGroup) -> str:
    """The lattice letter of the symbol's own axes."""
    return str(group.centring_type())


def setting_for(group: gemmi.SpaceGroup, found: list[Setting], real: Floats) -> Ints | None:
    """Axes (rows, on the reduced basis `real`) of the best-fitting setting in the space group's own description.

    None where the lattice has no setting of that system and centring.
    """
    system, kind = group.crystal_system_str(), centring_of(group)
    if system == "triclinic":
        return _centred_triclinic(kind)
    letter = "h" if system == "trigonal" else next(k for k, v in SYSTEM_OF.items() if v == system)
    rhombohedral = system == "trigonal" and (kind == "R" or group.ext == "R")
    for setting in sorted(found, key=lambda s: s.misfit_deg):
        if setting.bravais[0] != letter or (letter == "h" and (setting.bravais == "hR") != rhombohedral):
            continue
        if group.ext == "R":
            return np.rint(np.einsum("ij,jk->ik", PRIMITIVE["R"], setting.change)).astype(np.int64)
        change = _respelt(setting.change, kind, letter, _unique_axis(group), real)
        if change is not None:
            return change
    return None


def _centred_triclinic(kind: str) -> Ints | None:
    if kind not in PRIMITIVE:
        return None
    return np.rint(np.linalg.inv(PRIMITIVE[kind])).astype(np.int64)


def _unique_axis(group: gemmi.SpaceGroup) -> int:
    """0, 1 or 2: the axis of a monoclinic group."""
    turn = next(op for op in group.operations().sym_ops if op.rot != gemmi.Op().rot)
    return next(i for i in range(3) if turn.rot[i][i] * int(np.sign(turn.det_rot())) > 0)


def _respelt(change: Ints, kind: str, letter: str, unique: int, real: Floats) -> Ints | None:
    """The same axes permuted (and within a monoclinic plane, combined) until their centring is `kind`."""
    if letter in "tch":
        return change if centring(change) == kind else None
    if letter == "o":
        trials = [change[list(p)] for p in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0))]
    else:
        a, b, c = change
        pairs = itertools.permutations((a, c, a + c, a - c), 2)
        order = {0: (1, 0, 2), 1: (0, 1, 2), 2: (0, 2, 1)}[unique]
        trials = [np.array([x, b, s * z])[list(order)] for x, z in pairs for s in (1, -1)]
    good = [t for t in trials if centring(t) == kind and abs(round(np.linalg.det(t))) == len_of(kind)]
    if not good:
        return None
    best = min(good, key=lambda t: _oblique(t, real, unique) if letter == "m" else 0.0)
    return best if np.linalg.det(np.einsum("ij,jk->ik", best, real)) > 0 else -best


def len_of(kind: str) -> int:
    """Lattice points in a cell of this centring."""
    return {"P": 1, "F": 4, "R": 3}.get(kind, 2)


def _oblique(change: Ints, real: Floats, unique: int) -> float:
    """Departure of the monoclinic angle from 90 degrees, acute ones behind obtuse ones."""
    x = cell_of(_inverse(np.einsum("ij,jk->ik", change, real)))[3 + unique]
    return abs(x - 90.0) + (1000.0 if x < 89.999 else 0.0)
