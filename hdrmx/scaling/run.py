"""One run of scaling: its arrays, and the steps that change them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.kernels import scaling as kernels
from hdrmx.models import Geometry
from hdrmx.params import Scale
from hdrmx.scaling.array import Bounds, bounds_of
from hdrmx.scaling.combine import PROFILE, SUM, choose_middle, combined
from hdrmx.scaling.error_model import Scatter, find_error_model, first_error_model
from hdrmx.scaling.fit import Data, Fit, covariances, fit
from hdrmx.scaling.model import make_design, make_model
from hdrmx.scaling.observations import Observations
from hdrmx.scaling.outliers import outliers

CHUNK = 100_000  # observations whose harmonics are held at a time, outside of the fit
LEAST_SCALE = 1e-3  # of an observation that is kept
PER_PARAMETER = 100  # observations of a fit that leaves some out, at least
START_PASSES = 10

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Run:
    """Arrays in the order of groups; every step reads those of the steps before.

    Attributes
    ----------
    intensity, raw_variance : corrected, not scaled, errors as integration gave them
    variance : with the error model
    scale, log_variance : of every observation; the variance is that of ln g, NaN while it isn't known
    outlier : (n,) bool
    parameters, covariances : of the model; covariances by sweep, once `expand` has made them
    """

    def __init__(self, observations: Observations, geometries: Sequence[Geometry], params: Scale) -> None:
        self.obs, self.geometries, self.params = observations, geometries, params
        self.start_of, self.group = observations.groups.start, observations.groups.of_row
        self.middle = SUM if params.intensities == "sum" else PROFILE
        self.intensity, self.raw_variance = combined(observations.measured, self.middle)
        self.error_model = first_error_model(params.error_model)
        self.variance = self._by_error_model()
        n = len(observations)
        self.scale, self.log_variance, self.outlier = np.ones(n), np.full(n, np.nan), np.zeros(n, bool)
        self.model = make_model(geometries, params, self._bounds() if params.model == "array" else ())
        self.parameters = self.model.start()
        self.covariances = np.zeros((len(geometries), 0, 0))
        self.whole = observations.partiality >= params.fit_partiality
        if not self.whole.any():
            self.whole[:] = True
        self.by_sweep = np.argsort(observations.sweep, kind="stable")
        self.fit_rows, self.fit_start = self._choose_groups()
        self.fit_design = self._design(self.fit_rows)

    def _bounds(self) -> list[Bounds]:
        obs = self.obs
        rows = [np.flatnonzero(obs.sweep == number) for number in range(len(self.geometries))]
        return [bounds_of(geometry, obs.d[r], obs.s1[r]) for geometry, r in zip(self.geometries, rows)]

    def start(self) -> None:
        """One scale for each sweep, by turns with the means of groups."""
        n_sweeps, weight = len(self.geometries), np.where(self.whole, 1.0 / self.variance, 0.0)
        mean, total = np.empty(len(self.obs.groups)), np.empty(len(self.obs.groups))
        of_sweep = np.ones(n_sweeps)
        for _ in range(START_PASSES if n_sweeps > 1 else 0):
            self.scale = of_sweep[self.obs.sweep]
            kernels.means(self.start_of, self.intensity, weight, self.scale, mean, total)
            expected = mean[self.group]
            top = np.bincount(self.obs.sweep, weight * self.intensity * expected, n_sweeps)
            bottom = np.bincount(self.obs.sweep, weight * expected**2, n_sweeps)
            ratio = np.where((bottom > 0) & (top > 0), top / np.where(bottom > 0, bottom, 1.0), of_sweep)
            of_sweep = ratio / np.exp(np.log(ratio).mean())
        for sweep, value in zip(self.model.sweeps, of_sweep):
            sweep.parts(self.parameters)[0][:] = value
        self.scale = of_sweep[self.obs.sweep]

    def fit(self) -> Fit:
        """Fit the model, and scale every observation."""
        found = fit(
            self.model,
            self._data(),
            self.parameters,
            tolerance=self.params.tolerance,
            max_steps=self.params.max_steps,
        )
        self.parameters = found.parameters
        self.expand()
        return found

    def expand(self, *, with_variance: bool = False) -> None:
        """Scales, and their variances if wanted, of every observation from the parameters."""
        if with_variance:
            self.covariances = covariances(self.model, self._data(), self.parameters)
        for begin in range(0, len(self.obs), CHUNK):
            rows = self.by_sweep[begin : begin + CHUNK]
            design, out = self._design(rows), np.empty(len(rows))
            kernels.scales(design, self.parameters, out)
            self.scale[rows] = out
            if with_variance:
                kernels.variances(
                    design, self.parameters, self.obs.sweep[rows], self.model.first_of_sweep, self.covariances, out
                )
                self.log_variance[rows] = out

    def reject(self) -> None:
        """Mark outliers, of all observations anew."""
        usable = self.scale > LEAST_SCALE
        limit = self.params.outlier_sigma
        self.outlier = outliers(self.start_of, self.intensity, self.variance, self.scale, usable, limit)

    def combine(self) -> pd.DataFrame:
        """Choose between profile fit and summation; what was tried."""
        table = pd.DataFrame({"middle": [self.middle], "r_meas": [np.nan]})
        if self.params.intensities == "combine":
            usable = self.whole & ~self.outlier & (self.scale > LEAST_SCALE)
            self.middle, table = choose_middle(self.obs.measured, self.group, len(self.obs.groups), self.scale, usable)
        self.intensity, self.raw_variance = combined(self.obs.measured, self.middle)
        self.variance = self._by_error_model()
        return table

    def find_errors(self) -> None:
        """Find the error model, and the variances by it."""
        scatter = self._scatter(self._variance_with_scale())
        self.error_model = find_error_model(self.params.error_model, scatter, self.params.min_expected)
        self.variance = self.final_variance() if self.params.error_model == "exact" else self._by_error_model()

    def final_variance(self) -> Floats:
        """Variances (before scaling) with all that is known of errors, the scale's own among them.

        "exact" adds what the scale's error makes of the expected intensity before the error model; "dials" stretches
        the result by 1 + sigma_g / g, as DIALS does.
        """
        if self.params.error_model == "exact":
            return self.error_model.variance(self._variance_with_scale(), self._expected())
        return self._by_error_model() * (1.0 + np.sqrt(np.nan_to_num(self.log_variance)))

    @property
    def n_fitted(self) -> int:
        return int(np.count_nonzero(self._data().weight))

    def _by_error_model(self) -> Floats:
        return self.error_model.variance(self.raw_variance, self.intensity)

    def _expected(self) -> Floats:
        """Scale times the group's best intensity; of a negative one, 0."""
        mean, total = np.empty(len(self.obs.groups)), np.empty(len(self.obs.groups))
        weight = np.where(self.outlier | ~(self.scale > LEAST_SCALE), 0.0, 1.0 / self.variance)
        kernels.means(self.start_of, self.intensity, weight, self.scale, mean, total)
        return np.maximum(mean[self.group] * self.scale, 0.0)

    def _variance_with_scale(self) -> Floats:
        if self.params.error_model != "exact" or np.isnan(self.log_variance).any():
            return self.raw_variance
        return self.raw_variance + self._expected() ** 2 * self.log_variance

    def _scatter(self, variance: Floats) -> Scatter:
        """Friedel mates apart, so that anomalous differences don't pass for errors."""
        usable = ~self.outlier & (self.scale > LEAST_SCALE)
        return Scatter(self.obs.groups.mate_start, self.intensity, variance, self.scale, usable)

    def _choose_groups(self) -> tuple[Ints, Ints]:
        """Rows that are fitted, whole groups of at least two, and the limits of these groups.

        Where there are more than enough, groups are drawn at random, the same every time.
        """
        sizes = self.obs.groups.sizes
        limit = self.params.fit_observations
        candidates = np.flatnonzero(np.bincount(self.group, self.whole, len(sizes)) > 1)
        if limit and sizes[candidates].sum() > max(limit, PER_PARAMETER * self.model.n_parameters):
            drawn = np.random.default_rng(0).permutation(candidates)
            enough = max(limit, PER_PARAMETER * self.model.n_parameters)
            candidates = np.sort(drawn[: int(np.searchsorted(np.cumsum(sizes[drawn]), enough)) + 1])
        chosen = np.zeros(len(sizes), bool)
        chosen[candidates] = True
        rows = np.flatnonzero(chosen[self.group])
        return rows, np.append(0, np.cumsum(sizes[candidates])).astype(np.int64)

    def _data(self) -> Data:
        rows = self.fit_rows
        take_part = self.whole[rows] & ~self.outlier[rows]
        weight = np.where(take_part, 1.0 / self.variance[rows], 0.0)
        return Data(self.fit_design, self.fit_start, self.intensity[rows], weight, self.obs.sweep[rows])

    def _design(self, rows: Ints) -> kernels.Design:
        obs = self.obs
        return make_design(self.model, self.geometries, obs.sweep[rows], obs.frame[rows], obs.d[rows], obs.s1[rows])
