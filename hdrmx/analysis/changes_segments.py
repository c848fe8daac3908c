"""Piecewise-constant fits of a series: the cheapest segmentation for a penalty, and what each of its steps is worth.

Least squares on values whose spikes have been clipped (`clipped`), by dynamic programming over all segmentations
(Auger and Lawrence (1989) Bull. Math. Biol. 51, 39-54), for several penalties at once. Time ~ points^2 * penalties.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST = 3  # points of a segment, but for the last: a shorter one is a spike
CLIP = 4.0  # spreads beyond the local median at which a value is cut off
WINDOW = 9  # points of the local median


def spread_of_differences(x: Floats) -> float:
    """Standard deviation of one point, from differences of neighbours: blind to steps, unmoved by spikes; 0 if n < 3.

    The smaller non-zero of two estimates for few points: the median of the absolute differences, and their mean
    without the largest tenth.
    """
    if len(x) < 3:
        return 0.0
    size = np.sort(np.abs(np.diff(x)))
    median = float(np.median(size)) / (0.6745 * np.sqrt(2))
    if median > 0:
        return median
    kept = size[: max(int(0.9 * len(size)), 1)]
    return float(kept.mean()) * np.sqrt(np.pi) / 2


def clipped(x: Floats, spread: float) -> Floats:
    """Values cut off where they lie more than CLIP spreads from the median of the WINDOW points around them."""
    half = min(WINDOW // 2, max((len(x) - 1) // 2, 0))
    if half == 0 or spread <= 0:
        return x.copy()
    padded = np.concatenate([np.full(half, np.nan), x, np.full(half, np.nan)])
    local = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return local + np.clip(x - local, -CLIP * spread, CLIP * spread)


def segmentations(x: Floats, penalties: Floats) -> list[Ints]:
    """First points of the segments (0 first), for each penalty: squared residuals + penalty * steps are least.

    Parameters
    ----------
    x : (n,) finite values
    penalties : (m,) in units of x squared
    """
    n, m = len(x), len(penalties)
    x = x - x.mean() if n else x
    s, q = (np.concatenate([[0.0], np.cumsum(v)]) for v in (x, x * x))
    best = np.full((m, n + 1), np.inf)
    best[:, 0] = -penalties
    came = np.zeros((m, n + 1), np.int64)
    at = np.arange(n + 1)
    for b in range(1, n + 1):
        stop = b if b == n else b - LEAST + 1
        if stop <= 0:
            continue
        cost = (q[b] - q[:stop]) - (s[b] - s[:stop]) ** 2 / (b - at[:stop])
        total = best[:, :stop] + cost
        came[:, b] = total.argmin(axis=1)
        best[:, b] = total[np.arange(m), came[:, b]] + penalties
    found = []
    for row in range(m):
        starts, b = [], n
        while b > 0:
            b = int(came[row, b])
            starts.append(b)
        found.append(np.array(starts[::-1], np.int64))
    return found


def levels(x: Floats, starts: Ints) -> Floats:
    """(n,) mean of the segment that each point belongs to."""
    ends = np.append(starts[1:], len(x))
    means = np.add.reduceat(x, starts) / (ends - starts)
    return np.repeat(means, ends - starts)


def gains(x: Floats, starts: Ints) -> Floats:
    """(steps,) what the sum of squares grows by when one step is taken out and its two segments become one."""
    ends = np.append(starts[1:], len(x))
    size = (ends - starts).astype(float)
    mean = np.add.reduceat(x, starts) / size
    return (mean[1:] - mean[:-1]) ** 2 * size[1:] * size[:-1] / (size[1:] + size[:-1])


def where(x: Floats, starts: Ints, i: int, scale2: float) -> tuple[int, int]:
    """First and last position at which step i (from 0) could lie as well: its gain falls by less than 6 * scale2."""
    a, c = int(starts[i]), int(starts[i + 2]) if i + 2 < len(starts) else len(x)
    y = x[a:c] - x[a:c].mean()
    t = np.arange(1, c - a)
    gain = np.cumsum(y)[:-1] ** 2 * (1.0 / t + 1.0 / (c - a - t))
    at = int(starts[i + 1]) - a
    near = gain >= gain[at - 1] - 6 * scale2
    low, high = at, at
    while low > 1 and near[low - 2]:
        low -= 1
    while high < c - a - 1 and near[high]:
        high += 1
    return a + low, a + high


def biggest_gains(x: Floats) -> Floats:
    """(rows,) of every row of x, the largest gain per step that any one step, or any step and its undoing, brings.

    Steps and undone steps of at least LEAST points, but for a last segment; undone ones at lengths that grow by 1.3.
    """
    n = x.shape[1]
    s = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x - x.mean(axis=1, keepdims=True), axis=1)], axis=1)
    t = np.arange(LEAST, n)
    most = (s[:, t] ** 2 * (1.0 / t + 1.0 / (n - t))).max(axis=1) if len(t) else np.zeros(len(x))
    length = LEAST
    while length < n - 1:
        inside = (s[:, length:] - s[:, :-length]) ** 2
        most = np.maximum(most, inside.max(axis=1) * (1.0 / length + 1.0 / (n - length)) / 2)
        length = max(length + 1, int(length * 1.3))
    return most
