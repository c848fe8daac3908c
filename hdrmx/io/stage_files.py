"""Small files of the later stages, from which reports and the page of a run are drawn.

Tables are CSV, documents JSON (null where there is no number), pictures NPZ. Each function writes whole files into a
folder, and returns their paths.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import BadFrame
from hdrmx.frames import FrameSource
from hdrmx.io.whole import write_json, write_whole

if TYPE_CHECKING:  # the stages bring the kernels' compiler
    from hdrmx.integration.profiles import References
    from hdrmx.scaling.observations import Sweep
    from hdrmx.stages.integrate import Integrated
    from hdrmx.stages.merge import Merged
    from hdrmx.stages.scale import Scaled
    from hdrmx.stages.symmetry import SymmetryFound

INTEGRATED_FILES = (
    "integrated_frames.csv",
    "integrated_blocks.csv",
    "integrated_shells.csv",
    "integrated_profiles.npz",
    "integrated_picture.npz",
    "integrated.json",
)
SYMMETRY_FILES = ("symmetry.json",)
SCALED_FILES = ("scaled_frames.csv", "scaled_outliers.csv", "scaled_model.json")
MERGED_FILES = ("merged_shells.csv", "merged_sums.csv", "merged_frames.csv", "merged.json")

MOST_PROFILES = 60  # blocks whose profiles are kept, evenly through all
MOST_SURFACES = 8  # sweeps whose directions are counted


def write_integrated_tables(folder: Path, results: Sequence[Integrated]) -> list[Path]:
    """Figures by frame, block and resolution, reference profiles, counts; one result a sweep."""
    from hdrmx.integration.overview import partiality_histogram, resolution_shells

    tables = [r.table for r in results]
    document = {
        "sweeps": [
            {
                "sigma_b_deg": float(np.degrees(r.profile.sigma_b_rad)),
                "sigma_m_deg": float(np.degrees(r.profile.sigma_m_rad)),
                "n_sigma": r.profile.n_sigma,
                "n_spots": r.profile.n_spots,
                "counts": r.counts,
                "bad_frames": [{"image": index + 1, "reason": reason} for index, reason in r.bad_frames],
            }
            for r in results
        ],
        "partiality": partiality_histogram(tables).tolist(),
    }
    return [
        _write_csv(folder / "integrated_frames.csv", _numbered([r.per_frame for r in results])),
        _write_csv(folder / "integrated_blocks.csv", _numbered([r.blocks for r in results])),
        _write_csv(folder / "integrated_shells.csv", resolution_shells(tables)),
        _write_npz(folder / "integrated_profiles.npz", _profiles(results)),
        write_json(folder / "integrated.json", document),
    ]


def _profiles(results: Sequence[Integrated]) -> dict[str, npt.NDArray[Any]]:
    """Profiles of some blocks: sweep, frame_min, frame_max (n,), across (n, cells, nodes, nodes), along (n, bins),
    whole (n, nodes, nodes), reflections (n, cells)."""
    found: list[tuple[int, int, int, References]] = []
    for number, result in enumerate(results):
        blocks = result.blocks[result.blocks["reflections"] > 0]
        if len(blocks) == len(result.references):
            ends = blocks[["frame_min", "frame_max"]].to_numpy().tolist()
            found += [(number, a, b, profiles) for (a, b), profiles in zip(ends, result.references)]
    if not found:
        return {"sweep": np.zeros(0, np.int64)}
    at = np.unique(np.rint(np.linspace(0, len(found) - 1, min(MOST_PROFILES, len(found)))).astype(int))
    chosen = [found[i] for i in at]
    nodes = round(len(chosen[0][3].whole) ** 0.5)
    n = len(chosen)
    numbers = np.array([c[:3] for c in chosen], np.int64)
    return {
        "sweep": numbers[:, 0],
        "frame_min": numbers[:, 1],
        "frame_max": numbers[:, 2],
        "across": np.array([c[3].across for c in chosen], np.float32).reshape(n, -1, nodes, nodes),
        "along": np.array([c[3].along[0] for c in chosen], np.float32),
        "whole": np.array([c[3].whole for c in chosen], np.float32).reshape(n, nodes, nodes),
        "reflections": np.array([c[3].n_reflections for c in chosen], np.int64),
    }


def write_frame_picture(folder: Path, source: FrameSource, result: Integrated) -> list[Path]:
    """The middle frame of a scan with its predictions: one more frame is decoded. Nothing where it can't be."""
    from hdrmx.integration.overview import picture
    from hdrmx.kernels.decode import decode_dense
    from hdrmx.kernels.workspace import Workspace

    middle = len(source.indices) // 2
    frame = next(itertools.islice(source.frames(), middle, None), None)
    if frame is None:
        return []
    work = Workspace(frame.shape, frame.dtype)
    try:
        decode_dense(frame, work.dense, work)
    except BadFrame:
        return []
    detector = source.geometry.detector
    low, high = detector.trusted
    usable = source.mask & (work.dense >= low) & (work.dense <= high)
    drawn = picture(frame.index, work.dense, usable, result.table, [p.offset for p in detector.panels])
    arrays = {
        "frame": np.array(drawn.frame),
        "step": np.array(drawn.step),
        "shape": np.array(frame.shape),
        "overview": drawn.overview,
        "corner": np.array(drawn.corner),
        "detail": drawn.detail,
        **{f"predicted_{name}": drawn.predicted[name].to_numpy() for name in drawn.predicted},
    }
    return [_write_npz(folder / "integrated_picture.npz", arrays)]


def write_symmetry(folder: Path, found: SymmetryFound) -> list[Path]:
    """Scores of rotations and groups, screw axes, and what was chosen."""
    chosen = _chosen(found)
    group = found.scores.groups[chosen].group
    transposed = group.change.T.astype(float)
    inverse = np.linalg.inv(transposed)
    elements = []
    for e in found.scores.elements:
        turned = np.einsum("ij,jk,kl->il", inverse, e.rotation, transposed)
        order, axis = _turn(turned)
        elements.append({"order": order, "axis": axis, "cc": e.cc, "pairs": e.n_pairs, "likelihood": e.likelihood})
    groups = [
        {
            "space_group": s.group.space_group,
            "laue": s.group.laue,
            "order": s.group.order,
            "probability": s.probability,
            "cc_in": s.cc_in,
            "cc_out": s.cc_out,
            "misfit_deg": s.group.misfit_deg,
            "chosen": i == chosen,
        }
        for i, s in enumerate(found.scores.groups)
    ]
    absences = found.absences
    document = {
        "space_group": found.space_group,
        "cell": list(found.crystal.cell),
        "change": found.change.tolist(),
        "probability": found.probability,
        "is_sure": found.is_sure,
        "d_min": found.d_min,
        "cc_expected": found.scores.cc_expected,
        "cc_unrelated": found.scores.cc_unrelated,
        "elements": elements,
        "groups": groups,
        "absences": None
        if absences is None
        else {"n_telling": absences.n_telling, "candidates": [asdict(c) for c in absences.candidates]},
        "counts": found.counts,
        "notes": list(found.notes),
    }
    return [write_json(folder / "symmetry.json", document)]


def _chosen(found: SymmetryFound) -> int:
    """Number of the group of rotations that was taken: that of the space group, of the probability told."""
    from hdrmx.merging.asu import space_group_of
    from hdrmx.symmetry.groups import turns_of

    turns = turns_of(space_group_of(found.space_group))
    for i, s in enumerate(found.scores.groups):
        if s.probability == found.probability and turns_of(space_group_of(s.group.space_group)) == turns:
            return i
    return 0


def _turn(rotation: npt.NDArray[np.float64]) -> tuple[int, list[int]]:
    """Order of a rotation of indices (rows, h' = h W), and its axis [u v w] in whole numbers."""
    order = {-1: 2, 0: 3, 1: 4, 2: 6, 3: 1}[round(float(np.trace(rotation)))]
    power, total = np.eye(3), np.zeros((3, 3))
    for _ in range(order):  # the mean of all powers leaves the part along the axis alone
        total, power = total + power, power @ rotation
    column = total[:, int(np.argmax(np.abs(total).sum(axis=0)))]
    column = column / np.abs(column[np.abs(column) > 1e-6]).min()
    whole = next((n * column for n in range(1, 13) if np.abs(n * column - np.rint(n * column)).max() < 1e-3), column)
    sign = np.sign(whole[np.abs(whole) > 1e-6][0])
    return order, np.rint(sign * whole).astype(int).tolist()


def write_scaled(folder: Path, scaled: Scaled, sweeps: Sequence[Sweep], space_group: str) -> list[Path]:
    """The model along the scan, its parameters, the error model and how well it fits, the outliers.

    `sweeps` are those that `scale` was given.
    """
    from hdrmx.merging.curves import deviations, normal_probability
    from hdrmx.scaling.overview import along_scans, directions_seen, outlier_table

    mean, deviation = deviations(scaled.observations, space_group)
    kept = ~scaled.observations["rejected"].to_numpy()
    errors = scaled.error_model
    surfaces = [number for number, own in enumerate(scaled.model.sweeps) if own.l_max][:MOST_SURFACES]
    document = {
        "error_model": {
            "kind": errors.kind,
            "a": errors.a,
            "b": errors.b,
            "n": errors.n,
            "isa": errors.i_over_sigma_limit,
            "bins": errors.bins.to_dict("records"),
        },
        "normal_probability": normal_probability(deviation[kept]).to_dict("list"),
        "middle": scaled.middle,
        "middles": scaled.middles.to_dict("records"),
        "indexing": [asdict(choice) for choice in scaled.indexing],
        "points": _points(scaled),
        "surfaces": [
            {
                "sweep": number,
                "l_max": scaled.model.sweeps[number].l_max,
                "coefficients": scaled.model.sweeps[number].parts(scaled.parameters)[2].tolist(),
                "seen": directions_seen(scaled.observations, scaled.row, sweeps, number).tolist(),
            }
            for number in surfaces
        ],
        "counts": scaled.counts,
        "notes": list(scaled.notes),
    }
    frames = along_scans(scaled.observations, sweeps, scaled.model, scaled.parameters)
    return [
        _write_csv(folder / "scaled_frames.csv", frames),
        _write_csv(folder / "scaled_outliers.csv", outlier_table(scaled.observations, mean, deviation)),
        write_json(folder / "scaled_model.json", document),
    ]


def _points(scaled: Scaled) -> list[dict[Hashable, Any]]:
    """Parameters along the scan; those of absorption stand with the surfaces."""
    table = scaled.parameter_table
    return list(table[table["part"] != "absorption"].drop(columns="term").to_dict("records"))


def write_merged_tables(folder: Path, merged: Merged) -> list[Path]:
    """Figures by shell and by frame, the sums behind them, and curves of Wilson, of moments and of the L-test."""
    from hdrmx.merging.curves import l_curve, moment_curve, wilson_curve

    document = {
        "space_group": merged.space_group,
        "cell": list(merged.cell),
        "overall": merged.overall.to_dict("records")[0],
        "resolution": asdict(merged.resolution),
        "wilson": asdict(merged.wilson) | {"curve": wilson_curve(merged.table, merged.wilson).to_dict("list")},
        "scatter": asdict(merged.scatter),
        "twinning": asdict(merged.twinning)
        | {
            "l_test": l_curve(merged.table, merged.twinning.d_min).to_dict("list"),
            "moments": moment_curve(merged.table).to_dict("list"),
        },
        "drift": {str(sweep): table.to_dict("list") for sweep, table in merged.drift.items()},
        "counts": merged.counts,
        "notes": list(merged.notes),
    }
    return [
        _write_csv(folder / "merged_shells.csv", merged.shells),
        _write_csv(folder / "merged_sums.csv", merged.sums),
        _write_csv(folder / "merged_frames.csv", merged.frames),
        write_json(folder / "merged.json", document),
    ]


def _numbered(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of sweeps as one, with their number in the first column."""
    parts = [table.assign(sweep=number) for number, table in enumerate(tables)]
    together = pd.concat(parts, ignore_index=True)
    return together[["sweep", *(name for name in together.columns if name != "sweep")]]


def _write_csv(path: Path, table: pd.DataFrame) -> Path:
    return write_whole(path, table.to_csv(index=False).encode())


def _write_npz(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> Path:
    """The same arrays give the same bytes: numpy writes no time into its archives."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return write_whole(path, buffer.getvalue())
