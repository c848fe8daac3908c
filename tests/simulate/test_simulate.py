"""Whole data sets: every option reaches the data, the truth tells it, files are complete or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import nxmx
import pytest
from simulate_cases import frames_of, mask_of, tiny

from hdrmx.errors import InputError
from hdrmx.io.open import open_source
from hdrmx.params import Simulate
from hdrmx.simulate import PRESETS, read_truth, simulate
from hdrmx.simulate.background import ICE_RINGS
from hdrmx.simulate.geometry import LAYOUTS, build
from hdrmx.simulate.truth import COLUMNS, read_background
from hdrmx.tables import check


def make(folder: Path, name: str = "x.nxs", threads: int = 1, **changes: Any) -> Path:
    return simulate(tiny(**changes), folder / name, threads).data


def truth_of(path: Path) -> Any:
    return read_truth(path.with_name(path.stem + "_truth.h5"))


def model_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(path.stem + "_model.json").read_text())


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


EVERYTHING: dict[str, Any] = {
    "background": 0.4, "ice": 0.2, "beam_stop_mm": 0.8, "dead_fraction": 0.01, "hot_fraction": 0.002, "hot_unmasked": 2,
    "decay": 3.0, "absorption": 0.1, "scale_variation": 0.1, "beam_noise": 0.05, "drift_deg": 0.3, "slip_frame": 7,
    "second_lattice": 0.3, "anomalous": 0.05, "blank": "3-4", "frames_per_file": 5, "saturation": 40,
}  # fmt: skip


def has_time_of_day(path: Path) -> bool:
    """Whether a moment of the last minute stands in the file, as HDF5 writes times."""
    now, content = int(time.time()), path.read_bytes()
    return any(struct.pack("<I", now - ago) in content for ago in range(60))


@pytest.mark.parametrize("name", ["x.nxs", "x.cbf"])
def test_the_same_bytes_for_any_number_of_threads(tmp_path: Path, name: str) -> None:
    folders = [tmp_path / str(n) for n in (1, 2, 5)]
    for folder, threads in zip(folders, (1, 2, 5)):
        folder.mkdir()
        make(folder, name, threads, **EVERYTHING)
    first, *others = (digest(f) for f in folders)
    assert len(first) == (6 if name == "x.nxs" else 14)
    assert all(other == first for other in others)
    assert not any(has_time_of_day(p) for p in folders[0].iterdir())
    (tmp_path / "seed").mkdir()
    make(tmp_path / "seed", name, 1, seed=2, **EVERYTHING)
    other = digest(tmp_path / "seed")
    assert not set(other.values()) & set(first.values())


def test_without_background_a_frame_holds_exactly_the_photons_of_the_truth(tmp_path: Path) -> None:
    path = make(tmp_path, frames=60)
    truth = truth_of(path)
    check(truth, COLUMNS)
    frames, mask = frames_of(path), mask_of(path)
    assert frames[:, mask == 0].sum() == truth.photons_seen.sum() > 5000
    assert (frames[:, mask != 0] == 65535).all()
    assert (truth.photons_seen <= truth.photons_drawn).all()
    expected = truth.photons_expected.sum()
    assert truth.photons_drawn.sum() == pytest.approx(expected, abs=4.5 * np.sqrt(expected))
    pull = (truth.photons_drawn - truth.photons_expected)[truth.photons_expected > 5]
    assert np.mean(pull**2 / truth.photons_expected) == pytest.approx(1.0, abs=0.3)
    assert model_of(path)["reflections"] == len(truth)
    full = truth[truth.partiality > 0.999]
    assert full.photons_expected.to_numpy() == pytest.approx((full.photons_full * full.partiality).to_numpy())
    factors = full.lorentz * full.polarization * full.efficiency * full.decay * full.absorption
    scale = model_of(path)["photon_scale"]
    assert full.photons_full.to_numpy() == pytest.approx((scale * full.f_squared * factors).to_numpy())


def test_spots_stand_where_the_truth_says(tmp_path: Path) -> None:
    path = make(tmp_path, frames=80, photons=3000.0, d_min=6.0, spot_deg=0.15, mosaicity_deg=0.3)
    truth, frames = truth_of(path), frames_of(path).astype(float)
    frames[:, mask_of(path) != 0] = 0
    inside = (truth.slow > 8) & (truth.slow < 52) & (truth.fast > 8) & (truth.fast < 120)
    strong = truth[inside & (truth.partiality > 0.999) & (truth.photons_seen > 500) & (truth.sigma_frame < 3)]
    shifts = []
    for row in strong.itertuples():
        box = (slice(row.frame_min, row.frame_max), slice(int(row.slow) - 6, int(row.slow) + 7))
        box = (*box, slice(int(row.fast) - 6, int(row.fast) + 7))
        counts = frames[box]
        if counts.sum() != row.photons_seen:  # a neighbour is in the box
            continue
        at = [(counts * (k + 0.5)).sum() / counts.sum() for k in np.mgrid[box]]
        shifts.append(np.array(at) - [row.frame, row.slow, row.fast])
    assert len(shifts) > 15
    mean, spread = np.mean(shifts, axis=0), np.std(shifts, axis=0)
    assert np.abs(mean) == pytest.approx(0.0, abs=0.04)
    assert (spread < 0.15).all()


def test_frames_follow_background_and_its_scale(tmp_path: Path) -> None:
    path = make(tmp_path, photons=0.0, background=2.0, beam_noise=0.2, frames=20)
    good = mask_of(path) == 0
    mean = frames_of(path)[:, good].mean(axis=1)
    with h5py.File(tmp_path / "x_truth.h5") as file:
        scale = file["frames/background_scale"][()]
    ground = read_background(tmp_path / "x_truth.h5")
    assert scale.std() > 0.1
    expected = scale * ground[good].mean()
    assert mean == pytest.approx(expected, abs=4.5 * np.sqrt(expected.max() / good.sum()))


def test_weak_doses_are_weak(tmp_path: Path) -> None:
    truth = truth_of(make(tmp_path, photons=2.0, frames=60))
    assert truth.photons_full.mean() == pytest.approx(2.0, rel=0.5)


@pytest.mark.parametrize("detector", [d for d in LAYOUTS if d != "tiny"])
def test_detectors_have_their_sizes_and_gaps(detector: str) -> None:
    sizes = {
        "500K": (512, 1028), "1M": (1062, 1028), "4M": (2162, 2068), "9M": (3262, 3108), "16M": (4362, 4148),
        "pilatus2M": (1679, 1475), "pilatus6M": (2527, 2463),
    }  # fmt: skip
    layout = LAYOUTS[detector]
    gaps = layout.is_gap()
    assert layout.shape == gaps.shape == sizes[detector]
    live = layout.modules[0] * layout.modules[1] * layout.module_px[0] * layout.module_px[1]
    assert (~gaps).sum() == live
    assert not gaps[0, 0]
    assert not gaps[-1, -1]


def test_dead_noisy_and_hot_pixels(tmp_path: Path) -> None:
    path = make(tmp_path, background=1.0, dead_fraction=0.02, hot_fraction=0.01, hot_unmasked=4)
    frames, mask = frames_of(path), mask_of(path)
    live = 2 * 60 * 128
    assert ((mask == 2).sum(), (mask == 16).sum(), (mask == 1).sum()) == (round(0.02 * live), round(0.01 * live), 1024)
    assert (frames[:, mask != 0] == 65535).all()
    with h5py.File(tmp_path / "x_truth.h5") as file:
        hot, mean = file["pixels/hot"][()], file["pixels/hot_mean"][()]
    assert len(hot) == 4
    assert (mask.ravel()[hot] == 0).all()
    counted = frames.reshape(12, -1)[:, hot].mean(axis=0)
    assert counted == pytest.approx(mean, rel=0.5, abs=8)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_saturation_stops_the_count(tmp_path: Path, dtype: str) -> None:
    path = make(tmp_path, photons=5000.0, saturation=50, dtype=dtype)
    frames, mask = frames_of(path), mask_of(path)
    assert frames.dtype == dtype
    assert frames[:, mask == 0].max() == 51
    assert (frames[:, mask != 0] == np.iinfo(dtype).max).all()
    with h5py.File(path) as file:
        assert file["entry/instrument/detector/saturation_value"][()] == 50


def test_beam_stop_casts_a_shadow(tmp_path: Path) -> None:
    path = make(tmp_path, background=5.0, beam_stop_mm=1.0, beam_fast_px=70.0, beam_slow_px=40.0, sensor_mm=0.3)
    total = frames_of(path).sum(axis=0)
    slow, fast = np.indices(total.shape) + 0.5
    away = np.hypot(slow - 40, fast - 70) * 0.075
    assert not total[away < 0.95].any()
    assert (total[(away > 1.05) & (slow > 41) & (mask_of(path) == 0)] > 0).all()
    assert not total[:25, 68:72].any()  # the holder
    assert (mask_of(path)[away < 0.9] == 0).all()  # a shadow is not in the mask
    known = make(
        tmp_path, "y.nxs", background=5.0, beam_stop_mm=1.0, beam_fast_px=70.0, beam_slow_px=40.0, beam_stop_masked=True
    )
    assert (mask_of(known)[away < 0.9] == 256).all()
    assert (mask_of(known)[(away > 1.1) & (slow > 41) & (slow < 60)] == 0).all()
    assert not frames_of(known)[:, away < 0.9].any()


def test_ice_rings_stand_out(tmp_path: Path) -> None:
    path = make(tmp_path, photons=0.0, background=0.2, ice=3.0, distance_mm=14.0, frames=30)
    true, _ = build(tiny(distance_mm=14.0))
    panel = true.detector.panels[0]
    slow, fast = np.indices(panel.shape) + 0.5
    at = panel.lab_mm(slow, fast)
    cosine = -at[..., 2] / np.linalg.norm(at, axis=-1)
    inverse_square = (2 * np.sqrt(0.5 * (1 - cosine)) / true.beam.wavelength_A) ** 2
    mean, good = frames_of(path).mean(axis=0), mask_of(path) == 0
    for d, strength in ICE_RINGS[:1]:
        on = good & (np.abs(inverse_square - 1 / d**2) < 3e-4)
        off = good & (np.abs(inverse_square - 1 / d**2 + 0.008) < 6e-4)
        assert mean[on].mean() - mean[off].mean() == pytest.approx(3.0 * strength, rel=0.2)


def test_decay_absorption_and_scales_reach_the_photons(tmp_path: Path) -> None:
    plain = truth_of(make(tmp_path, "a.nxs", frames=60))
    decayed = truth_of(make(tmp_path, "b.nxs", frames=60, decay=10.0))
    absorbed = truth_of(make(tmp_path, "c.nxs", frames=60, absorption=0.3))
    varied = truth_of(make(tmp_path, "d.nxs", frames=60, scale_variation=0.5))
    dose = np.clip(plain.frame / 60, 0, 1)
    loss = np.exp(-10.0 * dose / (2 * plain.d**2))
    assert decayed.photons_expected.to_numpy() == pytest.approx((plain.photons_expected * loss).to_numpy())
    ratio = absorbed.photons_expected / plain.photons_expected
    assert ratio.to_numpy() == pytest.approx(absorbed.absorption.to_numpy())
    assert 0.7 <= ratio.min() < 0.95
    assert ratio.max() <= 1.0
    assert (varied.photons_expected / plain.photons_expected).std() > 0.1
    assert varied.photons_drawn.sum() == pytest.approx(varied.photons_expected.sum(), rel=0.05)


def test_blank_frames_are_empty(tmp_path: Path) -> None:
    path = make(tmp_path, background=1.0, blank="2-3,7-7")
    counts = frames_of(path)[:, mask_of(path) == 0].sum(axis=1)
    assert (np.flatnonzero(counts == 0) == [2, 3, 7]).all()
    assert truth_of(path).photons_expected.sum() < truth_of(make(tmp_path, "y.nxs")).photons_expected.sum()


def test_a_slip_moves_all_reflections_at_its_frame(tmp_path: Path) -> None:
    still = truth_of(make(tmp_path, "a.nxs", frames=60))
    path = make(tmp_path, "b.nxs", frames=60, slip_frame=30, slip_deg=1.0)
    slipped = truth_of(path)
    before, after = slipped[slipped.segment == 0], slipped[slipped.segment == 1]
    assert (before.frame_max <= 30).all()
    assert (after.frame_min >= 30).all()
    early = still[still.frame_max <= 30].reset_index(drop=True)
    kept = before[before.frame_max < 30]
    assert set(zip(kept.h, kept.k, kept.l)) <= set(zip(early.h, early.k, early.l))
    key = ["h", "k", "l", "entering"]
    both = after.merge(still[still.frame_min > 33], on=key)
    assert len(both) > 50
    assert np.abs(both.frame_x - both.frame_y).mean() > 0.3
    cut = before.merge(after, on=key)
    assert len(cut) > 0
    matrices = {f: np.array(A) for f, A in zip(*(model_of(path)["lattices"][0][k] for k in ("frames", "A_at_frames")))}
    turn = matrices[30] @ np.linalg.inv(matrices[20])
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(1.0, rel=1e-6)


def test_a_second_lattice_adds_reflections_of_its_intensity(tmp_path: Path) -> None:
    truth = truth_of(make(tmp_path, frames=100, second_lattice=0.25))
    one, two = (truth[(truth.lattice == k) & (truth.partiality > 0.99)] for k in (0, 1))
    assert 0.7 < len(two) / len(one) < 1.4
    assert (two.photons_full / two.f_squared / two.lorentz).mean() == pytest.approx(
        0.25 * (one.photons_full / one.f_squared / one.lorentz).mean(), rel=0.02
    )


def test_the_header_lies_and_the_truth_does_not(tmp_path: Path) -> None:
    lies = {"header_fast_px": 2.5, "header_slow_px": -1.5, "header_distance_mm": 0.7}
    honest, lying = make(tmp_path, "a.nxs"), make(tmp_path, "b.nxs", **lies)
    assert (frames_of(honest) == frames_of(lying)).all()
    geometries = []
    for path in (honest, lying):
        source = open_source(str(path))
        geometries.append(source.geometry)
        source.close()
    (slow, fast), (slow_told, fast_told) = (g.detector.panels[0].beam_centre_px(g.beam) for g in geometries)
    assert (fast_told - fast, slow_told - slow) == pytest.approx((2.5, -1.5))
    told, true = (g.detector.panels[0].distance_mm for g in geometries[::-1])
    assert told - true == pytest.approx(0.7)
    assert model_of(lying)["true"]["distance_mm"] == pytest.approx(40.0)
    assert model_of(lying)["header"]["distance_mm"] == pytest.approx(40.7)


def test_mosaicity_widens_the_rocking_curve_and_the_spot_angle_the_spots(tmp_path: Path) -> None:
    narrow, wide = (
        truth_of(make(tmp_path, "a.nxs", mosaicity_deg=0.05)),
        truth_of(make(tmp_path, "b.nxs", mosaicity_deg=0.5)),
    )
    assert (wide.frame_max - wide.frame_min).mean() > 2 * (narrow.frame_max - narrow.frame_min).mean()
    small, large = (
        (frames_of(make(tmp_path, f"{k}.nxs", spot_deg=deg, divergence_deg=0.0)) % 65535 > 0).sum()
        for k, deg in enumerate((0.02, 0.4))
    )
    assert large > 2 * small
    assert truth_of(make(tmp_path, "d.nxs", divergence_deg=0.5)).sigma_frame.mean() > 2 * narrow.sigma_frame.mean()


def test_a_grid_has_a_crystal_in_the_middle_and_none_at_the_rim(tmp_path: Path) -> None:
    path = make(tmp_path, grid_rows=6, grid_columns=8, photons=300.0, background=0.2, mosaicity_deg=0.3)
    truth = truth_of(path)
    with h5py.File(tmp_path / "x_truth.h5") as file:
        scale, row, column = (file[f"frames/{k}"][()] for k in ("crystal_scale", "row", "column"))
    with h5py.File(path) as file:
        x, y = (file[f"entry/sample/transformations/sam_{k}"][()] for k in "xy")
        omega = file["entry/sample/transformations/omega"][()]
    assert (row == np.repeat(np.arange(6), 8)).all()
    assert (column[8:16] == np.arange(8)[::-1]).all()
    assert np.ptp(omega) == 0
    assert (x, y) == (pytest.approx(0.02 * column), pytest.approx(0.02 * row))
    assert scale[0] == scale[-1] == 0 < scale.max() <= 1
    assert set(truth.frame - 0.5) == set(np.flatnonzero(scale > 0))
    drawn = truth.groupby("frame").photons_expected.sum()
    assert drawn.to_numpy() == pytest.approx(drawn.max() / scale.max() * scale[scale > 0])
    assert (truth.zeta == 1).all()
    full = truth.photons_full * np.exp(-0.5 * (np.radians(truth.offset) / model_of(path)["sigma_m"]) ** 2)
    assert truth.photons_expected.to_numpy() == pytest.approx(
        (full * scale[(truth.frame - 0.5).astype(int)]).to_numpy()
    )


def test_stills_and_backward_scans(tmp_path: Path) -> None:
    stills = truth_of(make(tmp_path, "a.nxs", width_deg=0.0, frames=3))
    assert set(stills.frame) == {0.5, 1.5, 2.5}
    forward = truth_of(make(tmp_path, "b.nxs", frames=40))
    backward = truth_of(make(tmp_path, "c.nxs", frames=40, start_deg=20.0, width_deg=-0.5))
    key = ["h", "k", "l"]
    both = forward[forward.partiality > 0.99].merge(backward, on=key)
    both = both[both.entering_x != both.entering_y]
    assert (both.frame_x + both.frame_y).to_numpy() == pytest.approx(40.0)
    assert len(both) > 50


@pytest.mark.parametrize("layout", ["vds", "links", "single"])
@pytest.mark.parametrize("name", ["x.nxs", "x_master.h5"])
def test_layouts_hold_the_same_frames(tmp_path: Path, layout: str, name: str) -> None:
    path = make(tmp_path, name, background=0.5, layout=layout, frames_per_file=100 if layout == "links" else 5)
    again = make(tmp_path, "plain.nxs", background=0.5)
    assert (frames_of(path) == frames_of(again)).all()
    files = {p.name for p in tmp_path.glob("x*")}
    data = {"vds": 3, "links": 1, "single": 0}[layout]
    assert files == {name, "x_truth.h5", "x_model.json", *(f"x_data_{k + 1:06d}.h5" for k in range(data))}


def test_nxmx_library_and_our_reader_agree_with_the_models(tmp_path: Path) -> None:
    settings = tiny(two_theta_deg=15.0, axis="0.1,0.9,0.2", start_deg=30.0, wavelength_A=1.2, polarization=0.9)
    path = simulate(settings, tmp_path / "x.nxs").data
    true, _ = build(settings)
    with h5py.File(path) as file:
        entry = nxmx.NXmx(file).entries[0]
        detector = entry.instruments[0].detectors[0]
        assert entry.definition == "NXmx"
        assert detector.sensor_thickness.to("mm").magnitude == pytest.approx(0.45)
        axes = nxmx.get_rotation_axes(nxmx.get_dependency_chain(entry.samples[0].depends_on))
        assert axes.axes[0] * [-1, 1, -1] == pytest.approx(true.goniometer.lab_axis)
    source = open_source(str(path))
    g, panel = source.geometry, source.geometry.detector.panels[0]
    source.close()
    expected = true.detector.panels[0]
    for name in ("origin_mm", "fast_axis", "slow_axis", "pixel_mm", "thickness_mm", "mu_per_mm"):
        assert getattr(panel, name) == pytest.approx(getattr(expected, name), abs=1e-9), name
    assert g.beam.wavelength_A == pytest.approx(1.2)
    assert g.goniometer.lab_axis == pytest.approx(true.goniometer.lab_axis)
    assert (g.scan.start_rad, g.scan.width_rad, g.scan.n_frames) == pytest.approx(
        (true.scan.start_rad, true.scan.width_rad, 12)
    )
    assert g.detector.trusted == true.detector.trusted


def test_cbf_files_hold_the_same_counts(tmp_path: Path) -> None:
    changes = {"background": 0.5, "dead_fraction": 0.01}
    path = make(tmp_path, "x.nxs", **changes)
    first = make(tmp_path, "y.cbf", **changes)
    frames, mask = frames_of(path).astype(np.int64), mask_of(path)
    assert first.name == "y_00001.cbf"
    for k in range(12):
        with fabio.open(tmp_path / f"y_{k + 1:05d}.cbf") as image:
            pixels = image.data
        assert (pixels[mask == 0] == frames[k][mask == 0]).all()
        assert (pixels[mask == 1] == -1).all()
        assert (pixels[mask == 2] == -2).all()
    source = open_source(str(tmp_path / "y_#####.cbf"))
    panel = source.geometry.detector.panels[0]
    assert panel.origin_mm == pytest.approx(build(tiny())[0].detector.panels[0].origin_mm, abs=1e-6)
    assert source.geometry.scan.width_rad == pytest.approx(np.radians(0.5))
    source.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slip_frame": 12}, "below the number of frames"),
        ({"blank": "5-99"}, "not within frames"),
        ({"blank": "x"}, "no range"),
        ({"grid_rows": 3}, "rows or columns only"),
        ({"axis": "0,0,0"}, "no direction"),
        ({"header_distance_mm": -50.0}, "must stay above 0"),
        ({"saturation": 65533}, "must be below"),
        ({"cell": "4000,4000,3000,90,90,90", "d_min": 0.0}, "the limit is"),
        ({"space_group": "nonsense"}, "not known"),
    ],
)
def test_contradictions_are_refused_and_leave_nothing(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_outputs_are_not_replaced_unless_asked_and_must_have_a_place(tmp_path: Path) -> None:
    path = make(tmp_path)
    before = digest(tmp_path)
    with pytest.raises(InputError, match="exists"):
        make(tmp_path, seed=2)
    assert digest(tmp_path) == before
    simulate(tiny(seed=2), path, overwrite=True)
    assert digest(tmp_path) != before
    with pytest.raises(InputError, match="not a folder"):
        make(tmp_path / "nowhere")
    with pytest.raises(InputError, match="must end in"):
        make(tmp_path, "x.tif")
    (tmp_path / "y_truth.h5").touch()
    with pytest.raises(InputError, match=r"y_truth.h5.*exists"):
        make(tmp_path, "y.nxs")
    with pytest.raises(InputError, match=r"oblique|spindle|tilted"):
        make(tmp_path, "z.cbf", axis="0,1,0")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["x.nxs", "x.cbf"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    where = "NxmxSink.write" if name == "x.nxs" else "write_mini_cbf"
    monkeypatch.setattr(f"hdrmx.simulate.{'write_nxmx' if '.' in where else 'run'}.{where}", full)
    with pytest.raises(InputError, match="No space left"):
        make(tmp_path, name, threads=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the file size as Linux has them")
def test_a_limit_of_the_file_size_ends_in_one_line(tmp_path: Path) -> None:
    code = """if True:
        import resource, signal, sys
        from pathlib import Path
        from hdrmx.cli import main
        from hdrmx.params import Simulate
        from hdrmx.simulate import simulate
        folder = Path(sys.argv[1])
        simulate(Simulate(detector="tiny", frames=1), folder / "warm.nxs")  # kernels go to their cache unhindered
        [p.unlink() for p in folder.iterdir()]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))
        options = "--detector tiny --frames 40 --background 3 -j 1".split()
        sys.argv = ["hdrmx", "simulate", str(folder / "x.nxs"), *options]
        main()
    """
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "can't be written" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(InputError, match="Permission denied"):
            make(folder)
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_work_on_a_tiny_detector(tmp_path: Path, preset: str) -> None:
    from dataclasses import replace

    settings = replace(PRESETS[preset][1], detector="tiny", beam_slow_px=None, frames=3, d_min=4.0)
    if settings.grid_rows:
        settings = replace(settings, grid_rows=2, grid_columns=2)
    made = simulate(settings, tmp_path / "x.nxs")
    assert frames_of(made.data).shape[0] == made.n_frames
    assert isinstance(PRESETS[preset][1], Simulate)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate(tiny(), tmp_path / "x.nxs", progress=lambda done, total: told.append((done, total)))
    assert told == [(k + 1, 12) for k in range(12)]
