"""Somebody else's small pipeline, measured: radial averages of frames, and the rings in them.

Only the lines with `span`, `measured`, `count`, `answer` and `recording` were added for measuring; see
docs/measure_your_own.md. Run it as `python examples/measure_your_own.py FOLDER`, then `hdrmx-profile --attach FOLDER`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hdrmx.measure import answer, count, measured, recording, span

N_FRAMES, SHAPE = 20, (128, 160)
RINGS_PX = (20, 34, 51)
Array = npt.NDArray[np.float64]


def read() -> Iterator[Array]:
    """Frames with three rings; a real program would read files here."""
    slow, fast = np.indices(SHAPE)
    radius = np.hypot(slow - SHAPE[0] / 2, fast - SHAPE[1] / 2)
    expected = 2.0 + sum(30.0 * np.exp(-((radius - ring) ** 2) / 2) for ring in RINGS_PX)
    rng = np.random.default_rng(1)
    for _ in range(N_FRAMES):
        with span("read"):
            yield rng.poisson(expected).astype(float)


@measured
def radial_average(frame: Array) -> Array:
    """Mean count by distance from the centre, px."""
    slow, fast = np.indices(frame.shape)
    radius = np.hypot(slow - frame.shape[0] / 2, fast - frame.shape[1] / 2).astype(int)
    count(frames=1, pixels=frame.size)
    return np.bincount(radius.ravel(), frame.ravel()) / np.maximum(np.bincount(radius.ravel()), 1)


@measured("find rings")
def rings(average: Array) -> list[int]:
    """Radii of the local maxima that stand twice above the median."""
    inner = average[1:-1]
    peak = (inner > average[:-2]) & (inner >= average[2:]) & (inner > 2 * np.median(average))
    found = (np.flatnonzero(peak) + 1).tolist()
    answer(rings_px=found)
    return found


def main() -> list[int]:
    with span("average"):
        averages = [radial_average(frame) for frame in read()]
    return rings(np.mean(averages, axis=0))


if __name__ == "__main__":
    with recording(sys.argv[1] if len(sys.argv) > 1 else "measured", pipeline="rings", params={"frames": N_FRAMES}):
        main()
