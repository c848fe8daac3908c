"""Figures of merging, overall and by shell: sums first, which add up over shells, then ratios of them.

Rmerge, Rmeas and Rpim are those of Diederichs & Karplus (1997) Nat. Struct. Biol. 4, 269-275 and Weiss (2001)
J. Appl. Cryst. 34, 130-135, about weighted means; CC1/2 of Karplus & Diederichs (2012) Science 336, 1030-1033, and
without halves of Assmann, Brehm & Diederichs (2016) J. Appl. Cryst. 49, 1021-1028.
"""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from hdrmx import tables
from hdrmx.merging.asu import Equivalents
from hdrmx.merging.average import Means, weighted_means, weighted_scatter
from hdrmx.merging.shells import Cell, possible_reflections, shell_of, spacings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Add = Callable[..., None]


def shell_sums(
    equivalents: Equivalents,
    intensity: Floats,
    sigma: Floats,
    half: Ints,
    half_of_mates: Ints,
    *,
    cell: Cell,
    space_group: gemmi.SpaceGroup,
    limits: Floats,
) -> pd.DataFrame:
    """Sums by shell, columns `tables.SHELL_SUMS`, lowest resolution first.

    Parameters
    ----------
    equivalents : groups of the observations, none of them systematically absent
    intensity, sigma : (n,) of the observations
    half, half_of_mates : (n,) 0 or 1, within groups of equivalents and within either mate (`halves`)
    limits : of the shells, A (`shells.shell_limits`)

    Notes
    -----
    Time ~ observations + reflections that there are.
    """
    n_shells, m = len(limits) - 1, len(equivalents)
    shell = shell_of(spacings(equivalents.hkl, cell), limits)
    sums: dict[str, npt.NDArray[np.generic]] = {"d_max": limits[:-1], "d_min": limits[1:]}

    def add(name: str, values: Floats | None, where: Ints = shell) -> None:
        sums[name] = np.bincount(where, None if values is None else np.nan_to_num(values), n_shells)

    both = weighted_means(equivalents.group, m, intensity, sigma)
    mates = weighted_means(equivalents.mates, 2 * m, intensity, sigma)
    of_observation = shell[equivalents.group]
    _count(add, equivalents, both, mates, shell)
    add("n_observations", None, of_observation)
    add("sum_i_over_sigma_unmerged", intensity / sigma, of_observation)
    for suffix, group, means in (("", equivalents.group, both), ("_anom", equivalents.mates, mates)):
        _add_r(add, suffix, intensity, means.intensity[group], means.n[group], of_observation)

    centre = float(np.mean(both.intensity)) if m else 0.0
    of_half = weighted_means(2 * equivalents.group + half, 2 * m, intensity, sigma)
    _add_correlation(add, "cc", *(of_half.intensity.reshape(m, 2) - centre).T)
    quarters = weighted_means(2 * equivalents.mates + half_of_mates, 4 * m, intensity, sigma).intensity.reshape(m, 4)
    _add_correlation(add, "anom", quarters[:, 0] - quarters[:, 2], quarters[:, 1] - quarters[:, 3])
    multiple = both.n > 1
    add("tau_n", multiple.astype(float))
    add("tau_mean", np.where(multiple, both.intensity - centre, 0.0))
    add("tau_square", np.where(multiple, (both.intensity - centre) ** 2, 0.0))
    add("tau_variance", weighted_scatter(equivalents.group, both, intensity, sigma))

    possible = possible_reflections(cell, space_group, limits[0], limits[-1])
    in_shell = shell_of(spacings(possible, cell), limits)
    add("n_possible", None, in_shell)
    is_centric = np.asarray(space_group.operations().centric_flag_array(possible), bool)
    add("n_pairs_possible", (~is_centric).astype(float), in_shell)
    return pd.DataFrame({c.name: np.asarray(sums[c.name]).astype(c.dtype) for c in tables.SHELL_SUMS})


def _count(add: Add, equivalents: Equivalents, both: Means, mates: Means, shell: Ints) -> None:
    add("n_unique", None)
    measured = mates.n.reshape(-1, 2) > 0
    add("n_pairs", (measured.all(axis=1) & ~equivalents.is_centric).astype(float))
    add("n_mates", measured.sum(axis=1).astype(float))
    add("sum_intensity", both.intensity)
    add("sum_i_over_sigma", both.intensity / both.sigma)


def _add_r(add: Add, suffix: str, intensity: Floats, mean: Floats, n: Ints, where: Ints) -> None:
    deviation = np.where(n > 1, np.abs(intensity - mean), 0.0)
    less_one = np.maximum(n - 1, 1)
    add("r_denominator" if not suffix else "r_anom_denominator", np.where(n > 1, intensity, 0.0), where)
    add(f"r_merge{suffix}_numerator", deviation, where)
    add(f"r_meas{suffix}_numerator", deviation * np.sqrt(n / less_one), where)
    add(f"r_pim{suffix}_numerator", deviation / np.sqrt(less_one), where)


def _add_correlation(add: Add, name: str, x: Floats, y: Floats) -> None:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(known, x, 0.0), np.where(known, y, 0.0)
    add(f"{name}_n", known.astype(float))
    for suffix, values in (("x", x), ("y", y), ("xx", x * x), ("yy", y * y), ("xy", x * y)):
        add(f"{name}_{suffix}", values)


def overall(sums: pd.DataFrame) -> pd.DataFrame:
    """The sums of all shells in one row."""
    total = sums.sum().to_frame().T
    total["d_max"], total["d_min"] = sums["d_max"].max(), sums["d_min"].min()
    return total.astype({c.name: c.dtype for c in tables.SHELL_SUMS})


def ratios(sums: pd.DataFrame) -> pd.DataFrame:
    """Figures of each row of sums, columns `tables.SHELLS`; NaN where there is nothing to tell them from.

    An R value is NaN where its denominator isn't positive; a correlation below 3 pairs.
    """
    s = {name: sums[name].to_numpy(np.float64) for name in sums.columns}
    cc = _correlation(s, "cc")
    values = {
        "completeness": _over(s["n_unique"], s["n_possible"]),
        "multiplicity": _over(s["n_observations"], s["n_unique"]),
        "completeness_anom": _over(s["n_pairs"], s["n_pairs_possible"]),
        "multiplicity_anom": _over(s["n_observations"], s["n_mates"]),
        "mean_intensity": _over(s["sum_intensity"], s["n_unique"]),
        "i_over_sigma": _over(s["sum_i_over_sigma"], s["n_unique"]),
        "i_over_sigma_unmerged": _over(s["sum_i_over_sigma_unmerged"], s["n_observations"]),
        "cc_half": cc,
        "cc_half_p": significance(cc, s["cc_n"]),
        "cc_half_sigma_tau": _sigma_tau(s),
        "cc_anom": _correlation(s, "anom"),
    }
    for kind in ("merge", "meas", "pim"):
        values[f"r_{kind}"] = _over(s[f"r_{kind}_numerator"], s["r_denominator"])
        values[f"r_{kind}_anom"] = _over(s[f"r_{kind}_anom_numerator"], s["r_anom_denominator"])
    values |= {name: s[name] for name in ("d_max", "d_min", "n_observations", "n_unique")}
    return pd.DataFrame({c.name: values[c.name].astype(c.dtype) for c in tables.SHELLS})


def significance(cc: Floats, n: Floats) -> Floats:
    """One-sided probability of a correlation this high between unrelated numbers, by Student's t."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = cc * np.sqrt((n - 2) / (1 - cc**2))
        return np.where(n > 2, stats.t.sf(t, np.maximum(n - 2, 1)), np.nan)


def _over(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def _correlation(s: dict[str, Floats], name: str) -> Floats:
    n, x, y, xx, yy, xy = (s[f"{name}_{suffix}"] for suffix in ("n", "x", "y", "xx", "yy", "xy"))
    with np.errstate(invalid="ignore", divide="ignore"):
        cov, var_x, var_y = xy - x * y / n, xx - x * x / n, yy - y * y / n
        return np.where(n > 2, np.clip(cov / np.sqrt(var_x * var_y), -1.0, 1.0), np.nan)


def _sigma_tau(s: dict[str, Floats]) -> Floats:
    """(var of means - half an error variance) / (var of means + half an error variance), over merged means.

    With s_y^2 the variance of the means and s_e^2 = 2 s^2 / n that of a half's mean: (s_y^2 - s_e^2 / 2) / (s_y^2 +
    s_e^2 / 2), as a mean of all observations has an error of s^2 / n.
    """
    n = s["tau_n"]
    with np.errstate(invalid="ignore", divide="ignore"):
        of_means = (s["tau_square"] - s["tau_mean"] ** 2 / n) / (n - 1)
        error = s["tau_variance"] / n
        return np.where(n > 2, (of_means - error) / (of_means + error), np.nan)
