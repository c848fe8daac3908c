"""Reads and writes records: JSON of a versioned schema, described in `docs/record.md`.

Fields are only ever added within a version; a reader ignores those it doesn't know and gives those that
are missing their defaults. The number goes up when a field changes its meaning.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from hdrmx.errors import InputError
from hdrmx.io.whole import write_whole
from hdrmx.record import SCHEMA, Record

FILE_NAME = "record.json"
_FAMILY, _, _VERSION = SCHEMA.rpartition("/")


def write_record(path: Path, record: Record) -> Path:
    """Whole or not at all; raises InputError where it can't be written."""
    text = encode(record)

    def write(temporary: Path) -> None:
        temporary.write_bytes(text)

    return write_whole(path, write)


def read_record(path: str | Path) -> Record:
    """The record in a file, or in a folder that `hdrmx-profile` wrote. Raises InputError saying what is wrong."""
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "give a folder that hdrmx-profile wrote") from None
    return decode(text, where=path)


def encode(record: Record) -> bytes:
    """JSON, indented, one line feed at the end."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def decode(text: bytes, where: str | Path = "record") -> Record:
    """The inverse of `encode`, and forgiving towards fields that came later or weren't there yet."""
    try:
        content = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InputError(where, f"is no JSON document ({error})", "was it cut off?") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    family, _, version = schema.rpartition("/") if isinstance(schema, str) else ("", "", "")
    if family != _FAMILY or not version.isdigit():
        raise InputError(where, "is no record of hdrmx", f"its field schema should read {SCHEMA}")
    if int(version) > int(_VERSION):
        raise InputError(where, f"has schema {schema}, newer than {SCHEMA}", "read it with a newer hdrmx")
    try:
        return msgspec.convert(content, Record)
    except msgspec.ValidationError as error:
        raise InputError(where, f"is damaged ({error})", "measure again") from None
