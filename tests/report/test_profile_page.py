"""The page of a profile: drawn from the record alone, self-contained, small, and quiet in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))
from example_record import example

from hdrmx import cli
from hdrmx.errors import InputError
from hdrmx.io.records import FILE_NAME, decode, write_record
from hdrmx.record import Doubt, Record, Sampling, Span, ThreadLine, Timeline
from hdrmx.report.profile_page import PAGE_NAME, profile_page, write_profile_page
from hdrmx.report.terminal import render

MOST_BYTES = 3_000_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FOLDED = """find_spots;main;process (hdrmx/pipeline.py:56);wait (threading.py:295);[waiting] 1500000
find_spots;worker_0;strong (hdrmx/stages/x.py:219);screen [kernel] (hdrmx/kernels/threshold_dense.py:61) 900000
find_spots;worker_0;strong (hdrmx/stages/x.py:219);<b>odd</b> & names (numpy/x.py:1) 250000
write;main;dump (json/__init__.py:120) 100000
"""


def full() -> Record:
    edges = tuple(range(0, 4_400_000_001, 44_000_000))
    steps = len(edges) - 1
    line = Timeline(
        edges_ns=edges,
        rss_bytes=(None, *(100_000_000 + 2_000_000 * i for i in range(steps - 1))),
        cpu_ns=(40_000_000,) * steps,
        threads=(
            ThreadLine(name="main", busy_ns=(20_000_000,) * steps),
            ThreadLine(name="worker_0", busy_ns=(0,) * steps),
        ),
    )
    record = example()
    return replace(
        record,
        timeline=line,
        sampling=Sampling(interval_ns=10_000_000, samples=1234),
        files={**record.files, "folded": "profile.folded", "report": PAGE_NAME},
    )


class Content(HTMLParser):
    """Checks that tags are closed in order; collects text, anchors, and what would be loaded."""

    VOID = ("meta", "link", "input", "br", "line", "path", "rect")

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


def test_the_whole_page():
    page = profile_page(full(), FOLDED, "a <folder>")
    content = Content(page)
    assert len(page.encode()) < MOST_BYTES
    assert content.loads == ["data:,"]
    assert "@import" not in page
    assert "url(" not in page
    assert set(re.findall(r"https?://[^\"' <]*", page)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert len(content.names) == len(set(content.names))
    sections = {
        "verdict",
        "stages",
        "timeline",
        "memory",
        "flame",
        "functions",
        "counters",
        "results",
        "machine",
        "again",
    }
    assert sections <= set(content.names)
    assert {link.removeprefix("#") for link in content.links if link.startswith("#")} <= set(content.names)
    assert page == profile_page(full(), FOLDED, "a <folder>")


def test_text_from_outside_comes_as_text():
    text = Content(profile_page(full(), FOLDED, "a <folder>")).text
    assert "a <folder>" in text
    assert "<b>odd</b> & names" in text


def test_the_page_says_what_the_record_says():
    text = Content(profile_page(full(), FOLDED, "out")).text
    assert "find_spots decodes each frame 1.50 times; once would do." in text
    assert "2.70 s" in text  # the pipeline
    assert "128" in text
    assert "find_spotsspots6,570" in text  # cells of a table of the results
    assert "hdrmx report out" in text
    assert "hdrmx-profile thaumatin_master.h5" in text
    assert "Example CPU 9000" in text
    assert "1.5 per frame" in text


def test_functions_are_ordered_by_their_own_time():
    text = Content(profile_page(full(), FOLDED, "out")).text
    kernel, odd = text.index("screen [kernel]"), text.index("<b>odd</b>")
    assert kernel < odd
    assert "72.0 %" in text  # 0.9 of 1.25 s


@pytest.mark.parametrize(
    "record",
    [
        Record(),
        Record(status="interrupted", run=Span(name="run", children=(Span(name="find_spots", finished=False),))),
        Record(pipeline="dials", series={"at_ns": (0, 10, 20), "rss_bytes": (5, None, 7), "cpu_ns": (0, 5, 9)}),
        Record(doubts=(Doubt(kind="no_io_counters"), Doubt(kind="something_new"))),
    ],
)
def test_a_record_of_which_little_is_known_has_a_page(record: Record):
    text = Content(profile_page(record)).text
    assert "There are no samples" in text


def test_a_record_of_the_first_hdrmx_opens():
    """As it was written before samples, timelines, limits and counts, and with a field of a later one."""
    stage = {"name": "find_spots", "cost": {"wall_ns": 2_000_000_000}, "counts": {"frames": 4}, "answers": {"spots": 3}}
    old = {
        "schema": "hdrmx-record/1",
        "status": "complete",
        "machine": {"cpu": "Old CPU", "fingerprint": "0" * 12},
        "run": {"name": "run", "cost": {"wall_ns": 3_000_000_000}, "children": [{**stage, "mood": "good"}]},
        "files": {"pyinstrument": "pyinstrument.html"},
    }
    record = decode(json.dumps(old).encode())
    page, table = Content(profile_page(record)).text, render(record)
    for text in (page, table):
        assert "Old CPU" in text
        assert "find_spots takes 100% of the pipeline's 2.00 s" in text
    assert "what this machine could do at best is not known" not in table  # nobody had asked then


def test_a_stopped_run_says_so_first():
    broken = Span(name="find_spots", error="BadFrame: frame 3 is cut short", counts={"frames": 2})
    page = profile_page(Record(status="failed", run=Span(name="run", children=(broken,))))
    assert Content(page).text.index("The run failed in find_spots") < Content(page).text.index("Where the time goes")
    assert "BadFrame: frame 3 is cut short" in Content(page).text


def test_drawn_from_a_folder_or_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    record = replace(full(), doubts=())
    write_record(tmp_path / FILE_NAME, record)
    (tmp_path / "profile.folded").write_text(FOLDED)
    assert cli.run(cli.group, "hdrmx", ["report", str(tmp_path)]) == 0
    drawn = (tmp_path / PAGE_NAME).read_text()
    assert cli.run(cli.group, "hdrmx", ["report", str(tmp_path / FILE_NAME), "-o", str(tmp_path / "b.html")]) == 0
    assert (tmp_path / "b.html").read_text() == drawn
    (tmp_path / "profile.folded").unlink()
    write_profile_page(tmp_path)
    assert "There are no samples" in (tmp_path / PAGE_NAME).read_text()
    assert cli.run(cli.group, "hdrmx", ["report", str(tmp_path / "nowhere")]) == 3
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(InputError):
        write_profile_page(tmp_path / "nowhere")


def test_a_large_profile_stays_small():
    many = "".join(
        f"find_spots;main;f{i % 97} (a/b.py:{i % 97});g{i} (c/d.py:{i});h{i % 13} (e/f.py:1) {1 + i % 50}\n"
        for i in range(40_000)
    )
    assert len(profile_page(full(), many).encode()) < MOST_BYTES


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_a_profile_is_quiet_in_a_browser(tmp_path: Path) -> None:
    """Nothing on the console, nothing asked of a network; search, zoom, stages and keys of the flame graph work."""
    probe = """<script>
      const box = document.querySelector(".flame"), svg = box.querySelector(".graph");
      const labels = () => [...svg.querySelectorAll("text")].map((t) => t.textContent);
      const key = (name) => svg.dispatchEvent(new KeyboardEvent("keydown", { key: name, cancelable: true }));
      const told = { whole: labels(), parts: svg.querySelectorAll("rect").length };
      const find = box.querySelector(".find");
      find.value = "screen";
      find.dispatchEvent(new Event("input"));
      told.found = box.querySelector(".found").textContent;
      told.hits = svg.querySelectorAll(".hit").length;
      key("ArrowDown"); key("ArrowDown"); key("ArrowDown"); key("ArrowDown");
      told.at = box.querySelector(".read").textContent;
      key("Enter");
      told.zoomed = labels();
      key("Escape");
      told.out = labels();
      box.querySelector(".out").click();
      box.querySelector(".idle").click();
      told.idle = labels();
      const stage = box.querySelector(".stage");
      stage.value = "1";
      stage.dispatchEvent(new Event("change"));
      told.stage = labels();
      for (const s of document.querySelectorAll(".chart svg[tabindex]")) {
        s.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
      }
      told.loads = performance.getEntriesByType("resource").length;
      document.title = JSON.stringify(told);
    </script></body>"""
    file = tmp_path / "probe.html"
    file.write_text(profile_page(full(), FOLDED, "out").replace("</body>", probe), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --v=0 --dump-dom"
    options += " --disable-background-networking --disable-component-update --enable-logging=stderr"
    options += " --virtual-time-budget=3000 --window-size=1200,3000"
    done = subprocess.run(
        [CHROMIUM, *options.split(), f"--user-data-dir={tmp_path / 'user'}", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S).group(1)
    told = json.loads(title.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert told["loads"] == 0
    assert told["whole"][0] == "find_spots"
    assert told["parts"] >= 8
    assert told["found"] == "72.0 % of what is shown"
    assert told["hits"] == 1
    assert told["at"].startswith("screen [kernel]")
    assert any(label.startswith("screen") for label in told["zoomed"])
    assert not any("odd" in label for label in told["zoomed"])
    assert any("odd" in label for label in told["out"])
    assert "[waiting]" in told["idle"]
    assert told["stage"][0] == "write"
