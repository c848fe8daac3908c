"""A frame as it comes from a detector or a file, still compressed, and the sources that deliver frames.

A frame carries its payload and how to decode it (`kernels.decode`); nothing is decoded
until a stage asks, in the thread and into the buffer of that stage's choosing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hdrmx.models import Geometry


class Codec(enum.Enum):
    """How a frame's payload is packed."""

    BSLZ4 = "bitshuffle-lz4"  # HDF5 filter 32008, with its 12-byte header
    LZ4 = "lz4"  # HDF5 filter 32004, with its 12-byte header
    BYTE_OFFSET = "byte-offset"  # CBF; payload starts at the first delta
    RAW = "raw"  # the pixels themselves, little-endian, C order


@dataclass(frozen=True, slots=True)
class Frame:
    """One detector read-out.

    Attributes
    ----------
    index : position in the scan, from 0 (image number - 1), not in the file
    shape : (slow, fast), px
    dtype : uint8, uint16, uint32 or int32 (CBF), native byte order
    load : returns the payload as uint8 array (n_bytes,); does the I/O in the calling thread;
        raises `errors.BadFrame` when the payload can't be had
    where : file and data set, for messages
    """

    index: int
    shape: tuple[int, int]
    dtype: np.dtype
    codec: Codec
    load: Callable[[], npt.NDArray[np.uint8]]
    where: str


class FrameSource(Protocol):
    """Anything that delivers the frames of one scan (or a set of stills) with their geometry.

    The same frames give the same results, to the byte, whatever the source.
    """

    @property
    def name(self) -> str:
        """What the user named: a path or template."""

    @property
    def template(self) -> str:
        """Where other programs find the same frames: the HDF5 file, or the path with # for the image number."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(slow, fast), True where a pixel may be used at any frame; sentinels by value come on top."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def indices(self) -> range:
        """Scan positions of the frames that `frames` delivers."""

    def frames(self) -> Iterator[Frame]:
        """In scan order; may be called again. Each frame's `load` is safe to call from any thread."""

    def close(self) -> None: ...
