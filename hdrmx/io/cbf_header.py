"""The two headers of a CBF file: text about the experiment, and a few lines about the packed pixels.

A file is text, then `--CIF-BINARY-FORMAT-SECTION--`, MIME lines about the pixels, an empty line, the four bytes
0C 1A 04 D5, and the packed pixels (Bernstein & Hammersley (2005) International Tables G, chapter 5.6). Nothing in
either header is believed before it agrees with the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdrmx.errors import InputError
from hdrmx.frames import Codec

MARKER = b"\x0c\x1a\x04\xd5"
SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
HEADER_LIMIT = 1 << 20  # bytes; real headers take 2 to 20 kB
PIXEL_LIMIT = 1 << 28  # pixels of a frame
WORST_BYTES_PER_PIXEL = 7  # of byte-offset packing to 32 bits: 1 + 2 + 4

_CODECS = {"x-CBF_BYTE_OFFSET": Codec.BYTE_OFFSET, "x-CBF_NONE": Codec.RAW}
_TYPES: dict[str, np.dtype] = {
    "signed 32-bit integer": np.dtype(np.int32),
    "unsigned 32-bit integer": np.dtype(np.uint32),
    "unsigned 16-bit integer": np.dtype(np.uint16),
    "unsigned 8-bit integer": np.dtype(np.uint8),
}


@dataclass(frozen=True)
class Layout:
    """Where a file's pixels are and how they are packed."""

    shape: tuple[int, int]  # (slow, fast)
    start: int  # first byte of the payload within the (unpacked) file
    n_bytes: int
    codec: Codec
    dtype: np.dtype
    md5: str  # base64, '' where absent


@dataclass(frozen=True)
class CbfHeader:
    text: str
    layout: Layout


def parse_header(head: bytes, where: str | Path) -> CbfHeader:
    """Split the beginning of a CBF file.

    Parameters
    ----------
    head : at least all bytes up to the payload
    where : file, for messages

    Raises
    ------
    InputError : it isn't CBF, or the two headers contradict themselves or each other
    """
    if not head.startswith(b"###CBF"):
        raise InputError(where, "is not a CBF file: it doesn't begin with ###CBF", "check the path and template")
    section = head.find(SECTION)
    if section < 0:
        raise InputError(where, "has no binary section", "is it still being written, or cut short?")
    marker = head.find(MARKER, section)
    if marker < 0:
        raise InputError(where, "the pixels' start marker 0C 1A 04 D5 is absent", "is it still being written?")
    mime = _mime_fields(head[section + len(SECTION) : marker].decode("ascii", "replace"))
    return CbfHeader(head[:section].decode("latin-1"), _layout(mime, marker + len(MARKER), where))


def _mime_fields(text: str) -> dict[str, str]:
    """Fields by lower-case name; a line that begins with a blank continues the one before."""
    lines: list[str] = []
    for line in text.splitlines():
        if line[:1] in (" ", "\t") and lines:
            lines[-1] += " " + line.strip()
        elif ":" in line:
            lines.append(line)
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _layout(mime: dict[str, str], start: int, where: str | Path) -> Layout:
    fast, slow = (
        _count(mime, "x-binary-size-fastest-dimension", where),
        _count(mime, "x-binary-size-second-dimension", where),
    )
    n_bytes = _count(mime, "x-binary-size", where)
    if fast * slow > PIXEL_LIMIT:
        raise InputError(where, f"claims {slow} x {fast} pixels, more than {PIXEL_LIMIT}", "the header is damaged")
    for name, wanted in (("x-binary-number-of-elements", fast * slow), ("x-binary-size-third-dimension", 1)):
        if name in mime and _count(mime, name, where) != wanted:
            raise InputError(where, f"{name} is {mime[name]}, {slow} x {fast} pixels make {wanted}", "it is damaged")
    if mime.get("content-transfer-encoding", "BINARY").upper() != "BINARY":
        raise InputError(where, f"pixels are written as {mime['content-transfer-encoding']}", "only BINARY is read")
    codec, dtype = _codec(mime, where), _dtype(mime, where)
    if codec is Codec.BYTE_OFFSET:
        if dtype.itemsize != 4:
            raise InputError(where, f"byte-offset packing of {dtype} pixels", "only 32-bit pixels are read")
        dtype, low, high = np.dtype(np.int32), fast * slow, WORST_BYTES_PER_PIXEL * fast * slow
    else:
        low = high = dtype.itemsize * fast * slow
    if not low <= n_bytes <= high:
        raise InputError(
            where, f"x-binary-size is {n_bytes}; {slow} x {fast} pixels take {low} to {high}", "it is damaged"
        )
    return Layout((slow, fast), start, n_bytes, codec, dtype, mime.get("content-md5", ""))


def _codec(mime: dict[str, str], where: str | Path) -> Codec:
    found = re.search(r'conversions\s*=\s*"?([\w+-]+)', mime.get("content-type", ""), re.IGNORECASE)
    name = found.group(1) if found else "x-CBF_NONE"
    for known, codec in _CODECS.items():
        if name.lower() == known.lower():
            return codec
    raise InputError(where, f"pixels are packed by {name}", f"{' and '.join(_CODECS)} are read; convert the files")


def _dtype(mime: dict[str, str], where: str | Path) -> np.dtype:
    name = mime.get("x-binary-element-type", '"signed 32-bit integer"').strip('"').lower()
    order = mime.get("x-binary-element-byte-order", "LITTLE_ENDIAN").strip('"').upper()
    if name not in _TYPES or order != "LITTLE_ENDIAN":
        raise InputError(
            where,
            f"pixels are {name}, {order}",
            "little-endian integers of 8, 16 and 32 bits (unsigned below 32) are read",
        )
    return _TYPES[name]


def _count(mime: dict[str, str], name: str, where: str | Path) -> int:
    text = mime.get(name, "")
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) == 0:
        raise InputError(where, f"{name} is '{text[:40]}', not a count", "the header is damaged")
    return int(text)
