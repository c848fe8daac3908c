"""One crystal in several sweeps: its lattices and the detector refined against the spots of all of them.

A sweep's normal equations are made as ever, in its own spindle frame, and added up in terms of the parameters that the
sweeps share: three rotations and the strains of each lattice, in the frame of the crystal at zero goniometer angles,
and the detector and beam of those sweeps that have them in common. With D the rotation from that frame to the
spindle frame of a sweep, a small rotation w is D w there, and a strain E is D E D^T, so that the sums of a sweep only
have to be turned. Goniometers are not exact: from the second sweep on each has three rotations of its own, which go
into its fixed rotation. After each step the models are moved and the parameters begin again at 0. Few parameters, so
the sums are kept as one dense matrix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.models import Crystal, Geometry
from hdrmx.refinement.engine import (
    CONVERGED,
    FIRST_DAMPING,
    LARGEST_DAMPING,
    Solution,
    evaluate,
    residuals,
)
from hdrmx.refinement.fit import Fit, check, find_outliers, near_spindle, report, select, thinned
from hdrmx.refinement.hold import HOLD_ORDER, LOOSE_DISTANCE, LOOSE_PARTS, LOOSE_TILT
from hdrmx.refinement.normal_equations import accumulate, no_sums
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import BEAM, DEFAULT, DETECTOR, Free, Parametrisation, parametrise, turn
from hdrmx.refinement.problem import Data, data, state
from hdrmx.refinement.symmetry import free_strains, symmetrised, to_matrix
from hdrmx.refinement.uncertainty import FLOOR, Uncertainties, cell_slopes

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
FEWEST_PER_PARAMETER = 3  # spots, of three observations each
ROUNDS = 6  # of choosing outliers and refining, at most
SAME = 1e-6  # mm or 1: geometries that differ by less are one


@dataclass(frozen=True)
class JointFit:
    """Lattices refined against several sweeps.

    Attributes
    ----------
    crystals : shared by all sweeps
    fits : of each sweep, with these crystals and its geometry; `used` and `outlier` are rows of its observations
    uncertainties : of each sweep's parameters, from the sums of all
    group : (n_sweeps,) sweeps of one number share detector and beam
    n_parameters, steps, evaluations : of all together
    notes : what was held, and why
    """

    crystals: tuple[Crystal, ...]
    fits: tuple[Fit, ...]
    uncertainties: tuple[Uncertainties, ...]
    group: tuple[int, ...]
    n_parameters: int
    steps: int
    evaluations: int
    notes: tuple[str, ...]

    @property
    def n_used(self) -> int:
        return sum(fit.n_used for fit in self.fits)

    def rmsd(self, name: str) -> float:
        """Over all sweeps, of one of a Fit's r.m.s.d.s by its name."""
        squares = sum(fit.n_used * getattr(fit, name) ** 2 for fit in self.fits if fit.n_used)
        return float(np.sqrt(squares / max(self.n_used, 1)))


def shared_geometry(geometries: Sequence[Geometry]) -> tuple[int, ...]:
    """A number for each sweep: the same for those whose detector and beam are the same."""
    group: list[int] = []
    firsts: list[Geometry] = []
    for geometry in geometries:
        same = [i for i, other in enumerate(firsts) if _is_same(geometry, other)]
        if not same:
            firsts.append(geometry)
        group.append(same[0] if same else len(firsts) - 1)
    return tuple(group)


def _is_same(one: Geometry, other: Geometry) -> bool:
    panels = one.detector.panels, other.detector.panels
    if len(panels[0]) != len(panels[1]) or abs(one.beam.wavelength_A - other.beam.wavelength_A) > SAME:
        return False
    if np.abs(np.subtract(one.beam.direction, other.beam.direction)).max() > SAME:
        return False
    return all(np.abs(p.d_matrix - q.d_matrix).max() < SAME for p, q in zip(*panels))


def refine_joint(
    observations: Sequence[Observations],
    crystals: Sequence[Crystal],
    geometries: Sequence[Geometry],
    *,
    free: Free = DEFAULT,
    max_steps: int = 100,
    reject: str = "none",
    tukey_iqr: float = 1.5,
    per_degree: float = 0.0,
    probability: float = 0.975,
) -> JointFit:
    """Refine static crystals, common to all sweeps, and the sweeps' geometry; as `fit.refine_static`.

    Outliers are looked for in each sweep on its own, and again after refinement until they stay. Raises InputError
    for stills, for fewer than three usable spots, or for a beam that is to be refined (the sweeps' spindles differ).
    """
    if free.beam:
        raise InputError("refine.beam", "can't be refined for several sweeps together", "leave it empty")
    models = _Models(tuple(symmetrised(c) for c in crystals), tuple(geometries), shared_geometry(geometries), free)
    for obs, geometry in zip(observations, geometries, strict=True):
        check(obs, crystals, geometry)
    steps, evaluations, before, is_turning = 0, 0, None, None
    for _ in range(1 if reject == "none" else ROUNDS):
        sweeps = [
            _sweep(obs, models.crystals, geometry, free, reject, tukey_iqr, per_degree, probability)
            for obs, geometry in zip(observations, models.geometries)
        ]
        used = np.concatenate([s.used for s in sweeps])
        if before is not None and np.array_equal(used, before):
            break
        before, n_used = used, int(used.sum())
        if n_used < 3:
            raise InputError(
                "refinement", f"{n_used} of {len(used)} indexed spots can be used", "index more spots first"
            )
        tried = []
        for turning in (False, True) if is_turning is None else (is_turning,):
            start, notes = _hold(sweeps, dataclasses.replace(models, free=free, is_turning=turning), n_used)
            best, more_steps, more = _minimise(sweeps, start, max_steps)
            tried.append((best, start, notes))
            steps, evaluations = steps + more_steps, evaluations + more
        best, start, notes = tried[-1] if len(tried) < 2 or _is_better(tried[0][0], tried[1][0], n_used) else tried[0]
        is_turning, chosen, models = start.is_turning, sweeps, best.models
    sweeps = chosen
    fits = []
    for sweep, model in zip(sweeps, best.models.parametrisations()):
        everything = data(sweep.obs, model)
        last = evaluate(select(everything, sweep.used), model, model.start)
        solution = Solution(last, steps, evaluations, True)
        fits.append(report(sweep.obs, everything, model, solution, sweep.used, sweep.outlier, notes))
    found = _uncertainties(best, n_used)
    return JointFit(
        best.models.crystals, tuple(fits), found, start.group, best.models.n_parameters, steps, evaluations, notes
    )


def _is_better(held: _State, turned: _State, n_used: int) -> bool:
    """Whether turned goniometers are worth their parameters (Schwarz's criterion): where they are not needed they leave
    a turn of all about the beam nearly free."""
    more = turned.models.n_parameters - held.models.n_parameters
    return more > 0 and 3 * n_used * np.log(held.objective / turned.objective) > more * np.log(3 * n_used)


@dataclass(frozen=True)
class _Sweep:
    obs: Observations
    used: Mask
    outlier: Mask

    @property
    def chosen(self) -> Observations:
        return self.obs.take(self.used)


def _sweep(
    obs: Observations,
    crystals: Sequence[Crystal],
    geometry: Geometry,
    free: Free,
    reject: str,
    tukey_iqr: float,
    per_degree: float,
    probability: float,
) -> _Sweep:
    """What of a sweep is used."""
    model = parametrise(crystals, geometry, free)
    everything = data(obs, model)
    residual, valid = residuals(everything, model, model.start)
    usable = valid & np.isfinite(residual).all(axis=1) & np.isfinite(everything.weight).all(axis=1)
    usable &= ~near_spindle(obs, geometry)
    outlier = np.zeros(len(obs), bool)
    if usable.any():
        outlier[usable] = find_outliers(residual[usable], obs.take(usable), geometry, reject, tukey_iqr, probability)
    used = usable & ~outlier
    return _Sweep(obs, thinned(used, obs.frame, per_degree, geometry) if per_degree > 0 else used, outlier)


@dataclass(frozen=True)
class _Models:
    """Crystals and geometries, and where each parameter stands in the shared vector: detectors by group, crystals."""

    crystals: tuple[Crystal, ...]
    geometries: tuple[Geometry, ...]
    group: tuple[int, ...]
    free: Free
    is_turning: bool = True  # the goniometers of all sweeps but the first may be turned

    @property
    def n_groups(self) -> int:
        return max(self.group) + 1

    @property
    def n_detector(self) -> int:
        return len(self.free.detector)

    def strains(self) -> list[Array]:
        """(k, 3, 3) free strains of each crystal at zero goniometer angles."""
        if not self.free.cell:
            return [np.zeros((0, 3, 3)) for _ in self.crystals]
        return [np.asarray(free_strains(np.asarray(c.A), c.space_group)).reshape(-1, 3, 3) for c in self.crystals]

    def columns(self) -> list[slice]:
        """Of each crystal in the shared vector: rotations, then strains."""
        first, found = self.n_groups * self.n_detector, []
        for strain in self.strains():
            n = (3 if self.free.orientation else 0) + len(strain)
            found.append(slice(first, first + n))
            first += n
        return found

    @property
    def n_parameters(self) -> int:
        turns = 3 * (len(self.geometries) - 1) if self.is_turning and self.free.orientation else 0
        return self.columns()[-1].stop + turns

    def turns(self, sweep: int) -> slice | None:
        """Of a sweep's goniometer in the shared vector; None of the first."""
        if sweep == 0 or not (self.is_turning and self.free.orientation):
            return None
        first = self.columns()[-1].stop + 3 * (sweep - 1)
        return slice(first, first + 3)

    def parametrisations(self) -> list[Parametrisation]:
        """Of each sweep, with the strains of the crystals turned into its frame."""
        found = []
        for geometry in self.geometries:
            model = parametrise(self.crystals, geometry, self.free)
            strains = np.zeros_like(model.strains)
            for i, mine in enumerate(self.strains()):
                strains[i, : len(mine)] = np.einsum("ij,kjl,ml->kim", model.to_datum, mine, model.to_datum)
            A0 = np.array([model.to_datum @ np.asarray(c.A) for c in self.crystals]).reshape(-1, 3, 3)
            found.append(dataclasses.replace(model, A0=A0, strains=strains))
        return found

    def moved(self, step: Array) -> _Models:
        """All models moved by the shared parameters."""
        crystals = []
        for crystal, strains, columns in zip(self.crystals, self.strains(), self.columns()):
            mine = step[columns]
            n_turns = 3 if self.free.orientation else 0
            angles = np.zeros((1, 3))
            angles[0, :n_turns] = mine[:n_turns]
            stretch = np.eye(3) + np.einsum("k,kij->ij", mine[n_turns:], strains)
            crystals.append(
                dataclasses.replace(crystal, A=to_matrix(turn(angles)[0] @ stretch @ np.asarray(crystal.A)))
            )
        geometries = []
        for i, model in enumerate(self.parametrisations()):
            values, first = np.zeros(model.n_values), self.group[i] * self.n_detector
            values[: self.n_detector] = step[first : first + self.n_detector]
            geometry = model.geometry_at(values) if self.n_detector else self.geometries[i]
            own, gonio = self.turns(i), geometry.goniometer
            if own is not None and gonio is not None:
                fixed = np.asarray(gonio.fixed) @ turn(step[None, own])[0]
                geometry = dataclasses.replace(geometry, goniometer=dataclasses.replace(gonio, fixed=to_matrix(fixed)))
            geometries.append(geometry)
        return dataclasses.replace(self, crystals=tuple(crystals), geometries=tuple(geometries))


@dataclass(frozen=True)
class _State:
    """The sums of all sweeps at some models."""

    models: _Models
    objective: float
    n_valid: int
    normal: Array  # (p, p)
    gradient: Array  # (p,)


def _evaluate(sweeps: Sequence[_Sweep], models: _Models) -> _State:
    """Sums of all sweeps, in terms of the shared parameters."""
    p, columns = models.n_parameters, models.columns()
    normal, gradient, objective, n_valid = np.zeros((p, p)), np.zeros(p), 0.0, 0
    for i, (sweep, model) in enumerate(zip(sweeps, models.parametrisations())):
        chosen = select(data(sweep.obs, model), sweep.used)
        to_shared = _to_shared(model, models, i, columns)
        local, slope, square, n = _dense(chosen, model)
        normal += to_shared.T @ local @ to_shared
        gradient += to_shared.T @ slope
        objective, n_valid = objective + square, n_valid + n
    return _State(models, objective, n_valid, normal, gradient)


def _to_shared(model: Parametrisation, models: _Models, sweep: int, columns: list[slice]) -> Array:
    """(n_values, p) a sweep's values for each of the shared parameters."""
    change = np.zeros((model.n_values, models.n_parameters))
    group, own = models.group[sweep], models.turns(sweep)
    # the border holds the detector's free values in the order of DETECTOR
    for i in range(models.n_detector):
        change[i, group * models.n_detector + i] = 1.0
    n_turns = 3 if models.free.orientation else 0
    for i, mine in enumerate(columns):
        first = model.n_border + i * model.n_block
        change[first : first + n_turns, mine.start : mine.start + n_turns] = model.to_datum[:n_turns, :n_turns]
        if own is not None:
            change[first : first + 3, own] = model.to_datum
        for k in range(mine.stop - mine.start - n_turns):
            change[first + n_turns + k, mine.start + n_turns + k] = 1.0
    return change


def _dense(chosen: Data, model: Parametrisation) -> tuple[Array, Array, float, int]:
    """Normal matrix, gradient, sum of squares and number of predictions of one sweep with static crystals."""
    sums = no_sums(model.n_border, model.n_blocks, model.n_block)
    residual, valid = np.empty((len(chosen.hkl), 3)), np.empty(len(chosen.hkl), np.bool_)
    square = accumulate(chosen, state(model, model.start), sums, True, residual, valid)
    m, k = model.n_border, model.n_block
    whole = np.zeros((model.n_values, model.n_values))
    whole[:m, :m] = np.tril(sums.corner) + np.tril(sums.corner, -1).T
    for i in range(model.n_blocks):
        mine = slice(m + i * k, m + (i + 1) * k)
        whole[mine, mine] = sums.diagonal[i]
        whole[:m, mine], whole[mine, :m] = sums.edge[i], sums.edge[i].T
    return whole, np.concatenate([sums.corner_gradient, sums.gradient.ravel()]), square, int(valid.sum())


def _minimise(sweeps: Sequence[_Sweep], start: _Models, max_steps: int) -> tuple[_State, int, int]:
    """As `engine.minimise`, on the dense matrix."""
    best = _evaluate(sweeps, start)
    damping, growth, steps, evaluations = FIRST_DAMPING, 2.0, 0, 1
    while evaluations <= max_steps and damping < LARGEST_DAMPING:
        scale = _scale(best.normal)
        unit = best.normal / np.outer(scale, scale) + damping * np.eye(len(scale))
        step = np.linalg.solve(unit, -best.gradient / scale)
        promised = float(damping * step @ step - step @ (best.gradient / scale))
        if promised <= CONVERGED * best.objective:
            break
        trial = _evaluate(sweeps, best.models.moved(step / scale))
        evaluations += 1
        gained = best.objective - trial.objective
        if gained > 0 and best.n_valid - trial.n_valid <= 0.01 * best.n_valid:
            best, steps = trial, steps + 1
            damping *= max(1.0 / 3.0, 1.0 - (2.0 * gained / promised - 1.0) ** 3)
            growth = 2.0
        else:
            damping, growth = damping * growth, growth * 2.0
    return best, steps, evaluations


def _scale(normal: Array) -> Array:
    diagonal = np.diagonal(normal)
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))


def _covariance(at: _State, n_used: int) -> Array:
    """(p, p) of the shared parameters."""
    scale = _scale(at.normal)
    inverse = np.linalg.inv(at.normal / np.outer(scale, scale) + FLOOR * np.eye(len(scale)))
    variance = at.objective / max(3 * n_used - at.models.n_parameters, 1)
    return np.asarray(inverse * variance / np.outer(scale, scale))


def _hold(sweeps: Sequence[_Sweep], models: _Models, n_used: int) -> tuple[_Models, tuple[str, ...]]:
    """Hold what there are too few spots for, then what they don't determine, as `hold.hold_what_is_loose`."""
    notes: list[str] = []
    for name, parts in HOLD_ORDER:
        if n_used >= FEWEST_PER_PARAMETER * models.n_parameters:
            break
        if "cell" in parts and models.is_turning:
            notes.append(f"goniometers held: {n_used} reflections for {models.n_parameters} parameters")
            models = dataclasses.replace(models, is_turning=False)
            if n_used >= FEWEST_PER_PARAMETER * models.n_parameters:
                break
        detector = tuple(p for p in models.free.detector if p not in parts)
        free = dataclasses.replace(models.free, cell=models.free.cell and "cell" not in parts, detector=detector)
        if free != models.free:
            notes.append(f"{name} held: {n_used} reflections for {models.n_parameters} parameters")
            models = dataclasses.replace(models, free=free)
    if not (models.free.cell or models.free.orientation):
        return models, tuple(notes)
    for name, together in LOOSE_PARTS:
        asked = [p for p in together if p in models.free.detector]
        if not asked:
            continue
        sd = np.sqrt(np.maximum(np.diagonal(_covariance(_evaluate(sweeps, models), n_used)), 0.0))
        order = sorted(models.free.detector, key=DETECTOR.index)
        size, limit = 1.0, LOOSE_TILT
        if name == "distance":
            size, limit = models.geometries[0].detector.panels[0].distance_mm, LOOSE_DISTANCE
        loose = (
            max(float(sd[g * models.n_detector + order.index(p)]) for g in range(models.n_groups) for p in asked) / size
        )
        if loose > limit:
            unit = "of itself" if name == "distance" else "rad"
            notes.append(f"detector {name} held: determined only to {loose:.2g} {unit}")
            detector = tuple(p for p in models.free.detector if p not in together)
            models = dataclasses.replace(models, free=dataclasses.replace(models.free, detector=detector))
    return models, tuple(notes)


def _uncertainties(best: _State, n_used: int) -> tuple[Uncertainties, ...]:
    """Of each sweep, by the sums of all."""
    models, covariance = best.models, _covariance(best, n_used)
    variance = best.objective / max(3 * n_used - models.n_parameters, 1)
    names = (*DETECTOR, *BEAM)
    found = []
    for sweep, model in enumerate(models.parametrisations()):
        change = _to_shared(model, models, sweep, models.columns())
        local = change @ covariance @ change.T
        sd = np.sqrt(np.maximum(np.diagonal(local), 0.0))
        n = len(models.crystals)
        rotations, cells = np.full((n, 1, 3), np.nan), np.full((n, 1, 6), np.nan)
        for i in range(n):
            first = model.n_border + i * model.n_block
            if models.free.orientation:
                rotations[i, 0] = sd[first : first + 3]
            strains = np.flatnonzero(model.block >= 3)
            if len(strains):
                slope = cell_slopes(model.A0[i], model.strains[i])[:, : len(strains)]
                spread = local[np.ix_(first + strains, first + strains)]
                cells[i, 0] = np.sqrt(np.maximum(np.einsum("ck,kl,cl->c", slope, spread, slope), 0.0))
        border = {names[k]: float(s) for k, s in zip(model.border, sd)}
        found.append(Uncertainties(border, rotations, cells, variance))
    return tuple(found)
