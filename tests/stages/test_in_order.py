"""The loop that shares frames out to threads: order, handfuls, bad frames, how far it reads ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hdrmx.errors import BadFrame
from hdrmx.frames import Codec, Frame
from hdrmx.stages.in_order import in_order


def a_frame(index: int) -> Frame:
    return Frame(index, (1, 1), np.dtype(np.uint16), Codec.RAW, lambda: np.zeros(2, np.uint8), "memory")


def squared(frame: Frame) -> int:
    if frame.index % 7 == 3:
        raise BadFrame(frame.where, frame.index, "of the tests")
    return frame.index**2


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("together", [1, 4, 100])
@pytest.mark.parametrize("n", [0, 1, 26])
def test_results_come_in_order_with_bad_frames_among_them(threads, together, n):
    frames = map(a_frame, range(n))
    given = list(in_order(squared, frames, threads, ahead=2, name="test", together=together))
    assert [frame.index for frame, _ in given] == list(range(n))
    for frame, result in given:
        if frame.index % 7 == 3:
            assert isinstance(result, BadFrame)
            assert result.index == frame.index
        else:
            assert result == frame.index**2


@pytest.mark.parametrize(("threads", "together", "most"), [(1, 4, 1), (2, 1, 7), (2, 3, 21)])
def test_reads_ahead_by_a_few_handfuls_only(threads, together, most):
    drawn = 0

    def frames():
        nonlocal drawn
        for k in range(60):
            drawn += 1
            yield a_frame(k)

    for done, _ in enumerate(
        in_order(lambda frame: frame.index, frames(), threads, ahead=3, name="t", together=together)
    ):
        assert drawn <= done + most


@pytest.mark.parametrize("threads", [1, 2])
def test_other_errors_come_through_and_no_thread_is_left(threads):
    def fail(frame: Frame) -> int:
        return 1 // (5 - frame.index)

    results = in_order(fail, map(a_frame, range(30)), threads, ahead=2, name="left over")
    assert [next(results)[0].index for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [t for t in threading.enumerate() if t.name.startswith("left over")]
