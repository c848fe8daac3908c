"""Series of CBF files: how they are named, found, read and refused."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import fabio
import numpy as np
import pytest
from cbf_examples import SHAPE, write_series
from fabio.compression import decByteOffset
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrmx.errors import BadFrame, InputError
from hdrmx.io.cbf import module_gaps, open_cbf
from hdrmx.kernels.decode import Workspace, decode_dense


def unpacked(source) -> np.ndarray:
    """All frames, by fabio's decoder: the files are ours."""
    size = SHAPE[0] * SHAPE[1]
    return np.stack([decByteOffset(f.load().tobytes(), size, "int32").reshape(SHAPE) for f in source.frames()])


@pytest.mark.parametrize("what", ["x_####.cbf", "x_%04d.cbf", "x_*.cbf", "."])
def test_every_way_of_naming_a_series_gives_the_same_frames(tmp_path: Path, what: str) -> None:
    pixels = write_series(tmp_path)
    source = open_cbf(tmp_path / what if what != "." else tmp_path, check_md5=True)
    assert source.indices == range(5)
    assert source.dtype == np.int32
    assert source.shape == SHAPE
    assert [f.index for f in source.frames()] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(unpacked(source), pixels)


def test_frames_are_those_that_fabio_reads(tmp_path: Path) -> None:
    pixels = write_series(tmp_path, 1)
    np.testing.assert_array_equal(fabio.open(str(tmp_path / "x_0001.cbf")).data, pixels[0])


def test_one_file_is_one_frame_with_its_own_angle(tmp_path: Path) -> None:
    write_series(tmp_path)
    source = open_cbf(tmp_path / "x_0003.cbf")
    assert source.indices == range(2, 3)
    assert np.degrees(source.geometry.scan.start_rad) == pytest.approx(10.2)


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_packed_files_are_read_also_when_the_template_does_not_say_so(tmp_path: Path, suffix: str) -> None:
    pixels = write_series(tmp_path)
    for path in list(tmp_path.glob("*.cbf")):
        raw = path.read_bytes()
        half = len(raw) // 2
        pack = gzip.compress if suffix == ".gz" else bz2.compress
        path.with_name(path.name + suffix).write_bytes(pack(raw[:half]) + pack(raw[half:]))  # in two parts
        path.unlink()
    np.testing.assert_array_equal(unpacked(open_cbf(tmp_path / "x_####.cbf")), pixels)
    np.testing.assert_array_equal(unpacked(open_cbf(tmp_path, range(1, 3))), pixels[1:3])


def test_a_range_starts_its_own_scan(tmp_path: Path) -> None:
    pixels = write_series(tmp_path)
    source = open_cbf(tmp_path, range(2, 4))
    assert source.indices == range(2, 4)
    assert (source.geometry.scan.first, source.geometry.scan.n_frames) == (2, 2)
    assert np.degrees(source.geometry.scan.start_rad) == pytest.approx(10.2)
    np.testing.assert_array_equal(unpacked(source), pixels[2:4])


def test_a_gap_in_a_scan_is_named_and_a_range_may_avoid_it(tmp_path: Path) -> None:
    write_series(tmp_path, 7)
    for missing in (3, 5, 6):
        (tmp_path / f"x_{missing:04d}.cbf").unlink()
    with pytest.raises(InputError, match=r"image 3, 5-6 is missing between 1 and 7.*--images 1-2"):
        open_cbf(tmp_path)
    assert open_cbf(tmp_path, range(0, 2)).indices == range(0, 2)


def test_stills_may_have_gaps(tmp_path: Path) -> None:
    write_series(tmp_path, 5, width_deg=0.0)
    (tmp_path / "x_0003.cbf").unlink()
    source = open_cbf(tmp_path)
    assert [f.index for f in source.frames()] == [0, 1, 3, 4]
    assert source.indices == range(0, 5)
    assert source.geometry.scan.is_still
    assert source.geometry.notes == ("images 3 are absent",)


def test_images_that_are_not_there_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path)
    with pytest.raises(InputError, match="images 1 to 900 are wanted; there are 1 to 5"):
        open_cbf(tmp_path, range(0, 900))
    with pytest.raises(InputError, match="empty or has steps"):
        open_cbf(tmp_path, range(0, 4, 2))


def test_two_series_in_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    write_series(tmp_path, 2)
    write_series(tmp_path, 3, name="y_{:04d}.cbf")
    with pytest.raises(InputError, match=r"2 series: x_####.cbf \(2 files\), y_####.cbf \(3 files\)"):
        open_cbf(tmp_path)
    assert open_cbf(tmp_path / "y_####.cbf").indices == range(3)


@pytest.mark.parametrize("what", ["absent.cbf", "absent_####.cbf", "nothing*.cbf", "no/folder_####.cbf"])
def test_nothing_there_is_said(tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError):
        open_cbf(tmp_path / what)


def test_a_scan_backwards_is_told_about_the_opposite_axis(tmp_path: Path) -> None:
    pixels = write_series(tmp_path, 3, width_deg=-0.1)
    source = open_cbf(tmp_path)
    assert source.geometry.goniometer.axis == (-1.0, 0.0, 0.0)
    assert np.degrees(source.geometry.scan.start_rad) == pytest.approx(-10.0)
    assert np.degrees(source.geometry.scan.width_rad) == pytest.approx(0.1)
    np.testing.assert_array_equal(unpacked(source), pixels)


def edit(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_a_last_image_of_another_scan_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path)
    edit(tmp_path / "x_0005.cbf", b"Start_angle 10.4", b"Start_angle 57.0")
    with pytest.raises(InputError, match=r"x_0005.cbf: starts at 57 deg, which is not 4 steps of 0.1 deg from 10"):
        open_cbf(tmp_path)


def test_a_middle_image_of_another_scan_is_a_bad_frame(tmp_path: Path) -> None:
    write_series(tmp_path)
    edit(tmp_path / "x_0003.cbf", b"Start_angle 10.2", b"Start_angle 57.0")
    frames = list(open_cbf(tmp_path).frames())
    frames[1].load()
    with pytest.raises(BadFrame, match=r"frame 2: starts at 57 deg where the scan is at 10.2") as caught:
        frames[2].load()
    assert caught.value.index == 2


def test_headers_that_never_change_their_angle_become_a_doubt(tmp_path: Path) -> None:
    write_series(tmp_path, 3)
    edit(tmp_path / "x_0002.cbf", b"Start_angle 10.1", b"Start_angle 10")
    edit(tmp_path / "x_0003.cbf", b"Start_angle 10.2", b"Start_angle 10")
    source = open_cbf(tmp_path)
    assert "same start angle" in source.geometry.notes[0]
    assert len(unpacked(source)) == 3


def test_a_frame_of_another_size_is_bad(tmp_path: Path) -> None:
    write_series(tmp_path)
    for old, new in (
        (b"Fastest-Dimension: 31", b"Fastest-Dimension: 24"),
        (b"Second-Dimension: 24", b"Second-Dimension: 31"),
    ):
        edit(tmp_path / "x_0003.cbf", old, new)
    with pytest.raises(BadFrame, match=r"is \(31, 24\) int32 byte-offset, the series is \(24, 31\)"):
        list(open_cbf(tmp_path).frames())[2].load()
    with pytest.raises(InputError, match=r"is \(31, 24\), the first image is \(24, 31\)"):
        open_cbf(tmp_path, range(0, 3))


@pytest.mark.parametrize("keep", [0, 3, 500, 1300, 1700])
def test_a_file_cut_short_is_a_bad_frame(tmp_path: Path, keep: int) -> None:
    write_series(tmp_path)
    path = tmp_path / "x_0003.cbf"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadFrame, match="frame 2"):
        list(open_cbf(tmp_path).frames())[2].load()


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_damaged_packing_is_a_bad_frame(tmp_path: Path, suffix: str) -> None:
    write_series(tmp_path)
    for path in list(tmp_path.glob("*.cbf")):
        packed = bytearray((gzip if suffix == ".gz" else bz2).compress(path.read_bytes()))
        if path.name == "x_0003.cbf":
            packed[len(packed) // 2 :] = b"\xff" * (len(packed) - len(packed) // 2)
        path.with_name(path.name + suffix).write_bytes(packed)
        path.unlink()
    with pytest.raises(BadFrame, match="frame 2"):
        list(open_cbf(tmp_path).frames())[2].load()


def test_a_checksum_is_compared_when_asked(tmp_path: Path) -> None:
    write_series(tmp_path)
    path = tmp_path / "x_0002.cbf"
    content = bytearray(path.read_bytes())
    content[content.index(b"\x0c\x1a\x04\xd5") + 40] ^= 1
    path.write_bytes(content)
    list(open_cbf(tmp_path).frames())[1].load()
    with pytest.raises(BadFrame, match="Content-MD5"):
        list(open_cbf(tmp_path, check_md5=True).frames())[1].load()


def test_gaps_between_modules() -> None:
    pilatus = module_gaps((1679, 1475), "PILATUS 2M")
    assert pilatus[:, 487:494].all()
    assert pilatus[195:212].all()
    assert pilatus.sum() == 1679 * 1475 - 24 * 195 * 487
    eiger = module_gaps((1062, 1028), "Dectris EIGER2 Si 1M")
    assert eiger.sum() == 38 * 1028
    assert eiger[512:550].all()
    assert not module_gaps((1000, 1000), "PILATUS").any()
    assert not module_gaps((1679, 1475), "GENERIC").any()


def test_opening_reads_two_headers_whatever_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, 40)
    read: list[Path] = []
    import hdrmx.io.cbf as module

    original = module.read_head
    monkeypatch.setattr(module, "read_head", lambda path, limit: read.append(path) or original(path, limit))
    open_cbf(tmp_path)
    assert [p.name for p in read] == ["x_0001.cbf", "x_0040.cbf"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_damaged_files_give_pixels_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_series(folder, 2)
    content = bytearray((folder / "x_0002.cbf").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    packing = data.draw(st.sampled_from(["", ".gz", ".bz2"]))
    packed = gzip.compress(content) if packing == ".gz" else bz2.compress(content) if packing else bytes(content)
    (folder / "x_0002.cbf").unlink()
    (folder / f"y_0001.cbf{packing}").write_bytes(packed[: data.draw(st.integers(0, 2 * len(packed)))])
    try:
        source = open_cbf(folder / f"y_0001.cbf{packing}")
        if source.shape[0] * source.shape[1] < 10_000:
            work = Workspace(source.shape, source.dtype)
            decode_dense(next(source.frames()), work.dense, work)
    except InputError:
        return
    assert source.shape
