"""The demo set is made once, and is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdrmx.cli.demo import NAME, cache_folder, demo_data
from hdrmx.errors import InputError
from hdrmx.io.open import open_source
from hdrmx.params import Simulate

TINY = Simulate(detector="tiny", frames=3, width_deg=0.5)


def test_made_once_and_found_again(tmp_path: Path):
    said: list[str] = []
    path = demo_data(said.append, TINY, tmp_path)
    source = open_source(path)
    assert len(source.indices) == 3
    source.close()
    written = path.stat().st_mtime_ns
    assert demo_data(said.append, TINY, tmp_path) == path
    assert path.stat().st_mtime_ns == written
    assert [text.split(":")[0] for text in said] == ["no DATA given", "demo data"]
    assert [folder.name for folder in tmp_path.iterdir()] == [path.parent.name]  # nothing unfinished is left


def test_other_settings_are_another_set(tmp_path: Path):
    first = demo_data(lambda _: None, TINY, tmp_path)
    assert demo_data(lambda _: None, Simulate(detector="tiny", frames=2, width_deg=0.5), tmp_path) != first


def test_a_folder_without_its_data_is_made_anew(tmp_path: Path):
    path = demo_data(lambda _: None, TINY, tmp_path)
    path.unlink()
    assert demo_data(lambda _: None, TINY, tmp_path).is_file()


def test_an_interrupted_simulation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hdrmx.simulate.run.simulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo_data(lambda _: None, TINY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="XDG_CACHE_HOME") as failure:
        demo_data(lambda _: None, TINY, tmp_path / "file")
    assert str(tmp_path / "file") in str(failure.value)
    assert NAME not in str(failure.value)


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hdrmx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home/.cache/hdrmx"
