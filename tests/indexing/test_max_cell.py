import lattice_spots as synth
import numpy as np
import pytest

from hdrmx.indexing.max_cell import max_cell, neighbour_spacings
from hdrmx.indexing.reciprocal import map_spots


@pytest.mark.parametrize("cell", [(40, 50, 60, 90, 90, 90), (60, 60, 60, 90, 90, 90), (30, 36, 300, 88, 92, 95)])
def test_covers_the_longest_edge_without_exaggerating(cell):
    crystal, geometry = synth.crystal(cell), synth.geometry(n_frames=60)
    spots = synth.spots_of(synth.reflections(crystal, geometry, 3.5))
    found = max_cell(map_spots(spots, geometry), spots)
    # candidate vectors may be up to twice as long, so that edges up to 2 x found are within reach
    assert 0.5 * max(cell) < found < 2.5 * max(cell)


def test_each_block_counts_its_own_distances_once():
    crystal, geometry = synth.crystal((54, 58, 68, 90, 90, 90)), synth.geometry(n_frames=120)
    spots = synth.spots_of(synth.reflections(crystal, geometry, 6.0))
    spacings = neighbour_spacings(map_spots(spots, geometry), spots)
    assert 0.8 * len(spots) < len(spacings) <= len(spots)


def test_pieces_of_a_split_spot_are_stepped_over():
    crystal, geometry = synth.crystal((54, 58, 68, 90, 90, 90)), synth.geometry(n_frames=60)
    spots = synth.spots_of(synth.reflections(crystal, geometry, 4.0))
    pieces = spots.copy()
    pieces["fast"] += 2.0
    pieces[["fast_min", "fast_max"]] += 2
    import pandas as pd

    both = pd.concat([spots, pieces], ignore_index=True)
    plain = max_cell(map_spots(spots, geometry), spots)
    assert max_cell(map_spots(both, geometry), both) == pytest.approx(plain, rel=0.2)


def test_too_few_spots_say_nothing():
    geometry = synth.geometry()
    spots = synth.spots_of(synth.reflections(synth.crystal((54, 58, 68, 90, 90, 90)), geometry, 6.0))[:3]
    assert max_cell(map_spots(spots, geometry), spots) is None
    assert max_cell(map_spots(spots[:0], geometry), spots[:0]) is None


def test_order_of_the_spots_does_not_matter():
    geometry = synth.geometry(n_frames=30)
    spots = synth.spots_of(synth.reflections(synth.crystal((54, 58, 68, 90, 90, 90)), geometry, 4.0))
    mixed = spots.iloc[np.random.default_rng(1).permutation(len(spots))].reset_index(drop=True)
    assert max_cell(map_spots(mixed, geometry), mixed) == max_cell(map_spots(spots, geometry), spots)
