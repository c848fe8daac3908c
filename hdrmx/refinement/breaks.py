"""Slips: sudden turns of a crystal during the scan, at which the smooth course of its orientation is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Slip:
    """A lattice that turns at once, at this position along the scan (frames; i is the beginning of frame i).

    `rotation_rad` is how much further it is turned than before the first slip of the scan: three rotations in the
    spindle frame, as `parameters.ROTATIONS`. They add to those of the smoother.
    """

    lattice: int
    frame: float
    rotation_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)


def segments(slips: Sequence[Slip], lattice: npt.ArrayLike, frame: npt.ArrayLike) -> npt.NDArray[np.int32]:
    """(n,) 0 before the first slip of that lattice, else 1 + the number of the last slip at or before the frame.

    `slips` are in the order of lattices, then frames.
    """
    lattice, frame = np.broadcast_arrays(np.asarray(lattice), np.asarray(frame, float))
    found = np.zeros(frame.shape, np.int32)
    for number, slip in enumerate(slips):
        found[(lattice == slip.lattice) & (frame >= slip.frame)] = number + 1
    return found


def ordered(slips: Sequence[Slip]) -> tuple[Slip, ...]:
    """By lattice, then frame."""
    return tuple(sorted(slips, key=lambda slip: (slip.lattice, slip.frame)))


def steps_rad(slips: Sequence[Slip]) -> npt.NDArray[np.float64]:
    """(n, 3) by how much each slip turns its lattice, where `Slip.rotation_rad` counts from the first segment."""
    whole = np.array([slip.rotation_rad for slip in slips]).reshape(-1, 3)
    before = [i > 0 and slips[i - 1].lattice == slip.lattice for i, slip in enumerate(slips)]
    return whole - np.where(np.array(before, bool)[:, None], np.roll(whole, 1, axis=0), 0.0)


def angle_deg(step_rad: npt.ArrayLike) -> float:
    """Angle of a small turn given by three rotations."""
    return float(np.degrees(np.linalg.norm(step_rad)))
