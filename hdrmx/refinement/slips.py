"""Where a crystal slipped during the scan: change points of its orientation, from the residuals of refinement.

At each border between frames the turn of the crystal that the residuals ask for is fitted, in windows of a few
degrees to either side, by a straight line with a step in it. A smooth course is nearly straight over so short a
stretch, and a parabola about the border makes no step. The step is tested by the F-test of the three numbers that
it adds, against the scatter in its own window; over all borders and windows together (Bonferroni) the false-alarm
rate is `FALSE_ALARMS` a scan at most. A step that passes is fitted again with doubtful spots weighed down. It must
pass once more with all spots of a frame taken as one observation, since what jitters from frame to frame moves
them together, and it must explain the turns better than a cubic curve. In the end the whole refinement must be
better with it. Time ~ spots + frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc

from hdrmx.errors import InputError
from hdrmx.refinement.breaks import Slip, angle_deg, ordered, steps_rad
from hdrmx.refinement.engine import residuals
from hdrmx.refinement.fit import Fit, near_spindle, refine_scan_varying, refine_static
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import Parametrisation, turn
from hdrmx.refinement.problem import Data, data, state

Array = npt.NDArray[np.float64]
FALSE_ALARMS = 1e-3  # a scan
SMALLEST_DEG = 0.02  # a smaller step harms nothing that is asked of the models
WINDOWS_DEG = (2.0, 4.0, 8.0, 12.0)  # to either side
FEWEST_FRAMES, FEWEST_SPOTS = 6, 40  # on either side
FEWEST_CLUSTERS = 12  # frames with spots in a window
SMOOTH_DEG = (36.0, 12.0)  # intervals of smooth courses that slips are compared with
MARGIN = 4.0  # variances by which a step must be better than a cubic curve
MOST_SLIPS, MOST_TRIED = 10, 5  # of a lattice; candidates that may fail before the search ends
FENCE = 15.0  # robust standard deviations at which residuals are clipped for the search
SYMMETRIC = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
ROBUST_ROUNDS, ROBUST_SCALE = 10, 2.4


@dataclass(frozen=True)
class _Turns:
    """What each of n spots of a lattice tells of the crystal's turn: residual + slope @ turn should be 0."""

    frame: Array  # (n,)
    slope: Array  # (n, 3, 3) weighted derivatives of X, Y, phi by the three rotations
    residual: Array  # (n, 3) weighted


def find_slips(obs: Observations, fit: Fit) -> tuple[Slip, ...]:
    """The slips of all lattices, with those that the fit already has; rotations are first estimates.

    Parameters
    ----------
    obs : the spots that `fit` was made for; also those it rejected are looked at
    """
    scan = fit.geometry.scan
    if not fit.model.free.orientation or scan is None or scan.n_frames <= 2 * FEWEST_FRAMES:
        return fit.slips
    model, values = fit.model, fit.best.values
    given = data(obs, model)
    residual, valid = residuals(given, model, values)
    usable = valid & np.isfinite(residual).all(axis=1) & np.isfinite(given.weight).all(axis=1)
    usable &= ~near_spindle(obs, fit.geometry)
    found = list(fit.slips)
    for lattice in range(len(fit.crystals)):
        rows = np.flatnonzero(usable & (obs.lattice == lattice))
        turns = _turns(given, model, values, residual, rows, obs.frame[rows] - scan.first)
        known = [s for s in fit.slips if s.lattice == lattice]
        before = [s.frame - scan.first for s in known]
        for at, step in _steps(turns, scan.n_frames, abs(float(np.degrees(scan.width_rad))), before):
            known = _with_step(known, lattice, scan.first + at, step)
        found = [s for s in found if s.lattice != lattice] + known
    return confirmed(obs, fit, ordered(found))


def confirmed(obs: Observations, fit: Fit, slips: tuple[Slip, ...]) -> tuple[Slip, ...]:
    """Those of the slips without which a smooth course doesn't do as well.

    All are refined on the same spots and compared by Schwarz's criterion (BIC), with three rotations and a position for
    each slip that `fit` doesn't have, and with smooth courses of long and of short intervals. The smallest slip is
    given up until the rest passes.
    """
    scan = fit.geometry.scan
    assert scan is not None
    degrees = abs(float(np.degrees(scan.width_rad))) * scan.n_frames
    long, *short = sorted({max(round(degrees / each), 1) for each in SMOOTH_DEG})
    free = replace(fit.model.free, detector=("shift1", "shift2"), beam=(), cell_varies=False)

    def criterion(chosen: Observations, base: Fit, n_intervals: int, slips: tuple[Slip, ...]) -> tuple[Fit, float]:
        varying = refine_scan_varying(
            chosen, base.bases, base.geometry, n_intervals=n_intervals, free=free, slips=slips
        )
        n = 3 * varying.n_used
        return varying, float(np.log(n) * (varying.n_parameters + len(slips)) + n * np.log(varying.objective / n))

    while len(slips) > len(fit.slips):
        try:
            static = refine_static(obs, fit.bases, fit.geometry, free=fit.model.free, reject="mcd", slips=slips)
            chosen = obs.take(static.used)
            found, with_them = criterion(chosen, static, long, static.slips)
            if all(with_them < criterion(chosen, static, n, fit.slips)[1] for n in (long, *short)):
                return found.slips
        except InputError:
            return fit.slips
        slips = _without_smallest(found.slips, fit.slips)
    return fit.slips


def _without_smallest(slips: tuple[Slip, ...], kept: tuple[Slip, ...]) -> tuple[Slip, ...]:
    """One slip less: the smallest that isn't at a place to be kept. What comes after turns back by as much."""
    places = {(s.lattice, s.frame) for s in kept}
    steps = steps_rad(slips)
    sizes = [np.inf if (s.lattice, s.frame) in places else angle_deg(step) for s, step in zip(slips, steps)]
    smallest = int(np.argmin(sizes))
    gone = slips[smallest]
    left = []
    for i, s in enumerate(slips):
        back = steps[smallest] if i > smallest and s.lattice == gone.lattice else np.zeros(3)
        if i != smallest:
            x, y, z = (np.array(s.rotation_rad) - back).tolist()
            left.append(Slip(s.lattice, s.frame, (x, y, z)))
    return tuple(left)


def slip_notes(fit: Fit) -> tuple[str, ...]:
    """Where the crystals of a fit slipped, in a sentence; none without slips."""
    if not fit.slips:
        return ()
    told = []
    for slip, step in zip(fit.slips, steps_rad(fit.slips)):
        which = f" (lattice {slip.lattice + 1})" if len(fit.crystals) > 1 else ""
        told.append(f"by {angle_deg(step):.2f} degrees at the beginning of image {slip.frame + 1:.0f}{which}")
    return (f"the crystal slipped {' and '.join(told)}; its orientation is refined with a break there",)


def _with_step(known: list[Slip], lattice: int, frame: float, step: Array) -> list[Slip]:
    """The slips of a lattice with one more: what comes after it is turned by the step, too."""
    before = [s for s in known if s.frame <= frame]
    begin = np.array(before[-1].rotation_rad) if before else np.zeros(3)

    def turned(s: Slip) -> Slip:
        x, y, z = (np.array(s.rotation_rad) + step).tolist()
        return Slip(lattice, s.frame, (x, y, z))

    x, y, z = (begin + step).tolist()
    return [*before, Slip(lattice, frame, (x, y, z)), *(turned(s) for s in known if s.frame > frame)]


def _turns(
    given: Data, model: Parametrisation, values: Array, residual: Array, rows: npt.NDArray[np.int64], frame: Array
) -> _Turns:
    """The derivatives of `derivatives.jacobian` by the rotations, for a crystal near where it began."""
    at = state(model, values)
    p = np.einsum("nij,nj->ni", given.A0[given.crystal[rows]], given.hkl[rows])
    phi = residual[rows, 2] + given.target[rows, 2]
    spin = turn(np.column_stack([phi, np.zeros_like(phi), np.zeros_like(phi)]))
    r = np.einsum("nij,nj->ni", spin, p)
    s1, e = at.s0 + r, np.cross([1.0, 0.0, 0.0], r)
    D = at.D[given.panel[rows]]
    v = np.einsum("nij,nj->ni", D, s1)
    position = v[:, :2] / v[:, 2:]
    speed = np.einsum("ni,ni->n", s1, e)
    slope = np.empty((len(rows), 3, 3))
    for k in range(3):
        dr = np.einsum("nij,nj->ni", spin, np.cross(np.eye(3)[k], p))
        dphi = -np.einsum("ni,ni->n", s1, dr) / speed
        dv = np.einsum("nij,nj->ni", D, dr + e * dphi[:, None])
        slope[:, :2, k] = (dv[:, :2] - position * dv[:, 2:]) / v[:, 2:]
        slope[:, 2, k] = dphi
    root = np.sqrt(given.weight[rows])
    return _Turns(frame, slope * root[:, :, None], residual[rows] * root)


def _steps(turns: _Turns, n_frames: int, width_deg: float, known: list[float]) -> list[tuple[float, Array]]:
    """Position and rotations (rad) of each step, the plainest first; none close to those that are known."""
    found: list[tuple[float, Array]] = []
    closed = np.zeros(n_frames + 1, bool)
    apart = max(int(np.ceil(WINDOWS_DEG[0] / width_deg)), FEWEST_FRAMES)
    for position in known:
        closed[max(int(position) - apart, 0) : int(position) + apart + 1] = True
    tried = 0
    while len(found) < MOST_SLIPS and tried < MOST_TRIED and len(turns.frame) >= 2 * FEWEST_SPOTS:
        sums = _Sums.of(turns, n_frames)
        border, reach = _windows(sums, n_frames, width_deg)
        border, reach = border[~closed[border]], reach[~closed[border]]
        if len(border) == 0:
            break
        chance, evidence = _evidence(sums, border, border - reach, border + reach)
        best = int(np.argmax(evidence))
        if not (chance * len(border) <= FALSE_ALARMS).any():
            break
        at = _sharpest(sums, int(border[best]), int(reach[best]))
        step, again, is_sharp = _careful(turns, at, int(reach[best]))
        is_good = again * len(border) <= FALSE_ALARMS and is_sharp and angle_deg(step) >= SMALLEST_DEG
        if is_good and not closed[at]:
            found.append((float(at), step))
            closed[max(at - apart, 0) : at + apart + 1] = True
            moved = np.where((turns.frame >= at)[:, None], turns.slope @ step, 0.0)
            turns = _Turns(turns.frame, turns.slope, turns.residual + moved)
        else:
            tried += 1
            closed[max(at - int(reach[best]), 0) : at + int(reach[best]) + 1] = True
    return found


@dataclass(frozen=True)
class _Sums:
    """Sums over the frames before each border, (n_frames + 1, ...)."""

    count: Array
    square: Array  # sum of residual^2
    normal: Array  # (3, n_frames + 1, 3, 3) of slope^T slope, times 1, z, z^2
    right: Array  # (2, n_frames + 1, 3) of -slope^T residual, times 1, z

    @classmethod
    def of(cls, turns: _Turns, n_frames: int) -> _Sums:
        scale = np.median(np.abs(turns.residual), axis=0) / 0.6745
        clipped = np.clip(turns.residual, -FENCE * scale, FENCE * scale)
        frame = np.clip(turns.frame.astype(np.int64), 0, n_frames - 1)

        def by_frame(weights: Array | None) -> Array:
            return np.bincount(frame, weights, minlength=n_frames).astype(float)

        normal = np.empty((n_frames, 3, 3))
        for i, j in SYMMETRIC:
            both = np.einsum("na,na->n", turns.slope[:, :, i], turns.slope[:, :, j])
            normal[:, i, j] = normal[:, j, i] = by_frame(both)
        right = np.stack([by_frame(-np.einsum("na,na->n", turns.slope[:, :, i], clipped)) for i in range(3)], axis=1)
        z = np.arange(n_frames) + 0.5
        return cls(
            _before(by_frame(None)),
            _before(by_frame(np.einsum("na,na->n", clipped, clipped))),
            np.stack([_before(normal * (z**k)[:, None, None]) for k in range(3)]),
            np.stack([_before(right * (z**k)[:, None]) for k in range(2)]),
        )

    def fit(self, low: npt.NDArray[np.int64], at: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> _Fits:
        """A straight line and a step at these borders, fitted to the frames from low to high."""
        z = at.astype(float)[:, None, None]

        def moments(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> tuple[Array, ...]:
            n0, n1, n2 = (self.normal[k, b] - self.normal[k, a] for k in range(3))
            g0, g1 = (self.right[k, b] - self.right[k, a] for k in range(2))
            return n0, n1 - z * n0, n2 - 2 * z * n1 + z * z * n0, g0, g1 - z[:, 0] * g0

        n0, n1, n2, g0, g1 = moments(low, high)
        m0, m1, _, h0, _ = moments(at, high)
        matrix = np.empty((len(at), 9, 9))
        for i, row in enumerate(((n0, n1, m0), (n1, n2, m1), (m0, m1, m0))):
            for j, block in enumerate(row):
                matrix[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = block
        right = np.concatenate([g0, g1, h0], axis=1)
        return _Fits(matrix, right, self.square[high] - self.square[low], self.count[high] - self.count[low])


@dataclass(frozen=True)
class _Fits:
    """Normal equations of straight line and step in each of m windows."""

    matrix: Array  # (m, 9, 9)
    right: Array  # (m, 9)
    square: Array  # (m,) sum of squares without any turn
    count: Array  # (m,) spots

    def left(self, n_parameters: int) -> Array:
        """(m,) sum of squares left with the first so many parameters free."""
        k = n_parameters
        matrix, right = self.matrix[:, :k, :k], self.right[:, :k]
        scale = np.sqrt(np.maximum(np.einsum("mii->mi", matrix), 1e-300))
        unit = matrix / (scale[:, :, None] * scale[:, None, :]) + 1e-10 * np.eye(k)
        scaled = right / scale
        solved = np.linalg.solve(unit, scaled[:, :, None])[:, :, 0]
        return np.asarray(self.square - np.einsum("mk,mk->m", solved, scaled))


def _before(values: Array) -> Array:
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


def _windows(sums: _Sums, n_frames: int, width_deg: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(m,) borders and (m,) frames to either side of them, of all windows with enough spots on both sides."""
    border, parts = np.arange(n_frames + 1), []
    reaches = {max(int(np.ceil(degrees / width_deg)), FEWEST_FRAMES) for degrees in WINDOWS_DEG}
    for reach in sorted(reaches):
        at = border[reach : n_frames - reach + 1]
        enough = (sums.count[at] - sums.count[at - reach] >= FEWEST_SPOTS) & (
            sums.count[at + reach] - sums.count[at] >= FEWEST_SPOTS
        )
        parts.append(np.column_stack([at[enough], np.full(int(enough.sum()), reach)]))
    both = np.concatenate(parts)
    return both[:, 0], both[:, 1]


def _evidence(
    sums: _Sums, at: npt.NDArray[np.int64], low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> tuple[Array, Array]:
    """(m,) chances of so large a step where there is none; (m,) log likelihood ratios, which don't underflow."""
    fits = sums.fit(low, at, high)
    straight, stepped = fits.left(6), fits.left(9)
    freedom = 3.0 * fits.count - 9.0
    stepped = np.maximum(stepped, 1e-300)
    gained = np.maximum(straight / stepped - 1.0, 0.0)
    return np.asarray(fdtrc(3.0, freedom, gained * freedom / 3.0)), 1.5 * fits.count * np.log1p(gained)


def _sharpest(sums: _Sums, at: int, reach: int) -> int:
    """The border within the window at which a step leaves the least sum of squares."""
    margin = max(reach // 4, 1)
    trial = np.arange(at - reach + margin, at + reach - margin + 1)
    low, high = np.full(len(trial), at - reach), np.full(len(trial), at + reach)
    return int(trial[np.argmin(sums.fit(low, trial, high).left(9))])


def _careful(turns: _Turns, at: int, reach: int) -> tuple[Array, float, bool]:
    """A second look at one step, with doubtful spots weighed down.

    Returns the step (3,) rad; its chance with each frame taken as one observation; and whether it explains
    the turns better than a cubic curve, with its three numbers more, does.
    """
    rows = np.flatnonzero(np.abs(turns.frame - at) < reach)
    z = (turns.frame[rows] - at) / reach
    slope, residual = turns.slope[rows], turns.residual[rows]
    line = [slope, slope * z[:, None, None]]
    design = np.concatenate([*line, slope * (z >= 0)[:, None, None]], axis=2)
    weight = np.ones(len(rows))
    for _ in range(ROBUST_ROUNDS):
        solved, matrix, off = _weighted(design, residual, weight)
        size = np.linalg.norm(off, axis=1)
        weight = 1.0 / (1.0 + (size / max(ROBUST_SCALE * float(np.median(size)), 1e-12)) ** 2)
    step = solved[6:]
    cubic = np.concatenate([*line, *(slope * (z**k)[:, None, None] for k in (2, 3))], axis=2)
    left, left_smooth = (float(weight @ (_weighted(d, residual, weight)[2] ** 2).sum(axis=1)) for d in (design, cubic))
    _, frame = np.unique(np.floor(turns.frame[rows]), return_inverse=True)
    clusters = int(frame.max()) + 1
    if clusters < FEWEST_CLUSTERS:
        return step, 1.0, False
    score = np.einsum("nak,na->nk", design * weight[:, None, None], off)
    by_frame = np.stack([np.bincount(frame, score[:, k], minlength=clusters) for k in range(9)], axis=1)
    inverse = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True)
    spread = inverse @ (by_frame.T @ by_frame * clusters / (clusters - 9.0)) @ inverse
    wald = float(step @ np.linalg.lstsq(spread[6:, 6:], step, rcond=1e-12)[0])
    variance = left / (3.0 * float(weight.sum()))
    return step, float(fdtrc(3.0, clusters - 9.0, wald / 3.0)), left + MARGIN * variance < left_smooth


def _weighted(design: Array, residual: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Weighted least squares of residual + design @ x: x, the normal matrix, and what is left of each residual."""
    weighted = design * weight[:, None, None]
    matrix = np.einsum("nak,nal->kl", weighted, design)
    solved = np.linalg.lstsq(matrix, -np.einsum("nak,na->k", weighted, residual), rcond=1e-12)[0]
    return solved, matrix, residual + design @ solved
