"""The scan cut into blocks, and the boxes of a block while their pixels come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.integration.boxes import BOX, rays
from hdrmx.integration.profile_model import Floats, ProfileModel, kabsch_axes
from hdrmx.kernels import integrate_collect as collect
from hdrmx.kernels.workspace import Events
from hdrmx.models import Geometry

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What the kernels need to know of each predicted reflection, in the order they are worked on.

    Attributes
    ----------
    order : (n,) row of the table of predictions
    last : (blocks,) the frame before which each block is closed; block b has rows start[b]:start[b + 1]
    opens : (blocks,) the frame at which a box of it, or of a later one, begins
    box (n, 6), place (n, 4), ray (n, 12) : see `kernels.integrate_collect`
    frame, per_frame : (n,) predicted frame; eps3 / sigma_m of a frame, above 0
    n_voxels, n_pixels : (n,) of each box
    """

    order: Longs
    start: Longs
    last: Longs
    opens: Longs
    box: npt.NDArray[np.int32]
    place: npt.NDArray[np.int32]
    ray: Floats
    frame: Floats
    per_frame: Floats
    n_voxels: Longs
    n_pixels: Longs


def shape_of(
    predicted: pd.DataFrame, geometry: Geometry, profile: ProfileModel, block_frames: int, most_voxels: int
) -> Shape:
    """Cut the scan into blocks of at least `block_frames`, fewer where boxes have more than `most_voxels`.

    A reflection belongs to the block in which its box ends. Within a block, reflections go by first frame, then by
    place on the detector.
    """
    scan = geometry.scan
    assert scan is not None
    box = predicted[list(BOX)].to_numpy(np.int32)
    size = (box[:, 1::2] - box[:, ::2]).astype(np.int64)
    n_voxels = size.prod(axis=1)
    last = _ends(box[:, 1], n_voxels, scan.first, scan.n_frames, block_frames, most_voxels)
    block = np.searchsorted(last, box[:, 1])
    panel = predicted["panel"].to_numpy()
    panels = geometry.detector.panels
    place = np.array([(*p.offset, *p.shape) for p in panels], np.int32)[panel]
    order = np.lexsort((box[:, 4], box[:, 2] + place[:, 0], box[:, 0], block))
    s1 = predicted[["s1_x", "s1_y", "s1_z"]].to_numpy()
    axes = kabsch_axes(s1, geometry)
    ray = rays(panel, predicted["slow"].to_numpy(), predicted["fast"].to_numpy(), axes, geometry)
    start = np.searchsorted(block[order], np.arange(len(last) + 1))
    begins = np.append(box[order, 0], last[-1])[start[:-1]]
    begins = np.where(np.diff(start) > 0, begins, last - 1)
    return Shape(
        order=order,
        start=start,
        last=last,
        opens=np.minimum.accumulate(begins[::-1])[::-1].astype(np.int64),
        box=box[order],
        place=place[order],
        ray=ray[order],
        frame=predicted["frame"].to_numpy()[order],
        per_frame=(np.abs(axes.zeta) * abs(scan.width_rad) / profile.sigma_m_rad)[order],
        n_voxels=n_voxels[order],
        n_pixels=(size[:, 1] * size[:, 2])[order],
    )


def _ends(
    closes: npt.NDArray[np.int32], n_voxels: Longs, first: int, n_frames: int, block_frames: int, most: int
) -> Longs:
    """The frame after which each block is closed; the last is the scan's."""
    closing = np.bincount(closes - first, weights=n_voxels, minlength=n_frames + 1)
    ends, frames, voxels = [], 0, 0.0
    for i in range(1, n_frames + 1):
        frames += 1
        voxels += closing[i]
        next_voxels = closing[i + 1] if i < n_frames else 0.0
        if i == n_frames or frames >= block_frames or voxels + next_voxels > most:
            ends.append(first + i)
            frames, voxels = 0, 0.0
    return np.array(ends, np.int64)


class Claims(NamedTuple):
    """The frame as the boxes see it: usable pixels, and how many foregrounds cover each (both flat)."""

    usable: npt.NDArray[np.bool_]
    claimed: npt.NDArray[np.uint16]
    width: int
    low: int
    high: int


class Block:
    """The boxes of one block, rows begin:end of the shape, while they fill."""

    def __init__(self, shape: Shape, number: int) -> None:
        begin, end = int(shape.start[number]), int(shape.start[number + 1])
        self.number, self.begin, self.end = number, begin, end
        rows = slice(begin, end)
        self.box, self.place, self.ray = shape.box[rows], shape.place[rows], shape.ray[rows]
        self.frame, self.per_frame = shape.frame[rows], shape.per_frame[rows]
        self.voxel_at = np.concatenate([[0], np.cumsum(shape.n_voxels[rows])]).astype(np.int64)
        self.pixel_at = np.concatenate([[0], np.cumsum(shape.n_pixels[rows])]).astype(np.int64)
        self.voxels = np.full(int(self.voxel_at[-1]), collect.UNUSABLE, np.int32)
        self.foreground = np.zeros(int(self.pixel_at[-1]), np.uint8)
        self._opened = 0  # rows are in the order of their first frame
        self._active = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self.end - self.begin

    def open(self, frame: int, delta_b: float, claims: Claims, eps1: Floats, eps2: Floats) -> None:
        """Open the boxes that begin at this frame or did so before."""
        last = int(np.searchsorted(self.box[:, 0], frame, side="right"))
        if last == self._opened:
            return
        rows = np.arange(self._opened, last)
        geometry = (rows, self.ray, self.box, self.place, delta_b, self.pixel_at, claims.width)
        collect.open_boxes(*geometry, eps1, eps2, self.foreground, claims.claimed)
        self._active = np.concatenate([self._active, rows])
        self._opened = last

    def close(self, frame: int, claims: Claims) -> None:
        """Give up the claims of the boxes whose last frame this was."""
        is_over = self.box[self._active, 1] <= frame + 1
        if is_over.any():
            over = self._active[is_over]
            collect.claim(over, self.box, self.place, self.pixel_at, claims.width, self.foreground, -1, claims.claimed)
            self._active = self._active[~is_over]

    def take_dense(self, frame: int, pixels: npt.NDArray, claims: Claims) -> None:
        """Copy the open boxes' pixels from a frame (flat)."""
        limits = (claims.usable, claims.claimed, claims.width, claims.low, claims.high)
        collect.collect_dense(pixels, *limits, frame, self._active, *self._layout())

    def take_events(self, frame: int, events: Events, bin_px: int, claims: Claims) -> None:
        """Copy the open boxes' pixels from a frame's events."""
        source = (events.index, events.count, events.offset, bin_px)
        limits = (claims.usable, claims.claimed, claims.width, claims.high)
        collect.collect_events(*source, *limits, frame, self._active, *self._layout())

    def _layout(self) -> tuple[npt.NDArray, ...]:
        return self.box, self.place, self.pixel_at, self.voxel_at, self.foreground, self.voxels
