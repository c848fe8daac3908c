"""Frames of real and simulated data files, against h5py with hdf5plugin."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from nxmx_fixture import Header, counts, write_nxmx

from hdrmx.errors import BadFrame, InputError
from hdrmx.io.hdf5_chunks import Files
from hdrmx.io.nexus import open_bare, open_nexus, read_geometry
from hdrmx.kernels.decode import Workspace, decode_dense

FORMATS = ("earliest", "v108", "v110", "v112")
SETS = {
    "cinchonine_3ded/nxmx_A_001_200/cinchonine_master.h5": (0, 99, 100, 199),
    "sim_sparse_I222/sparse_I222_master.h5": (0, 499, 500, 999),
    "sim_dense_P212121/dense_P212121_master.h5": (0, 319),
}


def stack_equals_h5py(path: Path, name: str) -> int:
    """Compare all frames of a data set; returns how many."""
    files = Files()
    stack = open_bare(path, name, files)
    with h5py.File(path, locking=False) as file:
        data = file[name]
        assert stack.shape == data.shape
        work, out = Workspace(stack.shape[1:], stack.dtype), np.empty(stack.shape[1:], stack.dtype)
        step = max(1, len(data) // 40)
        for i in range(0, len(data), step):
            decode_dense(stack.frame(i, i), out, work)
            np.testing.assert_array_equal(out, data[i])
    files.close()
    return stack.shape[0]


@pytest.mark.parametrize("version", FORMATS)
def test_hdf5_versions_and_links(version: str, shared_data: Path) -> None:
    """All ways in which a chunk index is stored; links that are hard, soft, external, and mixed."""
    path = shared_data / "eiger_h5_chunks" / f"dataset_{version}.h5"
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    names += [
        f"data/{name}" for name in ("chunked_external", "chunked_soft", "not_chunked_external", "not_chunked_soft")
    ]
    names += [f"data/{group}/chunked_{kind}" for group in ("sub_hard", "sub_soft") for kind in ("external", "soft")]
    assert sum(stack_equals_h5py(path, name) for name in names) > 10_000


def test_eiger_data_files(shared_data: Path) -> None:
    """LZ4 and bitshuffle-LZ4 of 8, 16 and 32 bits as two generations of detectors write them."""
    paths = sorted((shared_data / "eiger_h5_chunks").glob("*_data_0*.h5"))
    assert len(paths) >= 14
    for path in paths:
        stack_equals_h5py(path, "/entry/data/data")


@pytest.mark.parametrize("name", SETS)
def test_frames_of_whole_sets(name: str, shared_data: Path) -> None:
    source = open_nexus(shared_data / name)
    frames = list(source.frames())
    work, out = Workspace(source.shape, source.dtype), np.empty(source.shape, source.dtype)
    with h5py.File(shared_data / name, locking=False) as file:
        data = file["/entry/data/data"]
        assert len(frames) == len(data)
        for i in SETS[name]:
            decode_dense(frames[i], out, work)
            np.testing.assert_array_equal(out, data[i])
    source.close()


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ansto_mx3_example_1_master.h5", "example_1_data_000001.h5"),
        ("dectris_eiger_master.h5", "dectris_eiger_data_000001.h5"),
        ("dls_i03_ins_8_5.nxs", "ins_8_5_000001.h5"),
        ("nexgen_xrc_209_master.h5", "xrc_209_000001.h5"),
    ],
)
def test_masters_without_their_files_name_what_is_missing(name: str, missing: str, shared_data: Path) -> None:
    path = shared_data / "eiger_nxmx_metadata" / name
    with pytest.raises(InputError, match=rf"data_000001' leads to .*/{missing}, which does not exist"):
        open_nexus(path)
    assert read_geometry(path).detector.panels[0].distance_mm > 100


def test_files_that_are_no_masters_say_so(shared_data: Path) -> None:
    data = shared_data / "eiger_h5_chunks" / "ANSTOtest_303_data_000001.h5"
    with pytest.raises(InputError, match="holds frames without geometry; name the master file"):
        open_nexus(data)
    with pytest.raises(InputError, match="no entry with the definition NXmx"):
        open_nexus(shared_data / "eiger_nxmx_metadata" / "nexgen_00001.h5")
    with pytest.raises(InputError, match="no entry with the definition NXmx"):
        open_nexus(shared_data / "eiger_h5_chunks" / "test_master.h5")


def test_a_legacy_master_with_its_frames(shared_data: Path, tmp_path: Path) -> None:
    """The older master beside two data files as its filewriter makes them: angles for as many frames as there are."""
    master = tmp_path / "dectris_eiger_master.h5"
    master.write_bytes((shared_data / "eiger_nxmx_metadata" / master.name).read_bytes())
    frames = np.zeros((3, 3269, 3110), np.uint16)
    frames[2, ::50, ::40] = 7
    with h5py.File(tmp_path / "dectris_eiger_data_000001.h5", "w") as file:
        file.create_dataset(
            "entry/data/data", data=frames, chunks=(1, 3269, 3110), **hdf5plugin.Bitshuffle(cname="lz4")
        )
    source = open_nexus(master)
    assert (len(source.indices), source.shape, source.geometry.scan.n_frames) == (3, (3269, 3110), 3)
    assert np.degrees(source.geometry.scan.width_rad) == pytest.approx(0.5)
    with h5py.File(master) as file:
        bits = file["/entry/instrument/detector/detectorSpecific/pixel_mask"][()]
    np.testing.assert_array_equal(source.mask, bits == 0)
    out = np.empty(source.shape, source.dtype)
    decode_dense(list(source.frames())[2], out, Workspace(source.shape, source.dtype))
    np.testing.assert_array_equal(out, frames[2])
    source.close()


def test_a_damaged_chunk_is_a_bad_frame_for_every_codec(tmp_path: Path) -> None:
    """Noise in the place of chunks: ours refuse or decode, others die in their own process; none takes the program."""
    rng = np.random.default_rng(3)
    frames = counts((8, 32, 40))
    for codec in ("bslz4", "lz4", "gzip", "zstd", "none"):
        path = write_nxmx(tmp_path / f"{codec}.nxs", frames, layout="single", codec=codec, header=Header())
        with h5py.File(path) as file:
            infos = [file["/entry/data/data"].id.get_chunk_info(i) for i in range(8)]
        content = bytearray(path.read_bytes())
        for info in infos[1:]:
            content[info.byte_offset : info.byte_offset + info.size] = rng.bytes(info.size)
        path.write_bytes(content)
        source = open_nexus(path)
        out, work = np.empty((32, 40), np.uint16), Workspace((32, 40), np.uint16)
        bad = 0
        for frame in source.frames():
            try:
                decode_dense(frame, out, work)
            except BadFrame:
                bad += 1
            if frame.index == 0:
                np.testing.assert_array_equal(out, frames[0])
        assert bad == (0 if codec == "none" else 7)
        source.close()
