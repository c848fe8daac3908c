"""Intensities of two processings: integrated reflection by reflection, scaled and merged by shells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import gemmi
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from hdrmx.analysis.agree_checks import Check, Demands, Floats, Ints, Stage, mutual, of_both, relative
from hdrmx.analysis.agree_lattice import Change, find_change
from hdrmx.io.compared import Intensities, MtzFile
from hdrmx.merging.asu import group_equivalents, packed, space_group_of, to_asu
from hdrmx.merging.average import weighted_means
from hdrmx.merging.halves import halves, scrambled
from hdrmx.merging.shells import Cell, shell_limits, shell_of, spacings
from hdrmx.merging.statistics import overall, ratios, shell_sums
from hdrmx.models import Crystal

SHELLS = 10
PLACE_PX, PLACE_FRAMES = 5.0, 2.0  # predictions of one reflection lie within these
STRONG = 10.0  # I/sigma of reflections whose sums are held against one another
FEWEST = 10  # reflections of a correlation
SAME_ORDER = 0.5  # part of the reflections with a partner from which on lattices are in one order on both sides
LEAST_PARTIALITY = 0.99  # of reflections whose intensities are compared


@dataclass(frozen=True)
class Pairs:
    """Rows of two tables that are one reflection, and the change of basis between their indices by lattice."""

    ours: Ints
    theirs: Ints
    changes: dict[int, Change]


def join_reflections(ours: pd.DataFrame, theirs: pd.DataFrame) -> Pairs:
    """Pair predicted reflections: the change of basis by place, then the same indices, repeats by frame.

    Lattices of several sweeps, which share places, must be in the same order on both sides; those of one needn't.
    Reflections of other lattices than the one with most in common stay without a partner.
    """
    near = mutual(_places(ours, apart=True), _places(theirs, apart=True))
    if len(near[0]) < SAME_ORDER * min(len(ours), len(theirs)):
        near = mutual(_places(ours), _places(theirs))
    a, b = (t["lattice"].to_numpy() for t in (ours, theirs))
    rows_a: list[Ints] = []
    rows_b: list[Ints] = []
    changes: dict[int, Change] = {}
    for number in np.unique(a):
        common = a[near[0]] == number
        if not common.any():
            continue
        partner = int(np.bincount(b[near[1]][common]).argmax())
        common &= b[near[1]] == partner
        hkl = [t[["h", "k", "l"]].to_numpy(np.int64)[rows[common]] for t, rows in zip((ours, theirs), near)]
        change = find_change(*hkl)
        if change is None:
            continue
        changes[int(number)] = change
        mine, other = np.flatnonzero(a == number), np.flatnonzero(b == partner)
        here, there = _by_index(ours.iloc[mine], theirs.iloc[other], change)
        rows_a.append(mine[here])
        rows_b.append(other[there])
    nothing = np.zeros(0, np.int64)
    together = [np.concatenate(rows) if rows else nothing for rows in (rows_a, rows_b)]
    return Pairs(together[0], together[1], changes)


def _places(table: pd.DataFrame, apart: bool = False) -> Floats:
    """In units of the reach; `apart`: lattices (which may be of several sweeps) far from one another."""
    scaled = [table["fast"] / PLACE_PX, table["slow"] / PLACE_PX, table["frame"] / PLACE_FRAMES, table["panel"] * 1e6]
    if apart:
        scaled.append(table["lattice"] * 1e6)
    return np.column_stack([s.to_numpy(float) for s in scaled])


def _by_index(ours: pd.DataFrame, theirs: pd.DataFrame, change: Change) -> tuple[Ints, Ints]:
    """Rows with one index; where there are several of it, those nearest along the scan."""
    moved = ours[["h", "k", "l"]].to_numpy(float) @ change.matrix.T
    whole = np.abs(moved - np.rint(moved)).max(axis=1) < 1e-6 if len(moved) else np.zeros(0, bool)
    rows = np.flatnonzero(whole)
    keys = [packed(np.rint(moved[rows]).astype(np.int64)), packed(theirs[["h", "k", "l"]].to_numpy(np.int64))]
    _, number = np.unique(np.concatenate(keys), return_inverse=True)
    numbers = number[: len(rows)], number[len(rows) :]
    frames = ours["frame"].to_numpy()[rows], theirs["frame"].to_numpy()
    points = [np.column_stack([n * 1e4, f / PLACE_FRAMES]) for n, f in zip(numbers, frames)]
    a, b = mutual(points[0], points[1])
    return rows[a], b


def compare_profiles(ours: Intensities, theirs: Intensities, demands: Demands) -> list[Check]:
    """Spreads of the profile model; of one that varies along the scan, its mean."""
    a, b = ours.profile, theirs.profile
    if a is None or b is None:
        return []
    pairs = (
        ("sigma_b, deg", a.sigma_b_rad, b.sigma_b_rad, demands.sigma_b),
        ("sigma_m, deg", float(np.mean(a.sigma_m_rad)), float(np.mean(b.sigma_m_rad)), demands.sigma_m),
    )
    return [Check(name, math.degrees(x), math.degrees(y), abs(relative(x, y)), limit) for name, x, y, limit in pairs]


def compare_integrated(ours: Intensities, theirs: Intensities, demands: Demands) -> Stage:
    """Sums of strong reflections, profile fits by shell, and sigmas, of the reflections in both."""
    pairs = join_reflections(ours.table, theirs.table)
    a, b = ours.table.iloc[pairs.ours], theirs.table.iloc[pairs.theirs]
    checks = compare_profiles(ours, theirs, demands)
    for kind, word in (("sum", "summed"), ("prf", "fitted")):
        n = [int(np.isfinite(t.table[kind]).sum()) for t in (ours, theirs)]
        checks.append(of_both(f"reflections {word}", n, -relative(*n), demands.n_integrated))
    checks.append(Check("reflections in both", len(a), None))
    x, y, sigma = a["sum"].to_numpy(), b["sum"].to_numpy(), b["sum_sigma"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        strong = np.isfinite(x) & (y > STRONG * sigma)
        part = float((np.abs(x / y - 1) <= demands.sum_within)[strong].mean()) if strong.any() else math.nan
        spread = float(np.median(np.abs(x / y - 1)[strong])) if strong.any() else math.nan
    name = f"sums of I/sigma > {STRONG:g} within {demands.sum_within:g}"
    checks.append(Check(name, int(strong.sum()), None, part, demands.sum_equal, at_least=True))
    checks.append(Check("their median difference, relative", None, None, spread))
    fits, shells = _fits(a, b, demands)
    return Stage("integrate", (*checks, *fits), notes=_changes(pairs), shells=shells)


def _changes(pairs: Pairs) -> tuple[str, ...]:
    notes = []
    for number, change in pairs.changes.items():
        of = f" of lattice {number + 1}" if len(pairs.changes) > 1 else ""
        if not np.array_equal(change.matrix, np.eye(3)):
            notes.append(f"our h, k, l{of} are theirs as {change.text}")
    return tuple(notes) if pairs.changes else ("no change of basis was found: too few reflections in common",)


def _fits(a: pd.DataFrame, b: pd.DataFrame, demands: Demands) -> tuple[list[Check], tuple[dict[str, float], ...]]:
    """Of whole reflections: checks, and figures by shell."""
    x, y, d = a["prf"].to_numpy(), b["prf"].to_numpy(), b["d"].to_numpy()
    whole = (a["partiality"].to_numpy() > LEAST_PARTIALITY) & (b["partiality"].to_numpy() > LEAST_PARTIALITY)
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(d) & whole
    x, y, d = x[known], y[known], d[known]
    if len(x) < FEWEST or np.ptp(d) == 0:
        return [], ()
    limits = shell_limits(float(d.max()), float(d.min()), SHELLS)
    shells = shell_of(d, limits)
    pearson = [correlation(x[shells == k], y[shells == k]) for k in range(SHELLS)]
    ranked = [correlation(rankdata(x[shells == k]), rankdata(y[shells == k])) for k in range(SHELLS)]
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma = (a["prf_sigma"].to_numpy() / b["prf_sigma"].to_numpy())[known]
    slope = float((x * y).sum() / (y * y).sum())
    n = np.bincount(shells, minlength=SHELLS)
    rows = tuple(
        {"d_max": limits[k], "d_min": limits[k + 1], "n": float(n[k]), "cc": pearson[k], "rank_cc": ranked[k]}
        | {"sigma_ratio": float(np.nanmedian(sigma[shells == k])) if n[k] else math.nan}
        for k in range(SHELLS)
    )
    checks = [
        Check("CC of profile fits, lowest shell of ten", None, None, _lowest(pearson), demands.prf_correlation, True),
        Check("CC of profile fits, all", None, None, correlation(x, y)),
        Check("rank CC of profile fits, lowest shell", None, None, _lowest(ranked)),
        Check("our fits over theirs (slope)", None, None, slope),
        Check("our sigmas over theirs (median)", None, None, float(np.nanmedian(sigma))),
    ]
    return checks, rows


def _lowest(values: list[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return min(known) if known else math.nan


def correlation(x: Floats, y: Floats) -> float:
    """Pearson's; NaN below ten pairs."""
    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def compare_symmetry(ours: Crystal, theirs: Crystal) -> Stage:
    """Laue group and absences, whatever the setting."""
    a, b = (space_group_of(c.space_group) for c in (ours, theirs))
    laue = a.laue_str() == b.laue_str() and _is_same_trigonal(a, b)
    checks = (
        Check("Laue group", a.laue_str(), b.laue_str(), float(laue), 1.0, at_least=True),
        Check("space group", a.xhm(), b.xhm(), float(_class_of(a) == _class_of(b)), 1.0, at_least=True),
    )
    return Stage("symmetry", checks)


def _is_same_trigonal(a: gemmi.SpaceGroup, b: gemmi.SpaceGroup) -> bool:
    """P 3 1 2 and P 3 2 1 are of one Laue class but tell different reflections apart."""
    return a.laue_str() != "-3m" or ("1" in a.short_name()[3:4]) == ("1" in b.short_name()[3:4]) or a.hm[0] == "R"


def _class_of(group: gemmi.SpaceGroup) -> int:
    """Number of the space group, of an enantiomorphic pair the lower: no absence tells the two apart."""
    pairs = {78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180, 213: 212}
    return pairs.get(group.number, group.number)


@dataclass(frozen=True)
class _Unique:
    """Merged data in shells that both have in common."""

    key: Ints
    intensity: Floats
    d: Floats
    shells: pd.DataFrame
    whole: pd.DataFrame


def compare_scaled(ours: Intensities, theirs: Intensities, demands: Demands) -> Stage:
    """CC1/2 and Rmeas of either by one program in the same shells, and how well the merged sets correlate."""
    groups = [space_group_of(s.crystals[0].space_group) for s in (ours, theirs)]
    if groups[0].laue_str() != groups[1].laue_str():
        return Stage("scale", skipped=f"Laue groups differ ({groups[0].laue_str()}, {groups[1].laue_str()})")
    pairs = join_reflections(ours.table, theirs.table)
    if not pairs.changes:
        return Stage("scale", skipped="no change of basis was found between the two")
    mine = _reindexed(ours.table, pairs)
    cell = mean_cell_of(theirs.crystals)
    a, b = _merged_both(mine, theirs.table, groups[1], cell)
    _, at_a, at_b = np.intersect1d(a.key, b.key, return_indices=True)
    x, y, d = a.intensity[at_a], b.intensity[at_b], b.d[at_b]
    limits = np.append(b.shells["d_max"].to_numpy(), b.shells["d_min"].to_numpy()[-1:])
    shell = shell_of(d, limits)
    cc = np.array([correlation(x[shell == k], y[shell == k]) for k in range(SHELLS)])
    lower = np.minimum(a.shells["cc_half"].to_numpy(), b.shells["cc_half"].to_numpy())
    short = lower - cc
    worst = float(np.nanmax(short)) if np.isfinite(short).any() else math.nan
    checks = [
        of_both("observations used", _numbers(a, b, "n_observations")),
        of_both("unique reflections", _numbers(a, b, "n_unique")),
        of_both("outliers", (int(t.table["rejected"].sum()) for t in (ours, theirs))),
        _percent_check("completeness, %", a, b, "completeness"),
        of_both("mean I/sigma", _numbers(a, b, "i_over_sigma")),
        of_both("Rmeas", _numbers(a, b, "r_meas"), relative(*_numbers(a, b, "r_meas")), demands.r_meas),
        of_both("CC1/2", _numbers(a, b, "cc_half"), _less(a, b, "cc_half"), demands.cc_half),
        Check("CC of merged sets, all", None, None, correlation(x, y)),
        Check("CC below the lower CC1/2, worst shell", None, None, worst, demands.cc_merged),
        Check("spread of the ratio of scales", None, None, _scale_spread(ours, theirs, pairs)),
    ]
    return Stage("scale", tuple(checks), notes=_changes(pairs), shells=_side_by_side(a, b, cc))


_SIDE_BY_SIDE = (("unique", "n_unique"), ("r_meas", "r_meas"), ("cc_half", "cc_half"), ("i_sigma", "i_over_sigma"))


def _side_by_side(a: _Unique, b: _Unique, cc: Floats) -> tuple[dict[str, float], ...]:
    """Ours and theirs by shell, and how the merged sets correlate."""
    rows = []
    for k in range(SHELLS):
        row = {name: float(b.shells[name].iloc[k]) for name in ("d_max", "d_min")}
        for word, name in _SIDE_BY_SIDE:
            row |= {word: float(a.shells[name].iloc[k]), f"{word}_theirs": float(b.shells[name].iloc[k])}
        rows.append(row | {"cc": float(cc[k])})
    return tuple(rows)


def _numbers(a: _Unique, b: _Unique, name: str) -> tuple[float, float]:
    return float(a.whole[name].iloc[0]), float(b.whole[name].iloc[0])


def _percent_check(label: str, a: _Unique, b: _Unique, name: str) -> Check:
    return of_both(label, (100 * v for v in _numbers(a, b, name)))


def _less(a: _Unique, b: _Unique, name: str) -> float:
    x, y = _numbers(a, b, name)
    return y - x


def mean_cell_of(crystals: tuple[Crystal, ...]) -> Cell:
    """A, degrees."""
    a, b, c, alpha, beta, gamma = np.mean([crystal.cell for crystal in crystals], axis=0).tolist()
    return a, b, c, alpha, beta, gamma


def _reindexed(table: pd.DataFrame, pairs: Pairs) -> pd.DataFrame:
    """In their indices; rows of lattices without a change, or that get no whole indices, are left out."""
    parts = []
    for number, change in pairs.changes.items():
        mine = table[table["lattice"] == number]
        moved = mine[["h", "k", "l"]].to_numpy(float) @ change.matrix.T
        whole = np.rint(moved).astype(np.int64)
        kept = np.abs(moved - whole).max(axis=1) < 1e-6
        parts.append(mine.assign(h=whole[:, 0], k=whole[:, 1], l=whole[:, 2])[kept])
    return pd.concat(parts, ignore_index=True)


def _merged_both(
    ours: pd.DataFrame, theirs: pd.DataFrame, group: gemmi.SpaceGroup, cell: Cell
) -> tuple[_Unique, _Unique]:
    """Both merged with the point group of `group`, to the resolution that both reach."""
    used = [t[~t["rejected"]] for t in (ours, theirs)]
    spacing = [spacings(t[["h", "k", "l"]].to_numpy(np.int32), cell) for t in used]
    low, high = min(float(d.max()) for d in spacing), max(float(d.min()) for d in spacing)
    limits = shell_limits(low, high, SHELLS)
    a, b = (_merged(t[(d >= high) & (d <= low)], group, cell, limits) for t, d in zip(used, spacing))
    return a, b


def _merged(table: pd.DataFrame, group: gemmi.SpaceGroup, cell: Cell, limits: Floats) -> _Unique:
    hkl = np.ascontiguousarray(table[["h", "k", "l"]].to_numpy(np.int32))
    present = ~np.asarray(group.operations().systematic_absences(hkl), bool)
    table, hkl = table[present], hkl[present]
    equivalents = group_equivalents(hkl, group)
    intensity, sigma = table["intensity"].to_numpy(), table["sigma"].to_numpy()
    identity = scrambled(*(table[name].to_numpy() for name in ("h", "k", "l")), np.rint(table["frame"].to_numpy(float)))
    half = halves(equivalents.group, identity, 1), halves(equivalents.mates, identity, 1)
    sums = shell_sums(equivalents, intensity, sigma, *half, cell=cell, space_group=group, limits=limits)
    means = weighted_means(equivalents.group, len(equivalents), intensity, sigma)
    d = spacings(equivalents.hkl, cell)
    return _Unique(packed(equivalents.hkl), means.intensity, d, ratios(sums), ratios(overall(sums)))


def _scale_spread(ours: Intensities, theirs: Intensities, pairs: Pairs) -> float:
    """Half of what holds the middle 68 % of the ratio of inverse scale factors, over its median."""
    a, b = (t.table["scale"].to_numpy()[rows] for t, rows in ((ours, pairs.ours), (theirs, pairs.theirs)))
    good = (a > 0) & (b > 0)
    if good.sum() < FEWEST:
        return math.nan
    low, middle, high = np.quantile(a[good] / b[good], (0.16, 0.5, 0.84))
    return float((high - low) / 2 / middle)


def compare_merged(ours: MtzFile, theirs: MtzFile, change: Change | None) -> Stage:
    """Columns, space group and cell of the merged files, and their intensities."""
    a, b = set(ours.columns), set(theirs.columns)
    missing = sorted(b - a)
    cells = [" ".join(f"{v:.2f}" for v in m.cell[:3]) for m in (ours, theirs)]
    checks = [
        Check("space group", ours.space_group, theirs.space_group),
        of_both("cell, A", cells),
        Check("reflections", ours.n_reflections, theirs.n_reflections),
        Check("columns", len(ours.columns), len(theirs.columns), float(len(missing)), 0.0),
    ]
    sides = (("theirs", missing), ("ours", sorted(a - b)))
    notes = tuple(f"columns that only {who} has: {', '.join(names)}" for who, names in sides if names)
    x, y = _in_common(ours, theirs, change)
    checks.append(Check("CC of IMEAN", None, None, correlation(x, y)))
    return Stage("merge", tuple(checks), notes=notes)


def _in_common(ours: MtzFile, theirs: MtzFile, change: Change | None) -> tuple[Floats, Floats]:
    if ours.merged is None or theirs.merged is None or change is None:
        return np.zeros(0), np.zeros(0)
    group = space_group_of(theirs.space_group)
    moved = np.rint(ours.merged[["h", "k", "l"]].to_numpy(float) @ change.matrix.T).astype(np.int32)
    keys = [packed(to_asu(h, group)[0]) for h in (moved, theirs.merged[["h", "k", "l"]].to_numpy(np.int32))]
    _, a, b = np.intersect1d(keys[0], keys[1], return_indices=True)
    return ours.merged["intensity"].to_numpy()[a], theirs.merged["intensity"].to_numpy()[b]


def compare_unmerged(ours: MtzFile, theirs: MtzFile) -> Stage:
    """Columns and batches of the unmerged files."""
    missing = sorted(set(theirs.columns) - set(ours.columns))
    batches = abs(ours.n_batches - theirs.n_batches)
    checks = (
        Check("batches", ours.n_batches, theirs.n_batches, float(batches), 0.0),
        Check("observations", ours.n_reflections, theirs.n_reflections),
        Check("columns", len(ours.columns), len(theirs.columns), float(len(missing)), 0.0),
    )
    notes = (f"columns that only theirs has: {', '.join(missing)}",) if missing else ()
    return Stage("export", checks, notes=notes)
