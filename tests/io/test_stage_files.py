"""Small files of the later stages: what stands in them, and that the same results give the same bytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gemmi
import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "merging"))
from scaled_case import simulated

from hdrmx import cli, tables
from hdrmx.integration import flags
from hdrmx.integration.overview import DETAIL_PX, UNUSABLE, partiality_histogram, picture, resolution_shells
from hdrmx.io.stage_files import INTEGRATED_FILES, MERGED_FILES, SCALED_FILES, SYMMETRY_FILES, _turn
from hdrmx.merging.asu import rotations, space_group_of
from hdrmx.merging.curves import deviations, l_curve, moment_curve, normal_probability, wilson_curve
from hdrmx.params import Merge
from hdrmx.scaling.overview import outlier_table
from hdrmx.stages.merge import merge

CELL = (40.0, 50.0, 60.0, 90.0, 90.0, 90.0)


# a whole run


def test_a_run_leaves_all_of_them(small_run: Path) -> None:
    for name in (*INTEGRATED_FILES, *SYMMETRY_FILES, *SCALED_FILES, *MERGED_FILES):
        assert (small_run / name).stat().st_size > 0, name


def test_the_same_run_gives_the_same_bytes(small_set: Path, small_run: Path, tmp_path: Path) -> None:
    argv = ["process", str(small_set), "-o", str(tmp_path / "again"), "-j", "2"]
    assert cli.run(cli.group, "hdrmx", argv) == 0
    for name in (*INTEGRATED_FILES, *SYMMETRY_FILES, *SCALED_FILES, *MERGED_FILES):
        assert (tmp_path / "again" / name).read_bytes() == (small_run / name).read_bytes(), name


def test_what_stands_in_them(small_run: Path) -> None:
    merged = json.loads((small_run / "merged.json").read_text())
    shells, sums = (pd.read_csv(small_run / f"merged_{name}.csv") for name in ("shells", "sums"))
    assert list(shells.columns) == [c.name for c in tables.SHELLS]
    assert list(sums.columns) == [c.name for c in tables.SHELL_SUMS]
    assert shells["n_unique"].sum() == merged["overall"]["n_unique"]
    assert merged["counts"]["used"] == sums["n_observations"].sum()
    scaled = json.loads((small_run / "scaled_model.json").read_text())
    frames = pd.read_csv(small_run / "scaled_frames.csv")
    assert len(frames) == 30
    assert frames["n"].sum() == scaled["counts"]["observations"]
    assert (
        frames["n_rejected"].sum()
        == scaled["counts"]["outliers"]
        == len(pd.read_csv(small_run / "scaled_outliers.csv"))
    )
    np.testing.assert_allclose(np.diff(frames["angle_deg"]), 1.0)
    symmetry = json.loads((small_run / "symmetry.json").read_text())
    assert sum(g["chosen"] for g in symmetry["groups"]) == 1
    assert sum(g["probability"] for g in symmetry["groups"]) == pytest.approx(1.0)
    assert next(g for g in symmetry["groups"] if g["chosen"])["laue"] == "mmm"
    assert sorted(e["axis"] for e in symmetry["elements"]) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    integrated = json.loads((small_run / "integrated.json").read_text())
    assert sum(integrated["partiality"]) == integrated["sweeps"][0]["counts"]["predicted"]
    with np.load(small_run / "integrated_profiles.npz") as profiles:
        np.testing.assert_allclose(profiles["whole"].sum(axis=(1, 2)), 1.0, rtol=1e-5)
        assert len(profiles["whole"]) == (pd.read_csv(small_run / "integrated_blocks.csv")["reflections"] > 0).sum()


@pytest.mark.parametrize("group", ["P 6 2 2", "P 4 3 2", "I 4 2 2", "P 3 2 1", "P 2 2 2"])
def test_axes_of_rotations(group: str) -> None:
    for turn in rotations(space_group_of(group)):
        order, axis = _turn(turn.astype(float))
        power = np.linalg.matrix_power(turn, order)
        np.testing.assert_array_equal(power, np.eye(3))
        assert all((np.linalg.matrix_power(turn, n) != np.eye(3)).any() for n in range(1, order))
        if order > 1:
            np.testing.assert_array_equal(turn @ axis, axis)  # h . u = h W . u for every h
            assert np.gcd.reduce(axis) == 1


# integrated tables


def integrated(n: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = tables.empty(tables.INTEGRATED, n)
    table["d"] = rng.uniform(2.0, 20.0, n)
    table["sum_value"], table["sum_variance"] = 50.0, 100.0
    table["prf_value"], table["prf_variance"] = rng.uniform(10, 90, n), 25.0
    table["partiality"] = 1.0
    table["background"] = 0.25
    return table


def test_figures_by_resolution_add_up() -> None:
    table = integrated(500)
    table.loc[:99, "sum_value"] = np.nan
    shells = resolution_shells([table[:200], table[200:]])
    assert shells["n"].sum() == 500
    assert shells["n_sum"].sum() == 400
    assert shells["n_prf"].sum() == 500
    np.testing.assert_allclose(shells["i_over_sigma_sum"].dropna(), 5.0)
    np.testing.assert_allclose(shells["background"].dropna(), 0.25)
    weighted = np.nansum(shells["mean_prf"] * shells["n_prf"]) / 500
    assert weighted == pytest.approx(table["prf_value"].mean())
    assert len(resolution_shells([])) == 0
    assert len(resolution_shells([table[:1]])) == 1


def test_partialities_are_counted() -> None:
    table = integrated(4).assign(partiality=[0.0, 0.07, 0.95, 1.0])
    found = partiality_histogram([table, table[:1]])
    assert (found[0], found[1], found[19], found.sum()) == (2, 1, 2, 5)


def test_picture_of_a_frame() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.poisson(0.2, (700, 1500)).astype(np.uint32)
    usable = np.ones(pixels.shape, bool)
    usable[:, 740:760] = False
    pixels[300, 1001] = 900
    pixels[0, 0] = 4_000_000
    pixels[10, 750] = 50
    table = tables.empty(tables.INTEGRATED, 3)
    table["slow"], table["fast"] = [300.5, 20.0, 400.0], [1.5, 30.0, 900.0]
    table["panel"] = np.array([1, 0, 0], "int32")
    table["frame_min"], table["frame_max"] = np.array([3, 0, 5], "int32"), np.array([6, 6, 6], "int32")
    table["flags"] = np.array([flags.INTEGRATED_SUM, 0, flags.INTEGRATED_PRF], "int32")
    found = picture(4, pixels, usable, table, [(0, 0), (0, 1000)])
    assert found.step == 3
    assert found.overview.shape == (234, 500)
    assert found.overview[100, 333] == 900
    assert found.overview[0, 0] == UNUSABLE - 1  # more than it can hold
    assert found.overview[3, 250] == UNUSABLE  # under the mask
    assert found.detail.shape == (DETAIL_PX, DETAIL_PX)
    assert found.predicted[["slow", "fast", "is_integrated"]].to_numpy().tolist() == [
        [300.5, 1001.5, True],
        [20.0, 30.0, False],
    ]
    assert picture(9, pixels[:50, :40], usable[:50, :40], table).detail.shape == (50, 40)


# curves


@pytest.fixture(scope="module")
def observed() -> pd.DataFrame:
    return simulated(copies=6, noise=3.0, b_A2=25.0, d_min=2.0)[0]


def test_deviations_of_right_errors_are_normal(observed: pd.DataFrame) -> None:
    mean, deviation = deviations(observed, "P 21 21 21")
    assert np.isfinite(deviation).all()
    assert deviation.std() == pytest.approx(1.0, abs=0.03)
    plot = normal_probability(deviation)
    middle = np.abs(plot["expected"]) < 2
    assert np.polyfit(plot["expected"][middle], plot["observed"][middle], 1)[0] == pytest.approx(1.0, abs=0.03)
    # written out for one reflection
    row = 100
    same = observed.index[[m == mean[row] for m in mean]]
    assert row in same
    group = gemmi.SpaceGroup("P 21 21 21")
    asu = gemmi.ReciprocalAsu(group)
    keys = [tuple(asu.to_asu(h, group.operations())[0]) for h in observed[["h", "k", "l"]].to_numpy().tolist()]
    others = observed[[k == keys[row] for k in keys]].drop(index=row)
    weight = 1 / others["sigma"] ** 2
    expected = float((weight * others["intensity"]).sum() / weight.sum())
    assert mean[row] == pytest.approx(expected)
    sd = np.sqrt(observed["sigma"][row] ** 2 + 1 / weight.sum())
    assert deviation[row] == pytest.approx((observed["intensity"][row] - expected) / sd)


def test_rejected_observations_bear_on_no_mean(observed: pd.DataFrame) -> None:
    table = observed.copy()
    table.loc[5, ["intensity", "rejected"]] = [1e9, True]
    mean, deviation = deviations(table, "P 21 21 21")
    assert np.nanmax(np.abs(mean)) < 1e7
    worst = outlier_table(table, mean, deviation)
    assert len(worst) == 1
    assert worst["intensity"][0] == 1e9
    assert worst["deviation"][0] > 100
    alone = deviations(table.iloc[:1], "P 21 21 21")
    assert np.isnan(alone[0]).all()
    assert np.isnan(alone[1]).all()
    assert len(normal_probability(alone[1])) == 0


def test_curves_of_merged_data(observed: pd.DataFrame) -> None:
    merged = merge(observed, "P 21 21 21", CELL, Merge())
    curve = wilson_curve(merged.table, merged.wilson)
    inside = curve["fitted"].notna()
    slope = np.polyfit(curve["s2"][inside], curve["fitted"][inside], 1)[0]
    assert -2 * slope == pytest.approx(merged.wilson.b_A2, rel=1e-6)
    assert np.abs(curve["fitted"] - curve["log_ratio"])[inside].mean() < 0.5
    found = l_curve(merged.table, merged.twinning.d_min)
    assert found["measured"].iloc[-1] == 1.0
    assert (np.diff(found["measured"]) >= 0).all()
    assert np.abs(found["measured"] - found["untwinned"]).max() < 0.05
    moments = moment_curve(merged.table)
    assert np.nanmean(moments["acentric"]) == pytest.approx(2.0, abs=0.15)
    assert np.nanmean(moments["centric"]) == pytest.approx(3.0, abs=0.5)


def test_a_perfect_twin_follows_its_curve() -> None:
    table, _ = simulated("P 4", (50.0, 50.0, 60.0, 90.0, 90.0, 90.0), d_min=2.0, copies=4, noise=1.0)
    merged = merge(table, "P 4", (50.0, 50.0, 60.0, 90.0, 90.0, 90.0), Merge())
    hkl = merged.table[["h", "k", "l"]].to_numpy()
    place = {tuple(h): i for i, h in enumerate(hkl.tolist())}
    mate = np.array([place.get((k, h, l), -1) for h, k, l in hkl.tolist()])
    value = merged.table["intensity"].to_numpy()
    twinned = merged.table.assign(intensity=np.where(mate >= 0, (value + value[mate]) / 2, value))[mate >= 0]
    found = l_curve(twinned, 2.0)
    inside = slice(3, -3)
    to_twin = np.abs(found["measured"] - found["twinned"])[inside].mean()
    to_none = np.abs(found["measured"] - found["untwinned"])[inside].mean()
    assert to_twin < 0.3 * to_none
    assert len(l_curve(twinned[:20], 2.0)) == 0
