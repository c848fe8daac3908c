"""Stage `index` for stills: each image on its own, a crystal for each, and why not where there is none."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.errors import IndexFailure
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Index
from hdrmx.stages.index import Indexed, index


@dataclass(frozen=True)
class IndexedStills:
    """What indexing found on each image.

    Attributes
    ----------
    crystals : one for each lattice of each image, in the order of the images
    image : (n_crystals,) index of the frame that each was found on
    table : columns `tables.INDEXED`, the rows of the input; `lattice` counts through `crystals`
    reasons : (frame, why it was not indexed), in words
    notes : what is to be said of all
    counts : exact amounts of work
    """

    crystals: tuple[Crystal, ...]
    image: tuple[int, ...]
    table: pd.DataFrame
    reasons: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]
    counts: dict[str, int]

    @property
    def fraction(self) -> float:
        """Of all spots, how many have an index."""
        return float((self.table["lattice"] >= 0).mean()) if len(self.table) else 0.0


def index_stills(spots: pd.DataFrame, geometry: Geometry, params: Index) -> IndexedStills:
    """Index each image of a set of stills.

    Parameters
    ----------
    spots : columns `tables.SPOTS`, of all images
    geometry : of all images; a scan, if there is one, has no width
    params : with a known cell, lattices that don't fit it are not taken

    Notes
    -----
    Each spot is taken to lie exactly on the Ewald sphere, and the geometry stays as it is. An image that can't be
    indexed fails no other. Time ~ images.
    """
    still = dataclasses.replace(geometry, scan=None)
    frame = np.floor(spots["frame"].to_numpy()).astype(np.int64)
    table = _unindexed(spots)
    crystals: list[Crystal] = []
    image: list[int] = []
    reasons: list[tuple[int, str]] = []
    counts = {"images": 0, "images_indexed": 0}
    for number in np.unique(frame).tolist():
        rows = np.flatnonzero(frame == number)
        counts["images"] += 1
        try:
            found = index(spots.iloc[rows].reset_index(drop=True), still, params)
        except IndexFailure as failure:
            reasons.append((number, failure.what))
            continue
        counts["images_indexed"] += 1
        _fill(table, rows, found, len(crystals))
        crystals += found.crystals
        image += [number] * len(found.crystals)
    notes: tuple[str, ...] = ()
    if reasons:
        last = f"image {reasons[-1][0] + 1}: {reasons[-1][1]}"
        notes = (f"{len(reasons)} of {counts['images']} images with spots were not indexed; {last}",)
    return IndexedStills(tuple(crystals), tuple(image), table, tuple(reasons), notes, counts)


def _unindexed(spots: pd.DataFrame) -> pd.DataFrame:
    table = spots[[c.name for c in tables.SPOTS]].reset_index(drop=True).copy()
    for name in "hkl":
        table[name] = np.zeros(len(table), np.int32)
    table["lattice"] = np.full(len(table), -1, np.int32)
    table["entering"] = np.zeros(len(table), bool)
    return table


def _fill(table: pd.DataFrame, rows: np.ndarray, found: Indexed, first: int) -> None:
    """Put one image's indices into the table; its lattices count from `first`."""
    for name in "hkl":
        table.loc[rows, name] = found.table[name].to_numpy()
    lattice = found.table["lattice"].to_numpy()
    table.loc[rows, "lattice"] = np.where(lattice >= 0, lattice + first, -1).astype(np.int32)
    table.loc[rows, "entering"] = found.table["entering"].to_numpy()


__all__ = ["IndexedStills", "index_stills"]
