"""Sections and verdict of integration, symmetry, scaling and merging, from the files of a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_process_page import MOST_BYTES, Content

from hdrmx import cli
from hdrmx.errors import InputError
from hdrmx.report.along import rows_of, steps_of, within_scans
from hdrmx.report.figures import Axis, Series, chart
from hdrmx.report.merged_verdict import merged_doubts, merged_facts, merged_words
from hdrmx.report.process_page import process_page
from hdrmx.report.process_verdict import verdict
from hdrmx.report.processed import Processed, read_processed
from hdrmx.report.raster import NOTHING, colours, levels, png
from hdrmx.report.scale_section import slope

LATER = ("merging", "distribution", "symmetry", "scaling", "integration")


@pytest.fixture(scope="module")
def page(small_run: Path) -> str:
    return process_page(small_run)


@pytest.fixture(scope="module")
def read(small_run: Path) -> Processed:
    return read_processed(small_run)


def copied(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "a"))


def test_page_is_whole_and_loads_nothing(page: str, small_run: Path) -> None:
    content = Content(page)
    assert set(LATER) <= set(content.names)
    assert content.names.index("merging") < content.names.index("spots")
    assert len(page) < MOST_BYTES
    assert all(link.startswith("#") for link in content.links)
    assert all(source.startswith("data:") for source in content.loads)
    assert "nan" not in " ".join(content.words).lower().split()
    assert process_page(small_run) == page


def test_page_tells_what_the_files_tell(page: str, small_run: Path) -> None:
    words = " ".join(Content(page).words)
    merged = json.loads((small_run / "merged.json").read_text())
    whole = merged["overall"]
    assert f"{whole['n_unique']:,} unique reflections" in words
    assert f"Rmeas {whole['r_meas']:.3f}, CC1/2 {whole['cc_half']:.4f}" in words
    assert f"Space group {merged['space_group']}" in words
    shells = pd.read_csv(small_run / "merged_shells.csv")
    for d_max, d_min in zip(shells["d_max"], shells["d_min"]):
        assert f"{d_max:.2f}–{d_min:.2f}" in words
    counts = json.loads((small_run / "integrated.json").read_text())["sweeps"][0]["counts"]
    assert f"{counts['predicted']:,}" in words


@pytest.mark.parametrize("reached", ["integrate", "symmetry", "scale"])
def test_a_run_that_ended_earlier(small_run: Path, tmp_path: Path, reached: str) -> None:
    folder = copied(small_run, tmp_path)
    told = json.loads((folder / "summary.json").read_text())
    stages = told["stages"][: told["stages"].index(reached) + 1]
    (folder / "summary.json").write_text(json.dumps(told | {"stages": stages}))
    for name in ("merged_shells.csv", "merged.json", *(["scaled_model.json"] if reached != "scale" else [])):
        (folder / name).unlink()
    names = Content(process_page(folder)).names
    wanted = {"integrate": ["integration"], "symmetry": ["symmetry", "integration"]}
    found = [name for name in names if name in LATER]
    assert found == wanted.get(reached, ["symmetry", "scaling", "integration"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("merged.json", b"[]"),
        ("merged.json", b"{"),
        ("scaled_frames.csv", None),
        ("integrated_profiles.npz", b"PK nonsense"),
        ("integrated_picture.npz", b""),
    ],
)
def test_damage_is_an_input_error(small_run: Path, tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = copied(small_run, tmp_path)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        process_page(folder)


def test_page_without_the_picture(small_run: Path, tmp_path: Path) -> None:
    folder = copied(small_run, tmp_path)
    (folder / "integrated_picture.npz").unlink()
    assert "Predictions on image" not in process_page(folder)


# verdict


def doubts(run: Processed) -> str:
    return "\n".join(merged_doubts(run))


def changed(run: Processed, part: str, **told: object) -> Processed:
    old = getattr(run.later, part)
    later = dataclasses.replace(run.later, **{part: dataclasses.replace(old, told=old.told | told)})
    return dataclasses.replace(run, later=later)


def test_verdict_begins_with_the_data(read: Processed) -> None:
    said = verdict(read)
    assert said.sentences[0].startswith("Space group ")
    assert "complete, Rmeas" in said.sentences[1]
    assert [label for label, _, _ in said.facts][:4] == ["space group", "resolution by CC1/2", "CC1/2", "Rmeas"]
    assert len(list(merged_facts(read))) == 6
    assert len(list(merged_words(read))) == 2


def test_enantiomorphs_are_named(read: Processed) -> None:
    def said(groups: list[str], is_measured: bool = True) -> str:
        assert read.later.symmetry is not None
        candidate = {"space_groups": groups, "is_measured": is_measured}
        symmetry = read.later.symmetry | {"absences": {"candidates": [candidate]}}
        run = dataclasses.replace(read, later=dataclasses.replace(read.later, symmetry=symmetry))
        return next(merged_words(changed(run, "merging", space_group="P 41 21 2")))

    assert "Space group P 41 21 2 or P 43 21 2, which no absence tells apart, " in said(["P 41 21 2", "P 43 21 2"])
    assert "Space group P 41 21 2, " in said(["P 41 21 2"])
    assert "Space group P 41 21 2, " in said(["P 41 21 2", "P 4 21 2"], is_measured=False)  # a note says that


def test_doubts_follow_the_figures(read: Processed) -> None:
    assert "were measured: more rotation" in doubts(read)  # 30 degrees of a lattice of low symmetry
    assert read.later.merging is not None
    assert read.later.integration is not None
    twinned = read.later.merging.told["twinning"] | {"twin_fraction": 0.3}
    assert "twinning, with a fraction of about 0.30" in doubts(changed(read, "merging", twinning=twinned))
    sweep = read.later.integration.told["sweeps"][0]
    poor = sweep | {"counts": sweep["counts"] | {"integrated_prf": 10, "integrated_sum": 10, "overloaded": 7}}
    said = doubts(changed(read, "integration", sweeps=[poor]))
    assert "could not be integrated" in said
    assert "7 reflections are overloaded" in said
    edge = read.later.merging.told["resolution"] | {"reaches_edge": True, "d_min": 2.0}
    assert "diffracts farther" in doubts(changed(read, "merging", resolution=edge))


def test_what_is_missing_is_told_apart(read: Processed) -> None:
    merging = read.later.merging
    assert merging is not None
    n = len(merging.sums)
    part = np.where(np.arange(n) < 0.7 * n, 0.99, 0.2)
    sums = merging.sums.assign(n_possible=1000, n_unique=(1000 * part).astype(int))
    told = merging.told | {"resolution": merging.told["resolution"] | {"d_min": float(sums["d_min"].iloc[-1])}}
    later = dataclasses.replace(read.later, merging=dataclasses.replace(merging, sums=sums, told=told))
    said = doubts(dataclasses.replace(read, later=later))
    last = int(np.flatnonzero(np.cumsum(part) / np.arange(1, n + 1) >= 0.9)[-1])
    assert f"to {sums['d_min'].iloc[last]:.2f} Å. Beyond, the detector doesn't reach" in said
    assert "were measured: more rotation" not in said


def test_a_hot_pixel_is_told_from_outliers(read: Processed) -> None:
    assert read.later.scaling is not None
    n = 4
    at = {"slow": [388.4, 388.1, 388.9, 20.0], "fast": [743.7, 744.2, 743.5, 30.0], "deviation": [30.0, 25.0, 9.0, 8.0]}
    outliers = pd.DataFrame({"sweep": [0] * n, "frame": range(n), **at})

    def said(table: pd.DataFrame) -> str:
        scaling = dataclasses.replace(read.later.scaling, outliers=table)
        return doubts(dataclasses.replace(read, later=dataclasses.replace(read.later, scaling=scaling)))

    assert "3 outliers are too high at the same place of the detector (fast 744, slow 388 px)" in said(outliers)
    assert "hot pixel" not in said(outliers[1:])
    assert "hot pixel" not in said(outliers.assign(deviation=-outliers["deviation"]))


def test_wrong_errors_are_told_from_the_plot(read: Processed) -> None:
    x = np.linspace(-3, 3, 61)
    for factor, word in ((1.0, ""), (1.6, "too small"), (0.5, "too large")):
        run = changed(read, "scaling", normal_probability={"expected": x.tolist(), "observed": (factor * x).tolist()})
        assert run.later.scaling is not None
        assert slope(run.later.scaling) == pytest.approx(factor)
        said = "\n".join(line for line in merged_doubts(run) if "σs are" in line)
        assert (word in said) if word else not said


def test_damage_along_the_scan_is_told(read: Processed) -> None:
    n = 20
    drift = {"frames_apart": list(range(n)), "n_pairs": [100] * n, "r_d": np.linspace(0.05, 0.2, n).tolist()}
    assert "as radiation damage makes them" in doubts(changed(read, "merging", drift={"0": drift}))
    flat = drift | {"r_d": [0.05] * n}
    assert "radiation" not in doubts(changed(read, "merging", drift={"0": flat}))


def test_of_many_sweeps_with_one_doubt_some_are_named(read: Processed) -> None:
    n = 20
    drift = {"frames_apart": list(range(n)), "n_pairs": [100] * n, "r_d": np.linspace(0.05, 0.2, n).tolist()}
    said = doubts(changed(read, "merging", drift={str(i): drift for i in range(50)}))
    assert said.count("as radiation damage makes them") == 3
    assert "with 47 further sweeps" in said


# several sweeps


def test_two_sweeps(small_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    argv = ["process", str(small_set), str(small_set), "-o", str(folder), "-j", "1"]
    assert cli.run(cli.group, "hdrmx", argv) == 0
    content = Content(process_page(folder))
    assert "sweeps" in content.names
    words = " ".join(content.words)
    assert "2 sweeps, 60 images" in words
    assert "that of the first sweep" in words
    assert "on 60 images of 2 sweeps are indexed" in words


def test_steps_never_run_across_sweeps() -> None:
    frames = pd.DataFrame({"sweep": np.repeat([0, 1], [25, 13]), "frame": [*range(5, 30), *range(13)]})
    steps = steps_of(frames, most=8)
    assert steps.axis.edges is not None
    assert steps.axis.label == "sweep"
    assert list(steps.total(np.ones(38))) == [5.0] * 7 + [3.0]
    assert steps.axis.names[0] == "sweep 1, images 6–10"
    assert steps.axis.names[5] == "sweep 2, images 1–5"
    assert np.diff(steps.axis.edges).tolist() == [5.0] * 7 + [3.0]
    one = steps_of(frames[frames["sweep"] == 0], most=400)
    assert one.axis.names[:2] == ["image 6", "image 7"]
    assert one.axis.edges is not None
    assert (one.axis.edges[0], one.axis.edges[-1]) == (5.5, 30.5)


def test_means_leave_out_what_is_absent() -> None:
    steps = steps_of(pd.DataFrame({"sweep": 0, "frame": range(4)}), most=2)
    mean = steps.mean(np.array([1.0, np.nan, np.nan, np.nan]), np.array([2.0, 5.0, 1.0, 1.0]))
    assert mean[0] == 1.0
    assert np.isnan(mean[1])
    assert "–" in rows_of(steps.axis, [("x", mean, 2)], "image")


def test_frames_outside_of_the_scans_are_left_out() -> None:
    scans = pd.DataFrame({"sweep": [0, 0, 1, 1], "frame": [0, 9, 100, 110]})
    frames = pd.DataFrame({"sweep": [0, 0, 1, 1, 2], "frame": [-1, 9, 99, 100, 5]})
    assert within_scans(frames, scans)["frame"].tolist() == [9, 100]


# pictures


def decoded(data: bytes) -> np.ndarray:
    """Pixel colours of a PNG of ours, by its chunks."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        parts[kind], at = body, at + 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    assert (depth, colour) == (8, 3)
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return np.frombuffer(parts[b"PLTE"], np.uint8).reshape(-1, 3)[rows[:, 1:]]


@pytest.mark.parametrize("palette", ["glow", "split", "paper"])
def test_png_holds_the_picture(palette: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (17, 23)).astype(np.uint8)
    np.testing.assert_array_equal(decoded(png(image, palette)), colours(palette)[image])
    grey = colours(palette)[:NOTHING].astype(float) @ [0.3, 0.59, 0.11]
    if palette != "split":
        assert (np.diff(grey) >= 0).all() or (np.diff(grey) <= 0).all()  # told apart without colour, too


def test_levels() -> None:
    found = levels([[-1.0, 0.0, 5.0, 10.0, 99.0, np.nan]], 0.0, 10.0)
    assert found.tolist() == [[0, 0, 127, 254, 254, NOTHING]]


def test_charts_keep_within_their_frame() -> None:
    axis = Axis("x", np.arange(3.0), ["a", "b", "c"])
    text = chart("t", axis, [Series("s", np.array([-50.0, 0.5, 50.0]))], y_label="y", y_range=(0, 1))
    line = text.split('class="line c0" d="')[1].split('"')[0]
    y = [float(pair.split()[1]) for pair in line[1:].split("L")]
    assert y[0] == 190.0
    assert y[2] == 12.0
