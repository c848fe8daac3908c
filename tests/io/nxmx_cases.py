"""Made-up geometries that DIALS and hdrmx both read; `reference/nexus_dxtbx.json` holds what DIALS makes of them.

`python tests/io/nxmx_cases.py FOLDER` writes them for `reference/make_nexus_reference.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from nxmx_fixture import Axis, Header, Module, counts, write_nxmx

N = 6
TURN = 10.0 + 0.25 * np.arange(N)
KAPPA = (float(np.cos(np.radians(50))), float(np.sin(np.radians(50))), 0.0)


def _turn(name: str, vector: tuple[float, float, float], units: str = "deg") -> Axis:
    scale = np.pi / 180 if units == "rad" else 1.0
    return Axis(name, "rotation", vector, TURN * scale, units, (TURN + 0.25) * scale)


def _held(name: str, vector: tuple[float, float, float], angle: float) -> Axis:
    return Axis(name, "rotation", vector, np.array([angle]), "deg")


OMEGA, PHI = (-1.0, 0.0, 0.0), (-1.0, -0.0025, -0.0056)
CASES: dict[str, Header] = {
    "plain": Header(start_deg=-30.0, width_deg=0.2),
    "swung": Header(
        arm=(
            Axis("det_z", "translation", (0.0, 0.0, 1.0), 0.15, "m"),
            Axis("two_theta", "rotation", (-1.0, 0.0, 0.0), 30.0, "deg"),
        ),
        pixel_mm=(0.15, 0.1),
    ),
    "tilted": Header(
        arm=(
            Axis("roll", "rotation", (0.0, 0.0, 1.0), 0.02, "rad"),
            Axis("tilt", "rotation", (1.0, 0.0, 0.0), 3.0, "deg", offset=(0.5, -0.25, 0.0)),
            Axis("det_z", "translation", (0.0, 0.0, 1.0), 12.5, "cm", offset=(1.0, 2.0, 3.0)),
        ),
    ),
    "kappa": Header(
        goniometer=(_held("phi", PHI, 12.0), _held("kappa", KAPPA, 33.0), _turn("omega", OMEGA)),
    ),
    "phi_scan": Header(
        goniometer=(_turn("phi", PHI), _held("kappa", KAPPA, 40.0), _held("omega", OMEGA, -25.0)),
    ),
    "oblique": Header(goniometer=(_turn("omega", (-0.8, 0.6, 0.0), "rad"),)),
    "grid": Header(
        goniometer=(
            Axis("sam_x", "translation", (1.0, 0.0, 0.0), 20.0 * np.arange(N), "um"),
            Axis("omega", "rotation", OMEGA, np.full(N, 90.0), "deg"),
        )
    ),
    "modules": Header(
        modules=(
            Module((3.2, 2.4, 0.0), (20, 30), (0, 0)),
            Module((-0.2, 2.5, 0.1), (20, 30), (0, 34), fast=(-0.8, 0.0, 0.6)),
            Module((3.2, 0.1, -0.1), (20, 30), (24, 0), slow=(0.0, -0.96, -0.28)),
            Module((-0.2, 0.1, 0.0), (20, 30), (24, 34)),
        ),
        arm=(
            Axis("det_z", "translation", (0.0, 0.0, 1.0), 120.0, "mm"),
            Axis("two_theta", "rotation", (0.0, 1.0, 0.0), 15.0, "deg"),
        ),
        sensor=(0.32, "CdTe"),
    ),
}


def write_case(name: str, folder: Path) -> Path:
    frames = counts((N, 44, 64))
    mask = np.zeros((44, 64), np.uint32)
    mask[5, 7], mask[30:32, 40], mask[0, 0] = 1, 1 << 31, 16
    several = CASES[name].modules is not None  # dxtbx 3.12 can't cut a mask into modules
    masks = None if several else mask
    return write_nxmx(folder / f"{name}.nxs", frames, mask=masks, layout="single", codec="gzip", header=CASES[name])


if __name__ == "__main__":
    for case in CASES:
        write_case(case, Path(sys.argv[1]))
