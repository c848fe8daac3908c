"""Goniometer and scan from the axes of the sample of an NXmx file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hdrmx.errors import InputError
from hdrmx.io.nexus_axes import Axis, chain, rotations
from hdrmx.io.nexus_header import find_class, header, item, lab, number, text, unit_vector
from hdrmx.models import Goniometer, Matrix, Scan, Vector

STANDS_STILL_DEG = 1e-3  # an axis that moves less during the scan does not move
UNEVEN = 0.5  # a step that departs from the mean by more, relative, is not of one scan
UNSTEADY = 0.1  # by more: said in the notes


@dataclass(frozen=True)
class Turn:
    """A rotation axis of the goniometer: unit vector (laboratory frame) and angles, one a frame or one."""

    name: str
    axis: Vector
    angles_deg: npt.NDArray[np.float64]
    width_deg: float | None  # from the ends or the increment of the frames, where the file tells

    @property
    def moves(self) -> bool:
        return bool(np.ptp(self.angles_deg) > STANDS_STILL_DEG)


def read_scan(
    entry: h5py.Group, n_frames: int | None, exposure_s: float, path: Path, notes: list[str]
) -> tuple[Goniometer | None, Scan | None]:
    """Goniometer and scan; (None, None) where the sample depends on no rotation.

    Parameters
    ----------
    n_frames : of the data; None where it isn't known: as many as the scan axis has angles

    Raises
    ------
    InputError : two axes move, angles are uneven, not finite, or fewer than frames
    """
    turns = _turns(entry, path)
    if not turns:
        notes.append("the sample depends on no rotation axis: the frames were taken as stills")
        return None, None
    return make_scan(turns, n_frames, exposure_s, path, notes)


def make_scan(
    turns: list[Turn], n_frames: int | None, exposure_s: float, path: Path, notes: list[str]
) -> tuple[Goniometer, Scan]:
    """Goniometer and scan of rotation axes, listed from the crystal outwards."""
    moving = [k for k, turn in enumerate(turns) if turn.moves]
    if len(moving) > 1:
        names = " and ".join(turns[k].name for k in moving)
        raise InputError(path, f"{names} move together, or the file has several scans", "split it into single scans")
    widened = [k for k, turn in enumerate(turns) if turn.width_deg]
    scan_axis = moving[0] if moving else widened[0] if len(widened) == 1 else 0
    turn = turns[scan_axis]
    start, width = _start_and_width(turn, n_frames, path, notes)
    sign = -1.0 if width < 0 else 1.0
    if width < 0:
        notes.append(f"{turn.name} turns backwards: its axis and angles were taken with the other sign")
    axes = [t.axis if k != scan_axis else _times(sign, t.axis) for k, t in enumerate(turns)]
    angles = [np.radians(t.angles_deg[0]) for t in turns]
    angles[scan_axis] = np.radians(sign * start)
    goniometer = Goniometer(
        axis=axes[scan_axis],
        fixed=_product(axes[:scan_axis], angles[:scan_axis]),
        setting=_product(axes[scan_axis + 1 :], angles[scan_axis + 1 :]),
        axes=tuple((t.name, axis, float(angle)) for t, axis, angle in zip(turns, axes, angles)),
        scan_axis=scan_axis,
    )
    n = len(turn.angles_deg) if n_frames is None else n_frames
    return goniometer, Scan(0, n, float(np.radians(sign * start)), float(np.radians(sign * width)), exposure_s)


def _start_and_width(turn: Turn, n_frames: int | None, path: Path, notes: list[str]) -> tuple[float, float]:
    """Degrees. The mean step; a step over the turn of the circle is no jump."""
    angles, width = turn.angles_deg, turn.width_deg
    n = len(angles) if n_frames is None else n_frames
    if len(angles) == 1 or not turn.moves:
        alone = n == 1 or len(angles) == 1
        return float(angles[0]), float(width or 0.0) if alone else 0.0
    if len(angles) < n:
        raise InputError(path, f"{turn.name} has {len(angles)} angles for {n} frames", "the file is incomplete")
    angles = np.unwrap(angles, period=360.0)
    step = float((angles[-1] - angles[0]) / (len(angles) - 1))
    departure = np.abs(np.diff(angles) - step)
    worst = int(departure.argmax())
    if not departure[worst] <= UNEVEN * abs(step):
        what = f"{turn.name} is not evenly spaced: from {angles[worst]:g} to {angles[worst + 1]:g} deg"
        what += f" at frames {worst}, {worst + 1}, where the mean step is {step:g}"
        raise InputError(path, what, "if the file has several scans, split it into single ones")
    if departure[worst] > UNSTEADY * abs(step):
        notes.append(f"{turn.name} turns unsteadily: a step of {np.diff(angles)[worst]:g} deg, the mean is {step:g}")
    if width is not None and abs(width - step) > UNSTEADY * abs(step):
        what = f"frames are {width:g} deg wide and {step:g} deg apart ({turn.name})"
        raise InputError(path, what, "only frames that follow each other without gap or overlap can be processed")
    return float(angles[0]), step


def _turns(entry: h5py.Group, path: Path) -> list[Turn]:
    with header(path, "the sample"):
        samples = find_class(entry, "NXsample")
        if len(samples) > 1:
            raise InputError(path, f"it has {len(samples)} samples", "exactly one can be processed")
        if not samples:
            return []
        first = text(samples[0], "depends_on")
    return [_turn(a, path) for a in chain(samples[0], first, path) if a.kind == "rotation"]


def _turn(axis: Axis, path: Path) -> Turn:
    with header(path, f"axis {axis.name}"):
        angles = axis.values("deg")
        vector = lab(unit_vector(axis.vector, axis.name, path))
        return Turn(axis.name.split("/")[-1], vector, angles, _width(axis, angles, path))


def _width(axis: Axis, angles: npt.NDArray[np.float64], path: Path) -> float | None:
    """Degrees turned during a frame: median of (end - begin), or of the increments."""
    group, name = axis.data.parent, axis.name.split("/")[-1]
    ends, steps = item(group, name + "_end"), item(group, name + "_increment_set")
    if ends is not None and ends.size == len(angles):
        turned = np.ravel(ends[()]).astype(float) * axis.factor("deg") - angles
        turned = (turned + 180.0) % 360.0 - 180.0
    elif steps is not None and steps.size:
        turned = np.ravel(steps[()]).astype(float) * axis.factor("deg")
    else:
        return None
    if not np.all(np.isfinite(turned)):
        raise InputError(path, f"{axis.name} has ends or increments that are not finite", "correct the header")
    return float(np.median(turned))


def exposure_of(detector: h5py.Group, path: Path) -> float:
    """Seconds a frame; 0 where the file does not tell."""
    with header(path, "the exposure time"):
        for name in ("frame_time", "count_time"):
            seconds = number(detector, name, "s", "s")
            if seconds is not None and np.isfinite(seconds):
                return seconds
    return 0.0


def _times(sign: float, axis: Vector) -> Vector:
    return (sign * axis[0] + 0.0, sign * axis[1] + 0.0, sign * axis[2] + 0.0)


def _product(axes: list[Vector], angles: list[float]) -> Matrix:
    """The rotations one after the other, the first applied first."""
    product = np.identity(3)
    for axis, angle in zip(axes, angles):
        product = rotations(np.asarray(axis) * angle)[0] @ product
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in product)
    return (a, b, c)
