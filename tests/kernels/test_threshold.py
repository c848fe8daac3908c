"""The dense and the sparse path give the strong pixels of the plain formulae, whatever the frame, mask and settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.errors import InputError
from hdrmx.frames import Codec, Frame
from hdrmx.kernels import bitshuffle
from hdrmx.kernels.decode import Events, Workspace, pack_valid
from hdrmx.kernels.encode import encode_bslz4
from hdrmx.kernels.threshold_plain import strong_pixels_plain
from hdrmx.models import Panel
from hdrmx.params import FindSpots
from hdrmx.stages import strong_pixels as stage
from hdrmx.stages.strong_pixels import (
    ThresholdWork,
    make_threshold,
    strong_in_chunk,
    strong_in_dense,
    strong_in_events,
    strong_map,
    strong_pixels,
)

CHEAP = settings(max_examples=60, deadline=None)
SETTINGS = st.builds(
    FindSpots,
    threshold=st.sampled_from(["dispersion_extended", "dispersion"]),
    kernel_px=st.sampled_from([3, 3, 3, 1, 2, 4]),
    sigma_background=st.sampled_from([6.0, 6.0, 3.0, 0.0]),
    sigma_strong=st.sampled_from([3.0, 1.0, 0.0]),
    min_local=st.sampled_from([2, 5]),
    global_threshold=st.sampled_from([0.0, 0.0, 6.0]),
    gain=st.sampled_from([1.0, 1.0, 0.5, 2.3]),
)


def one_panel(shape: tuple[int, int], offset: tuple[int, int] = (0, 0)) -> Panel:
    return Panel("p", shape, (0.1, 0.1), (0.0, 0.0, 100.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), offset)


def events_of(pixels: np.ndarray, mask: np.ndarray) -> Events:
    events = Events(pixels.shape)
    while True:
        room = (events.index, events.count, events.offset)
        n = bitshuffle.events_of_pixels(pixels.reshape(-1), 0, pack_valid(mask), *room, 0)
        if n >= 0:
            events.finish(n)
            return events
        events.grow()


def a_frame(seed: int, dtype: str) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """A frame with background, spots, gaps, dead and overloaded pixels; its mask; a trusted range."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 90)), int(rng.integers(1, 200)))
    info = np.iinfo(dtype)
    counts = rng.poisson(rng.choice([0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 60.0]), shape).astype(np.int64)
    slow, fast = np.mgrid[: shape[0], : shape[1]]
    for _ in range(rng.integers(0, 7)):
        y, x = rng.random() * shape[0], rng.random() * shape[1]
        peak, width = 10 ** rng.uniform(0.5, 5.0), rng.uniform(0.3, 2.5)
        counts += rng.poisson(peak * np.exp(-((slow - y) ** 2 + (fast - x) ** 2) / (2 * width**2)))
    if info.max > 2**25:
        counts[rng.random(shape) < 0.003] = rng.integers(2**23, 2**25)
    if info.min < 0:
        counts -= rng.integers(0, 10)
    counts[rng.random(shape) < rng.choice([0.0, 0.01])] = info.max
    mask = rng.random(shape) > rng.choice([0.0, 0.01, 0.1])
    mask[7 : 7 + rng.integers(0, 8)] = False
    low = rng.choice([0, -1, -5, 1])
    high = rng.choice([info.max - 1, info.max - 2, 100, 60000])
    return np.clip(counts, info.min, info.max).astype(dtype), mask, (float(low), float(high))


def check_all_paths(seed: int, dtype: str, params: FindSpots) -> None:
    counts, mask, trusted = a_frame(seed, dtype)
    plain = strong_pixels_plain(counts, mask, trusted, params)
    threshold = make_threshold(mask, [one_panel(counts.shape)], trusted, params, counts.dtype)
    work = ThresholdWork(threshold)
    for _ in range(2):  # the buffers are clean for the next frame
        np.testing.assert_array_equal(strong_map(threshold, strong_in_dense(threshold, counts, work)), plain)
        if threshold.takes_events:
            found = strong_in_events(threshold, events_of(counts, mask), work)
            np.testing.assert_array_equal(strong_map(threshold, found), plain)
            assert not work.laid.any()
            on = np.nonzero(plain)
            np.testing.assert_array_equal(found.counts, counts[on])
            np.testing.assert_array_equal((found.slow, found.fast), on)


@CHEAP
@given(seed=st.integers(0, 2**32), params=SETTINGS)
def test_paths_agree_uint16(seed, params):
    check_all_paths(seed, "uint16", params)


@CHEAP
@given(seed=st.integers(0, 2**32), params=SETTINGS)
def test_paths_agree_uint32(seed, params):
    check_all_paths(seed, "uint32", params)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), params=SETTINGS)
def test_paths_agree_other_dtypes(dtype, seed, params):
    check_all_paths(seed, dtype, params)


def test_frame_wider_than_a_tile_and_higher_than_a_band():
    rng = np.random.default_rng(3)
    counts = rng.poisson(0.4, (150, 2100)).astype(np.uint16)
    for y, x in ((63, 1023), (64, 1024), (65, 1025), (0, 0), (149, 2099), (100, 1021), (128, 2048), (127, 0)):
        counts[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] += 40
    mask = np.ones(counts.shape, bool)
    mask[:, 1030:1033] = False
    for params in (FindSpots(), FindSpots(threshold="dispersion"), FindSpots(kernel_px=6)):
        plain = strong_pixels_plain(counts, mask, (0, 65000), params)
        assert plain.sum() > 100
        threshold = make_threshold(mask, [one_panel(counts.shape)], (0, 65000), params, counts.dtype)
        work = ThresholdWork(threshold)
        np.testing.assert_array_equal(strong_map(threshold, strong_in_dense(threshold, counts, work)), plain)
        found = strong_in_events(threshold, events_of(counts, mask), work)
        np.testing.assert_array_equal(strong_map(threshold, found), plain)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("shape", [(230, 130), (61, 200), (20, 64), (300, 33)])
def test_bands_of_a_chunk_join_without_a_seam(dtype, shape, monkeypatch):
    monkeypatch.setattr(stage, "BAND_BYTES", 8192)  # bands of a few rows
    rng = np.random.default_rng(shape[0])
    counts = rng.poisson(0.5, shape).astype(dtype)
    for y, x in rng.integers((0, 0), np.array(shape) - 2, (60, 2)):
        counts[y : y + 4, x : x + 4] += dtype(rng.integers(3, 40))
    counts[shape[0] // 2, shape[1] // 2] = np.iinfo(dtype).max
    mask = rng.random(shape) > 0.01
    payload = np.frombuffer(encode_bslz4(counts, 2048), np.uint8)
    frame = Frame(0, shape, counts.dtype, Codec.BSLZ4, lambda: payload, "memory")
    for params in (FindSpots(), FindSpots(kernel_px=4), FindSpots(threshold="dispersion"), FindSpots(kernel_px=1)):
        plain = strong_pixels_plain(counts, mask, (0, 60000), params)
        threshold = make_threshold(mask, [one_panel(shape)], (0, 60000), params, counts.dtype)
        work, decoding = ThresholdWork(threshold), Workspace(shape, dtype)
        found = strong_in_chunk(threshold, frame, payload, decoding, work)
        np.testing.assert_array_equal(strong_map(threshold, found), plain)
        dense = strong_in_dense(threshold, counts, work)
        for a, b in zip(found[:4], dense[:4]):
            np.testing.assert_array_equal(a, b)
        assert strong_in_chunk(threshold, frame, payload[: payload.size // 2], decoding, work) is None


def test_panels_are_apart():
    """Windows are clipped at a panel's edge, so that each panel gives what it gives alone."""
    rng = np.random.default_rng(11)
    counts = rng.poisson(0.5, (90, 150)).astype(np.uint16)
    for y, x in rng.integers((0, 0), (88, 148), (40, 2)):
        counts[y : y + 3, x : x + 3] += 20
    mask = np.ones(counts.shape, bool)
    panels = [one_panel((40, 70), (0, 0)), one_panel((40, 80), (0, 70)), one_panel((45, 150), (42, 0))]
    threshold = make_threshold(mask, panels, (0, 1000), FindSpots(), counts.dtype)
    work = ThresholdWork(threshold)
    expected = np.zeros(counts.shape, bool)
    for panel in panels:
        (top, left), (height, columns) = panel.offset, panel.shape
        part = np.s_[top : top + height, left : left + columns]
        expected[part] = strong_pixels_plain(counts[part], mask[part], (0, 1000), FindSpots())
    assert expected.any()
    dense = strong_in_dense(threshold, counts, work)
    np.testing.assert_array_equal(strong_map(threshold, dense), expected)
    sparse = strong_in_events(threshold, events_of(counts, mask), work)
    for a, b in zip(dense[:4], sparse[:4]):
        np.testing.assert_array_equal(a, b)


def test_single_bright_pixel():
    """A lone pixel in an empty frame: its 7 x 7 windows are candidates, the middle 3 x 3 the foreground."""
    counts = np.zeros((21, 21), np.uint16)
    counts[10, 10] = 3
    assert np.argwhere(strong_pixels(counts, np.ones(counts.shape, bool), (0, 9), FindSpots())).tolist() == [[10, 10]]
    counts[10, 10] = 2
    assert not strong_pixels(counts, np.ones(counts.shape, bool), (0, 9), FindSpots()).any()


def test_flat_and_empty_frames_have_no_strong_pixel():
    for value in (0, 1, 1000):
        counts = np.full((40, 50), value, np.uint16)
        assert not strong_pixels(counts, np.ones(counts.shape, bool), (0, 60000), FindSpots()).any()
        assert not strong_pixels(counts, np.zeros(counts.shape, bool), (0, 60000), FindSpots()).any()


def test_a_trusted_range_beyond_the_dtype_trusts_nothing_or_everything():
    counts = np.random.default_rng(0).poisson(0.1, (30, 30)).astype(np.uint8)
    counts[10:13, 10:13] = 90
    mask = np.ones(counts.shape, bool)
    assert strong_pixels(counts, mask, (-1e30, 1e30), FindSpots()).any()
    assert not strong_pixels(counts, mask, (300, 400), FindSpots()).any()


def test_errors_name_the_panel_or_the_setting():
    mask = np.ones((10, 10), bool)
    with pytest.raises(InputError, match="panel p: covers rows 4-14"):
        make_threshold(mask, [one_panel((10, 10), (4, 0))], (0, 9), FindSpots(), np.dtype("uint16"))
    with pytest.raises(InputError, match="min_local is 50; a window has 49 pixels"):
        make_threshold(mask, [one_panel((10, 10))], (0, 9), FindSpots(min_local=50), np.dtype("uint16"))
