"""Stage `index`: from spots to crystals with orientation, refined geometry, and an index for every spot that fits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.errors import IndexFailure, InputError
from hdrmx.indexing import advice
from hdrmx.indexing.beam_centre import search_beam_centre
from hdrmx.indexing.bravais import settings as bravais_settings
from hdrmx.indexing.bravais_table import BravaisRow, bravais_table, cell_text
from hdrmx.indexing.cycles import Model, Sweep, observations_of, refine_cycles
from hdrmx.indexing.known import centring_of, match_cell, parse_cell, parse_space_group, reduced_axes, setting_for
from hdrmx.indexing.lattices import misorientation_deg
from hdrmx.indexing.max_cell import MULTIPLIER, max_cell
from hdrmx.indexing.reciprocal import Floats, Points, map_sweeps
from hdrmx.indexing.score import Fit, evaluate
from hdrmx.indexing.search import chance_gain, find_lattices
from hdrmx.models import Crystal, Geometry
from hdrmx.params import Index
from hdrmx.refinement.slips import find_slips, slip_notes
from hdrmx.refinement.symmetry import to_matrix

CLOSE_GAIN = 0.9  # of the best lattice's gain: others above it are refined too
MOST_REFINED = 4
FACTORS = (1.0, 2.0, 0.5)  # of the longest edge, tried in turn: few spots have few near neighbours, noise has many
FITTING = 0.75  # share of the spots of the free lattice, that a given symmetry must keep
POOR_FRACTION = 0.5  # of spots indexed, below which the beam centre is doubted
BETTER_GAIN = 1.05  # times as much must a moved beam centre explain
SLIP_SHARES = (0.5, 1.0)  # of the highest 1/d, up to which slips of the crystal are looked for in turn
SLIP_GAIN = 1.0025  # times as many spots must have an index with a slip; a smaller one is left to refinement
POOR_GAIN = 5.5  # nats a spot; right lattices reach 6 to 8, those that fit a wrong beam centre below 5


@dataclass(frozen=True)
class Indexed:
    """What indexing found.

    Attributes
    ----------
    crystals : one for each lattice
    geometries : refined, one for each sweep
    table : columns `tables.INDEXED`, the spots of all sweeps in their order
    sweep : (n,) which sweep each row belongs to
    max_cell_A : longest cell edge that was looked for
    rmsd_fast_px, rmsd_slow_px, rmsd_frame : of the spots used in the last refinement; NaN without one
    bravais : settings of the first lattice, highest symmetry first; empty when it was indexed in a given symmetry
    counts : exact amounts of work
    notes : doubts, in words
    """

    crystals: tuple[Crystal, ...]
    geometries: tuple[Geometry, ...]
    table: pd.DataFrame
    sweep: np.ndarray
    max_cell_A: float
    rmsd_fast_px: float
    rmsd_slow_px: float
    rmsd_frame: float
    bravais: tuple[BravaisRow, ...]
    counts: dict[str, int]
    notes: tuple[str, ...]

    @property
    def geometry(self) -> Geometry:
        return self.geometries[0]

    def by_sweep(self) -> tuple[Indexed, ...]:
        """The same crystals with the spots of each sweep on its own; what is of all stays of all."""
        parts = []
        for i, geometry in enumerate(self.geometries):
            table = self.table[self.sweep == i].reset_index(drop=True)
            sweep = np.zeros(len(table), np.int64)
            parts.append(dataclasses.replace(self, geometries=(geometry,), table=table, sweep=sweep))
        return tuple(parts)

    @property
    def fraction(self) -> float:
        """Of all spots, how many have an index."""
        return float((self.table["lattice"] >= 0).mean()) if len(self.table) else 0.0


def index(spots: pd.DataFrame, geometry: Geometry, params: Index) -> Indexed:
    """Index the spots of one sweep.

    Parameters
    ----------
    spots : columns `tables.SPOTS`
    geometry : as the header tells it, or better

    Raises
    ------
    IndexFailure : no lattice; the message says why and what to try, `reached` how far it came
    InputError : a setting (cell, space group) is unusable

    Notes
    -----
    Time ~ spots (log spots in the neighbour search); the Fourier transform costs the same for any number. Memory:
    200 MB at most for the transform, and some 1 kB a spot. The same input gives the same output, to the byte.
    Method and departures from DIALS: docs/indexing.md.
    """
    return index_sweeps([(spots, geometry)], params)


def index_sweeps(sweeps: Sequence[Sweep], params: Index) -> Indexed:
    """Index several sweeps of one crystal together; as `index`.

    Each sweep has its own goniometer; the crystal at zero goniometer angles is the same in all. Lattices and geometry
    are refined on all spots; sweeps that come with the same detector and beam keep them in common, others have their
    own. Of stills, only the lattice is fitted. `Indexed.by_sweep` gives each sweep its own.
    """
    sweeps = [(spots.reset_index(drop=True), geometry) for spots, geometry in sweeps]
    counts: Counter[str] = Counter(spots=sum(len(spots) for spots, _ in sweeps))
    known = _Known.of(params)
    advice.check_number(sweeps, params)
    longest = _longest_edge(sweeps, params, known)
    model, counts_search, notes = _first_lattice(sweeps, params, known, longest)
    counts.update(counts_search)
    model, more = _further_lattices(model, params, known, longest)
    counts.update(more)
    counts.update(model.counts)
    counts["lattices"] = len(model.crystals)
    counts["indexed"] = model.assignment.n_indexed
    notes = (*notes, *model.notes, *advice.doubts(model))
    return _result(model, params, known, longest, dict(counts), notes)


@dataclass(frozen=True)
class _Known:
    """Cell and space group given beforehand."""

    cell: tuple[float, float, float, float, float, float] | None
    space_group: str | None
    kind: str

    @classmethod
    def of(cls, params: Index) -> _Known:
        cell = None if params.cell is None else parse_cell(params.cell)
        if params.method == "real_space" and cell is None:
            raise InputError("index.method", "real_space needs the cell", "give index.cell, or use fft3d")
        if params.space_group is None:
            return cls(cell, None, "P")
        group = parse_space_group(params.space_group)
        return cls(cell, str(group.xhm()), centring_of(group))

    @property
    def axes(self) -> Floats | None:
        """(3, 3) A: reduced primitive axes of the cell, as rows."""
        if self.cell is None:
            return None
        return reduced_axes(self.cell, self.kind)

    def apply(self, A: Floats, params: Index) -> Crystal | None:
        """The lattice as a crystal in the known description; None where it doesn't fit."""
        if self.cell is not None:
            # without a space group the cell may still be a centred one
            for kind in self.kind if self.space_group else "PCIFABR":
                placed = match_cell(A, self.cell, kind, params.cell_tolerance, params.angle_tolerance_deg)
                if placed is not None:
                    symbol = "R 3:H" if kind == "R" else f"{kind} 1"
                    return Crystal(to_matrix(placed), self.space_group or symbol)
            return None
        if self.space_group is None:
            return Crystal(to_matrix(A), "P 1")
        real = np.asarray(np.linalg.inv(A), float)
        found = bravais_settings(A, params.bravais_tolerance_deg)
        change = setting_for(parse_space_group(self.space_group), found, real)
        if change is None:
            return None
        return Crystal(to_matrix(np.linalg.inv(change @ real)), self.space_group)


def _longest_edge(sweeps: Sequence[Sweep], params: Index, known: _Known) -> float:
    if params.max_cell_A is not None:
        return params.max_cell_A
    if known.cell is not None:
        return MULTIPLIER * max(known.cell[:3])
    points = map_sweeps(sweeps)
    found = max_cell(points, pd.concat([spots for spots, _ in sweeps], ignore_index=True))
    if found is None:
        raise advice.no_neighbours(sweeps)
    return max(found, 2.0 * params.min_cell_A)


def _used(points: Points, params: Index) -> np.ndarray:
    """(n,) spots within the resolution limits."""
    d_star = points.d_star
    low = 0.0 if params.d_max is None else 1.0 / params.d_max
    high = np.inf if params.d_min is None else 1.0 / params.d_min
    return (d_star >= low) & (d_star <= high) & (d_star > 0)


def _search(
    points: Points, which: np.ndarray, params: Index, known: _Known, longest: float
) -> tuple[list[Fit], Counter[str]]:
    """Lattices that explain more than chance would, best first."""
    r = np.ascontiguousarray(points.r[which])
    found = find_lattices(
        r, longest, method=params.method, min_cell=params.min_cell_A, tolerance=params.tolerance, axes=known.axes
    )
    good = [f for f in found.fits if f.gain > chance_gain(len(r)) and f.fraction >= params.min_fraction]
    return good, Counter(found.counts)


def _first_lattice(
    sweeps: Sequence[Sweep], params: Index, known: _Known, longest: float
) -> tuple[Model, Counter[str], tuple[str, ...]]:
    """Search with the geometry as it is, and where that leads nowhere, with the beam centre found anew."""
    counts: Counter[str] = Counter()
    model, failure = None, None
    if params.beam_search != "always":
        try:
            model = _attempt(sweeps, params, known, longest, counts)
        except IndexFailure as error:
            if float(str(error.reached.get("fraction", 0.0))) > POOR_FRACTION:
                raise  # a sound lattice, only not the one expected
            failure = error
        if model is not None and (params.beam_search == "never" or not _is_doubtful(model, params)):
            return model, counts, ()
        if params.beam_search == "never" and failure is not None:
            raise failure
    moved, shift, work = search_beam_centre(sweeps, longest, params)
    counts.update(work)
    if moved is not None:
        try:
            again = _attempt(moved, params, known, longest, counts)
        except IndexFailure as error:
            failure = failure or error
        else:
            if model is None or _gain(again, params) > BETTER_GAIN * _gain(model, params):
                text = f"the beam centre was moved by {shift[0]:.2f} mm along fast and {shift[1]:.2f} mm along slow"
                return again, counts, (text,)
    if model is not None:
        return model, counts, ()
    raise failure or advice.no_lattice(sweeps, longest, params, None)


def _gain(model: Model, params: Index) -> float:
    """Nats a spot that the first lattice explains."""
    found = evaluate(np.asarray(model.crystals[0].A, float), model.points.r, params.tolerance)
    return 0.0 if found is None else found.gain / len(model.points)


def _is_doubtful(model: Model, params: Index) -> bool:
    """Too few spots explained, or too loosely, for the geometry to be right."""
    return model.assignment.n_indexed < POOR_FRACTION * len(model.points) or _gain(model, params) < POOR_GAIN


def _attempt(sweeps: Sequence[Sweep], params: Index, known: _Known, longest: float, counts: Counter[str]) -> Model:
    points = map_sweeps(sweeps)
    which = _used(points, params)
    advice.check_usable(int(which.sum()), len(points), params)
    fits: list[Fit] = []
    for factor in FACTORS if params.max_cell_A is None and known.cell is None else (1.0,):
        fits, work = _search(points, which, params, known, factor * longest)
        counts.update(work)
        if fits:
            break
    if not fits:
        raise advice.no_lattice(sweeps, longest, params, None)
    crystals = [(fit, known.apply(fit.A, params)) for fit in fits if fit.gain >= CLOSE_GAIN * fits[0].gain]
    if known.cell is not None and not any(c for _, c in crystals):
        crystals = [(fit, known.apply(fit.A, params)) for fit in fits]
    suitable = [(fit, crystal) for fit, crystal in crystals if crystal is not None][:MOST_REFINED]
    if not suitable:
        raise advice.not_the_known(fits[0], params, longest)
    best: Model | None = None
    trouble = ""
    for fit, crystal in suitable:
        try:
            model = refine_cycles(sweeps, [crystal], params, _limits(points, which, params))
        except InputError as error:
            trouble = trouble or error.what
            continue
        counts.update(model.counts)
        rmsd = _rmsd_px(model)
        if rmsd > params.max_rmsd_px:
            trouble = trouble or f"predictions miss the spots by {rmsd:.1f} px"
            continue
        if known.space_group and model.assignment.n_indexed < FITTING * fit.n_indexed:
            raise advice.not_the_known(fit, params, longest)
        if best is None or _quality(model) > _quality(best):
            best = model
    if best is None:
        raise advice.no_lattice(sweeps, longest, params, trouble)
    return _with_slips(dataclasses.replace(best, counts={}), params, counts)


def _with_slips(model: Model, params: Index, counts: Counter[str]) -> Model:
    """The model with the crystal's slips taken into account, where that gives more spots an index.

    They are looked for at low resolution first, where the indices survive a large one.
    """
    if model.fit is None or len(model.sweeps) != 1:
        return model
    spots = model.sweeps[0][0]
    obs = observations_of(spots, model.assignment, model.points)
    d_star = model.points.d_star[obs.row]
    for share in SLIP_SHARES:
        near = obs.take(d_star <= share * float(d_star.max(initial=0.0)))
        slips = find_slips(near, model.fit)
        if slips:
            break
    else:
        return model
    limits = [1.0 / (SLIP_SHARES[0] * float(d_star.max())), *([params.d_min] * max(params.macrocycles - 1, 1))]
    try:
        found = refine_cycles(model.sweeps, model.crystals, params, limits, slips)
    except InputError:
        return model
    counts.update(found.counts)
    if found.assignment.n_indexed < SLIP_GAIN * model.assignment.n_indexed:
        return model
    assert found.fit is not None
    return dataclasses.replace(found, counts={}, notes=(*found.notes, *slip_notes(found.fit)))


def _limits(points: Points, which: np.ndarray, params: Index) -> list[float | None]:
    """Resolution limits of the cycles: the first at three quarters of the highest 1/d, then all spots."""
    if params.macrocycles == 1:
        return [params.d_min]
    top = float(points.d_star[which].max())
    return [1.0 / (0.75 * top), *([params.d_min] * (params.macrocycles - 1))]


def _rmsd_px(model: Model) -> float:
    found = float(np.hypot(_rmsd(model, "rmsd_fast_px"), _rmsd(model, "rmsd_slow_px")))
    return found if np.isfinite(found) else 0.0


def _rmsd(model: Model, name: str) -> float:
    """NaN without a refinement."""
    if model.joint is not None:
        return model.joint.rmsd(name)
    return float("nan") if model.fit is None else float(getattr(model.fit, name))


def _quality(model: Model) -> float:
    """More spots, placed more closely, in a smaller cell."""
    A = np.asarray(model.crystals[0].A)
    rmsd = max(_rmsd_px(model), 1e-3)
    return float(np.log(max(model.assignment.n_indexed, 1)) - np.log(rmsd) + np.log(abs(np.linalg.det(A))))


def _further_lattices(model: Model, params: Index, known: _Known, longest: float) -> tuple[Model, Counter[str]]:
    """Search what is left unindexed, add a lattice, refine all together, and so on."""
    counts: Counter[str] = Counter()
    while len(model.crystals) < params.max_lattices:
        which = _used(model.points, params) & (model.assignment.lattice < 0)
        if which.sum() < params.min_lattice_spots:
            break
        fits, work = _search(model.points, which, params, known, longest)
        counts.update(work)
        crystal = _first_new(fits, model, params, known)
        if crystal is None:
            break
        try:
            grown = refine_cycles(
                model.sweeps, [*model.crystals, crystal], params, [params.d_min] * params.macrocycles, model.slips
            )
        except InputError:
            break
        counts.update(grown.counts)
        gained = int((grown.assignment.lattice == len(model.crystals)).sum())
        if gained < params.min_lattice_spots or grown.assignment.n_indexed <= model.assignment.n_indexed:
            break
        model = dataclasses.replace(grown, counts={})
    return model, counts


def _first_new(fits: list[Fit], model: Model, params: Index, known: _Known) -> Crystal | None:
    for fit in fits:
        if fit.n_indexed < params.min_lattice_spots:
            continue
        crystal = known.apply(fit.A, params)
        if crystal is None:
            continue
        turned = [misorientation_deg(np.asarray(crystal.A), np.asarray(c.A)) for c in model.crystals]
        if min(turned) >= params.min_separation_deg:
            return crystal
    return None


def _result(
    model: Model, params: Index, known: _Known, longest: float, counts: dict[str, int], notes: tuple[str, ...]
) -> Indexed:
    spots = pd.concat([s for s, _ in model.sweeps], ignore_index=True)
    table = spots[[c.name for c in tables.SPOTS]].copy()
    for i, name in enumerate("hkl"):
        table[name] = model.assignment.hkl[:, i].astype(np.int32)
    table["lattice"] = model.assignment.lattice.astype(np.int32)
    table["entering"] = model.points.entering
    rows: tuple[BravaisRow, ...] = ()
    is_refined = model.fit is not None or model.joint is not None
    if params.bravais and model.crystals[0].space_group == "P 1" and is_refined:
        rows = _bravais(model, params)
    return Indexed(
        crystals=_mean_crystals(model),
        geometries=tuple(geometry for _, geometry in model.sweeps),
        table=table,
        sweep=model.points.sweep,
        max_cell_A=longest,
        rmsd_fast_px=_rmsd(model, "rmsd_fast_px"),
        rmsd_slow_px=_rmsd(model, "rmsd_slow_px"),
        rmsd_frame=_rmsd(model, "rmsd_frame"),
        bravais=rows,
        counts=counts,
        notes=notes,
    )


def _mean_crystals(model: Model) -> tuple[Crystal, ...]:
    """The crystals as they are on average, where they slip."""
    if model.fit is None or not model.slips:
        return model.crystals
    return tuple(dataclasses.replace(c, A_at_scan_points=None) for c in model.fit.crystals)


def _bravais(model: Model, params: Index) -> tuple[BravaisRow, ...]:
    parts, intensity, first = [], [], 0
    for (spots, geometry), obs in zip(model.sweeps, model.observations()):
        outlying = np.isin(first + obs.row, model.outlier_rows)  # of the last refinement
        mine = obs.take((obs.lattice == 0) & ~outlying)
        parts.append((mine, geometry))
        intensity.append(spots["intensity"].to_numpy()[mine.row])
        first += len(spots)
    return bravais_table(
        parts,
        np.concatenate(intensity),
        model.crystals[0],
        tolerance_deg=params.bravais_tolerance_deg,
        slips=model.slips,
    )


__all__ = ["Indexed", "cell_text", "index", "index_sweeps"]
