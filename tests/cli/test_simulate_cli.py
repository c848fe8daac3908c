"""`hdrmx simulate`: presets, options, errors in one line."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from hdrmx.cli import run
from hdrmx.cli.simulate import command, settings_of
from hdrmx.errors import InputError
from hdrmx.params import Simulate
from hdrmx.simulate import PRESETS

TINY = ["--detector", "tiny", "--frames", "3", "--d-min", "4"]


def test_writes_a_data_set_and_its_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.nxs"
    assert run(command, "hdrmx simulate", [str(out), *TINY, "--json", "-j", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_frames"] == 3
    assert {p.name for p in tmp_path.iterdir()} == {"x.nxs", "x_data_000001.h5", "x_truth.h5", "x_model.json"}
    assert json.loads(Path(told["model"]).read_text())["settings"]["d_min"] == 4.0
    assert run(command, "hdrmx simulate", [str(out), *TINY]) == 3
    assert re.fullmatch(r"hdrmx simulate: .*x\.nxs: exists; .*--overwrite\n", capsys.readouterr().err)
    assert run(command, "hdrmx simulate", [str(out), *TINY, "--overwrite"]) == 0
    assert "3 frames" in capsys.readouterr().out


def test_every_setting_is_an_option() -> None:
    options = {p.name for p in command.params}
    assert {f.name for f in fields(Simulate)} <= options
    text = CliRunner().invoke(command, ["--help"]).output
    for name in PRESETS:
        assert name in text
    assert "--no-parallax" in text
    assert "Example: hdrmx simulate" in text


def test_options_change_a_preset_and_leave_the_rest() -> None:
    changed = settings_of("dense", {"frames": 100, "detector": "16M", "background": 0.02, "slip_frame": 7})
    assert (changed.frames, changed.detector, changed.background, changed.slip_frame) == (100, "16M", 0.02, 7)
    assert changed.distance_mm == PRESETS["dense"][1].distance_mm
    with pytest.raises(InputError, match="does not go with a grid"):
        settings_of("grid", {"frames": 10})
    assert settings_of("grid", {"frames": 10, "grid_rows": 0, "grid_columns": 0}).frames == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frames", "0"], "it must be at least 1"),
        (["--frames", "many"], "not a valid integer"),
        (["--detector", "3M"], "is not one of"),
        (["--cell", "1,2,3"], "not 6 numbers"),
        (["--background", "-1"], "it must be at least 0"),
        (["--preset", "nothing"], "is not one of"),
    ],
)
def test_bad_values_end_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(command, "hdrmx simulate", [str(tmp_path / "x.nxs"), *arguments]) == 3
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
