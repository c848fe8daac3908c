"""The page of a run: whatever stage was reached, self-contained, the same from the same files, quiet in a browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "indexing"))
import lattice_spots as synth

from hdrmx import cli
from hdrmx.errors import IndexFailure, InputError
from hdrmx.io.results import ResultWriter
from hdrmx.models import Geometry
from hdrmx.params import Index, Params, Refine, Simulate
from hdrmx.pipeline import Results, SweepResults
from hdrmx.refinement.parameters import about, spindle_frame
from hdrmx.report.drift_section import along_scan
from hdrmx.report.process_page import FILE_NAME, process_page, reproduce, try_process_page
from hdrmx.report.processed import read_processed
from hdrmx.stages.find_spots import FoundSpots
from hdrmx.stages.index import Indexed, index
from hdrmx.stages.refine import RefinedModel, refine

N_FRAMES = 90
MOST_BYTES = 1_500_000


@dataclasses.dataclass(frozen=True)
class Made:
    geometry: Geometry
    found: FoundSpots
    indexed: Indexed
    refined: RefinedModel

    def after(self, stage: str) -> Results:
        """As the pipeline hands them on after a stage."""
        sweep = SweepResults(self.geometry, self.found.spots, found=self.found)
        if stage != "find_spots":
            i = self.indexed
            sweep = dataclasses.replace(sweep, geometry=i.geometry, table=i.table, crystals=i.crystals, indexed=i)
        if stage == "refine":
            r = self.refined
            sweep = dataclasses.replace(sweep, geometry=r.geometry, table=r.reflections, crystals=r.crystals, refined=r)
        return Results((sweep,), notes={"index": ("a <note>",)})


@pytest.fixture(scope="module")
def results() -> Made:
    """Two lattices, the second with a fifth of the spots, and 5 % of noise."""
    crystal, geometry = synth.crystal((40.0, 50.0, 60.0, 90.0, 90.0, 90.0), "P 21 21 21"), synth.geometry()
    A = synth.rotation((1, 2, 3), 6.0) @ np.asarray(crystal.A)
    other = dataclasses.replace(crystal, A=tuple(map(tuple, A.tolist())))
    found = synth.reflections(crystal, geometry, 4.5)
    weak = synth.reflections(other, geometry, 4.5).sample(frac=0.25, random_state=1)
    spots = [synth.spots_of(found, noise=len(found) // 20), synth.spots_of(weak, seed=3)]
    table = pd.concat(spots, ignore_index=True)
    counts = {"frames": N_FRAMES - 1, "strong_pixels": int(table["n_pixels"].sum()), "spots": len(table)}
    seen = FoundSpots(table, counts, ((7, "<checksum> & length differ"),))
    indexed = index(table, geometry, Index(max_lattices=2))
    assert len(indexed.crystals) == 2
    refined = refine(indexed.table, indexed.crystals, indexed.geometry, Refine())
    return Made(geometry, seen, indexed, refined)


def write(folder: Path, results: Made, reached: tuple[str, ...], stopped: BaseException | None = None) -> Path:
    folder.mkdir()
    geometry = results.geometry
    source = SimpleNamespace(
        name="a <folder>/made_up.nxs",
        template="made_up.nxs",
        shape=(1000, 1000),
        dtype=np.dtype("uint16"),
        indices=range(N_FRAMES),
        geometry=geometry,
    )
    writer = ResultWriter(folder, source, Params())
    for stage in reached:
        writer(stage, results.after(stage))
    if stopped is not None:
        writer.stopped(stopped)
    return folder


@pytest.fixture(scope="module")
def whole(results: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("page") / "whole", results, ("find_spots", "index", "refine"))


class Content(HTMLParser):
    """Checks that tags are closed in order; collects text, anchors, and what would be loaded."""

    VOID = ("meta", "link", "input", "br", "img", "line", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "data", "action", "poster", "srcset") or (name == "href" and tag != "a"):
                self.loads.append(str(value))
            if name == "href" and tag == "a":
                self.links.append(str(value))
            if name == "id":
                self.names.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def test_the_whole_page(whole: Path, results: Made) -> None:
    page = process_page(whole)
    content = Content(page)
    assert len(page.encode()) < MOST_BYTES
    assert content.loads == ["data:,"]
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert len(content.names) == len(set(content.names))
    assert {link.removeprefix("#") for link in content.links} <= set(content.names)
    assert {
        "verdict",
        "spots",
        "reciprocal",
        "fraction",
        "bravais",
        "rmsd",
        "drift",
        "parameters",
        "images",
        "run",
    } <= set(content.names)
    # text from outside comes as text
    assert "made_up.nxs: processed" in content.text
    assert "a <note>" in content.text
    assert "<checksum> & length differ" in content.text


def test_the_verdict_tells_what_the_tables_hold(whole: Path, results: Made) -> None:
    text = Content(process_page(whole)).text
    table = results.refined.reflections
    n, indexed = len(table), int((table["lattice"] >= 0).sum())
    assert f"{indexed:,} of {n:,} spots ({100 * indexed / n:.1f} %) on 89 images belong to 2 lattices." in text
    best = next(row for row in results.indexed.bravais if row.best)
    assert f"probably that of {best.crystal.space_group}" in text
    for value in (results.refined.rmsd_fast_px, results.refined.rmsd_slow_px):
        assert f"{value:.2f} px" in text
    assert "1 image that could not be read was left out" in text
    for row in results.indexed.bravais:
        assert f"{row.rmsd_px:.3f}" in text


def test_the_points_are_the_spots(whole: Path, results: Made) -> None:
    """What the browser is given, decoded again, lies where the indices and the matrix say."""
    import base64

    page = process_page(whole)
    data = json.loads(re.search(r'id="?points-rlp"?>(.*?)</script>', page).group(1))
    xyz = np.frombuffer(base64.b64decode(data["xyz"]), "<i2").reshape(-1, 3) / 32767 * data["radius"]
    group = np.frombuffer(base64.b64decode(data["group"]), np.uint8)
    table = results.refined.reflections
    assert [g["name"] for g in data["groups"]] == ["lattice 1", "lattice 2", "not indexed"]
    assert np.array_equal(group, np.where(table["lattice"] < 0, 2, table["lattice"]))
    for lattice, crystal in enumerate(results.refined.crystals):
        mine = group == lattice
        calculated = table.loc[mine, ["h", "k", "l"]].to_numpy() @ np.asarray(crystal.A).T
        assert np.abs(xyz[mine] - calculated).max() < 0.01
    for view in data["views"]:
        np.testing.assert_allclose(np.array(view["rows"]) @ np.array(view["rows"]).T, np.eye(3), atol=1e-4)
        assert np.linalg.det(view["rows"]) > 0


def test_counts_add_up(whole: Path) -> None:
    from hdrmx.report.spot_statistics import by_image, by_resolution

    run = read_processed(whole)
    for counts in (by_image(run, 7), by_image(run, 1000), by_resolution(run, 13)):
        assert counts.spots.sum() == len(run.spots)
        assert counts.indexed.sum() == run.is_indexed.sum()
        assert counts.pixels.sum() == run.spots["n_pixels"].sum()
        assert len(counts.axis.names) == len(counts.spots) == len(counts.axis.edges) - 1
    frame = np.clip(np.floor(run.spots["frame"]), 0, N_FRAMES - 1)  # a spot's error may carry it beyond the scan
    per_image = by_image(run, 1000)
    assert per_image.spots.tolist() == [(frame == i).sum() for i in range(N_FRAMES)]


def test_drift_is_that_of_the_model(whole: Path) -> None:
    """Crystals made by known rotations about the spindle's axes and known strains give these back."""
    run = read_processed(whole)
    frame = spindle_frame(run.geometry)
    angles = np.linspace(-0.3, 0.3, 5)
    mean = np.asarray(run.crystals[0].A)
    for k in range(3):
        A = np.array([frame.T @ about(np.eye(3)[k], np.radians(a)) @ frame @ mean / 1.001 for a in angles])
        told = along_scan(dataclasses.replace(run.crystals[0], A_at_scan_points=A), run.geometry, np.arange(5))
        for i in range(3):
            np.testing.assert_allclose(told[f"rotation{i + 1}_deg"], angles if i == k else 0.0, atol=1e-9)
        np.testing.assert_allclose(told["b"], 1.001 * run.crystals[0].cell[1])
    whole_scan = along_scan(run.crystals[0], run.geometry, np.arange(N_FRAMES + 1))
    low, high = run.drift[run.drift["lattice"] == 0]["a"].agg(["min", "max"])
    assert low - 1e-4 <= whole_scan["a"].min() <= whole_scan["a"].max() <= high + 1e-4


def test_same_files_same_page(whole: Path) -> None:
    assert process_page(whole) == process_page(whole)


def test_failed_indexing(results: Made, tmp_path: Path) -> None:
    failure = IndexFailure("no lattice explains the spots", "try --cell")
    folder = write(tmp_path / "a", results, ("find_spots",), failure)
    content = Content(process_page(folder))
    assert "Stopped" in content.text
    assert "The run ended after find_spots: indexing: no lattice explains the spots; try --cell." in content.text
    assert "reciprocal" in content.names
    assert not {"bravais", "fraction", "rmsd"} & set(content.names)


def test_up_to_indexing(results: Made, tmp_path: Path) -> None:
    content = Content(process_page(write(tmp_path / "a", results, ("find_spots", "index"))))
    assert "bravais" in content.names
    assert not {"rmsd", "drift", "parameters"} & set(content.names)
    assert "--stages find_spots,index" in content.text


def test_stills(results: Made, tmp_path: Path) -> None:
    geometry = dataclasses.replace(results.geometry, scan=None, goniometer=None)
    still = dataclasses.replace(results, geometry=geometry, found=dataclasses.replace(results.found, bad_frames=()))
    content = Content(process_page(write(tmp_path / "a", still, ("find_spots",))))
    assert "Spots only" in content.text
    assert "stills" in content.text
    assert "reciprocal" not in content.names


def test_no_spot_at_all(results: Made, tmp_path: Path) -> None:
    found = FoundSpots(results.found.spots.iloc[:0], {"frames": N_FRAMES, "strong_pixels": 0, "spots": 0})
    none = dataclasses.replace(results, found=found)
    content = Content(process_page(write(tmp_path / "a", none, ("find_spots",))))
    assert f"0 spots on {N_FRAMES} images" in content.text


def test_many_spots_stay_a_small_page(results: Made, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 120_000
    many = pd.DataFrame(
        {c: np.zeros(n, t) for c, t in results.found.spots.dtypes.items()}, columns=results.found.spots.columns
    )
    for name in ("slow", "fast"):
        many[name] = rng.uniform(0, 1000, n)
    many["frame"], many["n_pixels"] = rng.uniform(0, N_FRAMES, n), np.int32(5)
    crowd = dataclasses.replace(
        results, found=FoundSpots(many, {"frames": N_FRAMES, "spots": n, "strong_pixels": 5 * n})
    )
    page = process_page(write(tmp_path / "a", crowd, ("find_spots",)))
    assert len(page.encode()) < MOST_BYTES
    assert f"20000 of {n} spots" in page


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", None, "No such file"),
        ("summary.json", b"{", "is damaged"),
        ("summary.json", b'{"schema": "other/9"}', "other/9"),
        ("summary.json", b'{"schema": "hdrmx-summary/1", "stages": []}', "lacks images, data, shape, find_spots"),
        ("refined_drift.csv", None, "No such file"),
        ("refined.refl", b"\x80\x81", "refined.refl"),
        ("refined.expt", b"[]", "refined.expt"),
    ],
)
def test_damage_is_told(whole: Path, tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    folder = tmp_path / "a"
    shutil.copytree(whole, folder)
    (folder / FILE_NAME).write_text("of an earlier run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        process_page(folder)
    assert "could not be drawn" in try_process_page(folder)
    assert not (folder / FILE_NAME).exists()


def test_command_draws_it_again(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "again.html"
    assert cli.run(cli.group, "hdrmx", ["report", str(whole), "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == process_page(whole)
    assert cli.run(cli.group, "hdrmx", ["report", str(tmp_path)]) == 3
    assert "summary.json" in capsys.readouterr().err


def test_command_to_reproduce() -> None:
    told = {
        "data": "my data.nxs",
        "images": [3, 9],
        "stages": ["find_spots", "index", "refine", "integrate", "symmetry", "scale", "merge"],
        "bad_frames": [{"image": 4, "reason": "?"}],
        "params": {"find_spots": {"d_min": 2.5, "kernel_px": 3}, "index": {"space_group": "P 2"}},
    }
    wanted = "hdrmx process 'my data.nxs' --images 3-9 --skip-bad-frames --set find_spots.d_min=2.5"
    assert reproduce(told) == f"{wanted} --set 'index.space_group=P 2'"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hdrmx.simulate.run import simulate

    path = tmp_path_factory.mktemp("tiny") / "tiny.nxs"
    return simulate(Simulate(detector="tiny", frames=4, width_deg=0.5), path).data


@pytest.mark.parametrize("command", ["process", "profile"])
def test_commands_draw_what_was_reached(tiny: Path, tmp_path: Path, command: str) -> None:
    few = ("--set", "index.min_spots=10000")  # more than there are: indexing refuses
    argv = [command, str(tiny), "-o", str(tmp_path / "a"), "-j", "1", *few]
    assert cli.run(cli.group, "hdrmx", argv) == 3
    content = Content((tmp_path / "a" / FILE_NAME).read_text(encoding="utf-8"))
    assert "Stopped" in content.text
    assert "The run ended after find_spots: " in content.text
    assert "index.min_spots=10000" in content.text


def test_a_page_that_fails_costs_no_results(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(folder: Path) -> str:
        raise RuntimeError("out of ink")

    monkeypatch.setattr("hdrmx.report.process_page.process_page", fail)
    for command in ("process", "profile"):
        folder = tmp_path / command
        argv = [command, str(tiny), "-o", str(folder), "-j", "1", "--stages", "find_spots"]
        assert cli.run(cli.group, "hdrmx", argv) == 0
        told = capsys.readouterr()
        assert "out of ink" in told.out + told.err
        assert (folder / "strong.refl").exists()
        assert not (folder / FILE_NAME).exists()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_quiet_in_a_browser(whole: Path, tmp_path: Path) -> None:
    """Nothing on the console, nothing asked of a network, canvases drawn and charts read out by key."""
    page = process_page(whole)
    probe = """<script>
      const seen = [...document.querySelectorAll("canvas.cloud")].map((c) => {
        const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return p.some((v) => v > 0);
      });
      const svg = document.querySelector(".chart svg[tabindex]");
      svg.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
      document.querySelector(".viewer canvas").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
      document.querySelectorAll(".viewer input")[0].click();
      document.querySelector(".viewer button").click();
      document.title = JSON.stringify({ seen, read: svg.parentNode.querySelector("output").textContent,
        loads: performance.getEntriesByType("resource").length });
    </script></body>"""
    file = tmp_path / "probe.html"
    file.write_text(page.replace("</body>", f"{probe}"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    options += [
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=3000",
        "--window-size=1200,3000",
        "--dump-dom",
    ]
    done = subprocess.run([CHROMIUM, *options, file.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S).group(1)
    told = json.loads(title.replace("&quot;", '"').replace("&amp;", "&"))
    assert told["loads"] == 0
    assert told["read"].startswith(f"image {N_FRAMES}: all ")
    assert told["seen"] == [True] * 4
