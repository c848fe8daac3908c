"""Stage `integrate`: intensities of the predicted reflections, in one pass over the frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx import tables
from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Frame
from hdrmx.integration import flags
from hdrmx.integration.blocks import Plan, plan_of
from hdrmx.integration.corrections import lorentz_polarization, quantum_efficiency
from hdrmx.integration.filling import Filler
from hdrmx.integration.finishing import Finisher
from hdrmx.integration.profile_model import ProfileModel
from hdrmx.integration.profiles import References
from hdrmx.integration.workers import Workers
from hdrmx.models import Geometry, Scan
from hdrmx.observe import Around, unobserved
from hdrmx.params import Integrate
from hdrmx.stages.in_order import in_order

DEFAULT = Integrate()
_AHEAD = 3  # frames in work for each thread


@dataclass(frozen=True)
class Integrated:
    """Intensities of one scan.

    Attributes
    ----------
    table : columns `tables.INTEGRATED`, the rows of the predictions
    profile : the model used
    references : profiles of each block
    blocks : one row a block: first and last + 1 frame closed in it, reflections, references, voxels
    per_frame : frame, background (mean over reflections, count/px), mean I/sigma and number of reflections
    bad_frames : (index, reason) of frames left out
    counts : work done, by name
    """

    table: pd.DataFrame
    profile: ProfileModel
    references: tuple[References, ...]
    blocks: pd.DataFrame
    per_frame: pd.DataFrame
    bad_frames: tuple[tuple[int, str], ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def integrate(
    predicted: pd.DataFrame,
    frames: Iterable[Frame],
    mask: npt.NDArray[np.bool_],
    geometry: Geometry,
    profile: ProfileModel,
    params: Integrate = DEFAULT,
    *,
    threads: int = 1,
    skip_bad_frames: bool = False,
    around: Around = unobserved,
) -> Integrated:
    """Integrate one scan by summation and by profile fitting.

    Parameters
    ----------
    predicted : `tables.PREDICTED`, made with the same geometry and profile model
    frames : read once, in scan order; a missing one leaves its pixels unusable
    mask : (slow, fast), True where a pixel may be used; counts outside of the trusted range come on top
    threads : the result doesn't depend on it, nor on `params.kernel`
    skip_bad_frames : leave out frames that can't be decoded, and list them

    Raises
    ------
    BadFrame : a frame can't be decoded
    InputError : there is nothing to integrate; mask, frames and panels don't fit together; no frame lies in the scan

    Notes
    -----
    Boxes are open while the scan passes them, and are kept until their block of frames is complete: its reference
    profiles are learned from its own strong reflections, then fitted to all. Time ~ frames * pixels (decoding)
    + reflections * pixels of a box; memory: a few frames, and the boxes of about two blocks, whatever the scan's
    length. After Kabsch (2010) Acta Cryst. D66, 133-144 and Winter et al. (2018) Acta Cryst. D74, 85-97;
    docs/integration.md tells where it departs from these.
    """
    if len(predicted) == 0:
        raise InputError("integration", "no reflection is predicted", "check the crystal and predict.d_min")
    scan = geometry.scan
    if scan is None or scan.is_still:
        raise InputError("integration", "the images are stills", "rotation data are needed")
    plan = _planned(predicted, geometry, params)
    mask = np.ascontiguousarray(mask, bool)
    filler = Filler(plan, predicted, mask, geometry, profile, params.kernel)
    with Workers(threads) as workers, around("boxes"):
        finisher = Finisher(plan, len(predicted), mask.shape, geometry, profile, params, workers)
        tally = _pass(frames, scan, filler, finisher, workers, threads, skip_bad_frames, around)
    if tally.n_frames == 0:
        raise InputError("integration", "no frame lies within the scan", "check that model and images belong together")
    table = _table(predicted, finisher, geometry)
    counts = {
        "frames": tally.n_frames,
        "decodes": tally.n_frames,
        "bytes_in": tally.n_bytes,
        "pixels": tally.n_frames * mask.size,
        "sparse_frames": tally.n_sparse,
        "events": tally.n_events,
        "predicted": len(table),
        "shoebox_pixels": plan.n_voxels,
        "background_steps": finisher.steps,
        "fit_iterations": finisher.iterations,
        "blocks": len(finisher.blocks),
        "bad_frames": len(tally.bad),
    }
    blocks = pd.DataFrame(finisher.blocks, columns=["frame_min", "frame_max", "reflections", "references", "voxels"])
    summary = (tuple(finisher.references), blocks, _per_frame(table), tuple(tally.bad), counts | _reasons(table))
    return Integrated(table, profile, *summary)


def _planned(predicted: pd.DataFrame, geometry: Geometry, params: Integrate) -> Plan:
    assert geometry.scan is not None
    block_frames = max(ceil(np.radians(params.block_deg) / abs(geometry.scan.width_rad)), 1)
    plan = plan_of(predicted, geometry, block_frames, params.block_voxels)
    if plan.most_voxels > params.block_voxels:
        what = f"a reflection's box has {plan.most_voxels} pixels, more than block_voxels = {params.block_voxels}"
        raise InputError("integration", what, "check the profile model, or raise predict.min_zeta")
    return plan


@dataclass
class _Tally:
    """What the pass over the frames saw."""

    n_frames: int = 0
    n_bytes: int = 0
    n_sparse: int = 0
    n_events: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)


def _pass(
    frames: Iterable[Frame],
    scan: Scan,
    filler: Filler,
    finisher: Finisher,
    workers: Workers,
    threads: int,
    skip_bad_frames: bool,
    around: Around,
) -> _Tally:
    """Fill the boxes from the frames, in any thread; finish each block as soon as its frames are there."""
    tally, end = _Tally(), scan.first + scan.n_frames

    def within_scan() -> Iterator[Frame]:
        for frame in frames:
            if scan.first <= frame.index < end:
                filler.prepare(frame.index, frame.dtype, workers)
                yield frame

    def finish_before(frame: int) -> None:
        for block in filler.closed(frame):
            with around("profiles"):
                finisher.finish(block)
            filler.give_up(block)

    for frame, seen in in_order(filler.fill, within_scan(), threads, ahead=_AHEAD, name="integrate"):
        if isinstance(seen, BadFrame):
            if not skip_bad_frames:
                raise seen
            tally.bad.append((frame.index, seen.reason))
        else:
            tally.n_frames += 1
            tally.n_bytes += seen.n_bytes
            if seen.n_events is not None:
                tally.n_sparse += 1
                tally.n_events += seen.n_events
        finish_before(frame.index + 1)
    filler.prepare(end, np.dtype(np.uint8), workers)
    finish_before(end)
    return tally


def _table(predicted: pd.DataFrame, finisher: Finisher, geometry: Geometry) -> pd.DataFrame:
    """`tables.INTEGRATED`, in the order of the predictions."""
    s1, panel = predicted[["s1_x", "s1_y", "s1_z"]].to_numpy(), predicted["panel"].to_numpy()
    columns = finisher.columns | {
        "lp": lorentz_polarization(s1, geometry),
        "qe": quantum_efficiency(panel, s1, geometry),
    }
    new = {c.name: columns[c.name].astype(c.dtype, copy=False) for c in tables.INTEGRATED if c.name in columns}
    table = predicted[[c.name for c in tables.PREDICTED]].assign(**new)
    tables.check(table, tables.INTEGRATED)
    return table


def _reasons(table: pd.DataFrame) -> dict[str, int]:
    bits = table["flags"].to_numpy()
    done = {"integrated_sum": flags.INTEGRATED_SUM, "integrated_prf": flags.INTEGRATED_PRF, **flags.REASONS}
    return {name: int(((bits & bit) != 0).sum()) for name, bit in done.items()}


def _per_frame(table: pd.DataFrame) -> pd.DataFrame:
    """One row a frame in which reflections have their centre."""
    ratio = table["prf_value"] / np.sqrt(table["prf_variance"])
    ratio = ratio.where(np.isfinite(ratio), table["sum_value"] / np.sqrt(table["sum_variance"]))
    grouped = pd.DataFrame(
        {"frame": np.floor(table["frame"]).astype(np.int64), "background": table["background"], "i_over_sigma": ratio}
    ).groupby("frame")
    return grouped.agg(
        background=("background", "mean"), i_over_sigma=("i_over_sigma", "mean"), reflections=("background", "size")
    ).reset_index()
