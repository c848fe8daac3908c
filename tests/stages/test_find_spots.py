"""The stage: same spots on every path, planted spots found where they were put, filters, bad frames, limits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from hdrmx import tables
from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Codec, Frame
from hdrmx.kernels.encode import encode_bslz4
from hdrmx.measure import Recorder
from hdrmx.models import Beam, Detector, Geometry, Panel, Scan
from hdrmx.params import FindSpots
from hdrmx.record import PART
from hdrmx.stages.find_spots import FoundSpots, find_spots
from hdrmx.stages.resolution_mask import ice_rings, pixel_resolution_A, resolution_mask

SHAPE = (96, 130)
TRUSTED = (0.0, 60000.0)


def geometry(panels: list[Panel] | None = None, *, stills: bool = False) -> Geometry:
    """A small detector square to the beam."""
    whole = Panel("whole", SHAPE, (0.1, 0.1), (-6.5, 4.8, -50.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    scan = None if stills else Scan(0, 100, 0.0, 0.01)
    return Geometry(Beam(1.0), Detector(tuple(panels or [whole]), TRUSTED), scan=scan)


def packed(frames: np.ndarray, first: int = 0) -> list[Frame]:
    """Frames as a source would deliver them."""
    out = []
    for k, frame in enumerate(frames):
        payload = np.frombuffer(encode_bslz4(frame), np.uint8)
        out.append(Frame(first + k, frame.shape, frame.dtype, Codec.BSLZ4, lambda p=payload: p, "memory"))
    return out


def a_scan(seed: int = 1, n: int = 8, background: float = 0.2, dtype: str = "uint16") -> np.ndarray:
    """Frames with spots that last one to three frames."""
    rng = np.random.default_rng(seed)
    stack = rng.poisson(background, (n, *SHAPE))
    for _ in range(40):
        z, y, x = rng.uniform(0, n), rng.uniform(4, SHAPE[0] - 4), rng.uniform(4, SHAPE[1] - 4)
        photons = rng.poisson(10 ** rng.uniform(1.3, 3))
        at = rng.normal((z, y, x), (0.4, 0.9, 0.9), (photons, 3)).astype(int).clip(0, np.array(stack.shape) - 1)
        np.add.at(stack, tuple(at.T), 1)
    return stack.astype(dtype)


def found(stack: np.ndarray, params: FindSpots | None = None, mask: np.ndarray | None = None, **options) -> FoundSpots:
    mask = np.ones(stack.shape[1:], bool) if mask is None else mask
    where = options.pop("geometry", geometry())
    return find_spots(packed(stack), mask, where, params or FindSpots(), **options)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_same_spots_on_every_path_and_any_number_of_threads(dtype):
    stack = a_scan(dtype=dtype)
    reference = found(stack, FindSpots(kernel="dense"))
    assert len(reference.spots) > 20
    tables.check(reference.spots, tables.SPOTS)
    for kernel in ("auto", "dense", "sparse"):
        for threads in (1, 2, 5):
            other = found(stack, FindSpots(kernel=kernel), threads=threads)
            pd.testing.assert_frame_equal(other.spots, reference.spots, check_exact=True)
            assert other.counts["strong_pixels"] == reference.counts["strong_pixels"]
            assert other.counts["spots"] == len(reference.spots)
    assert found(stack, FindSpots(kernel="sparse")).counts["sparse_frames"] == len(stack)


def test_auto_takes_events_of_sparse_frames_only():
    empty = np.zeros((2, *SHAPE), np.uint16)
    busy = np.random.default_rng(0).poisson(3, (2, *SHAPE)).astype(np.uint16)
    result = found(np.concatenate([empty, busy]))
    assert result.per_frame["sparse"].tolist() == [True, True, False, False]
    assert result.counts["events"] == 0


def test_counts_add_up():
    stack = a_scan()
    result = found(stack, FindSpots(kernel="sparse"))
    counts = result.counts
    assert counts["frames"] == counts["decodes"] == len(stack)
    assert counts["pixels"] == stack.size
    assert counts["events"] == np.count_nonzero(stack) == result.per_frame["events"].sum()
    assert counts["bytes_in"] == sum(len(encode_bslz4(frame)) for frame in stack)
    dropped = counts["dropped_too_small"] + counts["dropped_too_large"] + counts["dropped_far_peak"]
    assert counts["components"] == counts["spots"] + dropped
    assert result.per_frame["strong_pixels"].sum() == counts["strong_pixels"]
    assert result.per_frame["spots"].sum() == counts["spots"]
    assert result.per_frame["index"].tolist() == list(range(len(stack)))


def test_a_planted_spot():
    """Its row is the plain sums over its pixels."""
    stack = np.zeros((5, *SHAPE), np.uint16)
    block = np.array([[[0, 5, 0], [5, 9, 5], [0, 5, 0]], [[0, 6, 0], [6, 30, 7], [0, 6, 0]]])
    stack[2:4, 40:43, 70:73] = block
    (row,) = found(stack).spots.itertuples(index=False)
    c = stack[stack > 0].astype(float)
    z, y, x = np.nonzero(stack)
    assert (row.n_pixels, row.intensity, row.peak) == (10, c.sum(), 30)
    for name, at in (("frame", z), ("slow", y), ("fast", x)):
        mean = (c * (at + 0.5)).sum() / c.sum()
        variance = (c * (at + 0.5 - mean) ** 2).sum() / (c.sum() ** 2 - (c**2).sum()) + 1 / 12
        assert getattr(row, name) == pytest.approx(mean, abs=1e-12)
        assert getattr(row, f"{name}_var") == pytest.approx(variance, abs=1e-12)
        assert (getattr(row, f"{name}_min"), getattr(row, f"{name}_max")) == (at.min(), at.max() + 1)


def test_shifting_the_frames_shifts_the_spots():
    stack = a_scan(background=0.0)
    stack[:, :, -14:] = 0
    before = found(stack).spots
    after = found(np.roll(stack, 7, axis=2)).spots
    for name in before.columns:
        shift = 7 if name in ("fast", "fast_min", "fast_max") else 0
        np.testing.assert_allclose(after[name], before[name] + shift, atol=1e-9, err_msg=name)


def test_stills_do_not_join():
    stack = np.zeros((3, *SHAPE), np.uint16)
    stack[:, 40:43, 70:73] = 20
    assert len(found(stack).spots) == 1
    stills = found(stack, geometry=geometry(stills=True)).spots
    assert stills["frame"].tolist() == [0.5, 1.5, 2.5]


def test_size_and_separation_filters():
    stack = np.zeros((1, *SHAPE), np.uint16)
    stack[0, 10, 10:12] = 9  # two pixels
    stack[0, 30, 30:33] = 9
    stack[0, 60, 60:69] = 9
    stack[0, 60, 60] = 10  # the peak stands 4 px from the centroid
    assert found(stack).spots["n_pixels"].tolist() == [3]
    wide = FindSpots(min_pixels=1, max_separation_px=9)
    assert sorted(found(stack, wide).spots["n_pixels"]) == [2, 3, 9]
    assert sorted(found(stack, dataclasses.replace(wide, max_pixels=5)).spots["n_pixels"]) == [2, 3]
    assert found(stack).counts["dropped_far_peak"] == 1


def test_panels_give_positions_of_their_own():
    left = Panel("left", (96, 60), (0.1, 0.1), (0, 0, -50), (1, 0, 0), (0, -1, 0), (0, 0))
    right = Panel("right", (96, 70), (0.1, 0.1), (6, 0, -50), (1, 0, 0), (0, -1, 0), (0, 60))
    stack = np.zeros((2, *SHAPE), np.uint16)
    stack[:, 40:44, 58:62] = 20  # across the border
    for kernel in ("dense", "sparse"):
        spots = found(stack, FindSpots(kernel=kernel), geometry=geometry([left, right])).spots
        assert spots[["panel", "fast_min", "fast_max"]].to_numpy().tolist() == [[1, 0, 2], [0, 58, 60]]


def test_no_strong_pixel_and_no_frame():
    for stack in (np.zeros((2, *SHAPE), np.uint16), np.zeros((0, *SHAPE), np.uint16)):
        result = found(stack)
        tables.check(result.spots, tables.SPOTS)
        assert len(result.spots) == 0
        assert result.counts["frames"] == len(stack)


@pytest.mark.parametrize("threads", [1, 3])
def test_bad_frames_stop_or_are_left_out(threads):
    stack = np.zeros((5, *SHAPE), np.uint16)
    stack[:, 40:43, 70:73] = 20
    frames = packed(stack, first=10)
    broken = frames[2].load()[:-5]
    frames[2] = dataclasses.replace(frames[2], load=lambda: broken)
    mask = np.ones(SHAPE, bool)
    with pytest.raises(BadFrame, match=r"memory: frame 12: .*skip-bad-frames"):
        find_spots(frames, mask, geometry(), FindSpots(), threads=threads)
    result = find_spots(frames, mask, geometry(), FindSpots(), threads=threads, skip_bad_frames=True)
    assert [index for index, _ in result.bad_frames] == [12]
    assert result.spots[["frame_min", "frame_max"]].to_numpy().tolist() == [[10, 12], [13, 15]]
    assert (result.counts["frames"], result.counts["bad_frames"]) == (4, 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_counts_reached_outlive_a_frame_that_ends_the_run(threads):
    stack = a_scan(n=9)
    whole = found(stack[:5])
    frames = packed(stack)
    broken = frames[5].load()[:-5]
    frames[5] = dataclasses.replace(frames[5], load=lambda: broken)
    recorder = Recorder()
    with pytest.raises(BadFrame), recorder("find_spots"):
        find_spots(frames, np.ones(SHAPE, bool), geometry(), FindSpots(), threads=threads, around=recorder)
    (stage,) = recorder.finish().children
    for name in ("frames", "decodes", "pixels", "bytes_in", "events", "windows", "strong_pixels"):
        assert stage.count(name) == whole.counts[name], name
    assert stage.count("frames") == 5


@pytest.mark.parametrize("kernel", ["dense", "sparse"])
@pytest.mark.parametrize("threads", [1, 2])
def test_parts_of_a_frame_are_timed_and_change_nothing(kernel, threads):
    stack = a_scan()
    recorder = Recorder()
    watched = found(stack, FindSpots(kernel=kernel), threads=threads, around=recorder)
    pd.testing.assert_frame_equal(watched.spots, found(stack, FindSpots(kernel=kernel)).spots, check_exact=True)
    (strong, _) = recorder.finish().children
    times, spent_ns = {}, 0
    for part in strong.children:
        assert part.kind == PART
        times[part.name] = times.get(part.name, 0) + part.counts["times"]
        spent_ns += part.cost.wall_ns
        assert (part.thread == 0) == (threads == 1 or part.name == "group")
    assert times == dict.fromkeys(("read", "decode", "threshold", "group"), len(stack))
    assert 0 < spent_ns <= (threads + 1) * strong.cost.wall_ns


def test_too_many_strong_pixels_make_a_bad_frame():
    stack = a_scan(n=1)
    few = FindSpots(max_strong_fraction=1e-4)
    with pytest.raises(BadFrame, match="strong pixels, more than the 2 that max_strong_fraction allows"):
        found(stack, few)
    assert len(found(stack, few, skip_bad_frames=True).bad_frames) == 1


def test_frames_and_mask_must_fit():
    stack = a_scan(n=2)
    with pytest.raises(InputError, match=r"memory: frame 0 has \(96, 130\) px, the mask \(5, 5\)"):
        found(stack, mask=np.ones((5, 5), bool))
    mixed = [*packed(stack[:1]), *packed(stack[1:].astype(np.uint32), first=1)]
    with pytest.raises(BadFrame, match=r"frame 1: uint32 .* the first frame had uint16"):
        find_spots(mixed, np.ones(SHAPE, bool), geometry(), FindSpots())


def test_resolution_limits_mask_pixels():
    where, stack = geometry(), a_scan()
    d = pixel_resolution_A(where.detector.panels[0], where.beam)
    y, x = 20, 100
    two_theta = np.arctan(np.hypot((y + 0.5) * 0.1 - 4.8, (x + 0.5) * 0.1 - 6.5) / 50.0)
    assert d[y, x] == pytest.approx(1.0 / (2 * np.sin(two_theta / 2)))
    limit = float(np.median(d))
    for params, wanted in (
        (FindSpots(d_min=limit), d > limit),
        (FindSpots(d_max=limit), d < limit),
        (FindSpots(d_min=0.8 * limit, d_max=limit), (d > 0.8 * limit) & (d < limit)),
    ):
        np.testing.assert_array_equal(resolution_mask(np.ones(SHAPE, bool), where, params), wanted)
        assert 0 < len(found(stack, params).spots) < len(found(stack).spots)


def test_ice_rings():
    """Hexagonal ice begins 3.90, 3.67, 3.44, 2.67, 2.25 A."""
    rings = sorted(ice_rings(2.2, 0.002), reverse=True)
    middles = [np.sqrt(2 / (low**-2 + high**-2)) for low, high in rings]
    np.testing.assert_allclose(middles[:5], [3.895, 3.669, 3.440, 2.671, 2.249], atol=2e-3)
    for low, high in rings:
        assert low**-2 - high**-2 == pytest.approx(0.002)
    where = dataclasses.replace(geometry(), beam=Beam(0.3))
    mask = resolution_mask(np.ones(SHAPE, bool), where, FindSpots(ice_rings=True))
    d = pixel_resolution_A(where.detector.panels[0], where.beam)
    inside = np.any([(low <= d) & (d <= high) for low, high in rings], axis=0)
    assert inside.any()
    np.testing.assert_array_equal(~mask[d > 2.25], inside[d > 2.25])
