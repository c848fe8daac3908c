"""Real spherical harmonics of many directions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.special import factorial, lpmv

Floats = npt.NDArray[np.float64]


def number_of_harmonics(l_max: int) -> int:
    """Of degree 1 to l_max."""
    return l_max * (l_max + 2)


@njit(cache=True, nogil=True)
def add_harmonics(directions: Floats, l_max: int, factor: float, out: Floats) -> None:
    """Add to `out` (n, l_max (l_max + 2)) the factor times the harmonics of unit vectors (n, 3).

    Orthonormal, degree 1 to l_max, each with order -l (sine) to l (cosine); without the phase (-1)^m. By the
    recurrence for normalised Legendre functions, of which sin^m theta is taken up in (x + iy)^m.
    """
    root2 = math.sqrt(2.0)
    for i in range(len(directions)):
        x, y, z = directions[i, 0], directions[i, 1], directions[i, 2]
        cosine, sine = 1.0, 0.0
        diagonal = 0.5 / math.sqrt(math.pi)
        for m in range(l_max + 1):
            if m > 0:
                cosine, sine = x * cosine - y * sine, x * sine + y * cosine
                diagonal *= math.sqrt((2.0 * m + 1.0) / (2.0 * m))
            before, now = 0.0, diagonal
            for l in range(m, l_max + 1):
                if l > m:
                    rise = math.sqrt((4.0 * l * l - 1.0) / (l * l - m * m))
                    fall = math.sqrt(((l - 1.0) ** 2 - m * m) / (4.0 * (l - 1.0) ** 2 - 1.0))
                    before, now = now, rise * (z * now - fall * before)
                if l == 0:
                    continue
                middle = l * l - 1 + l
                if m == 0:
                    out[i, middle] += factor * now
                else:
                    out[i, middle + m] += factor * root2 * now * cosine
                    out[i, middle - m] += factor * root2 * now * sine


def plain_harmonics(directions: Floats, l_max: int) -> Floats:
    """The same, written with associated Legendre functions of angles."""
    theta_cosine, phi = directions[:, 2], np.arctan2(directions[:, 1], directions[:, 0])
    columns = []
    for l in range(1, l_max + 1):
        for m in range(-l, l + 1):
            k = abs(m)
            norm = np.sqrt((2 * l + 1) / (4 * np.pi) * factorial(l - k) / factorial(l + k)) * (-1) ** k
            part = np.sqrt(2) * (np.cos(k * phi) if m > 0 else np.sin(k * phi)) if m else 1.0
            columns.append(norm * lpmv(k, l, theta_cosine) * part)
    return np.column_stack(columns)
