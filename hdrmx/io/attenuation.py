"""How strongly a detector's sensor absorbs the beam, for the parallax correction."""

from __future__ import annotations

import functools

from hdrmx.errors import InputError

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
    Radiat. Phys. Chem. 63, 121-128, through xraydb (no network). DIALS takes those of Hubbell & Seltzer; they agree
    within 0.4 % from 4 to 20 keV, and within 1.3 % above, where DIALS interpolates between distant points.

    Parameters
    ----------
    material : formula or name, `sensor_material`
    wavelength_A : wavelength of photons of the beam's momentum, also for electrons (as DIALS does)

    Returns
    -------
    1/mm; 0 (no correction) for an empty or unknown material and outside 0.1 to 800 keV.

    Raises
    ------
    InputError : the wavelength is not a positive number
    """
    if not wavelength_A > 0:
        raise InputError("wavelength", f"is {wavelength_A} A", "it must be above 0")
    formula, energy_eV = sensor_material(material), 1e3 * KEV_A / wavelength_A
    if formula not in DENSITY or not 100.0 <= energy_eV <= 800e3:
        return 0.0
    import xraydb  # half a second, and only where a sensor is described

    return float(xraydb.material_mu(formula, energy_eV, density=DENSITY[formula], kind="total")) / 10.0
