"""Factors between counts and squared structure factors: Lorentz, polarisation, absorption by the sensor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.integration.profile_model import Floats
from hdrmx.models import Geometry


def lorentz_polarization(s1: Floats, geometry: Geometry) -> Floats:
    """(n,) factor by which an intensity is multiplied: 1 / (Lorentz factor * polarisation factor).

    1 / Lorentz = |axis . (s1 x s0)| / (|s1| |s0|) with unit vectors;
    polarisation = (1 - 2 p)(1 - (n . s1)^2) + p (1 + (s1 . s0)^2), p the fraction polarised at right angles to the
    normal n. After Kahn et al. (1982) J. Appl. Cryst. 15, 330-337.
    """
    assert geometry.goniometer is not None
    beam = geometry.beam
    out = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    into = np.asarray(beam.direction) / np.linalg.norm(beam.direction)
    inverse_lorentz = np.abs(np.cross(out, into) @ geometry.goniometer.lab_axis)
    normal = np.asarray(beam.polarization_normal) / np.linalg.norm(beam.polarization_normal)
    p = beam.polarization_fraction
    polarisation = (1.0 - 2.0 * p) * (1.0 - (out @ normal) ** 2) + p * (1.0 + (out @ into) ** 2)
    return np.asarray(inverse_lorentz / polarisation)


def quantum_efficiency(panel: npt.NDArray[np.int32], s1: Floats, geometry: Geometry) -> Floats:
    """(n,) part of the photons that the sensor absorbs, 1 - exp(-mu t / cos) with the ray's angle; 1 if unknown."""
    result = np.ones(len(panel))
    out = s1 / np.linalg.norm(s1, axis=1, keepdims=True)
    for number, p in enumerate(geometry.detector.panels):
        on = np.flatnonzero(panel == number)
        if p.mu_per_mm > 0 and p.thickness_mm > 0:
            result[on] = 1.0 - np.exp(-p.mu_per_mm * p.thickness_mm / np.abs(out[on] @ p.normal))
    return result
