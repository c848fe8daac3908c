"""Against values of NIST (Hubbell & Seltzer) as DIALS 3.12 interpolates them."""

from __future__ import annotations

import pytest

from hdrmx.errors import InputError
from hdrmx.io.attenuation import KEV_A, mu_per_mm, sensor_material

# material, keV, 1/mm: cctbx.eltbx.attenuation_coefficient of DIALS 3.12, mu_at_ev(...) / 10
DIALS = [
    ("Si", 6.0, 34.251),
    ("Si", 12.0, 4.6303),
    ("Si", 18.0, 1.4148),
    ("Si", 40.0, 0.1634),
    ("CdTe", 12.0, 52.5178),
    ("CdTe", 20.0, 13.2928),
    ("CdTe", 40.0, 11.966),
    ("GaAs", 12.0, 87.1019),
    ("Ge", 14.0, 58.1551),
]


@pytest.mark.parametrize(("material", "keV", "mu"), DIALS)
def test_agrees_with_dials(material: str, keV: float, mu: float) -> None:
    assert mu_per_mm(material, KEV_A / keV) == pytest.approx(mu, rel=0.005)


def test_electron_wavelengths_get_a_value_too() -> None:
    assert mu_per_mm("Si", 0.0251) == pytest.approx(0.02049, rel=0.01)


def test_unknown_material_or_energy_means_no_correction() -> None:
    assert mu_per_mm("", 1.0) == mu_per_mm("unobtainium", 1.0) == mu_per_mm("Si", 1e-6) == 0.0


@pytest.mark.parametrize("wavelength", [0.0, -1.0, float("nan")])
def test_refuses_an_impossible_wavelength(wavelength: float) -> None:
    with pytest.raises(InputError, match="wavelength"):
        mu_per_mm("Si", wavelength)


def test_names_of_materials() -> None:
    assert sensor_material(" Silicon ") == "Si"
    assert sensor_material("CdTe") == "CdTe"
    assert sensor_material("diamond") == "diamond"
