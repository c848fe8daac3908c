"""`hdrmx complexity`: exit codes, the JSON document, the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hdrmx.cli import run
from hdrmx.cli.complexity import command
from hdrmx.report.complexity_page import render_page
from hdrmx.report.complexity_text import render

CASES = Path(__file__).with_name("complexity_cases.py")
QUICK = ["--sizes", "8,11,16,22,32,45,64", "--budget", "1s", "--measure", "counts"]
KEYS = {"target", "driver", "sizes", "declared", "verdict", "measures", "guilty"}
OF_MEASURE = {"class", "exponent", "local_exponent", "crossover", "forecast_error", "values"}
OF_GUILTY = {"function", "file", "line", "measure", "exponent", "share_at_largest"}


def call(*words: str) -> int:
    return run(command, "hdrmx complexity", list(words))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("complexity") / "pairs.json"
    assert call(f"{CASES}:pairs", *QUICK, "--json", str(path)) == 1
    assert path.with_suffix(".html").is_file()
    return json.loads(path.read_text())


def test_the_document(study: dict) -> None:
    assert set(study) >= KEYS
    assert study["verdict"] == "exceeds"
    assert set(study["measures"]["counts"]) >= OF_MEASURE
    assert set(study["measures"]["counts"]["exponent"]) == {"value", "low", "high"}
    assert set(study["guilty"][0]) >= OF_GUILTY
    assert study["guilty"][0]["function"] == "pairs"


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"{CASES}:lookup", *QUICK) == 0
    assert "WITHIN" in capsys.readouterr().out
    assert call(f"{CASES}:pairs", *QUICK, "--declare", "n^2") == 0
    assert call(f"{CASES}:broken", *QUICK) == 3
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--sizes", "1,2"], ["--sizes", "a,b"], ["--budget", "soon"], ["--measure", "speed"], ["--declare", "n n"],
        ["--limit", "x"], ["--baseline", "nowhere.json"], ["--gate"],
    ],
)  # fmt: skip
def test_bad_options(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(f"{CASES}:lookup", *words) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_text(study: dict) -> None:
    text = render(study)
    assert "EXCEEDS" in text
    assert re.search(r"1\. pairs \(complexity_cases\.py:12\): (time|counts) n\^", text)


def test_page(study: dict) -> None:
    text = render_page(study)
    assert text == render_page(study)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert str(CASES.parent) not in text.split("<script type")[1]
    assert "pairs" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.slow
def test_page_in_a_browser(study: dict, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_page(study), encoding="utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*browser, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.count("<circle") >= 7  # a point a size
    assert "<polygon" in done.stdout
    assert re.search(r"<rect[^>]*fill=", done.stdout)
    assert "n = 64: counts" in done.stdout
