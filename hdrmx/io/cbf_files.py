"""Which files make a series, and their bytes: templates, globs, folders; plain, gzip or bzip2."""

from __future__ import annotations

import bz2
import glob
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError

SUFFIXES = (".cbf", ".cbf.gz", ".cbf.bz2")
_PACKED = ("", ".gz", ".bz2")
MOST_PARTS = 1000  # of a file packed in parallel, 64 kB or more each


@dataclass(frozen=True)
class Series:
    """Image files that differ in one number.

    Attributes
    ----------
    template : path with a run of # where the number stands; the path itself where there is none
    files : path by image number, ascending
    """

    template: str
    files: dict[int, Path]


def find_series(what: Path | str) -> Series:
    """The files that a user names by a file, template (`x_####.cbf`, `x_%05d.cbf`), glob or folder.

    Costs one listing of the folder. Raises InputError where there is none, or more than one series.
    """
    name = str(what)
    path = Path(what)
    if path.is_dir():
        return _only_series(name, [p for p in path.iterdir() if p.name.lower().endswith(SUFFIXES)])
    if path.is_file():
        number, template = split_number(path)
        return Series(template, {number: path})
    hashes = re.sub(r"%0?(\d*)d", lambda m: "#" * int(m.group(1) or 1), path.name)
    if "#" in hashes:
        return _of_template(path.with_name(hashes), name)
    if glob.has_magic(name):
        return _only_series(name, [Path(p) for p in glob.glob(name)])
    raise InputError(name, "no such file or folder", "give a file, a folder, a glob or a template such as x_####.cbf")


def split_number(path: Path) -> tuple[int, str]:
    """Image number of a file and the template of its series: the last digits before the suffix.

    A file without a number is image 1 of its own series.
    """
    stem, suffix = re.fullmatch(r"(.*?)((?:\.[A-Za-z]\w*)*)", path.name).groups()  # type: ignore[union-attr]
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", stem)
    if not found:
        return 1, str(path)
    before, digits, after = found.groups()
    return int(digits), str(path.with_name(f"{before}{'#' * len(digits)}{after}{suffix}"))


def _of_template(template: Path, name: str) -> Series:
    if not template.parent.is_dir():
        raise InputError(name, f"there is no folder {template.parent}", "check the path")
    before, hashes, after = re.fullmatch(r"(.*?)(#+)([^#]*)", template.name).groups()  # type: ignore[union-attr]
    for packed in _PACKED:  # a template without .gz or .bz2 finds packed files too
        wanted = re.compile(re.escape(before) + rf"(\d{{{len(hashes)},}})" + re.escape(after + packed))
        files = {int(m.group(1)): p for p in template.parent.iterdir() if (m := wanted.fullmatch(p.name))}
        if files:
            return Series(f"{template}{packed}", dict(sorted(files.items())))
    raise InputError(name, "no file matches this template", "one # stands for one digit of the image number")


def _only_series(name: str, paths: list[Path]) -> Series:
    series: dict[str, dict[int, Path]] = {}
    for path in paths:
        number, template = split_number(path)
        series.setdefault(template, {})[number] = path
    if not series:
        raise InputError(name, f"no file ends in {', '.join(SUFFIXES)}", "check the path")
    if len(series) > 1:
        listed = ", ".join(f"{Path(t).name} ({len(f)} files)" for t, f in sorted(series.items())[:5])
        raise InputError(name, f"{len(series)} series: {listed}", "name one of them by its template")
    template, files = series.popitem()
    return Series(template, dict(sorted(files.items())))


def read_head(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a file, unpacked."""
    try:
        with path.open("rb") as file:
            if _is_packed(path):
                return _unpack(path, file.read(2 * limit), limit)
            return file.read(limit)
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "check the file") from None


def read_all(path: Path, limit: int) -> npt.NDArray[np.uint8]:
    """Up to `limit` bytes of a file, unpacked, as a writable uint8 array."""
    try:
        if not _is_packed(path):
            return np.fromfile(path, np.uint8, min(limit, path.stat().st_size))
        return np.frombuffer(bytearray(_unpack(path, path.read_bytes(), limit)), np.uint8)
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "check the file") from None


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in (".gz", ".bz2")


def _unpack(path: Path, packed: bytes, limit: int) -> bytes:
    """At most `limit` bytes: a small file can't claim all the memory. Files of several parts are joined."""
    parts: list[bytes] = []
    length = 0
    gzipped = path.suffix.lower() == ".gz"
    while packed and length < limit and len(parts) < MOST_PARTS:
        machine = zlib.decompressobj(wbits=31) if gzipped else bz2.BZ2Decompressor()
        try:
            parts.append(machine.decompress(packed, limit - length))
        except (zlib.error, OSError, ValueError) as error:
            raise InputError(path, f"can't be unpacked ({error})", "the file is damaged") from None
        length += len(parts[-1])
        if not machine.eof:
            break
        packed = machine.unused_data
    return b"".join(parts)
