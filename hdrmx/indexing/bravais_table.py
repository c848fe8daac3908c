"""Every Bravais setting refined and judged: the table from which the symmetry of the lattice is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hdrmx.errors import InputError
from hdrmx.indexing.bravais import Setting, settings
from hdrmx.indexing.combine import reduce_lattice
from hdrmx.indexing.reciprocal import Floats, Ints
from hdrmx.models import Crystal, Geometry, cell_of
from hdrmx.refinement.breaks import Slip
from hdrmx.refinement.fit import refine_static
from hdrmx.refinement.joint import refine_joint
from hdrmx.refinement.observations import Observations
from hdrmx.refinement.parameters import CRYSTAL_ONLY
from hdrmx.refinement.symmetry import symmetrised, to_matrix

MIN_PAIRS = 10  # for a correlation coefficient
GOOD_METRIC_DEG = 0.5
MAX_SPOTS = 3000  # fitted in each setting: enough for the third digit of an r.m.s.d.
MAX_STEPS = 20


@dataclass(frozen=True)
class BravaisRow:
    """One setting, refined with the detector and beam held.

    Attributes
    ----------
    number : of the solution, 1 is triclinic
    setting : lattice type and axes on the reduced basis
    crystal : refined under the symmetry's constraints, with the symmorphic space group
    change : (3, 3) int, new h = change @ h of the crystal that was indexed
    rmsd_px : of the distances between spots and predictions
    min_cc, max_cc : of the intensities of spots related by each of the rotations; NaN below 10 pairs
    n_spots : spots used in the refinement
    recommended : no sign against the symmetry
    best : of the recommended settings whose r.m.s.d. stays within 1.5 times the triclinic one (1.2 times, where the
        metric misfits by more than 0.5 degrees), that of highest symmetry
    """

    number: int
    setting: Setting
    crystal: Crystal
    change: Ints
    rmsd_px: float
    min_cc: float
    max_cc: float
    n_spots: int
    recommended: bool
    best: bool = False


def bravais_table(
    sweeps: Sequence[tuple[Observations, Geometry]],
    intensity: Floats,
    crystal: Crystal,
    *,
    tolerance_deg: float,
    slips: Sequence[Slip] = (),
) -> tuple[BravaisRow, ...]:
    """All settings of a triclinic crystal, best symmetry first.

    Parameters
    ----------
    sweeps : indexed spots of this crystal alone (`lattice` 0), and the geometry they were seen with
    slips : of the crystal, which every setting has, too
    intensity : (n,) of the spots of all sweeps

    Notes
    -----
    A setting is recommended unless its metric fits within 0.5 degrees, its lowest correlation is below 0.5 and its
    r.m.s.d. more than 1.5 times the triclinic one; or, with a poorer metric, the correlation is below 0.7 and the
    r.m.s.d. more than twice, or the r.m.s.d. more than three times the triclinic one. These limits are those of DIALS.
    At most 3000 spots, evenly through the list, are fitted; intensities are compared on all of them. Time ~ settings.
    """
    A = np.asarray(crystal.A, float)
    reduced = reduce_lattice(A)
    to_reduced = np.rint(np.linalg.inv(reduced) @ A).astype(np.int64)  # h of the reduced basis = to_reduced @ h
    hkl = np.concatenate([obs.hkl for obs, _ in sweeps])
    merged = Merged.of(np.einsum("ij,nj->ni", to_reduced, hkl), intensity)
    share = min(MAX_SPOTS / max(len(hkl), 1), 1.0)
    fitted = [(_thinned(obs, int(np.ceil(share * len(obs)))), geometry) for obs, geometry in sweeps]
    known_cc: dict[bytes, float] = {}
    rows: list[BravaisRow] = []
    triclinic_rmsd = float("nan")
    for number, setting in enumerate(settings(reduced, tolerance_deg), start=1):
        for w in setting.rotations:
            if w.tobytes() not in known_cc:
                known_cc[w.tobytes()] = correlation(merged, w)
        cc = np.array([known_cc[w.tobytes()] for w in setting.rotations if w.trace() != 3])
        row = _refined(number, setting, to_reduced, fitted, A, slips)
        if row is None:
            continue
        if np.isfinite(cc).any():
            row = dataclasses.replace(row, min_cc=float(np.nanmin(cc)), max_cc=float(np.nanmax(cc)))
        triclinic_rmsd = row.rmsd_px if not rows else triclinic_rmsd
        rows.append(dataclasses.replace(row, recommended=_is_likely(row, triclinic_rmsd)))
    likely = [r for r in rows if r.recommended]
    if likely:
        safe = [r for r in likely if _is_safe(r, triclinic_rmsd)]
        best = max(safe, key=lambda r: (r.setting.order, -r.setting.misfit_deg, r.number))
        rows = [dataclasses.replace(r, best=r.number == best.number) for r in rows]
    return tuple(reversed(rows))


def _thinned(obs: Observations, n: int) -> Observations:
    return obs.take(np.linspace(0, len(obs) - 1, min(len(obs), n)).astype(np.int64))


def _refined(
    number: int,
    setting: Setting,
    to_reduced: Ints,
    sweeps: Sequence[tuple[Observations, Geometry]],
    A: Floats,
    slips: Sequence[Slip],
) -> BravaisRow | None:
    change = setting.change @ to_reduced
    crystal = symmetrised(Crystal(to_matrix(A @ np.linalg.inv(change)), setting.space_group))
    renamed = [
        dataclasses.replace(obs, hkl=np.einsum("ij,nj->ni", change, obs.hkl).astype(np.int32)) for obs, _ in sweeps
    ]
    nan = float("nan")
    try:
        if len(sweeps) > 1:
            joint = refine_joint(renamed, [crystal], [g for _, g in sweeps], free=CRYSTAL_ONLY, max_steps=MAX_STEPS)
            rmsd = float(np.hypot(joint.rmsd("rmsd_fast_px"), joint.rmsd("rmsd_slow_px")))
            return BravaisRow(number, setting, joint.crystals[0], change, rmsd, nan, nan, joint.n_used, False)
        fit = refine_static(renamed[0], [crystal], sweeps[0][1], free=CRYSTAL_ONLY, max_steps=MAX_STEPS, slips=slips)
    except InputError:
        return None
    rmsd = float(np.hypot(fit.rmsd_fast_px, fit.rmsd_slow_px))
    crystal = dataclasses.replace(fit.crystals[0], A_at_scan_points=None)
    return BravaisRow(number, setting, crystal, change, rmsd, nan, nan, fit.n_used, False)


@dataclass(frozen=True)
class Merged:
    """Mean intensity of each index, Friedel mates together; rows sorted by `code`."""

    hkl: Ints
    code: Ints
    intensity: Floats

    @classmethod
    def of(cls, hkl: Ints, intensity: Floats) -> Merged:
        asymmetric = _friedel(hkl)
        code, first, inverse = np.unique(_pack(asymmetric), return_index=True, return_inverse=True)
        mean = np.bincount(inverse, intensity) / np.bincount(inverse) if len(code) else np.zeros(0)
        return cls(asymmetric[first], code, mean)


def correlation(merged: Merged, rotation: Ints) -> float:
    """Correlation of the intensities of h and of h turned by the rotation; NaN below 10 pairs."""
    if len(merged.code) == 0:
        return float("nan")
    other = _pack(_friedel(np.einsum("nj,ji->ni", merged.hkl, rotation)))
    at = np.minimum(np.searchsorted(merged.code, other), len(merged.code) - 1)
    pair = (merged.code[at] == other) & (at != np.arange(len(at)))
    if pair.sum() < MIN_PAIRS:
        return float("nan")
    x, y = merged.intensity[pair], merged.intensity[at[pair]]
    if x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.mean((x - x.mean()) * (y - y.mean())) / (x.std() * y.std()))


def _friedel(hkl: Ints) -> Ints:
    """Of h and -h the one whose first index other than 0 is positive."""
    h, k, l = hkl.T
    flip = (h < 0) | ((h == 0) & ((k < 0) | ((k == 0) & (l < 0))))
    return np.where(flip[:, None], -hkl, hkl)


def _pack(hkl: Ints) -> Ints:
    shifted = hkl.astype(np.int64) + 2**15
    return (shifted[:, 0] * 2**16 + shifted[:, 1]) * 2**16 + shifted[:, 2]


def _is_likely(row: BravaisRow, triclinic_rmsd: float) -> bool:
    cc = row.min_cc if row.min_cc == row.min_cc else 0.0
    if row.setting.order == 1:
        return True
    if row.setting.misfit_deg < GOOD_METRIC_DEG:
        return not (cc < 0.5 and row.rmsd_px > 1.5 * triclinic_rmsd)
    return not ((cc < 0.7 and row.rmsd_px > 2.0 * triclinic_rmsd) or row.rmsd_px > 3.0 * triclinic_rmsd)


def _is_safe(row: BravaisRow, triclinic_rmsd: float) -> bool:
    """Good enough to be chosen without a look at the table: the poorer the metric, the less may the r.m.s.d. grow."""
    limit = 1.5 if row.setting.misfit_deg < GOOD_METRIC_DEG else 1.2
    return row.setting.order == 1 or row.rmsd_px <= limit * triclinic_rmsd


def format_table(rows: tuple[BravaisRow, ...]) -> str:
    """The table as text, one line a setting; * marks those that nothing speaks against, ** the one to use."""
    lines = [
        "Solution  Metric fit    rmsd   min/max cc   spots  lattice  "
        "      a        b        c    alpha    beta   gamma      volume  change of basis"
    ]
    for row in rows:
        cell = row.crystal.cell
        cc = "    -/-   " if row.min_cc != row.min_cc else f"{row.min_cc:5.3f}/{row.max_cc:5.3f}"
        mark = "**" if row.best else "* " if row.recommended else "  "
        edges = " ".join(f"{x:8.3f}" for x in cell[:3]) + " " + " ".join(f"{x:7.2f}" for x in cell[3:])
        volume = 1.0 / abs(np.linalg.det(np.asarray(row.crystal.A)))
        lines.append(
            f"{mark}{row.number:6d}  {row.setting.misfit_deg:10.4f}  {row.rmsd_px:6.3f}  {cc:>11}  {row.n_spots:6d}"
            f"  {row.setting.bravais:>7}  {edges} {volume:11.0f}  {change_text(row.change)}"
        )
    return "\n".join(lines)


def change_text(change: Ints) -> str:
    """The new axes as sums of the old ones, e.g. a,b-c,c."""
    out = []
    for axis in change:
        terms = [(n, name) for n, name in zip(axis.tolist(), "abc") if n]
        text = "".join(("-" if n < 0 else "+") + (str(abs(n)) if abs(n) > 1 else "") + name for n, name in terms)
        out.append(text.removeprefix("+"))
    return ",".join(out)


def cell_text(A: Floats) -> str:
    """a, b, c, alpha, beta, gamma for a message."""
    return " ".join(f"{x:.2f}" for x in cell_of(A))
