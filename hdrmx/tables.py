"""Every column of every table, once: name, dtype, unit, meaning.

Tables are pandas frames. Stages, files, tests and reports read the lists below; `empty` and `check`
keep a table to its list. Positions: pixel i covers [i, i + 1), frame i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Column:
    name: str
    dtype: str
    unit: str
    meaning: str


SPOTS: tuple[Column, ...] = (
    Column("panel", "int32", "", "panel of the detector, from 0"),
    Column("frame", "float64", "frame", "centroid along the scan, count-weighted; frame i's centre is i + 0.5"),
    Column("slow", "float64", "px", "centroid along the slow axis of the panel"),
    Column("fast", "float64", "px", "centroid along the fast axis of the panel"),
    Column("frame_var", "float64", "frame^2", "variance of the centroid along the scan, with 1/12 of a frame added"),
    Column("slow_var", "float64", "px^2", "variance of the centroid, with 1/12 of a pixel added"),
    Column("fast_var", "float64", "px^2", "variance of the centroid, with 1/12 of a pixel added"),
    Column("intensity", "float64", "count", "sum of the strong pixels, no background taken off"),
    Column("n_pixels", "int32", "px", "strong pixels"),
    Column("peak", "float64", "count", "highest pixel"),
    Column("frame_min", "int32", "frame", "first frame"),
    Column("frame_max", "int32", "frame", "last frame + 1"),
    Column("slow_min", "int32", "px", "first row"),
    Column("slow_max", "int32", "px", "last row + 1"),
    Column("fast_min", "int32", "px", "first column"),
    Column("fast_max", "int32", "px", "last column + 1"),
)

SPOT_PIXELS: tuple[Column, ...] = (
    Column("spot", "int32", "", "row of the spot in the table of spots"),
    Column("frame", "int32", "frame", "frame"),
    Column("slow", "int32", "px", "row within the panel"),
    Column("fast", "int32", "px", "column within the panel"),
    Column("count", "uint32", "count", "counts, no background taken off"),
)

INDEXED: tuple[Column, ...] = (
    *SPOTS,
    Column("h", "int32", "", "Miller index; 0 0 0 where the spot is not indexed"),
    Column("k", "int32", "", "Miller index"),
    Column("l", "int32", "", "Miller index"),
    Column("lattice", "int32", "", "crystal the spot belongs to, from 0; -1 where not indexed"),
    Column("entering", "bool", "", "the reflection enters the Ewald sphere (else it leaves)"),
)

REFINED: tuple[Column, ...] = (
    *INDEXED,
    Column("frame_calc", "float64", "frame", "predicted position; NaN where not indexed or without a prediction"),
    Column("slow_calc", "float64", "px", "predicted position"),
    Column("fast_calc", "float64", "px", "predicted position"),
    Column("used", "bool", "", "used in the last refinement"),
    Column("outlier", "bool", "", "rejected as an outlier of the refinement"),
)


PREDICTED: tuple[Column, ...] = (
    Column("h", "int32", "", "Miller index"),
    Column("k", "int32", "", "Miller index"),
    Column("l", "int32", "", "Miller index"),
    Column("lattice", "int32", "", "crystal, from 0"),
    Column("entering", "bool", "", "the reflection enters the Ewald sphere (else it leaves)"),
    Column("panel", "int32", "", "panel of the detector, from 0"),
    Column("frame", "float64", "frame", "predicted position along the scan"),
    Column("slow", "float64", "px", "predicted position on the panel"),
    Column("fast", "float64", "px", "predicted position on the panel"),
    Column("s1_x", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("s1_y", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("s1_z", "float64", "1/A", "diffracted ray, laboratory frame"),
    Column("d", "float64", "A", "resolution"),
    Column("zeta", "float64", "", "axis . e1 of Kabsch"),
    Column("partiality", "float64", "", "fraction of the rocking curve within the box's frames"),
    Column("frame_min", "int32", "frame", "first frame of the box"),
    Column("frame_max", "int32", "frame", "last frame of the box + 1"),
    Column("slow_min", "int32", "px", "first row; may lie outside of the panel"),
    Column("slow_max", "int32", "px", "last row + 1; may lie outside of the panel"),
    Column("fast_min", "int32", "px", "first column; may lie outside of the panel"),
    Column("fast_max", "int32", "px", "last column + 1; may lie outside of the panel"),
)

INTEGRATED: tuple[Column, ...] = (
    *PREDICTED,
    Column("flags", "int32", "", "bits of `hdrmx.integration.flags`"),
    Column("sum_value", "float64", "count", "counts of the foreground less its background; NaN where it failed"),
    Column("sum_variance", "float64", "count^2", "variance of sum_value"),
    Column("prf_value", "float64", "count", "intensity by profile fit, of the whole reflection; NaN where it failed"),
    Column("prf_variance", "float64", "count^2", "variance of prf_value"),
    Column("prf_correlation", "float64", "", "of the counts with the profile"),
    Column("background", "float64", "count/px", "mean background"),
    Column("background_sum", "float64", "count", "background under the foreground"),
    Column("n_foreground", "int32", "px", "pixels of the foreground, over all frames"),
    Column("n_valid", "int32", "px", "those of them that can be used"),
    Column("n_background", "int32", "px", "pixels that told of the background"),
    Column("profile_fraction", "float64", "", "fraction of the profile on the pixels that were fitted"),
    Column("foreground_fraction", "float64", "", "fraction of the profile on the foreground, all frames"),
    Column("frame_obs", "float64", "frame", "centroid of the foreground less background; NaN where there is none"),
    Column("slow_obs", "float64", "px", "centroid of the foreground less background"),
    Column("fast_obs", "float64", "px", "centroid of the foreground less background"),
    Column("lp", "float64", "", "factor that takes off Lorentz factor and polarisation"),
    Column("qe", "float64", "", "part of the photons that the sensor absorbs"),
)


SCALED: tuple[Column, ...] = (
    Column("h", "int32", "", "Miller index as measured"),
    Column("k", "int32", "", "Miller index as measured"),
    Column("l", "int32", "", "Miller index as measured"),
    Column("sweep", "int32", "", "sweep that the observation comes from, from 0"),
    Column("intensity", "float64", "", "intensity, divided by the scale, with LP and QE applied"),
    Column("sigma", "float64", "", "standard deviation of the intensity"),
    Column("scale", "float64", "", "what the intensity was divided by; 1 where nothing was scaled"),
    Column("scale_sigma", "float64", "", "standard deviation of the scale; NaN where not known"),
    Column("frame", "float64", "frame", "predicted position along the scan"),
    Column("frame_obs", "float64", "frame", "observed centroid along the scan"),
    Column("slow_obs", "float64", "px", "observed centroid on the panel"),
    Column("fast_obs", "float64", "px", "observed centroid on the panel"),
    Column("partiality", "float64", "", "fraction of the rocking curve that was recorded"),
    Column("background", "float64", "count", "background under the reflection"),
    Column("background_sigma", "float64", "count", "its standard deviation"),
    Column("lp", "float64", "", "factor that takes off Lorentz factor and polarisation"),
    Column("qe", "float64", "", "part of the photons that the sensor absorbs"),
    Column("rejected", "bool", "", "left out as an outlier"),
)

MERGED: tuple[Column, ...] = (
    Column("h", "int32", "", "Miller index in the asymmetric unit"),
    Column("k", "int32", "", "Miller index in the asymmetric unit"),
    Column("l", "int32", "", "Miller index in the asymmetric unit"),
    Column("d", "float64", "A", "resolution"),
    Column("centric", "bool", "", "the reflection is centric"),
    Column("epsilon", "int32", "", "statistical factor of the reflection, lattice centring left out"),
    Column("n", "int32", "", "observations"),
    Column("intensity", "float64", "", "weighted mean, Friedel mates together"),
    Column("sigma", "float64", "", "standard deviation of the mean"),
    Column("n_plus", "int32", "", "observations of I(+), and all of a centric reflection"),
    Column("intensity_plus", "float64", "", "weighted mean of I(+); NaN where there is none, as below"),
    Column("sigma_plus", "float64", "", "its standard deviation"),
    Column("n_minus", "int32", "", "observations of I(-); none of a centric reflection"),
    Column("intensity_minus", "float64", "", "weighted mean of I(-)"),
    Column("sigma_minus", "float64", "", "its standard deviation"),
    Column("f", "float64", "", "expected amplitude (French and Wilson)"),
    Column("f_sigma", "float64", "", "its standard deviation"),
    Column("f_plus", "float64", "", "expected amplitude of I(+)"),
    Column("f_plus_sigma", "float64", "", "its standard deviation"),
    Column("f_minus", "float64", "", "expected amplitude of I(-)"),
    Column("f_minus_sigma", "float64", "", "its standard deviation"),
    Column("free", "int32", "", "number of the free set, 0 to n - 1; set 0 is for cross-validation"),
)

SHELL_SUMS: tuple[Column, ...] = (
    Column("d_max", "float64", "A", "lower resolution limit"),
    Column("d_min", "float64", "A", "upper resolution limit"),
    Column("n_observations", "int64", "", "observations"),
    Column("n_unique", "int64", "", "unique reflections, Friedel mates together"),
    Column("n_possible", "int64", "", "unique reflections that there are"),
    Column("n_pairs", "int64", "", "acentric reflections with both mates measured"),
    Column("n_pairs_possible", "int64", "", "acentric reflections that there are"),
    Column("n_mates", "int64", "", "unique reflections, mates apart"),
    Column("sum_intensity", "float64", "", "of merged intensities"),
    Column("sum_i_over_sigma", "float64", "", "of merged intensities over their sigmas"),
    Column("sum_i_over_sigma_unmerged", "float64", "", "of observations over their sigmas"),
    Column("r_denominator", "float64", "", "sum of observations of reflections with two or more"),
    Column("r_merge_numerator", "float64", "", "sum of |I - <I>|"),
    Column("r_meas_numerator", "float64", "", "sum of sqrt(n / (n - 1)) |I - <I>|"),
    Column("r_pim_numerator", "float64", "", "sum of sqrt(1 / (n - 1)) |I - <I>|"),
    Column("r_anom_denominator", "float64", "", "as r_denominator, mates apart, as the three below"),
    Column("r_merge_anom_numerator", "float64", "", "sum of |I - <I>|"),
    Column("r_meas_anom_numerator", "float64", "", "sum of sqrt(n / (n - 1)) |I - <I>|"),
    Column("r_pim_anom_numerator", "float64", "", "sum of sqrt(1 / (n - 1)) |I - <I>|"),
    Column("cc_n", "int64", "", "reflections with a mean in either half"),
    Column("cc_x", "float64", "", "sum of x, mean of one half less the mean of all"),
    Column("cc_y", "float64", "", "sum of y, the other half"),
    Column("cc_xx", "float64", "", "sum of x^2"),
    Column("cc_yy", "float64", "", "sum of y^2"),
    Column("cc_xy", "float64", "", "sum of x y"),
    Column("tau_mean", "float64", "", "sum of means of reflections with two or more, less the mean of all"),
    Column("tau_square", "float64", "", "sum of the squares of these"),
    Column("tau_variance", "float64", "", "sum of the variances of these means, from the scatter of observations"),
    Column("tau_n", "int64", "", "number of these"),
    Column("anom_n", "int64", "", "acentric reflections with a mean in either half of either mate"),
    Column("anom_x", "float64", "", "sum of x, I(+) - I(-) of one half"),
    Column("anom_y", "float64", "", "sum of y, the other half"),
    Column("anom_xx", "float64", "", "sum of x^2"),
    Column("anom_yy", "float64", "", "sum of y^2"),
    Column("anom_xy", "float64", "", "sum of x y"),
)

SHELLS: tuple[Column, ...] = (
    Column("d_max", "float64", "A", "lower resolution limit"),
    Column("d_min", "float64", "A", "upper resolution limit"),
    Column("n_observations", "int64", "", "observations"),
    Column("n_unique", "int64", "", "unique reflections, Friedel mates together"),
    Column("completeness", "float64", "", "measured part of the reflections that there are"),
    Column("multiplicity", "float64", "", "observations per unique reflection"),
    Column("completeness_anom", "float64", "", "part of the acentric reflections with both mates measured"),
    Column("multiplicity_anom", "float64", "", "observations per unique reflection, mates apart"),
    Column("mean_intensity", "float64", "", "of merged reflections"),
    Column("i_over_sigma", "float64", "", "mean of merged intensities over their sigmas"),
    Column("i_over_sigma_unmerged", "float64", "", "mean of observations over their sigmas"),
    Column("r_merge", "float64", "", "Rmerge"),
    Column("r_meas", "float64", "", "Rmeas"),
    Column("r_pim", "float64", "", "Rpim"),
    Column("r_merge_anom", "float64", "", "Rmerge within I(+) and I(-)"),
    Column("r_meas_anom", "float64", "", "Rmeas within I(+) and I(-)"),
    Column("r_pim_anom", "float64", "", "Rpim within I(+) and I(-)"),
    Column("cc_half", "float64", "", "CC1/2 of two halves of the observations"),
    Column("cc_half_p", "float64", "", "probability of such a correlation by chance (one-sided)"),
    Column("cc_half_sigma_tau", "float64", "", "CC1/2 from the variances, without halves"),
    Column("cc_anom", "float64", "", "correlation of anomalous differences of two halves"),
)

FRAMES: tuple[Column, ...] = (
    Column("sweep", "int32", "", "sweep, from 0"),
    Column("frame", "int32", "frame", "frame"),
    Column("n", "int64", "", "observations"),
    Column("n_rejected", "int64", "", "outliers, which the other columns leave out"),
    Column("scale", "float64", "", "mean of what intensities were divided by; NaN where there are none, as below"),
    Column("i_over_sigma", "float64", "", "mean of observations over their sigmas"),
    Column("r_merge", "float64", "", "Rmerge of the frame's observations against the means of all"),
    Column("relative", "float64", "", "sum of I <I> w over sum of <I>^2 w: 1 where the frame agrees with the mean"),
)


def empty(columns: tuple[Column, ...], n: int = 0) -> pd.DataFrame:
    """A table of n rows of zeros with these columns."""
    return pd.DataFrame({c.name: np.zeros(n, c.dtype) for c in columns})


def check(table: pd.DataFrame, columns: tuple[Column, ...]) -> None:
    """Raise ValueError, naming the column, unless the table has exactly these columns, in order and dtype."""
    wanted = [(c.name, c.dtype) for c in columns]
    found = [(str(name), str(dtype)) for name, dtype in zip(table.columns, table.dtypes)]
    for want, have in zip(wanted, found):
        if want != have:
            raise ValueError(f"column {have[0]} ({have[1]}) stands where {want[0]} ({want[1]}) belongs")
    if len(wanted) != len(found):
        raise ValueError(f"{len(found)} columns, {len(wanted)} expected")
