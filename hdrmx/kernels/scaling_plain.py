"""The plain counterparts of `scaling`, group by group with whole matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.kernels.scaling import Design

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def log_jacobian(design: Design, parameters: Floats) -> tuple[Floats, Floats]:
    """Scales g (n,) and d ln g / dp (n, p)."""
    n, p = len(design.scale_at), len(parameters)
    c, b, a = np.zeros((n, p)), np.zeros((n, p)), np.zeros((n, p))
    for i in range(n):
        for k in range(3):
            if design.scale_weight[i, k]:
                c[i, design.scale_at[i] + k] = design.scale_weight[i, k]
        for k, weight in enumerate(design.decay_weight[i]):
            if weight:
                b[i, design.decay_at[i, k // 3] + k % 3] = weight
        if design.surface_at[i] >= 0:
            a[i, design.surface_at[i] : design.surface_at[i] + design.surface.shape[1]] = design.surface[i]
    C, B, A = c @ parameters, np.exp(b @ parameters), 1 + a @ parameters
    return C * B * A, c / C[:, None] + b + a / A[:, None]


def normal_equations(
    design: Design, parameters: Floats, start: Ints, intensity: Floats, weight: Floats
) -> tuple[float, Floats, Floats]:
    """Target, matrix (p, p) and gradient of half the target (p,)."""
    g, l = log_jacobian(design, parameters)
    target, matrix, gradient = 0.0, np.zeros((len(parameters),) * 2), np.zeros(len(parameters))
    for h in range(len(start) - 1):
        rows = slice(start[h], start[h + 1])
        w, J, gh = weight[rows], intensity[rows], g[rows]
        if not (w > 0).any():
            continue
        best = (w * gh * J).sum() / (w * gh**2).sum()
        residual = J - gh * best
        W = w * (gh * best) ** 2
        target += (w * residual**2).sum()
        gradient -= l[rows].T @ (w * residual * gh * best)
        if W.sum() > 0:
            mean = W @ l[rows] / W.sum()
            matrix += (l[rows] - mean).T @ (W[:, None] * (l[rows] - mean))
    return target, matrix, gradient


def outliers(start: Ints, intensity: Floats, weight: Floats, scale: Floats, limit: float) -> npt.NDArray[np.bool_]:
    """(n,) whether an observation is an outlier of its group."""
    found = np.zeros(len(intensity), bool)
    for h in range(len(start) - 1):
        left = [i for i in range(start[h], start[h + 1]) if weight[i] > 0]
        if len(left) < 3:
            continue
        w = np.minimum(weight, 10 * np.median(weight[left]))
        while len(left) > 2:
            deviations = []
            for i in left:
                others = [j for j in left if j != i]
                total = (w[others] * scale[others] ** 2).sum()
                mean = (w[others] * scale[others] * intensity[others]).sum() / total
                sigma = np.sqrt(1 / w[i] + scale[i] ** 2 / total)
                deviations.append(abs(intensity[i] - scale[i] * mean) / sigma)
            if max(deviations) <= limit:
                break
            found[left.pop(int(np.argmax(deviations)))] = True
    return found


def restricted_log_likelihood(
    start: Ints, intensity: Floats, variance: Floats, expected: Floats, scale: Floats, a: float, b: float
) -> float:
    """-2 ln of the likelihood of n - 1 contrasts of each group, orthogonal to g, but for a constant."""
    total = 0.0
    for h in range(len(start) - 1):
        rows = slice(start[h], start[h + 1])
        g = scale[rows]
        if len(g) < 2:
            continue
        contrasts = np.linalg.svd(g[None, :])[2][1:]  # orthonormal, each orthogonal to g
        covariance = contrasts @ np.diag(a**2 * (variance[rows] + (b * expected[rows]) ** 2)) @ contrasts.T
        y = contrasts @ intensity[rows]
        total += np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y)
    return float(total)
