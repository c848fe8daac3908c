"""Blocks whose frames are all there: background, sums, reference profiles and fits of their boxes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from hdrmx.integration import flags
from hdrmx.integration.background import KINDS
from hdrmx.integration.blocks import Block, Plan
from hdrmx.integration.profile_model import Floats, ProfileModel
from hdrmx.integration.profiles import References, choose, gaussian, is_unlike, learn, lines_for, points_in_pixel
from hdrmx.integration.summation import Summed, believed, expected_intensity, is_overloaded, sum_variance, summed
from hdrmx.integration.workers import Workers
from hdrmx.kernels import integrate_fit as fits
from hdrmx.kernels import integrate_sum as s
from hdrmx.kernels.integrate_background import TABLE
from hdrmx.models import Geometry
from hdrmx.params import Integrate
from hdrmx.tables import INTEGRATED, PREDICTED

# Least correlation with the last profile of a reflection that is to be learned from: else it holds a defect.
MIN_CORRELATION = 0.5
LEAST_RECORDED = 0.5  # of a profile, for a fit to tell of all of it
_CHUNK = 128  # reflections that a thread takes at a time
_OF_SUMS = {
    "background": s.BACKGROUND,
    "n_foreground": s.N_FOREGROUND,
    "n_valid": s.N_VALID,
    "n_background": s.N_BACKGROUND,
    "frame_obs": s.FRAME,
    "slow_obs": s.SLOW,
    "fast_obs": s.FAST,
}
_OF_FITS = {
    "prf_correlation": fits.CORRELATION,
    "profile_fraction": fits.FRACTION,
    "foreground_fraction": fits.FOREGROUND_FRACTION,
}


class Finisher:
    """Results of all reflections, filled in block after block.

    Attributes
    ----------
    columns : those of `tables.INTEGRATED` that are worked out here, in the order of the predictions
    references : profiles of each block
    blocks : of each, first and last + 1 frame closed in it, reflections, references, voxels
    steps, iterations : of backgrounds, and of fits
    """

    def __init__(
        self,
        plan: Plan,
        n: int,
        frame_shape: tuple[int, int],
        geometry: Geometry,
        profile: ProfileModel,
        params: Integrate,
        workers: Workers,
    ) -> None:
        self._plan, self._frame_shape, self._params, self._workers = plan, frame_shape, params, workers
        assert geometry.scan is not None
        self._first, self._saturated = geometry.scan.first, geometry.detector.trusted[1]
        self._points = points_in_pixel(geometry, profile)
        self._last_references = gaussian(params.grid_cells**2)
        self._mine = threading.local()
        before = {c.name for c in PREDICTED}
        self.columns = {c.name: np.zeros(n, c.dtype) for c in INTEGRATED if c.name not in before | {"lp", "qe"}}
        self.references: list[References] = []
        self.blocks: list[tuple[int, ...]] = []
        self.steps = self.iterations = 0

    def finish(self, block: Block) -> None:
        """Work out everything that is to be known of a block's reflections."""
        n_references = 0
        if len(block):
            sums = np.zeros((len(block), s.COLUMNS))
            self._workers.in_parts(len(block), _CHUNK, lambda a, b: self._sum(block, sums, a, b))
            found = summed(sums, self._params.min_background_px)
            expected = expected_intensity(found.value, block.partiality, block.d)
            variance = sum_variance(found, block.partiality, expected)
            fitted, is_reference = np.full((len(block), fits.COLUMNS), np.nan), np.zeros(len(block), bool)
            prf = prf_variance = np.full(len(block), np.nan)
            if self._params.profile:
                self._fit(block, sums, fitted, found.value, variance, expected, is_reference)
                n_references = int(is_reference.sum())
                prf, prf_variance = self._judged(sums, fitted, expected)
            bits = self._flags(sums, np.isfinite(found.value), np.isfinite(prf), is_reference)
            values = {"flags": bits, "prf_value": prf, "prf_variance": prf_variance}
            self._keep(block, sums, fitted, found, variance, values)
            self.steps += int(sums[:, s.STEPS].sum())
            self.iterations += int(np.nansum(fitted[:, fits.ITERATIONS]))
        first = int(self._plan.last[block.number - 1]) if block.number else self._first
        self.blocks.append((first, block.last, len(block), n_references, block.n_voxels))

    def _keep(
        self,
        block: Block,
        sums: Floats,
        fitted: Floats,
        found: Summed,
        variance: Floats,
        values: dict[str, npt.NDArray],
    ) -> None:
        is_there = np.isfinite(found.value)
        values = values | {"sum_value": found.value, "sum_variance": np.where(is_there, variance, np.nan)}
        values |= {"background_sum": found.background}
        values |= {name: sums[:, k] for name, k in _OF_SUMS.items()}
        values |= {name: fitted[:, k] for name, k in _OF_FITS.items()}
        for name, value in values.items():
            self.columns[name][block.rows] = value

    def _sum(self, block: Block, sums: Floats, begin: int, end: int) -> None:
        room = getattr(self._mine, "tally", None)
        if room is None:
            n = TABLE + 3 * self._plan.most_pixels + self._plan.most_voxels
            room = self._mine.tally = np.empty(n, np.int64)
        boxes = (block.box, block.pixel_at, block.voxel_at, block.foreground, block.voxels)
        shares = self._params.overlaps == "share"
        s.sum_boxes(begin, end, *boxes, KINDS[self._params.background], shares, room, sums)

    def _fit(
        self,
        block: Block,
        sums: Floats,
        fitted: Floats,
        value: Floats,
        variance: Floats,
        expected: Floats,
        is_reference: npt.NDArray[np.bool_],
    ) -> None:
        cell = self._cells(block)
        least = self._params.reference_sigma
        chosen = choose(value, np.sqrt(variance), block.partiality, sums, cell, self._params.grid_cells**2, least)
        before = self._last_references
        self._fit_rows(block, sums, fitted, expected, cell, before, chosen)
        chosen = chosen[fitted[chosen, fits.CORRELATION] >= MIN_CORRELATION]
        profiles = learn(block, sums, value, chosen, cell, before, self._points, self._workers.run_all)
        self._last_references = profiles
        self.references.append(profiles)
        is_reference[chosen] = True
        fit = (block, sums, fitted, expected, cell, profiles)
        self._workers.in_parts(len(block), _CHUNK, lambda a, b: self._fit_rows(*fit, np.arange(a, b)))

    def _fit_rows(
        self,
        block: Block,
        sums: Floats,
        fitted: Floats,
        expected: Floats,
        cell: npt.NDArray[np.int64],
        profiles: References,
        rows: npt.NDArray[np.int64],
    ) -> None:
        room = getattr(self._mine, "fit", None)
        if room is None:
            n = self._plan.most_pixels + self._plan.most_frames + 2 * self._plan.most_voxels
            room = self._mine.fit = (np.empty(n), np.empty(self._plan.most_pixels, np.int64))
        work = (room[0], lines_for(block.lay, int((block.box[:, 5] - block.box[:, 4]).max()), self._points), room[1])
        boxes = (block.lay, block.box, block.inner, block.pixel_at, block.voxel_at, block.foreground, block.voxels)
        model = (profiles.across, profiles.along, self._points, self._params.overlaps == "share")
        what = (sums, block.frame, block.per_frame, expected, cell)
        arguments: tuple[Any, ...] = (*boxes, *what, *model, *work, fitted)
        fits.fit_boxes(rows, *arguments)

    def _judged(self, sums: Floats, fitted: Floats, expected: Floats) -> tuple[Floats, Floats]:
        """(value, variance) of the fits, NaN where they fail."""
        value, of_b, of_i = (fitted[:, k] for k in (fits.VALUE, fits.VARIANCE_B, fits.VARIANCE_I))
        variance = of_b + of_i * believed(value, of_b, of_i, expected)
        recorded = fitted[:, fits.FOREGROUND_FRACTION]
        fails = (fitted[:, fits.FRACTION] < self._params.min_profile * recorded) | (recorded < LEAST_RECORDED)
        fails |= sums[:, s.N_BACKGROUND] < self._params.min_background_px
        fails |= is_unlike(value, variance, fitted[:, fits.CORRELATION], sums[:, s.N_VALID])
        fails |= ~np.isfinite(value)
        return np.where(fails, np.nan, value), np.where(fails, np.nan, variance)

    def _flags(
        self,
        sums: Floats,
        has_sum: npt.NDArray[np.bool_],
        has_fit: npt.NDArray[np.bool_],
        is_reference: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.int32]:
        bits = {
            flags.PREDICTED: np.ones(len(sums), bool),
            flags.REFERENCE: is_reference,
            flags.INTEGRATED_SUM: has_sum,
            flags.INTEGRATED_PRF: has_fit,
            flags.OVERLOADED: is_overloaded(sums, self._saturated),
            flags.OVERLAPPED_BACKGROUND: sums[:, s.N_BACKGROUND_OVERLAPPED] > 0,
            flags.OVERLAPPED_FOREGROUND: sums[:, s.N_OVERLAPPED] > 0,
            flags.BAD_FOREGROUND: sums[:, s.N_VALID] < sums[:, s.N_FOREGROUND],
            flags.BAD_BACKGROUND: sums[:, s.N_BACKGROUND_BAD] > 0,
            flags.FAILED_BACKGROUND: sums[:, s.N_BACKGROUND] < self._params.min_background_px,
            flags.FAILED_SUMMATION: ~has_sum,
            flags.FAILED_PROFILE: ~has_fit if self._params.profile else np.zeros(len(sums), bool),
        }
        result = np.zeros(len(sums), np.int32)
        for bit, where in bits.items():
            result[where] |= bit
        return result

    def _cells(self, block: Block) -> npt.NDArray[np.int64]:
        """Cell of the detector that each box's middle lies in, row after row of a grid."""
        n = self._params.grid_cells
        middle = 0.5 * (block.box[:, 2:6:2] + block.box[:, 3:6:2]) + block.place[:, :2]
        at = np.clip((middle / np.array(self._frame_shape) * n).astype(np.int64), 0, n - 1)
        return at[:, 0] * n + at[:, 1]
