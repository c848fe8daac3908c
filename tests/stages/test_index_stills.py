"""Stills indexed image by image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))
import dials_reference

from hdrmx import tables
from hdrmx.io.open import open_source
from hdrmx.params import Index
from hdrmx.stages.index_stills import index_stills


def test_a_grid_scan_of_thaumatin(shared_data):
    """Two images of the crystal, and one beside it with a single spot."""
    reference = dials_reference.load("thaumatin")
    source = open_source(shared_data / reference.about["files"])
    frame = np.floor(reference.spots["frame"].to_numpy())
    spots = reference.spots[np.isin(frame, (4, 6, 17))].reset_index(drop=True)
    found = index_stills(spots, source.geometry, Index())
    source.close()
    tables.check(found.table, tables.INDEXED)
    assert found.image == (4, 6)
    assert found.counts == {"images": 3, "images_indexed": 2}
    assert found.reasons == ((17, "1 spots are too few, at least 15 are needed"),)
    assert "1 of 3 images" in found.notes[0]
    assert found.fraction > 0.75
    of_image = np.floor(spots["frame"].to_numpy())
    for number, (crystal, image) in enumerate(zip(found.crystals, found.image)):
        np.testing.assert_allclose(crystal.cell, (58.4, 58.7, 153.1, 90, 90, 90), rtol=0.015)
        mine = found.table["lattice"].to_numpy() == number
        assert (of_image[mine] == image).all()
        assert found.table.loc[mine, ["h", "k", "l"]].any(axis=1).all()
