"""Is one of two series of timings slower? Paired by round, on a logarithmic scale, with what could have been seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SLOWER, FASTER, UNCHANGED, CANNOT_TELL = "slower", "faster", "unchanged", "cannot tell"
FEWEST_PAIRS = 5  # fewer can't reach 5 % by signs alone: 2 / 2^5 is 6 %
Z_ALPHA, Z_BETA = 1.96, 0.84  # 5 % false alarms, 80 % power


@dataclass(frozen=True)
class Shift:
    """Change of a cost: `ratio` new over old, its 95 % interval, and the least change that would have been seen.

    `verdict` is one of slower, faster, unchanged (within `within`), cannot tell.
    """

    verdict: str
    ratio: float
    low: float
    high: float
    detectable: float  # as a ratio less one; NaN with fewer than two pairs
    n_pairs: int
    within: float


def shift(old: Sequence[float], new: Sequence[float], within: float = 0.02) -> Shift:
    """Compare costs of rounds that ran one after the other, old and new in turn.

    Parameters
    ----------
    old, new : positive, of the same rounds in the same order
    within : changes smaller than this are called unchanged, where the interval bears that out

    Notes
    -----
    The Hodges-Lehmann estimate of the paired log ratios, with the interval of Wilcoxon's signed ranks (Hollander, Wolfe
    & Chicken (2014), Nonparametric Statistical Methods, 3.2-3.3); for few pairs the interval is that of all Walsh
    averages, which covers 1 - 2^(1 - n). Detectable is (z_alpha + z_beta) s / sqrt(n) with the robust spread s.
    """
    if len(old) != len(new):
        raise ValueError(f"{len(old)} old and {len(new)} new runs are no pairs")
    logs = np.log(np.asarray(new, float) / np.asarray(old, float))
    n = len(logs)
    if n == 0 or not np.isfinite(logs).all():
        return Shift(CANNOT_TELL, math.nan, math.nan, math.nan, math.nan, n, within)
    i, j = np.triu_indices(n)
    walsh = np.sort(0.5 * (logs[i] + logs[j]))
    middle = float(np.median(walsh))
    if n < FEWEST_PAIRS:
        ratio = math.exp(middle)
        return Shift(CANNOT_TELL, ratio, math.exp(walsh[0]), math.exp(walsh[-1]), _detectable(logs), n, within)
    cut = _wilcoxon_cut(n)
    low, high = float(walsh[cut]), float(walsh[len(walsh) - 1 - cut])
    limit = math.log1p(within)
    if low > 0 and middle > limit:
        verdict = SLOWER
    elif high < 0 and middle < -limit:
        verdict = FASTER
    elif -limit <= low and high <= limit:
        verdict = UNCHANGED
    else:
        verdict = CANNOT_TELL
    return Shift(verdict, math.exp(middle), math.exp(low), math.exp(high), _detectable(logs), n, within)


def _detectable(logs: np.ndarray) -> float:
    if len(logs) < 2:
        return math.nan
    spread = 1.4826 * float(np.median(np.abs(logs - np.median(logs)))) or float(np.std(logs, ddof=1))
    return math.expm1((Z_ALPHA + Z_BETA) * spread / math.sqrt(len(logs)))


def _wilcoxon_cut(n: int, alpha: float = 0.05) -> int:
    """How many Walsh averages are cut off at either end: the largest k with P(W < k) + P(W > max - k) <= alpha."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):
        ways[rank:] = ways[rank:] + ways[:-rank]
    below = np.cumsum(ways) / 2.0**n
    return max(int(np.searchsorted(below, alpha / 2, side="right")) - 1, 0)
