"""The commands as functions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import hdrmx


def test_process_gives_and_writes_the_same(small_set: Path, tmp_path: Path) -> None:
    results = hdrmx.process(small_set, tmp_path / "out", threads=2)
    (sweep,) = results.sweeps
    assert sweep.crystals[0].cell == pytest.approx((34, 42, 55, 90, 90, 90), rel=2e-3)
    assert results.merged is not None
    assert len(results.merged.table) > 500
    assert (tmp_path / "out" / "refined.refl").exists()
    again = hdrmx.process(small_set, until="find_spots")
    assert again.merged is None
    pd.testing.assert_frame_equal(again.spots, results.spots, check_exact=True)


def test_profile_gives_the_record(small_set: Path, tmp_path: Path) -> None:
    record = hdrmx.profile(small_set, tmp_path, images=range(10), until="find_spots", sampling=False)
    assert record.status == "complete"
    assert record.data is not None
    assert record.data.n_frames == 10


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = hdrmx.nothing_of_the_kind
