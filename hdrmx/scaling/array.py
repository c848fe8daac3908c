"""The model `array`: in place of exp(B / 2d^2) and the surface, the exponential of two grids that know no physics.

One over the scan and 1/d^2, one over the scan and the place where the ray hits a plane across the beam. Values between
grid points are Gaussian means of the three nearest in each direction, as those of C and B. For what physical models
can't follow: shadows, ice, odd beams. After Evans (2006) Acta Cryst. D62, 72-82; the numbers of points are those of
DIALS 3.12. Departs from it: grids are exponents, held near 0 by a restraint, and C varies along the scan beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.models import Geometry
from hdrmx.refinement.smoother import TERMS, Smoother

Floats = npt.NDArray[np.float64]

INTERVAL_DEG = 20.0
RESOLUTION_POINTS = 10
PLACE_POINTS = 3  # in each direction across the beam
RESTRAINT = 1.0  # weight of the square of a grid's point: none is farther from 0 than 1 or so without evidence


@dataclass(frozen=True)
class Bounds:
    """What the observations of a sweep span: 1/d^2, and two direction cosines across the beam; (low, high) each."""

    s2: tuple[float, float] = (0.0, 1.0)
    u: tuple[float, float] = (-1.0, 1.0)
    v: tuple[float, float] = (-1.0, 1.0)


@dataclass(frozen=True)
class Grids:
    """Points of both grids; of each the scan runs fastest. The first is over resolution, the second over place."""

    along: Smoother
    s2: Smoother
    u: Smoother
    v: Smoother

    @property
    def n_samples(self) -> int:
        return self.along.n_samples * (self.s2.n_samples + self.u.n_samples * self.v.n_samples)

    def weights(self, frame: Floats, s2: Floats, uv: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
        """First points (n, 12) of threes along the scan, and weights (n, 36): 3 rows of resolution, 9 of place."""
        n_along = self.along.n_samples
        at, weight = self.along.weights(frame)
        (s_at, s_weight), (u_at, u_weight), (v_at, v_weight) = (
            smoother.weights(values) for smoother, values in ((self.s2, s2), (self.u, uv[:, 0]), (self.v, uv[:, 1]))
        )
        firsts, factors = [], []
        for i in range(TERMS):
            firsts.append(s_at + i)
            factors.append(s_weight[:, i])
        for i in range(TERMS):
            for j in range(TERMS):
                firsts.append(self.s2.n_samples + (u_at + i) * self.v.n_samples + v_at + j)
                factors.append(u_weight[:, i] * v_weight[:, j])
        first = at[:, None] + n_along * np.stack(firsts, axis=1)
        whole = np.stack(factors, axis=1)[:, :, None] * weight[:, None, :]
        return first.astype(np.int32), whole.reshape(len(frame), -1)

    def places(self) -> list[tuple[str, float, str]]:
        """Part, frame and name of every point, in their order."""
        out = []
        for s2 in self.s2.positions:
            out += [("decay", f, f"1/d^2 {s2:.4g}") for f in self.along.positions]
        for u in self.u.positions:
            for v in self.v.positions:
                out += [("absorption", f, f"{u:.3g},{v:.3g}") for f in self.along.positions]
        return out


def make_grids(first: float, last: float, width_deg: float, interval_deg: float, bounds: Bounds) -> Grids:
    """Grids of a scan from frame `first` to `last`."""
    return Grids(
        Smoother(first, last, max(1, round(width_deg / interval_deg))),
        Smoother(*_opened(bounds.s2), RESOLUTION_POINTS - 2),
        Smoother(*_opened(bounds.u), PLACE_POINTS - 1),
        Smoother(*_opened(bounds.v), PLACE_POINTS - 1),
    )


def _opened(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def across(geometry: Geometry, s1: Floats) -> Floats:
    """(n, 2) direction cosines of rays with two directions across the beam."""
    along = np.asarray(geometry.beam.direction, float)
    one = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    one /= np.linalg.norm(one)
    unit = s1 / np.linalg.norm(s1, axis=1)[:, None]
    return np.stack([np.einsum("ni,i->n", unit, one), np.einsum("ni,i->n", unit, np.cross(along, one))], axis=1)


def bounds_of(geometry: Geometry, d: Floats, s1: Floats) -> Bounds:
    """What observations span; the widest there could be without any."""
    if len(d) == 0:
        return Bounds()
    s2, uv = d**-2.0, across(geometry, s1)
    (u, v) = ((float(x.min()), float(x.max())) for x in uv.T)
    return Bounds((float(s2.min()), float(s2.max())), u, v)
