"""Kernels of integration against the plain ones, and against formulae written out here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import poisson

from hdrmx.integration.boxes import rays
from hdrmx.integration.profile_model import KabschAxes, kabsch_axes
from hdrmx.integration.profiles import gaussian
from hdrmx.kernels import integrate_collect as collect
from hdrmx.kernels import integrate_plain as plain
from hdrmx.kernels import integrate_profile as fits
from hdrmx.kernels import integrate_sum as s
from hdrmx.kernels.integrate_background import MEAN, ROBUST, TABLE, TUKEY, expected_psi, mean_background, poisson_tail
from hdrmx.models import Beam, Detector, Geometry, Goniometer, Panel, Scan

DELTA = 0.008


def tallied(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    large = counts[counts >= TABLE].astype(np.int64)
    return np.bincount(counts[counts < TABLE], minlength=TABLE), np.append(large, 0), len(large)


@given(st.floats(0.005, 900), st.integers(10, 400), st.integers(0, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_robust_background_is_the_root_that_the_paper_defines(mean, n, n_outliers, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, n)
    counts[:n_outliers] += 3000
    result, variance, _ = mean_background(*tallied(counts), ROBUST)
    assert result == pytest.approx(plain.robust_poisson_mean(counts), rel=2e-5, abs=1e-7)
    assert variance > 0


def test_robust_background_is_unbiased_and_shrugs_at_a_spot():
    rng = np.random.default_rng(3)
    for mean in (0.01, 0.3, 2.0, 40.0, 700.0):
        found = [mean_background(*tallied(rng.poisson(mean, 300)), ROBUST) for _ in range(400)]
        values, variances = np.array([f[0] for f in found]), np.array([f[1] for f in found])
        assert abs(values.mean() - mean) < 3.5 * values.std() / 20
        assert np.mean(variances) == pytest.approx(values.var(), rel=0.25)
    counts = rng.poisson(2.0, 300)
    counts[:10] += 500
    assert mean_background(*tallied(counts), ROBUST)[0] < 2.6 < mean_background(*tallied(counts), MEAN)[0]
    assert mean_background(*tallied(counts), TUKEY)[0] < 2.6


@pytest.mark.parametrize("kind", [MEAN, TUKEY, ROBUST])
def test_no_counts_give_no_background_but_some_doubt(kind):
    assert mean_background(*tallied(np.zeros(50, int)), kind)[:2] == (0.0, 1 / 2500)


@given(st.floats(1e-3, 2000))
@settings(max_examples=50, deadline=None)
def test_expected_psi_is_the_sum_over_poissons_distribution(mean):
    y = np.arange(int(mean + 30 * np.sqrt(mean) + 40))
    clipped = np.clip((y - mean) / np.sqrt(mean), -1.345, 1.345)
    assert expected_psi(mean) == pytest.approx(np.sum(poisson.pmf(y, mean) * clipped), abs=1e-9)
    j = int(mean)
    assert poisson_tail(mean, j) == pytest.approx((poisson.cdf(j, mean), poisson.pmf(j, mean)), rel=1e-9)


def experiment() -> tuple[Geometry, np.ndarray, np.ndarray, KabschAxes]:
    """A tilted panel, and two reflections on it: (slow, fast) px, s1, axes."""
    fast = np.array([0.99, 0.1, -0.05])
    fast /= np.linalg.norm(fast)
    slow = np.cross(np.cross(fast, [0.1, -1.0, 0.02]), fast)
    slow /= np.linalg.norm(slow)
    panel = Panel("p", (60, 50), (0.1, 0.12), (-2.0, 20.0, -60.0), tuple(fast), tuple(slow))
    geometry = Geometry(Beam(1.1), Detector((panel,)), Goniometer((0.0, 1.0, 0.0)), Scan(0, 10, 0.0, 0.01))
    at = np.array([[20.3, 17.8], [55.1, 1.2]])
    s1 = panel.lab_mm(*at.T)
    s1 /= np.linalg.norm(s1, axis=1, keepdims=True) * 1.1
    return geometry, at, s1, kabsch_axes(s1, geometry)


def layout(boxes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    box = np.array(boxes, np.int32)
    size = np.diff(box.reshape(-1, 3, 2), axis=2)[:, :, 0].astype(np.int64)
    voxel_at, pixel_at = (np.concatenate([[0], np.cumsum(n)]) for n in (size.prod(axis=1), size[:, 1:].prod(axis=1)))
    return {
        "box": box,
        "pixel_at": pixel_at,
        "voxel_at": voxel_at,
        "foreground": np.zeros(pixel_at[-1], np.uint8),
        "voxels": np.full(voxel_at[-1], -1, np.int32),
    }


def opened(claims: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, Geometry, np.ndarray, KabschAxes]:
    geometry, at, s1, axes = experiment()
    a = layout([(2, 5, 12, 29, 10, 27), (3, 4, 47, 63, -6, 9)])
    ray = rays(np.zeros(2, np.int32), at[:, 0], at[:, 1], axes, geometry)
    place = np.array([[0, 0, 60, 50]] * 2, np.int32)
    room = np.empty(400), np.empty(400)
    rows = np.arange(2)
    collect.open_boxes(rows, ray, a["box"], place, DELTA, a["pixel_at"], 50, *room, a["foreground"], claims)
    return a, place, geometry, s1, axes


def test_foreground_is_where_the_papers_coordinates_say():
    a, _, geometry, s1, axes = opened(np.zeros(3000, np.uint16))
    for i in range(2):
        _, _, y0, y1, x0, x1 = a["box"][i]
        slow, fast = np.meshgrid(np.arange(y0, y1 + 1), np.arange(x0, x1 + 1), indexing="ij")
        corners = geometry.detector.panels[0].lab_mm(slow, fast)
        expected = plain.foreground(corners, s1[i], axes.e1[i], axes.e2[i], DELTA)
        mine = a["foreground"][a["pixel_at"][i] : a["pixel_at"][i + 1]].reshape(expected.shape)
        assert 20 < expected.sum() < expected.size
        np.testing.assert_array_equal(mine.astype(bool), expected)


def test_claims_count_foregrounds_within_the_panel_and_are_given_up():
    claims = np.zeros(3000, np.uint16)
    a, place, *_ = opened(claims)
    first = a["foreground"][: a["pixel_at"][1]].reshape(17, 17)
    np.testing.assert_array_equal(claims.reshape(60, 50)[12:29, 10:27], first)
    collect.claim(np.arange(2), a["box"], place, a["pixel_at"], 50, a["foreground"], -1, claims)
    assert not claims.any()


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_pixels_are_copied_from_dense_frames_and_events_alike(dtype):
    rng = np.random.default_rng(5)
    frames = rng.poisson(0.7, (10, 60, 50)).astype(dtype)
    frames[3, 50, 3] = 900
    usable = rng.random((60, 50)) > 0.05
    claims = np.zeros(3000, np.uint16)
    a, place, *_ = opened(claims)
    claims[20 * 50 + 17] += 1  # another reflection's foreground, within this one's
    where = (a["box"], place, a["pixel_at"], a["voxel_at"], a["foreground"])
    by_events = a["voxels"].copy()
    for z in (2, 3, 4):
        rows = np.flatnonzero((a["box"][:, 0] <= z) & (z < a["box"][:, 1]))
        frame = frames[z].reshape(-1)
        collect.collect_dense(frame, usable.reshape(-1), claims, 50, 0, 800, z, rows, *where, a["voxels"])
        index = np.flatnonzero((frame > 0) & usable.reshape(-1)).astype(np.int32)
        offset = np.searchsorted(index, np.arange(0, 3256, 256)).astype(np.int32)
        events = (index, frame[index].astype(np.uint32), offset, 256)
        collect.collect_events(*events, usable.reshape(-1), claims, 50, 800, z, rows, *where, by_events)
    np.testing.assert_array_equal(a["voxels"], by_events)
    for i in range(2):
        mine = a["voxels"][a["voxel_at"][i] : a["voxel_at"][i + 1]]
        expected = plain.collect(frames, usable, 800, a["box"][i])
        counts = np.where(mine == -1, -1, mine & collect.COUNT).reshape(expected.shape)
        np.testing.assert_array_equal(counts, expected)
    shared = a["voxels"][: a["voxel_at"][1]].reshape(3, 17, 17)[0] & collect.OVERLAPPED
    assert usable[20, 17] == bool(shared[8, 7])
    assert not shared[8, 6] or not usable[20, 16]


def test_sums_are_those_of_the_formula():
    rng = np.random.default_rng(7)
    a, *_ = opened(np.zeros(3000, np.uint16))
    a["voxels"][:] = rng.poisson(3, len(a["voxels"]))
    a["voxels"][rng.random(len(a["voxels"])) < 0.02] = -1
    out, work = np.zeros((2, s.COLUMNS)), (np.zeros(TABLE, np.int64), np.zeros(2000, np.int64))
    s.sum_boxes(0, 2, a["box"], a["pixel_at"], a["voxel_at"], a["foreground"], a["voxels"], ROBUST, False, *work, out)
    for i, shape in enumerate([(3, 17, 17), (1, 16, 15)]):
        counts = a["voxels"][a["voxel_at"][i] : a["voxel_at"][i + 1]].reshape(shape).astype(float)
        mine = a["foreground"][a["pixel_at"][i] : a["pixel_at"][i + 1]].reshape(shape[1:]).astype(bool)
        value, background = plain.summation(counts, mine, counts >= 0)
        assert out[i, s.BACKGROUND] == pytest.approx(background, rel=1e-5)
        total = out[i, s.TOTAL] - out[i, s.BACKGROUND] * out[i, s.N_VALID]
        assert total == pytest.approx(value, abs=1e-2)
        assert out[i, s.N_FOREGROUND] == mine.sum() * shape[0]


def test_a_gaussian_profile_shares_itself_out_over_pixels_and_frames():
    geometry, at, _, axes = experiment()
    ray = rays(np.zeros(2, np.int32), at[:, 0], at[:, 1], axes, geometry)[0]
    eps1, eps2 = np.empty(400), np.empty(400)
    collect.corner_angles(ray, 12, 10, 17, 17, eps1, eps2)
    across = gaussian(1).whole
    shares = np.array(
        [
            fits._pixel_share(eps1, eps2, y * 18 + x, 18, 1 / 0.0025, 4, across, np.empty(0))
            for y in range(17)
            for x in range(17)
        ]
    )
    assert shares.sum() == pytest.approx(1.0, abs=2e-3)
    out = np.empty(4)
    fits.frame_shares(3, 4, 4.7, 1.5, gaussian(1).along[0], out, np.empty((0, 0)))
    edges = (np.arange(3, 8) - 4.7) * 1.5
    np.testing.assert_allclose(out, np.diff(ndtr(edges)), atol=0.01)  # bins of half a sigma are flat


def test_fits_are_those_of_the_formula():
    rng = np.random.default_rng(8)
    profile = rng.random((4, 30))
    profile /= 1.2 * profile.sum()
    part, along = profile.sum(axis=0), profile.sum(axis=1) / profile.sum()
    counts = rng.poisson(0.4 + 200 * np.outer(along, part))
    model = np.outer(along, part)
    mine = np.ones(30, np.uint8)
    args = (counts.reshape(-1).astype(np.int32), mine, part, along, 4, 0.4, 50.0, False)
    wxy, wxx, _, ww, wwp, used = fits._moments(*args)
    value, at_zero, per_unit = plain.fit(counts, model, 0.4, 50.0)
    assert wxy / wxx == pytest.approx(value)
    assert (0.4 * ww / wxx**2, wwp / wxx**2) == pytest.approx((at_zero, per_unit))
    assert used == pytest.approx(model.sum())
