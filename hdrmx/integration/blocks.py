"""The scan cut into blocks, and the boxes of a block while their pixels come in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.integration.boxes import BOX, lay_of, rays
from hdrmx.integration.profile_model import ProfileModel, kabsch_axes
from hdrmx.kernels import integrate_collect as collect
from hdrmx.kernels.intrinsics import PAD_BYTES
from hdrmx.kernels.workspace import Events
from hdrmx.models import Geometry

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """How the reflections divide over blocks, in the order they are worked on.

    Attributes
    ----------
    order : (n,) row of the table of predictions
    last : (blocks,) the frame before which each block is closed; block b has order[start[b]:start[b + 1]]
    opens : (blocks,) the frame at which a box of it, or of a later one, begins
    most_pixels, most_frames, most_voxels : of a box
    n_voxels : of all boxes
    """

    order: Longs
    start: Longs
    last: Longs
    opens: Longs
    most_pixels: int
    most_frames: int
    most_voxels: int
    n_voxels: int


def plan_of(predicted: pd.DataFrame, geometry: Geometry, block_frames: int, most_voxels: int) -> Plan:
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
    top = np.array([p.offset[0] for p in geometry.detector.panels])[predicted["panel"].to_numpy()]
    order = np.lexsort((box[:, 4], box[:, 2] + top, box[:, 0], block))
    start = np.searchsorted(block[order], np.arange(len(last) + 1))
    begins = np.append(box[order, 0], last[-1])[start[:-1]]
    begins = np.where(np.diff(start) > 0, begins, last - 1)
    return Plan(
        order=order,
        start=start,
        last=last,
        opens=np.minimum.accumulate(begins[::-1])[::-1].astype(np.int64),
        most_pixels=int((size[:, 1] * size[:, 2]).max()),
        most_frames=int(size[:, 0].max()),
        most_voxels=int(n_voxels.max()),
        n_voxels=int(n_voxels.sum()),
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


class Marked(NamedTuple):
    """A frame while boxes take from it: marks of its pixels (`integrate_collect`), its width, trusted counts."""

    marks: npt.NDArray[np.uint8]
    width: int
    low: int
    high: int


class Room:
    """Memory of the voxels of closed blocks, to be used again: fresh memory costs more than filling it."""

    def __init__(self) -> None:
        self._free: deque[Ints] = deque()

    def take(self, n: int) -> Ints:
        """n voxels, none of them usable yet."""
        large = [room for room in self._free if len(room) >= n]
        if large:
            room = min(large, key=len)
            self._free = deque(other for other in self._free if other is not room)
        else:
            if self._free:
                self._free.popleft()
            room = np.empty(n + n // 8, np.int32)
        room[:n] = collect.UNUSABLE
        return room

    def give_back(self, room: Ints) -> None:
        """What is in it is no longer wanted."""
        self._free.append(room)


class Block:
    """The boxes of one block while they fill.

    Attributes
    ----------
    rows : (n,) of the table of predictions
    box (n, 6), inner (n, 4), place (n, 4), ray (n, 12) : see `kernels.integrate_collect`
    lay (n, 10) : see `kernels.integrate_profile`
    frame, per_frame : (n,) predicted frame; eps3 / sigma_m of a frame, above 0
    voxel_at, pixel_at : (n + 1,) where the boxes' voxels and pixels begin in `voxels` and `foreground`
    """

    def __init__(
        self, plan: Plan, number: int, predicted: pd.DataFrame, geometry: Geometry, profile: ProfileModel, room: Room
    ) -> None:
        assert geometry.scan is not None
        self.number, self.first, self.last = number, int(plan.opens[number]), int(plan.last[number])
        self.rows = plan.order[plan.start[number] : plan.start[number + 1]]
        table = predicted.iloc[self.rows]
        self.box = np.ascontiguousarray(table[list(BOX)].to_numpy(np.int32))
        panel = table["panel"].to_numpy()
        self.place = np.array([(*p.offset, *p.shape) for p in geometry.detector.panels], np.int32)[panel]
        s1, slow, fast = table[["s1_x", "s1_y", "s1_z"]].to_numpy(), table["slow"].to_numpy(), table["fast"].to_numpy()
        axes = kabsch_axes(s1, geometry)
        self.ray = rays(panel, slow, fast, axes, geometry)
        self.lay = lay_of(panel, slow, fast, s1, self.ray, geometry, profile)
        self.frame = table["frame"].to_numpy()
        self.per_frame = np.abs(axes.zeta) * abs(geometry.scan.width_rad) / profile.sigma_m_rad
        self.d, self.partiality = table["d"].to_numpy(), table["partiality"].to_numpy()
        size = (self.box[:, 1::2] - self.box[:, ::2]).astype(np.int64)
        self.voxel_at = np.concatenate([[0], np.cumsum(size.prod(axis=1))]).astype(np.int64)
        self.pixel_at = np.concatenate([[0], np.cumsum(size[:, 1] * size[:, 2])]).astype(np.int64)
        self.n_voxels = int(self.voxel_at[-1])
        self.voxels = room.take(self.n_voxels)
        self.foreground = np.zeros(int(self.pixel_at[-1]) + PAD_BYTES, np.uint8)
        self.inner = np.zeros((len(self.box), 4), np.int32)

    def __len__(self) -> int:
        return len(self.rows)

    def outline(self, begin: int, end: int, delta_b: float) -> None:
        """Work out the foreground of some of the boxes: in any thread, before a frame is taken."""
        most = int(np.diff(self.pixel_at).max()) if len(self) else 0
        side = self.box[:, 3:6:2] - self.box[:, 2:6:2]
        corners = most + int(side.sum(axis=1).max()) + 1 if len(self) else 0
        where = (self.ray, self.box, delta_b, self.pixel_at, np.empty(corners), np.empty(corners))
        collect.outline(begin, end, *where, self.foreground, self.inner)

    def claim(self, frame: int, marked: Marked, takes_back: bool) -> None:
        """Count the foregrounds open in this frame among the marks, or take them back."""
        boxes = (self.box, self.inner, self.place, self.pixel_at, marked.width, self.foreground)
        collect.claim(frame, self._opened(frame), *boxes, takes_back, marked.marks)

    def take_dense(self, frame: int, pixels: npt.NDArray, marked: Marked) -> None:
        """Copy the open boxes' pixels from a frame (flat)."""
        source = (pixels, marked.low, marked.high, marked.marks, marked.width, frame, self._opened(frame))
        collect.collect_dense(*source, *self._layout())

    def take_events(self, frame: int, events: Events, bin_px: int, marked: Marked) -> None:
        """Copy the open boxes' pixels from a frame's events."""
        source = (events.index, events.count, events.offset, bin_px, marked.high, marked.marks, marked.width)
        collect.collect_events(*source, frame, self._opened(frame), *self._layout())

    def _opened(self, frame: int) -> int:
        """Boxes go by their first frame: so many have begun by this one."""
        return int(np.searchsorted(self.box[:, 0], frame, side="right"))

    def _layout(self) -> tuple[npt.NDArray, ...]:
        return self.box, self.place, self.pixel_at, self.voxel_at, self.foreground, self.voxels
