"""Bravais settings of a lattice: every symmetry that its metric comes near to, each in its conventional cell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hdrmx.indexing.reciprocal import Floats, Ints

MAX_ORDER = 24  # of the rotations of a lattice
LARGEST_INDEX = 2  # of the axes of a reduced cell (Le Page)
SPACE_GROUP = {
    "aP": "P 1",
    "mP": "P 1 2 1",
    "mC": "C 1 2 1",
    "mI": "I 1 2 1",
    "oP": "P 2 2 2",
    "oC": "C 2 2 2",
    "oF": "F 2 2 2",
    "oI": "I 2 2 2",
    "tP": "P 4 2 2",
    "tI": "I 4 2 2",
    "hP": "P 6 2 2",
    "hR": "R 3 2:H",
    "cP": "P 4 3 2",
    "cI": "I 4 3 2",
    "cF": "F 4 3 2",
}


@dataclass(frozen=True)
class Setting:
    """One way to see a lattice.

    Attributes
    ----------
    bravais : e.g. "oP"
    misfit_deg : largest angle between a two-fold axis and the normal of the net plane it ought to be
    change : (3, 3) int; rows are the conventional axes in terms of the reduced ones: h' = change @ h
    rotations : (n, 3, 3) int, the rotations on the reduced basis, acting on columns of real-space coordinates
    """

    bravais: str
    misfit_deg: float
    change: Ints
    rotations: Ints

    @property
    def space_group(self) -> str:
        """The symmorphic group of highest rotational symmetry."""
        return SPACE_GROUP[self.bravais]

    @property
    def order(self) -> int:
        return len(self.rotations)


def settings(A: Floats, tolerance_deg: float) -> list[Setting]:
    """All Bravais settings of a Niggli-reduced lattice A (3, 3), lowest symmetry first, then best fit first.

    Two-fold axes are found as pairs of a direct and a reciprocal direction that enclose less than `tolerance_deg`;
    every group that one, two or three of them generate gives a setting.

    Notes
    -----
    After Le Page (1982) J. Appl. Cryst. 15, 255-259.
    """
    real: Floats = np.asarray(np.linalg.inv(A), np.float64)
    axes = twofold_axes(real, tolerance_deg)
    found: dict[bytes, Setting] = {}
    for n in range(4):
        for chosen in itertools.combinations(range(len(axes)), n):
            group = _closure([axes[i][0] for i in chosen])
            if group is None or group.tobytes() in found:
                continue
            misfit = max((_misfit_deg(w, real) for w in group if _order(w) == 2), default=0.0)
            setting = _conventional(group, real, misfit)
            if setting is not None and misfit <= tolerance_deg:
                found[group.tobytes()] = setting
    return sorted(found.values(), key=lambda s: (s.order, s.misfit_deg, s.bravais, s.change.tolist()))


def twofold_axes(real: Floats, tolerance_deg: float) -> list[tuple[Ints, float]]:
    """Half turns (3, 3) that the lattice (rows a, b, c) has within the tolerance, with their misfits in degrees."""
    span = range(-LARGEST_INDEX, LARGEST_INDEX + 1)
    index = np.array([u for u in itertools.product(span, repeat=3) if _is_first(u)], np.int64)
    reciprocal = np.linalg.inv(real).T  # rows a*, b*, c*
    direct, normal = np.einsum("ni,ij->nj", index, real), np.einsum("ni,ij->nj", index, reciprocal)
    dot = np.einsum("ni,mi->nm", index, index)
    cross = np.linalg.norm(np.cross(direct[:, None, :], normal[None, :, :]), axis=2)
    misfit = np.degrees(np.arctan2(cross, np.abs(np.einsum("ni,mi->nm", direct, normal))))
    found = []
    for i, j in zip(*np.nonzero((misfit <= tolerance_deg) & (np.abs(dot) >= 1) & (np.abs(dot) <= 2))):
        twice = 2 * np.outer(index[i], index[j])
        if (twice % dot[i, j]).any():
            continue
        found.append((twice // dot[i, j] - np.eye(3, dtype=np.int64), float(misfit[i, j])))
    found.sort(key=lambda axis: (axis[1], axis[0].tolist()))
    return list({w.tobytes(): (w, misfit_deg) for w, misfit_deg in reversed(found)}.values())[::-1]


def _is_first(u: tuple[int, ...]) -> bool:
    """Of u and -u the one whose first entry other than 0 is positive; without common factors."""
    return any(u) and next(x for x in u if x) > 0 and np.gcd.reduce(u) == 1


def _misfit_deg(w: Ints, real: Floats) -> float:
    """Angle between the axis of the half turn w and the normal of the plane that it turns into itself."""
    direct = np.einsum("i,ij->j", _axis(w), real)
    normal = np.einsum("i,ij->j", _axis(w.T), np.linalg.inv(real).T)
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(direct, normal)), abs(direct @ normal))))


def _closure(generators: list[Ints]) -> Ints | None:
    """The group that the rotations generate, sorted; None when it is larger than any lattice's."""
    identity = np.eye(3, dtype=np.int64)
    members = {identity.tobytes(): identity}
    fresh = [identity]
    while fresh:
        made = []
        for w in fresh:
            for g in generators:
                product = w @ g
                if product.tobytes() not in members:
                    members[product.tobytes()] = product
                    made.append(product)
        if len(members) > MAX_ORDER or any(np.abs(m).max() > 8 for m in made):
            return None
        fresh = made
    return np.array(sorted(members.values(), key=lambda m: m.ravel().tolist()))


def _order(w: Ints) -> int:
    """1, 2, 3, 4 or 6 from the trace."""
    return {3: 1, -1: 2, 0: 3, 1: 4, 2: 6}[int(np.trace(w))]


def _axis(w: Ints) -> Ints:
    """Shortest lattice vector along the axis of the rotation."""
    total, power = np.eye(3, dtype=np.int64), w
    for _ in range(_order(w) - 1):
        total = total + power
        power = power @ w
    column = total[:, np.flatnonzero(np.abs(total).sum(axis=0))[0]]
    return column // np.gcd.reduce(column)


def _conventional(group: Ints, real: Floats, misfit: float) -> Setting | None:
    """The conventional cell of a group of rotations; None when its lattice has more symmetry than the group."""
    orders = sorted(_order(w) for w in group)
    make = {
        1: _triclinic,
        2: _monoclinic,
        4: _orthorhombic,
        6: _rhombohedral,
        8: _tetragonal,
        12: _hexagonal,
        24: _cubic,
    }
    if len(group) not in make or (len(group) == 4 and orders != [1, 2, 2, 2]) or (len(group) == 12 and 6 not in orders):
        return None
    made = make[len(group)](group, real)
    if made is None:
        return None
    bravais, change = made
    if np.linalg.det(np.einsum("ij,jk->ik", change, real)) < 0:
        change = -change
    return Setting(bravais, misfit, change, group)


def _axes(group: Ints, order: int) -> Ints:
    """(n, 3) the axes of the rotations of this order, each once, its first entry other than 0 positive."""
    found = {
        tuple(int(x) for x in (a if tuple(a) > tuple(-a) else -a))
        for a in (_axis(w) for w in group if _order(w) == order)
    }
    return np.array(sorted(found), np.int64).reshape(-1, 3)


def _lengths(index: Ints, real: Floats) -> Floats:
    return np.linalg.norm(np.einsum("ni,ij->nj", index, real), axis=1)


def _points(change: Ints) -> Floats:
    """(n, 3) fractional coordinates of the lattice points within the cell whose axes are the rows of `change`."""
    det = round(abs(float(np.linalg.det(change))))
    span = np.array(list(itertools.product(range(det), repeat=3)))
    inside = np.rint(np.einsum("ni,ij->nj", span, np.linalg.inv(change)) * det).astype(np.int64) % det
    return np.unique(inside, axis=0) / det


def centring(change: Ints) -> str:
    """P, A, B, C, I, F or R of the cell whose axes are the rows of `change`; "?" for any other."""
    points = {tuple(p) for p in np.round(_points(change), 4).tolist()}
    faces = {"A": (0.0, 0.5, 0.5), "B": (0.5, 0.0, 0.5), "C": (0.5, 0.5, 0.0), "I": (0.5, 0.5, 0.5)}
    if len(points) == 1:
        return "P"
    if len(points) == 2:
        return next((name for name, at in faces.items() if at in points), "?")
    if len(points) == 4 and all(faces[f] in points for f in "ABC"):
        return "F"
    if len(points) == 3 and (0.6667, 0.3333, 0.3333) in points:
        return "R"
    return "?"


def _triclinic(group: Ints, real: Floats) -> tuple[str, Ints]:
    return "aP", np.eye(3, dtype=np.int64)


def _monoclinic(group: Ints, real: Floats) -> tuple[str, Ints] | None:
    """b along the axis; a and c the shortest across it, of those with the lattice point at C or I the least oblique."""
    turn = next(w for w in group if _order(w) == 2)
    b = _axis(turn)
    a, c = _shortest_across(_axis(turn.T), real)
    best: tuple[float, str, Ints] | None = None
    for first, third in itertools.permutations((a, c, a + c, a - c), 2):
        for sign in (1, -1):
            change = np.array([first, b, sign * third])
            kind = centring(change)
            if abs(round(np.linalg.det(change))) > 2 or kind not in "PCI":
                continue
            x, z = np.einsum("i,ij->j", first, real), np.einsum("i,ij->j", sign * third, real)
            cosine = float(x @ z / np.linalg.norm(x) / np.linalg.norm(z))
            # an obtuse angle, the shortest axes, and C before I and a before c where nothing else decides
            rank = np.round(abs(cosine), 6) + (1.0 if cosine > 1e-6 else 0.0) + (1e-7 if kind == "I" else 0.0)
            rank += 1e-8 * (kind == "P" and np.linalg.norm(x) > np.linalg.norm(z) + 1e-6)
            if best is None or rank < best[0]:
                best = (float(rank), "m" + kind, change)
    return None if best is None else best[1:]


def _shortest_across(normal: Ints, real: Floats) -> tuple[Ints, Ints]:
    """Two shortest vectors of the net plane with this normal (indices of a reciprocal vector)."""
    span = range(-3, 4)
    index = np.array([u for u in itertools.product(span, repeat=3) if any(u)], np.int64)
    index = index[np.einsum("ni,i->n", index, normal) == 0]
    index = index[np.lexsort((*index.T, np.round(_lengths(index, real), 6)))]
    a = index[0]
    c = next(u for u in index if np.cross(a, u).any())
    return a, c


def _orthorhombic(group: Ints, real: Floats) -> tuple[str, Ints] | None:
    """Edges in ascending order; a face-centred cell has it at C, with a < b."""
    axes = _axes(group, 2)
    axes = axes[np.lexsort((*axes.T, np.round(_lengths(axes, real), 6)))]
    kind = centring(axes)
    turn = {"A": (1, 2, 0), "B": (0, 2, 1)}.get(kind)
    if turn is not None:
        kind, axes = "C", axes[list(turn)]
    return None if kind not in "PCIF" else ("o" + kind, axes)


def _tetragonal(group: Ints, real: Floats) -> tuple[str, Ints] | None:
    fourfold = next(w for w in group if _order(w) == 4)
    c = _axis(fourfold)
    across = np.array([u for u in _axes(group, 2) if np.cross(u, c).any()])
    a = across[np.lexsort((*across.T, np.round(_lengths(across, real), 6)))][0]
    change = np.array([a, fourfold @ a, c])
    kind = centring(change)
    if kind not in "PI":  # the other pair of axes, where pseudo-symmetry has confused their lengths
        a = next(u for u in across if not (np.cross(u, change[0]).any() and not np.cross(u, change[1]).any()))
        change = np.array([change[0] + change[1], change[1] - change[0], c])
        kind = centring(change)
    return None if kind not in "PI" else ("t" + kind, change)


def _hexagonal(group: Ints, real: Floats) -> tuple[str, Ints] | None:
    sixfold = next(w for w in group if _order(w) == 6)
    c = _axis(sixfold)
    across = np.array([u for u in _axes(group, 2) if np.cross(u, c).any()])
    a = across[np.lexsort((*across.T, np.round(_lengths(across, real), 6)))][0]
    change = np.array([a, sixfold @ sixfold @ a, c])
    return ("hP", change) if centring(change) == "P" else None


def _rhombohedral(group: Ints, real: Floats) -> tuple[str, Ints] | None:
    """Hexagonal axes, obverse. A primitive hexagonal lattice has more symmetry than the group 32."""
    threefold = next(w for w in group if _order(w) == 3)
    c, a = _axis(threefold), _axes(group, 2)[0]
    b = threefold @ a
    for change in (np.array([a, b, c]), np.array([-a, -b, c]), np.array([a, -a - b, c]), np.array([-a, a + b, c])):
        if np.linalg.det(np.einsum("ij,jk->ik", change, real)) > 0 and centring(change) == "R":
            return "hR", change
    return None


def _cubic(group: Ints, real: Floats) -> tuple[str, Ints] | None:
    axes = _axes(group, 4)
    kind = centring(axes)
    return None if kind not in "PIF" else ("c" + kind, axes)
