"""Reference profiles: learned block after block from strong reflections, on a grid of cells over the detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from hdrmx.integration.blocks import Block
from hdrmx.integration.profile_model import Floats, ProfileModel
from hdrmx.kernels import integrate_profile as kernel
from hdrmx.kernels import integrate_sum as s
from hdrmx.models import Geometry

MOST_REFERENCES = 225  # of a block, learned from
MOST_IN_CELL = 40
WIDTH_STEPS, WIDTH_REACH = 4, 3.0  # a Gaussian's width is found first, from so many sigma_b around
FIRST_STEPS, LATER_STEPS = 12, 1
LATER_SHARE = 0.3  # of the way to its own tail that a later block goes
LEAST_TAIL = 1e-9
FEWEST_STEADY = 200  # so many references stand on their own; else weaker ones are called in
PRIOR_CELL = 5000.0  # photons' worth of the block's profile in that of a cell
PRIOR_BLOCK = 20_000.0  # photons' worth of the last block's profile in that of a block
MOST_PHOTONS = 20_000.0  # photons' worth of a cell's last profile in its next one
LEARN_CHUNK = 16  # reflections that a thread takes at a time
PRIOR_GAUSS = 100.0
# Noise in many free weights, which can't be negative, would add up to tails: beyond so many sigma_b a profile depends
# on the distance only, and beyond so many sigma_m, where boxes end, it falls off further as between its last two bins.
FREE_ACROSS, FREE_ALONG = 2.5, 3.0
STEEPEST, FLATTEST = 0.05, 0.6  # fall of the tail from bin to bin
UNLIKE, UNLIKE_SIGMA = 0.4, 8.0
POINT_SPACING = 0.45  # of points within a pixel, in sigma_b


@dataclass(frozen=True)
class References:
    """Profiles of one block: of the whole detector, and of its cells (across the detector only)."""

    across: Floats  # (cells, NODES^2)
    along: Floats  # (cells, BINS)
    whole: Floats  # (NODES^2,)
    n_reflections: npt.NDArray[np.int64]  # (cells,)
    photons: Floats  # (cells,) that each cell's profile has been learned from, up to MOST_PHOTONS


def gaussian(cells: int) -> References:
    """What stands before anything is learned; sigma_b is that of the distance, so sqrt(2) times that along a line."""
    edges = np.arange(kernel.BINS + 1) * kernel.BIN - kernel.REACH_ALONG
    along = np.diff(erf(edges / np.sqrt(2.0)))
    across, along = _round(np.sqrt(0.5)), along / along.sum()
    nothing = np.zeros(cells)
    return References(np.tile(across, (cells, 1)), np.tile(along, (cells, 1)), across, nothing.astype(int), nothing)


def _round(width: float) -> Floats:
    """(NODES^2,) a Gaussian of this standard deviation, in sigma_b."""
    across = np.exp(-0.5 * (_DISTANCE / width) ** 2)
    return np.asarray(across / across.sum())


def _groups(distance: Floats, free: float, step: float) -> npt.NDArray[np.int64]:
    """Weights of the same number are one: those farther out than `free`, by rings of `step`."""
    single = np.arange(len(distance))
    return np.where(distance <= free, single, len(distance) + np.floor((distance - free) / step).astype(np.int64))


_NODE = np.arange(kernel.NODES) * kernel.STEP - kernel.REACH
_DISTANCE = np.hypot(_NODE[:, None], _NODE[None, :]).ravel()
_ACROSS = _groups(_DISTANCE, FREE_ACROSS, kernel.STEP)
_IS_TAIL = _DISTANCE > FREE_ACROSS
_IS_OUT = _DISTANCE > kernel.REACH - 0.5 * kernel.STEP  # the square's corners, of which few boxes tell
_MIDDLE = (np.arange(kernel.BINS) + 0.5) * kernel.BIN - kernel.REACH_ALONG
_BEYOND = np.abs(_MIDDLE) > FREE_ALONG
_LAST = np.abs(np.abs(_MIDDLE) - FREE_ALONG + 0.5 * kernel.BIN) < 0.1 * kernel.BIN
_LAST_BUT_ONE = np.abs(np.abs(_MIDDLE) - FREE_ALONG + 1.5 * kernel.BIN) < 0.1 * kernel.BIN


def _maximise_along(gained: Floats, exposed: Floats, prior: Floats, weight: float) -> Floats:
    """Weights of the greatest likelihood, but for the tails."""
    weights = (gained + weight * prior) / (exposed + weight)
    last, before = weights[_LAST].sum(), weights[_LAST_BUT_ONE].sum()
    fall = np.clip(last / max(before, 1e-12), STEEPEST, FLATTEST)
    bins_on = (np.abs(_MIDDLE) - FREE_ALONG) / kernel.BIN + 0.5
    weights = np.where(_BEYOND, 0.5 * last * fall**bins_on, weights)
    return np.asarray(weights / weights.sum())


def _maximise(told: Floats, now: Floats, prior: Floats, weight: float, share: float) -> Floats:
    """Weights across of a greater likelihood than `now`, given what `_Pupils.expect` told of them.

    Near the middle by expectation and maximisation. That is slow where the reflections hardly rise above the
    background, so each ring of the tail goes `share` of the way to the top of a parabola below its likelihood.
    """
    gained, exposed, curvature = told
    weights = (gained + weight * prior) / (exposed + weight)
    score = np.where(_IS_TAIL & (now > 0), gained / np.maximum(now, 1e-300) - exposed, 0.0)
    rise = np.bincount(_ACROSS, score) / np.maximum(np.bincount(_ACROSS, curvature), 1e-300)
    weights = np.where(_IS_TAIL, np.maximum(now + share * rise[_ACROSS], LEAST_TAIL), weights)
    weights = np.where(_IS_OUT, 0.0, weights)
    return np.asarray(weights / weights.sum())


def _with_tail(weights: Floats, whole: Floats) -> Floats:
    """Tails are too faint for one cell to tell of: they are those of the whole detector."""
    weights = np.where(_IS_TAIL, whole, weights)
    return np.asarray(weights / weights.sum())


def points_in_pixel(geometry: Geometry, profile: ProfileModel) -> int:
    """Points along a pixel's edge at which profiles are taken."""
    largest = max(max(p.pixel_mm) / p.distance_mm for p in geometry.detector.panels)
    return int(np.clip(ceil(largest / profile.sigma_b_rad / POINT_SPACING), 2, 8))


def lines_for(lay: Floats, most_fast: int, points: int) -> Floats:
    """Work space of `integrate_profile.spread` and `gather`: depth moves a ray by less than its whole path."""
    beyond = 2 * ceil(float(np.abs(lay[:, kernel.FAST_MM] * lay[:, kernel.PATH]).max(initial=0.0))) + 2
    return np.empty((3, (most_fast + beyond) * points))


def choose(
    value: Floats,
    sigma: Floats,
    partiality: Floats,
    sums: Floats,
    cell: npt.NDArray[np.int64],
    n_cells: int,
    reference_sigma: float,
) -> npt.NDArray[np.int64]:
    """Rows of the reflections to learn from: strong, whole and by themselves; weaker ones where strong ones are few.

    At most MOST_IN_CELL of each cell, evenly spread, and MOST_REFERENCES of all.
    """
    is_clean = np.isfinite(value) & (partiality > 0.97) & (sums[:, s.N_OVERLAPPED] == 0)
    ratio = np.where(is_clean, np.nan_to_num(value / sigma), 0.0)
    chosen = np.flatnonzero(ratio >= reference_sigma)
    if len(chosen) < FEWEST_STEADY:
        fair = np.flatnonzero(ratio >= 0.5 * reference_sigma)
        chosen = fair[np.argsort(-ratio[fair], kind="stable")][:FEWEST_STEADY]
    each = [_spread(np.sort(chosen[cell[chosen] == c]), MOST_IN_CELL) for c in range(n_cells)]
    return _spread(np.sort(np.concatenate(each)), max(MOST_REFERENCES, n_cells))


def is_unlike(value: Floats, variance: Floats, correlation: Floats, n_voxels: Floats) -> npt.NDArray[np.bool_]:
    """Strong where it should be weak: a hot pixel or another defect within the foreground, rather than a reflection.

    With r = I / sigma spread as the profile says over n voxels of equal noise, the correlation is about
    sqrt(r^2 / (r^2 + n)); less than UNLIKE of that, with r > UNLIKE_SIGMA, can't be.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        r = value / np.sqrt(variance)
        should_be = np.sqrt(r**2 / (r**2 + n_voxels))
        return np.asarray((r > UNLIKE_SIGMA) & (correlation < UNLIKE * should_be))


def learn(
    block: Block,
    sums: Floats,
    value: Floats,
    chosen: npt.NDArray[np.int64],
    cell: npt.NDArray[np.int64],
    before: References,
    points: int,
    run_all: Callable[[list[Callable[[], None]]], None],
) -> References:
    """Profiles of a block by expectation and maximisation of the likelihood of the pixels of `chosen`.

    The counts of a pixel are Poisson about background + intensity * profile, so what is learned is free of the
    blur by the pixels and by the depth of the sensor. `before` helps out with PRIOR_BLOCK photons for the whole
    detector; each cell goes on from its own last profile, with the photons that this was learned from, and from the
    block's with PRIOR_CELL. `run_all` runs what is independent, in any order.
    """
    n_cells = len(before.across)
    if len(chosen) == 0:
        return References(before.across, before.along, before.whole, np.zeros(n_cells, np.int64), before.photons)
    is_first = not before.photons.any()
    steps, prior = (FIRST_STEPS, PRIOR_GAUSS) if is_first else (LATER_STEPS, PRIOR_BLOCK)
    rows = chosen
    base = np.maximum(sums[:, s.BACKGROUND], 1e-6)
    pupils = _Pupils(block, rows, cell[rows], value[rows], base[rows], points)
    whole, across, helps = before.whole, before.across, before.photons
    for _ in range(WIDTH_STEPS if is_first else 0):
        gained = pupils.expect(across, run_all)[:, 0].sum(axis=0)[_DISTANCE < WIDTH_REACH]
        width = np.sqrt(0.5 * np.sum(gained * _DISTANCE[_DISTANCE < WIDTH_REACH] ** 2) / gained.sum())
        whole = _round(float(width))
        across = np.tile(whole, (n_cells, 1))
    weight = helps + PRIOR_CELL
    for _ in range(steps):
        told = pupils.expect(across, run_all)
        whole = _maximise(told.sum(axis=0), whole, before.whole, prior, 1.0 if is_first else LATER_SHARE)
        priors = (helps[:, None] * before.across + PRIOR_CELL * whole) / weight[:, None]
        cells = [_maximise(told[c], across[c], priors[c], weight[c], 0.0) for c in range(n_cells)]
        across = np.array([_with_tail(weights, whole) for weights in cells])
    along = _learn_along(block, rows, base[rows], before.along[0], prior, 2 * steps)
    counts = np.bincount(cell[chosen], minlength=n_cells)
    photons = np.minimum(helps + told[:, 0].sum(axis=1), MOST_PHOTONS)
    return References(across, np.tile(along, (n_cells, 1)), whole, counts, photons)


class _Pupils:
    """The reflections to learn from, with what they tell of each weight."""

    def __init__(
        self,
        block: Block,
        rows: npt.NDArray[np.int64],
        cell: npt.NDArray[np.int64],
        value: Floats,
        base: Floats,
        points: int,
    ) -> None:
        order = np.argsort(cell, kind="stable")
        self._block, self._points, self._rows, self._cell = block, points, rows[order], cell[order]
        self._intensity, self._background = value[order], base[order]
        area = np.diff(block.pixel_at)[self._rows]
        self._most = int(area.max())
        self._most_fast = int((block.box[:, 5] - block.box[:, 4]).max())
        self._image_at = np.concatenate([[0], np.cumsum(area)]).astype(np.int64)
        self._image = np.empty(int(self._image_at[-1]), np.int32)
        kernel.images(self._rows, block.box, block.voxel_at, block.voxels, self._image_at, self._image)
        ends = [int(e) for e in np.flatnonzero(np.diff(self._cell, append=-1)) + 1]
        starts = [0, *ends[:-1]]
        self._parts = [
            (a, min(a + LEARN_CHUNK, end)) for start, end in zip(starts, ends) for a in range(start, end, LEARN_CHUNK)
        ]

    def expect(self, across: Floats, run_all: Callable[[list[Callable[[], None]]], None]) -> Floats:
        """(cells, 3, nodes) of `learn_across`; intensities and backgrounds get better on the way."""
        found = [np.empty((3, kernel.NODES**2)) for _ in self._parts]
        run_all([partial(self._expect, a, b, across, out) for (a, b), out in zip(self._parts, found)])
        total = np.zeros((len(across), 3, kernel.NODES**2))
        for (a, _), out in zip(self._parts, found):
            total[self._cell[a]] += out
        return total

    def _expect(self, begin: int, end: int, across: Floats, out: Floats) -> None:
        b = self._block
        boxes = (self._rows, b.lay, b.box, self._image_at, self._image, self._points)
        state = (self._intensity, self._background, across[self._cell[begin]])
        room = np.empty(4 * self._most), lines_for(b.lay, self._most_fast, self._points)
        kernel.learn_across(begin, end, *boxes, *state, *room, out)


def _learn_along(
    b: Block, rows: npt.NDArray[np.int64], base: Floats, before: Floats, prior: float, steps: int
) -> Floats:
    weights = before
    for _ in range(steps):
        gained, exposed = np.zeros_like(weights), np.zeros_like(weights)
        boxes = (rows, b.box, b.pixel_at, b.voxel_at, b.foreground, b.voxels, b.frame, b.per_frame)
        kernel.learn_along(*boxes, base, weights, gained, exposed)
        weights = _maximise_along(gained, exposed, before, prior)
    return weights


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of them, evenly spread."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]
