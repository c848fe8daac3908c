"""The stage merge against the figures of DIALS's libraries for the same unmerged files.

`tests/reference/make_merging_reference.py` made them, with DIALS 3.12.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "merging"))
from scaled_case import unmerged_mtz

from hdrmx.merging.wilson import wilson_b
from hdrmx.params import Merge
from hdrmx.stages.merge import Merged, merge

THEIRS = json.loads((Path(__file__).parents[1] / "reference" / "dials" / "merging.json").read_text())["files"]
INSULIN, SMALL = "insulin_dials_scaled_unmerged.mtz", "dials_scratch_bhw_scaled_unmerged.mtz"
PLAIN = {
    "n_observations": "n_obs",
    "n_unique": "n_uniq",
    "multiplicity": "mean_redundancy",
    "mean_intensity": "i_mean",
    "i_over_sigma": "i_over_sigma_mean",
    "i_over_sigma_unmerged": "unmerged_i_over_sigma_mean",
    "r_merge": "r_merge",
    "r_meas": "r_meas",
    "r_pim": "r_pim",
}
ANOMALOUS = {
    "multiplicity_anom": "mean_redundancy",
    "r_merge_anom": "r_merge",
    "r_meas_anom": "r_meas",
    "r_pim_anom": "r_pim",
}


@pytest.fixture(scope="module", params=[INSULIN, SMALL])
def case(request: pytest.FixtureRequest, shared_data: Path) -> tuple[str, Merged, pd.DataFrame]:
    result = merge(*unmerged_mtz(shared_data / "ref_unmerged_mtz" / request.param), Merge(shells=10))
    return request.param, result, pd.concat([result.shells, result.overall], ignore_index=True)


@pytest.fixture(scope="module")
def insulin(shared_data: Path) -> Merged:
    return merge(*unmerged_mtz(shared_data / "ref_unmerged_mtz" / INSULIN), Merge(shells=10))


def test_every_shell_has_the_same_figures(case: tuple[str, Merged, pd.DataFrame]) -> None:
    name, result, ours = case
    theirs, anomalous = pd.DataFrame(THEIRS[name]["shells"]), pd.DataFrame(THEIRS[name]["shells_anomalous"])
    for mine, yours in PLAIN.items():
        np.testing.assert_allclose(ours[mine], theirs[yours], rtol=1e-12, err_msg=mine)
    for mine, yours in ANOMALOUS.items():
        np.testing.assert_allclose(ours[mine], anomalous[yours], rtol=1e-12, err_msg=mine)
    assert ours["completeness"].iloc[-1] == pytest.approx(theirs["completeness"].iloc[-1], rel=1e-3)
    # a few reflections that lie on the limits of shells
    np.testing.assert_allclose(ours["completeness"], theirs["completeness"], rtol=1e-12 if name == INSULIN else 0.02)
    assert ((ours["cc_half_p"] < 0.01) == theirs["cc_one_half_significance"]).all()
    assert result.counts["absent"] == (0 if name == INSULIN else 202)  # of the glide plane


def test_correlations_of_other_halves(insulin: Merged) -> None:
    ours = pd.concat([insulin.shells, insulin.overall], ignore_index=True)
    theirs = pd.DataFrame(THEIRS[INSULIN]["shells"])
    anomalous = pd.DataFrame(THEIRS[INSULIN]["shells_anomalous"])
    np.testing.assert_allclose(ours["cc_half"], theirs["cc_one_half"], atol=0.006)
    np.testing.assert_allclose(ours["cc_half_sigma_tau"], theirs["cc_one_half_sigma_tau"], atol=0.004)
    np.testing.assert_allclose(ours["completeness_anom"], anomalous["anom_completeness"], rtol=1e-12)
    np.testing.assert_allclose(ours["cc_anom"], anomalous["anom_half_corr"], atol=4 * 900**-0.5)
    assert ours["cc_anom"].iloc[-1] == pytest.approx(anomalous["anom_half_corr"].iloc[-1], abs=0.04)


def test_resolution_estimate(case: tuple[str, Merged, pd.DataFrame]) -> None:
    name, result, _ = case
    theirs = THEIRS[name]["resolution_cc_half"]["d_min"]
    if theirs is None:  # they can't fit it
        assert 0.8 < result.resolution.d_min < 1.1
    else:
        assert result.resolution.d_min == pytest.approx(theirs, abs=1e-4)


def test_frames(insulin: Merged) -> None:
    """Their Rmerge counts reflections that were measured once, with a deviation of 0."""
    theirs = THEIRS[INSULIN]["frames"]
    assert insulin.frames["frame"].tolist() == [batch - 1 for batch in theirs["batch"]]
    np.testing.assert_allclose(insulin.frames["i_over_sigma"], theirs["i_over_sigma"], rtol=1e-12)
    np.testing.assert_allclose(insulin.frames["scale"], theirs["scale"], rtol=1e-12)
    ratio = insulin.frames["r_merge"] / theirs["r_merge"]
    assert ((ratio > 1) & (ratio < 1.05)).all()


def test_damage_indicator(insulin: Merged) -> None:
    """Theirs are all pairs, by single frames between them; ours the nearest eight, in twenty bins."""
    theirs = THEIRS[INSULIN]["r_d"]
    ours = insulin.drift[0]
    both = np.interp(ours["frames_apart"], theirs["apart"], theirs["r_d"])
    near = ours["frames_apart"] < 30
    np.testing.assert_allclose(ours["r_d"][near], both[near], rtol=0.1)


def test_twinning(insulin: Merged) -> None:
    theirs, ours = THEIRS[INSULIN]["twinning"], insulin.twinning
    assert ours.mean_abs_l == pytest.approx(theirs["mean_l"], abs=0.015)
    assert ours.mean_l_squared == pytest.approx(theirs["mean_l2"], abs=0.02)
    assert ours.moment_acentric == pytest.approx(theirs["moments"]["acentric"], abs=0.05)
    assert ours.twin_fraction == 0.0


def test_amplitudes(insulin: Merged) -> None:
    """French and Wilson's, with means of other shells as the prior."""
    theirs = THEIRS[INSULIN]["amplitudes"]
    rows = insulin.table.set_index(["h", "k", "l"]).loc[[tuple(h) for h in theirs["hkl"]]]
    assert len(rows) == 197
    np.testing.assert_allclose(rows["f"], theirs["f"], rtol=0.02)
    np.testing.assert_allclose(rows["f_sigma"], theirs["sigma"], rtol=0.06)


def test_wilson_b(insulin: Merged) -> None:
    """Theirs, by likelihood, knows how proteins depart from the straight line; the line from 3 A on comes nearer."""
    theirs = THEIRS[INSULIN]["wilson_b"]
    assert insulin.wilson.b_A2 == pytest.approx(theirs, abs=3.0)
    fine = insulin.table[insulin.table["d"] < 3.0]
    columns = (fine[name].to_numpy() for name in ("d", "intensity", "epsilon"))
    assert wilson_b(*columns).b_A2 == pytest.approx(theirs, abs=1.6)
