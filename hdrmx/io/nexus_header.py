"""Values, texts and chains of axes in the header of a NeXus file, with errors that name what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import nxmx
import pint

from hdrmx.errors import InputError
from hdrmx.io.hdf5_links import LIBRARY_ERRORS
from hdrmx.models import Vector

MCSTAS_TO_LAB = np.diag([-1.0, 1.0, -1.0])
LONGEST_CHAIN = 64


@contextmanager
def header(path: Path, what: str) -> Iterator[None]:
    """Errors over the header become an InputError that names the item."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        reason = str(error.args[0]) if error.args else "missing"
        raise InputError(path, f"{what}: {reason}", "the header is incomplete") from None
    except (*LIBRARY_ERRORS, pint.errors.PintError) as error:
        raise InputError(path, f"{what} can't be read ({error})", "the header is damaged or incomplete") from None


def item(group: h5py.Group, name: str, notes: list[str] | None = None) -> h5py.Dataset | None:
    """A data set of a group, None where there is none. A link that leads nowhere is noted."""
    if group.get(name, getlink=True) is None:
        return None
    found = group.get(name)
    if found is None and notes is not None:
        link = group.get(name, getlink=True)
        target = getattr(link, "filename", "") or link.path
        notes.append(f"{group.name}/{name} is a link to {target}, which does not exist; it was left out")
    return found


def number(
    group: h5py.Group, name: str, unit: str = "", default_unit: str = "", notes: list[str] | None = None
) -> float | None:
    """A single value of a group in `unit`, None where there is none."""
    data = item(group, name, notes)
    if data is None or data.size is None or data.size < 1:
        return None
    value = float(np.ravel(data[()])[0])
    if not unit:
        return value
    stated = nxmx.units(data, default_unit) if default_unit or "units" in data.attrs else None
    if stated is None:
        raise InputError(data.file.filename, f"{data.name} has no units", f"it takes the attribute units, as '{unit}'")
    return float((value * stated).to(unit).magnitude)


def text(group: h5py.Group, name: str) -> str:
    data = item(group, name)
    if data is None or not data.size:
        return ""
    value = np.ravel(data[()])[0]
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value).strip()


def chain(axis: nxmx.NXtransformationsAxis | None, path: Path) -> list[nxmx.NXtransformationsAxis]:
    """The axes from `axis` to the laboratory, innermost first; values and vectors checked.

    Raises InputError where it leads nowhere, round in a circle, or through values that aren't finite.
    """
    axes: list[nxmx.NXtransformationsAxis] = []
    while axis is not None:
        name = axis.path
        if len(axes) >= LONGEST_CHAIN or name in {a.path for a in axes}:
            raise InputError(path, f"the depends_on chain of {axes[0].path} runs in a circle at {name}")
        _check_axis(axis, path)
        axes.append(axis)
        with header(path, f"what {name} depends on"):
            axis = axis.depends_on
    return axes


def _check_axis(axis: nxmx.NXtransformationsAxis, path: Path) -> None:
    with header(path, f"axis {axis.path}"):
        vector, kind = axis.vector, axis.transformation_type
        if vector is None or kind is None:
            raise InputError(path, f"{axis.path} has no {'vector' if vector is None else 'transformation_type'}")
        values, offset = axis[()], axis.offset
        if not np.size(values):
            raise InputError(path, f"{axis.path} has no values", "the data collection may not have begun")
        magnitude = values.to("rad" if kind == "rotation" else "mm").magnitude if kind != "general" else 0.0
        if not np.all(np.isfinite(magnitude)) or not np.all(np.isfinite(vector)):
            raise InputError(path, f"{axis.path} has values that are not finite", "correct the header")
        if kind == "rotation" and not np.linalg.norm(vector) > 0:
            raise InputError(path, f"the vector of rotation {axis.path} is zero", "correct the header")
        if offset is not None and not np.all(np.isfinite(offset.magnitude)):
            raise InputError(path, f"the offset of {axis.path} is not finite", "correct the header")


def cumulative(axes: Sequence[nxmx.NXtransformationsAxis], path: Path) -> npt.NDArray[np.float64]:
    """(4, 4), mm: the transformation of a chain that does not move during the scan, in the McStas frame."""
    if not axes:
        return np.identity(4)
    with header(path, f"the axes of {axes[0].path}"):
        matrices = nxmx.get_cumulative_transformation(axes)
    if np.ptp(matrices, axis=0).max() > 1e-6:
        raise InputError(path, f"the detector moves during the scan (axes of {axes[0].path})", "it can't be processed")
    return matrices[0]


def lab(vector: npt.ArrayLike) -> Vector:
    x, y, z = (MCSTAS_TO_LAB @ np.asarray(vector, float) + 0.0).tolist()
    return x, y, z


def unit_vector(vector: npt.ArrayLike, what: str, path: Path) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    if not length > 0 or not np.isfinite(length):
        raise InputError(path, f"{what} is not a direction", "correct the header")
    return np.asarray(vector, float) / length
