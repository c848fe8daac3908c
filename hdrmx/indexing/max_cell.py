"""The longest cell edge that the distances between neighbouring spots speak for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from hdrmx.indexing.reciprocal import Floats, Points

BLOCK_RAD = np.radians(45.0)
NEIGHBOURS = 4  # looked at, to step over the pieces of a split spot
PER_BIN = 5  # neighbour distances per bin of the histogram, on average
DROPPED = 0.01  # fraction of the longest spacings that is left out
HEIGHT = 0.25  # of the highest bin, for the last bin that counts
MULTIPLIER = 1.3


def max_cell(points: Points, spots: pd.DataFrame) -> float | None:
    """Longest cell edge to look for, A; None where too few spots have a neighbour.

    Spots are taken in blocks of 45 degrees, those entering and those leaving the Ewald sphere apart, since
    neighbours in one layer of the lattice are neighbours there. The inverse distances to the nearest
    neighbour are put into bins of equal width of their logarithm; the last bin that is at least a quarter
    as high as the highest gives the spacing of the lattice, and 1.3 times it is returned.

    Notes
    -----
    Time ~ spots log spots. The estimate is that of DIALS (`max_cell`); departs from it: each block adds its own
    distances once, and a neighbour whose box touches the spot's own (a split spot) is stepped over
    rather than both being dropped.
    """
    spacing = neighbour_spacings(points, spots)
    if len(spacing) < PER_BIN:
        return None
    spacing = np.sort(spacing)[: max(PER_BIN, round(len(spacing) * (1.0 - DROPPED)))]
    logs = np.log(spacing)
    if logs[-1] - logs[0] < 1e-6:
        return float(MULTIPLIER * spacing[-1])
    height, edges = np.histogram(logs, bins=max(1, len(logs) // PER_BIN))
    last = np.flatnonzero(height >= HEIGHT * height.max())[-1]
    return float(MULTIPLIER * np.exp(edges[last + 1]))


def neighbour_spacings(points: Points, spots: pd.DataFrame) -> Floats:
    """Inverse distance (A) from each spot to its nearest neighbour of the same block, in blocks' order."""
    boxes = spots[["panel", "frame_min", "frame_max", "slow_min", "slow_max", "fast_min", "fast_max"]].to_numpy()
    block = np.floor((points.angle_rad - points.angle_rad.min(initial=0.0)) / BLOCK_RAD).astype(np.int64)
    key = (points.sweep * (block.max(initial=0) + 1) + block) * 2 + points.entering
    order = np.argsort(key, kind="stable")
    found = []
    for mine in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        if len(mine) > 1:
            found.append(_spacings_of_block(points.r[mine], boxes[mine]))
    return np.concatenate(found) if found else np.zeros(0)


def _spacings_of_block(r: Floats, boxes: np.ndarray) -> Floats:
    k = min(NEIGHBOURS + 1, len(r))
    distance, neighbour = (np.asarray(x) for x in cKDTree(r).query(r, k=k))
    # the nearest is the spot itself, or another at the very same place
    usable = (distance > 1e-9) & ~_boxes_touch(boxes[:, None, :], boxes[neighbour])
    first = np.argmax(usable, axis=1)
    rows = np.flatnonzero(usable.any(axis=1))
    return 1.0 / distance[rows, first[rows]]


def _boxes_touch(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    same_panel = a[..., 0] == b[..., 0]
    apart = np.zeros(np.broadcast_shapes(a.shape, b.shape)[:-1], bool)
    for low in (1, 3, 5):
        apart |= (a[..., low] > b[..., low + 1]) | (b[..., low] > a[..., low + 1])
    return same_panel & ~apart
