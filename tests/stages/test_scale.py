"""The stage `scale`: planted scales, errors and outliers come back; agreement with DIALS on stored results."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scaling"))

from scaling_case import Plan, Planted, geometry_of, plant, with_table

from hdrmx import tables
from hdrmx.errors import InputError
from hdrmx.integration import flags
from hdrmx.io.dials_models import read_expt
from hdrmx.io.dials_pack import read_columns
from hdrmx.merging.asu import group_equivalents
from hdrmx.params import Merge, Scale
from hdrmx.scaling import fit as fit_module
from hdrmx.scaling.consistent import operators, reindexed
from hdrmx.scaling.model import make_model
from hdrmx.stages.merge import merge
from hdrmx.stages.scale import Scaled, Sweep, scale

RUGGED = Scale(absorption="high")
SMOOTH = Scale(absorption="off", error_model="exact")


def _physical(degrees: float = 120.0, settings: Scale = RUGGED) -> Plan:
    """Scales that change by half, decay of a few A^2 and ten per cent of absorption."""
    plan = Plan(degrees=degrees, model=settings, mean=2000.0)
    model = make_model([geometry_of(plan)], settings)
    parameters = model.start()
    c, b, surface = model.sweeps[0].parts(parameters)
    c[:] = 1.0 + 0.4 * np.sin(np.linspace(0, 4, len(c)))
    b[:] = -np.linspace(0, 6, len(b))
    surface[:] = np.random.default_rng(3).normal(0, 0.06, len(surface)) / (1 + np.arange(len(surface)) / 8)
    return dataclasses.replace(plan, parameters=parameters)


def _relative(found: Scaled, planted: Planted) -> np.ndarray:
    """Scales found over scales planted, but for a common factor and a common B, which nothing can tell."""
    ratio = np.log(found.observations["scale"].to_numpy() / planted.scale[found.row])
    d = planted.sweep.observations["d"].to_numpy()[found.row]
    design = np.column_stack([np.ones(len(d)), 0.5 / d**2])
    return ratio - design @ np.linalg.lstsq(design, ratio, rcond=None)[0]


def test_planted_scales_come_back() -> None:
    planted = plant(_physical())
    found = scale([planted.sweep], "P 21 21 21", RUGGED)
    tables.check(found.observations, tables.SCALED)
    assert planted.scale.std() / planted.scale.mean() > 0.2
    off = _relative(found, planted)
    assert np.sqrt(np.mean(off**2)) < 0.01
    assert found.counts["parameters"] == len(found.parameter_table) == found.model.n_parameters
    assert found.notes == ()
    measured = found.observations["intensity"] * found.observations["scale"]
    true = planted.true[found.row]
    assert np.corrcoef(measured, true)[0, 1] < 0.97
    assert np.corrcoef(measured / planted.scale[found.row] / np.exp(off), true)[0, 1] > 0.998


def test_array_follows_what_physics_does_not() -> None:
    """A scale that hangs on the place on the detector, changing along the scan, and a decay that is no B."""
    planted = plant(Plan(degrees=120.0, mean=2000.0, n_unique=1500, multiplicity=8))
    table = planted.sweep.observations.copy()
    turn = table["frame"].to_numpy() / 400
    factor = np.exp(0.25 * table["s1_x"] * np.cos(5 * turn) + 0.3 * table["s1_y"] ** 2 - 8 * turn / table["d"] ** 4)
    for kind in ("sum", "prf"):
        table[f"{kind}_value"] *= factor
        table[f"{kind}_variance"] *= factor**2
    true = dataclasses.replace(planted, scale=planted.scale * factor.to_numpy(), sweep=with_table(planted, table))
    off = {}
    for model in ("physical", "array"):
        found = scale([true.sweep], "P 21 21 21", Scale(model=model, outlier_sigma=0))
        off[model] = float(np.sqrt(np.mean(_relative(found, true) ** 2)))
    assert found.counts["parameters"] == len(found.parameter_table) == 10 + 8 * (10 + 9)
    assert np.isfinite(found.observations["scale_sigma"]).all()
    assert off["array"] < 0.025
    assert off["physical"] > 0.06


def test_errors_of_scales_are_what_is_claimed() -> None:
    planted = [plant(dataclasses.replace(_physical(settings=SMOOTH), n_unique=300), seed) for seed in range(8)]
    found = [scale([p.sweep], "P 21 21 21", SMOOTH) for p in planted]
    off = np.concatenate([_relative(f, p) for f, p in zip(found, planted)])
    claimed = np.concatenate([f.observations["scale_sigma"] / f.observations["scale"] for f in found])
    assert (off / claimed).std() == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("multiplicity", [2, 8])
def test_planted_errors_come_back_in_the_exact_form(multiplicity: int) -> None:
    plan = Plan(n_unique=24_000 // multiplicity, multiplicity=multiplicity, a=1.3, b=0.03, mean=1000.0)
    planted = plant(plan)
    found = scale([planted.sweep], "P 21 21 21", Scale(error_model="exact", min_expected=1.0))
    assert found.error_model.a == pytest.approx(1.3, rel=0.04)
    assert found.error_model.b == pytest.approx(0.03, rel=0.1)
    pull = (
        found.observations["intensity"] - planted.true[found.row] * _factor(found, planted)
    ) / found.observations.sigma
    assert pull.std() == pytest.approx(1.0, abs=0.04)


def test_anomalous_slope_is_1_in_the_exact_form() -> None:
    """Without anomalous signal, I(+) - I(-) has the spread its sigma claims; 1.98 by the form of DIALS."""
    plan = Plan(n_unique=6000, multiplicity=2, a=1.3, mean=1000.0)
    planted = plant(plan)
    slopes = {}
    for kind in ("exact", "dials"):
        found = scale([planted.sweep], "P 21 21 21", Scale(error_model=kind, min_expected=1.0, absorption="off"))
        merged = merge(found.observations, "P 21 21 21", plan.cell, Merge(shells=1)).table
        both = merged[(merged["n_plus"] > 0) & (merged["n_minus"] > 0)]
        sigma = np.hypot(both["sigma_plus"], both["sigma_minus"])
        low, high = np.percentile((both["intensity_plus"] - both["intensity_minus"]) / sigma, [15.87, 84.13])
        slopes[kind] = (high - low) / 2
    assert slopes["exact"] == pytest.approx(1.0, abs=0.06)
    assert slopes["dials"] > 1.8


def _factor(found: Scaled, planted: Planted) -> float:
    true = planted.true[found.row]
    w = 1 / found.observations["sigma"] ** 2
    return float((w * true * found.observations["intensity"]).sum() / (w * true**2).sum())


def test_anomalous_differences_are_not_errors() -> None:
    plan = Plan(n_unique=2000, multiplicity=8, anomalous=0.2, a=1.1)
    found = scale([plant(plan).sweep], "P 21 21 21", Scale(error_model="exact", min_expected=1.0))
    assert found.error_model.a == pytest.approx(1.1, rel=0.05)
    assert found.error_model.b < 0.015


@pytest.mark.parametrize("kind", ["dials", "exact"])
def test_planted_outliers_are_rejected(kind: str) -> None:
    planted = plant(Plan(multiplicity=8, outliers=60))
    found = scale([planted.sweep], "P 21 21 21", Scale(error_model=kind))
    rejected = found.observations["rejected"].to_numpy()
    is_outlier = planted.is_outlier[found.row]
    assert (rejected & is_outlier).sum() >= 58
    assert (rejected & ~is_outlier).sum() <= 2
    assert not scale([planted.sweep], "P 21 21 21", Scale(outlier_sigma=0)).observations["rejected"].any()


def test_order_of_rows_does_not_matter_and_input_is_left_alone() -> None:
    planted = plant(dataclasses.replace(_physical(), n_unique=300))
    table = planted.sweep.observations
    before = table.copy()
    one = scale([planted.sweep], "P 21 21 21")
    again = scale([planted.sweep], "P 21 21 21")
    assert one.observations.to_numpy(float).tobytes() == again.observations.to_numpy(float).tobytes()
    order = np.random.default_rng(0).permutation(len(table))
    other = scale([with_table(planted, table.iloc[order].reset_index(drop=True))], "P 21 21 21")
    assert before.equals(table)
    back = np.argsort(order[other.row])
    np.testing.assert_allclose(
        other.observations["intensity"].to_numpy()[back], one.observations["intensity"], rtol=1e-4, atol=1e-3
    )


def test_all_intensities_may_be_multiplied() -> None:
    planted = plant(dataclasses.replace(_physical(), n_unique=500))
    table = planted.sweep.observations.copy()
    table["lp"] *= 7.0
    one = scale([planted.sweep], "P 21 21 21", Scale(error_model="none"))
    other = scale([with_table(planted, table)], "P 21 21 21", Scale(error_model="none"))
    np.testing.assert_allclose(other.observations["scale"], one.observations["scale"], rtol=1e-4)
    np.testing.assert_allclose(other.observations["intensity"], 7 * one.observations["intensity"], rtol=1e-4)
    np.testing.assert_allclose(other.observations["sigma"], 7 * one.observations["sigma"], rtol=1e-4)


def _wedges(n: int, degrees: float, **settings: object) -> list[Planted]:
    """Wedges of one crystal after another, each with a scale of its own between 0.2 and 5."""
    out = []
    for seed in range(n):
        plan = Plan(degrees=degrees, n_unique=1500, multiplicity=1, n_frames=40, **settings)  # type: ignore[arg-type]
        planted = plant(plan, seed)
        table = planted.sweep.observations
        factor = 0.2 * 25 ** (seed / max(n - 1, 1))
        table[["sum_value", "prf_value"]] *= factor
        table[["sum_variance", "prf_variance"]] *= factor**2
        out.append(dataclasses.replace(planted, scale=planted.scale * factor))
    return out


@pytest.mark.parametrize("degrees", [0.8, 12.0])
def test_several_sweeps(degrees: float) -> None:
    planted = _wedges(6, degrees)
    found = scale([p.sweep for p in planted], "P 21 21 21")
    sweeps = found.observations["sweep"].to_numpy()
    assert found.counts["parameters"] == (12 if degrees < 1 else 6 * (5 + 5))
    ratios = [
        float(np.median(found.observations["scale"].to_numpy()[sweeps == s] / p.scale[found.row[sweeps == s]]))
        for s, p in enumerate(planted)
    ]
    np.testing.assert_allclose(ratios, np.mean(ratios), rtol=0.02)
    assert found.notes == ()


def test_many_parameters_take_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With conjugate gradients instead of the whole matrix."""
    sweeps = [p.sweep for p in _wedges(5, 12.0)]
    whole = scale(sweeps, "P 21 21 21", Scale(tolerance=1e-8))
    monkeypatch.setattr(fit_module, "MOST_DENSE", 0)
    by_products = scale(sweeps, "P 21 21 21", Scale(tolerance=1e-8))
    np.testing.assert_allclose(by_products.observations["scale"], whole.observations["scale"], rtol=2e-3)


def test_sweeps_are_indexed_alike() -> None:
    settings = {"space_group": "P 41", "cell": (60.0, 60.0, 80.0, 90.0, 90.0, 90.0)}
    planted = _wedges(5, 5.0, **settings)
    way = operators(settings["cell"], gemmi.SpaceGroup("P 41"))[1]  # type: ignore[arg-type]
    for p in planted[1::2]:
        table = p.sweep.observations
        table[["h", "k", "l"]] = reindexed(table[["h", "k", "l"]].to_numpy(np.int32), way)
    found = scale([p.sweep for p in planted], "P 41")
    turned = [c.operator != "x,y,z" for c in found.indexing]
    assert turned in ([False, True, False, True, False], [True, False, True, False, True])
    assert found.error_model.a * (1 + found.error_model.b) < 1.5
    apart = scale([p.sweep for p in planted], "P 41", Scale(consistent_indexing=False))
    assert apart.indexing == ()


def test_sweeps_with_nothing_in_common_are_noted() -> None:
    one, two = plant(Plan(n_unique=400), 0), plant(Plan(n_unique=400), 1)
    low = with_table(one, one.sweep.observations[one.sweep.observations["d"] > 2.5])
    high = with_table(two, two.sweep.observations[two.sweep.observations["d"] < 2.5])
    found = scale([low, high], "P 21 21 21")
    assert any("2 sets" in note for note in found.notes)
    assert np.isfinite(found.observations["intensity"]).all()


def test_unusable_observations_are_left_out() -> None:
    planted = plant(Plan(n_unique=200))
    table = planted.sweep.observations.copy()
    table.loc[0, "flags"] = np.int32(0)
    table.loc[1, ["sum_value", "prf_value"]] = np.nan
    table.loc[2, ["sum_variance", "prf_variance"]] = 0.0
    table.loc[3, "partiality"] = 0.1
    table.loc[4, ["sum_value", "prf_value"]] = -1e6
    table.loc[5, ["h", "k", "l"]] = np.int32(0)
    table.loc[6, "flags"] = np.int32(flags.INTEGRATED_SUM)
    found = scale([with_table(planted, table)], "P 21 21 21")
    assert set(range(8)) - set(found.row) == {0, 1, 2, 3, 4, 5}
    assert (found.counts["not_integrated"], found.counts["partial"], found.counts["too_negative"]) == (3, 1, 1)
    assert np.isfinite(found.observations["sigma"]).all()


def test_too_little_is_said_so() -> None:
    planted = plant(Plan(n_unique=50))
    with pytest.raises(InputError, match="no sweep"):
        scale([], "P 1")
    with pytest.raises(InputError, match="not known"):
        scale([planted.sweep], "P 99")
    table = planted.sweep.observations
    with pytest.raises(InputError, match=r"no observation can be used \(not_integrated 300"):
        scale([with_table(planted, table.assign(flags=np.int32(0)))], "P 21 21 21")
    single = table.drop_duplicates(["h", "k", "l"]).iloc[:1]
    with pytest.raises(InputError, match="no two observations are equivalent"):
        scale([with_table(planted, single)], "P 21 21 21")
    few = scale([with_table(planted, table.iloc[:30])], "P 21 21 21")
    assert any("too few" in note for note in few.notes)


def test_work_grows_as_observations() -> None:
    """Steps don't grow with the data, and each looks at every fitted observation once."""
    counts = []
    for n_unique in (250, 1000, 4000):
        plan = dataclasses.replace(_physical(), n_unique=n_unique)
        counts.append(scale([plant(plan).sweep], "P 21 21 21", RUGGED).counts)
    work = [c["fit_evaluations"] * c["fitted_observations"] for c in counts]
    exponent = np.polyfit(np.log([c["observations"] for c in counts]), np.log(work), 1)[0]
    assert exponent < 1.1


def test_a_part_of_the_observations_is_enough() -> None:
    planted = plant(dataclasses.replace(_physical(), n_unique=2500))
    whole = scale([planted.sweep], "P 21 21 21", RUGGED)
    part = scale([planted.sweep], "P 21 21 21", dataclasses.replace(RUGGED, fit_observations=9000))
    assert part.counts["fitted_observations"] < 9100
    ratio = part.observations["scale"] / whole.observations["scale"]
    assert ratio.std() < 0.015


def test_agreement_with_dials_on_quartz(shared_data: Path) -> None:
    """Electron diffraction, 1,620 observations; DIALS's own scales stand in the file."""
    folder = shared_data / "ref_quartz_processed"
    values = read_columns(folder / "scaled.refl").values
    experiment = read_expt(folder / "scaled.expt")[0]
    assert experiment.crystal is not None
    n = len(values["flags"])
    table = tables.empty(tables.INTEGRATED, n)
    table[["h", "k", "l"]] = values["miller_index"].astype(np.int32)
    table["flags"] = (values["flags"].astype(np.int64) & 0x7FFFFFFF).astype(np.int32)
    for kind in ("sum", "prf"):
        table[f"{kind}_value"] = values[f"intensity.{kind}.value"]
        table[f"{kind}_variance"] = values[f"intensity.{kind}.variance"]
    for name in ("lp", "d", "partiality"):
        table[name] = values[name]
    table["qe"] = 1.0
    table["frame"] = values["xyzobs.px.value"][:, 2]
    table[["s1_x", "s1_y", "s1_z"]] = values["s1"]
    found = scale([Sweep(table, experiment.geometry, experiment.crystal)], experiment.crystal.space_group)
    theirs = values["inverse_scale_factor"][found.row]
    common = theirs > 0
    assert common.sum() > 1500
    assert found.middle == 0  # all by profile fit, as DIALS chose
    assert found.error_model.a == pytest.approx(2.68, rel=0.05)
    assert found.counts["outliers"] == pytest.approx(108, abs=8)
    ratio = np.log(found.observations["scale"].to_numpy()[common] / theirs[common])
    free = np.column_stack([np.ones(len(ratio)), 0.5 / values["d"][found.row][common] ** 2])
    ratio -= free @ np.linalg.lstsq(free, ratio, rcond=None)[0]
    # a few hundred observations a point, of errors three times what they claim to be
    assert np.percentile(ratio, 84) - np.percentile(ratio, 16) < 2 * 0.08
    ours = found.observations[common]
    equivalents = group_equivalents(ours[["h", "k", "l"]].to_numpy(np.int32), gemmi.SpaceGroup("P 31 2 1"))
    their_intensity = values["intensity.scale.value"][found.row][common] / theirs[common]
    means = [
        np.bincount(equivalents.group, i) / np.bincount(equivalents.group)
        for i in (ours["intensity"].to_numpy(), their_intensity)
    ]
    assert np.corrcoef(*means)[0, 1] > 0.999
