"""Background: Poisson about the mean that the truth tells, dense or sparse; tables, levels, rings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson as poisson_law
from simulate_cases import tiny

from hdrmx.models import Geometry
from hdrmx.simulate import background as bg
from hdrmx.simulate import rng
from hdrmx.simulate.geometry import build


def made(**changes: object) -> tuple[bg.Background, Geometry, np.ndarray]:
    settings = tiny(**changes)
    true, _ = build(settings)
    free = np.full(true.detector.panels[0].shape, 255, np.uint8)
    free[60:68] = 0
    return bg.background(settings, true, free), true, free


def drawn(ground: bg.Background, scale: float, frame: int) -> np.ndarray:
    out = np.empty(ground.levels.size, np.uint32)
    tables = bg.alias_tables(ground.level_means * scale)
    key = rng.make_key(1, rng.For.BACKGROUND, frame)
    bg.draw_background(key, ground.levels.ravel(), ground.level_means, ground.block_peaks, scale, *tables, out)
    return out.reshape(ground.levels.shape)


def drawn_plainly(ground: bg.Background, scale: float, frame: int) -> np.ndarray:
    return np.random.default_rng(frame).poisson(ground.level_means[ground.levels] * scale)


DRAW = {"fast": drawn, "plain": drawn_plainly}


@pytest.mark.parametrize("mean", [0.0, 0.003, 0.2, 1.0, 15.9, 40.0, 300.0])
def test_alias_tables_hold_the_poisson_distribution(mean: float) -> None:
    thresholds, others, draws = bg.alias_tables(np.array([mean]))
    p = np.zeros(bg.TABLE)
    for k in range(bg.TABLE):
        stays = thresholds[0, k] / (1 << 26)
        p[k] += stays
        p[others[0, k]] += 1.0 - stays
    assert draws[0] == max(1, np.ceil(mean / bg.MEAN_A_DRAW))
    expected = poisson_law.pmf(np.arange(bg.TABLE), mean / draws[0])
    assert p / bg.TABLE == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize("kernel", DRAW)
@pytest.mark.parametrize("mean", [0.005, 0.05, 0.3, 1.0, 5.0, 60.0])
def test_counts_are_poisson_about_the_mean(mean: float, kernel: str) -> None:
    ground, _, free = made(background=mean)
    scale, n = 1.3, 60
    frames = np.array([DRAW[kernel](ground, scale, k) for k in range(n)], float)
    expected = ground.mean().astype(float) * scale
    live = free > 0
    total = expected[live].sum() * n
    assert frames[:, live].sum() == pytest.approx(total, abs=4.5 * np.sqrt(total))
    variance = frames.var(axis=0, ddof=1)[live].sum()
    spread = np.sqrt(((2 * expected[live] ** 2 + expected[live]) / n).sum())
    assert variance == pytest.approx(expected[live].sum(), abs=5 * spread)
    assert not frames[:, ~live].any()
    for part in (live & (expected < np.median(expected[live])), live & (expected >= np.median(expected[live]))):
        assert frames[:, part].sum() == pytest.approx(expected[part].sum() * n, abs=4.5 * np.sqrt(total))


def test_pixels_frames_and_neighbours_are_independent() -> None:
    ground, _, free = made(background=1.0, air=0.0)
    frames = np.array([drawn(ground, 1.0, k) for k in range(40)], float) - ground.mean()
    inside = frames[:, :60]
    for shifted in (inside[:, :, 1:] * inside[:, :, :-1], inside[:, 1:] * inside[:, :-1], inside[1:] * inside[:-1]):
        assert abs(shifted.mean()) < 5 / np.sqrt(shifted.size) * inside.var()
    assert free.any()


def test_level_means_keep_the_mean_of_the_profile() -> None:
    ground, true, free = made(background=2.0)
    assert ground.mean()[free > 0].mean() == pytest.approx(2.0, rel=2e-3)
    smooth = bg._Profile(tiny(background=2.0), true, free).means(slice(0, 128))
    ratio = ground.mean()[:60].reshape(6, 10, 16, 8).mean((1, 3)) / smooth[:60].reshape(6, 10, 16, 8).mean((1, 3))
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_background_falls_off_from_the_beam_with_air_and_has_a_ring_without() -> None:
    d = np.linspace(0.02, 0.5, 200)
    air, ring = bg.profile(tiny(air=1.0), d), bg.profile(tiny(air=0.0), d)
    assert (np.diff(air) < 0).all()
    assert d[40:][np.argmax(ring[40:])] == pytest.approx(1 / 3.6, abs=0.02)


def test_ice_rings_stand_where_ice_has_them() -> None:
    for d, strength in bg.ICE_RINGS[:5]:
        assert bg.ice_profile(np.array([1 / d]))[0] == pytest.approx(strength, rel=0.05)
    assert bg.ice_profile(np.array([1 / 3.0]))[0] < 1e-6
    without, true, _ = made(background=0.5, ice=0.0, distance_mm=12.0)
    with_ice, _, _ = made(background=0.5, ice=2.0, distance_mm=12.0)
    extra = with_ice.mean() - without.mean()
    assert extra.max() == pytest.approx(2.0, rel=0.1)
    assert true.beam.wavelength_A > 0


def test_no_background_is_no_count() -> None:
    ground, _, _ = made(background=0.0)
    assert not drawn(ground, 1.0, 0).any()


@pytest.mark.parametrize("mean", [0.3, 3.0, 11.9, 12.1, 80.0, 5000.0])
def test_poisson_numbers(mean: float) -> None:
    n = 20000
    values = np.array([rng.poisson(rng.make_key(5, k), mean) for k in range(n)], float)
    assert values.mean() == pytest.approx(mean, abs=4.5 * np.sqrt(mean / n))
    assert values.var() == pytest.approx(mean, rel=6 * np.sqrt((2 + 1 / mean) / n))
    if mean < 100:
        edges = poisson_law.ppf([0.1, 0.3, 0.5, 0.7, 0.9], mean)
        for edge in edges:
            assert (values <= edge).mean() == pytest.approx(poisson_law.cdf(edge, mean), abs=4.5 * 0.5 / np.sqrt(n))


def test_uniform_and_normal_numbers_are_what_they_say_and_agree_with_the_kernel() -> None:
    key = rng.make_key(3, 1)
    u = rng.uniforms(key, np.arange(50000, dtype=np.uint64))
    assert [rng.to_unit(np.uint64(rng.draw(key, k))) for k in range(5)] == u[:5].tolist()
    assert np.histogram(u, 20, (0, 1))[0] == pytest.approx(2500, abs=5 * np.sqrt(2500))
    g = rng.normals(key, np.arange(50000, dtype=np.uint64))
    assert g.mean() == pytest.approx(0.0, abs=0.02)
    assert g.var() == pytest.approx(1.0, abs=0.03)
    assert (g**4).mean() == pytest.approx(3.0, abs=0.2)
    assert rng.make_key(1, 2) != rng.make_key(2, 1)
