import dataclasses

import lattice_spots as synth
import numpy as np
import pandas as pd
import pytest

from hdrmx.indexing.assign import assign_global, assign_local
from hdrmx.indexing.beam_centre import shifted
from hdrmx.indexing.reciprocal import map_spots


@pytest.fixture(scope="module")
def data():
    crystal, geometry = synth.crystal((54, 58, 68, 90, 90, 90)), synth.geometry(n_frames=60)
    found = synth.reflections(crystal, geometry, 4.0)
    return np.asarray(crystal.A), geometry, found, synth.spots_of(found)


@pytest.mark.parametrize("how", ["global", "local"])
def test_indices_are_the_true_ones(data, how):
    A, geometry, found, spots = data
    points = map_spots(spots, geometry)
    result = assign_global(points, [A]) if how == "global" else assign_local(points, A)
    assert result.n_indexed > 0.995 * len(spots)
    mine = result.lattice >= 0
    assert (result.hkl[mine] == found[["h", "k", "l"]].to_numpy()[mine]).all()
    assert (result.misfit[mine] < 0.3).all()


def test_order_does_not_matter(data):
    A, geometry, _, spots = data
    mix = np.random.default_rng(1).permutation(len(spots))
    first = assign_global(map_spots(spots, geometry), [A])
    second = assign_global(map_spots(spots.iloc[mix], geometry), [A])
    np.testing.assert_array_equal(first.hkl[mix], second.hkl)


def test_the_nearer_of_two_spots_of_one_reflection_wins(data):
    A, geometry, _, spots = data
    extra = spots.iloc[[100]].copy()
    extra["fast"] += 3.0
    both = pd.concat([spots, extra], ignore_index=True)
    result = assign_global(map_spots(both, geometry), [A])
    assert result.lattice[100] == 0
    assert result.lattice[-1] == -1
    assert not result.hkl[-1].any()


def test_both_crossings_of_the_sphere_are_kept(data):
    A, geometry = data[0], synth.geometry(n_frames=180)
    found = synth.reflections(synth.crystal((54, 58, 68, 90, 90, 90)), geometry, 8.0)
    result = assign_global(map_spots(synth.spots_of(found), geometry), [A])
    twice = found.duplicated(["h", "k", "l"], keep=False).to_numpy()
    assert twice.sum() > 10
    assert (result.lattice[twice] >= 0).mean() > 0.99


def test_resolution_limit_and_tolerance(data):
    A, geometry, _, spots = data
    points = map_spots(spots, geometry)
    low = assign_global(points, [A], d_min=6.0)
    assert (points.d_star[low.lattice >= 0] <= 1 / 6.0).all()
    assert assign_global(points, [A], tolerance=0.01).n_indexed < 0.5 * len(spots)


def test_two_lattices_share_the_spots_out(data):
    A, geometry, _, spots = data
    B = synth.rotation((1, 2, 3), 7.0) @ A
    other = dataclasses.replace(synth.crystal((54, 58, 68, 90, 90, 90)), A=tuple(map(tuple, B.tolist())))
    more = synth.spots_of(synth.reflections(other, geometry, 4.0), seed=2)
    both = pd.concat([spots, more], ignore_index=True)
    result = assign_global(map_spots(both, geometry), [A, B])
    assert (result.lattice[: len(spots)] == 0).mean() > 0.95
    assert (result.lattice[len(spots) :] == 1).mean() > 0.95


def test_local_indices_survive_a_wrong_beam_centre(data):
    """Off by 0.45 reciprocal spacings, rounding fails where neighbours still tell."""
    A, geometry, found, spots = data
    size = 0.45 / 68 * geometry.beam.wavelength_A * geometry.detector.panels[0].distance_mm
    points = map_spots(spots, shifted(geometry, (0.0, size)))
    truth = found[["h", "k", "l"]].to_numpy()

    def right(result):
        return (result.hkl == truth).all(axis=1).mean()

    assert right(assign_local(points, A)) > right(assign_global(points, [A])) + 0.1


def test_nothing_to_assign(data):
    A, geometry, _, spots = data
    points = map_spots(spots[:0], geometry)
    assert assign_global(points, [A]).n_indexed == 0
    assert assign_local(points, A).n_indexed == 0
