"""Whether timings are worth keeping, from made-up systems; and a command run pinned."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from hdrmx import cli
from hdrmx.measure.conditions import BAD, GOOD, UNKNOWN, conditions, is_valid, run_pinned
from hdrmx.record import Machine, Software

QUIET = Machine(cores_usable=4, cores_logical=4, governor="performance", turbo=False, smt=False, virtual=False)
SET = Software(commit="0123456789abcdef", modified=False, environment={"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"})


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    files = {
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
        "proc/meminfo": "SwapTotal: 100 kB\nSwapFree: 100 kB\n",
        "proc/stat": "cpu  1 2 3 4 5 6 7 0 0 0\n",
        "proc/pressure/cpu": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def states(machine: Machine, software: Software, root: Path) -> dict[str, str]:
    return {c.name: c.state for c in conditions(machine, software, root, watched_s=0.01)}


def test_a_machine_made_for_it_is_valid(system: Path) -> None:
    found = conditions(QUIET, SET, system, watched_s=0.01)
    assert is_valid(found)
    assert {c.state for c in found if c.name not in ("pressure, io full", "pressure, memory full")} == {GOOD}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"governor": "powersave"}, "governor"),
        ({"turbo": True}, "turbo"),
        ({"smt": True}, "SMT"),
        ({"virtual": True}, "hardware"),
        ({"cpu_quota": 1.5}, "affinity"),
    ],
)
def test_what_spoils_it_is_named(system: Path, change: dict, name: str) -> None:
    from dataclasses import replace

    found = conditions(replace(QUIET, **change), SET, system, watched_s=0.01)
    (bad,) = (c for c in found if c.state == BAD)
    assert bad.name == name
    assert bad.remedy
    assert not is_valid(found)


def test_surroundings_and_settings(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (7.0, 7.0, 7.0))
    (system / "proc/meminfo").write_text("SwapTotal: 100 kB\nSwapFree: 0 kB\n")
    found = states(QUIET, Software(commit="abc", modified=True), system)
    assert {name for name, state in found.items() if state == BAD} == {"load", "swap", "settings", "version"}


def test_a_system_that_tells_nothing_degrades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (_ for _ in ()).throw(OSError()))
    found = states(Machine(), Software(environment=SET.environment), tmp_path)
    assert set(found.values()) == {UNKNOWN, GOOD}
    assert found["load"] == found["clock"] == found["affinity"] == UNKNOWN


def test_a_pinned_command(tmp_path: Path) -> None:
    code = f"import os; open({str(tmp_path / 'said')!r}, 'w').write(repr((os.environ['PYTHONHASHSEED'], "
    code += "len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1))); raise SystemExit(5)"
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    assert run_pinned([sys.executable, "-c", code]) == 5
    assert (tmp_path / "said").read_text() == "('0', 1)"
    assert before is None or os.sched_getaffinity(0) == before


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdrmx.measure.conditions.WATCHED_S", 0.01)
    assert cli.run(cli.group, "hdrmx", ["machine", "--check", "--json"]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] == all(c["state"] != "bad" for c in told["conditions"])
    assert cli.run(cli.group, "hdrmx", ["machine", "--pin", "--", sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert cli.run(cli.group, "hdrmx", ["machine", "--pin"]) == 3
    assert cli.run(cli.group, "hdrmx", ["machine", "--pin", "--", "no-such-program"]) == 3
    assert cli.run(cli.group, "hdrmx", ["machine", "--pin", "--on", "9999", "--", "true"]) == 3
    assert cli.run(cli.group, "hdrmx", ["machine", "stray"]) == 3
