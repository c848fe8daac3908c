"""The command line: help, settings, and errors as one line with the right exit code."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from hdrmx import cli
from hdrmx.cli.options import parse_images, settings_from
from hdrmx.cli.params import markdown
from hdrmx.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def run(*argv: str) -> int:
    return cli.run(cli.group, "hdrmx", list(argv))


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert f"Example: hdrmx {name}" in capsys.readouterr().out.replace("hdrmx-profile", "hdrmx profile")


def test_group_help_lists_every_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_settings_table_of_the_documentation_is_up_to_date() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert markdown() in page, "run: hdrmx params --markdown, and put the table into docs/parameters.md"


def test_params_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("params", "--json") == 0
    rows = {row["setting"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["find_spots.sigma_strong"]["default"] == 3.0


def test_short_options_and_set_reach_the_settings() -> None:
    params = settings_from(("find_spots.threshold=dispersion", "find_spots.ice_rings=yes"), d_min=1.5)
    assert (params.find_spots.threshold, params.find_spots.ice_rings) == ("dispersion", True)
    assert params.find_spots.d_min == 1.5


@pytest.mark.parametrize(
    "text",
    [
        "find_spots.kernel_px=0",
        "find_spots.kernel_px=three",
        "find_spots.sigma_strong=nan",
        "find_spots.threshold=otsu",
        "find_spots.ice_rings=perhaps",
        "nothing.at_all=1",
        "find_spots.nothing=1",
        "find_spots",
    ],
)
def test_a_bad_setting_is_named_with_its_remedy(text: str) -> None:
    with pytest.raises(InputError) as caught:
        settings_from((text,))
    assert caught.value.remedy
    assert text.split("=")[0].split(".")[-1] in str(caught.value)


def test_images_are_numbered_from_one_and_inclusive() -> None:
    assert parse_images("1-900") == range(900)
    assert parse_images("5") == range(4, 5)
    assert parse_images(None) is None


@pytest.mark.parametrize("text", ["0-5", "7-3", "a-b", "", "-5"])
def test_bad_image_ranges(text: str) -> None:
    with pytest.raises(InputError):
        parse_images(text)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("process", "there-is-no-such.nxs"), "there-is-no-such.nxs: no such file"),
        (("process", "there-is-no-such.nxs", "--set", "find_spots.kernel_px=0"), "must be at least 1"),
        (("process",), "DATA"),
        (("nonsense",), "nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_3(
    argv: tuple[str, ...], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv) == 3
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert says in err
    assert "Traceback" not in err


def test_an_interrupt_and_a_system_error_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @click.argument("kind")
    def raising(kind: str) -> None:
        raise {"stop": KeyboardInterrupt(), "full": OSError(28, "No space left on device", "out/strong.refl")}[kind]

    assert cli.run(raising, "hdrmx", ["stop"]) == 130
    assert cli.run(raising, "hdrmx", ["full"]) == 3
    lines = capfd.readouterr().err.strip().split("\n")
    assert len(lines) == 2
    assert "out/strong.refl: No space left on device" in lines[1]
