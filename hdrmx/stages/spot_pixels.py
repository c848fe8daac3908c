"""The strong pixels of each spot, where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hdrmx import tables
from hdrmx.kernels import grouping as g
from hdrmx.kernels.label_pixels import Integers, Keys, label_union, make_keys
from hdrmx.stages.spot_table import spot_order
from hdrmx.stages.strong_pixels import StrongPixels


def spot_pixels(
    strong: Sequence[tuple[int, StrongPixels]],
    rows: Integers,
    shapes: list[tuple[int, int]],
    *,
    over_frames: bool,
) -> pd.DataFrame:
    """Pixels of the spots of `spot_table(rows)`.

    Parameters
    ----------
    strong : index and strong pixels of each frame, in rising order
    rows : (n, grouping.COLUMNS) spots that were kept, as the grouping of these pixels gave them
    shapes : (slow, fast) of each panel
    over_frames : as the pixels were grouped

    Returns
    -------
    Columns `tables.SPOT_PIXELS`, by (spot, frame, slow, fast); pixels of other spots are left out.

    Raises
    ------
    ValueError : rows and pixels aren't of the same frames: a spot isn't there, or its pixels don't add up to it
    """
    strides = make_keys(shapes)
    keys, counts = _joined(strong, strides)
    labels = label_union(keys, strides, over_frames)
    kept = rows[spot_order(rows)]
    spot_of = np.full(len(keys), -1, np.int32)  # by label
    origins = strides.of(kept[:, g.FRAME], kept[:, g.PANEL], kept[:, g.SLOW], kept[:, g.FAST])
    spot_of[labels[_find(keys, origins)]] = np.arange(len(kept))
    spot = spot_of[labels]
    chosen = np.flatnonzero(spot >= 0)
    chosen = chosen[np.argsort(spot[chosen], kind="stable")]
    frame, slow, fast = strides.places(keys[chosen])
    values: dict[str, np.ndarray] = {
        "spot": spot[chosen],
        "frame": frame,
        "slow": slow,
        "fast": fast,
        "count": counts[chosen],
    }
    pixels = pd.DataFrame({c.name: values[c.name].astype(c.dtype) for c in tables.SPOT_PIXELS})
    _check(pixels, kept)
    return pixels


def _joined(strong: Sequence[tuple[int, StrongPixels]], strides: Keys) -> tuple[Integers, Integers]:
    """Keys (rising) and counts of all pixels."""
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for index, found in strong:
        panel = np.repeat(np.arange(len(found.first) - 1), np.diff(found.first))
        slow, fast = found.slow.astype(np.int64), found.fast.astype(np.int64)
        keys.append(strides.of(np.full(len(panel), index), panel, slow, fast))
        counts.append(found.counts)
    return np.concatenate(keys), np.concatenate(counts)


def _find(keys: Integers, wanted: Integers) -> Integers:
    at = np.searchsorted(keys, wanted)
    if len(at) and (at.max() == len(keys) or not np.array_equal(keys[at], wanted)):
        raise ValueError("a spot begins where there is no strong pixel")
    return at


def _check(pixels: pd.DataFrame, rows: Integers) -> None:
    """The two ways of grouping must agree."""
    spot, n = pixels["spot"].to_numpy(), len(rows)
    same_number = np.array_equal(np.bincount(spot, minlength=n), rows[:, g.N])
    sums = np.bincount(spot, pixels["count"].to_numpy(), n)  # whole numbers below 2^53: exact
    if not (same_number and np.array_equal(sums, rows[:, g.SUM])):
        raise ValueError("the strong pixels don't add up to the spots that they were grouped to")
