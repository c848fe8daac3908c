"""Observations that lie too far from their equivalents (normal deviate; Evans (2006) Acta Cryst. D62, 72-82)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.kernels import scaling as kernels

Floats = npt.NDArray[np.float64]


def outliers(
    start: npt.NDArray[np.int64],
    intensity: Floats,
    variance: Floats,
    scale: Floats,
    usable: npt.NDArray[np.bool_],
    limit: float,
) -> npt.NDArray[np.bool_]:
    """(n,) of observations in the order of groups, those that are rejected.

    One at a time, the farthest from the mean of the others of its group, while it is more than `limit` standard
    deviations of that difference away and three or more are left; so none of a pair is ever rejected. `limit` 0: none.
    """
    found = np.zeros(len(intensity), bool)
    if limit > 0:
        weight = np.where(usable, 1.0 / variance, 0.0)
        kernels.mark_outliers(start, intensity, weight, scale, limit, found)
    return found
