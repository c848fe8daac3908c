"""The stage merge: against gemmi's figures on real data, formulae written out, planted truth, and invariants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "merging"))
from scaled_case import Cell, simulated, unmerged_mtz

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.merging.asu import to_asu
from hdrmx.params import Merge
from hdrmx.stages.merge import Merged, merge

CELL: Cell = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)
GROUP = "P 21 21 21"


@pytest.fixture(scope="module")
def made() -> tuple[pd.DataFrame, pd.DataFrame]:
    return simulated()


@pytest.fixture(scope="module")
def merged(made: tuple[pd.DataFrame, pd.DataFrame]) -> Merged:
    return merge(made[0], GROUP, CELL, Merge())


def one(result: Merged) -> pd.Series:
    return result.overall.iloc[0]


def test_insulin_has_gemmis_figures(shared_data: Path) -> None:
    path = shared_data / "ref_unmerged_mtz" / "insulin_dials_scaled_unmerged.mtz"
    result = merge(*unmerged_mtz(path), Merge())
    intensities = gemmi.Intensities()
    intensities.import_mtz(gemmi.read_mtz_file(str(path)), gemmi.DataType.Unmerged)
    theirs = intensities.calculate_merging_stats(None, use_weights="X")[0]
    ours = one(result)
    assert (ours.n_observations, ours.n_unique) == (theirs.all_refl, theirs.unique_refl) == (45595, 9831)
    for name in ("r_merge", "r_meas", "r_pim"):
        assert ours[name] == pytest.approx(getattr(theirs, name)(), rel=1e-6)
    assert ours.cc_half_sigma_tau == pytest.approx(theirs.cc_half(), rel=1e-6)
    assert ours.cc_half == pytest.approx(0.9992, abs=2e-4)


def test_formulae_written_out(made: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = made[0].iloc[:700]
    result = merge(table, GROUP, CELL, Merge(shells=3))
    mapped, _ = to_asu(table[["h", "k", "l"]].to_numpy(np.int32), gemmi.SpaceGroup(GROUP))
    top = merge_sum = meas = pim = 0.0
    for _, rows in table.groupby([str(h) for h in mapped.tolist()]):
        i, w = rows.intensity.to_numpy(), 1 / rows.sigma.to_numpy() ** 2
        n, mean = len(i), (w * i).sum() / w.sum()
        if n > 1:
            top += i.sum()
            merge_sum += abs(i - mean).sum()
            meas += (n / (n - 1)) ** 0.5 * abs(i - mean).sum()
            pim += (1 / (n - 1)) ** 0.5 * abs(i - mean).sum()
    ours = one(result)
    assert [ours.r_merge, ours.r_meas, ours.r_pim] == pytest.approx([merge_sum / top, meas / top, pim / top], rel=1e-12)


def test_shells_add_up(merged: Merged) -> None:
    assert merged.shells.n_unique.sum() == one(merged).n_unique == len(merged.table)
    assert merged.shells.n_observations.sum() == merged.counts["used"] == merged.frames.n.sum()
    single = merge(simulated()[0], GROUP, CELL, Merge(shells=1))
    for name in ("completeness", "r_meas", "cc_half", "cc_anom", "cc_half_sigma_tau", "i_over_sigma"):
        assert one(single)[name] == pytest.approx(one(merged)[name], rel=1e-9), name


def test_row_order_does_not_matter(made: tuple[pd.DataFrame, pd.DataFrame], merged: Merged) -> None:
    other = merge(made[0].sample(frac=1, random_state=3), GROUP, CELL, Merge())
    pd.testing.assert_frame_equal(merged.shells, other.shells, rtol=1e-9)
    pd.testing.assert_frame_equal(merged.table, other.table, rtol=1e-9)
    assert (merged.table.free == other.table.free).all()


def test_scaling_all_leaves_figures(made: tuple[pd.DataFrame, pd.DataFrame], merged: Merged) -> None:
    table = made[0].assign(intensity=made[0].intensity * 7, sigma=made[0].sigma * 7)
    other = merge(table, GROUP, CELL, Merge())
    for name in ("r_merge", "r_meas_anom", "cc_half_sigma_tau", "i_over_sigma", "completeness"):
        assert one(other)[name] == pytest.approx(one(merged)[name], rel=1e-9)
    np.testing.assert_allclose(other.table.f, merged.table.f * 7**0.5, rtol=1e-6)
    assert other.wilson.b_A2 == pytest.approx(merged.wilson.b_A2, rel=1e-6)


def test_equivalent_indices_merge_alike(made: tuple[pd.DataFrame, pd.DataFrame], merged: Merged) -> None:
    mapped, isym = to_asu(made[0][["h", "k", "l"]].to_numpy(np.int32), gemmi.SpaceGroup(GROUP))
    table = made[0].copy()
    for axis, letter in enumerate("hkl"):
        table[letter] = np.where(isym % 2 == 0, -1, 1).astype(np.int32) * mapped[:, axis]
    np.testing.assert_allclose(merge(table, GROUP, CELL, Merge()).table.intensity, merged.table.intensity, rtol=1e-12)


def test_truth_is_met(made: tuple[pd.DataFrame, pd.DataFrame], merged: Merged) -> None:
    both = merged.table.merge(made[1], on=["h", "k", "l"])
    assert len(both) == len(made[1]) == len(merged.table)
    pull = (both.intensity - both.true) / both.sigma
    assert abs(pull.mean()) < 0.05
    assert pull.std() == pytest.approx(1.0, abs=0.03)
    ours = one(merged)
    assert ours.completeness == 1.0
    assert ours.multiplicity == pytest.approx(4.0)
    # CC1/2 estimates the squared correlation of a half with the truth
    assert ours.cc_half == pytest.approx(ours.cc_half_sigma_tau, abs=0.003)
    assert abs(ours.cc_anom) < 0.15
    assert merged.scatter.a == pytest.approx(1.0, abs=0.04)
    assert merged.twinning.mean_abs_l == pytest.approx(0.5, abs=0.02)
    assert merged.twinning.moment_acentric == pytest.approx(2.0, abs=0.1)


def test_noise_has_no_correlation() -> None:
    table, _ = simulated(seed=5)
    table["intensity"] = np.random.default_rng(1).normal(0, 1, len(table))
    table["sigma"] = 1.0
    result = merge(table, GROUP, CELL, Merge())
    assert abs(one(result).cc_half) < 0.05
    assert one(result).cc_half_p > 1e-3
    assert result.resolution.d_min is None
    assert np.isfinite(result.table.f).all()


def test_resolution_limit_falls_with_noise() -> None:
    found = [
        merge(simulated(noise=noise, b_A2=60.0)[0], GROUP, CELL, Merge()).resolution for noise in (5.0, 80.0, 300.0)
    ]
    limits = [f.d_min for f in found]
    assert limits[0] == pytest.approx(2.5, abs=0.01)
    assert found[0].reaches_edge
    assert limits[0] < limits[1] < limits[2]


def test_perfect_twin_is_seen() -> None:
    table, truth = simulated("P 41", (60.0, 60.0, 60.0, 90.0, 90.0, 90.0))
    lookup = truth.set_index(["h", "k", "l"]).true
    hkl = table[["h", "k", "l"]].to_numpy(np.int32)
    group = gemmi.SpaceGroup("P 41")
    halves = []
    for mates in (hkl, hkl[:, [1, 0, 2]] * (1, 1, -1)):
        mapped, _ = to_asu(mates.astype(np.int32), group)
        halves.append(lookup.reindex(pd.MultiIndex.from_arrays(mapped.T)).to_numpy())
    table["intensity"] = (halves[0] + halves[1]) / 2
    table = table[np.isfinite(table.intensity)]
    found = merge(table, "P 41", (60.0, 60.0, 60.0, 90.0, 90.0, 90.0), Merge()).twinning
    assert found.mean_abs_l == pytest.approx(0.375, abs=0.01)
    assert found.moment_acentric == pytest.approx(1.5, abs=0.1)
    assert found.twin_fraction > 0.3  # <|L|> hardly changes between 0.35 and 0.5


def test_free_set_is_a_twentieth_and_shared_by_twins(merged: Merged) -> None:
    table = simulated("P 41", (60.0, 60.0, 60.0, 90.0, 90.0, 90.0))[0]
    free = merge(table, "P 41", (60.0, 60.0, 60.0, 90.0, 90.0, 90.0), Merge()).table.set_index(["h", "k", "l"]).free
    assert (free == 0).mean() == pytest.approx(0.05, abs=0.015)
    assert all(free[h, k, l] == free.get((k, h, l), free[h, k, l]) for h, k, l in free.index)
    assert (merged.table.free == 0).mean() == pytest.approx(0.05, abs=0.015)


def test_damage_shows_in_drift() -> None:
    table, _ = simulated(noise=1.0)
    table["intensity"] *= 1 + 0.004 * table["frame"]
    damaged = merge(table, GROUP, CELL, Merge())
    r = damaged.drift[0].r_d.to_numpy()
    assert r[-3:].mean() > 3 * r[0]
    assert np.polyfit(damaged.frames.frame, damaged.frames.relative, 1)[0] > 0.002


def test_what_cannot_be_merged_is_counted(made: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = made[0].copy()
    table.loc[0:9, "rejected"] = True
    table.loc[10:14, "sigma"] = 0.0
    table.loc[15:19, "intensity"] = np.nan
    table.loc[20:21, ["h", "k", "l"]] = np.array([[3, 0, 0], [0, 0, 5]], np.int32)
    result = merge(table, GROUP, CELL, Merge(d_min=3.0))
    assert (result.counts["rejected"], result.counts["unusable"], result.counts["absent"]) == (10, 10, 2)
    assert sum(n for name, n in result.counts.items() if name != "given") == result.counts["given"] == len(table)
    assert result.table.d.min() >= 3.0
    assert result.frames.n_rejected.sum() + result.frames.n.sum() == len(table)


def test_nothing_to_merge_is_an_error(made: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    with pytest.raises(InputError, match="none of 0 observations"):
        merge(tables.empty(tables.SCALED), GROUP, CELL, Merge())
    with pytest.raises(InputError, match="rejected"):
        merge(made[0].assign(rejected=True), GROUP, CELL, Merge())
    with pytest.raises(InputError, match="'P 21 21 21 21'"):
        merge(made[0], "P 21 21 21 21", CELL, Merge())


def test_one_observation_is_enough(made: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    result = merge(made[0].iloc[:1], GROUP, CELL, Merge())
    assert len(result.table) == 1
    assert np.isnan(one(result).r_meas)
    assert np.isnan(one(result).cc_half)


_IOTBX = """
import json, sys
import iotbx.mtz
from iotbx import merging_statistics
arrays = iotbx.mtz.object(sys.argv[1]).as_miller_arrays(merge_equivalents=False)
i_obs = [a for a in arrays if a.info().labels == ["I", "SIGI"]][0].customized_copy(anomalous_flag=True)
i_obs = i_obs.set_info([a for a in arrays if a.info().labels == ["I", "SIGI"]][0].info())
names = ("completeness", "mean_redundancy", "i_over_sigma_mean", "r_merge", "r_meas", "r_pim", "cc_one_half")
names += ("cc_one_half_sigma_tau", "n_obs", "n_uniq")
result = merging_statistics.dataset_statistics(i_obs, n_bins=20, binning_method="volume", anomalous=False,
    use_internal_variance=False, eliminate_sys_absent=False, assert_is_not_unique_set_under_symmetry=False,
    cc_one_half_significance_level=0.01)
print(json.dumps([{n: getattr(b, n) for n in names} for b in [*result.bins, result.overall]]))
"""


@pytest.mark.dials
def test_shells_have_the_figures_of_dials(shared_data: Path) -> None:
    import json

    path = shared_data / "ref_unmerged_mtz" / "insulin_dials_scaled_unmerged.mtz"
    run = subprocess.run(["/usr/bin/python3", "-c", _IOTBX, str(path)], capture_output=True, text=True, check=True)
    theirs = pd.DataFrame(json.loads(run.stdout.splitlines()[-1]))
    result = merge(*unmerged_mtz(path), Merge())
    ours = pd.concat([result.shells, result.overall], ignore_index=True)
    assert (ours.n_observations == theirs.n_obs).all()
    assert (ours.n_unique == theirs.n_uniq).all()
    for mine, name, tolerance in (
        ("completeness", "completeness", 0.003),
        ("multiplicity", "mean_redundancy", 1e-9),
        ("i_over_sigma", "i_over_sigma_mean", 1e-6),
        ("r_merge", "r_merge", 1e-5),
        ("r_meas", "r_meas", 1e-5),
        ("r_pim", "r_pim", 1e-5),
        ("cc_half_sigma_tau", "cc_one_half_sigma_tau", 5e-3),  # theirs has no weights
        ("cc_half", "cc_one_half", 0.03),  # other halves
    ):
        np.testing.assert_allclose(ours[mine], theirs[name], rtol=tolerance, atol=tolerance, err_msg=mine)
