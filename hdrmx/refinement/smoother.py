"""Values that change smoothly along the scan, given at a few sample points.

A value at x is the mean of the (up to) three sample points nearest to it, weighted with a Gaussian of their
distance. After the scales of Aimless (Evans & Murshudov (2013) Acta Cryst. D69, 1204-1214), as used for crystal
parameters by Waterman et al. (2016) Acta Cryst. D72, 558-575; the constants are those of DIALS 3.12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TERMS = 3  # sample points that bear on one value
SIGMA = {1: 1.0, 2: 0.65, 3: 0.70}  # by the number of terms, in intervals


@dataclass(frozen=True)
class Smoother:
    """Sample points over [first, last] (frames), `n_intervals` apart; 0 intervals: one constant.

    With three or more intervals the points stand in the middle of each and one half an interval outside each end;
    with one or two, at their borders.
    """

    first: float
    last: float
    n_intervals: int

    @property
    def n_samples(self) -> int:
        return {0: 1, 1: 2, 2: 3}.get(self.n_intervals, self.n_intervals + 2)

    @property
    def spacing(self) -> float:
        """Frames between sample points."""
        return (self.last - self.first) / max(self.n_intervals, 1)

    @property
    def positions(self) -> npt.NDArray[np.float64]:
        """(n_samples,) frames."""
        at = np.arange(self.n_samples, dtype=float)
        if self.n_intervals == 0:
            at += 0.5
        elif self.n_intervals > 2:
            at -= 0.5
        return self.first + at * self.spacing

    def weights(self, frame: npt.ArrayLike) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        """First sample point (n,) int32 and weights (n, 3), which add up to 1, of values at these frames.

        Frames outside the scan take the value at its end. Unused weights (fewer than three points) are 0.
        """
        frame = np.asarray(frame, float)
        z = (np.clip(frame, self.first, self.last) - self.first) / self.spacing
        terms = min(self.n_samples, TERMS)
        start = np.zeros(z.shape, np.int32)
        offset = 0.0
        if self.n_intervals > 2:  # the middle of the three is the nearest point: that of the interval z is in
            start = np.minimum(np.floor(z), self.n_intervals - 1).astype(np.int32)
            offset = 0.5
        distance = z[..., None] - (start[..., None] + np.arange(terms) - offset)
        weight = np.exp(-((distance / SIGMA[terms]) ** 2))
        full = np.zeros((*z.shape, TERMS))
        full[..., :terms] = weight / weight.sum(axis=-1, keepdims=True)
        return start, full

    def at(self, frame: npt.ArrayLike, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values (n, ...) at these frames from those at the sample points (n_samples, ...)."""
        start, weight = self.weights(frame)
        index = np.minimum(start[:, None] + np.arange(TERMS), self.n_samples - 1)
        return np.einsum("ij,ij...->i...", weight, values[index])
