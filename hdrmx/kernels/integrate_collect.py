"""Pixels of open boxes: which belong to a reflection's foreground, and their counts copied from frame after frame.

A voxel is an int32: its count, plus OVERLAPPED where the foreground of another reflection covers it too, or UNUSABLE
where the pixel is masked, not trusted, off the panel, or was never delivered. `box` rows are first and last + 1 frame,
slow, fast; `place` rows a panel's top, left, height and width within the frame; `ray` rows are of `boxes.rays`.
Voxels of a box run (frame, slow, fast) from `voxel_at`; its foreground (slow, fast) from `pixel_at`. `marks` has a byte
for each pixel of the frame: BLOCKED where it is masked, plus the number of foregrounds that cover it in this frame.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.intrinsics import load64, store64

UNUSABLE = -1
OVERLAPPED = 1 << 30
COUNT = OVERLAPPED - 1
BLOCKED = 128  # so up to 127 foregrounds may cover a pixel; under more it can't be used
LANES = 8  # pixels of a row worked on together

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
def outline(
    begin: int,
    end: int,
    ray: Floats,
    box: Ints,
    delta: float,
    pixel_at: Longs,
    eps1: Floats,
    eps2: Floats,
    foreground: Bytes,
    inner: Ints,
) -> None:
    """Mark the foreground of the boxes begin:end, and set `inner` to its first and last + 1 slow, fast within the box.

    A pixel is foreground when any of its corners is within `delta` of the reflection.
    """
    limit = delta * delta
    for i in range(begin, end):
        n_slow, n_fast = box[i, 3] - box[i, 2], box[i, 5] - box[i, 4]
        corner_angles(ray[i], box[i, 2], box[i, 4], n_slow, n_fast, eps1, eps2)
        for c in range((n_slow + 1) * (n_fast + 1)):
            eps1[c] = eps1[c] * eps1[c] + eps2[c] * eps2[c]
        k = pixel_at[i]
        top, bottom, left, right = n_slow, 0, n_fast, 0
        for y in range(n_slow):
            for x in range(n_fast):
                c = y * (n_fast + 1) + x
                nearest = min(min(eps1[c], eps1[c + 1]), min(eps1[c + n_fast + 1], eps1[c + n_fast + 2]))
                foreground[k] = nearest <= limit
                if nearest <= limit:
                    top, bottom, left, right = min(top, y), y + 1, min(left, x), max(right, x + 1)
                k += 1
        inner[i, 0], inner[i, 1], inner[i, 2], inner[i, 3] = min(top, bottom), bottom, min(left, right), right


@njit(cache=True, nogil=True)
def claim(
    number: int,
    n_opened: int,
    box: Ints,
    inner: Ints,
    place: Ints,
    pixel_at: Longs,
    width: int,
    foreground: Bytes,
    takes_back: bool,
    marks: Bytes,
) -> None:
    """Add the foregrounds that are open in frame `number` to the marks, or take them back; rows :n_opened may be.

    Eight marks at a time; `marks` and `foreground` have room for as many more at their end.
    """
    for i in range(n_opened):
        if box[i, 0] > number or box[i, 1] <= number:
            continue
        n_fast = box[i, 5] - box[i, 4]
        left, right = max(box[i, 4] + inner[i, 2], 0), min(box[i, 4] + inner[i, 3], place[i, 3])
        for slow in range(max(box[i, 2] + inner[i, 0], 0), min(box[i, 2] + inner[i, 1], place[i, 2])):
            at = (place[i, 0] + slow) * width + place[i, 1]
            k = pixel_at[i] + (slow - box[i, 2]) * n_fast - box[i, 4]
            for fast in range(left, right, LANES):
                mine = load64(foreground, k + fast)
                if right - fast < LANES:
                    mine &= (np.uint64(1) << np.uint64(8 * (right - fast))) - np.uint64(1)
                now = load64(marks, at + fast)
                store64(marks, at + fast, now - mine if takes_back else now + mine)


@njit(cache=True, nogil=True)
def collect_dense(
    frame: npt.NDArray,
    low: int,
    high: int,
    marks: Bytes,
    width: int,
    number: int,
    n_opened: int,
    box: Ints,
    place: Ints,
    pixel_at: Longs,
    voxel_at: Longs,
    foreground: Bytes,
    voxels: Ints,
) -> None:
    """Copy the pixels of frame `number` into the boxes that are open in it; `frame` and `marks` are flat."""
    least, most = np.int32(low), np.int32(high)
    for i in range(n_opened):
        if box[i, 0] > number or box[i, 1] <= number:
            continue
        n_fast = box[i, 5] - box[i, 4]
        area = n_fast * (box[i, 3] - box[i, 2])
        left, right = max(box[i, 4], 0), min(box[i, 5], place[i, 3])
        for slow in range(max(box[i, 2], 0), min(box[i, 3], place[i, 2])):
            at = (place[i, 0] + slow) * width + place[i, 1]
            k = (slow - box[i, 2]) * n_fast - box[i, 4]
            to = voxel_at[i] + (number - box[i, 0]) * area + k
            mine = pixel_at[i] + k
            for start in range(left, right, LANES):
                # the last lanes of a row are done twice rather than one by one
                fast = min(start, right - LANES) if right - left >= LANES else start
                f, m, t = np.uint64(at + fast), np.uint64(mine + fast), np.uint64(to + fast)
                if right - fast < LANES:
                    for j in range(np.uint64(right - fast)):
                        voxels[t + j] = _voxel(frame[f + j], marks[f + j], foreground[m + j], least, most)
                elif load64(marks, at + fast) == load64(foreground, mine + fast):  # nothing masked, nothing shared
                    for j in range(np.uint64(LANES)):
                        count = np.int32(frame[f + j])
                        voxels[t + j] = count if least <= count <= most else np.int32(UNUSABLE)
                else:
                    for j in range(np.uint64(LANES)):
                        voxels[t + j] = _voxel(frame[f + j], marks[f + j], foreground[m + j], least, most)


@njit(cache=True, nogil=True)
def _voxel(count: Any, mark: Any, mine: Any, low: Any, high: Any) -> np.int32:
    c = np.int32(count)  # counts of 2^31 and more turn negative, so below `low`
    shared = np.int32(OVERLAPPED) if (mark & 127) > mine else np.int32(0)
    is_fine = (mark < BLOCKED) & (c >= low) & (c <= high)
    return c | shared if is_fine else np.int32(UNUSABLE)


@njit(cache=True, nogil=True)
def collect_events(
    index: Ints,
    count: npt.NDArray[np.uint32],
    offset: Ints,
    bin_px: int,
    high: int,
    marks: Bytes,
    width: int,
    number: int,
    n_opened: int,
    box: Ints,
    place: Ints,
    pixel_at: Longs,
    voxel_at: Longs,
    foreground: Bytes,
    voxels: Ints,
) -> None:
    """As `collect_dense`, from the frame's events; pixels without one have no counts."""
    for i in range(n_opened):
        if box[i, 0] > number or box[i, 1] <= number:
            continue
        n_fast = box[i, 5] - box[i, 4]
        area = n_fast * (box[i, 3] - box[i, 2])
        left, right = max(box[i, 4], 0), min(box[i, 5], place[i, 3])
        if left >= right:
            continue
        for slow in range(max(box[i, 2], 0), min(box[i, 3], place[i, 2])):
            at = (place[i, 0] + slow) * width + place[i, 1]
            k = (slow - box[i, 2]) * n_fast - box[i, 4]
            to = voxel_at[i] + (number - box[i, 0]) * area + k
            f, m, t = np.uint64(at + left), np.uint64(pixel_at[i] + k + left), np.uint64(to + left)
            for j in range(np.uint64(right - left)):
                voxels[t + j] = _voxel(0, marks[f + j], foreground[m + j], 0, 0)
            for e in range(offset[(at + left) // bin_px], offset[(at + right - 1) // bin_px + 1]):
                fast = index[e] - at
                if left <= fast < right and voxels[to + fast] != UNUSABLE:
                    if count[e] <= high:
                        voxels[to + fast] += np.int32(count[e])
                    else:
                        voxels[to + fast] = UNUSABLE
