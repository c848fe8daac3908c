"""The same frames give the same spots, byte for byte, as NXmx and as CBF."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from hdrmx.frames import FrameSource
from hdrmx.io.cbf import open_cbf
from hdrmx.io.cbf_write import mini_header, write_mini_cbf
from hdrmx.io.nexus import open_nexus
from hdrmx.kernels.decode import Workspace, decode_dense
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots


def write_as_cbf(source: FrameSource, folder: Path) -> None:
    """Pixels that the mask or their value excludes become -2, as in a detector's own files."""
    work, high = Workspace(source.shape, source.dtype), source.geometry.detector.trusted[1]
    for frame in source.frames():
        decode_dense(frame, work.dense, work)
        pixels = np.where(source.mask & (work.dense <= high), work.dense, 0).astype(np.int32)
        pixels[~source.mask] = -2
        pixels[source.mask & (work.dense > high)] = int(high) + 1
        path = folder / f"x_{frame.index + 1:05d}.cbf"
        write_mini_cbf(path, pixels, mini_header(source.geometry, frame.index))


@pytest.mark.parametrize(
    ("name", "images"),
    [("sim_dense_P212121/dense_P212121_master.h5", range(40, 52)), ("sim_sparse_I222/sparse_I222_master.h5", range(8))],
)
def test_same_spots(shared_data: Path, tmp_path: Path, name: str, images: range) -> None:
    nexus = open_nexus(shared_data / name, images)
    write_as_cbf(nexus, tmp_path)
    cbf = open_cbf(tmp_path, images, check_md5=True)
    assert cbf.indices == nexus.indices
    params = FindSpots(d_min=2.5)  # the geometry has a say, too
    tables = [find_spots(s.frames(), s.mask, s.geometry, params).spots for s in (nexus, cbf)]
    assert len(tables[0]) > 5
    for column in tables[0]:
        assert tables[0][column].to_numpy().tobytes() == tables[1][column].to_numpy().tobytes(), column

    for path in tmp_path.glob("*.cbf"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    packed = open_cbf(tmp_path / "x_#####.cbf.gz", images)
    again = find_spots(packed.frames(), packed.mask, packed.geometry, params, threads=2).spots
    assert again.equals(tables[1])
