"""Strong pixels of a whole scan labelled by the spot they belong to: union-find over the sorted list.

`grouping` tells the sums of each spot while the scan goes by and forgets its pixels. Here they have been kept, and the
same rule (a shared face, in fast, slow or frame) is applied to all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Integers = npt.NDArray[np.int64]


class Keys(NamedTuple):
    """Pixels as numbers that rise with (frame, panel, slow, fast).

    Between rows, and between panels, numbers are left out, so that only true neighbours differ by a stride.
    """

    row: int  # key of the pixel below - key of the pixel
    panel: int
    frame: int  # key of the same pixel in the next frame - key of the pixel

    def of(self, frame: Integers, panel: Integers, slow: Integers, fast: Integers) -> Integers:
        return frame * self.frame + panel * self.panel + slow * self.row + fast

    def places(self, keys: Integers) -> tuple[Integers, Integers, Integers]:
        """Frame, slow and fast of these keys."""
        frame, rest = np.divmod(keys, self.frame)
        slow, fast = np.divmod(rest % self.panel, self.row)
        return frame, slow, fast


def make_keys(shapes: list[tuple[int, int]]) -> Keys:
    """Keys for panels of these (slow, fast) shapes."""
    row = max(fast for _, fast in shapes) + 1
    panel = row * (max(slow for slow, _ in shapes) + 1)
    return Keys(row, panel, panel * len(shapes) + row)


@njit(cache=True, nogil=True)
def _union(keys, row, frame, parent):
    above, before = 0, 0
    for i in range(len(keys)):
        key = keys[i]
        parent[i] = i
        if i > 0 and keys[i - 1] == key - 1:
            _join(parent, i, i - 1)
        while keys[above] < key - row:
            above += 1
        if keys[above] == key - row:
            _join(parent, i, above)
        if frame > 0:
            while keys[before] < key - frame:
                before += 1
            if keys[before] == key - frame:
                _join(parent, i, before)
    for i in range(len(keys)):
        parent[i] = parent[parent[i]]  # roots come first in the list, so that one step is enough


@njit(cache=True, nogil=True)
def _join(parent, i, j):
    """The later root under the earlier one."""
    a, b = _root(parent, i), _root(parent, j)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def label_union(keys: Integers, strides: Keys, over_frames: bool) -> Integers:
    """Label each pixel with the place, in the list, of the first pixel of its spot.

    Parameters
    ----------
    keys : (n,) by `Keys.of`, rising
    over_frames : join along the scan; else each frame by itself

    Returns
    -------
    (n,) labels[i] <= i, equal where pixels are joined by shared faces

    Notes
    -----
    Time and memory ~ pixels. Path halving as in Tarjan & van Leeuwen (1984) J. ACM 31, 245-281, without ranks:
    the earlier root wins, so that a label doesn't depend on the order of joining.
    """
    parent = np.empty(len(keys), np.int64)
    _union(keys, strides.row, strides.frame if over_frames else 0, parent)
    return parent


def label_plain(keys: Integers, strides: Keys, over_frames: bool) -> Integers:
    """The same, walking from the first pixel of each spot to its neighbours."""
    place = {int(key): i for i, key in enumerate(keys)}
    steps = (1, strides.row, strides.frame) if over_frames else (1, strides.row)
    labels = np.full(len(keys), -1, np.int64)
    for first in range(len(keys)):
        waiting = [first] if labels[first] < 0 else []
        while waiting:
            i = waiting.pop()
            labels[i] = first
            near = (place.get(int(keys[i]) + sign * step, i) for step in steps for sign in (-1, 1))
            waiting += [j for j in near if labels[j] < 0]
    return labels


KERNELS: dict[str, Callable[[Integers, Keys, bool], Integers]] = {
    "union": label_union,
    "plain": label_plain,
}
