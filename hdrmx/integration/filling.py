"""Frames decoded, and the boxes that are open in them filled: in any thread, in any order."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np
import numpy.typing as npt
import pandas as pd

from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Frame
from hdrmx.integration.blocks import Block, Marked, Plan, Room
from hdrmx.integration.profile_model import ProfileModel
from hdrmx.integration.workers import Workers
from hdrmx.kernels.bitshuffle import EVENT_BIN
from hdrmx.kernels.decode import can_decode_events, decode_dense, decode_events, pack_valid
from hdrmx.kernels.integrate_collect import BLOCKED
from hdrmx.kernels.intrinsics import PAD_BYTES
from hdrmx.kernels.workspace import Events, Workspace
from hdrmx.models import Geometry

# A frame whose chunk has fewer bits a pixel than this is read as events.
SPARSE_BITS_PER_PIXEL = 0.8
_OUTLINE_CHUNK = 256  # boxes that a thread takes at a time


@dataclass(frozen=True)
class Filled:
    """What was read of a frame: bytes of payload, and events, or None where it was laid out."""

    n_bytes: int
    n_events: int | None


class Filler:
    """The boxes under way, and what each thread needs to fill them."""

    def __init__(
        self,
        plan: Plan,
        predicted: pd.DataFrame,
        mask: npt.NDArray[np.bool_],
        geometry: Geometry,
        profile: ProfileModel,
        kernel: str,
    ) -> None:
        self._plan, self._predicted, self._geometry, self._profile = plan, predicted, geometry, profile
        self._shape, self._wants = mask.shape, kernel
        for p in geometry.detector.panels:
            if p.offset[0] + p.shape[0] > mask.shape[0] or p.offset[1] + p.shape[1] > mask.shape[1]:
                what = f"panel {p.name} ends at {p.offset[0] + p.shape[0]}, {p.offset[1] + p.shape[1]}"
                raise InputError("integration", f"{what} px; the mask has {mask.shape}", "give the frames' own mask")
        low, high = geometry.detector.trusted
        self._limits = int(max(ceil(low), 0)), int(min(np.floor(high), 2**30 - 1))
        self._blocked = np.where(mask, 0, BLOCKED).astype(np.uint8).reshape(-1)
        self._valid = pack_valid(mask)
        self._room = Room()
        self._next = 0
        self.open: tuple[Block, ...] = ()
        self._mine = threading.local()
        self._dtype: np.dtype | None = None

    # in one thread, in the order of the frames

    def prepare(self, frame: int, dtype: np.dtype, workers: Workers) -> None:
        """Open the blocks that have boxes beginning by this frame; the first frame's dtype is that of all."""
        self._dtype = self._dtype or dtype
        while self._next < len(self._plan.last) and self._plan.opens[self._next] <= frame:
            block = Block(self._plan, self._next, self._predicted, self._geometry, self._profile, self._room)
            workers.in_parts(len(block), _OUTLINE_CHUNK, partial(block.outline, delta_b=self._profile.delta_b))
            self.open = (*self.open, block)
            self._next += 1

    def closed(self, frame: int) -> list[Block]:
        """The blocks that end before this frame, which are then no longer open."""
        done = [block for block in self.open if block.last <= frame]
        self.open = tuple(block for block in self.open if block.last > frame)
        return done

    def give_up(self, block: Block) -> None:
        """Let the memory of a closed block be used again."""
        self._room.give_back(block.voxels)

    # in any thread

    def fill(self, frame: Frame) -> Filled:
        """Decode a frame and put its pixels where they belong; BadFrame when it can't be decoded."""
        if frame.shape != self._shape:
            raise InputError(frame.where, f"frames have {frame.shape} px, the mask {self._shape}", "give its own mask")
        blocks = [block for block in self.open if block.first <= frame.index < block.last]
        buffers = self._buffers(frame)
        frame, is_sparse = self._as_events(frame)
        if is_sparse:
            events = buffers.events
            n_bytes = decode_events(frame, self._valid, events, buffers.workspace)
        else:
            pixels = buffers.workspace.dense
            n_bytes = decode_dense(frame, pixels, buffers.workspace)
        for block in blocks:
            block.claim(frame.index, buffers.marked, False)
        for block in blocks:
            if is_sparse:
                block.take_events(frame.index, events, EVENT_BIN, buffers.marked)
            else:
                block.take_dense(frame.index, pixels.reshape(-1), buffers.marked)
        for block in blocks:
            block.claim(frame.index, buffers.marked, True)
        return Filled(n_bytes, events.n if is_sparse else None)

    def _as_events(self, frame: Frame) -> tuple[Frame, bool]:
        """(the frame, its payload loaded where it was looked at; whether it is to be read as events)."""
        may = can_decode_events(frame) and frame.dtype.kind == "u" and self._limits[0] == 0
        if not may or self._wants == "dense":
            return frame, False
        payload = frame.load()
        is_sparse = 8 * payload.size < SPARSE_BITS_PER_PIXEL * frame.shape[0] * frame.shape[1]
        return replace(frame, load=lambda: payload), is_sparse or self._wants == "sparse"

    def _buffers(self, frame: Frame) -> _Buffers:
        if frame.dtype != self._dtype:
            raise BadFrame(frame.where, frame.index, f"{frame.dtype} px; the first frame had {self._dtype}")
        mine = getattr(self._mine, "buffers", None)
        if mine is None:
            marks = np.concatenate([self._blocked, np.zeros(PAD_BYTES, np.uint8)])
            marked = Marked(marks, self._shape[1], *self._limits)
            mine = self._mine.buffers = _Buffers(Workspace(frame.shape, frame.dtype), marked)
        return mine


class _Buffers:
    """Of one thread."""

    def __init__(self, workspace: Workspace, marked: Marked) -> None:
        self.workspace, self.marked = workspace, marked
        self._events: Events | None = None

    @property
    def events(self) -> Events:
        """Made when it is first asked for."""
        self._events = self._events or Events(self.workspace.shape)
        return self._events
