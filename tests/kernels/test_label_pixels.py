"""Labels of kept pixels against scipy's of the whole stack."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hdrmx.kernels.label_pixels import KERNELS, Keys, make_keys

FLAT = np.zeros((3, 3, 3), int)
FLAT[1, :, 1] = FLAT[1, 1, :] = 1


def scipy_labels(stack: np.ndarray, over_frames: bool) -> np.ndarray:
    """Of the pixels that are set, in raster order; numbered by the place of each label's first pixel."""
    labels = ndimage.label(stack, None if over_frames else FLAT)[0][stack]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first[inverse]


def keys_of(stack: np.ndarray) -> tuple[np.ndarray, Keys]:
    strides = make_keys([stack.shape[1:]])
    frame, slow, fast = np.nonzero(stack)
    return strides.of(frame, np.zeros_like(frame), slow, fast), strides


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("over_frames", [True, False])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 14), st.integers(1, 14)),
    fill=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
)
def test_labels_are_those_of_the_whole_stack(kernel, over_frames, seed, shape, fill):
    stack = np.random.default_rng(seed).random(shape) < fill
    keys, strides = keys_of(stack)
    np.testing.assert_array_equal(KERNELS[kernel](keys, strides, over_frames), scipy_labels(stack, over_frames))


@pytest.mark.parametrize("kernel", KERNELS)
def test_panels_and_missing_frames_do_not_join(kernel):
    """Last row or column of a panel, first of the next; frames 3 and 5."""
    strides = make_keys([(2, 3), (3, 3), (2, 70)])
    frame, panel = np.array([3, 3, 3, 3, 3, 3, 5]), np.array([0, 0, 1, 1, 2, 2, 2])
    slow, fast = np.array([1, 1, 0, 0, 0, 0, 0]), np.array([1, 2, 0, 1, 2, 69, 69])
    keys = strides.of(frame, panel, slow, fast)
    assert KERNELS[kernel](keys, strides, True).tolist() == [0, 0, 2, 2, 4, 5, 6]


def test_keys_rise_and_lead_back_to_the_pixel():
    shapes = [(5, 7), (6, 3)]
    strides = make_keys(shapes)
    at = [
        (z, p, y, x)
        for z in (0, 1, 9)
        for p, (rows, columns) in enumerate(shapes)
        for y in range(rows)
        for x in range(columns)
    ]
    frame, panel, slow, fast = np.array(at).T
    keys = strides.of(frame, panel, slow, fast)
    assert (np.diff(keys) > 0).all()
    for wanted, found in zip((frame, slow, fast), strides.places(keys)):
        np.testing.assert_array_equal(found, wanted)


def test_a_long_chain():
    """A spot that winds through the stack, joined last to first."""
    stack = np.zeros((60, 5, 80), bool)
    stack[:, ::2, :] = True
    stack[:, 1, 0] = stack[-1, 3, -1] = True
    keys, strides = keys_of(stack)
    assert not KERNELS["union"](keys, strides, True).any()
