"""NXmx files with something missing, damaged or unfit: one-line errors, and no crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from nxmx_fixture import CODECS, Header, all_pixels, counts, pixels, write_nxmx

from hdrmx.errors import BadFrame, InputError
from hdrmx.io.nexus import open_nexus, read_geometry

SHAPE = (7, 40, 52)


def test_a_frame_that_was_never_written(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts((5, 40, 52)), layout="single")
    with h5py.File(path, "r+") as file:
        old = file["/entry/data/data"]
        fresh = file.create_dataset("/entry/data/fresh", (5, 40, 52), "u2", chunks=(1, 40, 52), **CODECS["bslz4"])
        for i in (0, 1, 4):
            fresh[i] = old[i]
        del file["/entry/data/data"]
        file.move("/entry/data/fresh", "/entry/data/data")
    frames = list(open_nexus(path).frames())
    assert pixels(frames[4]).sum() > 0
    with pytest.raises(BadFrame, match="frame 3: not written yet"):
        pixels(frames[3])


def test_a_data_file_that_is_cut_off(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="vds", per_file=7, codec="none")
    source = open_nexus(path)
    frames = list(source.frames())
    data = tmp_path / "made_000001.h5"
    os.truncate(data, data.stat().st_size - 5000)
    assert pixels(frames[0]).shape == (40, 52)
    with pytest.raises(
        BadFrame, match=r"made_000001.h5:/entry/data/data: frame 6: truncated file: the frame ends at byte"
    ):
        pixels(frames[6])
    source.close()
    with pytest.raises(InputError, match=r"made_000001.h5: the file is cut off at \d+ bytes"):
        open_nexus(path)


@pytest.mark.parametrize("layout", ["links", "vds", "vds-links"])
def test_a_missing_data_file_is_named(layout: str, tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout=layout, per_file=3)
    gone = tmp_path / "made_000002.h5"
    gone.unlink()
    with pytest.raises(InputError, match=r"made_000002\.h5.*does not exist; copy the missing file beside the master"):
        open_nexus(path)
    if layout != "links":  # of linked files, the frame numbers are known only from those before
        assert read_geometry(path).scan.n_frames == 7
    source = open_nexus(path, range(0, 3))
    np.testing.assert_array_equal(all_pixels(source), counts(SHAPE)[:3])
    source.close()


def test_links_without_files_beyond_the_announced_frames_are_left_out(tmp_path: Path) -> None:
    header = Header(extra={"instrument/detector/detectorSpecific/nimages": 7})
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="links", per_file=3, header=header)
    with h5py.File(path, "r+") as file:
        file["/entry/data/data_000004"] = h5py.ExternalLink("made_000004.h5", "/entry/data/data")
    source = open_nexus(path)
    np.testing.assert_array_equal(all_pixels(source), counts(SHAPE))
    source.close()


def test_links_that_run_in_a_circle(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="links", per_file=7)
    with h5py.File(tmp_path / "made_000001.h5", "r+") as file:
        del file["/entry/data/data"]
        file["/entry/data/data"] = h5py.ExternalLink("made.nxs", "/entry/data/data_000001")
    with pytest.raises(InputError, match="run in a circle"):
        open_nexus(path)
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data_000001"]
        file["/entry/data/data_000001"] = h5py.SoftLink("/entry/data/data_000001")
    with pytest.raises(InputError, match="run in a circle"):
        open_nexus(path)


def test_virtual_data_that_run_in_a_circle(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="single")
    virtual = h5py.VirtualLayout(SHAPE, "u2")
    virtual[:] = h5py.VirtualSource("made.nxs", "/entry/data/data", SHAPE, "u2")
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data"]
        file["/entry/data"].create_virtual_dataset("data", virtual)
    with pytest.raises(InputError, match="run in a circle"):
        open_nexus(path)


def broken(tmp_path: Path, **kwargs) -> Path:
    return write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="single", **kwargs)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not HDF5 at all" * 100, "is not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "the file is damaged"),
    ],
)
def test_files_that_are_no_hdf5(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "made.nxs"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        open_nexus(path)


def test_a_master_that_is_cut_off(tmp_path: Path) -> None:
    path = broken(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match="the file is cut off at"):
        open_nexus(path)


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_nexus(tmp_path / "nothing.nxs")
    with pytest.raises(InputError, match="is a directory"):
        open_nexus(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = broken(tmp_path)
    path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        open_nexus(path)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_file_that_is_still_being_written(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "made.nxs"
    with h5py.File(path, "w", libver=(libver, "latest")) as file:
        file["entry/definition"] = "NXmx"
        file.flush()
        with pytest.raises(InputError, match=r"still open for writing.*wait until the data collection has ended"):
            open_nexus(path)


def test_data_that_are_being_written_for_readers_to_follow(tmp_path: Path) -> None:
    """A writer in SWMR mode, that has written 3 of 5 frames (and ends there, without closing the file)."""
    path = write_nxmx(tmp_path / "made.nxs", counts((5, 40, 52)), layout="vds", per_file=5)
    writer = (
        "import h5py, hdf5plugin, os, numpy as np\n"
        "file = h5py.File('made_000001.h5', 'w', libver='latest')\n"
        "packed = dict(hdf5plugin.Bitshuffle(), chunks=(1, 40, 52))\n"
        "data = file.create_dataset('entry/data/data', (5, 40, 52), 'u2', **packed)\n"
        "file.swmr_mode = True\n"
        "data[:3] = np.arange(3)[:, None, None]\n"
        "data.flush()\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", writer], cwd=tmp_path, check=True)
    frames = list(open_nexus(path).frames())
    assert [pixels(frame)[0, 0] for frame in frames[:3]] == [0, 1, 2]
    with pytest.raises(BadFrame, match="frame 3: not written yet"):
        pixels(frames[3])


def test_fewer_frames_than_announced_are_noted(tmp_path: Path) -> None:
    header = Header(extra={"instrument/detector/detectorSpecific/nimages": 9})
    source = open_nexus(broken(tmp_path, header=header))
    assert source.geometry.notes == ("9 frames were announced and 7 are there: stopped early, or still being written",)
    source.close()


def test_several_scans_in_a_file_are_refused(tmp_path: Path) -> None:
    path = broken(tmp_path)
    with h5py.File(path, "r+") as file:
        file.copy("entry", "entry_2")
    with pytest.raises(InputError, match=r"several scans \(/entry, /entry_2\); split it into single scans"):
        open_nexus(path)
    with h5py.File(path, "r+") as file:
        del file["entry_2"]
        file.copy("entry/data", "entry/data_low")
    with pytest.raises(InputError, match="several data sets"):
        open_nexus(path)


def test_two_names_of_the_same_frames_are_no_two_scans(tmp_path: Path) -> None:
    path = broken(tmp_path)
    with h5py.File(path, "r+") as file:
        group = file.create_group("entry/also")
        group.attrs["NX_class"], group.attrs["signal"] = "NXdata", "data"
        group["data"] = file["entry/data/data"]
    source = open_nexus(path)
    np.testing.assert_array_equal(all_pixels(source), counts(SHAPE))
    source.close()


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"instrument/detector/module/data_size": [40, 60]}, "covers pixels to 40 x 60, the frames have"),
        ({"instrument/detector/pixel_mask": np.zeros((5, 5), np.uint32)}, "pixel_mask is .5, 5., the frames are"),
        ({"instrument/detector/pixel_mask": h5py.ExternalLink("gone.h5", "/mask")}, "gone.h5, which does not exist"),
        ({"data/data": np.zeros((0, 40, 52), np.uint16)}, "holds no frames"),
        ({"data/data": np.zeros((3, 2, 40, 52), np.uint16)}, "frames are .frame, slow, fast"),
        ({"data/data": "text"}, "frames are .frame, slow, fast"),
        ({"data/data_scaling_factor": 0.0}, "data_scaling_factor is 0"),
        ({"data/data_offset": 5.0}, "data_offset is 5"),
        ({"definition": "NXsas"}, "holds frames without geometry"),
    ],
)
def test_headers_that_do_not_fit_the_frames_are_refused(extra: dict, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        open_nexus(broken(tmp_path, header=Header(extra=extra)))


def test_no_data_at_all(tmp_path: Path) -> None:
    path = broken(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data"]
    with pytest.raises(InputError, match="/entry has no data"):
        open_nexus(path)


@pytest.mark.parametrize("n", [12, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("libver", "layout"), [("earliest", "single"), ("latest", "vds")])
def test_damaged_headers_give_an_error_and_never_a_crash(n: int, libver: str, layout: str, tmp_path: Path) -> None:
    """Bytes of the metadata overwritten at random: the file opens, or is refused with one line."""
    good = write_nxmx(tmp_path / "good.nxs", counts((3, 8, 8)), layout=layout, libver=(libver, "latest")).read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / "bad.nxs"
    messages = []
    for _ in range(n):
        content = bytearray(good)
        for at in rng.integers(0, len(content), 20):
            content[at] = rng.integers(256)
        path.write_bytes(content)
        try:
            source = open_nexus(path)
            for frame in source.frames():
                pixels(frame)
            source.close()
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > n // 4
    assert not any("\n" in message for message in messages)
