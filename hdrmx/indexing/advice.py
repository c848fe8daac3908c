"""Why indexing failed or may mislead, in words, with what to try."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import IndexFailure
from hdrmx.indexing.bravais_table import cell_text
from hdrmx.indexing.reciprocal import Floats, map_sweeps
from hdrmx.indexing.score import Fit
from hdrmx.models import Geometry
from hdrmx.params import Index

if TYPE_CHECKING:
    from hdrmx.indexing.cycles import Model

ICE_CELL = (4.498, 4.498, 7.338, 90.0, 90.0, 120.0)
ICE_GROUP = "P 63/m m c"
ICE_WIDTH = 0.002  # of a ring, 1/A^2
ICE_SHARE = 0.6  # of the spots on rings, beyond what chance puts there
NARROW_DEG = 3.0
BLANK_SHARE = 0.4  # of the frames with spots, below which the blank ones are spoken of

Sweep = tuple[pd.DataFrame, Geometry]


def check_number(sweeps: Sequence[Sweep], params: Index) -> None:
    """Raise IndexFailure when there are too few spots to begin with."""
    n = sum(len(spots) for spots, _ in sweeps)
    if n == 0:
        raise IndexFailure(
            "there are no spots",
            "look at the images; if they show spots, lower find_spots.sigma_strong or find_spots.min_pixels",
            {"spots": 0},
        )
    if n < params.min_spots:
        raise IndexFailure(
            f"{n} spots are too few, at least {params.min_spots} are needed",
            "take more frames, or lower find_spots.sigma_strong or find_spots.min_pixels to find weaker spots"
            + (
                ""
                if params.cell
                else "; with a known cell, index.method=real_space and index.cell need fewer (set index.min_spots)"
            ),
            {"spots": n},
        )


def check_usable(n: int, n_all: int, params: Index) -> None:
    """Raise IndexFailure when the resolution limits leave too few."""
    if n < params.min_spots:
        raise IndexFailure(
            f"{n} of {n_all} spots lie within the resolution limits, at least {params.min_spots} are needed",
            "widen index.d_min and index.d_max",
            {"spots": n_all, "spots_used": n},
        )


def no_neighbours(sweeps: Sequence[Sweep]) -> IndexFailure:
    """Failure: the spots are so few or so far apart that they have no neighbours."""
    n = sum(len(spots) for spots, _ in sweeps)
    return IndexFailure(
        f"none of the {n} spots has a neighbour from which the cell could be judged" + _where_blank(sweeps),
        "give index.max_cell_A",
        {"spots": n},
    )


def no_lattice(sweeps: Sequence[Sweep], longest: float, params: Index, trouble: str | None) -> IndexFailure:
    """Failure: no lattice explains more spots than chance would."""
    points = map_sweeps(sweeps)
    reached: dict[str, object] = {"spots": len(points), "max_cell_A": round(longest, 2)}
    ice = ice_share(points.d_star)
    reached["ice_share"] = round(ice, 3)
    if trouble:
        what = f"lattices were found for the {len(points)} spots, but none could be refined: {trouble}"
    else:
        what = f"no lattice with edges up to {longest:.0f} A explains more of the {len(points)} spots than chance would"
    if ice >= ICE_SHARE:
        return IndexFailure(
            f"{what}: most of them ({ice:.0%} beyond chance) lie on the rings of ice",
            "set find_spots.ice_rings=true, or look whether there is a crystal in the beam at all",
            reached,
        )
    return IndexFailure(what + _where_blank(sweeps) + _how_narrow(sweeps), _to_try(params), reached)


def _to_try(params: Index) -> str:
    tries = ["check beam centre, distance, wavelength and the rotation axis's direction in the header"]
    if params.beam_search == "never":
        tries.append("let index.beam_search=auto look for the beam centre")
    if params.max_cell_A is None:
        tries.append("give index.max_cell_A")
    if params.cell is None:
        tries.append("give a known cell (index.cell) with index.method=real_space")
    if params.d_min is None:
        tries.append("leave out weak high-resolution spots with index.d_min")
    return "; ".join(tries)


def not_the_known(best: Fit, params: Index, longest: float) -> IndexFailure:
    """Failure: there is a lattice, and it isn't the one expected."""
    asked = " ".join(
        x
        for x in (
            f"cell {params.cell}" if params.cell else "",
            f"space group {params.space_group}" if params.space_group else "",
        )
        if x
    )
    found = cell_text(best.A)
    return IndexFailure(
        f"the lattice found (reduced cell {found}, {best.fraction:.0%} of the spots) does not fit the {asked}",
        "leave the expected values out to go on with the lattice found, or widen index.cell_tolerance and "
        "index.bravais_tolerance_deg",
        {"reduced_cell": found, "fraction": round(best.fraction, 3), "max_cell_A": round(longest, 2)},
    )


def doubts(model: Model) -> tuple[str, ...]:
    """What should be read with the result."""
    notes = []
    scans = [geometry.scan for _, geometry in model.sweeps]
    n_indexed, n = model.assignment.n_indexed, len(model.points)
    if n_indexed < 0.5 * n:
        notes.append(
            f"only {n_indexed} of {n} spots have an index: there may be more lattices (index.max_lattices), "
            "ice, or an error in the geometry"
        )
    if all(scan is None or scan.is_still for scan in scans):
        notes.append(
            "stills: the lattice was fitted with every spot taken to lie exactly on the Ewald sphere, geometry is "
            "as in the header, and the cell's edge along the beam is poorly determined"
        )
    elif _degrees(model.sweeps) < NARROW_DEG:
        notes.append(
            f"a wedge of {_degrees(model.sweeps):.1f} degrees: the edge along the beam is poorly determined, and the "
            "detector's distance was held"
        )
    return tuple(notes)


def _degrees(sweeps: Sequence[Sweep]) -> float:
    return sum(abs(float(np.degrees(g.scan.width_rad))) * g.scan.n_frames for _, g in sweeps if g.scan is not None)


def _how_narrow(sweeps: Sequence[Sweep]) -> str:
    degrees = _degrees(sweeps)
    if degrees == 0.0:
        return "; these are stills, which need a known cell or many spots"
    return f"; the scan covers only {degrees:.1f} degrees" if degrees < NARROW_DEG else ""


def _where_blank(sweeps: Sequence[Sweep]) -> str:
    """Says so when only a part of the frames has spots."""
    used = total = n = 0
    for spots, geometry in sweeps:
        if geometry.scan is None or geometry.scan.n_frames < 10:
            return ""
        used += len(np.unique(np.floor(spots["frame"].to_numpy())))
        total += geometry.scan.n_frames
        n += len(spots)
    # with few spots, frames without are no sign of anything
    return f"; only {used} of {total} frames have spots" if used < BLANK_SHARE * total and n > 3 * used else ""


def ice_share(d_star: Floats) -> float:
    """Share of the spots on rings of hexagonal ice, beyond the share of 1/d^2 that the rings cover, scaled to 0..1."""
    inverse_d2 = d_star**2
    if len(inverse_d2) == 0:
        return 0.0
    rings = _ice_rings(float(np.ceil(inverse_d2.max() * 10.0) / 10.0))
    if len(rings) == 0:
        return 0.0
    near = np.abs(inverse_d2[:, None] - rings[None, :]).min(axis=1) <= 0.5 * ICE_WIDTH
    span = np.linspace(0.0, inverse_d2.max(), 4001)
    covered = float((np.abs(span[:, None] - rings[None, :]).min(axis=1) <= 0.5 * ICE_WIDTH).mean())
    return max(0.0, (float(near.mean()) - covered) / max(1.0 - covered, 1e-6))


@lru_cache(maxsize=8)
def _ice_rings(highest: float) -> npt.NDArray[np.float64]:
    """1/d^2 of hexagonal ice below `highest`, 1/A^2."""
    hkl = gemmi.make_miller_array(
        gemmi.UnitCell(*ICE_CELL), gemmi.find_spacegroup_by_name(ICE_GROUP), float(1.0 / np.sqrt(highest)), 50.0
    )
    return np.unique(np.round(gemmi.UnitCell(*ICE_CELL).calculate_1_d2_array(hkl), 6))
