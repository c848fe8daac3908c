"""Shoeboxes as DIALS's reflection files hold them: a block of pixels for each reflection.

Each is a head of 29 bytes (panel, box, whether pixels follow) and, pixels in (frame, slow, fast) order, all counts, all
codes, all backgrounds, 4 bytes each (read from files of DIALS 1.14 to 3.12). `dials.find_spots` fills in the strong
pixels of a spot, with code 5 (valid, foreground), and leaves everything else 0; so does hdrmx.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import InputError

SHOEBOX = "Shoebox<>"
VALID, FOREGROUND = 1, 4  # bits of a pixel's code
HEAD = np.dtype([("panel", "<u4"), ("bbox", "<i4", 6), ("is_kept", "u1")])  # packed
_NUMBER_BYTES = 4
_PIXEL_BYTES = 3 * _NUMBER_BYTES  # count (float32), code (int32), background (float32)
_MOST_BYTES = 2**32 - 1  # of one column of a msgpack file

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shoeboxes:
    """The column as it was read, checked to be whole.

    Attributes
    ----------
    raw : the file's bytes
    heads : (n,) dtype `HEAD`; bbox is fast, slow, frame: first, last + 1
    begins : (n,) where each one's pixels begin in `raw`
    """

    raw: bytes
    heads: npt.NDArray
    begins: Integers

    def counts_of(self, i: int) -> npt.NDArray[np.float32]:
        """All counts of a shoebox, in (frame, slow, fast) order; none where its pixels weren't kept."""
        return np.frombuffer(self.raw, "<f4", self._n_pixels[i], self.begins[i])

    def peaks(self) -> npt.NDArray[np.float64]:
        """(n,) highest pixel of each kept shoebox, NaN where there is none."""
        is_kept = self.heads["is_kept"] != 0
        return np.array([self.counts_of(i).max() if is_kept[i] else np.nan for i in range(len(is_kept))], np.float64)

    def strong_pixels(self) -> pd.DataFrame:
        """Valid pixels of the foreground, columns `tables.SPOT_PIXELS`; exact below 2^24 counts.

        In a table of spots these are their strong pixels.
        """
        n = self._n_pixels
        spot = np.repeat(np.arange(len(n)), n)
        within = np.arange(len(spot)) - np.repeat(np.cumsum(n) - n, n)
        at = self.begins[spot] + _NUMBER_BYTES * within
        is_strong = (self._numbers(at + _NUMBER_BYTES * n[spot], "<i4") & (VALID | FOREGROUND)) == VALID | FOREGROUND
        spot, within = spot[is_strong], within[is_strong]
        box = self.heads["bbox"].astype(np.int64)
        width, height = (box[spot, 1] - box[spot, 0]), (box[spot, 3] - box[spot, 2])
        values = {
            "spot": spot,
            "frame": box[spot, 4] + within // (width * height),
            "slow": box[spot, 2] + within // width % height,
            "fast": box[spot, 0] + within % width,
            "count": np.maximum(self._numbers(at[is_strong], "<f4"), 0),
        }
        return pd.DataFrame({c.name: values[c.name].astype(c.dtype) for c in tables.SPOT_PIXELS})

    @property
    def _n_pixels(self) -> Integers:
        return _n_pixels(self.heads["bbox"]) * (self.heads["is_kept"] != 0)

    def _numbers(self, at: Integers, dtype: str) -> npt.NDArray:
        """The numbers that begin at these bytes."""
        every = np.frombuffer(self.raw, np.uint8)
        return np.ascontiguousarray(every[at[:, None] + np.arange(_NUMBER_BYTES)]).view(dtype)[:, 0]


def _n_pixels(bbox: npt.NDArray) -> Integers:
    return (bbox[:, 1::2].astype(np.int64) - bbox[:, ::2]).prod(axis=1)


def read_shoeboxes(raw: bytes, n_rows: int, path: str | Path) -> Shoeboxes:
    """Find the shoeboxes in a column's bytes. Raises InputError where one is missing, empty or cut short."""
    heads, begins, at = np.zeros(n_rows, HEAD), np.zeros(n_rows, np.int64), 0
    for i in range(n_rows):
        if at + HEAD.itemsize > len(raw):
            raise InputError(path, f"shoebox {i} of {n_rows} is missing", "the file is damaged")
        heads[i] = np.frombuffer(raw, HEAD, 1, at)[0]
        at += HEAD.itemsize
        begins[i] = at
        if heads[i]["is_kept"]:
            f0, f1, s0, s1, z0, z1 = heads[i]["bbox"].tolist()
            n_bytes = (f1 - f0) * (s1 - s0) * (z1 - z0) * _PIXEL_BYTES
            if min(f1 - f0, s1 - s0, z1 - z0) <= 0 or at + n_bytes > len(raw):
                raise InputError(path, f"shoebox {i} is longer than the file", "the file is damaged")
            at += n_bytes
    return Shoeboxes(raw, heads, begins)


def pack_shoeboxes(table: pd.DataFrame, pixels: pd.DataFrame, path: str | Path) -> bytes:
    """The bytes of a column of shoeboxes.

    Parameters
    ----------
    table : columns `tables.SPOTS`, n rows
    pixels : columns `tables.SPOT_PIXELS`, whose `spot` is a row of the table
    path : of the file they are for

    Raises
    ------
    ValueError : a pixel is of no row, or outside of its box
    InputError : they take more than the file format can hold
    """
    edges = [f"{axis}_{end}" for axis in ("fast", "slow", "frame") for end in ("min", "max")]
    heads = np.zeros(len(table), HEAD)
    heads["panel"], heads["bbox"], heads["is_kept"] = table["panel"], table[edges].to_numpy(), 1
    n = _n_pixels(heads["bbox"])
    ends = np.cumsum(HEAD.itemsize + _PIXEL_BYTES * n)
    n_bytes = int(ends[-1]) if len(ends) else 0
    if n_bytes > _MOST_BYTES:
        what = f"would have {n_bytes / 1e9:.1f} GB of shoeboxes, more than the {_MOST_BYTES / 1e9:.1f} GB of the format"
        raise InputError(path, what, "use fewer images, or a d_min, or leave out shoeboxes")
    spot = pixels["spot"].to_numpy()
    if len(spot) and not 0 <= spot.min() <= spot.max() < len(table):
        raise ValueError(f"there are pixels of spots {spot.min()} to {spot.max()}, but only {len(table)} spots")
    begins = ends - _PIXEL_BYTES * n
    at = begins[spot] + _NUMBER_BYTES * _place_in_box(heads["bbox"][spot].astype(np.int64), pixels)
    content = np.zeros(n_bytes, np.uint8)
    content[(begins - HEAD.itemsize)[:, None] + np.arange(HEAD.itemsize)] = _as_bytes(heads)
    content[at[:, None] + np.arange(_NUMBER_BYTES)] = _as_bytes(pixels["count"].to_numpy("<f4"))
    content[at + _NUMBER_BYTES * n[spot]] = VALID | FOREGROUND  # lowest byte of the code
    return content.tobytes()


def _place_in_box(box: Integers, pixels: pd.DataFrame) -> Integers:
    """(n,) number of each pixel in (frame, slow, fast) order within its box."""
    place = np.zeros(len(box), np.int64)
    for name, k in (("frame", 4), ("slow", 2), ("fast", 0)):
        value, first, last = pixels[name].to_numpy(), box[:, k], box[:, k + 1]
        if ((value < first) | (value >= last)).any():
            raise ValueError("a strong pixel lies outside of its spot's box: they are of another table")
        place = place * (last - first) + value - first
    return place


def _as_bytes(values: npt.NDArray) -> npt.NDArray[np.uint8]:
    """(n, bytes of one value)."""
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)
