"""Memory that decoding works in: made once, used for every frame of a scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdrmx.kernels.bitshuffle import DEFAULT_BLOCK_BYTES, EVENT_BIN
from hdrmx.kernels.intrinsics import PAD_BYTES

_EVENTS_PER_PIXEL = 1 / 16  # room made at first; grows when a frame has more


class Workspace:
    """Scratch memory for decoding frames of one shape and dtype; one for each thread, reused for all frames.

    Parameters
    ----------
    shape : (slow, fast), px
    dtype : uint8, uint16, uint32 or int32
    """

    def __init__(self, shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.uint8, np.uint16, np.uint32, np.int32):
            raise ValueError(f"dtype is {self.dtype}; uint8, uint16, uint32 and int32 can be decoded")
        self.n_pixels = self.shape[0] * self.shape[1]
        self._dense: npt.NDArray | None = None
        self._make_room(DEFAULT_BLOCK_BYTES)

    def _make_room(self, block_bytes: int) -> None:
        """Let `scratch` (also seen as `words`) and `summary` hold a block of this size."""
        n_words = block_bytes // 8 + PAD_BYTES // 8
        self.words = np.zeros(n_words, np.uint64)
        self.scratch = self.words.view(np.uint8)
        self.summary = np.zeros(2 * n_words // self.dtype.itemsize // 8 + 16, np.uint64)

    def fit(self, block_bytes: int) -> None:
        """Make the scratch memory larger where a block of this size needs it."""
        if block_bytes + PAD_BYTES > self.scratch.size:
            self._make_room(-(-block_bytes // 8) * 8)

    @property
    def dense(self) -> npt.NDArray:
        """(slow, fast) buffer for a whole frame, made when it is first asked for."""
        if self._dense is None:
            self._dense = np.zeros(self.shape, self.dtype)
        return self._dense


class Events:
    """The pixels of a frame that are valid and have counts, in the order of their index.

    Attributes
    ----------
    n : number of events
    index : int32, slow * shape[1] + fast; the first n entries count
    count : uint32; counts at or above a saturation limit are kept, the caller tests them
    offset : int32 (n_pixels // 256 + 2,); events of pixels [256 k, 256 k + 256) are offset[k]:offset[k + 1]
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.n = 0
        self.n_pixels = int(shape[0]) * int(shape[1])
        self.offset = np.zeros(self.n_pixels // EVENT_BIN + 2, np.int32)
        self._allocate(int(self.n_pixels * _EVENTS_PER_PIXEL) + 2 * DEFAULT_BLOCK_BYTES)

    def _allocate(self, n: int) -> None:
        self.index = np.empty(n, np.int32)
        self.count = np.empty(n, np.uint32)

    def grow(self) -> None:
        """Double the room; what was in it is lost."""
        self._allocate(2 * self.index.size)

    def finish(self, n: int) -> None:
        """Set the number of events and close the offsets."""
        self.n = n
        self.offset[-(-self.n_pixels // EVENT_BIN) :] = n


def pack_valid(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The mask of a frame as one bit a pixel, as `decode_events` takes it.

    Parameters
    ----------
    mask : (slow, fast), True where a pixel is wanted

    Returns
    -------
    uint8 (n_pixels / 8, rounded up, + padding): bit k % 8 of byte k // 8 is pixel k
    """
    bits = np.packbits(np.asarray(mask, bool).reshape(-1), bitorder="little")
    return np.concatenate([bits, np.zeros(PAD_BYTES, np.uint8)])
