"""The whole stage: on made-up data with known truth, and on stored DIALS tables beside what DIALS made of them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parents[1] / "refinement"))
from refinement_case import crystal, geometry, observe

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.io.dials import read_refl, write_refl
from hdrmx.io.dials_models import read_expt, write_expt
from hdrmx.models import cell_of
from hdrmx.params import Params, Refine, override
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import about
from hdrmx.stages.refine import refine


def indexed(obs: Observations, unindexed: int = 3) -> pd.DataFrame:
    """As a table, with some spots that are not indexed in between."""
    n = len(obs)
    table = tables.empty(tables.INDEXED, n)
    for name in ("panel", "frame", "slow", "fast", "frame_var", "slow_var", "fast_var", "lattice", "entering"):
        table[name] = getattr(obs, name)
    for k, name in enumerate("hkl"):
        table[name] = obs.hkl[:, k]
    others = tables.empty(tables.INDEXED, unindexed)
    others["lattice"] = np.full(unindexed, -1, np.int32)
    whole = pd.concat([others, table], ignore_index=True)
    tables.check(whole, tables.INDEXED)
    return whole


def drifting(n_frames=900, n_lattices=1, noise=1.0):
    place, crystals, moving = geometry(n_frames=n_frames), [], []
    for i in range(n_lattices):
        each = crystal(angle=0.7 + 0.4 * i)
        share = np.linspace(-1, 1, n_frames + 1)
        path = [about((0.6, 0, 0.8), np.radians(0.05) * s) @ np.asarray(each.A) * (1 - 0.0005 * s) for s in share]
        crystals.append(each)
        moving.append(dataclasses.replace(each, A_at_scan_points=np.array(path)))
    return place, crystals, moving, observe(moving, place, 4.5, noise=noise)


def test_truth_comes_back_with_honest_uncertainties():
    place, crystals, moving, obs = drifting(n_lattices=2)
    table = indexed(obs)
    before = table.copy()
    model = refine(table, crystals, place)
    pd.testing.assert_frame_equal(table, before)
    tables.check(model.reflections, tables.REFINED)
    pd.testing.assert_frame_equal(model.reflections[table.columns], table)
    assert model.reflections["frame_calc"].isna()[:3].all()
    assert not model.reflections["used"][:3].any()
    assert model.counts["intervals"] == 5
    assert model.variance == pytest.approx(0.8, abs=0.15)  # below 1, as the tails are rejected
    for found, true, start in zip(model.crystals, moving, crystals):
        np.testing.assert_allclose(found.cell, start.cell, rtol=5e-4)
        assert max(found.cell_sd) < 0.03
        early, late = cell_of(found.A_at_scan_points[90]), cell_of(found.A_at_scan_points[810])
        expected = cell_of(true.A_at_scan_points[810])[0] / cell_of(true.A_at_scan_points[90])[0]
        sd = model.drift["a_sd"].median() / found.cell[0]
        assert 1e-5 < sd < 3e-4
        assert late[0] / early[0] == pytest.approx(expected, abs=5 * sd)
    assert list(model.drift["lattice"].unique()) == [0, 1]
    assert model.drift["rotation1_deg_sd"].between(1e-6, 0.05).all()


def test_tables_of_the_result_add_up():
    place, crystals, _, obs = drifting()
    model = refine(indexed(obs), crystals, place)
    blocks, used = model.blocks, model.reflections["used"]
    assert blocks["n"].sum() == used.sum() == model.counts["reflections"]
    assert blocks["first"].iloc[0] == 0
    assert blocks["last"].iloc[-1] == 900
    for axis in ("fast", "slow"):
        whole = np.sqrt((blocks["n"] * blocks[f"rmsd_{axis}_px"] ** 2).sum() / blocks["n"].sum())
        assert whole == pytest.approx(getattr(model, f"rmsd_{axis}_px"))
        off = (model.reflections[f"{axis}_calc"] - model.reflections[axis])[used]
        assert np.sqrt((off**2).mean()) == pytest.approx(whole)
    parameters = model.parameters.set_index("name")
    assert parameters.loc["a[0]", "value"] == model.crystals[0].cell[0]
    assert parameters.loc["distance", "value"] == pytest.approx(120.0, abs=5.0)


def test_same_bytes_each_time():
    place, crystals, _, obs = drifting()
    one, two = (refine(indexed(obs), crystals, place) for _ in range(2))
    assert one.crystals[0].A_at_scan_points.tobytes() == two.crystals[0].A_at_scan_points.tobytes()
    assert one.geometry == two.geometry
    pd.testing.assert_frame_equal(one.reflections, two.reflections, check_exact=True)


def test_work_is_linear_in_spots_and_in_frames():
    """Passes over the spots don't grow with their number, nor with the length of the scan."""
    passes = []
    for n_frames in (225, 450, 900, 1800):
        place, crystals, _, obs = drifting(n_frames)
        model = refine(indexed(obs), crystals, place)
        passes.append(model.counts["residual_evaluations"])
    assert max(passes) <= 1.5 * min(passes)


def test_the_length_of_intervals_can_be_left_open():
    place = geometry(n_frames=1800)
    each = crystal()
    share = np.linspace(0, 16 * np.pi, 1801)
    path = np.array([about((0.6, 0, 0.8), np.radians(0.1) * np.sin(s)) @ np.asarray(each.A) for s in share])
    obs = observe([dataclasses.replace(each, A_at_scan_points=path)], place, 5.0, noise=1.0)
    table = indexed(obs)
    coarse = refine(table, [each], place)
    fine = refine(table, [each], place, Refine(interval_deg=None))
    assert coarse.counts["intervals"] == 10
    assert fine.counts["intervals"] > 15
    assert fine.variance < 0.9 * coarse.variance
    still = refine(indexed(observe([each], place, 5.0, noise=1.0)), [each], place, Refine(interval_deg=None))
    assert still.counts["intervals"] <= 10


def test_settings_reach_the_fit():
    place, crystals, _, obs = drifting(400)
    table = indexed(obs)
    held = refine(table, crystals, place, Refine(hold="detector", scan_varying="never"))
    assert held.geometry == place
    assert held.crystals[0].A_at_scan_points is None
    assert held.counts["parameters"] == 9
    assert refine(table, crystals, place, Refine(outliers="none")).counts["outliers"] == 0
    fixed = refine(table, crystals, place, Refine(hold="cell, orientation"))
    assert fixed.crystals[0].cell == pytest.approx(crystals[0].cell)
    assert "doesn't vary" in fixed.notes[-1]
    settings = override(Params(), ["refine.interval_deg=18", "refine.hold=distance"]).refine
    assert refine(table, crystals, place, settings).counts["intervals"] == 4


def test_few_spots_leave_a_crystal_that_doesn_t_vary():
    place, crystals, _, obs = drifting()
    model = refine(indexed(obs.take(np.arange(0, len(obs), len(obs) // 70))), crystals, place)
    assert model.counts["intervals"] == 0
    assert "only" in model.notes[-1]


def test_bad_input_says_what_is_wrong():
    place, crystals, _, obs = drifting(400)
    table = indexed(obs)
    with pytest.raises(InputError, match="no crystal"):
        refine(table, [], place)
    with pytest.raises(InputError, match="0 of 0"):
        refine(table[:3], crystals, place)
    with pytest.raises(InputError, match="stills"):
        refine(table, crystals, dataclasses.replace(place, scan=None))
    other = table.assign(lattice=np.where(table["lattice"] < 0, -1, 4).astype("int32"))
    with pytest.raises(InputError, match="lattice 4 of 1"):
        refine(other, crystals, place)
    with pytest.raises(InputError, match="panel 9 of 1"):
        refine(table.assign(panel=np.int32(9)), crystals, place)
    with pytest.raises(InputError, match="tau7"):
        refine(table, crystals, place, Refine(hold="tau7"))
    with pytest.raises(InputError, match="upwards"):
        refine(table, crystals, place, Refine(beam="upwards"))


def test_rows_of_nonsense_do_no_harm():
    """Positions or variances that aren't numbers are left out; wrong indices are rejected."""
    place, crystals, _, obs = drifting(400)
    table = indexed(obs)
    clean = refine(table, crystals, place).crystals[0]
    rows = np.random.default_rng(1).choice(np.arange(3, len(table)), 200, replace=False)
    table.loc[rows[:40], "slow"] = np.nan
    table.loc[rows[40:60], "frame_var"] = np.inf
    table.loc[rows[60:80], "frame_var"] = np.nan
    table.loc[rows[80:120], "fast_var"] = 0.0
    table.loc[rows[120:], "h"] += 1
    model = refine(table, crystals, place)
    assert not model.reflections["used"][rows[:40]].any()
    assert not model.reflections["used"][rows[60:80]].any()
    assert model.reflections["used"][rows[120:]].mean() < 0.05
    np.testing.assert_allclose(model.crystals[0].cell, clean.cell, rtol=4e-4)


# dials.refine 3.12 on the same stored tables: r.m.s.d.s in px, px, frames; cell. Quartz with detector.fix=distance
DIALS = {
    ("ref_centroid_test_data", "never"): ((0.31294, 0.35029, 0.58860), (42.202, 42.202, 39.686), 408),
    ("ref_centroid_test_data", "auto"): ((0.31438, 0.35005, 0.52476), (42.202, 42.202, 39.686), 408),
    ("ref_quartz_processed", "never"): ((0.91596, 1.23450, 0.20142), (4.9249, 4.9249, 5.4014), 382),
    ("ref_quartz_processed", "auto"): ((0.90781, 1.24820, 0.19912), (4.9249, 4.9249, 5.4014), 380),
}


@pytest.mark.parametrize(("name", "scan_varying"), DIALS)
def test_stored_tables_give_what_dials_gives(shared_data, name, scan_varying):
    rmsds, cell, n_used = DIALS[name, scan_varying]
    experiment = read_expt(shared_data / name / "indexed.expt")[0]
    table = read_refl(shared_data / name / "indexed.refl").table[[c.name for c in tables.INDEXED]]
    model = refine(table, [experiment.crystal], experiment.geometry, Refine(scan_varying=scan_varying))
    np.testing.assert_allclose(model.crystals[0].cell[:3], cell, rtol=2.5e-4)
    # The two don't reject quite the same spots: compared are those that DIALS used.
    packed = np.load(Path(__file__).parents[1] / "reference" / "dials" / "refine_used.npz")[f"{name}/{scan_varying}"]
    spots = model.reflections[np.unpackbits(packed, count=len(table)).astype(bool)]
    assert len(spots) == n_used
    off = np.column_stack([spots[f"{a}_calc"] - spots[a] for a in ("fast", "slow", "frame")])
    assert (np.sqrt((off**2).mean(axis=0)) <= 1.02 * np.array(rmsds)).all()
    assert model.counts["reflections"] == pytest.approx(n_used, rel=0.05)


@pytest.mark.dials
@pytest.mark.slow
def test_dials_goes_on_from_the_refined_models(shared_data, tmp_path):
    """It opens the files, and its own refinement ends where ours did."""
    if shutil.which("dials.refine") is None:
        pytest.skip("DIALS is not installed")
    folder = shared_data / "ref_centroid_test_data"
    experiment = read_expt(folder / "indexed.expt")[0]
    table = read_refl(folder / "indexed.refl").table[[c.name for c in tables.INDEXED]]
    model = refine(table, [experiment.crystal], experiment.geometry)
    names = write_expt(tmp_path / "refined.expt", model.geometry, "images_####.cbf", crystals=model.crystals)
    write_refl(tmp_path / "refined.refl", model.reflections, names, model.geometry)
    command = ["dials.refine", "refined.expt", "refined.refl", "output.experiments=again.expt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    theirs = read_expt(tmp_path / "again.expt")[0].crystal
    np.testing.assert_allclose(theirs.cell[:3], model.crystals[0].cell[:3], rtol=5e-4)
    assert theirs.A_at_scan_points.shape == (10, 3, 3)
