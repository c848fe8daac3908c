"""Kernels of scaling: scales of observations, normal equations of their model, outliers, likelihood of errors.

Observations stand group by group: group h of equivalent reflections is rows start[h] to start[h + 1]. One with
weight 0 takes no part. The scale of an observation is g = C exp(B / 2d^2) A with C and B means of up to three
neighbouring parameters (or points of grids in place of B / 2d^2), and A = 1 + a sum of harmonics. With l = d ln g / dp,
and the best I of each group put in (I = sum w g J / sum w g^2, J the observed intensity), Gauss and Newton's matrix is

    sum over groups of [sum W l l^T - (sum W l)(sum W l)^T / sum W],  W = w (g I)^2,

a weighted covariance of l, and the gradient of half the target is - sum w (J - g I) g I l. Time ~ observations.
The plain counterparts, which make the whole Jacobian, are in `scaling_plain`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


class Design(NamedTuple):
    """How parameters bear on each of n observations."""

    scale_at: Rows  # (n,) first of its parameters of C
    scale_weight: Floats  # (n, 3) adding up to 1; 0 where there are fewer parameters
    decay_at: Rows  # (n, rows) first of each three neighbours of what stands in the exponent: of B, or rows of a grid
    decay_weight: Floats  # (n, 3 rows) times 1 / 2d^2 of B in A^2; all 0 without decay
    surface_at: Rows  # (n,) first parameter of its absorption surface; -1 without absorption
    surface: Floats  # (n, n_terms) harmonics


@njit(cache=True, nogil=True)
def _factors(design: Design, parameters: Floats, i: int) -> tuple[float, float, float]:
    """C, exp(B / 2d^2) and A of observation i."""
    c, b, a = 0.0, 0.0, 1.0
    for k in range(3):
        if design.scale_weight[i, k] != 0.0:
            c += design.scale_weight[i, k] * parameters[design.scale_at[i] + k]
    for k in range(design.decay_weight.shape[1]):
        if design.decay_weight[i, k] != 0.0:
            b += design.decay_weight[i, k] * parameters[design.decay_at[i, k // 3] + k % 3]
    first = design.surface_at[i]
    if first >= 0:
        for k in range(design.surface.shape[1]):
            a += design.surface[i, k] * parameters[first + k]
    return c, math.exp(b), a


@njit(cache=True, nogil=True)
def scales(design: Design, parameters: Floats, out: Floats) -> None:
    """Scale of every observation."""
    for i in range(len(out)):
        c, e, a = _factors(design, parameters, i)
        out[i] = c * e * a


@njit(cache=True, nogil=True)
def _group_mean(first: int, last: int, intensity: Floats, weight: Floats, scale: Floats) -> tuple[float, float]:
    top, bottom = 0.0, 0.0
    for i in range(first, last):
        top += weight[i] * scale[i] * intensity[i]
        bottom += weight[i] * scale[i] * scale[i]
    if bottom > 0.0:
        return top / bottom, bottom
    return 0.0, 0.0


@njit(cache=True, nogil=True)
def means(start: Ints, intensity: Floats, weight: Floats, scale: Floats, mean: Floats, total: Floats) -> float:
    """Fill the best I of each group and its weight sum w g^2 (both 0 where no observation takes part).

    Returns the target, the sum of w (J - g I)^2.
    """
    target = 0.0
    for h in range(len(start) - 1):
        mean[h], total[h] = _group_mean(start[h], start[h + 1], intensity, weight, scale)
        for i in range(start[h], start[h + 1]):
            target += weight[i] * (intensity[i] - scale[i] * mean[h]) ** 2
    return target


@njit(cache=True, nogil=True)
def accumulate(
    design: Design,
    parameters: Floats,
    start: Ints,
    intensity: Floats,
    weight: Floats,
    scale: Floats,
    matrix: Floats,
    gradient: Floats,
) -> None:
    """Add to the upper half of `matrix` (p, p) and to `gradient` (p,); `scale` holds the scales at `parameters`.

    Serial, so that the order of summation is fixed.
    """
    total = np.zeros(len(parameters))  # sum W l of a group
    seen = np.full(len(parameters), -1, np.int64)  # group that bore on a column last
    touched = np.zeros(len(parameters), np.int32)
    n_own = 3 + design.decay_weight.shape[1]
    columns, values = np.zeros(n_own, np.int32), np.zeros(n_own)
    for h in range(len(start) - 1):
        mean, _ = _group_mean(start[h], start[h + 1], intensity, weight, scale)
        whole, n_touched = 0.0, 0
        for i in range(start[h], start[h + 1]):
            model = scale[i] * mean
            strength = weight[i] * model * model
            if strength <= 0.0:
                continue
            whole += strength
            n, stretch = _gradient(design, parameters, i, columns, values)
            n_touched = _touch(design, i, columns[:n], h, seen, touched, n_touched)
            slope = -weight[i] * (intensity[i] - model) * model
            first, harmonics = design.surface_at[i], design.surface[i]
            _add(first, harmonics, columns[:n], values, stretch, strength, slope, matrix, gradient, total)
        if n_touched > 0:
            _subtract_square(matrix, total, touched[:n_touched], 1.0 / whole)


@njit(cache=True, nogil=True)
def _gradient(design: Design, parameters: Floats, i: int, columns: Rows, values: Floats) -> tuple[int, float]:
    """Columns and values of d ln g / dp; those of the surface are its harmonics times the second result."""
    c, _, a = _factors(design, parameters, i)
    n = 0
    for k in range(3):
        if design.scale_weight[i, k] != 0.0:
            columns[n], values[n] = design.scale_at[i] + k, design.scale_weight[i, k] / c
            n += 1
    for k in range(design.decay_weight.shape[1]):
        if design.decay_weight[i, k] != 0.0:
            columns[n], values[n] = design.decay_at[i, k // 3] + k % 3, design.decay_weight[i, k]
            n += 1
    return n, 1.0 / a


@njit(cache=True, nogil=True)
def _touch(design: Design, i: int, columns: Rows, h: int, seen: Ints, touched: Rows, n: int) -> int:
    """Add the columns of observation i to the list of those that group h bears on."""
    for c in columns:
        if seen[c] != h:
            seen[c] = h
            touched[n] = c
            n += 1
    first = design.surface_at[i]
    if first >= 0:
        for c in range(first, first + design.surface.shape[1]):
            if seen[c] != h:
                seen[c] = h
                touched[n] = c
                n += 1
    return n


@njit(cache=True, nogil=True)
def _add(
    first: int,
    harmonics: Floats,
    columns: Rows,
    values: Floats,
    stretch: float,
    strength: float,
    slope: float,
    matrix: Floats,
    gradient: Floats,
    total: Floats,
) -> None:
    """Add one observation's W l l^T, W l and gradient."""
    last = first + len(harmonics)
    for a in range(len(columns)):
        column, share = columns[a], strength * values[a]
        gradient[column] += slope * values[a]
        total[column] += share
        for b in range(a, len(columns)):
            matrix[column, columns[b]] += share * values[b]
        if first >= 0:
            _add_scaled(matrix[column, first:last], share * stretch, harmonics)
    if first >= 0:
        _add_scaled(gradient[first:last], slope * stretch, harmonics)
        _add_scaled(total[first:last], strength * stretch, harmonics)
        _add_square(matrix[first:last, first:last], strength * stretch * stretch, harmonics)


@njit(cache=True, nogil=True)
def _add_scaled(target: Floats, factor: float, values: Floats) -> None:
    for k in range(len(values)):
        target[k] += factor * values[k]


@njit(cache=True, nogil=True)
def _add_square(target: Floats, factor: float, values: Floats) -> None:
    """Add factor v v^T, upper half."""
    for a in range(len(values)):
        share = factor * values[a]
        for b in range(a, len(values)):
            target[a, b] += share * values[b]


@njit(cache=True, nogil=True)
def _subtract_square(matrix: Floats, total: Floats, touched: Rows, factor: float) -> None:
    """Take factor t t^T from the upper half and clear t, which is 0 but for the touched columns."""
    if 2 * len(touched) > len(total):
        _add_square(matrix, -factor, total)
        total[:] = 0.0
        return
    touched.sort()
    for a in range(len(touched)):
        share = factor * total[touched[a]]
        for b in range(a, len(touched)):
            matrix[touched[a], touched[b]] -= share * total[touched[b]]
    for c in touched:
        total[c] = 0.0


@njit(cache=True, nogil=True)
def accumulate_blocks(
    design: Design,
    parameters: Floats,
    start: Ints,
    intensity: Floats,
    weight: Floats,
    scale: Floats,
    sweep: Rows,
    first_of_sweep: Rows,
    blocks: Floats,
    gradient: Floats,
) -> None:
    """Add the upper halves of sum W l l^T of each sweep to `blocks` (sweeps, widest, widest), and the gradient.

    `sweep` (n,) is that of an observation, `first_of_sweep` the first of its parameters.
    """
    n_own = 3 + design.decay_weight.shape[1]
    columns, values = np.zeros(n_own, np.int32), np.zeros(n_own)
    total = np.zeros(blocks.shape[1])
    for h in range(len(start) - 1):
        mean, _ = _group_mean(start[h], start[h + 1], intensity, weight, scale)
        for i in range(start[h], start[h + 1]):
            model = scale[i] * mean
            strength = weight[i] * model * model
            if strength <= 0.0:
                continue
            n, stretch = _gradient(design, parameters, i, columns, values)
            before = first_of_sweep[sweep[i]]
            columns -= before
            first = design.surface_at[i] - before if design.surface_at[i] >= 0 else -1
            slope = -weight[i] * (intensity[i] - model) * model
            _add(
                first,
                design.surface[i],
                columns[:n],
                values,
                stretch,
                strength,
                slope,
                blocks[sweep[i]],
                gradient[before:],
                total,
            )


@njit(cache=True, nogil=True)
def multiply(
    design: Design,
    parameters: Floats,
    start: Ints,
    intensity: Floats,
    weight: Floats,
    scale: Floats,
    vector: Floats,
    out: Floats,
    along: Floats,
) -> None:
    """Add to `out` the product of the matrix, which is never made, and `vector`. `along` (n,) is scratch."""
    n_own = 3 + design.decay_weight.shape[1]
    columns, values = np.zeros(n_own, np.int32), np.zeros(n_own)
    for h in range(len(start) - 1):
        mean, _ = _group_mean(start[h], start[h + 1], intensity, weight, scale)
        top, whole = 0.0, 0.0
        for i in range(start[h], start[h + 1]):
            strength = weight[i] * (scale[i] * mean) ** 2
            if strength <= 0.0:
                continue
            n, stretch = _gradient(design, parameters, i, columns, values)
            along[i] = _dot(design, i, columns[:n], values, stretch, vector)
            top += strength * along[i]
            whole += strength
        for i in range(start[h], start[h + 1]):
            strength = weight[i] * (scale[i] * mean) ** 2
            if strength <= 0.0:
                continue
            n, stretch = _gradient(design, parameters, i, columns, values)
            share = strength * (along[i] - top / whole)
            for a in range(n):
                out[columns[a]] += share * values[a]
            if design.surface_at[i] >= 0:
                first = design.surface_at[i]
                _add_scaled(out[first : first + design.surface.shape[1]], share * stretch, design.surface[i])


@njit(cache=True, nogil=True)
def _dot(design: Design, i: int, columns: Rows, values: Floats, stretch: float, vector: Floats) -> float:
    result = 0.0
    for a in range(len(columns)):
        result += values[a] * vector[columns[a]]
    if design.surface_at[i] >= 0:
        for k in range(design.surface.shape[1]):
            result += stretch * design.surface[i, k] * vector[design.surface_at[i] + k]
    return result


@njit(cache=True, nogil=True)
def variances(
    design: Design,
    parameters: Floats,
    sweep: Rows,
    first_of_sweep: Rows,
    covariances: Floats,
    out: Floats,
) -> None:
    """Variance of ln g of every observation, l^T covariance l, from the covariances (sweeps, widest, widest)."""
    n_terms = design.surface.shape[1]
    n_own = 3 + design.decay_weight.shape[1] + n_terms
    columns, values = np.zeros(n_own, np.int32), np.zeros(n_own)
    for i in range(len(out)):
        n, stretch = _gradient(design, parameters, i, columns, values)
        if design.surface_at[i] >= 0:
            for k in range(n_terms):
                columns[n + k], values[n + k] = design.surface_at[i] + k, stretch * design.surface[i, k]
            n += n_terms
        out[i] = 0.0
        before, covariance = first_of_sweep[sweep[i]], covariances[sweep[i]]
        for a in range(n):
            row, inner = covariance[columns[a] - before], 0.0
            for b in range(n):
                inner += row[columns[b] - before] * values[b]
            out[i] += inner * values[a]


@njit(cache=True, nogil=True)
def mark_outliers(start: Ints, intensity: Floats, weight: Floats, scale: Floats, limit: float, outlier: Mask) -> None:
    """Mark, one after the other, the observation of a group that is farthest from the mean of the others.

    As long as it is farther than `limit` standard deviations of the difference and at least three are left. Weights
    over ten times the group's median count as that.
    """
    largest = 0
    for h in range(len(start) - 1):
        largest = max(largest, start[h + 1] - start[h])
    w, ordered = np.empty(largest), np.empty(largest)
    for h in range(len(start) - 1):
        first, n, n_left = start[h], start[h + 1] - start[h], 0
        for k in range(n):
            outlier[first + k] = False
            if weight[first + k] > 0.0:
                ordered[n_left] = weight[first + k]
                n_left += 1
        if n_left < 3:
            continue
        ordered[:n_left].sort()
        ceiling = 5.0 * (ordered[(n_left - 1) // 2] + ordered[n_left // 2])
        for k in range(n):
            w[k] = min(weight[first + k], ceiling)
        while n_left > 2:
            worst = _farthest(first, n, w, intensity, scale, limit)
            if worst < 0:
                break
            outlier[first + worst] = True
            w[worst] = 0.0
            n_left -= 1


@njit(cache=True, nogil=True)
def _farthest(first: int, n: int, w: Floats, intensity: Floats, scale: Floats, limit: float) -> int:
    top, bottom = 0.0, 0.0
    for k in range(n):
        g = scale[first + k]
        top += w[k] * g * intensity[first + k]
        bottom += w[k] * g * g
    worst, farthest = -1, limit
    for k in range(n):
        if w[k] <= 0.0:
            continue
        g = scale[first + k]
        rest = bottom - w[k] * g * g
        if rest <= 0.0:
            continue
        difference = intensity[first + k] - g * (top - w[k] * g * intensity[first + k]) / rest
        deviation = abs(difference) / math.sqrt(1.0 / w[k] + g * g / rest)
        if deviation > farthest:
            worst, farthest = k, deviation
    return worst


@njit(cache=True, nogil=True)
def restricted_sums(
    start: Ints, intensity: Floats, variance: Floats, expected: Floats, scale: Floats, used: Mask, b2: float
) -> tuple[float, float, int]:
    """Parts of the likelihood of what is left of the observations once each group's best I is taken off.

    With v = variance + b2 expected^2: the sum of ln v and of ln sum g^2 / v, the sum of (J - g I)^2 / v, and the
    number of observations less that of groups. Groups of one say nothing.
    """
    logarithms, squares, freedom = 0.0, 0.0, 0
    for h in range(len(start) - 1):
        top, bottom, n, logs = 0.0, 0.0, 0, 0.0
        for i in range(start[h], start[h + 1]):
            if used[i]:
                v = variance[i] + b2 * expected[i] * expected[i]
                top += scale[i] * intensity[i] / v
                bottom += scale[i] * scale[i] / v
                logs += math.log(v)
                n += 1
        if n < 2:
            continue
        mean = top / bottom
        logarithms += logs + math.log(bottom)
        freedom += n - 1
        for i in range(start[h], start[h + 1]):
            if used[i]:
                v = variance[i] + b2 * expected[i] * expected[i]
                squares += (intensity[i] - scale[i] * mean) ** 2 / v
    return logarithms, squares, freedom
