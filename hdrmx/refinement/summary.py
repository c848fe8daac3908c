"""How a refinement went, as tables: r.m.s.d.s along the scan, drift of the crystals, parameters with uncertainties."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.models import Crystal, cell_of
from hdrmx.refinement.breaks import segments
from hdrmx.refinement.fit import Fit
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import BEAM, DETECTOR
from hdrmx.refinement.uncertainty import Uncertainties, slip_names

BLOCK_DEG = 5.0
CELL = ("a", "b", "c", "alpha", "beta", "gamma")
DETECTOR_UNITS = ("mm", "mm", "mm", "deg", "deg", "deg")
BEAM_UNITS = ("deg", "deg", "A")


def block_rmsds(obs: Observations, fit: Fit) -> pd.DataFrame:
    """R.m.s.d.s of the reflections used, by lattice and runs of about 5 degrees; NaN where a run has none."""
    scan = fit.geometry.scan
    assert scan is not None
    n_lattices = len(fit.crystals)
    degrees = abs(float(np.degrees(scan.width_rad))) * scan.n_frames
    n_blocks = int(np.clip(round(degrees / BLOCK_DEG), 1, scan.n_frames))
    edges = scan.first + np.rint(np.linspace(0, scan.n_frames, n_blocks + 1)).astype(int)
    used = np.flatnonzero(fit.used)
    inside = np.clip(np.searchsorted(edges, obs.frame[used], side="right") - 1, 0, n_blocks - 1)
    group = obs.lattice[used] * n_blocks + inside
    count = np.bincount(group, minlength=n_lattices * n_blocks)
    table = pd.DataFrame(
        {
            "lattice": np.repeat(np.arange(n_lattices), n_blocks),
            "first": np.tile(edges[:-1], n_lattices),
            "last": np.tile(edges[1:], n_lattices),
            "n": count,
        }
    )
    for axis, name in (("fast", "rmsd_fast_px"), ("slow", "rmsd_slow_px"), ("frame", "rmsd_frame")):
        off = (getattr(fit, f"{axis}_calc") - getattr(obs, axis))[used]
        squares = np.bincount(group, weights=off**2, minlength=len(count))
        table[name] = np.sqrt(squares / np.where(count > 0, count, np.nan))
    return table


def drift(fit: Fit, sd: Uncertainties) -> pd.DataFrame:
    """The crystals at the sample points of the smoother.

    lattice, frame; rotations (deg) from where the cycle began, about the spindle, across spindle and beam, and about
    the third axis; cell (A, deg); each followed by its standard uncertainty.
    """
    model = fit.model
    positions = model.smoother.positions
    n = len(positions)
    blocks = model.block_values(fit.best.values).reshape(len(fit.crystals), n, 9)
    offsets = np.concatenate([np.zeros((1, 3)), model.offsets(fit.best.values)])
    parts = []
    for i in range(len(fit.crystals)):
        stretch = np.eye(3) + np.einsum("sk,kij->sij", blocks[i, :, 3:], model.strains[i])
        cells = np.array([cell_of(s @ model.A0[i]) for s in stretch])
        columns: dict[str, npt.ArrayLike] = {"lattice": np.full(n, i), "frame": positions}
        for k in range(3):
            slipped = offsets[segments(model.slips, i, positions), k]
            columns[f"rotation{k + 1}_deg"] = np.degrees(blocks[i, :, k] + slipped)
            columns[f"rotation{k + 1}_deg_sd"] = np.degrees(sd.rotations[i, :, k])
        for k, name in enumerate(CELL):
            columns[name] = cells[:, k]
            columns[f"{name}_sd"] = sd.cells[i, :, k]
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def parameter_table(fit: Fit, crystals: Sequence[Crystal], sd: Uncertainties) -> pd.DataFrame:
    """name, value, sd, unit: changes of the detector and the beam in the last cycle, slips, then each lattice's cell.

    The detector's distance and the wavelength are given as they are, the others as changes. What was held has no sd.
    """
    values = fit.model.border_values(fit.best.values)
    beam = fit.geometry.beam
    rows: list[tuple[str, float, float, str]] = []
    for k, (name, unit) in enumerate(zip((*DETECTOR, *BEAM), (*DETECTOR_UNITS, *BEAM_UNITS))):
        factor = np.degrees(1.0) if unit == "deg" else 1.0
        value = values[k] * factor
        if name == "distance":
            value = fit.geometry.detector.panels[0].distance_mm
        if name == "wavelength":
            value, factor = beam.wavelength_A, fit.model.geometry.beam.wavelength_A
        rows.append((name, float(value), sd.border.get(name, np.nan) * factor, unit))
    for name, offset in zip(slip_names(fit.model), fit.model.offsets(fit.best.values).ravel()):
        rows.append((name, float(np.degrees(offset)), float(np.degrees(sd.border[name])), "deg"))
    for i, crystal in enumerate(crystals):
        uncertain = crystal.cell_sd or (np.nan,) * 6
        for k, name in enumerate(CELL):
            rows.append((f"{name}[{i}]", crystal.cell[k], uncertain[k], "A" if k < 3 else "deg"))
    return pd.DataFrame(rows, columns=["name", "value", "sd", "unit"])
