"""Figures of merging by DIALS's libraries (cctbx, mmtbx, dials.report, dials.pychef) of unmerged MTZ files.

    /usr/bin/python3 tests/reference/make_merging_reference.py DATA_FOLDER tests/reference/dials/merging.json

Needs DIALS's Python. DATA_FOLDER is the folder that `HDRMX_TEST_DATA` names. `tests/stages/test_merge_dials.py` reads
them.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

FILES = ("insulin_dials_scaled_unmerged.mtz", "dials_scratch_bhw_scaled_unmerged.mtz")
PLAIN = ("completeness", "mean_redundancy", "i_over_sigma_mean", "unmerged_i_over_sigma_mean", "i_mean")
PLAIN += ("r_merge", "r_meas", "r_pim", "cc_one_half", "cc_one_half_significance", "cc_one_half_n_refl")
PLAIN += ("cc_one_half_sigma_tau", "n_obs", "n_uniq", "d_max", "d_min")
ANOMALOUS = ("anom_completeness", "anom_half_corr", "r_merge", "r_meas", "r_pim", "mean_redundancy")


def main() -> None:
    from dials.util.version import dials_version

    folder, out = Path(sys.argv[1]) / "ref_unmerged_mtz", Path(sys.argv[2])
    found = {name: _of(str(folder / name)) for name in FILES}
    out.write_text(json.dumps({"program": dials_version(), "files": found}) + "\n")


def _of(path: str) -> dict[str, object]:
    from dials.util.resolution_analysis import miller_array_from_mtz

    array = miller_array_from_mtz(path)[0]
    i_obs = array.eliminate_sys_absent().set_info(array.info())
    merged = i_obs.merge_equivalents(use_internal_variance=False).array()
    found = {
        "shells": _statistics(i_obs, False, PLAIN),
        "shells_anomalous": _statistics(i_obs, True, ANOMALOUS),
        "resolution_cc_half": _resolution(path),
        "wilson_b": _wilson(merged),
        "twinning": _twinning(merged),
    }
    if "insulin" in path:
        found |= {"amplitudes": _amplitudes(merged), "frames": _frames(path), "r_d": _r_d(path)}
    return found


def _statistics(i_obs, anomalous: bool, names: tuple[str, ...]) -> list[dict[str, float]]:
    from iotbx import merging_statistics

    result = merging_statistics.dataset_statistics(
        i_obs.customized_copy(anomalous_flag=anomalous or i_obs.anomalous_flag()).set_info(i_obs.info()),
        n_bins=10,
        binning_method="volume",
        anomalous=anomalous,
        use_internal_variance=False,
        eliminate_sys_absent=False,
        assert_is_not_unique_set_under_symmetry=False,
        cc_one_half_significance_level=0.01,
    )
    return [{name: getattr(shell, name) for name in names} for shell in [*result.bins, result.overall]]


def _resolution(path: str) -> dict[str, object]:
    from dials.util import resolution_analysis

    params = resolution_analysis.phil_defaults.extract().resolution
    params.cc_half, params.nbins = 0.3, 50
    found = resolution_analysis.Resolutionizer.from_unmerged_mtz(path, params)
    fit = found.resolution(resolution_analysis.metrics.CC_HALF, limit=0.3)
    return {"d_min": fit.d_min, "x": list(fit.d_star_sq), "observed": list(fit.y_obs), "fitted": list(fit.y_fit)}


def _wilson(merged) -> float:
    from mmtbx.scaling.absolute_scaling import ml_iso_absolute_scaling

    volume = merged.unit_cell().volume() / merged.space_group().order_z()
    return float(ml_iso_absolute_scaling(merged, n_residues=volume / 2 / 110).b_wilson)


def _twinning(merged) -> dict[str, object]:
    """By shells of 200 unique reflections; all that there are, to a resolution of strong ones."""
    from cctbx.array_family import flex
    from mmtbx.scaling.twin_analyses import l_test

    strong = merged.select(merged.data() > 0)
    strong.setup_binner(reflections_per_bin=200)
    d_min = strong.d_min()
    for n in strong.binner().range_used():
        shell = strong.select(strong.binner().selection(n))
        if flex.mean(shell.data() / shell.sigmas()) < 3:
            d_min = strong.binner().bin_d_range(n)[0]
            break
    strong = merged.resolution_filter(d_min=d_min)
    normalised = {}
    for kind, chosen in (("acentric", strong.select_acentric()), ("centric", strong.select_centric())):
        if chosen.size() < 400:
            continue
        chosen.setup_binner(reflections_per_bin=200)
        moments = chosen.second_moment(use_binning=True).data
        counts = [chosen.binner().count(n) for n in chosen.binner().range_used()]
        known = [(m, n) for m, n in zip(moments[1:-1], counts) if m is not None]
        normalised[kind] = sum(m * n for m, n in known) / sum(n for _, n in known)
    pairs: dict[str, object] = {}
    if "acentric" in normalised:
        test = l_test(strong.select(strong.data() > 0).set_observation_type_xray_intensity())
        pairs = {"mean_l": test.mean_l, "mean_l2": test.mean_l2}
    return {"d_min": d_min, "moments": normalised, **pairs}


def _amplitudes(merged) -> dict[str, list]:
    """French and Wilson's, every fiftieth."""
    from cctbx import french_wilson

    found = french_wilson.french_wilson_scale(
        merged.set_observation_type_xray_intensity(), min_bin_size=200, params=None, log=io.StringIO()
    )
    chosen = found.sort("packed_indices").select(_every(found.size(), 50))
    return {"hkl": [list(h) for h in chosen.indices()], "f": list(chosen.data()), "sigma": list(chosen.sigmas())}


def _every(n: int, step: int):
    from cctbx.array_family import flex

    return flex.size_t(range(0, n, step))


def _arrays(path: str):
    import iotbx.mtz

    arrays = iotbx.mtz.object(path).as_miller_arrays(merge_equivalents=False)
    by_label = {tuple(a.info().labels): a for a in arrays}
    return by_label[("I", "SIGI")].customized_copy(anomalous_flag=False), by_label[("BATCH",)], by_label


def _frames(path: str) -> dict[str, list]:
    from dials.report.analysis import batch_dependent_properties

    intensities, batches, by_label = _arrays(path)
    scales = by_label.get(("SCALEUSED",))
    found = batch_dependent_properties(batches, intensities, scales)
    return {k: list(v) for k, v in zip(("batch", "r_merge", "i_over_sigma", "scale"), found) if v is not None}


def _r_d(path: str) -> dict[str, list]:
    from cctbx.array_family import flex
    from dials.pychef import Statistics

    intensities, batches, _ = _arrays(path)
    found = Statistics(intensities, flex.int([int(b) for b in batches.data()]))
    return {"apart": list(range(len(found.rd))), "r_d": list(found.rd)}


if __name__ == "__main__":
    main()
