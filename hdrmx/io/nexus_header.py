"""Groups, values and texts in the header of a NeXus file, with errors that name what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.hdf5_links import LIBRARY_ERRORS
from hdrmx.io.nexus_units import factor
from hdrmx.models import Vector

MCSTAS_TO_LAB = np.diag([-1.0, 1.0, -1.0])


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
    except LIBRARY_ERRORS as error:
        raise InputError(path, f"{what} can't be read ({error})", "the header is damaged or incomplete") from None


def find_class(group: h5py.Group, nx_class: str) -> list[h5py.Group]:
    """The groups within `group` (one level) of an NX_class, ordered by name; links that lead nowhere are left out."""
    children = (group.get(name) for name in group)
    return [c for c in children if isinstance(c, h5py.Group) and as_text(c.attrs.get("NX_class")) == nx_class]


def as_text(value: Any) -> str:
    """An attribute or value as text: of any kind of HDF5 string, also the first of several; '' for None."""
    if isinstance(value, np.ndarray):
        value = value.flat[0] if value.size else None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8").strip()
        except UnicodeDecodeError:
            return value.decode("latin-1").strip()
    return "" if value is None else str(value).strip()


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
    """A single value of a group in `unit` (of `nexus_units`), None where there is none."""
    data = item(group, name, notes)
    if data is None or data.size is None or data.size < 1:
        return None
    value = float(np.ravel(data[()])[0])
    return value * unit_factor(data, unit, default_unit) if unit else value


def unit_factor(data: h5py.Dataset, unit: str, default_unit: str = "") -> float:
    """What the values of a data set are multiplied by to be in `unit`; InputError where its unit isn't known."""
    stated = as_text(data.attrs.get("units")) or default_unit
    return factor(stated, unit, data.name, data.file.filename)


def text(group: h5py.Group, name: str) -> str:
    data = item(group, name)
    return as_text(np.ravel(data[()])[0]) if data is not None and data.size else ""


def lab(vector: npt.ArrayLike) -> Vector:
    """From the McStas frame to the laboratory frame of `models`."""
    x, y, z = (MCSTAS_TO_LAB @ np.asarray(vector, float) + 0.0).tolist()
    return x, y, z


def unit_vector(vector: npt.ArrayLike, what: str, path: Path) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(np.asarray(vector, float)))
    if not length > 0 or not np.isfinite(length):
        raise InputError(path, f"{what} is not a direction", "correct the header")
    return np.asarray(vector, float) / length
