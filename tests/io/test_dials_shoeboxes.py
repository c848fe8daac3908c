"""Shoeboxes: pixels there and back, the layout byte by byte, DIALS's own files, what isn't a table's pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from hdrmx import cli, tables
from hdrmx.errors import InputError
from hdrmx.io import dials_shoeboxes
from hdrmx.io.dials import read_refl, write_refl
from hdrmx.io.dials_pack import read_columns
from hdrmx.io.dials_shoeboxes import pack_shoeboxes

AXES = ("frame", "slow", "fast")


def some_spots(n: int = 50, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spots on three panels, each some pixels of a small box, and their pixels."""
    rng = np.random.default_rng(seed)
    spots, parts = tables.empty(tables.SPOTS, n), []
    spots["panel"] = rng.integers(0, 3, n).astype("int32")
    for i in range(n):
        corner, shape = rng.integers(0, 1000, 3), rng.integers(1, 5, 3)
        block = rng.integers(1, 200, shape) * (rng.random(shape) < 0.7)
        block[0, 0, 0] = 7
        at = np.argwhere(block)
        for k, axis in enumerate(AXES):
            spots.loc[i, [f"{axis}_min", f"{axis}_max"]] = corner[k] + at[:, k].min(), corner[k] + at[:, k].max() + 1
            spots.loc[i, axis] = corner[k] + at[:, k].mean() + 0.5
        spots.loc[i, ["n_pixels", "intensity", "peak"]] = len(at), block.sum(), block.max()
        values = np.column_stack([np.full(len(at), i), at + corner, block[tuple(at.T)]])
        parts.append(values)
    pixels = pd.DataFrame(np.concatenate(parts), columns=[c.name for c in tables.SPOT_PIXELS])
    return (
        spots.astype({c.name: c.dtype for c in tables.SPOTS}),
        pixels.astype({c.name: c.dtype for c in tables.SPOT_PIXELS}),
    )


def test_pixels_come_back(tmp_path: Path) -> None:
    spots, pixels = some_spots()
    write_refl(tmp_path / "a.refl", spots, {0: "one"}, pixels=pixels)
    found = read_refl(tmp_path / "a.refl")
    pd.testing.assert_frame_equal(found.table, spots)
    boxes = found.columns.shoeboxes
    assert boxes is not None
    pd.testing.assert_frame_equal(boxes.strong_pixels(), pixels)
    np.testing.assert_array_equal(boxes.peaks(), spots["peak"])
    write_refl(tmp_path / "b.refl", spots, {0: "one"})
    assert read_columns(tmp_path / "b.refl").shoeboxes is None


def test_the_layout(tmp_path: Path) -> None:
    """Head, counts, codes, backgrounds, shoebox after shoebox."""
    spots, pixels = some_spots(4)
    wanted = b""
    for i, spot in spots.iterrows():
        edges = [(int(spot[f"{axis}_min"]), int(spot[f"{axis}_max"])) for axis in AXES]
        counts = np.zeros([high - low for low, high in edges], "<f4")
        mine = pixels[pixels["spot"] == i]
        counts[tuple(mine[axis] - low for axis, (low, _) in zip(AXES, edges))] = mine["count"]
        wanted += struct.pack("<I6iB", int(spot["panel"]), *edges[2], *edges[1], *edges[0], 1)
        wanted += counts.tobytes() + np.where(counts > 0, 5, 0).astype("<i4").tobytes() + bytes(counts.nbytes)
    assert pack_shoeboxes(spots, pixels, tmp_path) == wanted


def test_no_spots_no_bytes(tmp_path: Path) -> None:
    spots, pixels = tables.empty(tables.SPOTS), tables.empty(tables.SPOT_PIXELS)
    write_refl(tmp_path / "a.refl", spots, {0: "one"}, pixels=pixels)
    boxes = read_columns(tmp_path / "a.refl").shoeboxes
    assert boxes is not None
    pd.testing.assert_frame_equal(boxes.strong_pixels(), pixels)


@pytest.mark.parametrize("name", ["ref_quartz_processed/strong.refl", "ref_quartz_processed/refined.refl"])
def test_shoeboxes_of_dials_written_again(shared_data: Path, tmp_path: Path, name: str) -> None:
    theirs = read_refl(shared_data / name)
    boxes = theirs.columns.shoeboxes
    assert boxes is not None
    pixels = boxes.strong_pixels()
    tables.check(pixels, tables.SPOT_PIXELS)
    by_spot = pixels.groupby("spot")
    np.testing.assert_array_equal(by_spot.size(), theirs.table["n_pixels"])
    np.testing.assert_array_equal(by_spot["count"].sum(), theirs.table["intensity"])
    np.testing.assert_array_equal(by_spot["count"].max(), theirs.table["peak"])
    assert pack_shoeboxes(theirs.table, pixels, tmp_path) == boxes.raw


def test_pixels_of_another_table_are_refused(tmp_path: Path) -> None:
    spots, pixels = some_spots()
    with pytest.raises(ValueError, match="spots 0 to 49, but only 49 spots"):
        write_refl(tmp_path / "a.refl", spots[:-1], {}, pixels=pixels)
    for axis in AXES:
        other = spots.copy()
        other[[f"{axis}_min", f"{axis}_max"]] += 1
        with pytest.raises(ValueError, match="of another table"):
            write_refl(tmp_path / "a.refl", other, {}, pixels=pixels)
    assert not list(tmp_path.iterdir())


def test_more_than_the_format_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spots, pixels = some_spots()
    monkeypatch.setattr(dials_shoeboxes, "_MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"a\.refl: would have .* leave out shoeboxes"):
        write_refl(tmp_path / "a.refl", spots, {}, pixels=pixels)


def test_a_shoebox_that_was_not_kept(tmp_path: Path) -> None:
    """DIALS writes heads alone where it let the pixels go."""
    head = struct.pack("<I6iB", 2, 1, 4, 1, 3, 0, 1, 0)
    spots, pixels = some_spots(2)
    content = head + pack_shoeboxes(spots, pixels, tmp_path) + head
    boxes = dials_shoeboxes.read_shoeboxes(content, 4, "x")
    assert np.isnan(boxes.peaks()).tolist() == [True, False, False, True]
    found = boxes.strong_pixels()
    assert set(found["spot"]) == {1, 2}
    np.testing.assert_array_equal(found[["frame", "slow", "fast", "count"]], pixels[["frame", "slow", "fast", "count"]])


def test_every_stage_of_the_program_has_them(small_set: Path, tmp_path: Path) -> None:
    def run(name: str, *options: str) -> Path:
        argv = ["process", str(small_set), "-o", str(tmp_path / name), *options]
        assert cli.run(cli.group, "hdrmx", argv) == 0
        return tmp_path / name

    kept, again, plain = run("kept", "--shoeboxes", "-j", "1"), run("again", "--shoeboxes", "-j", "3"), run("plain")
    first = read_columns(kept / "strong.refl").shoeboxes
    assert first is not None
    for name in ("strong.refl", "indexed.refl", "refined.refl"):
        found = read_refl(kept / name)
        boxes = found.columns.shoeboxes
        assert boxes is not None
        assert boxes.raw == first.raw
        sums = boxes.strong_pixels().groupby("spot")["count"].sum()
        np.testing.assert_array_equal(sums, found.table["intensity"])
        assert (again / name).read_bytes() == (kept / name).read_bytes()
        without = msgspec.msgpack.decode((kept / name).read_bytes())
        del without[2]["data"]["shoebox"]
        assert msgspec.msgpack.encode(without) == (plain / name).read_bytes()
