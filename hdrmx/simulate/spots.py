"""Spots, photon by photon: each is drawn about its ray, enters the sensor, and is counted in a pixel.

A frame's photons of a reflection are Poisson of their mean. Each leaves at angles (eps1, eps2) of Kabsch's
axes e1, e2 from s1, Gaussian with sigma_b, and goes to an exponentially distributed depth in the sensor.
No profile is ever integrated, so that pixel sums, correlations and tails are those of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import erf

from hdrmx.models import Panel
from hdrmx.simulate.rng import U64, draw, mix, poisson, to_unit


@dataclass(frozen=True)
class Plane:
    """A panel as the kernel takes it."""

    inverse: npt.NDArray[np.float64]  # (3, 3) of the d matrix
    axes: npt.NDArray[np.float64]  # (3, 3) rows fast, slow, normal
    sensor: npt.NDArray[np.float64]  # (4,) pixel slow, fast mm; thickness mm; mu 1/mm

    @classmethod
    def of(cls, panel: Panel) -> Plane:
        sensor = [*panel.pixel_mm, panel.thickness_mm, panel.mu_per_mm]
        return cls(
            np.ascontiguousarray(np.linalg.inv(panel.d_matrix)),
            np.array([panel.fast_axis, panel.slow_axis, panel.normal]),
            np.array(sensor, float),
        )


def kabsch_axes(s1: npt.NDArray[np.float64], s0: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 3, 3) rows unit s1, e1, e2."""
    unit = s1 / np.linalg.norm(s1, axis=1)[:, None]
    e1 = np.cross(s1, s0)
    e1 /= np.linalg.norm(e1, axis=1)[:, None]
    return np.ascontiguousarray(np.stack([unit, e1, np.cross(unit, e1)], axis=1))


@njit(cache=True, nogil=True)
def draw_spots(key, ids, means, axes, sigma_b, inverse, plane_axes, sensor, transmission, out, drawn, seen):  # type: ignore[no-untyped-def]
    """Add the photons of a frame's reflections.

    Parameters
    ----------
    key : of the frame; ids : (n,) uint64, the reflections' own
    means : (n,) photons expected; axes : (n, 3, 3) `kabsch_axes`; sigma_b : rad
    inverse, plane_axes, sensor : of `Plane`
    transmission : (slow, fast) uint8, 255 where every photon counts
    out : (slow, fast) uint32, added to
    drawn, seen : (n,) int64, overwritten: photons drawn, and photons that were counted in a pixel
    """
    thickness, mu = sensor[2], sensor[3]
    for r in range(len(means)):
        reflection_key = mix(key ^ mix(ids[r]))
        n = poisson(reflection_key, means[r])
        drawn[r], seen[r] = n, 0
        if n == 0:
            continue
        photon_key = mix(reflection_key + U64(1))
        slant = abs(
            axes[r, 0, 0] * plane_axes[2, 0] + axes[r, 0, 1] * plane_axes[2, 1] + axes[r, 0, 2] * plane_axes[2, 2]
        )
        has_depth = thickness > 0.0 and mu > 0.0
        absorbed = 1.0 - math.exp(-mu * thickness / slant) if has_depth else 1.0
        for photon in range(n):
            radius = sigma_b * math.sqrt(-2.0 * math.log(to_unit(draw(photon_key, 4 * photon))))
            turn = 2.0 * math.pi * to_unit(draw(photon_key, 4 * photon + 1))
            eps1, eps2 = radius * math.cos(turn), radius * math.sin(turn)
            vx = axes[r, 0, 0] + eps1 * axes[r, 1, 0] + eps2 * axes[r, 2, 0]
            vy = axes[r, 0, 1] + eps1 * axes[r, 1, 1] + eps2 * axes[r, 2, 1]
            vz = axes[r, 0, 2] + eps1 * axes[r, 1, 2] + eps2 * axes[r, 2, 2]
            w = inverse[2, 0] * vx + inverse[2, 1] * vy + inverse[2, 2] * vz
            if w <= 0.0:
                continue
            fast = (inverse[0, 0] * vx + inverse[0, 1] * vy + inverse[0, 2] * vz) / w
            slow = (inverse[1, 0] * vx + inverse[1, 1] * vy + inverse[1, 2] * vz) / w
            if has_depth:
                depth = -math.log(1.0 - absorbed * to_unit(draw(photon_key, 4 * photon + 2))) / mu
                fast += depth * (vx * plane_axes[0, 0] + vy * plane_axes[0, 1] + vz * plane_axes[0, 2])
                slow += depth * (vx * plane_axes[1, 0] + vy * plane_axes[1, 1] + vz * plane_axes[1, 2])
            i, j = math.floor(slow / sensor[0]), math.floor(fast / sensor[1])
            if i < 0 or j < 0 or i >= out.shape[0] or j >= out.shape[1]:
                continue
            free = transmission[i, j]
            if free == 255 or (free > 0 and to_unit(draw(photon_key, 4 * photon + 3)) * 255.0 < free):
                out[i, j] += np.uint32(1)
                seen[r] += 1


def expected_spot(
    axes: npt.NDArray[np.float64], sigma_b: float, panel: Panel, box: tuple[slice, slice]
) -> npt.NDArray[np.float64]:
    """Share of a spot's photons in each pixel of a box, by the error function; without depth in the sensor.

    The plain counterpart of `draw_spots`: the Gaussian is taken to the panel's plane by its tangent.

    Parameters
    ----------
    axes : (3, 3) `kabsch_axes` of one ray; box : (slow, fast)
    """
    inverse = np.linalg.inv(panel.d_matrix)
    at = inverse @ axes[0]
    centre = at[:2] / at[2]
    jacobian = np.stack([(inverse[:2] @ e - centre * (inverse[2] @ e)) / at[2] for e in axes[1:]], axis=1)
    covariance = sigma_b**2 * jacobian @ jacobian.T  # fast, slow; mm^2
    edges = [np.arange(s.start, s.stop + 1) * size for s, size in zip(box, panel.pixel_mm)]
    # along slow for each of many thin strips of fast, so that an oblique ellipse comes out right
    n_strips = 8
    strip = (np.arange((box[1].stop - box[1].start) * n_strips) + 0.5) / n_strips * panel.pixel_mm[1]
    fast = strip + box[1].start * panel.pixel_mm[1] - centre[0]
    weight = np.exp(-0.5 * fast**2 / covariance[0, 0]) / math.sqrt(2.0 * math.pi * covariance[0, 0])
    weight *= panel.pixel_mm[1] / n_strips
    middle = centre[1] + covariance[0, 1] / covariance[0, 0] * fast
    sigma = math.sqrt(covariance[1, 1] - covariance[0, 1] ** 2 / covariance[0, 0])
    below = 0.5 * (1.0 + erf((edges[0][:, None] - middle) / (math.sqrt(2.0) * sigma)))
    return (np.diff(below, axis=0) * weight).reshape(len(edges[0]) - 1, -1, n_strips).sum(axis=2)
