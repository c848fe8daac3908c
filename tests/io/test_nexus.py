"""Frames of NXmx files: every layout and codec, and how the chunks are looked up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the filters with which h5py reads in the tests)
import numpy as np
import pytest
from nxmx_fixture import CODECS, Header, all_pixels, counts, pixels, write_nxmx

from hdrmx.errors import BadFrame, InputError
from hdrmx.frames import Codec
from hdrmx.io import hdf5_chunks
from hdrmx.io.nexus import NexusSource, open_nexus

SHAPE = (7, 40, 52)


def check_frames(path: Path, expected: np.ndarray) -> NexusSource:
    source = open_nexus(path)
    found = all_pixels(source)
    np.testing.assert_array_equal(found, expected)
    assert [frame.index for frame in source.frames()] == list(source.indices) == list(range(len(expected)))
    assert (source.shape, source.dtype) == (found.shape[1:], found.dtype)
    source.close()
    return source


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int32])
def test_every_width_of_counts(dtype: type, tmp_path: Path) -> None:
    frames = counts(SHAPE, dtype)
    check_frames(write_nxmx(tmp_path / "made.nxs", frames, layout="single"), frames)


@pytest.mark.parametrize("layout", ["links", "vds", "vds-links", "single"])
def test_every_layout_gives_the_frames(layout: str, tmp_path: Path) -> None:
    frames = counts(SHAPE)
    check_frames(write_nxmx(tmp_path / "made.nxs", frames, layout=layout, per_file=3), frames)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_the_frames(codec: str, tmp_path: Path) -> None:
    frames = counts(SHAPE)
    path = write_nxmx(tmp_path / "made.nxs", frames, layout="single", codec=codec)
    kind = {"bslz4": Codec.BSLZ4, "lz4": Codec.LZ4}.get(codec, Codec.RAW)
    source = open_nexus(path)
    assert {frame.codec for frame in source.frames()} == {kind}
    np.testing.assert_array_equal(all_pixels(source), frames)
    source.close()


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "v112", "latest"])
def test_every_version_of_the_file_format(libver: str, tmp_path: Path) -> None:
    frames = counts((300, 6, 8))
    check_frames(write_nxmx(tmp_path / "made.nxs", frames, libver=(libver, "latest"), per_file=170), frames)


@pytest.mark.parametrize(
    ("chunk", "codec"),
    [
        ((3, 40, 52), "bslz4"),
        ((3, 40, 52), "none"),
        ((1, 16, 52), "lz4"),
        ((1, 16, 20), "bslz4"),
        ((2, 24, 30), "none"),
        ((7, 40, 52), "lz4"),
    ],
)
def test_chunks_that_are_not_frames_are_put_together(chunk: tuple[int, int, int], codec: str, tmp_path: Path) -> None:
    frames = counts(SHAPE)
    check_frames(write_nxmx(tmp_path / "made.nxs", frames, layout="single", codec=codec, chunk=chunk), frames)


def test_contiguous_data(tmp_path: Path) -> None:
    check_frames(write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="contiguous"), counts(SHAPE))


@pytest.mark.parametrize(
    ("stored", "layout", "codec"),
    [
        (">u2", "single", "bslz4"),
        (">u2", "contiguous", "none"),
        ("<i2", "single", "bslz4"),
        (">i2", "single", "gzip"),
        ("i1", "single", "lz4"),
        (">i4", "contiguous", "none"),
        (">u4", "single", "gzip"),
    ],
)
def test_other_byte_orders_and_signs(stored: str, layout: str, codec: str, tmp_path: Path) -> None:
    frames = counts(SHAPE)
    path = write_nxmx(tmp_path / "made.nxs", frames, stored=stored, layout=layout, codec=codec)
    source = check_frames(path, frames)
    assert source.dtype == (np.dtype(stored).newbyteorder("=") if "u" in stored else np.int32)


@pytest.mark.parametrize("stored", ["f4", "u8", "c8"])
def test_pixels_that_are_no_counts_are_refused(stored: str, tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), stored=stored, layout="contiguous")
    with pytest.raises(InputError, match="pixels are of type"):
        open_nexus(path)


def test_a_chunk_that_was_left_uncompressed(tmp_path: Path) -> None:
    frames = counts(SHAPE)
    path = write_nxmx(tmp_path / "made.nxs", frames, layout="single")
    with h5py.File(path, "r+") as file:
        file["/entry/data/data"].id.write_direct_chunk((2, 0, 0), frames[2].tobytes(), filter_mask=1)
    assert [f.codec for f in open_nexus(path).frames()][1:4] == [Codec.BSLZ4, Codec.RAW, Codec.BSLZ4]
    check_frames(path, frames)


def test_modules_in_files_of_their_own_are_laid_together(tmp_path: Path) -> None:
    frames = counts(SHAPE)
    path = write_nxmx(tmp_path / "made.nxs", frames, layout="single")
    virtual = h5py.VirtualLayout(SHAPE, frames.dtype)
    for name, part in (("left", np.s_[:, :, :20]), ("right", np.s_[:, :, 22:])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("data", data=frames[part], chunks=(1, *frames[part].shape[1:]), **CODECS["bslz4"])
        virtual[part] = h5py.VirtualSource(tmp_path / f"{name}.h5", "data", frames[part].shape, frames.dtype)
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data"]
        file["/entry/data"].create_virtual_dataset("data", virtual, fillvalue=65535)
    expected = frames.copy()
    expected[:, :, 20:22] = 65535
    check_frames(path, expected)


def test_frames_dealt_out_in_turns_over_files(tmp_path: Path) -> None:
    """As parallel writers do: file k holds the blocks of two frames k, k + 3, k + 6, ..."""
    frames = counts((18, 40, 52))
    path = write_nxmx(tmp_path / "made.nxs", frames, layout="single")
    blocks = frames.reshape(9, 2, 40, 52)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple(frames.shape)
    for k in range(3):
        part = blocks[k::3].reshape(6, 40, 52)
        with h5py.File(tmp_path / f"writer_{k}.h5", "w") as file:
            file.create_dataset("data", data=part, chunks=(1, 40, 52), **CODECS["bslz4"])
        space.select_hyperslab((2 * k, 0, 0), (3, 1, 1), (6, 1, 1), (2, 40, 52))
        plist.set_virtual(space, f"writer_{k}.h5".encode(), b"data", h5py.h5s.create_simple(part.shape))
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data"]
        h5py.h5d.create(file["/entry/data"].id, b"data", h5py.h5t.STD_U16LE, space, plist)
    check_frames(path, frames)


def test_the_mask_is_the_same_however_it_is_stored(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE[1:], np.uint32)
    mask[3, 4], mask[20:22, 30] = 1, 1 << 31
    path = write_nxmx(tmp_path / "made.nxs", counts(SHAPE), mask=mask, layout="single")
    for codec in ("gzip", "bslz4", "lz4", "zstd", "none"):
        with h5py.File(path, "r+") as file:
            detector = file["/entry/instrument/detector"]
            del detector["pixel_mask"]
            detector.create_dataset("pixel_mask", data=mask, chunks=(40, 52), **CODECS[codec])
        source = open_nexus(path)
        np.testing.assert_array_equal(source.mask, mask == 0)
        source.close()


def test_further_masks_are_laid_over_the_first(tmp_path: Path) -> None:
    first, second = np.zeros(SHAPE[1:], np.uint32), np.zeros(SHAPE[1:], np.uint32)
    first[1, 1], second[2, 2] = 1, 1
    header = Header(extra={"instrument/detector/pixel_mask_2": second})
    source = open_nexus(write_nxmx(tmp_path / "made.nxs", counts(SHAPE), mask=first, layout="single", header=header))
    np.testing.assert_array_equal(source.mask, (first | second) == 0)
    source.close()


def test_a_part_of_the_images(tmp_path: Path) -> None:
    frames = counts(SHAPE)
    path = write_nxmx(tmp_path / "made.nxs", frames, per_file=3, header=Header(start_deg=10.0, width_deg=0.5))
    source = open_nexus(path, range(2, 6))
    assert [frame.index for frame in source.frames()] == [2, 3, 4, 5]
    np.testing.assert_array_equal(all_pixels(source), frames[2:6])
    scan = source.geometry.scan
    assert (scan.first, scan.n_frames, np.degrees(scan.start_rad)) == (2, 4, pytest.approx(11.0))
    assert np.degrees(scan.angle_rad(3)) == pytest.approx(11.5)
    source.close()
    for asked, words in ((range(5, 8), "images 6-8 were asked for; it has 1-7"), (range(0, 6, 2), "in steps of 2")):
        with pytest.raises(InputError, match=words):
            open_nexus(path, asked)


def test_frames_can_be_loaded_from_many_threads(tmp_path: Path) -> None:
    frames = counts((60, 40, 52))
    source = open_nexus(write_nxmx(tmp_path / "made.nxs", frames, layout="vds", per_file=7))
    with ThreadPoolExecutor(8) as pool:
        found = np.array(list(pool.map(pixels, list(source.frames()) * 3)))
    np.testing.assert_array_equal(found, np.concatenate([frames] * 3))
    source.close()


def test_a_closed_source_delivers_no_more(tmp_path: Path) -> None:
    for codec in ("bslz4", "gzip"):
        source = open_nexus(write_nxmx(tmp_path / "made.nxs", counts(SHAPE), layout="single", codec=codec))
        frame = next(source.frames())
        frame.load()
        source.close()
        with pytest.raises(BadFrame, match="closed"):
            frame.load()


def test_chunks_are_looked_up_once_and_only_in_the_files_needed(tmp_path: Path, monkeypatch) -> None:
    looked_up = []
    original = hdf5_chunks.chunk_table

    def counting(data, chunk):
        looked_up.append(Path(data.file.filename).name)
        return original(data, chunk)

    monkeypatch.setattr(hdf5_chunks, "chunk_table", counting)
    source = open_nexus(write_nxmx(tmp_path / "made.nxs", counts((40, 6, 8)), per_file=10, layout="vds"), range(10, 25))
    assert looked_up == []
    for _ in range(2):
        assert len(list(source.frames())) == 15
    assert looked_up == ["made_000002.h5", "made_000003.h5"]
    source.close()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("n", [50, 200])
def test_looking_up_chunks_is_linear_in_frames(n: int, libver: str, tmp_path: Path) -> None:
    """One pass over the index with a note a chunk; no look-up by number, which starts from the first each time."""
    path = write_nxmx(tmp_path / "made.nxs", counts((n, 4, 8)), layout="single", libver=(libver, "latest"))
    calls: list[str] = []

    class Counting:
        def __init__(self, real: h5py.h5d.DatasetID) -> None:
            self.real = real

        def chunk_iter(self, note) -> None:
            def counted(info: h5py.h5d.StoreInfo) -> None:
                calls.append("note")
                note(info)

            calls.append("pass")
            self.real.chunk_iter(counted)

    with h5py.File(path) as file:
        data = file["/entry/data/data"]
        watched = type("Watched", (), {"ndim": 3, "shape": data.shape, "id": Counting(data.id)})()
        table = hdf5_chunks.chunk_table(watched, (1, 4, 8))
        infos = [data.id.get_chunk_info_by_coord((i, 0, 0)) for i in range(n)]
    assert (calls.count("pass"), calls.count("note")) == (1, n)
    assert table.offset[:, 0, 0].tolist() == [info.byte_offset for info in infos]
    assert table.size[:, 0, 0].tolist() == [info.size for info in infos]
