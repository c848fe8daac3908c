"""Several sweeps of one crystal: models come back, also those of a goniometer that isn't exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from refinement_case import crystal, geometry, observe

from hdrmx.errors import InputError
from hdrmx.refinement.fit import refine_static
from hdrmx.refinement.joint import refine_joint, shared_geometry
from hdrmx.refinement.parameters import Free, about
from hdrmx.refinement.symmetry import to_matrix
from hdrmx.refinement.uncertainty import uncertainties


def turned(place, axis, angle_deg):
    """The same, with the crystal set by another turn of the goniometer."""
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    fixed = np.asarray(place.goniometer.fixed) @ about(axis, np.radians(angle_deg))
    return dataclasses.replace(place, goniometer=dataclasses.replace(place.goniometer, fixed=to_matrix(fixed)))


def shifted(place, mm=(0.3, -0.2, 0.4)):
    panels = [
        dataclasses.replace(p, origin_mm=tuple(float(v) for v in np.add(p.origin_mm, mm)))
        for p in place.detector.panels
    ]
    return dataclasses.replace(place, detector=place.detector.with_panels(tuple(panels)))


def wrong(each):
    A = about((0.6, 0.0, 0.8), np.radians(0.15)) @ np.asarray(each.A) * 1.002
    return dataclasses.replace(each, A=to_matrix(A))


@pytest.mark.parametrize("space_group", ["P 1", "P 43 21 2"])
def test_models_come_back_from_two_sweeps(space_group):
    cell = (48.0, 61.0, 73.0, 85.0, 97.0, 104.0) if space_group == "P 1" else (79.0, 79.0, 38.0, 90.0, 90.0, 90.0)
    each = crystal(cell, space_group)
    first = geometry(n_frames=60)
    second = turned(first, (0.2, 1.0, -0.5), 50.0)
    observed = [observe([each], place, 4.0) for place in (first, second)]
    # the second setting is off by 0.2 degrees in the header
    places = [shifted(first), shifted(turned(second, (1.0, 0.3, 0.4), 0.2))]
    fit = refine_joint(observed, [wrong(each)], places)
    assert fit.group == (0, 0)
    assert max(fit.rmsd(name) for name in ("rmsd_fast_px", "rmsd_slow_px", "rmsd_frame")) < 1e-4
    np.testing.assert_allclose(fit.crystals[0].cell, each.cell, rtol=2e-5)
    assert fit.fits[0].geometry.detector == fit.fits[1].geometry.detector
    one, two = (np.asarray(f.geometry.goniometer.fixed) for f in fit.fits)
    change = np.linalg.inv(one) @ two @ np.linalg.inv(np.linalg.inv(first.goniometer.fixed) @ second.goniometer.fixed)
    assert np.degrees(np.arccos(np.clip((np.trace(change) - 1) / 2, -1, 1))) < 0.02


def test_each_sweep_may_have_its_own_detector():
    each, first = crystal(), geometry(n_frames=60)
    second = shifted(turned(first, (0.2, 1.0, -0.5), 50.0), (1.0, 0.5, 2.0))
    observed = [observe([each], place, 4.0) for place in (first, second)]
    places = [shifted(first), shifted(second, (-0.2, 0.3, 0.1))]
    assert shared_geometry(places) == (0, 1)
    fit = refine_joint(observed, [wrong(each)], places)
    assert fit.rmsd("rmsd_fast_px") < 1e-4
    distances = [f.geometry.detector.panels[0].distance_mm for f in fit.fits]
    expected = [p.detector.panels[0].distance_mm for p in (first, second)]
    assert distances == pytest.approx(expected, abs=0.01)


def test_a_single_sweep_is_refined_as_ever():
    each, place = crystal(), geometry(n_frames=200)
    obs = observe([each], place, 5.0, noise=1.0)
    joint = refine_joint([obs], [wrong(each)], [shifted(place)])
    alone = refine_static(obs, [wrong(each)], shifted(place))
    np.testing.assert_allclose(joint.crystals[0].cell, alone.crystals[0].cell, rtol=2e-6)
    assert joint.fits[0].objective == pytest.approx(alone.objective, rel=1e-6)
    assert joint.n_parameters == alone.n_parameters
    expected = uncertainties(alone.model, alone.best, alone.n_used)
    np.testing.assert_allclose(joint.uncertainties[0].cells, expected.cells, rtol=0.01)
    for name, sd in expected.border.items():
        assert joint.uncertainties[0].border[name] == pytest.approx(sd, rel=0.01)


def test_together_the_cell_is_known_better():
    each, first = crystal(), geometry(n_frames=25)
    second = turned(first, (0.2, 1.0, -0.5), 70.0)
    observed = [observe([each], place, 4.5, noise=1.0, seed=i) for i, place in enumerate((first, second))]
    together = refine_joint(observed, [each], [first, second])
    alone = refine_joint(observed[:1], [each], [first])
    assert (together.uncertainties[0].cells[0, 0, :3] < alone.uncertainties[0].cells[0, 0, :3] / np.sqrt(2)).all()
    off = np.abs(np.subtract(together.crystals[0].cell, each.cell)) / together.uncertainties[0].cells[0, 0]
    assert off.max() < 4


def test_outliers_are_found_in_the_end():
    each, first = crystal(), geometry(n_frames=60)
    second = turned(first, (0.2, 1.0, -0.5), 50.0)
    observed = [observe([each], place, 4.5, noise=1.0, seed=i) for i, place in enumerate((first, second))]
    bad = np.random.default_rng(1).random(len(observed[0])) < 0.1
    observed[0].fast[bad] += 6.0
    fit = refine_joint(observed, [wrong(each)], [shifted(first), shifted(second)], reject="tukey")
    assert fit.fits[0].outlier[bad].mean() > 0.9
    np.testing.assert_allclose(fit.crystals[0].cell, each.cell, rtol=1e-3)


def test_what_cannot_be_is_refused():
    each, place = crystal(), geometry(n_frames=60)
    obs = observe([each], place, 5.0)
    with pytest.raises(InputError, match="several sweeps"):
        refine_joint([obs, obs], [each], [place, place], free=Free(beam=("in_plane",)))
    with pytest.raises(InputError, match="0 of 0"):
        refine_joint([obs.take(np.arange(0))], [each], [place])
    still = dataclasses.replace(place, scan=dataclasses.replace(place.scan, width_rad=0.0))
    with pytest.raises(InputError, match="stills"):
        refine_joint([obs], [each], [still])
