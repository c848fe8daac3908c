"""Progress is seen on a terminal only, and never changes what is read."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from hdrmx.cli.progress import frame_progress, progress_bar


def a_source() -> Any:
    return SimpleNamespace(indices=range(5), frames=lambda: iter("abcde"), shape=(2, 3))


def test_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]):
    source = a_source()
    with frame_progress([source]) as (watched,):
        assert watched is source
    with progress_bar("frames", 5) as show:
        show(3, 5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_a_bar_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with frame_progress([a_source()]) as (watched,):
        assert "".join(watched.frames()) == "abcde"  # type: ignore[arg-type]
        assert "".join(watched.frames()) == "abcde"  # type: ignore[arg-type]
        assert watched.shape == (2, 3)
    said = capsys.readouterr()
    assert said.out == ""
    assert "5/5" in said.err
