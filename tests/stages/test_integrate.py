"""Prediction and integration: true intensities and right sigmas on every path; what fails is flagged."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from integration_case import SHAPE, Case, case, crystal, geometry, packed, with_scan

from hdrmx import tables
from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Codec
from hdrmx.integration import flags
from hdrmx.integration.profile_model import ProfileModel
from hdrmx.io.dials_intensities import write_integrated
from hdrmx.io.dials_pack import read_columns
from hdrmx.models import Crystal
from hdrmx.params import Integrate, Predict
from hdrmx.stages.integrate import Integrated, integrate
from hdrmx.stages.predict import indices_within, predict

# Enough reflections for profiles to be learned from, in two cells of the detector along each edge.
PARAMS = Integrate(grid_cells=2, block_deg=4.0)


def run(c: Case, params: Integrate = PARAMS, frames=None, mask=None, **options) -> Integrated:
    frames = packed(c.stack) if frames is None else frames
    return integrate(c.predicted, frames, c.mask if mask is None else mask, c.geometry, c.profile, params, **options)


@pytest.fixture(scope="module")
def usual() -> Case:
    return case()


@pytest.fixture(scope="module")
def usual_result(usual: Case) -> Integrated:
    return run(usual)


def errors(c: Case, table: pd.DataFrame, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(value - true, sigma) of fully recorded reflections."""
    whole = (table["partiality"] > 0.99) & np.isfinite(table[f"{kind}_value"])
    true = c.intensity * (table["foreground_fraction"] if kind == "sum" else 1.0)
    return (table[f"{kind}_value"] - true)[whole].to_numpy(), np.sqrt(table[f"{kind}_variance"][whole]).to_numpy()


@pytest.mark.parametrize(("mean", "background"), [(2.0, 0.02), (8.0, 0.02), (30.0, 1.0), (1000.0, 0.3)])
@pytest.mark.parametrize("kind", ["sum", "prf"])
def test_intensities_are_unbiased_and_sigmas_calibrated(mean, background, kind):
    found = []
    for seed in range(2):
        c = case(mean, background, seed, intensity=np.array([mean]))  # all alike
        found.append(errors(c, run(c).table, kind))
    error, sigma = (np.concatenate(part) for part in zip(*found))
    assert len(error) > 500
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))
    # Two photons at hardly any background: the sigmas of intensities that all are alike come out small, as Wilson's
    # distribution, which they are made for, has most reflections below the mean.
    assert 0.8 < np.mean(error**2) / np.mean(sigma**2) < (1.5 if mean < 5 else 1.25)


@pytest.mark.parametrize("kind", ["sum", "prf"])
def test_reflections_without_intensity_have_none(kind):
    c = case(40.0, 0.05, 3, intensity=np.array([0.0, 0.0, 40.0]))
    table = run(c).table
    values = table[f"{kind}_value"][(c.intensity == 0) & np.isfinite(table[f"{kind}_value"])]
    assert len(values) > 200
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))


def test_slope_on_the_truth_is_one():
    c = case(1500.0, 0.3, 5)
    table = run(c).table
    good = np.isfinite(table["prf_value"]) & (table["partiality"] > 0.9)
    assert table["prf_value"][good].sum() / c.intensity[good].sum() == pytest.approx(1.0, abs=0.006)
    full = table["sum_value"] / (table["foreground_fraction"])
    good &= np.isfinite(full)
    assert full[good].sum() / c.intensity[good].sum() == pytest.approx(1.0, abs=0.006)


def test_partial_reflections_are_fitted_whole():
    c = case(3000.0, 0.1, 6)
    table = run(c).table
    part = (table["partiality"] > 0.25) & (table["partiality"] < 0.85) & np.isfinite(table["prf_value"])
    assert part.sum() > 10
    ratio = table["prf_value"][part].sum() / c.intensity[part].sum()
    assert ratio == pytest.approx(1.0, abs=0.05)


def test_table_and_counts(usual: Case, usual_result: Integrated):
    table, counts = usual_result.table, usual_result.counts
    tables.check(table, tables.INTEGRATED)
    pd.testing.assert_frame_equal(table[[c.name for c in tables.PREDICTED]], usual.predicted)
    n_frames = usual.geometry.scan.n_frames
    assert counts["frames"] == counts["decodes"] == n_frames
    assert counts["predicted"] == len(table)
    assert counts["integrated_sum"] == np.isfinite(table["sum_value"]).sum() == len(table) - counts["failed_summation"]
    size = table[["frame_max", "slow_max", "fast_max"]].to_numpy() - table[["frame_min", "slow_min", "fast_min"]]
    assert counts["shoebox_pixels"] == size.to_numpy().prod(axis=1).sum()
    assert usual_result.blocks["reflections"].sum() == len(table)
    assert usual_result.per_frame["reflections"].sum() == len(table)
    assert table["background"][table["n_background"] > 300].mean() == pytest.approx(0.3, rel=0.05)
    assert (table["qe"] == 1).all()
    assert ((table["lp"] > 0) & (table["lp"] < 2)).all()


@pytest.mark.parametrize("kernel", ["auto", "dense", "sparse"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_same_bytes_on_every_path_and_any_number_of_threads(usual, usual_result, kernel, threads):
    result = run(usual, dataclasses.replace(PARAMS, kernel=kernel), threads=threads)
    pd.testing.assert_frame_equal(result.table, usual_result.table, check_exact=True)
    if kernel != "auto":
        assert result.counts["sparse_frames"] == (len(usual.stack) if kernel == "sparse" else 0)


def test_blocks_limit_what_is_kept_and_hardly_matter(usual: Case, usual_result: Integrated):
    most = int(usual_result.blocks["voxels"].max()) // 3
    result = run(usual, dataclasses.replace(PARAMS, block_voxels=most))
    assert len(result.blocks) > 2 * len(usual_result.blocks)
    assert result.blocks["reflections"].sum() == len(usual.predicted)
    np.testing.assert_array_equal(result.table["n_background"], usual_result.table["n_background"])
    np.testing.assert_array_equal(result.table["sum_value"], usual_result.table["sum_value"])
    good = np.isfinite(result.table["prf_value"]) & np.isfinite(usual_result.table["prf_value"])
    assert np.corrcoef(result.table["prf_value"][good], usual_result.table["prf_value"][good])[0, 1] > 0.995


def test_masked_pixels_are_flagged_and_left_out(usual: Case, usual_result: Integrated):
    mask = usual.mask.copy()
    mask[:, 60:63] = False
    table = run(usual, mask=mask).table
    hit = (table["n_valid"] < table["n_foreground"]) & (usual_result.table["n_valid"] == table["n_foreground"])
    assert hit.sum() > 5
    bits = table["flags"].to_numpy()
    assert ((bits[hit] & flags.BAD_FOREGROUND) != 0).all()
    assert table["sum_value"][hit].isna().all()
    fitted = hit & np.isfinite(table["prf_value"])
    assert (table["profile_fraction"] >= PARAMS.min_profile * table["foreground_fraction"] - 1e-6)[fitted].all()
    lost = hit & table["prf_value"].isna()
    assert ((bits[lost] & flags.FAILED_PROFILE) != 0).all()
    far = (table["fast_min"] > 64) | (table["fast_max"] < 58)
    np.testing.assert_array_equal(table["sum_value"][far], usual_result.table["sum_value"][far])


def test_all_masked_is_all_failed_and_no_crash(usual: Case):
    result = run(usual, mask=np.zeros(SHAPE, bool))
    assert result.counts["integrated_sum"] == result.counts["integrated_prf"] == 0
    assert result.counts["failed_background"] == len(usual.predicted)


def test_overloads_are_flagged(usual: Case):
    stack = usual.stack.copy()
    row = usual.predicted[usual.predicted["partiality"] > 0.99].iloc[3]
    stack[int(row["frame"]), int(row["slow"]), int(row["fast"])] = 60000
    where = usual.geometry
    table = run(usual, frames=packed(stack)).table
    at = row.name
    assert table["flags"][at] & flags.BAD_FOREGROUND
    assert np.isnan(table["sum_value"][at])
    stack[int(row["frame"]), int(row["slow"]), int(row["fast"])] = where.detector.trusted[1]
    assert run(usual, frames=packed(stack)).table["flags"][at] & flags.OVERLOADED


def test_a_hot_pixel_is_no_reflection(usual: Case, usual_result: Integrated):
    stack = usual.stack.copy()
    row = usual.predicted[usual.predicted["partiality"] > 0.99].iloc[5]
    stack[:, int(row["slow"]) + 2, int(row["fast"])] = 300
    result = run(usual, frames=packed(stack))
    assert result.table["flags"][row.name] & flags.FAILED_PROFILE
    assert result.counts["failed_profile"] < usual_result.counts["failed_profile"] + 8
    assert not (usual_result.table["flags"][row.name] & flags.FAILED_PROFILE)


def test_neighbours_are_kept_apart():
    """Boxes of twice the spread: foregrounds meet."""
    c = case(100.0, 0.2, 2, n_sigma=3.0)
    wide = ProfileModel(2.2 * c.profile.sigma_b_rad, c.profile.sigma_m_rad)
    predicted = predict([c.crystal], c.geometry, wide).table
    one, other = (
        integrate(predicted, packed(c.stack), c.mask, c.geometry, wide, dataclasses.replace(PARAMS, overlaps=how))
        for how in ("exclude", "share")
    )
    assert one.counts["overlapped_foreground"] > 20
    both = np.isfinite(one.table["sum_value"]) & np.isfinite(other.table["sum_value"])
    assert one.table["background"][both].mean() < other.table["background"][both].mean()
    assert (one.table["n_background"] < other.table["n_background"]).any()


def test_broken_frames_are_skipped_and_neighbours_unharmed(usual: Case, usual_result: Integrated):
    frames = packed(usual.stack)
    frames[7] = dataclasses.replace(frames[7], load=lambda: np.zeros(5, np.uint8))
    with pytest.raises(BadFrame, match="frame 7"):
        run(usual, frames=frames)
    for threads in (1, 3):
        result = run(usual, frames=frames, skip_bad_frames=True, threads=threads)
        assert [index for index, _ in result.bad_frames] == [7]
        table = result.table
        clear = (table["frame_min"] > 7) | (table["frame_max"] <= 7)
        assert 0 < clear.sum() < len(table)
        np.testing.assert_array_equal(table["sum_value"][clear], usual_result.table["sum_value"][clear])
        assert table["sum_value"][~clear].isna().all()
    absent = run(usual, frames=frames[:7] + frames[8:])
    pd.testing.assert_frame_equal(absent.table, table, check_exact=True)


def test_a_scan_shorter_than_a_rocking_curve():
    where = geometry(n_frames=2, width_deg=0.1)
    c = case(2000.0, 0.2, 4, where=where)
    result = run(c)
    assert result.table["partiality"].max() < 0.9
    assert result.counts["integrated_sum"] > 0


def test_two_panels_are_as_good_as_one():
    c = case(400.0, 0.3, 9, where=geometry(panels=2))
    error, sigma = errors(c, run(c).table, "prf")
    pull = error / sigma
    assert set(c.predicted["panel"]) == {0, 1}
    assert abs(pull.mean()) < 0.25
    assert pull.var() < 1.5


def test_frames_that_do_not_belong_are_refused(usual: Case):
    with pytest.raises(InputError, match="no frame lies within the scan"):
        run(usual, frames=packed(usual.stack[:2], first=500))
    with pytest.raises(InputError, match="a reflection's box has"):
        run(usual, Integrate(block_voxels=1000))
    with pytest.raises(InputError, match="the mask"):
        run(usual, mask=np.ones((50, 50), bool))
    small = [dataclasses.replace(f, shape=(90, 200), codec=Codec.RAW) for f in packed(usual.stack[:1])]
    with pytest.raises(InputError, match="frames have"):
        run(usual, frames=small)
    with pytest.raises(InputError, match="stills"):
        integrate(usual.predicted, [], usual.mask, with_scan(usual.geometry, width_rad=0.0), usual.profile)
    with pytest.raises(InputError, match="no reflection is predicted"):
        integrate(usual.predicted[:0], [], usual.mask, usual.geometry, usual.profile)


def test_written_for_dials(tmp_path: Path, usual: Case, usual_result: Integrated):
    write_integrated(tmp_path / "integrated.refl", usual_result.table, {0: "name"}, usual.geometry)
    columns = read_columns(tmp_path / "integrated.refl")
    table = usual_result.table
    done = table[np.isfinite(table["sum_value"]) | np.isfinite(table["prf_value"])]
    assert columns.n_rows == len(done)
    v = columns.values
    np.testing.assert_array_equal(v["intensity.prf.value"], np.nan_to_num(done["prf_value"]))
    np.testing.assert_array_equal(v["xyzcal.px"], done[["fast", "slow", "frame"]])
    np.testing.assert_array_equal(v["miller_index"], done[["h", "k", "l"]])
    assert all(np.isfinite(v[name]).all() for name in v)


# prediction


@pytest.mark.parametrize("space_group", ["P 1", "C 1 2 1", "I 2 2 2", "F 2 2 2", "P 21 21 21"])
def test_indices_are_all_within_the_sphere_without_the_centrings_absences(space_group):
    lattice = dataclasses.replace(crystal((20.0, 23.0, 26.0, 90.0, 90.0, 90.0)), space_group=space_group)
    found = indices_within(lattice, 4.0)
    h = np.arange(-8, 9)
    every = np.array(np.meshgrid(h, h, h, indexing="ij")).reshape(3, -1).T
    d = 1 / np.maximum(np.linalg.norm(every @ np.asarray(lattice.A).T, axis=1), 1e-9)
    rule = {
        "C": (every[:, 0] + every[:, 1]) % 2 == 0,
        "I": every.sum(axis=1) % 2 == 0,
        "F": (every % 2 == every[:, :1] % 2).all(axis=1),
    }.get(space_group[0], np.ones(len(every), bool))
    expected = every[(d >= 4.0) & rule & every.any(axis=1)]
    np.testing.assert_array_equal(found, expected)


def test_boxes_hold_what_they_should(usual: Case):
    p = usual.predicted
    for axis in ("slow", "fast"):
        assert (p[f"{axis}_min"] < p[axis]).all()
        assert (p[axis] < p[f"{axis}_max"]).all()
    assert (p["frame_min"] >= 0).all()
    assert (p["frame_max"] <= usual.geometry.scan.n_frames).all()
    inside = (p["frame"] > 4) & (p["frame"] < 20) & (p["zeta"].abs() > 0.5)
    assert (p["partiality"][inside] > 0.997).all()
    assert ((p["partiality"] > 0) & (p["partiality"] <= 1)).all()
    assert (p["frame"] < 0).any()  # reaches in from before the scan


def test_a_crystal_that_varies_is_predicted_as_it_is_at_each_angle(usual: Case):
    n = usual.geometry.scan.n_frames
    still = Crystal(usual.crystal.A, "P 1", np.repeat(np.asarray(usual.crystal.A)[None], n + 1, axis=0))
    table = predict([still], usual.geometry, usual.profile).table
    pd.testing.assert_frame_equal(table, usual.predicted, check_exact=False, rtol=1e-9)


def test_predictions_that_cannot_be_are_refused(usual: Case):
    args = (usual.geometry, usual.profile)
    with pytest.raises(InputError, match="there is no crystal"):
        predict([], *args)
    with pytest.raises(InputError, match="stills"):
        predict([usual.crystal], with_scan(usual.geometry, width_rad=0.0), usual.profile)
    with pytest.raises(InputError, match="indices"):
        predict([crystal((400.0, 400.0, 400.0, 90.0, 90.0, 90.0))], *args, Predict(d_min=0.5))
    with pytest.raises(InputError, match="no reflection falls"):
        predict([usual.crystal], *args, Predict(d_min=60.0))


def test_pulls_of_wilsons_intensities_are_of_variance_one_in_every_bin():
    cases = [case(25.0, 0.1, seed) for seed in range(3)]
    results = [run(c).table for c in cases]
    for kind in ("sum", "prf"):
        error, sigma = (np.concatenate(p) for p in zip(*(errors(c, t, kind) for c, t in zip(cases, results))))
        kept = [(t["partiality"] > 0.99) & np.isfinite(t[f"{kind}_value"]) for t in results]
        true = np.concatenate([c.intensity[k] for c, k in zip(cases, kept)])
        for low, high in ((2, 8), (8, 20), (20, 50), (50, 200)):
            pull = (error / sigma)[(true >= low) & (true < high)]
            assert len(pull) > 100
            assert 0.75 < pull.var() < 1.3, f"{kind} {low}-{high}: {pull.var()}"
