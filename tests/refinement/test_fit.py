from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refinement_case import crystal, geometry, observe

from hdrmx.errors import InputError
from hdrmx.models import Crystal, cell_of
from hdrmx.refinement.engine import residuals
from hdrmx.refinement.fit import near_spindle, positions_px, refine_scan_varying, refine_static
from hdrmx.refinement.hold import FEWEST_PER_PARAMETER
from hdrmx.refinement.parameters import BEAM, CRYSTAL_ONLY, DETECTOR, Free, about, parametrise
from hdrmx.refinement.predict import predict
from hdrmx.refinement.problem import data
from hdrmx.refinement.symmetry import to_matrix
from hdrmx.refinement.uncertainty import uncertainties

EVERYTHING = Free(detector=DETECTOR, beam=BEAM)
TETRAGONAL = crystal((79.0, 79.0, 38.0, 90.0, 90.0, 90.0), "P 43 21 2", 1.9)


def disturbed(each: Crystal, turn_deg=0.2, stretch=0.002) -> Crystal:
    A = about((0.6, 0.0, 0.8), np.radians(turn_deg)) @ np.asarray(each.A) * (1 + stretch)
    return dataclasses.replace(each, A=to_matrix(A))


def moved(place):
    """The detector off by 0.3 and 0.2 mm, 0.4 mm in distance and a tilt of 3 mrad."""
    values = np.zeros(15)
    values[:6] = 0.4, 0.3, -0.2, 0.002, 0.003, -0.001
    model = parametrise([crystal()], place, Free(detector=DETECTOR))
    return model.geometry_at(values)


def misorientation_deg(A, B) -> float:
    left, _, right = np.linalg.svd(np.asarray(A) @ np.linalg.inv(np.asarray(B)))
    return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))


@pytest.mark.parametrize("n_intervals", [0, 4])
def test_moved_models_predict_what_the_engine_calculates(n_intervals):
    """Through the public models and `predict`, by another route than the kernels of refinement take."""
    place, crystals = geometry(2, mu=3.9), [crystal(), TETRAGONAL]
    obs = observe(crystals, place, 6.0)
    model = parametrise(crystals, place, EVERYTHING, n_intervals)
    values = 1e-3 * np.random.default_rng(2).normal(size=model.n_values) * model.active
    given = data(obs, model)
    residual, valid = residuals(given, model, values)
    there = model.geometry_at(values)
    frame, slow, fast = positions_px(given.target + residual, obs.panel, there)
    for i in range(2):
        rows = np.flatnonzero((obs.lattice == i) & valid)
        A = model.A_at(values, i, obs.frame[rows])
        found = predict(obs.hkl[rows], A, there, obs.entering[rows], obs.frame[rows], panel=obs.panel[rows])
        for mine, theirs in ((frame, found.frame), (slow, found.slow), (fast, found.fast)):
            np.testing.assert_allclose(mine[rows], theirs, atol=1e-7)


@pytest.mark.parametrize(("n_panels", "mu", "limit"), [(1, 0.0, 1e-5), (2, 0.0, 1e-5), (2, 3.9, 0.01)])
def test_disturbed_models_come_back(n_panels, mu, limit):
    """With a thick sensor not quite at once: parallax is taken off as for the tilt that the detector had before."""
    place, crystals = geometry(n_panels, mu=mu), [crystal(), TETRAGONAL]
    obs = observe(crystals, place, 4.0)
    fit = refine_static(obs, [disturbed(c) for c in crystals], moved(place))
    assert max(fit.rmsd_fast_px, fit.rmsd_slow_px, fit.rmsd_frame) < limit
    for found, true in zip(fit.crystals, crystals):
        np.testing.assert_allclose(found.cell, true.cell, rtol=2e-5)
        assert misorientation_deg(found.A, true.A) < 0.2  # the common turn about the spindle is free
    assert fit.steps < 15
    np.testing.assert_array_equal(fit.used, ~near_spindle(obs, moved(place)))


def test_uncertainties_match_the_scatter_of_repeats():
    place, each = geometry(), crystal()
    cells, sds, variances = [], [], []
    for seed in range(12):
        obs = observe([each], place, 5.0, noise=1.0, seed=seed)
        fit = refine_static(obs, [each], place)
        sd = uncertainties(fit.model, fit.best, fit.n_used)
        cells.append(fit.crystals[0].cell)
        sds.append(sd.cells[0, 0])
        variances.append(sd.variance)
    assert np.mean(variances) == pytest.approx(1.0, abs=0.03)
    ratio = np.std(cells, axis=0, ddof=1) / np.mean(sds, axis=0)
    assert (ratio > 0.4).all()
    assert (ratio < 1.9).all()
    off = (np.mean(cells, axis=0) - each.cell) / (np.mean(sds, axis=0) / np.sqrt(12))
    assert np.abs(off).max() < 4


def test_cells_keep_their_symmetry_to_the_last_digit():
    place = geometry()
    obs = observe([TETRAGONAL], place, 4.0, noise=1.0)
    fit = refine_static(obs, [disturbed(TETRAGONAL)], place)
    a, b, _, alpha, beta, gamma = fit.crystals[0].cell
    assert a == pytest.approx(b, rel=1e-12)
    assert (alpha, beta, gamma) == pytest.approx((90, 90, 90), abs=1e-9)
    assert fit.n_parameters == 6 + 3 + 2


def test_order_of_rows_changes_nothing_but_rounding():
    place, each = geometry(), crystal()
    obs = observe([each], place, 5.0, noise=1.0)
    order = np.random.default_rng(3).permutation(len(obs))
    one = refine_static(obs, [disturbed(each)], place, reject="mcd")
    other = refine_static(obs.take(order), [disturbed(each)], place, reject="mcd")
    np.testing.assert_array_equal(other.outlier, one.outlier[order])
    np.testing.assert_allclose(other.crystals[0].A, one.crystals[0].A, atol=1e-10)
    again = refine_static(obs, [disturbed(each)], place, reject="mcd")
    assert again.crystals[0].A == one.crystals[0].A
    assert again.geometry == one.geometry


@pytest.mark.parametrize("reject", ["mcd", "tukey"])
def test_spots_that_don_t_belong_are_rejected(reject):
    place, each = geometry(), crystal()
    obs = observe([each], place, 4.0, noise=1.0)
    bad = np.random.default_rng(1).random(len(obs)) < 0.05
    obs.fast[bad] += 8.0
    fit = refine_static(obs, [each], place, reject=reject)
    judged = ~near_spindle(obs, place)
    assert fit.outlier[bad & judged].mean() > 0.99
    assert fit.outlier[~bad].mean() < 0.06
    assert not fit.used[fit.outlier].any()
    np.testing.assert_allclose(fit.crystals[0].cell, each.cell, rtol=1e-3)


def test_a_crystal_that_turns_and_swells_is_followed():
    place, each = geometry(n_frames=900), crystal()
    share = np.linspace(-1, 1, 901)
    path = [about((0.6, 0, 0.8), np.radians(0.1) * s) @ np.asarray(each.A) * (1 - 0.001 * s) for s in share]
    moving = dataclasses.replace(each, A_at_scan_points=np.array(path))
    obs = observe([moving], place, 4.5, noise=0.3)
    static = refine_static(obs, [each], place)
    varying = refine_scan_varying(obs, static.crystals, place, n_intervals=5, free=CRYSTAL_ONLY)
    assert varying.objective < 0.4 * static.objective
    found = varying.crystals[0].A_at_scan_points
    assert found.shape == (901, 3, 3)
    turned = [
        misorientation_deg(found[i] @ np.linalg.inv(found[450]), path[i] @ np.linalg.inv(path[450]))
        for i in (0, 180, 720, 900)
    ]
    assert max(turned) < 0.02  # it has turned by 0.1 in each direction
    swelling = cell_of(found[800])[0] / cell_of(found[100])[0]
    assert swelling == pytest.approx(cell_of(path[800])[0] / cell_of(path[100])[0], abs=2e-4)


def test_a_stretch_without_spots_stays_with_its_neighbours():
    place, each = geometry(n_frames=1800), crystal()
    obs = observe([each], place, 6.0, noise=1.0)
    lit = obs.take((obs.frame < 500) | (obs.frame > 1400))
    fit = refine_scan_varying(lit, [each], place, n_intervals=20, free=CRYSTAL_ONLY)
    turned = [misorientation_deg(A, each.A) for A in fit.crystals[0].A_at_scan_points]
    assert max(turned) < 0.1


def test_thinning_takes_an_even_share():
    place, each = geometry(), crystal()
    obs = observe([each], place, 4.0)
    fit = refine_static(obs, [each], place, per_degree=5.0)
    assert fit.n_used == pytest.approx(5 * 80, abs=5)
    counts = np.histogram(obs.frame[fit.used], 8, (0, 400))[0]
    assert counts.min() > 30
    assert np.isfinite(fit.frame_calc).all()


def test_too_few_spots_hold_parameters():
    place, each = geometry(), crystal()
    obs = observe([each], place, 8.0, noise=1.0)
    some = obs.take(np.arange(0, len(obs), len(obs) // 50))
    fit = refine_static(some, [each], place)
    assert fit.n_used >= FEWEST_PER_PARAMETER * fit.n_parameters
    assert fit.notes
    with pytest.raises(InputError, match="2 of 2 indexed spots"):
        refine_static(some.take(np.flatnonzero(~near_spindle(some, place))[:2]), [each], place)


def test_a_distance_that_nothing_determines_is_held():
    """Electrons: the sphere is so flat that cell and distance can't be told apart."""
    place = geometry()
    beam = dataclasses.replace(place.beam, wavelength_A=0.0251)
    panels = place.detector.panels
    far = [dataclasses.replace(p, origin_mm=tuple(np.array(p.origin_mm) * (1, 1, 20))) for p in panels]
    place = dataclasses.replace(place, beam=beam, detector=place.detector.with_panels(tuple(far)))
    each = crystal((7.4, 10.9, 11.3, 72.0, 90.0, 90.0))
    obs = observe([each], place, 1.2, noise=1.0)
    fit = refine_static(obs, [each], place)
    assert any("distance held" in note for note in fit.notes)
    assert fit.geometry.detector.panels[0].distance_mm == pytest.approx(place.detector.panels[0].distance_mm, rel=1e-3)
    np.testing.assert_allclose(fit.crystals[0].cell, each.cell, rtol=2e-3)


def test_stills_and_wrong_names_are_refused():
    place, each = geometry(), crystal()
    obs = observe([each], place, 8.0)
    still = dataclasses.replace(place, scan=dataclasses.replace(place.scan, width_rad=0.0))
    with pytest.raises(InputError, match="stills"):
        refine_static(obs, [each], still)
    with pytest.raises(InputError, match="tau9"):
        Free(detector=("tau9",))
    with pytest.raises(InputError, match="sometimes"):
        refine_static(obs, [each], place, reject="sometimes")
