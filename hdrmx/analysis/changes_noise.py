"""The noise of one series: how much of it is remembered from point to point, and how far it alone would reach.

A series' residuals are freed of their lag-1 memory, drawn anew in blocks, and given the memory back (post-blackened
block bootstrap: Davison and Hinkley (1997) Bootstrap Methods and their Application, 8.2.3): spikes, tails and what
memory is left stay those of the series. The largest gains of such series follow a Gumbel distribution, whose tail
gives probabilities smaller than 1 / draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal, stats

from hdrmx.analysis.changes_segments import Floats, Ints, biggest_gains, levels, segmentations

DRAWS = 200
FIRST, FURTHER = 4.0, 8.0  # price of the first step, and of each one more, times log n
BURN_IN = 60
SAFETY = 1.3  # on the gains that noise brings: memory longer than a block, and steps taken out that were none
MOST_MEMORY = 0.95
PATH = np.geomspace(4.0, 1500.0, 12)  # penalties tried, in units of the squared spread
EULER = 0.5772156649015329


@dataclass(frozen=True)
class Noise:
    """Of one series.

    Attributes
    ----------
    spread : standard deviation of one point
    memory : correlation of neighbouring points
    middle, width : of the Gumbel distribution of the largest gain in a series of as many points without any step
    """

    spread: float
    memory: float
    middle: float
    width: float
    free: float  # degrees of freedom of `spread`, memory allowed for

    @property
    def long_run(self) -> float:
        """Variance of a mean times its points: larger than spread^2 where there is memory."""
        return self.spread**2 * (1 + self.memory) / (1 - self.memory)

    def penalty(self, alarm_rate: float) -> float:
        """The gain that noise alone exceeds somewhere in the series with this probability."""
        return self.middle - self.width * float(np.log(-np.log1p(-alarm_rate)))

    def probability(self, gain: Floats, points: int) -> Floats:
        """That noise alone brings as much anywhere in a series of so many points; heavier of two tails."""
        gumbel = -np.expm1(-np.exp(-(gain - self.middle) / self.width))
        t = np.sqrt(gain / self.long_run)
        student = np.minimum(2 * points * stats.t.sf(t, self.free), 1.0)
        return np.maximum(gumbel, student)


def fitted_noise(x: Floats, spread: float, *, seed: int = 0) -> tuple[Noise, Ints]:
    """Noise of a series, and the steps that were taken out to see it.

    The steps are those of the penalised fit whose residuals, free of memory, are the smallest for their number
    (`price` log n): wandering noise is told from steps by that.

    Parameters
    ----------
    x : (n,) clipped values, n >= 6
    spread : of differences, > 0
    """
    n = len(x)
    tried = {tuple(s.tolist()): s for s in segmentations(x, PATH * spread**2)}
    tried[0,] = np.zeros(1, np.int64)
    best, chosen = np.inf, tried[0,]
    for starts in tried.values():
        if len(starts) > 1 + n / 6:
            continue
        innovation, _ = whitened(x, starts)
        score = n * np.log(max(float(np.mean(innovation**2)), (1e-3 * spread) ** 2)) + np.log(n) * price(
            len(starts) - 1
        )
        if score < best:
            best, chosen = score, starts
    innovation, memory = whitened(x, chosen)
    steps = len(chosen) - 1
    memory = min(memory + (1 + 3 * memory) * (1 + steps) / n, MOST_MEMORY)
    innovation = innovation * np.sqrt(n / max(n - 1 - 2 * steps, n / 4))
    own = float(np.std(innovation)) / np.sqrt(1 - memory**2)
    drawn = redrawn(innovation - innovation.mean(), memory, n, DRAWS, np.random.default_rng(seed))
    most = biggest_gains(drawn)
    width = max(float(np.std(most, ddof=1)) * np.sqrt(6) / np.pi, 1e-12)
    free = max(n * (1 - memory) / (1 + memory) - 1 - steps, 2.0)
    middle = float(most.mean()) - EULER * width
    return Noise(max(own, 1e-300), memory, SAFETY * middle, SAFETY * width, free), chosen


def price(steps: int) -> float:
    """Of so many steps: few are likely; a series that needs many to be quiet is one that wanders or flips."""
    return FIRST * min(steps, 1) + FURTHER * max(steps - 1, 0)


def whitened(x: Floats, starts: Ints) -> tuple[Floats, float]:
    """Residuals of a fit without what each has from the one before, and how much that is (at least 0)."""
    residual = x - levels(x, starts)
    power = float(residual @ residual)
    memory = float(np.clip(residual[1:] @ residual[:-1] / power, 0.0, MOST_MEMORY)) if power > 0 else 0.0
    innovation = residual.copy()
    innovation[1:] -= memory * residual[:-1]
    innovation[0] *= np.sqrt(1 - memory**2)
    return innovation, memory


def redrawn(innovation: Floats, memory: float, n: int, draws: int, rng: np.random.Generator) -> Floats:
    """(draws, n) series without a step: blocks of about n^(1/3) innovations in random order, memory given back."""
    block = max(round(len(innovation) ** (1 / 3)), 1)
    need = n + BURN_IN
    first = rng.integers(0, len(innovation), (draws, -(-need // block)))
    at = (first[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :need] % len(innovation)
    drawn = innovation[at]
    if memory > 0:
        drawn = signal.lfilter([1.0], [1.0, -memory], drawn, axis=1)
    return np.asarray(drawn[:, BURN_IN:], np.float64)
