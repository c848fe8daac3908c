from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hdrmx.models import Beam, Detector, Panel
from hdrmx.refinement.parallax import mm_to_px, observed_s1, px_to_mm

PANEL = Panel("", (1062, 1028), (0.075, 0.075), (-40.0, 35.0, -80.0), (1, 0, 0), (0, -1, 0), (0, 0), 0.45, "Si", 3.9)
# ParallaxCorrectedPxMmStrategy(3.9, 0.45) of dxtbx 3.11 on that panel: (fast, slow) mm to px
DXTBX = (
    ((0.0, 0.0), (-0.8858767710284287, -0.775142174649875)),
    ((40.0, 35.0), (533.3333333333334, 466.6666666666667)),
    ((75.0, 10.0), (1000.7798700111763, 132.77628332535033)),
    ((3.0, 70.0), (39.17924347006422, 934.1097246454348)),
)


@pytest.mark.parametrize(("mm", "px"), DXTBX)
def test_positions_are_those_of_dxtbx(mm, px):
    slow, fast = mm_to_px(PANEL, mm[1], mm[0])
    assert (float(fast), float(slow)) == pytest.approx(px, abs=1e-9)
    slow_mm, fast_mm = px_to_mm(PANEL, px[1], px[0])
    assert (float(fast_mm), float(slow_mm)) == pytest.approx(mm, abs=1e-9)


def test_without_a_sensor_pixels_are_plain():
    thin = dataclasses.replace(PANEL, thickness_mm=0.0)
    slow, fast = px_to_mm(thin, [3.0], [4.0])
    assert (slow[0], fast[0]) == pytest.approx((0.225, 0.3))


def test_rays_to_pixels_point_at_them():
    beam = Beam(0.9763)
    tilted = dataclasses.replace(PANEL, origin_mm=(-30.0, 20.0, -90.0), thickness_mm=0.0)
    detector = Detector((PANEL, tilted))
    panel, slow, fast = np.array([0, 1, 1, 0]), np.array([10.0, 20, 900, 466.6]), np.array([5.0, 1000, 30, 533.3])
    s1 = observed_s1(detector, beam, panel, slow, fast)
    np.testing.assert_allclose(np.linalg.norm(s1, axis=1), 1 / beam.wavelength_A)
    for i in range(4):
        p = detector.panels[panel[i]]
        v = np.linalg.inv(p.d_matrix) @ s1[i]
        back = mm_to_px(p, v[1] / v[2], v[0] / v[2])
        assert (float(back[0]), float(back[1])) == pytest.approx((slow[i], fast[i]), abs=1e-7)
