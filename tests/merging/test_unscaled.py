"""Integrated reflections as observations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hdrmx import tables
from hdrmx.integration import flags
from hdrmx.merging.unscaled import unscaled


def integrated() -> pd.DataFrame:
    table = tables.empty(tables.INTEGRATED, 3)
    table["h"], table["frame"] = np.array([1, 2, 3], np.int32), [0.5, 1.5, 2.5]
    table["flags"] = np.array([flags.INTEGRATED_SUM | flags.INTEGRATED_PRF, flags.INTEGRATED_SUM, 0], np.int32)
    table["sum_value"], table["sum_variance"] = [100.0, 50.0, 7.0], [100.0, 25.0, 7.0]
    table["prf_value"], table["prf_variance"] = [110.0, np.nan, np.nan], [81.0, np.nan, np.nan]
    table["partiality"], table["lp"], table["qe"] = 0.5, 0.3, 0.6
    table["background_sum"], table["n_background"], table["n_foreground"] = 16.0, np.int32(20), np.int32(20)
    return table


def test_corrections_are_applied() -> None:
    best = unscaled([integrated(), integrated()])
    tables.check(best, tables.SCALED)
    assert best["sweep"].tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(best["intensity"][:3], [55.0, 50.0, np.nan])  # LP / QE is 1/2; the sum is a half of all
    np.testing.assert_allclose(best["sigma"][:3], [4.5, 5.0, np.nan])
    np.testing.assert_allclose(best["background_sigma"], np.sqrt(32))
    np.testing.assert_allclose(unscaled([integrated()], "sum")["intensity"], [100.0, 50.0, np.nan])
    np.testing.assert_allclose(unscaled([integrated()], "profile")["intensity"], [55.0, np.nan, np.nan])


def test_nothing_and_nonsense() -> None:
    assert len(unscaled([])) == 0
    with pytest.raises(ValueError, match="best, sum, profile"):
        unscaled([integrated()], "both")
