"""Pixels of open boxes: which belong to a reflection's foreground, and their counts copied from frame after frame.

A voxel is an int32: its count, plus OVERLAPPED where the foreground of another reflection covers it too, or UNUSABLE
where the pixel is masked, not trusted, off the panel, or was never delivered. `box` rows are first and last + 1 frame,
slow, fast; `place` rows a panel's top, left, height and width within the frame; `ray` rows are of `boxes.rays`.
Voxels of a box run (frame, slow, fast) from `voxel_at`; its foreground (slow, fast) from `pixel_at`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

UNUSABLE = -1
OVERLAPPED = 1 << 30
COUNT = OVERLAPPED - 1

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@njit(cache=True, nogil=True)
def corner_angles(ray: Floats, slow0: int, fast0: int, n_slow: int, n_fast: int, eps1: Floats, eps2: Floats) -> None:
    """eps1, eps2 (rad) at the (n_slow + 1) * (n_fast + 1) corners of a box's pixels, row after row."""
    k = 0
    for y in range(n_slow + 1):
        s = float(slow0 + y)
        a = ray[0] + ray[2] * s
        b = ray[3] + ray[5] * s
        q = ray[6] + s * (2.0 * ray[8] + s * ray[11])
        r = 2.0 * (ray[7] + s * ray[10])
        for x in range(n_fast + 1):
            f = float(fast0 + x)
            inverse = 1.0 / math.sqrt(q + f * (r + f * ray[9]))
            eps1[k] = (a + ray[1] * f) * inverse
            eps2[k] = (b + ray[4] * f) * inverse
            k += 1


@njit(cache=True, nogil=True)
def open_boxes(
    rows: Longs,
    ray: Floats,
    box: Ints,
    place: Ints,
    delta: float,
    pixel_at: Longs,
    width: int,
    eps1: Floats,
    eps2: Floats,
    foreground: Bytes,
    claims: npt.NDArray[np.uint16],
) -> None:
    """Mark the foreground of boxes that open now, and add them to the frame's count of claims.

    A pixel is foreground when any of its corners is within `delta` of the reflection.
    """
    limit = delta * delta
    for i in rows:
        n_slow, n_fast = box[i, 3] - box[i, 2], box[i, 5] - box[i, 4]
        corner_angles(ray[i], box[i, 2], box[i, 4], n_slow, n_fast, eps1, eps2)
        k = pixel_at[i]
        for y in range(n_slow):
            for x in range(n_fast):
                c = y * (n_fast + 1) + x
                nearest = eps1[c] * eps1[c] + eps2[c] * eps2[c]
                for step in (1, n_fast + 1, n_fast + 2):
                    nearest = min(nearest, eps1[c + step] * eps1[c + step] + eps2[c + step] * eps2[c + step])
                foreground[k] = nearest <= limit
                k += 1
    claim(rows, box, place, pixel_at, width, foreground, 1, claims)


@njit(cache=True, nogil=True)
def claim(
    rows: Longs,
    box: Ints,
    place: Ints,
    pixel_at: Longs,
    width: int,
    foreground: Bytes,
    change: int,
    claims: npt.NDArray[np.uint16],
) -> None:
    """Add `change` (1 or -1) to the claims on the foreground pixels of these boxes."""
    for i in rows:
        n_fast = box[i, 5] - box[i, 4]
        left, right = max(box[i, 4], 0), min(box[i, 5], place[i, 3])
        for slow in range(max(box[i, 2], 0), min(box[i, 3], place[i, 2])):
            at = (place[i, 0] + slow) * width + place[i, 1]
            k = pixel_at[i] + (slow - box[i, 2]) * n_fast - box[i, 4]
            for fast in range(left, right):
                if foreground[k + fast]:
                    claims[at + fast] = np.uint16(claims[at + fast] + change)


@njit(cache=True, nogil=True)
def collect_dense(
    frame: npt.NDArray,
    usable: npt.NDArray[np.bool_],
    claims: npt.NDArray[np.uint16],
    width: int,
    low: int,
    high: int,
    number: int,
    rows: Longs,
    box: Ints,
    place: Ints,
    pixel_at: Longs,
    voxel_at: Longs,
    foreground: Bytes,
    voxels: Ints,
) -> None:
    """Copy one frame's pixels into the open boxes `rows`; `frame`, `usable` and `claims` are flat."""
    for i in rows:
        n_fast = box[i, 5] - box[i, 4]
        area = n_fast * (box[i, 3] - box[i, 2])
        left, right = max(box[i, 4], 0), min(box[i, 5], place[i, 3])
        for slow in range(max(box[i, 2], 0), min(box[i, 3], place[i, 2])):
            at = (place[i, 0] + slow) * width + place[i, 1]
            k = (slow - box[i, 2]) * n_fast - box[i, 4]
            to = voxel_at[i] + (number - box[i, 0]) * area + k
            mine = pixel_at[i] + k
            for fast in range(left, right):
                count = np.int64(frame[at + fast])
                if usable[at + fast] and low <= count <= high:
                    shared = OVERLAPPED if claims[at + fast] > foreground[mine + fast] else 0
                    voxels[to + fast] = np.int32(count + shared)


@njit(cache=True, nogil=True)
def collect_events(
    index: Ints,
    count: npt.NDArray[np.uint32],
    offset: Ints,
    bin_px: int,
    usable: npt.NDArray[np.bool_],
    claims: npt.NDArray[np.uint16],
    width: int,
    high: int,
    number: int,
    rows: Longs,
    box: Ints,
    place: Ints,
    pixel_at: Longs,
    voxel_at: Longs,
    foreground: Bytes,
    voxels: Ints,
) -> None:
    """As `collect_dense`, from the frame's events; pixels without one have no counts."""
    for i in rows:
        n_fast = box[i, 5] - box[i, 4]
        area = n_fast * (box[i, 3] - box[i, 2])
        left, right = max(box[i, 4], 0), min(box[i, 5], place[i, 3])
        if left >= right:
            continue
        for slow in range(max(box[i, 2], 0), min(box[i, 3], place[i, 2])):
            at = (place[i, 0] + slow) * width + place[i, 1]
            k = (slow - box[i, 2]) * n_fast - box[i, 4]
            to = voxel_at[i] + (number - box[i, 0]) * area + k
            mine = pixel_at[i] + k
            for fast in range(left, right):
                if usable[at + fast]:
                    voxels[to + fast] = OVERLAPPED if claims[at + fast] > foreground[mine + fast] else 0
            for e in range(offset[(at + left) // bin_px], offset[(at + right - 1) // bin_px + 1]):
                fast = index[e] - at
                if left <= fast < right and usable[at + fast]:
                    if count[e] <= high:
                        voxels[to + fast] += np.int32(count[e])
                    else:
                        voxels[to + fast] = UNUSABLE
