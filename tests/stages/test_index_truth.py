"""The stage `index` on spots that DIALS found in simulated and real images, against the truth."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

sys.path.append(str(Path(__file__).resolve().parents[1]))
import dials_reference

from hdrmx.indexing.known import PRIMITIVE
from hdrmx.indexing.lattices import misorientation_deg
from hdrmx.io.open import open_source
from hdrmx.params import Index
from hdrmx.stages.index import index, index_sweeps


def spots_and_geometry(name, shared_data):
    reference = dials_reference.load(name)
    source = open_source(shared_data / reference.about["files"])
    try:
        return reference.spots, source.geometry
    finally:
        source.close()


@pytest.mark.parametrize(
    ("name", "truth", "kind", "bravais", "indexed_by_dials"),
    [
        ("sim_dense", "sim_dense_P212121/dense_P212121_truth.npz", "P", "oP", 6497),
        ("sim_sparse", "sim_sparse_I222/sparse_I222_truth.npz", "I", "oI", 1648),
    ],
)
def test_simulated_crystals(shared_data, name, truth, kind, bravais, indexed_by_dials):
    spots, geometry = spots_and_geometry(name, shared_data)
    true = np.load(shared_data / truth)
    result = index(spots, geometry, Index())
    assert (result.table["lattice"] == 0).sum() >= indexed_by_dials
    best = next(row for row in result.bravais if row.best)
    assert best.setting.bravais == bravais
    np.testing.assert_allclose(best.crystal.cell, true["cell"], rtol=5e-4)
    # the crystal drifts by 0.03 degrees along the scan: its mean is what a static model can find
    A = np.linalg.inv(PRIMITIVE[kind] @ np.linalg.inv(true["a_matrices"].mean(axis=0)))
    assert misorientation_deg(np.asarray(result.crystals[0].A), A) < 0.02
    # the same index for the same spot, but for a change of basis
    scale = np.array([1.0, 1.0, 2.0])
    predicted = np.column_stack([true["x"], true["y"], true["z"]]) * scale
    distance, nearest = cKDTree(predicted).query(spots[["fast", "slow", "frame"]].to_numpy() * scale)
    mine = result.table[["h", "k", "l"]].to_numpy()
    both = (distance < 3) & mine.any(axis=1)
    assert both.sum() > 0.94 * len(spots)
    theirs = true["hkl"][nearest]
    change = np.linalg.lstsq(theirs[both].astype(float), mine[both], rcond=None)[0]
    assert (np.rint(theirs @ change) == mine)[both].all(axis=1).mean() >= 0.995


def test_cinchonine_by_electrons(shared_data):
    spots, geometry = spots_and_geometry("cinchonine", shared_data)
    result = index(spots, geometry, Index(hold_distance=True))
    assert (result.table["lattice"] == 0).sum() >= 340  # as many as DIALS indexes, 87.9 %
    best = next(row for row in result.bravais if row.best)
    assert best.setting.bravais == "mP"
    np.testing.assert_allclose(best.crystal.cell, (10.90, 7.40, 11.28, 90, 108.1, 90), rtol=0.01)


def test_lcysteine_single_wedge(shared_data):
    """54 spots of 1.5 degrees."""
    spots, geometry = spots_and_geometry("lcysteine", shared_data)
    result = index_sweeps([(spots, geometry)], Index(cell="5.43,8.14,12.04,90,90,90", space_group="P 21 21 21"))
    assert result.fraction > 0.8
    np.testing.assert_allclose(result.crystals[0].cell, (5.43, 8.14, 12.04, 90, 90, 90), rtol=0.02)
    assert any("wedge of 1.5 degrees" in note for note in result.notes)
