"""Two spot tables with known differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx import tables
from hdrmx.analysis.agree_spots import Tolerance, compare_spots


def spots(n: int, seed: int = 1, panels: int = 1) -> pd.DataFrame:
    """Spots at least 10 px apart."""
    rng = np.random.default_rng(seed)
    table = tables.empty(tables.SPOTS, n)
    places = rng.permutation(60 * 60)[:n]
    table["slow"] = 10.0 * (places // 60) + rng.random(n)
    table["fast"] = 10.0 * (places % 60) + rng.random(n)
    table["frame"] = 300 * rng.random(n)
    table["intensity"] = rng.poisson(100, n) + 1.0
    table["panel"] = rng.integers(0, panels, n).astype("int32")
    table["frame_min"] = table["frame"].astype("int32")
    table["frame_max"] = (table["frame_min"] + rng.integers(1, 4, n)).astype("int32")
    return table


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_a_table_agrees_with_itself_whatever_the_order(seed: int, panels: int) -> None:
    a = spots(200, seed, panels)
    order = np.random.default_rng(seed).permutation(len(a))
    found = compare_spots(a, a.iloc[order])
    np.testing.assert_array_equal(order[found.theirs], found.ours)
    assert found.fraction_equal == 1.0
    assert not len(found.only_ours)
    assert not len(found.only_theirs)
    assert (found.intensity_ratio == 1).all()


def test_missing_moved_and_added_spots_are_told_apart() -> None:
    a = spots(500)
    b = a.copy()
    b.loc[0, "fast"] += 0.005  # equal
    b.loc[1, "fast"] += 0.5  # paired, not equal
    b.loc[2, "frame"] += 0.02  # paired, not equal
    b.loc[3, "slow"] += 2.5  # too far
    b.loc[4, "frame"] += 3.0  # too far
    b.loc[5, "intensity"] *= 2
    b = b.drop(index=[6, 7])
    found = compare_spots(a, b)
    assert (found.n_ours, found.n_theirs) == (500, 498)
    assert found.only_ours.tolist() == [3, 4, 6, 7]
    assert found.only_theirs.tolist() == [3, 4]
    assert len(found.ours) == 496
    assert found.is_equal.sum() == 494
    assert found.fraction_equal == pytest.approx(494 / 500)
    assert found.apart_px.max() == pytest.approx(0.5)
    assert found.apart_frames.max() == pytest.approx(0.02)
    assert found.intensity_ratio[found.ours == 5] == 0.5
    np.testing.assert_array_equal(found.intensity_only_ours, a["intensity"].to_numpy()[[3, 4, 6, 7]])
    summary = found.summary()
    assert summary["matched"] == 496
    assert summary["apart_px_1"] == pytest.approx(0.5)
    assert summary["same_intensity"] == pytest.approx(495 / 496)


def test_two_spots_never_share_a_partner() -> None:
    a, b = spots(1), spots(1)
    double = pd.concat([b, b.assign(fast=b["fast"] + 0.3)], ignore_index=True)
    found = compare_spots(a, double)
    assert found.theirs.tolist() == [0]
    assert found.only_theirs.tolist() == [1]


def test_panels_are_kept_apart() -> None:
    a = spots(50)
    found = compare_spots(a, a.assign(panel=np.int32(1)))
    assert not len(found.ours)


def test_a_grouping_that_never_joins_frames_shows_in_the_depth() -> None:
    a = spots(100)
    found = compare_spots(a, a.assign(frame_max=a["frame_min"] + 1))
    assert found.summary()["mean_depth_theirs"] == 1.0
    assert found.summary()["mean_depth_ours"] > 1.0


def test_empty_tables() -> None:
    nothing = tables.empty(tables.SPOTS)
    assert compare_spots(nothing, nothing).fraction_equal == 1.0
    found = compare_spots(nothing, spots(10))
    assert found.fraction_equal == 0.0
    assert found.only_theirs.tolist() == list(range(10))
    assert np.isnan(found.summary()["apart_px_1"])


def test_tolerance_is_the_callers() -> None:
    a = spots(100)
    b = a.assign(fast=a["fast"] + 0.5)
    assert compare_spots(a, b, Tolerance(equal_px=0.6)).fraction_equal == 1.0
    assert not len(compare_spots(a, b, Tolerance(pair_px=0.4)).ours)
