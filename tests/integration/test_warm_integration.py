"""Warming up leaves nothing of integration to be compiled."""

from __future__ import annotations

import numpy as np
import pytest
from integration_case import case, packed

from hdrmx.integration.warm import warm_up
from hdrmx.kernels import integrate_collect, integrate_fit, integrate_profile, integrate_sum
from hdrmx.params import Integrate
from hdrmx.stages.integrate import integrate

KERNELS = (
    integrate_collect.outline,
    integrate_collect.claim,
    integrate_collect.collect_dense,
    integrate_collect.collect_events,
    integrate_sum.sum_boxes,
    integrate_profile.learn_across,
    integrate_profile.learn_along,
    integrate_profile.images,
    integrate_fit.fit_boxes,
)


@pytest.mark.parametrize("kernel", ["dense", "sparse"])
def test_nothing_is_compiled_after_warm_up(kernel):
    assert warm_up("uint16") > 0
    before = [len(k.signatures) for k in KERNELS]
    assert all(before)
    c = case(200.0, 0.2)
    integrate(c.predicted, packed(c.stack), c.mask, c.geometry, c.profile, Integrate(kernel=kernel))
    assert [len(k.signatures) for k in KERNELS] == before
    assert np.isfinite(c.intensity).all()
