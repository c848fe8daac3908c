"""Geometry of NXmx files, against what dxtbx makes of them (`reference/nexus_dxtbx.json`)."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from nxmx_cases import CASES, OMEGA, N, write_case
from nxmx_fixture import Axis, Header, counts, write_nxmx

from hdrmx.errors import InputError
from hdrmx.io.nexus import open_nexus, read_geometry
from hdrmx.models import Geometry

REFERENCE = json.loads((Path(__file__).parent / "reference" / "nexus_dxtbx.json").read_text())
WHOLE_SETS = [name for name in REFERENCE["files"] if "eiger_nxmx_metadata" not in name]


def unit(vector: list[float]) -> np.ndarray:
    return np.asarray(vector) / np.linalg.norm(vector)


def check(geometry: Geometry, expected: dict) -> None:
    """Everything that dxtbx states. Its trusted range is written with the value below the lowest."""
    beam, detector = geometry.beam, geometry.detector
    assert beam.wavelength_A == pytest.approx(expected["wavelength_A"], rel=1e-9)
    assert beam.s0 == pytest.approx(expected["s0"], abs=1e-9)
    assert len(detector.panels) == len(expected["panels"])
    for panel, told in zip(detector.panels, expected["panels"]):
        assert panel.name == told["name"]
        for name in ("origin_mm", "fast_axis", "slow_axis"):
            assert getattr(panel, name) == pytest.approx(told[name], abs=1e-9), name
        assert panel.pixel_mm[::-1] == pytest.approx(told["pixel_mm_fast_slow"])
        assert list(panel.shape[::-1]) == told["size_fast_slow"]
        assert panel.thickness_mm == pytest.approx(told["thickness_mm"])
        assert panel.material == told["material"]
        assert panel.mu_per_mm == pytest.approx(told["mu_per_mm"], rel=0.01)
        assert detector.trusted == (told["trusted_range"][0] + 1, told["trusted_range"][1])
        assert detector.gain == told["gain"]
    goniometer, scan = geometry.goniometer, geometry.scan
    assert goniometer is not None
    assert scan is not None
    # dxtbx keeps the length of 1.00002 that the file's vectors have
    assert goniometer.axis == pytest.approx(unit(expected["rotation_axis"]), abs=1e-9)
    assert np.ravel(goniometer.fixed) == pytest.approx(expected["fixed_rotation"], abs=1e-9)
    assert np.ravel(goniometer.setting) == pytest.approx(expected["setting_rotation"], abs=1e-9)
    if "axes" in expected:
        assert [name for name, _, _ in goniometer.axes] == expected["names"]
        directions = [unit(axis) for axis in expected["axes"]]
        assert np.array([axis for _, axis, _ in goniometer.axes]) == pytest.approx(np.array(directions), abs=1e-9)
        assert np.degrees([angle for _, _, angle in goniometer.axes]) == pytest.approx(expected["angles_deg"])
        assert goniometer.scan_axis == expected["scan_axis"]
    assert scan.n_frames == expected["n_frames"]
    start, width = expected["oscillation_deg"]
    assert np.degrees(scan.width_rad) == pytest.approx(width, abs=1e-9)
    if width:  # of stills dxtbx drops the angle at which they were taken
        assert np.degrees(scan.start_rad) == pytest.approx(start, abs=1e-9)


def check_mask(geometry: Geometry, mask: np.ndarray, expected: dict) -> None:
    """The same pixels as in dxtbx's mask of each panel; all of them where the file has no mask; none between."""
    covered = np.zeros_like(mask)
    for panel in geometry.detector.panels:
        slow, fast = panel.offset
        covered[slow : slow + panel.shape[0], fast : fast + panel.shape[1]] = True
    assert not mask[~covered].any()
    assert expected["usable_pixels"] or mask[covered].all()
    for panel, usable, digest in zip(geometry.detector.panels, expected["usable_pixels"], expected["mask_sha256"]):
        slow, fast = panel.offset
        region = np.s_[slow : slow + panel.shape[0], fast : fast + panel.shape[1]]
        assert mask[region].sum() == usable
        assert hashlib.sha256(np.packbits(mask[region]).tobytes()).hexdigest() == digest


@pytest.mark.parametrize("name", WHOLE_SETS)
def test_real_and_simulated_sets_are_read_as_dxtbx_reads_them(name: str, shared_data: Path) -> None:
    source = open_nexus(shared_data / name)
    check(source.geometry, REFERENCE["files"][name])
    check_mask(source.geometry, source.mask, REFERENCE["files"][name])
    assert source.geometry.scan.exposure_s == pytest.approx(REFERENCE["files"][name]["exposure_s"])
    source.close()


def test_a_split_master_with_three_axes_is_read_as_dxtbx_reads_it(shared_data: Path, tmp_path: Path) -> None:
    name = "eiger_nxmx_metadata/dls_i03_ins_8_5.nxs"
    master = tmp_path / Path(name).name
    master.write_bytes((shared_data / name).read_bytes())
    with gzip.open(shared_data / name.replace(".nxs", "_meta.h5.gz")) as meta:
        (tmp_path / "ins_8_5_meta.h5").write_bytes(meta.read())
    found = read_geometry(master)
    check(found, REFERENCE["files"][name])
    assert len(found.goniometer.axes) == 3


@pytest.mark.parametrize("name", CASES)
def test_made_up_geometries_are_read_as_dxtbx_reads_them(name: str, tmp_path: Path) -> None:
    source = open_nexus(write_case(name, tmp_path))
    check(source.geometry, REFERENCE["cases"][name])
    check_mask(source.geometry, source.mask, REFERENCE["cases"][name])
    assert source.geometry.notes == ()
    source.close()


def geometry_of(tmp_path: Path, **header) -> Geometry:
    path = write_nxmx(tmp_path / "made.nxs", counts((N, 12, 20)), layout="single", header=Header(**header))
    return read_geometry(path)


def test_electrons_are_told_by_the_source(tmp_path: Path) -> None:
    beam = geometry_of(tmp_path, probe="electron", wavelength_A=0.02508).beam
    assert (beam.probe, beam.polarization_fraction) == ("electron", 0.5)


def test_a_narrow_spectrum_is_its_weighted_mean_and_a_wide_one_is_refused(tmp_path: Path) -> None:
    narrow = geometry_of(tmp_path, wavelength_A=[1.0, 1.001], weights=[3.0, 1.0])
    assert narrow.beam.wavelength_A == pytest.approx(1.00025)
    with pytest.raises(InputError, match="wavelengths spread by 2"):
        geometry_of(tmp_path, wavelength_A=[1.0, 1.05], weights=[1.0, 1.0])


def test_polarisation_comes_from_the_stokes_vector(tmp_path: Path) -> None:
    stokes = {"instrument/beam/incident_polarisation_stokes": [[1.0, 0.9, 0.0, 0.0]]}
    assert geometry_of(tmp_path, extra=stokes).beam.polarization_fraction == pytest.approx(0.95)


def test_a_scan_over_the_full_circle_keeps_its_steps(tmp_path: Path) -> None:
    angles = (359.9 + 0.05 * np.arange(N)) % 360
    scan = geometry_of(tmp_path, goniometer=(Axis("omega", "rotation", OMEGA, angles, "deg"),)).scan
    assert np.degrees([scan.start_rad, scan.width_rad]) == pytest.approx([359.9, 0.05])


def test_a_backward_scan_is_a_forward_scan_about_the_opposite_axis(tmp_path: Path) -> None:
    angles = 20.0 - 0.5 * np.arange(N)
    geometry = geometry_of(tmp_path, goniometer=(Axis("omega", "rotation", OMEGA, angles, "deg", angles - 0.5),))
    assert geometry.goniometer.axis == pytest.approx((-1.0, 0.0, 0.0))
    assert np.degrees([geometry.scan.start_rad, geometry.scan.width_rad]) == pytest.approx([-20.0, 0.5])
    assert any("backwards" in note for note in geometry.notes)


@pytest.mark.parametrize(
    ("angles", "ends", "reason"),
    [
        ([0.0, 0.1, 0.2, 40.0, 40.1, 40.2], None, "not evenly spaced"),
        ([0.0, 0.1, np.nan, 0.3, 0.4, 0.5], None, "not finite"),
        ([0.0, 45.0, 90.0, 135.0, 180.0, 225.0], [0.5, 45.5, 90.5, 135.5, 180.5, 225.5], "45 deg apart"),
        ([0.0, 0.1, 0.2], None, "3 angles for 6 frames"),
        ([], None, "no values"),
    ],
)
def test_angles_that_make_no_scan_are_refused(tmp_path: Path, angles, ends, reason: str) -> None:
    axis = Axis("omega", "rotation", OMEGA, np.array(angles), "deg", ends)
    with pytest.raises(InputError, match=reason):
        geometry_of(tmp_path, goniometer=(axis,))


def test_two_moving_axes_are_refused(tmp_path: Path) -> None:
    angles = 0.1 * np.arange(N)
    axes = [Axis(name, "rotation", OMEGA, angles, "deg") for name in ("phi", "omega")]
    with pytest.raises(InputError, match="phi and omega move together, or the file has several scans"):
        geometry_of(tmp_path, goniometer=axes)


def test_no_goniometer_means_stills(tmp_path: Path) -> None:
    geometry = geometry_of(tmp_path, goniometer=())
    assert geometry.goniometer is None
    assert geometry.scan is None


def test_one_frame_takes_its_width_from_its_end(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "one.nxs", counts((1, 12, 20)), layout="single", header=Header(width_deg=2.0))
    scan = read_geometry(path).scan
    assert (scan.n_frames, np.degrees(scan.width_rad)) == (1, pytest.approx(2.0))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"wavelength_A": 0.0}, "wavelength is 0 A"),
        ({"wavelength_A": np.nan}, "wavelength is nan A"),
        (
            {"arm": (Axis("det_z", "translation", (0.0, 0.0, 1.0), np.nan, "mm"),)},
            "det_z has values that are not finite",
        ),
        ({"arm": (Axis("det_z", "translation", (0.0, 0.0, 1.0), 1.0, "parsnip"),)}, "det_z has the unit 'parsnip'"),
        ({"arm": (Axis("det_z", "translation", (0.0, 0.0, 1.0), 1.0, "deg"),)}, "which is of angle and not of length"),
        ({"arm": (Axis("det_z", "translation", (0, 0, 1), np.arange(6.0), "mm"),)}, "detector moves during the scan"),
        ({"pixel_mm": (0.1, 0.0)}, "pixels of /entry/instrument/detector/module measure"),
        ({"underload": 70000}, "underload_value 70000.0 is above saturation_value"),
        ({"extra": {"instrument/detector/module/data_size": [12]}}, "data_size"),
        ({"extra": {"instrument/beam/incident_wavelength": 1.0}}, "incident_wavelength has no units"),
    ],
)
def test_headers_without_sense_are_refused_by_name(tmp_path: Path, header: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        geometry_of(tmp_path, **header)


def test_a_chain_that_runs_in_a_circle_is_refused(tmp_path: Path) -> None:
    circle = {"transformation_type": "translation", "vector": (0, 0, 1), "units": "mm"}
    name = "instrument/detector/transformations/det_z"
    with pytest.raises(InputError, match="runs in a circle at /entry/instrument/detector/transformations/det_z"):
        geometry_of(tmp_path, extra={name: (1.0, {**circle, "depends_on": f"/entry/{name}"})})


def test_a_chain_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    about = {"transformation_type": "translation", "vector": (0, 0, 1), "units": "mm", "depends_on": "/entry/nothing"}
    with pytest.raises(InputError, match=r"what .*det_z depends on"):
        geometry_of(tmp_path, extra={"instrument/detector/transformations/det_z": (1.0, about)})


def test_the_trusted_range_stops_below_the_marks(tmp_path: Path) -> None:
    frames = counts((2, 12, 20))
    for dtype, highest in (("u1", 253), ("u2", 65533), ("u4", 2**31 - 3), ("i4", 2**31 - 3)):
        path = write_nxmx(tmp_path / "marks.nxs", frames, stored=dtype, layout="single", header=Header(saturation=None))
        source = open_nexus(path)
        assert source.geometry.detector.trusted == (0, highest)
        source.close()


def test_a_detector_without_a_place_across_the_beam_takes_the_stated_centre(tmp_path: Path) -> None:
    module = "instrument/detector/module/module_offset"
    about = {"transformation_type": "translation", "vector": (1, 0, 0), "units": "mm", "offset": np.zeros(3)}
    about["depends_on"] = "/entry/instrument/detector/transformations/det_z"
    extra = {module: (0.0, about)}
    for name, value in (("beam_center_x", 7.5), ("beam_center_y", 4.0)):
        extra[f"instrument/detector/{name}"] = (value, {"units": "pixel"})
    geometry = geometry_of(tmp_path, extra=extra)
    assert geometry.detector.panels[0].beam_centre_px(geometry.beam) == pytest.approx((4.0, 7.5))
    assert any("the stated one was taken" in note for note in geometry.notes)


def test_the_older_filewriter_layout(shared_data: Path) -> None:
    """Eiger 9M; expected values follow from the numbers in the file (translation, orientation, omega)."""
    geometry = read_geometry(shared_data / "eiger_nxmx_metadata/dectris_eiger_master.h5")
    (panel,) = geometry.detector.panels
    assert panel.origin_mm == pytest.approx((-120.55613, 118.98236, -134.255), abs=1e-3)
    assert (panel.fast_axis, panel.slow_axis) == ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
    assert panel.beam_centre_px(geometry.beam) == pytest.approx((1586.431, 1607.415), abs=0.01)
    assert panel.shape == (3269, 3110)
    assert geometry.detector.trusted == (0.0, 12440.0)
    assert geometry.goniometer.axis == (1.0, 0.0, 0.0)
    assert np.degrees([geometry.scan.start_rad, geometry.scan.width_rad]) == pytest.approx([0.0, 0.5])


def test_sizes_and_signs_written_the_wrong_way_round_are_noted(shared_data: Path) -> None:
    geometry = read_geometry(shared_data / "eiger_nxmx_metadata/ansto_mx3_example_1_master.h5")
    (panel,) = geometry.detector.panels
    assert panel.shape == (3262, 3108)
    assert panel.origin_mm[2] == pytest.approx(-210.00875)
    assert panel.beam_centre_px(geometry.beam) == pytest.approx((1635.18, 1517.65), abs=0.01)
    assert len(geometry.notes) == 3
