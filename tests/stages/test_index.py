import dataclasses
import sys
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest

from hdrmx import tables
from hdrmx.errors import IndexFailure, InputError
from hdrmx.indexing.advice import _ice_rings, ice_share
from hdrmx.indexing.beam_centre import shifted
from hdrmx.indexing.bravais_table import format_table
from hdrmx.indexing.known import PRIMITIVE
from hdrmx.indexing.lattices import misorientation_deg
from hdrmx.io.dials import read_refl
from hdrmx.io.dials_models import read_expt
from hdrmx.params import Index
from hdrmx.stages.index import index, index_sweeps

sys.path.append(str(Path(__file__).resolve().parents[1] / "indexing"))
import lattice_spots as synth

CELL = (54.0, 58.0, 68.0, 90.0, 90.0, 90.0)
QUICK = Index(bravais=False)


@pytest.fixture(scope="module")
def data():
    """crystal, geometry, reflections, spots: 90 degrees with 5 % noise."""
    crystal, geometry = synth.crystal(CELL, "P 21 21 21"), synth.geometry(n_frames=90)
    found = synth.reflections(crystal, geometry, 5.0)
    return crystal, geometry, found, synth.spots_of(found, noise=len(found) // 20)


def primitive_A(crystal):
    """The reciprocal basis of the primitive lattice of a centred crystal."""
    kind = gemmi.find_spacegroup_by_name(crystal.space_group).centring_type()
    return np.linalg.inv(PRIMITIVE[kind] @ np.linalg.inv(np.asarray(crystal.A)))


@pytest.mark.parametrize(
    ("space_group", "cell", "bravais", "d_min"),
    [
        ("P 1", (42, 51, 63, 78, 85, 101), "aP", 4.5),
        ("P 1 21 1", (41, 62, 55, 90, 105, 90), "mP", 4.5),
        ("C 1 2 1", (90, 42, 60, 90, 112, 90), "mI", 4.5),
        ("F 2 2 2", (80, 120, 150, 90, 90, 90), "oF", 5.5),
        ("I 4", (90, 90, 120, 90, 90, 90), "tI", 6.0),
        ("P 31 2 1", (60, 60, 100, 90, 90, 120), "hP", 6.0),
        ("R 3 2:H", (80, 80, 150, 90, 90, 120), "hR", 5.5),
        ("I 2 3", (78, 78, 78, 90, 90, 90), "cI", 5.0),
        ("F 4 3 2", (150, 150, 150, 90, 90, 90), "cF", 6.5),
        ("P 1 21 1", (45, 300, 50, 90, 95, 90), "mP", 5.5),
    ],
)
def test_every_crystal_system(space_group, cell, bravais, d_min):
    crystal, geometry = synth.crystal(cell, space_group), synth.geometry(distance_mm=250.0, n_frames=90)
    found = synth.reflections(crystal, geometry, d_min)
    result = index(synth.spots_of(found, noise=len(found) // 20), geometry, Index())
    assert (result.table["lattice"][: len(found)] == 0).mean() > 0.99
    assert misorientation_deg(np.asarray(result.crystals[0].A), primitive_A(crystal)) < 0.02
    best = next(row for row in result.bravais if row.best)
    assert best.setting.bravais == bravais
    volume = abs(1 / np.linalg.det(np.asarray(best.crystal.A)))
    assert volume ** (1 / 3) == pytest.approx(gemmi.UnitCell(*cell).volume ** (1 / 3), rel=1.5e-3) or bravais == "mI"


def test_the_table_and_the_indices(data):
    crystal, geometry, found, spots = data
    before = spots.copy()
    result = index(spots, geometry, QUICK)
    tables.check(result.table, tables.INDEXED)
    pd.testing.assert_frame_equal(spots, before)
    pd.testing.assert_frame_equal(result.table[spots.columns.tolist()], spots)
    mine = (result.table["lattice"] == 0).to_numpy()
    hkl = result.table[["h", "k", "l"]].to_numpy()
    assert not hkl[~mine].any()
    # the lattice is the true one on other axes: one operator takes all indices over
    true = found[["h", "k", "l"]].to_numpy()
    change = np.rint(np.linalg.inv(np.asarray(result.crystals[0].A)) @ np.asarray(crystal.A))
    assert abs(np.linalg.det(change)) == pytest.approx(1.0)
    right = (hkl[: len(found)] == true @ change.T).all(axis=1)
    assert right.mean() > 0.99
    assert result.rmsd_fast_px == pytest.approx(0.15, abs=0.03)
    assert result.counts["indexed"] == mine.sum()
    assert result.counts["cells_tried"] <= 12


def test_same_input_same_bytes(data):
    _, geometry, _, spots = data
    first, second = index(spots, geometry, Index()), index(spots, geometry, Index())
    assert first.table.to_records().tobytes() == second.table.to_records().tobytes()
    assert first.crystals == second.crystals
    assert first.geometries == second.geometries
    assert format_table(first.bravais) == format_table(second.bravais)


@pytest.mark.parametrize("method", ["fft1d", "real_space"])
def test_the_other_searches(data, method):
    crystal, geometry, _, spots = data
    cell = ",".join(map(str, CELL)) if method == "real_space" else None
    result = index(spots, geometry, Index(method=method, cell=cell, bravais=False))
    assert result.fraction > 0.93
    assert misorientation_deg(np.asarray(result.crystals[0].A), np.asarray(crystal.A)) < 0.02


def test_known_cell_and_space_group(data):
    _, geometry, _, spots = data
    params = Index(cell="68.3 54.2 58.1 90 90 90", space_group="P 21 21 21")
    result = index(spots, geometry, params)
    assert result.crystals[0].space_group == "P 21 21 21"
    np.testing.assert_allclose(result.crystals[0].cell, (68, 54, 58, 90, 90, 90), rtol=5e-4)
    assert result.bravais == ()


def test_known_space_group_alone(data):
    _, geometry, _, spots = data
    result = index(spots, geometry, Index(space_group="19"))
    np.testing.assert_allclose(result.crystals[0].cell, CELL, rtol=5e-4)


def test_wrong_expectations_are_refused(data):
    _, geometry, _, spots = data
    with pytest.raises(IndexFailure, match=r"does not fit the cell 54,58,77.*leave the expected values out") as caught:
        index(spots, geometry, Index(cell="54,58,77,90,90,90"))
    assert caught.value.exit_code == 3
    assert caught.value.reached["fraction"] > 0.9
    with pytest.raises(IndexFailure, match="does not fit the space group I 2 2 2"):
        index(spots, geometry, Index(space_group="I 2 2 2"))
    with pytest.raises(IndexFailure, match="does not fit the space group P 43 21 2"):
        index(spots, geometry, Index(space_group="P 43 21 2"))
    with pytest.raises(InputError, match="real_space needs the cell"):
        index(spots, geometry, Index(method="real_space"))


@pytest.mark.parametrize("shift", [(2.0, 0.0), (0.0, -2.0), (-4.0, 3.0)])
def test_wrong_beam_centre(data, shift):
    crystal, geometry, _, spots = data
    result = index(spots, shifted(geometry, shift), QUICK)
    assert result.fraction > 0.93
    assert misorientation_deg(np.asarray(result.crystals[0].A), np.asarray(crystal.A)) < 0.02
    np.testing.assert_allclose(
        result.geometry.detector.panels[0].beam_centre_px(result.geometry.beam),
        geometry.detector.panels[0].beam_centre_px(geometry.beam),
        atol=0.3,
    )
    assert "beam centre was moved" in result.notes[0]
    assert result.counts["beam_positions"] > 0


def test_second_lattice_at_a_fifth(data):
    crystal, geometry, found, spots = data
    A = synth.rotation((1, 2, 3), 5.0) @ np.asarray(crystal.A)
    other = dataclasses.replace(crystal, A=tuple(map(tuple, A.tolist())))
    weak = synth.reflections(other, geometry, 5.0).sample(frac=0.2, random_state=1)
    both = pd.concat([spots, synth.spots_of(weak, seed=3)], ignore_index=True)
    result = index(both, geometry, Index(max_lattices=4, bravais=False))
    assert len(result.crystals) == 2
    assert misorientation_deg(np.asarray(result.crystals[0].A), np.asarray(crystal.A)) < 0.02
    assert misorientation_deg(np.asarray(result.crystals[1].A), A) < 0.02
    assert (result.table["lattice"][len(spots) :] == 1).mean() > 0.97
    assert (result.table["lattice"][: len(found)] == 0).mean() > 0.97


def test_one_lattice_is_not_split(data):
    _, geometry, _, spots = data
    assert len(index(spots, geometry, Index(max_lattices=5, bravais=False)).crystals) == 1


@pytest.mark.parametrize(("n_frames", "width_deg"), [(2, 0.5), (20, 0.1)])
def test_narrow_wedges(n_frames, width_deg):
    crystal, geometry = synth.crystal(CELL), synth.geometry(n_frames=n_frames, width_deg=width_deg)
    spots = synth.spots_of(synth.reflections(crystal, geometry, 2.5), sigma_frame=0.05)
    result = index(spots, geometry, QUICK)
    assert result.fraction > 0.95
    assert misorientation_deg(np.asarray(result.crystals[0].A), np.asarray(crystal.A)) < 0.2
    assert any("wedge" in note for note in result.notes)


def test_stills_with_a_known_cell():
    crystal, geometry = synth.crystal(CELL), synth.geometry(n_frames=1, width_deg=0.2)
    spots = synth.spots_of(synth.reflections(crystal, geometry, 2.0), sigma_frame=0.05)
    still = dataclasses.replace(geometry, scan=None, goniometer=None)
    result = index(spots, still, Index(method="real_space", cell="54,58,68,90,90,90"))
    assert result.fraction > 0.9
    assert misorientation_deg(np.asarray(result.crystals[0].A), np.asarray(crystal.A)) < 0.3
    assert any("stills" in note for note in result.notes)
    assert np.isnan(result.rmsd_fast_px)


def test_two_wedges_together(data):
    crystal, _, _, _ = data
    sweeps = []
    for start in (0.0, 60.0):
        geometry = synth.geometry(n_frames=10, width_deg=0.2)
        geometry = dataclasses.replace(geometry, scan=dataclasses.replace(geometry.scan, start_rad=np.radians(start)))
        sweeps.append((synth.spots_of(synth.reflections(crystal, geometry, 4.0)), geometry))
    result = index_sweeps(sweeps, Index())
    assert result.fraction > 0.97
    assert misorientation_deg(np.asarray(result.crystals[0].A), np.asarray(crystal.A)) < 0.05
    assert len(result.sweep) == len(result.table) == sum(len(s) for s, _ in sweeps)


def test_no_spots_and_ten_spots(data):
    _, geometry, _, spots = data
    with pytest.raises(IndexFailure, match="there are no spots; look at the images"):
        index(spots[:0], geometry, QUICK)
    with pytest.raises(IndexFailure, match="10 spots are too few, at least 15"):
        index(spots[:10], geometry, QUICK)
    with pytest.raises(IndexFailure, match="resolution limits"):
        index(spots, geometry, Index(d_max=30.0, d_min=25.0))


def test_noise_alone(data):
    _, geometry, found, _ = data
    with pytest.raises(IndexFailure, match=r"explains more of the 300 spots than chance would.*index.max_cell_A"):
        index(synth.spots_of(found[:0], noise=300), geometry, QUICK)


def test_ice_alone(data):
    _, geometry, found, _ = data
    rng, n = np.random.default_rng(0), 400
    spots = synth.spots_of(found[:0], noise=n)
    theta = np.arcsin(np.sqrt(rng.choice(_ice_rings(0.15), n)) * geometry.beam.wavelength_A / 2)
    radius_px = np.tan(2 * theta) * geometry.detector.panels[0].distance_mm / 0.15
    azimuth = rng.uniform(0, 2 * np.pi, n)
    slow, fast = geometry.detector.panels[0].beam_centre_px(geometry.beam)
    spots["slow"], spots["fast"] = slow + radius_px * np.sin(azimuth), fast + radius_px * np.cos(azimuth)
    with pytest.raises(IndexFailure, match=r"rings of ice; set find_spots.ice_rings=true"):
        index(spots, geometry, QUICK)


def test_ice_share_of_other_spots_is_small():
    d_star = np.sqrt(np.random.default_rng(1).uniform(0.01, 0.3, 2000))
    assert ice_share(d_star) < 0.1
    assert ice_share(np.sqrt(_ice_rings(0.3))) > 0.9


def test_a_scan_with_its_outer_halves_blank(data):
    """Spots in a few frames are enough for a lattice; noise in a few frames fails with a word about it."""
    _, geometry, found, _ = data
    few = found[(found["frame"] > 43) & (found["frame"] < 49)].reset_index(drop=True)
    assert index(synth.spots_of(few), geometry, QUICK).fraction > 0.95
    noise = synth.spots_of(few[:0], noise=300)
    noise["frame"] = 43 + noise["frame"] / noise["frame"].max() * 4
    with pytest.raises(IndexFailure, match=r"only \d+ of 90 frames have spots"):
        index(noise, geometry, QUICK)


def test_work_is_the_same_for_more_frames(data):
    """Candidates and cells tried do not grow with the data."""
    crystal, _, _, _ = data
    counts = []
    for n_frames in (30, 60, 120):
        geometry = synth.geometry(n_frames=n_frames)
        counts.append(index(synth.spots_of(synth.reflections(crystal, geometry, 5.0)), geometry, QUICK).counts)
    assert counts[2]["spots"] > 3.5 * counts[0]["spots"]
    for name in ("candidate_vectors", "candidate_triplets", "cells_tried", "assignments", "refinement_steps"):
        assert counts[2][name] <= 2 * counts[0][name] + 10


@pytest.mark.parametrize("name", ["ref_quartz_processed", "ref_centroid_test_data"])
def test_real_spots_get_the_indices_that_dials_gave(shared_data, name):
    stored = read_refl(shared_data / name / "indexed.refl").table
    experiment = read_expt(shared_data / name / "indexed.expt")[0]
    theirs = stored[["h", "k", "l"]].to_numpy()
    result = index(stored[[c.name for c in tables.SPOTS]], experiment.geometry, Index(bravais=False))
    mine = result.table[["h", "k", "l"]].to_numpy()
    indexed = theirs.any(axis=1)
    assert mine.any(axis=1).sum() >= 0.995 * indexed.sum()
    both = indexed & mine.any(axis=1)
    change = np.linalg.lstsq(theirs[both], mine[both], rcond=None)[0]
    assert np.abs(change - np.rint(change)).max() < 0.02
    assert ((theirs @ np.rint(change).astype(int))[both] == mine[both]).all(axis=1).mean() >= 0.995
