"""Curves behind the figures of merging: Wilson's plot, the L-test, moments by resolution, normal probability."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from hdrmx.merging.asu import group_equivalents, space_group_of
from hdrmx.merging.twinning import FEWEST, _neighbours
from hdrmx.merging.wilson import Wilson, local_mean, residue_f2, shells_of_equal_number

Floats = npt.NDArray[np.float64]

L_STEPS = 25
MOST_MOMENTS = 20
QUANTILES = 121


def wilson_curve(merged: pd.DataFrame, wilson: Wilson) -> pd.DataFrame:
    """Wilson's plot of merged intensities (`tables.MERGED`).

    Returns
    -------
    Columns s2 (1/d^2), n, log_ratio (ln of <I> / sum f^2 of a protein's residue), fitted (the line; NaN outside of the
    range fitted, and everywhere where there was no fit).
    """
    d, value = merged["d"].to_numpy(), (merged["intensity"] / merged["epsilon"]).to_numpy()
    s2 = d**-2.0
    shell = shells_of_equal_number(s2, 50, 60)
    n = np.bincount(shell)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, middle = np.bincount(shell, value) / n, np.bincount(shell, s2) / n
        log_ratio = np.log(np.where(mean > 0, mean, np.nan) / residue_f2(middle))
        inside = (middle >= wilson.d_max**-2.0 * (1 - 1e-9)) & (middle <= wilson.d_min**-2.0 * (1 + 1e-9))
        line = np.log(wilson.scale) - wilson.b_A2 * middle / 2
    return pd.DataFrame({"s2": middle, "n": n, "log_ratio": log_ratio, "fitted": np.where(inside, line, np.nan)})


def l_curve(merged: pd.DataFrame, d_min: float) -> pd.DataFrame:
    """Cumulative distribution of |L| of acentric neighbours to a resolution.

    Returns
    -------
    Columns abs_l, measured, untwinned (l), twinned (l (3 - l^2) / 2, a perfect twin); no rows below 200 pairs.
    """
    chosen = merged[(merged["d"] >= d_min) & ~merged["centric"]]
    if len(chosen) == 0:
        return pd.DataFrame(columns=["abs_l", "measured", "untwinned", "twinned"])
    epsilon, d = chosen["epsilon"].to_numpy(), chosen["d"].to_numpy()
    value = chosen["intensity"].to_numpy() / epsilon
    values = np.abs(_neighbours(chosen[["h", "k", "l"]].to_numpy(), value / local_mean(d, value, FEWEST)))
    if len(values) < FEWEST:
        return pd.DataFrame(columns=["abs_l", "measured", "untwinned", "twinned"])
    at = np.linspace(0.0, 1.0, L_STEPS + 1)
    measured = np.searchsorted(np.sort(values), at, side="right") / len(values)
    return pd.DataFrame({"abs_l": at, "measured": measured, "untwinned": at, "twinned": at * (3 - at**2) / 2})


def moment_curve(merged: pd.DataFrame) -> pd.DataFrame:
    """Second moments <I^2> / <I>^2 by resolution, the measurement's own variance taken off.

    Returns
    -------
    Columns s2, acentric, centric; shells of 200 reflections of a kind or more, NaN with fewer.
    """
    s2 = merged["d"].to_numpy() ** -2.0
    n = int(np.clip(len(s2) // (2 * FEWEST), 1, MOST_MOMENTS))
    shell = shells_of_equal_number(s2, max(len(s2) // n, 1), n)
    rows = {"s2": np.bincount(shell, s2) / np.bincount(shell)} if len(s2) else {"s2": np.zeros(0)}
    value = (merged["intensity"] / merged["epsilon"]).to_numpy()
    noise = ((merged["sigma"] / merged["epsilon"]) ** 2).to_numpy()
    is_centric = merged["centric"].to_numpy()
    for name, which in (("acentric", ~is_centric), ("centric", is_centric)):
        count = np.bincount(shell[which], minlength=len(rows["s2"]))
        square = np.bincount(shell[which], (value**2 - noise)[which], len(rows["s2"]))
        total = np.bincount(shell[which], value[which], len(rows["s2"]))
        with np.errstate(invalid="ignore", divide="ignore"):
            moment = count * square / total**2
        rows[name] = np.where((count >= FEWEST // 4) & (total > 0), moment, np.nan)
    return pd.DataFrame(rows)


def deviations(observations: pd.DataFrame, space_group: str) -> tuple[Floats, Floats]:
    """How far observations (`tables.SCALED`) lie from the others of their reflection, Friedel mates together.

    Returns
    -------
    (n,) mean of the others that weren't rejected, NaN where there is none; (n,) difference from it over its standard
    deviation
    """
    group = group_equivalents(observations[["h", "k", "l"]].to_numpy(np.int32), space_group_of(space_group)).group
    intensity, sigma = observations["intensity"].to_numpy(), observations["sigma"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        good = ~observations["rejected"].to_numpy() & np.isfinite(intensity) & (sigma > 0)
        weight = np.where(good, 1.0 / sigma**2, 0.0)
        product = np.where(good, weight * intensity, 0.0)
        rest = np.bincount(group, weight)[group] - weight
        count = np.bincount(group, good)[group] - good
        mean = np.where(count > 0, (np.bincount(group, product)[group] - product) / rest, np.nan)
        deviation = (intensity - mean) / np.sqrt(sigma**2 + 1.0 / rest)
    return mean, np.where(count > 0, deviation, np.nan)


def normal_probability(deviation: Floats, n: int = QUANTILES) -> pd.DataFrame:
    """Quantiles of deviations beside those of the normal distribution: columns expected, observed, from -4 to 4.

    Only as far out as one in the number of deviations is expected; no rows without deviations.
    """
    known = np.sort(deviation[np.isfinite(deviation)])
    if len(known) < 3:
        return pd.DataFrame(columns=["expected", "observed"])
    reach = min(4.0, float(-norm.ppf(0.5 / len(known))))
    expected = np.linspace(-reach, reach, n)
    observed = np.interp(norm.cdf(expected) * len(known) - 0.5, np.arange(len(known)), known)
    return pd.DataFrame({"expected": expected, "observed": observed})
