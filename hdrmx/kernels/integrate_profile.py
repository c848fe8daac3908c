"""Profiles of reflections: what a pixel and a frame catch of one, and how it is learned from boxes.

A profile is a density over eps1, eps2 (nodes of a square grid, linear in between) times one over eps3 (bins), in units
of sigma_b and sigma_m; its weights add up to 1. What a pixel catches of it is found by points spread evenly over the
pixels, each of them shared out over the depths at which the sensor absorbs; what a frame catches is exact.

Near a reflection its profile lies on the panel as `lay` says, a row of LAY numbers: X0, XF, XS, Y0, YF, YS, with
node coordinates X0 + XF fast + XS slow and Y0 + YF fast + YS slow (px of the panel) for rays absorbed at their mean
depth; FAST_MM, SLOW_MM, by how many px a ray moves on along each mm of its path in the sensor; MU and PATH, the
absorption per mm and the path through the whole sensor (0: no depth). The boxes are those of `integrate_collect`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from hdrmx.kernels.integrate_collect import COUNT, OVERLAPPED, UNUSABLE

STEP, REACH = 0.375, 4.5  # of the grid, in sigma_b
NODES = int(2 * REACH / STEP) + 1
BIN, REACH_ALONG = 0.5, 5.0  # in sigma_m
BINS = int(2 * REACH_ALONG / BIN)

X0, XF, XS, Y0, YF, YS, FAST_MM, SLOW_MM, MU, PATH = range(10)
LAY = 10
MOST_DEPTHS = 8
MOST_PHOTONS = 5000.0  # that a reflection counts for in learning: each is a little unlike the others
_TINY = 1e-12

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def depths(lay: Floats, points: int, depth: Floats) -> int:
    """Fill `depth` (3, MOST_DEPTHS): shift along fast and slow (px) from the mean, and part absorbed. Returns number.

    The path through the sensor is cut into equal lengths, each with its mean depth: exp(-mu x), cut off at the path's
    end. One is enough where the whole path spans less than a third of a pixel.
    """
    path, mu = lay[PATH], lay[MU]
    span = path * math.hypot(lay[FAST_MM], lay[SLOW_MM])
    if span < 1.0 / 3.0 or mu <= 0.0:
        depth[:, 0] = 0.0
        depth[2, 0] = 1.0
        return 1
    n = min(max(math.ceil(span * points / 1.5), 2), MOST_DEPTHS)
    step = path / n
    left = math.exp(-mu * step)
    within = 1.0 / mu - step * left / (1.0 - left)  # mean depth within a length
    everything = 1.0 - math.exp(-mu * path)
    mean = 1.0 / mu - path * (1.0 - everything) / everything
    for q in range(n):
        at = q * step + within - mean
        depth[0, q], depth[1, q] = at * lay[FAST_MM], at * lay[SLOW_MM]
        depth[2, q] = math.exp(-mu * q * step) * (1.0 - left) / everything
    return n


@njit(cache=True, nogil=True)
def shifts(depth: Floats, n_depths: int, points: int, shift: Ints) -> None:
    """`shift` (2, MOST_DEPTHS): along fast and slow, pixel k gets the points shift + k * points and those after it.

    A pixel has `points` points along each edge, the first of them half a spacing from its edge.
    """
    for q in range(n_depths):
        shift[0, q] = math.ceil(-depth[0, q] * points - 0.5)
        shift[1, q] = math.ceil(-depth[1, q] * points - 0.5)


@njit(cache=True, nogil=True)
def _density(profile: Floats, lay: Floats, box: Ints, v: int, first: int, fine: float, line: Floats) -> None:
    """The profile's density at the points of row v, from `first` on, in weights of a point's area."""
    slow = box[2] + (v + 0.5) * fine
    fast = box[4] + (first + 0.5) * fine
    a0 = lay[X0] + lay[XF] * fast + lay[XS] * slow
    b0 = lay[Y0] + lay[YF] * fast + lay[YS] * slow
    da, db = lay[XF] * fine, lay[YF] * fine
    for u in range(len(line)):
        a, b = a0 + u * da, b0 + u * db
        value = 0.0
        if 0.0 <= a < NODES - 1 and 0.0 <= b < NODES - 1:
            m, n = np.int32(a), np.int32(b)
            fx, fy = a - m, b - n
            g = np.uint64(n * NODES + m)
            h = g + np.uint64(NODES)
            low = profile[g] + fx * (profile[g + np.uint64(1)] - profile[g])
            high = profile[h] + fx * (profile[h + np.uint64(1)] - profile[h])
            value = low + fy * (high - low)
        line[u] = value


@njit(cache=True, nogil=True)
def spread(
    profile: Floats,
    lay: Floats,
    depth: Floats,
    shift: Ints,
    n_depths: int,
    points: int,
    box: Ints,
    window: Ints,
    lines: Floats,
    part: Floats,
) -> None:
    """Set `part` to the fraction of a profile on each pixel of the window (top, bottom, left, right) of a box.

    `part` runs over all pixels of the box; those outside of the window are left as they are. `lines` (2, n) is work
    space for the points of a row of the window and about it.
    """
    top, bottom, left, right = window[0], window[1], window[2], window[3]
    n_fast = box[5] - box[4]
    for y in range(top, bottom):
        part[y * n_fast + left : y * n_fast + right] = 0.0
    first, last = left * points + shift[0, :n_depths].min(), right * points + shift[0, :n_depths].max()
    above, below = top * points + shift[1, :n_depths].min(), bottom * points + shift[1, :n_depths].max()
    fine = 1.0 / points
    area = abs(lay[XF] * lay[YS] - lay[XS] * lay[YF]) * fine * fine
    line, sums = lines[0, : last - first], lines[1, : last - first]
    for v in range(above, below):
        _density(profile, lay, box, v, first, fine, line)
        for u in range(len(line) - points + 1):
            total = line[u]
            for j in range(1, points):
                total += line[u + j]
            sums[u] = total * area
        for q in range(n_depths):
            y = (v - shift[1, q]) // points
            if top <= y < bottom:
                at, begin = y * n_fast, shift[0, q] - first
                for x in range(left, right):
                    part[at + x] += depth[2, q] * sums[begin + x * points]


@njit(cache=True, nogil=True)
def gather(
    told: Floats,
    lay: Floats,
    depth: Floats,
    shift: Ints,
    n_depths: int,
    points: int,
    box: Ints,
    amount: float,
    lines: Floats,
    out: Floats,
) -> None:
    """The transpose of `spread` over a whole box: to each node, amount times what is `told` of its pixels.

    `told` (3, pixels): counts over their mean, 1 where the pixel counts, 1 over the mean; added to `out` (3, nodes),
    the last of them times the intensity that one node's weight of 1 in all of the pixel would give it. `lines` (3, n)
    is work space for the points of a row of the box and about it.
    """
    n_slow, n_fast = box[3] - box[2], box[5] - box[4]
    first, last = shift[0, :n_depths].min(), n_fast * points + shift[0, :n_depths].max()
    above, below = shift[1, :n_depths].min(), n_slow * points + shift[1, :n_depths].max()
    fine = 1.0 / points
    scale = amount * abs(lay[XF] * lay[YS] - lay[XS] * lay[YF]) * fine * fine
    whole = scale * points * points
    for v in range(above, below):
        slow = box[2] + (v + 0.5) * fine
        lines[:, : last - first] = 0.0
        for q in range(n_depths):
            y = (v - shift[1, q]) // points
            if 0 <= y < n_slow:
                for x in range(n_fast):
                    u = x * points + shift[0, q] - first
                    for kind in range(3):
                        value = depth[2, q] * told[kind, y * n_fast + x]
                        for j in range(points):
                            lines[kind, u + j] += value
        for u in range(last - first):
            fast = box[4] + (first + u + 0.5) * fine
            a = lay[X0] + lay[XF] * fast + lay[XS] * slow
            b = lay[Y0] + lay[YF] * fast + lay[YS] * slow
            if not (0.0 <= a < NODES - 1 and 0.0 <= b < NODES - 1):
                continue
            m, n = int(a), int(b)
            right, high = a - m, b - n
            g = n * NODES + m
            _give(out[0], g, scale * lines[0, u], high, right)
            _give(out[1], g, scale * lines[1, u], high, right)
            _give(out[2], g, scale * whole * lines[2, u], high, right)


@njit(cache=True, nogil=True)
def _give(nodes: Floats, g: int, amount: float, high: float, right: float) -> None:
    """Share an amount out over the four nodes about a point."""
    nodes[g] += amount * (1.0 - high) * (1.0 - right)
    nodes[g + 1] += amount * (1.0 - high) * right
    nodes[g + NODES] += amount * high * (1.0 - right)
    nodes[g + NODES + 1] += amount * high * right


@njit(cache=True, nogil=True)
def frame_shares(
    first: int, n: int, frame: float, per_frame: float, weights: Floats, out: Floats, shares: Floats
) -> None:
    """Fraction of a profile in each of n frames from `first` on; `per_frame` is eps3 / sigma_m of a frame, above 0.

    `shares` (n, BINS), where it has rows, is set to each bin's part in each frame.
    """
    for z in range(n):
        begin = ((first + z - frame) * per_frame + REACH_ALONG) / BIN
        end = begin + per_frame / BIN
        out[z] = 0.0
        if len(shares):
            shares[z, :] = 0.0
        for g in range(max(math.floor(begin), 0), min(math.ceil(end), BINS)):
            part = min(end, g + 1.0) - max(begin, float(g))
            if part > 0:
                out[z] += part * weights[g]
                if len(shares):
                    shares[z, g] = part


@njit(cache=True, nogil=True)
def images(rows: Longs, box: Ints, voxel_at: Longs, voxels: Ints, image_at: Longs, image: Ints) -> None:
    """Counts summed over a box's frames, pixel by pixel; UNUSABLE where one of them can't be used or is shared."""
    for r in range(len(rows)):
        i = rows[r]
        area = (box[i, 3] - box[i, 2]) * (box[i, 5] - box[i, 4])
        mine = image[image_at[r] : image_at[r] + area]
        mine[:] = 0
        for z in range(box[i, 1] - box[i, 0]):
            at = voxel_at[i] + z * area
            for k in range(area):
                voxel = voxels[at + k]
                is_whole = (mine[k] != UNUSABLE) & (voxel != UNUSABLE) & ((voxel & OVERLAPPED) == 0)
                mine[k] = mine[k] + voxel if is_whole else UNUSABLE


@njit(cache=True, nogil=True)
def learn_across(
    begin: int,
    end: int,
    rows: Longs,
    lay: Floats,
    box: Ints,
    image_at: Longs,
    image: Ints,
    points: int,
    intensity: Floats,
    background: Floats,
    weights: Floats,
    room: Floats,
    lines: Floats,
    out: Floats,
) -> None:
    """One step of expectation over the reflections rows[begin:end], for the profile over eps1, eps2.

    Counts summed over a box's frames are Poisson with mean n b + I p. Sets `out` (3, nodes) to the intensity ascribed
    to each node, what would be gained by a node of weight 1, and a bound of the likelihood's curvature in its weight;
    also betters `intensity` and `background` (of a voxel) of each row, given in the order of `rows`.
    `room` has four times the pixels of the largest box, `lines` (3, n) the points of its rows and about them.
    """
    depth, shift = np.empty((3, MOST_DEPTHS)), np.empty((2, MOST_DEPTHS), np.int32)
    window = np.zeros(4, np.int32)
    out[:] = 0.0
    for r in range(begin, end):
        i = rows[r]
        n_slow, n_fast = box[i, 3] - box[i, 2], box[i, 5] - box[i, 4]
        area = n_slow * n_fast
        part, told = room[:area], room[area : 4 * area].reshape((3, area))
        n_depths = depths(lay[i], points, depth)
        shifts(depth, n_depths, points, shift)
        window[1], window[3] = n_slow, n_fast
        spread(weights, lay[i], depth, shift, n_depths, points, box[i], window, lines, part)
        n_frames = box[i, 1] - box[i, 0]
        amount, base = intensity[r], background[r] * n_frames
        weight = min(1.0, MOST_PHOTONS / max(amount, 1.0))
        from_profile, from_base, caught, n_pixels = 0.0, 0.0, 0.0, 0
        for k in range(area):
            count = image[image_at[r] + k]
            told[:, k] = 0.0
            if count != UNUSABLE:
                mean = base + amount * part[k] + _TINY
                ratio = count / mean
                told[0, k], told[1, k], told[2, k] = ratio, 1.0, 1.0 / (mean * weight)
                n_pixels += 1
                caught += part[k]
                from_profile += ratio * part[k]
                from_base += ratio
        gather(told, lay[i], depth, shift, n_depths, points, box[i], weight * amount, lines, out)
        if caught > 0:
            intensity[r] = amount * from_profile / caught
        if n_pixels > 0:
            background[r] *= from_base / n_pixels
    for g in range(NODES * NODES):
        out[0, g] *= weights[g]


@njit(cache=True, nogil=True)
def learn_along(
    rows: Longs,
    box: Ints,
    pixel_at: Longs,
    voxel_at: Longs,
    foreground: npt.NDArray[np.uint8],
    voxels: Ints,
    frame: Floats,
    per_frame: Floats,
    background: Floats,
    weights: Floats,
    gained: Floats,
    exposed: Floats,
) -> None:
    """As `learn_across`, for the profile over eps3, from the counts of the foreground in each frame."""
    longest = 1
    for i in rows:
        longest = max(longest, box[i, 1] - box[i, 0])
    share, shares, counts = np.zeros(longest), np.zeros((longest, BINS)), np.zeros(longest)
    for r in range(len(rows)):
        i = rows[r]
        n_frames, area = box[i, 1] - box[i, 0], (box[i, 3] - box[i, 2]) * (box[i, 5] - box[i, 4])
        frame_shares(box[i, 0], n_frames, frame[i], per_frame[i], weights, share, shares)
        n_pixels, total, caught = 0, 0.0, 0.0
        for k in range(area):
            n_pixels += foreground[pixel_at[i] + k]
        base = background[r] * n_pixels
        for z in range(n_frames):
            counts[z] = 0.0
            for k in range(area):
                voxel = voxels[voxel_at[i] + z * area + k]
                if foreground[pixel_at[i] + k] and voxel != UNUSABLE:
                    counts[z] += voxel & COUNT
            total += counts[z] - base
            caught += share[z]
        amount = max(total, 0.0) / max(caught, 0.1)
        for z in range(n_frames):
            ratio = counts[z] / (base + amount * share[z] + _TINY)
            counted = min(amount, MOST_PHOTONS)
            for g in range(BINS):
                exposed[g] += counted * shares[z, g]
                gained[g] += counted * shares[z, g] * ratio * weights[g]
