"""How strongly a detector's sensor absorbs the beam, for the parallax correction."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError

TABLE = Path(__file__).with_name("tables") / "attenuation.csv"  # made by tools/make_attenuation_table.py
KEV_A = 12.398419843  # h c, keV A

# Sensor materials with their densities in g/cm^3, as in the tables of NIST (X-ray mass attenuation coefficients).
DENSITY = {"Si": 2.33, "CdTe": 6.2, "GaAs": 5.32, "Ge": 5.323, "CsI": 4.51}
NAMES = {
    "silicon": "Si",
    "si": "Si",
    "cdte": "CdTe",
    "cadmium telluride": "CdTe",
    "gaas": "GaAs",
    "gallium arsenide": "GaAs",
    "ge": "Ge",
    "germanium": "Ge",
    "csi": "CsI",
}


def sensor_material(name: str) -> str:
    """The formula of a sensor material as headers write it (`Silicon`, `CdTe`, ...); '' when there is none.

    A name that is not known is returned as it is.
    """
    name = name.strip()
    return NAMES.get(name.lower(), name)


@functools.lru_cache(maxsize=64)
def mu_per_mm(material: str, wavelength_A: float) -> float:
    """Linear attenuation coefficient of a sensor.

    Photoelectric, coherent and incoherent parts together, of the tables of Elam, Ravel & Sieber (2002)
    Radiat. Phys. Chem. 63, 121-128, of a table made with xraydb, between whose rows (0.5 % of energy apart) it is
    interpolated on log scales. DIALS takes those of Hubbell & Seltzer; they agree
    within 0.4 % from 4 to 20 keV, and within 1.3 % above, where DIALS interpolates between distant points.

    Parameters
    ----------
    material : formula or name, `sensor_material`
    wavelength_A : wavelength of photons of the beam's momentum, also for electrons (as DIALS does)

    Returns
    -------
    1/mm; 0 (no correction) for an empty or unknown material and outside 1 to 800 keV.

    Raises
    ------
    InputError : the wavelength is not a positive number
    """
    if not wavelength_A > 0:
        raise InputError("wavelength", f"is {wavelength_A} A", "it must be above 0")
    formula, energy_keV = sensor_material(material), KEV_A / wavelength_A
    energies, mu = _table()
    if formula not in DENSITY or not energies[0] <= energy_keV <= energies[-1]:
        return 0.0
    return float(np.exp(np.interp(np.log(energy_keV), np.log(energies), np.log(mu[formula]))))


@functools.cache
def _table() -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
    """Energies in keV, and 1/mm of each material."""
    energies, *columns = np.loadtxt(TABLE, delimiter=",", skiprows=1, unpack=True)
    return energies, dict(zip(DENSITY, columns, strict=True))
