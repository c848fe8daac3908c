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

MOST_REFERENCES = 300  # of a block
FIRST_STEPS, LATER_STEPS = 12, 2
FEWEST_STEADY = 200  # so many references stand on their own; fewer are helped out by the block before
PRIOR_CELL = 3000.0  # photons' worth of the block's profile in that of a cell
PRIOR_BLOCK = 20_000.0  # photons' worth of the last block's profile in that of a block
PRIOR_GAUSS = 100.0
# Noise in many free weights, which can't be negative, would add up to tails: beyond so many sigma_b a profile depends
# on the distance only, and beyond so many sigma_m it falls off as a Gaussian of TAIL sigma_m, of free height.
FREE_ACROSS, FREE_ALONG, TAIL = 2.5, 2.5, 1.5
UNLIKE, UNLIKE_SIGMA = 0.4, 8.0
POINT_SPACING = 0.35  # of points within a pixel, in sigma_b


@dataclass(frozen=True)
class References:
    """Profiles of one block: of the whole detector, and of its cells (across the detector only)."""

    across: Floats  # (cells, NODES^2)
    along: Floats  # (cells, BINS)
    whole: Floats  # (NODES^2,)
    n_reflections: npt.NDArray[np.int64]  # (cells,)


def gaussian(cells: int) -> References:
    """What stands before anything is learned."""
    x = np.arange(kernel.NODES) * kernel.STEP - kernel.REACH
    across = np.exp(-0.5 * (x[:, None] ** 2 + x[None, :] ** 2)).ravel()
    edges = np.arange(kernel.BINS + 1) * kernel.BIN - kernel.REACH
    along = np.diff(erf(edges / np.sqrt(2.0)))
    across, along = across / across.sum(), along / along.sum()
    return References(np.tile(across, (cells, 1)), np.tile(along, (cells, 1)), across, np.zeros(cells, np.int64))


def _groups(distance: Floats, free: float, step: float) -> npt.NDArray[np.int64]:
    """Weights of the same number are one: those farther out than `free`, by rings of `step`."""
    single = np.arange(len(distance))
    return np.where(distance <= free, single, len(distance) + np.floor((distance - free) / step).astype(np.int64))


_NODE = np.arange(kernel.NODES) * kernel.STEP - kernel.REACH
_ACROSS = _groups(np.hypot(_NODE[:, None], _NODE[None, :]).ravel(), FREE_ACROSS, kernel.STEP)
_MIDDLE = (np.arange(kernel.BINS) + 0.5) * kernel.BIN - kernel.REACH
_ALONG = _groups(np.abs(_MIDDLE), FREE_ALONG, 2 * kernel.REACH)
_ALONG_FORM = np.where(np.abs(_MIDDLE) <= FREE_ALONG, 1.0, np.exp(-0.5 * (_MIDDLE / TAIL) ** 2))


def _maximise(
    gained: Floats, exposed: Floats, prior: Floats, weight: float, groups: npt.NDArray[np.int64], form: Floats
) -> Floats:
    """Weights of the greatest likelihood, those of a group being in proportion to `form`."""
    above = np.bincount(groups, gained + weight * prior)
    below = np.bincount(groups, (exposed + weight) * form)
    weights = above[groups] / below[groups] * form
    return np.asarray(weights / weights.sum())


def points_in_pixel(geometry: Geometry, profile: ProfileModel) -> int:
    """Points along a pixel's edge at which profiles are taken."""
    largest = max(max(p.pixel_mm) / p.distance_mm for p in geometry.detector.panels)
    return int(np.clip(ceil(largest / profile.sigma_b_rad / POINT_SPACING), 2, 8))


def choose(
    value: Floats,
    sigma: Floats,
    partiality: Floats,
    sums: Floats,
    reference_sigma: float,
) -> npt.NDArray[np.int64]:
    """Rows of the reflections to learn from: strong, whole and by themselves; weaker ones where strong ones are few."""
    is_clean = np.isfinite(value) & (partiality > 0.97) & (sums[:, s.N_OVERLAPPED] == 0)
    ratio = np.where(is_clean, np.nan_to_num(value / sigma), 0.0)
    strong = np.flatnonzero(ratio >= reference_sigma)
    if len(strong) >= FEWEST_STEADY:
        return strong
    fair = np.flatnonzero(ratio >= 0.5 * reference_sigma)
    best = fair[np.argsort(-ratio[fair], kind="stable")][:FEWEST_STEADY]
    return np.sort(best)


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
    profile: ProfileModel,
    points: int,
    run_all: Callable[[list[Callable[[], None]]], None],
) -> References:
    """Profiles of a block by expectation and maximisation of the likelihood of the pixels of `chosen`.

    The counts of a pixel are Poisson about background + intensity * profile, so what is learned is free of the
    blur by the pixels. `before` helps out with PRIOR_BLOCK photons, the block's own profile its cells with PRIOR_CELL.
    `run_all` runs what is independent, in any order.
    """
    n_cells = len(before.across)
    if len(chosen) == 0:
        return References(before.across, before.along, before.whole, np.zeros(n_cells, np.int64))
    is_first = not before.n_reflections.any() and bool((before.across[0] == before.whole).all())
    steps, prior = (FIRST_STEPS, PRIOR_GAUSS) if is_first else (LATER_STEPS, PRIOR_BLOCK)
    rows = _spread(chosen, MOST_REFERENCES)
    base = np.maximum(sums[:, s.BACKGROUND], 1e-6)
    learners = [_Cell(block, rows[cell[rows] == c], value, base, profile.sigma_b_rad, points) for c in range(n_cells)]
    whole = before.whole
    for _ in range(steps):
        run_all([partial(learner.expect, whole) for learner in learners if len(learner.rows)])
        gained = np.sum([learner.gained for learner in learners], axis=0)
        exposed = np.sum([learner.exposed for learner in learners], axis=0)
        whole = _maximise(gained, exposed, before.whole, prior, _ACROSS, np.ones_like(whole))
    across = [_maximise(x.gained, x.exposed, whole, PRIOR_CELL, _ACROSS, np.ones_like(whole)) for x in learners]
    along = _learn_along(block, rows, base[rows], before.along[0], prior, 2 * steps)
    counts = np.bincount(cell[chosen], minlength=n_cells)
    return References(np.array(across), np.tile(along, (n_cells, 1)), whole, counts)


class _Cell:
    """The references of one cell, with what they tell of each weight."""

    def __init__(
        self, block: Block, rows: npt.NDArray[np.int64], value: Floats, base: Floats, sigma_b: float, points: int
    ) -> None:
        self._block, self.rows, self._sigma_b, self._points = block, rows, sigma_b, points
        self._intensity, self._background = value[rows], base[rows]
        self.gained, self.exposed = np.zeros(kernel.NODES**2), np.zeros(kernel.NODES**2)
        sides = block.box[rows, 3:6:2] - block.box[rows, 2:6:2] + 1
        size = int(sides.prod(axis=1).max()) if len(rows) else 0
        self._eps = np.empty(size), np.empty(size)

    def expect(self, weights: Floats) -> None:
        """Set `gained` and `exposed`, given weights; intensities and backgrounds get better on the way."""
        b = self._block
        self.gained[:], self.exposed[:] = 0.0, 0.0
        boxes = (self.rows, b.ray, b.box, b.pixel_at, b.voxel_at, b.foreground, b.voxels)
        model = (self._sigma_b, self._points, self._intensity, self._background, weights)
        kernel.learn_across(*boxes, *model, *self._eps, self.gained, self.exposed)


def _learn_along(
    b: Block, rows: npt.NDArray[np.int64], base: Floats, before: Floats, prior: float, steps: int
) -> Floats:
    weights = before
    for _ in range(steps):
        gained, exposed = np.zeros_like(weights), np.zeros_like(weights)
        boxes = (rows, b.box, b.pixel_at, b.voxel_at, b.foreground, b.voxels, b.frame, b.per_frame)
        kernel.learn_along(*boxes, base, weights, gained, exposed)
        weights = _maximise(gained, exposed, before, prior, _ALONG, _ALONG_FORM)
    return weights


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of them, evenly spread."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]
