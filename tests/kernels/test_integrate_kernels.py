"""Kernels of integration against the plain ones, and against formulae written out here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import poisson

from hdrmx.integration.boxes import lay_of, rays
from hdrmx.integration.profile_model import KabschAxes, ProfileModel, kabsch_axes
from hdrmx.integration.profiles import gaussian
from hdrmx.kernels import integrate_collect as collect
from hdrmx.kernels import integrate_fit as fits
from hdrmx.kernels import integrate_plain as plain
from hdrmx.kernels import integrate_profile as profiles
from hdrmx.kernels import integrate_sum as s
from hdrmx.kernels.integrate_background import MEAN, ROBUST, TABLE, TUKEY, expected_psi, mean_background, poisson_tail
from hdrmx.kernels.intrinsics import PAD_BYTES
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


def experiment(**sensor: float) -> tuple[Geometry, np.ndarray, np.ndarray, KabschAxes]:
    """A tilted panel, and two reflections on it: (slow, fast) px, s1, axes."""
    fast = np.array([0.99, 0.1, -0.05])
    fast /= np.linalg.norm(fast)
    slow = np.cross(np.cross(fast, [0.1, -1.0, 0.02]), fast)
    slow /= np.linalg.norm(slow)
    panel = Panel("p", (60, 50), (0.1, 0.12), (-2.0, 20.0, -60.0), tuple(fast), tuple(slow), **sensor)
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
        "foreground": np.zeros(pixel_at[-1] + PAD_BYTES, np.uint8),
        "voxels": np.full(voxel_at[-1], -1, np.int32),
        "inner": np.zeros((len(box), 4), np.int32),
    }


def opened() -> tuple[dict[str, np.ndarray], np.ndarray, Geometry, np.ndarray, KabschAxes]:
    geometry, at, s1, axes = experiment()
    a = layout([(2, 5, 12, 29, 10, 27), (3, 4, 47, 63, -6, 9)])
    ray = rays(np.zeros(2, np.int32), at[:, 0], at[:, 1], axes, geometry)
    place = np.array([[0, 0, 60, 50]] * 2, np.int32)
    room = np.empty(400), np.empty(400)
    collect.outline(0, 2, ray, a["box"], DELTA, a["pixel_at"], *room, a["foreground"], a["inner"])
    return a, place, geometry, s1, axes


def claimed(a: dict[str, np.ndarray], place: np.ndarray, number: int, takes_back: bool, marks: np.ndarray) -> None:
    boxes = (a["box"], a["inner"], place, a["pixel_at"], 50, a["foreground"])
    collect.claim(number, 2, *boxes, takes_back, marks)


def test_foreground_is_where_the_papers_coordinates_say():
    a, _, geometry, s1, axes = opened()
    for i in range(2):
        _, _, y0, y1, x0, x1 = a["box"][i]
        slow, fast = np.meshgrid(np.arange(y0, y1 + 1), np.arange(x0, x1 + 1), indexing="ij")
        corners = geometry.detector.panels[0].lab_mm(slow, fast)
        expected = plain.foreground(corners, s1[i], axes.e1[i], axes.e2[i], DELTA)
        mine = a["foreground"][a["pixel_at"][i] : a["pixel_at"][i + 1]].reshape(expected.shape)
        assert 20 < expected.sum() < expected.size
        np.testing.assert_array_equal(mine.astype(bool), expected)
        rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
        assert a["inner"][i].tolist() == [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]


@pytest.mark.parametrize(("frame", "open_ones"), [(1, ()), (2, (0,)), (3, (0, 1)), (4, (0,)), (5, ())])
def test_claims_count_open_foregrounds_within_the_panel_and_are_taken_back(frame, open_ones):
    start = np.random.default_rng(1).choice([0, 0, collect.BLOCKED], 3000 + PAD_BYTES).astype(np.uint8)
    marks = start.copy()
    a, place, *_ = opened()
    claimed(a, place, frame, False, marks)
    expected = start[:3000].reshape(60, 50).copy()
    for i in open_ones:
        _, _, y0, y1, x0, x1 = a["box"][i]
        mine = a["foreground"][a["pixel_at"][i] : a["pixel_at"][i + 1]].reshape(y1 - y0, x1 - x0)
        expected[y0 : min(y1, 60), max(x0, 0) : x1] += mine[: 60 - y0, max(-x0, 0) :]
    np.testing.assert_array_equal(marks[:3000].reshape(60, 50), expected)
    claimed(a, place, frame, True, marks)
    np.testing.assert_array_equal(marks, start)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32"])
def test_pixels_are_copied_from_dense_frames_and_events_alike(dtype):
    rng = np.random.default_rng(5)
    frames = rng.poisson(0.7, (10, 60, 50)).astype(dtype)
    frames[3, 50, 3] = 900
    frames[2, 14, 15] = np.iinfo(dtype).max
    usable = rng.random((60, 50)) > 0.05
    marks = np.append(np.where(usable, 0, collect.BLOCKED).astype(np.uint8), np.zeros(PAD_BYTES, np.uint8))
    a, place, *_ = opened()
    marks[20 * 50 + 17] += 1  # another reflection's foreground, within this one's
    where = (a["box"], place, a["pixel_at"], a["voxel_at"], a["foreground"])
    by_events = a["voxels"].copy()
    for z in range(10):
        claimed(a, place, z, False, marks)
        frame = frames[z].reshape(-1)
        collect.collect_dense(frame, 0, 800, marks, 50, z, 2, *where, a["voxels"])
        index = np.flatnonzero((frame > 0) & usable.reshape(-1)).astype(np.int32)
        offset = np.searchsorted(index, np.arange(0, 3256, 256)).astype(np.int32)
        events = (index, frame[index].astype(np.uint32), offset, 256, 800)
        collect.collect_events(*events, marks, 50, z, 2, *where, by_events)
        claimed(a, place, z, True, marks)
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
    a, *_ = opened()
    a["voxels"][:] = rng.poisson(3, len(a["voxels"]))
    a["voxels"][rng.random(len(a["voxels"])) < 0.02] = -1
    out, work = np.zeros((2, s.COLUMNS)), np.zeros(TABLE + 3000, np.int64)
    s.sum_boxes(0, 2, a["box"], a["pixel_at"], a["voxel_at"], a["foreground"], a["voxels"], ROBUST, False, work, out)
    for i, shape in enumerate([(3, 17, 17), (1, 16, 15)]):
        counts = a["voxels"][a["voxel_at"][i] : a["voxel_at"][i + 1]].reshape(shape).astype(float)
        mine = a["foreground"][a["pixel_at"][i] : a["pixel_at"][i + 1]].reshape(shape[1:]).astype(bool)
        value, background = plain.summation(counts, mine, counts >= 0)
        assert out[i, s.BACKGROUND] == pytest.approx(background, rel=1e-5)
        total = out[i, s.TOTAL] - out[i, s.BACKGROUND] * out[i, s.N_VALID]
        assert total == pytest.approx(value, abs=1e-2)
        assert out[i, s.N_FOREGROUND] == mine.sum() * shape[0]
        assert out[i, s.N_BACKGROUND] == (counts[:, ~mine] >= 0).sum()
        assert out[i, s.N_BACKGROUND_BAD] == (counts[:, ~mine] < 0).sum()
        net = np.where(mine & (counts >= 0), counts - out[i, s.BACKGROUND], 0.0)
        for axis, column in enumerate((s.FRAME, s.SLOW, s.FAST)):
            places = np.indices(shape)[axis] + a["box"][i, 2 * axis] + 0.5
            centre = (net * places).sum() / net.sum()
            inside = a["box"][i, 2 * axis] <= centre <= a["box"][i, 2 * axis + 1]
            np.testing.assert_allclose(out[i, column], centre if inside else np.nan, rtol=1e-9)


def test_a_gaussian_profile_shares_itself_out_over_pixels_and_frames():
    across = gaussian(1).whole
    lay, box = lay_and_box()
    shares = part_of(across, lay, box, points=4)
    assert shares.sum() == pytest.approx(1.0, abs=2e-3)
    out = np.empty(4)
    profiles.frame_shares(3, 4, 4.7, 1.5, gaussian(1).along[0], out, np.empty((0, 0)))
    edges = (np.arange(3, 8) - 4.7) * 1.5
    np.testing.assert_allclose(out, np.diff(ndtr(edges)), atol=0.01)  # bins of half a sigma are flat


def lay_and_box(**sensor: float) -> tuple[np.ndarray, np.ndarray]:
    geometry, at, s1, axes = experiment(**sensor)
    panel = np.zeros(2, np.int32)
    ray = rays(panel, at[:, 0], at[:, 1], axes, geometry)
    lay = lay_of(panel, at[:, 0], at[:, 1], s1, ray, geometry, ProfileModel(0.0025, 0.01))
    return lay[0], np.array([2, 5, 12, 29, 10, 27], np.int32)


def part_of(profile: np.ndarray, lay: np.ndarray, box: np.ndarray, points: int, window=None) -> np.ndarray:
    depth, shift = np.empty((3, profiles.MOST_DEPTHS)), np.empty((2, profiles.MOST_DEPTHS), np.int32)
    n = profiles.depths(lay, points, depth)
    profiles.shifts(depth, n, points, shift)
    part = np.zeros((box[3] - box[2]) * (box[5] - box[4]))
    window = np.array((0, box[3] - box[2], 0, box[5] - box[4]) if window is None else window, np.int32)
    profiles.spread(profile, lay, depth, shift, n, points, box, window, np.empty((3, 400)), part)
    return part.reshape(box[3] - box[2], box[5] - box[4])


def test_depths_are_those_of_an_absorber_that_ends():
    lay = np.zeros(profiles.LAY)
    lay[[profiles.FAST_MM, profiles.SLOW_MM, profiles.MU, profiles.PATH]] = 8.0, -3.0, 3.5, 0.6
    depth = np.empty((3, profiles.MOST_DEPTHS))
    n = profiles.depths(lay, 3, depth)
    x = (np.arange(100_000) + 0.5) / 100_000 * 0.6
    weight = np.exp(-3.5 * x)
    mean = np.average(x, weights=weight)
    assert 2 <= n <= profiles.MOST_DEPTHS
    assert depth[2, :n].sum() == pytest.approx(1.0)
    assert depth[2, :n] @ depth[0, :n] == pytest.approx(0.0, abs=1e-9)
    spread = depth[2, :n] @ depth[0, :n] ** 2 / 64.0
    assert spread == pytest.approx(np.average((x - mean) ** 2, weights=weight), rel=0.05)
    np.testing.assert_allclose(depth[1, :n], depth[0, :n] * -3.0 / 8.0)
    lay[profiles.PATH] = 0.01
    assert profiles.depths(lay, 3, depth) == 1


@pytest.mark.parametrize("sensor", [{}, {"thickness_mm": 0.45, "mu_per_mm": 3.0}])
def test_pixels_catch_what_photons_put_there(sensor):
    """Directions drawn from the profile, moved on by the depth at which each is absorbed."""
    lay, box = lay_and_box(**sensor)
    lay[profiles.FAST_MM] *= 2.0  # a flatter incidence than that of the panel at hand
    rng = np.random.default_rng(2)
    n = 400_000
    at = np.array(np.divmod(rng.choice(profiles.NODES**2, n, p=gaussian(1).whole), profiles.NODES)[::-1])
    node = at + rng.triangular(-1.0, 0.0, 1.0, (2, n))  # linear in between
    slope = np.array([[lay[profiles.XF], lay[profiles.XS]], [lay[profiles.YF], lay[profiles.YS]]])
    fast, slow = np.linalg.solve(slope, node - lay[[profiles.X0, profiles.Y0], None])
    if sensor:
        mu, path = lay[profiles.MU], lay[profiles.PATH]
        depth = -np.log(1 - rng.random(n) * (1 - np.exp(-mu * path))) / mu
        fast += (depth - depth.mean()) * lay[profiles.FAST_MM]
        slow += (depth - depth.mean()) * lay[profiles.SLOW_MM]
    edges = np.arange(box[2], box[3] + 1), np.arange(box[4], box[5] + 1)
    expected = np.histogram2d(slow, fast, edges)[0] / n
    np.testing.assert_allclose(part_of(gaussian(1).whole, lay, box, 4), expected, atol=0.003)


def test_a_window_gets_the_same_as_the_whole_box():
    lay, box = lay_and_box(thickness_mm=0.45, mu_per_mm=3.0)
    whole, some = (part_of(gaussian(1).whole, lay, box, 3, w) for w in (None, (5, 12, 4, 11)))
    np.testing.assert_allclose(some[5:12, 4:11], whole[5:12, 4:11], rtol=1e-12)
    assert not some[:5].any()


def test_learning_finds_the_profile_that_was_drawn():
    """Expectation of the counts themselves is a fixed point: what is learned of it is itself."""
    lay, box = lay_and_box(thickness_mm=0.45, mu_per_mm=3.0)
    true = np.random.default_rng(3).random(profiles.NODES**2) * gaussian(1).whole
    true /= true.sum()
    image = np.rint(1e8 * part_of(true, lay, box, 3) + 4e5).astype(np.int32).reshape(-1)
    start, room, out = np.array([0, image.size]), np.empty(4 * image.size), np.empty((3, profiles.NODES**2))
    boxes = (np.zeros(1, np.int64), lay[None], np.array([[0, 1, *box[2:]]], np.int32), start, image, 3)
    profiles.learn_across(0, 1, *boxes, np.array([1e8]), np.array([4e5]), true, room, np.empty((3, 400)), out)
    seen = out[1] > 1e-3 * out[1].max()
    np.testing.assert_allclose(out[0][seen] / out[1][seen], true[seen], rtol=2e-3, atol=1e-9)
    assert (out[2] >= 0).all()


def test_fits_are_those_of_the_formula():
    rng = np.random.default_rng(8)
    model = np.outer(rng.random(4), rng.random(30))
    model /= 1.2 * model.sum()
    counts = rng.poisson(0.4 + 200 * model)
    p, y = model.reshape(-1), counts.reshape(-1).astype(float)
    wxy, wxx, _, ww, wwp, used = fits.moments(p, y, 0.4, 50.0)
    value, at_zero, per_unit = plain.fit(counts, model, 0.4, 50.0)
    assert wxy / wxx == pytest.approx(value)
    assert (0.4 * ww / wxx**2, wwp / wxx**2) == pytest.approx((at_zero, per_unit))
    assert used == pytest.approx(model.sum())
    assert fits.correlation(p, y) == pytest.approx(np.corrcoef(p, y)[0, 1])
