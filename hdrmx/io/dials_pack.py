"""The container of DIALS's reflection files: msgpack, columns of raw little-endian numbers.

[ "dials::af::reflection_table", 1, { identifiers: {id: text}, nrows: n, data: {column: [type, [n, bytes]]} } ]
(read from files of DIALS 1.14 to 3.12). Nothing here is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.dials_shoeboxes import SHOEBOX, Shoeboxes, read_shoeboxes
from hdrmx.io.whole import write_whole

MAGIC = "dials::af::reflection_table"
VERSION = 1

# type name -> (dtype, numbers a row)
_TYPES: dict[str, tuple[np.dtype, int]] = {
    "bool": (np.dtype("u1"), 1),
    "int": (np.dtype("<i4"), 1),
    "int6": (np.dtype("<i4"), 6),
    "std::size_t": (np.dtype("<u8"), 1),
    "double": (np.dtype("<f8"), 1),
    "vec2<double>": (np.dtype("<f8"), 2),
    "vec3<double>": (np.dtype("<f8"), 3),
    "mat3<double>": (np.dtype("<f8"), 9),
    "cctbx::miller::index<>": (np.dtype("<i4"), 3),
}


@dataclass(frozen=True)
class Columns:
    """A reflection file, by DIALS's own names.

    Attributes
    ----------
    values : (n,) or (n, k) array a column
    types : DIALS's type of each column
    identifiers : experiment's identifier by its number
    shoeboxes : None where the file has none
    """

    n_rows: int
    values: dict[str, npt.NDArray[Any]]
    types: dict[str, str]
    identifiers: dict[int, str]
    shoeboxes: Shoeboxes | None = None


def read_columns(path: str | Path) -> Columns:
    """Read a `.refl` file. Columns of types that hdrmx doesn't know (texts) are left out.

    Raises
    ------
    InputError : it isn't such a file, is damaged, or is a Python pickle (of DIALS before 1.14), which is never opened
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "check the path") from None
    _refuse_others(content, path)
    try:
        message = msgspec.msgpack.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, f"is not a whole reflection file ({error})", "it is damaged or cut short") from None
    if not (isinstance(message, list) and len(message) == 3 and message[0] == MAGIC and isinstance(message[2], dict)):
        raise InputError(path, "is msgpack, but not a reflection file of DIALS", "give a .refl file")
    if message[1] != VERSION:
        raise InputError(path, f"is a reflection file of version {message[1]!r}", f"version {VERSION} is read")
    return _columns(message[2], path)


def _refuse_others(content: bytes, path: Path) -> None:
    if content[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or content[:1] in (b"(", b"c"):
        raise InputError(
            path,
            "is a Python pickle, which can run any code and is never opened here",
            "if you trust it, save it again with a DIALS of 2019 or later",
        )
    if content.startswith(b"\x89HDF"):
        raise InputError(path, "is an HDF5 reflection file", "have DIALS write msgpack")


def _columns(table: dict[Any, Any], path: Path) -> Columns:
    n_rows, data, names = table.get("nrows"), table.get("data"), table.get("identifiers", {})
    if type(n_rows) is not int or n_rows < 0 or not isinstance(data, dict) or not isinstance(names, dict):
        raise InputError(path, "has no table of columns", "the file is damaged")
    if not all(type(k) is int and isinstance(v, str) for k, v in names.items()):
        raise InputError(path, "has experiment identifiers that aren't texts", "the file is damaged")
    values, types, shoeboxes = {}, {}, None
    for name, column in data.items():
        kind, raw = _packed_column(str(name), column, n_rows, path)
        if kind == SHOEBOX:
            shoeboxes = read_shoeboxes(raw, n_rows, path)
        if kind not in _TYPES:
            continue
        dtype, width = _TYPES[kind]
        if len(raw) != n_rows * width * dtype.itemsize:
            wanted = n_rows * width * dtype.itemsize
            raise InputError(path, f"column {name} has {len(raw)} bytes; {n_rows} rows take {wanted}", "it is damaged")
        array = np.frombuffer(raw, dtype).reshape((n_rows, width) if width > 1 else n_rows)
        values[str(name)], types[str(name)] = (array != 0 if kind == "bool" else array), kind
    return Columns(n_rows, values, types, names, shoeboxes)


def _packed_column(name: str, column: Any, n_rows: int, path: Path) -> tuple[str, bytes]:
    is_column = isinstance(column, list) and len(column) == 2 and isinstance(column[0], str)
    if not is_column or not isinstance(column[1], list) or len(column[1]) != 2:
        raise InputError(path, f"column {name} isn't one of typed numbers", "the file is damaged")
    kind, (n, raw) = column
    if n != n_rows:
        raise InputError(path, f"column {name} has {n!r} rows, the table {n_rows}", "the file is damaged")
    return kind, raw if isinstance(raw, bytes) else b""


def write_columns(
    path: str | Path,
    columns: Mapping[str, tuple[str, npt.NDArray[Any]]],
    identifiers: Mapping[int, str],
    shoeboxes: bytes | None = None,
) -> None:
    """Write a `.refl` file: column name -> (DIALS's type, array). Columns stand in alphabetical order, as in DIALS's.

    `shoeboxes` are bytes by `dials_shoeboxes.pack_shoeboxes`, one for each row.

    A file appears whole or not at all.

    Raises
    ------
    ValueError : columns of unequal length, or of a shape that their type doesn't have
    InputError : the file can't be written
    """
    lengths = {len(array) for _, array in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns have {sorted(lengths)} rows; they must have the same")
    n_rows = lengths.pop() if lengths else 0
    data = {}
    for name, (kind, array) in columns.items():
        dtype, width = _TYPES[kind]
        if array.shape != ((n_rows, width) if width > 1 else (n_rows,)):
            raise ValueError(f"column {name} is {array.shape}; {n_rows} rows of {kind} have {width} numbers each")
        data[name] = [kind, [n_rows, np.ascontiguousarray(array.astype(dtype)).tobytes()]]
    if shoeboxes is not None:
        data["shoebox"] = [SHOEBOX, [n_rows, shoeboxes]]
    table = {"identifiers": dict(identifiers), "nrows": n_rows, "data": dict(sorted(data.items()))}
    write_whole(path, msgspec.msgpack.encode([MAGIC, VERSION, table]))
