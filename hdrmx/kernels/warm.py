"""Kernels compiled, or loaded from the cache, before anything is timed."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import numpy.typing as npt

from hdrmx.frames import Codec, Frame

SHAPE = (16, 80)


def warm_up(dtype: npt.DTypeLike, *, keep_pixels: bool = False) -> dict[str, float]:
    """Run the kernels of spot finding once on tiny frames of this dtype, along the paths that real frames take.

    Parameters
    ----------
    dtype : of the frames: uint8, uint16, uint32 or int32
    keep_pixels : with the kernel that this setting needs

    Returns
    -------
    Seconds for each path, in the order taken; what paths share counts for the first
    """
    from hdrmx.models import Beam, Detector, Geometry, Panel, Scan
    from hdrmx.params import FindSpots
    from hdrmx.stages.find_spots import find_spots  # a caller of kernels, so imported only when called

    panel = Panel("warm-up", SHAPE, (0.1, 0.1), (0.0, 0.0, -100.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    where = Geometry(Beam(1.0), Detector((panel,), (0.0, 100.0)), scan=Scan(0, 2, 0.0, 0.01))
    mask = np.ones(SHAPE, bool)
    seconds = {}
    for name, (codec, payload, kernel) in _paths(np.dtype(dtype)).items():
        begin = time.perf_counter()
        load = partial(np.asarray, payload)
        frames = [Frame(k, SHAPE, np.dtype(dtype), codec, load, "warm-up") for k in range(2)]
        find_spots(frames, mask, where, FindSpots(kernel=kernel, keep_pixels=keep_pixels))
        seconds[name] = time.perf_counter() - begin
    return seconds


def _paths(dtype: np.dtype) -> dict[str, tuple[Codec, npt.NDArray[np.uint8], str]]:
    """Codec, payload and `FindSpots.kernel` of each path."""
    pixels = np.full(SHAPE, 10, dtype)  # too many counts for 16-bit lanes, so that those of 32 bits run too
    pixels[6:9, 30:33] = 90
    raw = pixels.view(np.uint8).reshape(-1)
    chunk = _literal_bslz4(pixels)
    paths = {
        "dense": (Codec.RAW, raw, "dense"),
        "bslz4, dense": (Codec.BSLZ4, chunk, "dense"),
        "bslz4, events": (Codec.BSLZ4, chunk, "sparse"),
    }
    if dtype == np.int32:
        paths["byte-offset"] = (Codec.BYTE_OFFSET, np.zeros(pixels.size, np.uint8), "dense")
    return paths


def _literal_bslz4(pixels: npt.NDArray) -> npt.NDArray[np.uint8]:
    """A bitshuffle-LZ4 chunk of one block whose bytes all stand as they are: no encoder need be compiled for it."""
    bits = np.unpackbits(pixels.view(np.uint8).reshape(pixels.size, -1), axis=1, bitorder="little")
    planes = np.packbits(bits.T, axis=1, bitorder="little").tobytes()
    rest = len(planes) - 15
    block = bytes([0xF0]) + b"\xff" * (rest // 255) + bytes([rest % 255]) + planes
    header = len(planes).to_bytes(8, "big") + len(planes).to_bytes(4, "big")
    return np.frombuffer(header + len(block).to_bytes(4, "big") + block, np.uint8)
