"""Pixels of spots: each spot's sums, box and peak again from its pixels, whatever the path."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parent))
from test_find_spots import SHAPE, a_scan, found, geometry

from hdrmx import tables
from hdrmx.kernels import grouping as g
from hdrmx.models import Panel
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import FoundSpots
from hdrmx.stages.spot_pixels import spot_pixels
from hdrmx.stages.strong_pixels import StrongPixels

KEEP = FindSpots(keep_pixels=True)


def check_pixels(result: FoundSpots) -> None:
    """All that the table tells of a spot follows from its pixels."""
    pixels, spots = result.pixels, result.spots
    assert pixels is not None
    tables.check(pixels, tables.SPOT_PIXELS)
    order = ["spot", "frame", "slow", "fast"]
    pd.testing.assert_frame_equal(pixels, pixels.sort_values(order, ignore_index=True))
    assert not pixels.duplicated(["spot", "frame", "slow", "fast"]).any()
    by_spot = pixels.groupby("spot")
    assert sorted(by_spot.groups) == list(range(len(spots)))
    np.testing.assert_array_equal(by_spot.size(), spots["n_pixels"])
    np.testing.assert_array_equal(by_spot["count"].sum(), spots["intensity"])
    np.testing.assert_array_equal(by_spot["count"].max(), spots["peak"])
    for axis in ("frame", "slow", "fast"):
        np.testing.assert_array_equal(by_spot[axis].min(), spots[f"{axis}_min"])
        np.testing.assert_array_equal(by_spot[axis].max() + 1, spots[f"{axis}_max"])
        weighted = (pixels["count"] * (pixels[axis] + 0.5)).groupby(pixels["spot"]).sum()
        np.testing.assert_allclose(weighted / spots["intensity"], spots[axis], rtol=1e-12)


@pytest.mark.parametrize("stills", [False, True])
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_pixels_add_up_to_their_spot(dtype, stills):
    stack = a_scan(n=12, dtype=dtype)
    result = found(stack, KEEP, geometry=geometry(stills=stills))
    check_pixels(result)
    assert len(result.spots) > 20
    p = result.pixels
    np.testing.assert_array_equal(stack[p["frame"], p["slow"], p["fast"]], p["count"])


def test_the_same_on_every_path_and_nothing_unless_asked_for():
    stack = a_scan()
    reference = found(stack, KEEP)
    plain = found(stack)
    assert plain.pixels is None
    pd.testing.assert_frame_equal(plain.spots, reference.spots, check_exact=True)
    assert plain.counts == reference.counts
    for kernel in ("dense", "sparse"):
        other = found(stack, FindSpots(keep_pixels=True, kernel=kernel), threads=3)
        pd.testing.assert_frame_equal(other.pixels, reference.pixels)


def test_spots_that_were_dropped_have_no_pixels():
    stack = np.zeros((1, *SHAPE), np.uint16)
    stack[0, 10, 10:12] = 9  # too small
    stack[0, 30, 30:33] = 9
    stack[0, 60, 60:69] = 9
    stack[0, 60, 60] = 10  # the peak stands too far from the centroid
    result = found(stack, KEEP)
    check_pixels(result)
    assert result.pixels[["slow", "fast", "count"]].to_numpy().tolist() == [[30, 30, 9], [30, 31, 9], [30, 32, 9]]


def test_spots_with_the_same_box_number_and_sum():
    """Two angles that reach round each other: only their pixels tell them apart."""
    stack = np.zeros((3, *SHAPE), np.uint16)
    block = stack[:, 30:33, 50:53]
    block[0, :, 0] = block[0, 2, :] = block[:, 2, 0] = 50
    block[2, 0, :] = block[2, :, 2] = block[:, 0, 2] = 50
    result = found(stack, FindSpots(keep_pixels=True, min_pixels=1, max_separation_px=9))
    same = ["n_pixels", "intensity", *(f"{axis}_{end}" for axis in ("frame", "slow", "fast") for end in ("min", "max"))]
    assert len(result.spots) == 2
    assert not result.spots[same].diff().iloc[1].any()
    check_pixels(result)


def test_panels():
    left = Panel("left", (96, 60), (0.1, 0.1), (0, 0, -50), (1, 0, 0), (0, -1, 0), (0, 0))
    right = Panel("right", (96, 70), (0.1, 0.1), (6, 0, -50), (1, 0, 0), (0, -1, 0), (0, 60))
    stack = a_scan()
    stack[:, 40:44, 58:62] = 60  # across the border
    result = found(stack, KEEP, geometry=geometry([left, right]))
    check_pixels(result)
    spots, p = result.spots, result.pixels
    assert sorted(spots["panel"].unique()) == [0, 1]
    fast = p["fast"] + 60 * spots["panel"].to_numpy()[p["spot"]]
    np.testing.assert_array_equal(stack[p["frame"], p["slow"], fast], p["count"])


def test_no_frame_and_no_spot():
    for n in (0, 2):
        result = found(np.zeros((n, *SHAPE), np.uint16), KEEP)
        tables.check(result.pixels, tables.SPOT_PIXELS)
        assert len(result.pixels) == 0


def test_rows_of_other_frames_are_refused():
    slow, fast = np.array([5, 5], np.int32), np.array([7, 8], np.int32)
    strong = StrongPixels(slow, fast, np.array([9, 9]), np.array([0, 2]), 0)
    grouper = g.Grouper([SHAPE], over_frames=True)
    grouper.add(4, *strong[:4])
    rows = grouper.finish()
    assert len(spot_pixels([(4, strong)], rows, [SHAPE], over_frames=True)) == 2
    with pytest.raises(ValueError, match="no strong pixel"):
        spot_pixels([(5, strong)], rows, [SHAPE], over_frames=True)
    with pytest.raises(ValueError, match="no strong pixel"):
        spot_pixels([], rows, [SHAPE], over_frames=True)
    less = strong._replace(counts=np.array([9, 8]))
    with pytest.raises(ValueError, match="don't add up"):
        spot_pixels([(4, less)], rows, [SHAPE], over_frames=True)
