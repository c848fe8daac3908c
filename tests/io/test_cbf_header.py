"""What headers say, and headers that lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cbf_examples import IMGCIF
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.errors import InputError
from hdrmx.frames import Codec
from hdrmx.io.cbf_header import MARKER, parse_header
from hdrmx.io.cbf_imgcif import imgcif_geometry, is_full_header
from hdrmx.io.cbf_mini import mini_geometry, reverse

MIME = {
    "Content-Type": 'application/octet-stream;\r\n     conversions="x-CBF_BYTE_OFFSET"',
    "Content-Transfer-Encoding": "BINARY",
    "X-Binary-Size": "12",
    "X-Binary-Element-Type": '"signed 32-bit integer"',
    "X-Binary-Element-Byte-Order": "LITTLE_ENDIAN",
    "X-Binary-Number-of-Elements": "6",
    "X-Binary-Size-Fastest-Dimension": "3",
    "X-Binary-Size-Second-Dimension": "2",
}

MINI = """###CBF: VERSION 1.5
# Detector: PILATUS3 6M, S/N {serial}
# {year}-09-11T13:20:29.029
# Pixel_size 172e-6 m x 172e-6 m
# Silicon sensor, thickness 0.000450 m
# Exposure_period 0.0200000 s
# Count_cutoff 115897 counts
# Wavelength 0.96859 A
# Detector_distance 0.35100 m
# Beam_xy (1261.61, 1306.96) pixels
# Flux 1.396021
# Start_angle 89.9997 deg.
# Angle_increment 0.1 deg.
# Alpha 50.0000 deg.
# Kappa 30.0000 deg.
# Phi 20.0000 deg.
# Omega 89.9997 deg.
# Chi 10.0000 deg.
# Oscillation_axis {axis}
"""


def cbf(**changes: str | None) -> bytes:
    fields = {**MIME, **{k.replace("_", "-"): v for k, v in changes.items()}}
    lines = "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None)
    return b"###CBF: x\r\ntext\r\n--CIF-BINARY-FORMAT-SECTION--\r\n" + lines.encode() + b"\r\n" + MARKER + bytes(12)


def test_where_the_pixels_are() -> None:
    content = cbf()
    layout = parse_header(content, "f").layout
    assert layout.shape == (2, 3)
    assert content[layout.start - 4 : layout.start] == MARKER
    assert (layout.n_bytes, layout.codec, layout.dtype) == (12, Codec.BYTE_OFFSET, np.int32)


def test_pixels_without_packing() -> None:
    changes = {"Content-Type": None, "X-Binary-Size": "12", "X-Binary-Element-Type": '"unsigned 16-bit integer"'}
    layout = parse_header(cbf(**changes), "f").layout
    assert (layout.codec, layout.dtype) == (Codec.RAW, np.uint16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X_Binary_Size": "5"}, "take 6 to 42"),
        ({"X_Binary_Size": "43"}, "take 6 to 42"),
        ({"X_Binary_Size": "-1"}, "not a count"),
        ({"X_Binary_Size": None}, "not a count"),
        ({"X_Binary_Size": "9" * 40}, "not a count"),
        ({"X_Binary_Number_of_Elements": "7"}, "2 x 3 pixels make 6"),
        ({"X_Binary_Size_Fastest_Dimension": "0"}, "not a count"),
        ({"X_Binary_Size_Fastest_Dimension": "99999999999"}, "more than"),
        ({"X_Binary_Size_Third_Dimension": "2"}, "third-dimension"),
        ({"Content_Transfer_Encoding": "BASE64"}, "BASE64"),
        ({"Content_Type": 'application/octet-stream; conversions="x-CBF_PACKED"'}, "packed by x-CBF_PACKED"),
        ({"X_Binary_Element_Type": '"signed 64-bit real IEEE"'}, "64-bit real"),
        ({"X_Binary_Element_Type": '"unsigned 16-bit integer"'}, "only 32-bit"),
        ({"X_Binary_Element_Byte_Order": "BIG_ENDIAN"}, "BIG_ENDIAN"),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_header(cbf(**changes), "f")


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"###CBF: no more", cbf().replace(MARKER, b"abcd")])
def test_what_is_not_a_whole_cbf_is_refused(content: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_header(content, "f")
    assert caught.value.where == "f"
    assert caught.value.what


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_no_damage_gets_past_as_another_error(data: st.DataObject) -> None:
    content = bytearray((IMGCIF.encode() + cbf()[10:]).replace(b"text\r\n", b""))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    try:
        header = parse_header(bytes(content), "f")
        imgcif_geometry(header.text, (1679, 1475), 1, 1, "f")
        mini_geometry(header.text, (1679, 1475), 1, 1, "f")
    except InputError:
        pass


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_no_damaged_mini_header_gets_past_as_another_error(data: st.DataObject) -> None:
    text = MINI.format(serial="60-0106", year=2019, axis="PHI")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.text("0123456789.e-+ naif(),", max_size=6)) + text[at + 2 :]
    try:
        geometry = mini_geometry(text, (2527, 2463), 1, 1, "f")
    except InputError:
        return
    panel = geometry.detector.panels[0]
    assert all(map(math.isfinite, (*panel.origin_mm, *panel.pixel_mm, panel.mu_per_mm, panel.thickness_mm)))


# Fixed rotation and axis as dxtbx 3.12 has them for such headers
STANDS = [
    ("60-9999", 2019, "X.CW +SLOW", (1, 0, 0), np.eye(3)),
    ("60-0119", 2019, "X.CW +SLOW", (0, 1, 0), np.eye(3)),
    ("60-0119", 2019, "X.CW +FAST", (-1, 0, 0), np.eye(3)),
    ("60-0119", 2012, "X.CW +SLOW", (1, 0, 0), np.eye(3)),
    ("60-0114", 2016, "OMEGA", (1, 0, 0), np.eye(3)),
    ("60-0114", 2018, "OMEGA", (0, 1, 0), np.eye(3)),
    ("60-0132", 2019, "OMEGA", (-1, 0, 0), np.eye(3)),
    (
        "60-0100 Diamond",
        2019,
        "OMEGA",
        (1, 0, 0),
        [[0.977786, 0.206758, 0.0344453], [-0.114278, 0.663602, -0.739306], [-0.175715, 0.718947, 0.672488]],
    ),
    (
        "60-0106, Soleil",
        2019,
        "OMEGA",
        (1, 0, 0),
        [[0.92138, -0.33736, 0.192992], [0.383022, 0.703875, -0.59821], [0.0659696, 0.625099, 0.777753]],
    ),
]


@pytest.mark.parametrize(("serial", "year", "axis", "vector", "fixed"), STANDS)
def test_goniometers_of_known_beamlines(serial: str, year: int, axis: str, vector: tuple, fixed: np.ndarray) -> None:
    text = MINI.format(serial=serial, year=year, axis=axis)
    goniometer = mini_geometry(text, (2527, 2463), 1, 3, "f").goniometer
    assert goniometer.axis == vector
    np.testing.assert_allclose(goniometer.fixed, fixed, atol=2e-6)


def test_mini_header_gives_the_geometry_of_dxtbx() -> None:
    geometry = mini_geometry(MINI.format(serial="60-9999", year=2019, axis="OMEGA"), (2527, 2463), 7, 3, "f")
    panel = geometry.detector.panels[0]
    np.testing.assert_allclose(panel.origin_mm, (-216.99692, 224.79712, -351.0), rtol=1e-12)
    assert (panel.fast_axis, panel.slow_axis) == ((1, 0, 0), (0, -1, 0))
    assert panel.mu_per_mm == pytest.approx(3.83262, rel=0.01)
    assert (panel.thickness_mm, panel.material) == (0.45, "Si")
    assert geometry.detector.trusted == (0.0, 115897.0)
    assert (geometry.beam.wavelength_A, geometry.beam.direction) == (0.96859, (0, 0, -1))
    assert (geometry.scan.first, geometry.scan.n_frames, geometry.scan.exposure_s) == (6, 3, 0.02)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# Wavelength 0.96859 A", "", "wavelength is absent"),
        ("0.96859", "nan", "wavelength is 'nan"),
        ("0.96859", "0.0", "wavelength is 0.0 A"),
        ("0.35100 m", "-0.1 m", "Detector_distance is -100"),
        ("172e-6 m x 172e-6 m", "172e-6", "Pixel_size"),
        ("(1261.61, 1306.96)", "(nan, nan)", "Beam_xy"),
    ],
)
def test_mini_headers_without_the_needful_are_refused(old: str, new: str, message: str) -> None:
    text = MINI.format(serial="60-9999", year=2019, axis="OMEGA").replace(old, new)
    with pytest.raises(InputError, match=message):
        mini_geometry(text, (2527, 2463), 1, 1, "f")


def test_older_and_eiger_headers() -> None:
    text = MINI.format(serial="60-9999", year=2019, axis="OMEGA").replace("PILATUS3 6M, S/N", "Dectris Eiger 4M, SN:")
    text = text.replace("# Silicon sensor, thickness 0.000450 m\n", "").replace("# Count_cutoff 115897 counts\n", "")
    geometry = mini_geometry(text, (2167, 2070), 1, 1, "f")
    assert (geometry.detector.panels[0].thickness_mm, geometry.detector.panels[0].material) == (0.45, "Si")
    assert geometry.detector.trusted == (0.0, 1e8)


def full(step: str = "0.1000", **changes: str):
    text = IMGCIF.replace("OMEGA_STEP", step)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert is_full_header(text)
    return imgcif_geometry(text, (1679, 1475), 3, 2, "f")


def test_imgcif_header_gives_the_geometry_of_dxtbx() -> None:
    """The numbers are those of dxtbx 3.12 for the same axes."""
    geometry = full()
    panel = geometry.detector.panels[0]
    np.testing.assert_allclose(panel.fast_axis, (0, 0.8660254037844, 0.5), atol=1e-12)
    np.testing.assert_allclose(panel.slow_axis, (1, 0, 0), atol=1e-12)
    origin = np.array((-148.78, -23.738149699174144, -210.0043186433546)) + 0.5 * np.asarray(panel.fast_axis)
    np.testing.assert_allclose(panel.origin_mm, origin, atol=1e-9)
    assert panel.pixel_mm == (0.172, 0.172)
    assert (panel.thickness_mm, panel.material) == (0.32, "Si")
    assert panel.mu_per_mm == pytest.approx(1.41535, rel=0.01)
    assert geometry.detector.trusted == (0.0, 388705.0)
    assert geometry.detector.kind == "pixel-array"
    np.testing.assert_allclose(geometry.beam.polarization_normal, (0.5, 0.8660254, 0), atol=1e-6)
    assert geometry.beam.polarization_fraction == 0.999
    assert [name for name, _, _ in geometry.goniometer.axes] == ["GON_PHI", "GON_OMEGA"]
    fixed = [[0.910688, -0.063158, -0.408237], [-0.063158, 0.955337, -0.288691], [0.408237, 0.288691, 0.866025]]
    np.testing.assert_allclose(geometry.goniometer.fixed, fixed, atol=2e-6)
    assert np.degrees(geometry.scan.start_rad) == pytest.approx(-144.8)
    assert np.degrees(geometry.scan.width_rad) == pytest.approx(0.1)
    assert geometry.scan.first == 2


def test_imgcif_scan_backwards_is_the_same_rotation() -> None:
    forwards, back = full(), full(step="-0.1000")
    assert back.goniometer.axis == (-1.0, 0.0, 0.0)
    assert back.scan.start_rad == -forwards.scan.start_rad
    np.testing.assert_allclose(back.goniometer.fixed, forwards.goniometer.fixed)
    goniometer, scan = reverse(back.goniometer, back.scan)
    assert goniometer == forwards.goniometer
    assert scan.start_rad == forwards.scan.start_rad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_array_structure_list.dimension": "_array_structure_list.other"}, "no _array_structure_list.dimension"),
        ({"ARRAY1 1 1475": "ARRAY1 1 1000"}, "1000 pixels are described, 1475 are stored"),
        ({"detector DET_2THETA": "detector ELEMENT_Y"}, "depends on itself"),
        ({"detector DET_2THETA": "detector NOWHERE"}, "axis NOWHERE is named but not described"),
        ({"0.68890": "0"}, "wavelength is 0"),
        ({"detector ELEMENT_X 1 0 0": "detector ELEMENT_X 0 1 0"}, "right angles"),
        ({"detector ELEMENT_X 1 0 0": "detector ELEMENT_X 0 0 0"}, "no length"),
        ({"GON_PHI    30.0000 0.0000 0.0000": "GON_PHI 30.0 0.1 0.1"}, "2 axes turn at once"),
        ({"data_test": "loop_"}, "not CIF"),
    ],
)
def test_imgcif_headers_that_contradict_themselves_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        full(**changes)
