"""The model of scales: C(phi) exp(B(phi) / 2d^2) A(s0, s1) for each sweep.

C and B change smoothly along the scan; A is 1 + sum of P_lm [Y_lm(-s0) + Y_lm(s1)] / 2 with directions in the frame
of the crystal, in which absorption stays as the crystal turns. A narrow wedge has one C and one B (the model KB). The
model `array` (`scaling.array`) has grids in place of B and A.
After Evans & Murshudov (2013) Acta Cryst. D69, 1204-1214, Katayama (1986) Acta Cryst. A42, 19-23, Blessing (1995)
Acta Cryst. A51, 33-38 and Beilsten-Edmands et al. (2020) Acta Cryst. D76, 385-399; spacings and restraints are those
of DIALS 3.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hdrmx.indexing.reciprocal import laboratory_rotations
from hdrmx.kernels.harmonics import add_harmonics, number_of_harmonics
from hdrmx.kernels.scaling import Design
from hdrmx.models import Geometry
from hdrmx.params import Scale
from hdrmx.refinement.smoother import Smoother
from hdrmx.scaling.array import INTERVAL_DEG, RESTRAINT, Bounds, Grids, across, make_grids

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# scans narrower than the first: degrees between the points of C and of B
SPACINGS_DEG = ((5.0, 1.0, 1.5), (10.0, 2.0, 3.0), (25.0, 4.0, 5.0), (90.0, 8.0, 10.0), (np.inf, 15.0, 20.0))
NARROWEST_DEG = 1.0  # below, one C and one B
ABSORPTION_FROM_DEG = 60.0  # "auto" corrects absorption of wider scans
SURFACES = {"low": (4, 5e5), "medium": (6, 5e4), "high": (6, 5e3)}  # highest degree, weight of the restraint


@dataclass(frozen=True)
class SweepModel:
    """Parameters of one sweep: those of C, then of B, then of A. `first` counts through all sweeps."""

    first: int
    scale: Smoother
    decay: Smoother | None
    l_max: int
    surface_weight: float
    decay_weight: float
    grids: Grids | None = None  # of the model `array`; they stand in the place of B

    @property
    def n_scale(self) -> int:
        return self.scale.n_samples

    @property
    def n_decay(self) -> int:
        if self.grids is not None:
            return self.grids.n_samples
        return self.decay.n_samples if self.decay else 0

    @property
    def n_surface(self) -> int:
        return number_of_harmonics(self.l_max)

    @property
    def n(self) -> int:
        return self.n_scale + self.n_decay + self.n_surface

    @property
    def columns(self) -> slice:
        return slice(self.first, self.first + self.n)

    def parts(self, parameters: Floats) -> tuple[Floats, Floats, Floats]:
        """Its parameters of C, B and A, as views, of those of all sweeps."""
        own = parameters[self.columns]
        return own[: self.n_scale], own[self.n_scale : self.n_scale + self.n_decay], own[self.n_scale + self.n_decay :]


@dataclass(frozen=True)
class Model:
    """All sweeps."""

    sweeps: tuple[SweepModel, ...]

    @cached_property
    def n_parameters(self) -> int:
        return sum(s.n for s in self.sweeps)

    @cached_property
    def n_terms(self) -> int:
        """Harmonics of every sweep that has a surface."""
        return max((s.n_surface for s in self.sweeps), default=0)

    @cached_property
    def n_rows(self) -> int:
        """Threes of neighbouring points in an observation's exponent."""
        return 12 if any(s.grids is not None for s in self.sweeps) else 1

    @cached_property
    def first_of_sweep(self) -> npt.NDArray[np.int32]:
        """(sweeps,) first parameter of each."""
        return np.array([s.first for s in self.sweeps], np.int32)

    @cached_property
    def padded_columns(self) -> Ints:
        """(sweeps, widest) columns of each sweep's parameters; the number of all, where it has no more."""
        at = self.first_of_sweep[:, None] + np.arange(max(s.n for s in self.sweeps))
        return np.where(at < np.append(self.first_of_sweep[1:], self.n_parameters)[:, None], at, self.n_parameters)

    def start(self) -> Floats:
        """Parameters that scale nothing."""
        values = np.zeros(self.n_parameters)
        for sweep in self.sweeps:
            sweep.parts(values)[0][:] = 1.0
        return values

    def restraints(self) -> Floats:
        """(p,) weights of the squares of parameters."""
        weights = np.zeros(self.n_parameters)
        for sweep in self.sweeps:
            _, decay, surface = sweep.parts(weights)
            decay[:], surface[:] = sweep.decay_weight, sweep.surface_weight
        return weights

    def free_directions(self, parameters: Floats) -> Floats:
        """(p, k) orthonormal directions that change no intensity relative to another: of all C and of all B."""
        directions = np.zeros((self.n_parameters, 2))
        for sweep in self.sweeps:
            sweep.parts(directions[:, 0])[0][:] = sweep.parts(parameters)[0]
            sweep.parts(directions[:, 1])[1][:] = 1.0
        lengths = np.linalg.norm(directions, axis=0)
        return directions[:, lengths > 0] / lengths[lengths > 0]

    def multiplied(self, parameters: Floats, factor: float) -> Floats:
        """Parameters whose scales are all `factor` times as large."""
        new = parameters.copy()
        for sweep in self.sweeps:
            sweep.parts(new)[0][:] *= factor
        return new


def make_model(geometries: Sequence[Geometry], params: Scale, bounds: Sequence[Bounds] = ()) -> Model:
    """A model of sweeps as wide as theirs; a still has one C and one B. `bounds` are needed for the model `array`."""
    sweeps, first = [], 0
    for number, geometry in enumerate(geometries):
        sweep = _sweep_model(first, geometry, params, bounds[number] if bounds else Bounds())
        sweeps.append(sweep)
        first += sweep.n
    return Model(tuple(sweeps))


def _sweep_model(first: int, geometry: Geometry, params: Scale, bounds: Bounds) -> SweepModel:
    scan = geometry.scan
    width = abs(float(np.degrees(scan.width_rad))) * scan.n_frames if scan is not None else 0.0
    begin, end = (float(scan.first), float(scan.first + scan.n_frames)) if scan is not None else (0.0, 1.0)
    is_smooth = params.model in ("physical", "array") or (params.model == "auto" and width >= NARROWEST_DEG)
    if not is_smooth or width == 0.0:
        constant = Smoother(begin, end, 0)
        return SweepModel(first, constant, constant if params.decay else None, 0, 0.0, params.decay_restraint)
    _, of_scale, of_decay = next(row for row in SPACINGS_DEG if width < row[0])
    scale = Smoother(begin, end, _intervals(width, params.scale_interval_deg or of_scale))
    if params.model == "array":
        grids = make_grids(begin, end, width, params.decay_interval_deg or INTERVAL_DEG, bounds)
        return SweepModel(first, scale, None, 0, 0.0, RESTRAINT, grids)
    decay = Smoother(begin, end, _intervals(width, params.decay_interval_deg or of_decay)) if params.decay else None
    level = params.absorption
    if level == "auto":
        level = "low" if width > ABSORPTION_FROM_DEG else "off"
    if geometry.goniometer is None:
        level = "off"
    l_max, weight = SURFACES.get(level, (0, 0.0))
    return SweepModel(first, scale, decay, l_max, weight, params.decay_restraint)


def _intervals(width: float, spacing: float) -> int:
    spacing += 1e-5  # a width of just n spacings has n intervals
    if width < 2 * spacing:
        return 1 if width <= spacing else 2
    return max(int(width / spacing) + 1, 3)


def crystal_directions(geometry: Geometry, frame: Floats, s1: Floats) -> tuple[Floats, Floats]:
    """Unit vectors (n, 3) towards the source and along the diffracted ray, in the frame of the crystal."""
    assert geometry.scan is not None
    assert geometry.goniometer is not None
    inverse = np.swapaxes(laboratory_rotations(geometry.goniometer, geometry.scan.angle_rad(frame)), 1, 2)
    source = -np.asarray(geometry.beam.direction)
    out = s1 / np.linalg.norm(s1, axis=1)[:, None]
    return inverse @ source, np.einsum("nij,nj->ni", inverse, out)


def make_design(
    model: Model,
    geometries: Sequence[Geometry],
    sweep: npt.NDArray[np.int32],
    frame: Floats,
    d: Floats,
    s1: Floats,
) -> Design:
    """How the parameters bear on observations.

    Parameters
    ----------
    sweep : (n,) sweep of each, in any order
    frame : (n,) where along its scan
    d : (n,) A
    s1 : (n, 3) diffracted rays, laboratory frame
    """
    n = len(sweep)
    out = Design(
        np.zeros(n, np.int32),
        np.zeros((n, 3)),
        np.zeros((n, model.n_rows), np.int32),
        np.zeros((n, 3 * model.n_rows)),
        np.full(n, -1, np.int32),
        np.zeros((n, model.n_terms)),
    )
    order = np.argsort(sweep, kind="stable")
    numbers, starts = np.unique(sweep[order], return_index=True)
    for number, rows in zip(numbers, np.split(order, starts[1:])):
        own, geometry, first = model.sweeps[number], geometries[number], model.sweeps[number].first
        at, out.scale_weight[rows] = own.scale.weights(frame[rows])
        out.scale_at[rows] = at + first
        if own.decay is not None:
            at, weight = own.decay.weights(frame[rows])
            out.decay_at[rows, 0] = at + first + own.n_scale
            out.decay_weight[rows, :3] = weight / (2.0 * d[rows] ** 2)[:, None]
        if own.grids is not None:
            at, weight = own.grids.weights(frame[rows], d[rows] ** -2.0, across(geometry, s1[rows]))
            out.decay_at[rows], out.decay_weight[rows] = at + first + own.n_scale, weight
        if own.l_max:
            out.surface_at[rows] = first + own.n_scale + own.n_decay
            harmonics = np.zeros((len(rows), own.n_surface))
            for directions in crystal_directions(geometry, frame[rows], s1[rows]):
                add_harmonics(np.ascontiguousarray(directions), own.l_max, 0.5, harmonics)
            out.surface[rows] = harmonics
    return out
