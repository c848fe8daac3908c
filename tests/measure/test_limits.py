"""The machine's limits: all of them found, kept by fingerprint, and a sentence where one can't be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdrmx import cli
from hdrmx.measure import limits as measured
from hdrmx.measure.machine import machine
from hdrmx.record import Limits, Machine
from hdrmx.report.machine_words import limit_lines


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Limits:
    """In a hurry: rounds of half a millisecond, little memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name, value in {"ROUND_S": 5e-4, "ROUNDS": 2, "DISK_BYTES": 8 << 20, "FAULT_BYTES": 1 << 20}.items():
            patch.setattr(measured, name, value)
        patch.setattr(measured, "MOST_DRAM_BYTES", 4 << 20)
        return measured.measure_limits(machine())


def test_everything_is_measured(found: Limits):
    assert set(found.working_set_bytes) == {"L1", "L2", "L3", "DRAM"}
    assert set(found.copy_bytes_s) == {"L1", "L2", "L3", "DRAM"}
    assert set(found.read_bytes_s) >= {"L1", "L2", "L3", "DRAM"}
    figures = [*found.read_bytes_s.values(), *found.copy_bytes_s.values(), *found.decode_px_s.values()]
    figures += [found.int_ops_s, found.float_ops_s, found.decode_layout_px_s, found.cached_read_bytes_s, found.fault_ns]
    assert all(value is not None and value > 0 for value in figures)
    assert not [doubt for doubt in found.doubts if doubt.kind == "limit_failed"]
    assert 0.3 < found.decode_bits_px["0.02 counts/px"] < 1 < found.decode_bits_px["1 counts/px"]
    text = "\n".join(limit_lines(found))
    assert "reading, DRAM" in text
    assert "page fault" in text


def test_kept_by_fingerprint(found: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = []
    monkeypatch.setattr(measured, "measure_limits", lambda here, say: times.append(1) or found)
    assert measured.cached_limits(machine().fingerprint) is None
    assert measured.limits() == measured.limits() == found
    assert measured.cached_limits(machine().fingerprint) == found
    assert len(times) == 1
    measured.limits(again=True)
    assert len(times) == 2
    path = next(tmp_path.rglob("limits-*.json"))
    path.write_text("{ damaged")
    assert measured.cached_limits(machine().fingerprint) is None


def test_a_limit_that_fails_is_a_doubt_and_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise OSError("no such thing here")

    for name in ("_memory", "_arithmetic", "_decoding", "_disk", "_faults"):
        monkeypatch.setattr(measured, name, broken)
    nothing = measured.measure_limits(Machine(fingerprint="x"))
    assert [doubt.numbers["of"] for doubt in nothing.doubts] == [
        "memory",
        "arithmetic",
        "decoding",
        "disk",
        "page faults",
    ]
    assert nothing.read_bytes_s == {}
    assert nothing.fault_ns is None
    lines = "\n".join(limit_lines(nothing))
    assert "the limit of disk could not be measured (OSError: no such thing here)" in lines


def test_working_sets_lie_within_their_caches():
    here = Machine(caches_bytes={"L1d": 48 << 10, "L2": 2 << 20, "L3": 36 << 20})
    sets = measured.working_sets(here)
    assert list(sets.values()) == sorted(sets.values())
    assert sets["L1"] < 48 << 10 <= sets["L2"] < 2 << 20 <= sets["L3"] < 36 << 20 < sets["DRAM"]
    unknown = measured.working_sets(Machine())
    assert list(unknown.values()) == sorted(unknown.values())


def test_the_command_prints_them(
    found: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measured, "measure_limits", lambda here, say: found)
    assert cli.run(cli.group, "hdrmx", ["machine"]) == 0
    assert "arithmetic, 32-bit integers" in capsys.readouterr().out
    assert cli.run(cli.group, "hdrmx", ["machine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"]["read_bytes_s"]["DRAM"] == found.read_bytes_s["DRAM"]
    assert cli.run(cli.group, "hdrmx", ["machine", "--no-limits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["limits"] is None
