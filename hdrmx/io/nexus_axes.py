"""Axes of NXtransformations, and the chains in which they depend on each other.

After the NeXus manual, NXtransformations: for a chain T1 -> T2 -> T3 the transformation is T3 T2 T1, each (R o; 0 1)
for a rotation and (1 t + o; 0 1) for a translation. All in the McStas frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.nexus_header import as_text, header
from hdrmx.io.nexus_units import factor

LONGEST_CHAIN = 64
MOVES = 1e-6  # a transformation whose elements change by more moves


@dataclass(frozen=True)
class Axis:
    """One axis: `stated` are its values, one or one a frame, in the unit of the file."""

    data: h5py.Dataset
    path: Path
    kind: str  # rotation, translation, or what else the file says: such an axis moves nothing
    vector: npt.NDArray[np.float64]
    stated: npt.NDArray[np.float64]

    @property
    def name(self) -> str:
        return str(self.data.name)

    @property
    def depends_on(self) -> str:
        """A name seen from the axis's own group; '' or '.' for the laboratory."""
        return as_text(self.data.attrs.get("depends_on"))

    def values(self, unit: str) -> npt.NDArray[np.float64]:
        """The values in a unit of `nexus_units`."""
        return self.stated * self.factor(unit)

    def factor(self, unit: str) -> float:
        return factor(as_text(self.data.attrs.get("units")), unit, self.name, self.path)

    def offset_mm(self) -> npt.NDArray[np.float64]:
        """Where it has no offset_units (files of DLS), those of the values are taken."""
        offset = np.ravel(np.asarray(self.data.attrs.get("offset", np.zeros(3)), float))
        if not np.any(offset):
            return np.zeros(3)
        attributes = self.data.attrs
        unit = as_text(attributes.get("offset_units")) or as_text(attributes.get("units"))
        return offset * factor(unit, "mm", f"the offset of {self.name}", self.path)

    def matrices(self) -> npt.NDArray[np.float64]:
        """(n, 4, 4), mm. A rotation vector that isn't of unit length turns by more, or less."""
        matrices = np.tile(np.identity(4), (self.stated.size, 1, 1))
        if self.kind == "rotation":
            matrices[:, :3, :3] = rotations(self.values("rad")[:, None] * self.vector)
        elif self.kind == "translation":
            matrices[:, :3, 3] = self.values("mm")[:, None] * self.vector
        matrices[:, :3, 3] += self.offset_mm()
        return matrices


def read_axis(data: h5py.Dataset, path: Path) -> Axis:
    """One axis, its vector and values checked."""
    name = data.name
    with header(path, f"axis {name}"):
        if not isinstance(data, h5py.Dataset) or "vector" not in data.attrs:
            raise InputError(path, f"{name} has no vector", "the header is incomplete")
        vector = np.ravel(np.asarray(data.attrs["vector"], float))
        stated = np.ravel(np.asarray(data[()], float))
        axis = Axis(data, path, as_text(data.attrs.get("transformation_type")), vector, stated)
        if not stated.size:
            raise InputError(path, f"{name} has no values", "the data collection may not have begun")
        if vector.size != 3 or axis.offset_mm().size != 3:
            raise InputError(path, f"vector or offset of {name} has not 3 components", "correct the header")
        if not np.all(np.isfinite(stated)) or not np.all(np.isfinite(vector)):
            raise InputError(path, f"{name} has values that are not finite", "correct the header")
        if not np.all(np.isfinite(axis.offset_mm())):
            raise InputError(path, f"the offset of {name} is not finite", "correct the header")
    return axis


def chain(group: h5py.Group, first: str, path: Path) -> list[Axis]:
    """The axes from `first`, a name seen from `group`, to the laboratory, innermost first.

    Raises
    ------
    InputError : it leads nowhere, round in a circle, or through an axis without sense or of an unknown unit
    """
    axes: list[Axis] = []
    what = f"what {group.name} depends on"
    while first not in ("", "."):
        with header(path, what):
            axis = read_axis(group[first], path)
        _check_kind(axis)
        if len(axes) >= LONGEST_CHAIN or axis.name in {a.name for a in axes}:
            raise InputError(path, f"the depends_on chain of {axes[0].name} runs in a circle at {axis.name}")
        axes.append(axis)
        group, first, what = axis.data.parent, axis.depends_on, f"what {axis.name} depends on"
    return axes


def _check_kind(axis: Axis) -> None:
    if not axis.kind:
        raise InputError(axis.path, f"{axis.name} has no transformation_type", "the header is incomplete")
    if axis.kind == "rotation":
        axis.factor("rad")
        if not np.any(axis.vector):
            raise InputError(axis.path, f"the vector of rotation {axis.name} is zero", "correct the header")
    elif axis.kind == "translation":
        axis.factor("mm")


def cumulative(axes: Sequence[Axis]) -> npt.NDArray[np.float64]:
    """(n, 4, 4), mm: the transformation of a chain, of as many steps as its axes have values."""
    product = np.identity(4)[None]
    for axis in axes:
        matrices = axis.matrices()
        if 1 not in (len(matrices), len(product)) and len(matrices) != len(product):
            what = f"{axes[0].name} and {axis.name} have {len(product)} and {len(matrices)} values"
            raise InputError(axis.path, what, "axes of one scan have as many as there are frames, or one")
        product = matrices @ product
    return product


def standing(axes: Sequence[Axis]) -> npt.NDArray[np.float64]:
    """(4, 4), mm: `cumulative` of a chain that does not move during the scan."""
    matrices = cumulative(axes)
    if np.ptp(matrices, axis=0).max() > MOVES:
        what = f"the detector moves during the scan (axes of {axes[0].name})"
        raise InputError(axes[0].path, what, "it can't be processed")
    return matrices[0]


def rotations(vectors: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(n, 3, 3): rotations about vectors (n, 3) by their lengths in radians (Rodrigues' formula)."""
    vectors = np.atleast_2d(np.asarray(vectors, float))
    angle = np.sqrt(np.sum(vectors**2, axis=1))
    x, y, z = (vectors / np.where(angle > 0, angle, 1.0)[:, None]).T
    zero = np.zeros(len(angle))
    cross = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]).transpose(2, 0, 1)
    sine, versine = np.sin(angle)[:, None, None], 2.0 * np.sin(angle / 2)[:, None, None] ** 2
    return np.identity(3) + sine * cross + versine * (cross @ cross)
