"""Write `hdrmx/io/tables/attenuation.csv`: linear attenuation coefficients of sensor materials, by energy.

    python -m pip install xraydb && python tools/make_attenuation_table.py

Photoelectric, coherent and incoherent parts together, of the tables of Elam, Ravel & Sieber (2002)
Radiat. Phys. Chem. 63, 121-128, through xraydb; densities in `hdrmx.io.attenuation`. A table of our own
saves every run the import of xraydb and its database layer, 0.5 s.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xraydb

from hdrmx.io.attenuation import DENSITY, TABLE


def main() -> None:
    energy_keV = np.geomspace(1.0, 800.0, 1400)
    columns = [xraydb.material_mu(m, 1e3 * energy_keV, density=d, kind="total") / 10 for m, d in DENSITY.items()]
    head = f"energy_keV,{','.join(DENSITY)}"
    rows = np.column_stack([energy_keV, *columns])
    np.savetxt(Path(TABLE), rows, fmt="%.6g", delimiter=",", header=head, comments="")


if __name__ == "__main__":
    main()
