"""The crystal: its reflections with Wilson-distributed intensities, its lattice, and how it moves.

Intensities: E^2 is exponential for acentric and chi-squared with one degree of freedom for centric
reflections (Wilson (1949) Acta Cryst. 2, 318-321), times the multiplicity factor epsilon and
exp(-B / 2d^2). Each is a function of the seed and the indices in the asymmetric unit alone, so that
equivalents agree, and a reflection keeps its intensity whatever the resolution limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.params import Simulate
from hdrmx.simulate.rng import For, generator, make_key, normals, uniforms

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reflections:
    """All reflections of a lattice within the resolution limit, both Friedel mates, without absences."""

    hkl: npt.NDArray[np.int32]  # (n, 3)
    asu: npt.NDArray[np.int32]  # (n, 3) in the asymmetric unit of CCP4
    is_plus: npt.NDArray[np.bool_]  # (n,) equivalent to asu itself, not only to its Friedel mate
    is_centric: npt.NDArray[np.bool_]  # (n,)
    f_squared: Array  # (n,) relative; mean epsilon * exp(-B / 2d^2)
    d_A: Array  # (n,)

    def __len__(self) -> int:
        return len(self.hkl)


def space_group(name: str) -> gemmi.SpaceGroup:
    """The space group of this name. Raises InputError."""
    group = gemmi.find_spacegroup_by_name(name)
    if group is None:
        raise InputError("space_group", f"'{name}' is not known", 'write it as in "P 21 21 21" or P212121')
    return group


def unit_cell(text: str, group: gemmi.SpaceGroup) -> gemmi.UnitCell:
    """The cell from six numbers; InputError if it is none or does not fit the space group."""
    values = numbers("cell", text, 6)
    cell = gemmi.UnitCell(*values)
    if min(values) <= 0 or max(values[3:]) >= 180 or not cell.volume > 0:
        raise InputError("cell", f"'{text}' is no unit cell", "give a,b,c,alpha,beta,gamma in A and degrees")
    if not cell.is_compatible_with_spacegroup(group):
        raise InputError("cell", f"'{text}' does not fit {group.xhm()}", "give a cell with the symmetry of the group")
    return cell


def numbers(name: str, text: str, n: int) -> list[float]:
    """n finite numbers with commas between them. Raises InputError."""
    try:
        values = [float(x) for x in text.replace(" ", ",").split(",") if x]
    except ValueError:
        values = []
    if len(values) != n or not np.isfinite(values).all():
        raise InputError(name, f"'{text}' is not {n} numbers", "put commas between them")
    return values


def reflections(settings: Simulate, d_min: float) -> Reflections:
    """All reflections to d_min with their intensities."""
    group = space_group(settings.space_group)
    cell = unit_cell(settings.cell, group)
    hkl = gemmi.make_miller_array(cell, group, d_min, 0.0, False)
    ops = group.operations()
    hkl = hkl[~ops.systematic_absences(hkl)]
    asu = _to_asu(hkl, group, cell)
    is_centric = ops.centric_flag_array(hkl).astype(bool)
    is_plus = _is_plus(hkl, asu, ops) | is_centric
    d = cell.calculate_d_array(asu)  # of asu, so that equivalents agree to the last bit
    keys = pack(asu)
    epsilon = ops.epsilon_factor_without_centering_array(hkl)
    energy = _e_squared(settings.seed, keys, is_centric)
    if settings.anomalous:
        shift = 0.5 * settings.anomalous * normals(make_key(settings.seed, For.AMPLITUDES, 2), keys)
        energy = energy * np.where(is_centric, 1.0, (1.0 + np.where(is_plus, shift, -shift)) ** 2)
    f_squared = epsilon * energy * np.exp(-settings.b_factor / (2.0 * d**2))
    return Reflections(hkl, asu, is_plus, is_centric, f_squared, d)


def _e_squared(seed: int, keys: npt.NDArray[np.uint64], is_centric: npt.NDArray[np.bool_]) -> Array:
    acentric = -np.log(uniforms(make_key(seed, For.AMPLITUDES, 0), keys))
    centric = normals(make_key(seed, For.AMPLITUDES, 1), keys) ** 2
    return np.where(is_centric, centric, acentric)


def pack(hkl: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """One number a reflection; indices up to +-2^20."""
    h, k, l = (hkl.astype(np.int64) + (1 << 20)).T
    return ((h << 42) | (k << 21) | l).astype(np.uint64)


def _to_asu(hkl: npt.NDArray[np.int32], group: gemmi.SpaceGroup, cell: gemmi.UnitCell) -> npt.NDArray[np.int32]:
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup, mtz.cell = group, cell
    mtz.set_data(hkl.astype(np.float32))
    mtz.ensure_asu()
    return np.array(mtz.array[:, :3]).astype(np.int32)


def _is_plus(hkl: npt.NDArray[np.int32], asu: npt.NDArray[np.int32], ops: gemmi.GroupOps) -> npt.NDArray[np.bool_]:
    """Whether a rotation of the group (no inversion) takes hkl to asu."""
    found = np.zeros(len(hkl), bool)
    for op in ops.sym_ops:
        rotation = np.asarray(op.rot, np.int32) // op.DEN
        found |= (hkl @ rotation == asu).all(axis=1)
    return found


@dataclass(frozen=True)
class Lattice:
    """A lattice that may drift steadily and slip once.

    A at frame position z of segment k (0 before the slip, 1 after): drift(z) slip(k) A.
    """

    A: Array  # (3, 3) at frame 0, 1/A
    B: Array  # (3, 3) cell part, A = U B
    intensity: float  # relative to the first lattice
    drift_axis: Array
    drift_rad: float  # a frame
    slip: Array  # (3, 3) rotation

    def base(self, segment: int) -> Array:
        """(3, 3) A of a segment, without drift."""
        return self.slip @ self.A if segment else self.A

    def at(self, z: npt.ArrayLike, segment: int) -> Array:
        """(n, 3, 3) A at frame positions z."""
        angle = np.atleast_1d(np.asarray(z, float)) * self.drift_rad
        return np.asarray(rotation_matrices(self.drift_axis, angle) @ self.base(segment))


def lattices(settings: Simulate, n_frames: int) -> tuple[Lattice, ...]:
    """The first lattice and, where asked for, the second."""
    group = space_group(settings.space_group)
    B = np.asarray(unit_cell(settings.cell, group).frac.mat)  # gemmi: fractionalisation; its rows are a*, b*, c*
    B = B.T.copy()
    rng = generator(settings.seed, For.ORIENTATION)
    random_U, axes = _random_rotation(rng), [_random_axis(rng) for _ in range(3)]
    U = random_U
    if settings.orientation_deg:
        x, y, z = np.radians(numbers("orientation_deg", settings.orientation_deg, 3))
        U = rotation(np.eye(3)[2], z) @ rotation(np.eye(3)[1], y) @ rotation(np.eye(3)[0], x)
    drift = np.radians(settings.drift_deg) / n_frames
    slip = rotation(axes[1], np.radians(settings.slip_deg)) if settings.slip_frame else np.eye(3)
    first = Lattice(U @ B, B, 1.0, axes[0], float(drift), slip)
    if not settings.second_lattice:
        return (first,)
    turn = rotation(axes[2], np.radians(settings.second_lattice_deg))
    return first, Lattice(turn @ U @ B, B, settings.second_lattice, axes[0], float(drift), slip)


def rotation(axis: npt.ArrayLike, angle_rad: float) -> Array:
    """(3, 3), the active rotation by an angle about a unit vector."""
    return rotation_matrices(np.asarray(axis, float), np.array([angle_rad]))[0]


def rotation_matrices(axis: Array, angles_rad: Array) -> Array:
    """(n, 3, 3), active rotations about one unit vector (Rodrigues' formula)."""
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    s, c = np.sin(angles_rad)[:, None, None], np.cos(angles_rad)[:, None, None]
    return np.asarray(np.eye(3) + s * K + (1.0 - c) * (K @ K))


def _random_axis(rng: np.random.Generator) -> Array:
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)


def _random_rotation(rng: np.random.Generator) -> Array:
    """Uniform over all rotations (from a random unit quaternion)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
