"""Streaming grouping against scipy's labels and plain sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hdrmx.kernels import grouping as g

ONE_PANEL = np.array([0, 0])


def pixels_of(frame: np.ndarray) -> tuple[np.ndarray, ...]:
    """Slow, fast and counts of the pixels above zero."""
    slow, fast = np.nonzero(frame)
    return slow.astype(np.int32), fast.astype(np.int32), frame[slow, fast].astype(np.int64)


def grouped(stack: np.ndarray, **options) -> np.ndarray:
    """Rows of a stack of frames on one panel."""
    grouper = g.Grouper([stack.shape[1:]], over_frames=options.pop("over_frames", True), **options)
    rows = [grouper.add(k, *pixels_of(frame), np.array([0, (frame > 0).sum()])) for k, frame in enumerate(stack)]
    return np.concatenate([*rows, grouper.finish()])


def expected(stack: np.ndarray, labels: np.ndarray) -> set[tuple[int, ...]]:
    """The same spots by scipy, as tuples of sums about (0, 0, 0)."""
    found = set()
    for label in range(1, labels.max() + 1):
        at = np.argwhere(labels == label)
        c = stack[tuple(at.T)].astype(int)
        peak = at[np.argmax(c)]  # the first of equals, in C order
        found.add(
            (
                len(c),
                int(c.sum()),
                sum(v * v for v in c.tolist()),
                *(c @ at).tolist(),
                *(c @ at**2).tolist(),
                *at.min(0).tolist(),
                *at.max(0).tolist(),
                int(c.max()),
                *peak.tolist(),
            )
        )
    return found


def as_tuples(rows: np.ndarray) -> set[tuple[int, ...]]:
    out = set()
    for row in rows.tolist():
        total, origin = row[g.SUM], row[g.FRAME : g.FAST + 1]
        first, second = row[g.SUM_FRAME : g.SUM_FAST + 1], row[g.SUM_FRAME_2 : g.SUM_FAST_2 + 1]
        out.add(
            (
                row[g.N],
                total,
                (row[g.SQUARES_HIGH] << 20) + row[g.SQUARES_LOW],
                *(f + o * total for f, o in zip(first, origin)),
                *(s + 2 * o * f + o * o * total for s, f, o in zip(second, first, origin)),
                *row[g.FRAME_MIN : g.FAST_MAX : 2],
                *row[g.FRAME_MAX : g.FAST_MAX + 1 : 2],
                *row[g.PEAK : g.PEAK_FAST + 1],
            )
        )
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 15), st.integers(1, 15)),
    fill=st.sampled_from([0.05, 0.3, 0.5, 0.9]),
    top=st.sampled_from([3, 2**32]),
)
def test_sweep_equals_labels_of_the_whole_stack(seed, shape, fill, top):
    rng = np.random.default_rng(seed)
    stack = rng.integers(1, top, shape) * (rng.random(shape) < fill)
    rows = grouped(stack)
    labels, n = ndimage.label(stack)
    assert len(rows) == n
    assert as_tuples(rows) == expected(stack, labels)
    flat = np.zeros((3, 3, 3), int)
    flat[1, :, 1] = flat[1, 1, :] = 1
    rows = grouped(stack, over_frames=False)
    assert as_tuples(rows) == expected(stack, ndimage.label(stack, flat)[0])


def test_arms_that_meet_late_become_one_spot():
    stack = np.zeros((4, 5, 9), int)
    stack[:3, 2, 1] = stack[1:3, 2, 5] = stack[:3, 2, 7] = 2
    stack[3, 2, 1:8] = 1
    (row,) = grouped(stack)
    assert row[g.N] == 3 + 2 + 3 + 7
    assert row[[g.PEAK, g.PEAK_FRAME, g.PEAK_SLOW, g.PEAK_FAST]].tolist() == [2, 0, 2, 1]


def test_a_missing_frame_breaks_a_spot():
    one = np.zeros((4, 4), int)
    one[1:3, 1:3] = 5
    grouper = g.Grouper([(4, 4)], over_frames=True)
    first = np.array([0, 4])
    assert len(grouper.add(0, *pixels_of(one), first)) == 0
    assert len(grouper.add(1, *pixels_of(one), first)) == 0
    closed = grouper.add(3, *pixels_of(one), first)
    assert closed[:, [g.N, g.FRAME_MIN, g.FRAME_MAX]].tolist() == [[8, 0, 1]]
    assert grouper.finish()[:, [g.N, g.FRAME_MIN, g.FRAME_MAX]].tolist() == [[4, 3, 3]]
    with pytest.raises(ValueError, match="frame 3 comes after frame 3"):
        grouper.add(3, *pixels_of(one), first)


def test_size_limits_are_counted():
    stack = np.zeros((1, 6, 20), int)
    stack[0, 1, 1] = stack[0, 1, 5:8] = stack[0, 3, 2:12] = 1
    grouper = g.Grouper([(6, 20)], over_frames=True, min_pixels=3, max_pixels=9)
    grouper.add(0, *pixels_of(stack[0]), np.array([0, 14]))
    assert grouper.finish()[:, g.N].tolist() == [3]
    assert (grouper.closed, grouper.too_small, grouper.too_large) == (3, 1, 1)


def test_panels_do_not_join():
    """Last row and column of a panel, first of the next: neighbours in the list, not on the detector."""
    shapes = [(2, 3), (3, 3), (2, 70)]
    slow = np.array([1, 1, 0, 0, 0, 0], np.int32)
    fast = np.array([1, 2, 0, 1, 2, 69], np.int32)
    panels = np.array([0, 2, 4, 6])
    grouper = g.Grouper(shapes, over_frames=True)
    grouper.add(0, slow, fast, np.ones(6, np.int64), panels)
    rows = grouper.finish()
    assert sorted(rows[:, [g.PANEL, g.N]].tolist()) == [[0, 2], [1, 2], [2, 1], [2, 1]]


def test_memory_is_of_the_open_spots_only():
    rng = np.random.default_rng(0)
    grouper = g.Grouper([(50, 50)], over_frames=True)
    n = 0
    for k in range(200):
        frame = (rng.random((50, 50)) < 0.05).astype(int)
        n += len(grouper.add(k, *pixels_of(frame), np.array([0, frame.sum()])))
    assert n > 10_000
    assert len(grouper._state.rows) <= 1024
