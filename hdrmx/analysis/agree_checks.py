"""One comparison of two processings: what was compared, what is demanded, and what came out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hdrmx.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Demands:
    """What is demanded of each boundary between stages; being better is never outside."""

    spots_equal: float = 0.999  # least part of the spots within 0.01 px and 0.01 image
    same_index: float = 0.995  # least part of the spots indexed in both
    cell_edges: float = 2e-4  # largest relative difference
    rmsd: float = 0.02  # by which ours may be larger, relative
    misorientation_deg: float = 0.02
    sigma_b: float = 0.01  # relative difference
    sigma_m: float = 0.03
    n_integrated: float = 0.01  # by which ours may be fewer, relative
    sum_within: float = 1e-3  # relative difference of a strong reflection's sum that counts as none
    sum_equal: float = 0.99  # least part of strong reflections without one
    prf_correlation: float = 0.999  # in every shell
    cc_merged: float = 0.002  # below the lower CC1/2, in every shell
    cc_half: float = 0.005  # by which ours may be lower
    r_meas: float = 0.02  # by which ours may be larger, relative

    def changed(self, assignments: tuple[str, ...]) -> Demands:
        """With `name=value` texts applied. Raises InputError naming the one at fault."""
        known = {f.name for f in dataclasses.fields(self)}
        new: dict[str, float] = {}
        for text in assignments:
            name, _, value = text.partition("=")
            if name.strip() not in known:
                raise InputError("--demand", f"there is no '{name}'", f"it may be one of {', '.join(sorted(known))}")
            try:
                new[name.strip()] = float(value)
            except ValueError:
                raise InputError("--demand", f"'{text}' has no number", "give it as cc_half=0.01") from None
        return dataclasses.replace(self, **new)


@dataclass(frozen=True)
class Check:
    """One line of the table.

    Attributes
    ----------
    ours, theirs : the figures of either, numbers or words; None where the line has only a result
    value : what is held against the limit; None: for information
    limit : None: nothing is demanded
    at_least : the value must not be below the limit; else not above
    """

    name: str
    ours: float | str | None = None
    theirs: float | str | None = None
    value: float | None = None
    limit: float | None = None
    at_least: bool = False

    @property
    def is_within(self) -> bool | None:
        """None where nothing is demanded; a value that can't be told is outside."""
        if self.limit is None:
            return None
        if self.value is None or not math.isfinite(self.value):
            return False
        return bool(self.value >= self.limit if self.at_least else self.value <= self.limit)


def of_both(
    name: str,
    figures: Iterable[float | str],
    value: float | None = None,
    limit: float | None = None,
) -> Check:
    """A line with a figure of ours and one of theirs."""
    ours, theirs = figures
    return Check(name, ours, theirs, value, limit)


@dataclass(frozen=True)
class Stage:
    """The checks of one boundary; or, in words, why there are none. `shells` are figures by resolution, by name."""

    name: str
    checks: tuple[Check, ...] = ()
    skipped: str = ""
    notes: tuple[str, ...] = ()
    shells: tuple[dict[str, float], ...] = ()

    @property
    def is_within(self) -> bool:
        return all(c.is_within is not False for c in self.checks)


@dataclass(frozen=True)
class Agreement:
    ours: str
    theirs: str
    stages: tuple[Stage, ...]
    demands: Demands = field(default_factory=Demands)

    @property
    def is_within(self) -> bool:
        return all(stage.is_within for stage in self.stages)

    @property
    def is_empty(self) -> bool:
        return not any(stage.checks for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None there."""
        stages = [
            {
                "stage": s.name,
                "skipped": s.skipped or None,
                "notes": list(s.notes),
                "shells": list(s.shells),
                "checks": [dataclasses.asdict(c) | {"is_within": c.is_within} for c in s.checks],
            }
            for s in self.stages
        ]
        return {
            "schema": "hdrmx-agreement/1",
            "ours": self.ours,
            "theirs": self.theirs,
            "is_within": self.is_within,
            "demands": dataclasses.asdict(self.demands),
            "stages": stages,
        }


def relative(ours: float, theirs: float) -> float:
    """ours / theirs - 1; NaN where that can't be told."""
    return ours / theirs - 1.0 if theirs and math.isfinite(ours) and math.isfinite(theirs) else math.nan


def mutual(a: Floats, b: Floats, reach: float = 1.0) -> tuple[Ints, Ints]:
    """Rows of two sets of points that are each other's nearest within `reach`, ascending in a."""
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    distance, of_a = cKDTree(b).query(a)
    _, of_b = cKDTree(a).query(b)
    rows = np.flatnonzero((np.asarray(of_b)[of_a] == np.arange(len(a))) & (distance <= reach))
    return rows, np.asarray(of_a, np.int64)[rows]
