"""The free exponent of the top term, with its interval by profile likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.complexity.fit import Hypothesis, Series, fit_shapes
from hdrmx.complexity.growth import Growth

Floats = npt.NDArray[np.float64]
LOWEST, HIGHEST = 0.05, 5.0
_GRID = np.round(np.concatenate([np.arange(LOWEST, 1.0, 0.05), np.arange(1.0, HIGHEST + 0.01, 0.05)]), 10)
_ROUNDS, _FINE = 3, 21  # each round narrows a bracket by a factor of 10


@dataclass(frozen=True)
class Exponent:
    """`low` and `high` bound the interval at the level asked for; both equal to `value` where nothing is free."""

    value: float
    low: float
    high: float


class Profile:
    """Misfit as a function of the exponent, all else fitted.

    Parameters
    ----------
    dominated : the top term is at least half of the cost at the largest size
    """

    def __init__(self, series: Series, *, dominated: bool) -> None:
        self._series, self._dominated = series, dominated
        self._misfit = self.at(_GRID)
        self.best = self._refine(int(np.argmin(self._misfit)))

    def at(self, powers: Floats) -> Floats:
        return np.array([h.misfit for h in self._fit(powers)])

    def _fit(self, powers: Floats) -> list[Hypothesis]:
        return fit_shapes(self._series, [Growth(float(b)) for b in powers], dominated=self._dominated)

    def _refine(self, at: int) -> Hypothesis:
        low, high = _GRID[max(at - 1, 0)], _GRID[min(at + 1, len(_GRID) - 1)]
        best: Hypothesis | None = None
        for _ in range(_ROUNDS):
            powers = np.linspace(low, high, _FINE)
            fits = self._fit(powers)
            i = int(np.argmin([h.misfit for h in fits]))
            best = fits[i]
            low, high = powers[max(i - 1, 0)], powers[min(i + 1, _FINE - 1)]
        assert best is not None
        return best

    def interval(self, allowed: float) -> Exponent:
        """All exponents whose misfit is at most `allowed` above the best."""
        limit = self.best.misfit + allowed
        value = self.best.top.power
        inside = _GRID[self._misfit <= limit]
        low, high = min([value, *inside]), max([value, *inside])
        return Exponent(value, self._edge(low, -1, limit), self._edge(high, 1, limit))

    def _edge(self, inside: float, direction: int, limit: float) -> float:
        beyond = _GRID[_GRID * direction > inside * direction]
        if len(beyond) == 0:
            return float(inside)
        outside = float(beyond.min() if direction > 0 else beyond.max())
        for _ in range(_ROUNDS):
            powers = np.linspace(inside, outside, _FINE)
            out = np.nonzero(self.at(powers) > limit)[0]
            first = int(out[0]) if len(out) else _FINE - 1
            inside, outside = float(powers[max(first - 1, 0)]), float(powers[first])
        return outside
