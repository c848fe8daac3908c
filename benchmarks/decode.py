"""Time of unpacking one frame, beside HDF5's filter and a copy of its pixels; makes the table of docs/decoding.md.

python benchmarks/decode.py [--shape 4362,4148] [--repeats 15]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from hdrmx.frames import Codec, Frame
from hdrmx.kernels.decode import Events, Workspace, decode_dense, decode_events, pack_valid
from hdrmx.kernels.encode import encode_bslz4

MEANS = (0.005, 0.02, 0.1, 1.0)  # counts per pixel
MODULE, GAP = (514, 1030), (37, 10)  # (slow, fast), px
N_SPOTS = 300


def a_frame(shape: tuple[int, int], mean: float, dtype: str) -> tuple[npt.NDArray, npt.NDArray[np.bool_]]:
    """(pixels, mask): Poisson background, spots, module gaps and dead pixels at the highest value."""
    rng = np.random.default_rng(1)
    pixels = rng.poisson(mean, shape).astype(dtype)
    centre = rng.uniform(10, np.array(shape) - 10, (N_SPOTS, 2))
    for (slow, fast), n in zip(centre, (10 ** rng.uniform(1, 3.5, N_SPOTS)).astype(int)):
        at = np.rint(rng.normal((slow, fast), 1.3, (n, 2))).astype(int).clip(0, np.array(shape) - 1)
        np.add.at(pixels, (at[:, 0], at[:, 1]), 1)
    slow, fast = np.ogrid[: shape[0], : shape[1]]
    mask = (slow % (MODULE[0] + GAP[0]) < MODULE[0]) & (fast % (MODULE[1] + GAP[1]) < MODULE[1])
    mask &= rng.random(shape) > 1e-5
    pixels[~mask] = np.iinfo(dtype).max
    return pixels, mask


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median of this thread's processor time, the first run (compilation, page faults) left out."""
    times = []
    for _ in range(repeats + 1):
        start = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - start)
    return median(times[1:]) / 1e6


def measure(shape: tuple[int, int], mean: float, dtype: str, repeats: int) -> list[float]:
    """Bits per pixel, and milliseconds: dense, events, HDF5's filter, a copy, packing."""
    pixels, mask = a_frame(shape, mean, dtype)
    chunk = np.frombuffer(encode_bslz4(pixels), np.uint8)
    frame = Frame(0, shape, pixels.dtype, Codec.BSLZ4, lambda: chunk, "benchmark")
    out, work, events, valid = np.zeros_like(pixels), Workspace(shape, dtype), Events(shape), pack_valid(mask)
    with h5py.File("chunk.h5", "w", driver="core", backing_store=False, rdcc_nbytes=0) as file:
        data = file.create_dataset("data", shape, dtype, chunks=shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        data.id.write_direct_chunk((0, 0), chunk.tobytes())
        data.id.refresh()
        tasks: list[Callable[[], object]] = [
            lambda: decode_dense(frame, out, work),
            lambda: decode_events(frame, valid, events, work),
            lambda: data.read_direct(out),
            lambda: np.copyto(out, pixels),
            lambda: encode_bslz4(pixels),
        ]
        times = [milliseconds(task, repeats) for task in tasks]
    return [8 * chunk.size / pixels.size, *times]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shape", default="4362,4148", help="slow,fast in px")
    arguments.add_argument("--repeats", type=int, default=15)
    given = arguments.parse_args()
    slow, fast = (int(n) for n in given.shape.split(","))
    print(f"{slow} x {fast} px, {platform.machine()}, ms of one thread's processor time, medians of {given.repeats}")
    print("| pixels | counts/px | bits/px | dense | events | HDF5 filter | copy | pack |\n" + 8 * "|---" + "|")
    for dtype in ("uint16", "uint32"):
        for mean in MEANS:
            bits, *times = measure((slow, fast), mean, dtype, given.repeats)
            print(f"| {dtype} | {mean:g} | {bits:.2f} | " + " | ".join(f"{t:.2f}" for t in times) + " |", flush=True)


if __name__ == "__main__":
    main()
