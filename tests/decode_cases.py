"""Frames, packed by others, for the tests of the decoders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from hdrmx.frames import Codec, Frame

FILTERS = {32008: Codec.BSLZ4, 32004: Codec.LZ4}


def frame_of(
    payload: bytes | npt.NDArray[np.uint8], shape: tuple[int, int], dtype: npt.DTypeLike, codec: Codec
) -> Frame:
    """A frame with this payload, number 7 of `test.h5`."""
    data = np.frombuffer(bytes(payload), np.uint8)
    return Frame(7, shape, np.dtype(dtype), codec, lambda: data, "test.h5:/entry/data/data")


def pack_by_hdf5(pixels: npt.NDArray, codec: Codec, block_elements: int = 0) -> bytes:
    """The chunk that h5py and hdf5plugin write."""
    pack = hdf5plugin.Bitshuffle(block_elements, "lz4") if codec is Codec.BSLZ4 else hdf5plugin.LZ4(block_elements)
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", data=pixels, chunks=pixels.shape, **pack)
        return data.id.read_direct_chunk((0,) * pixels.ndim)[1]


def pack_byte_offset(pixels: npt.NDArray) -> bytes:
    """Byte-offset data, pixel by pixel from the format's description."""
    out = bytearray()
    before = 0
    for value in pixels.reshape(-1).tolist():
        step = value - before
        if -127 <= step <= 127:
            out += step.to_bytes(1, "little", signed=True)
        elif -32767 <= step <= 32767:
            out += b"\x80" + step.to_bytes(2, "little", signed=True)
        elif -(2**31) < step < 2**31:
            out += b"\x80\x00\x80" + step.to_bytes(4, "little", signed=True)
        else:
            out += b"\x80\x00\x80\x00\x00\x00\x80" + step.to_bytes(8, "little", signed=True)
        before = value
    return bytes(out)


def photons(seed: int, shape: tuple[int, int], dtype: npt.DTypeLike, mean: float) -> npt.NDArray:
    """Poisson counts, some bright pixels, a gap and dead pixels at the highest value."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    frame = rng.poisson(mean, shape).clip(0, top).astype(dtype)
    bright = rng.random(shape) < 0.01
    frame[bright] = rng.integers(0, min(top, 2**31), bright.sum())
    frame[:, shape[1] // 2 : shape[1] // 2 + 3] = top
    frame[rng.random(shape) < 0.001] = top
    return frame


def real_frames(folder: Path) -> Iterator[tuple[str, Frame, npt.NDArray]]:
    """(name, frame, pixels as h5py reads them) of every LZ4 chunk in the EIGER files below `folder`."""
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            for name, data in _stacks(file):
                codec = next((FILTERS[int(k)] for k in data._filters if int(k) in FILTERS), None)
                for index in range(min(len(data), 5)) if codec else ():
                    chunk = data.id.read_direct_chunk((index, 0, 0))[1]
                    where = f"{path.name}:{name}[{index}]"
                    yield where, frame_of(chunk, data.shape[1:], data.dtype, codec), data[index]


def _stacks(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.chunks and item.chunks == (1, *item.shape[1:]):
            found.append((name, item))

    file.visititems(keep)
    return found
