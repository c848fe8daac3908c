"""The demo data set: simulated once, kept in the user's cache."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hdrmx import __version__
from hdrmx.cli.options import default_jobs
from hdrmx.cli.progress import progress_bar
from hdrmx.errors import InputError
from hdrmx.io.cache import cache_folder
from hdrmx.measure.machine import digest
from hdrmx.measure.recorder import plain
from hdrmx.params import Simulate

NAME = "demo.nxs"


def demo_data(say: Callable[[str], object], settings: Simulate | None = None, cache: Path | None = None) -> Path:
    """The demo set's master file, made first where it isn't there yet.

    The folder is named by a digest of the version and all settings of the simulation: a changed demo is a new one. It
    appears by renaming, complete or not at all, whoever else makes it at the same time.

    Parameters
    ----------
    say : is told what is going on
    settings : of the simulation; the preset `demo` by default
    """
    from hdrmx.simulate.presets import PRESETS

    settings = settings or PRESETS["demo"][1]
    cache = cache or cache_folder()
    folder = cache / f"demo-{digest([__version__, plain(settings)])}"
    if (folder / NAME).is_file():
        say(f"demo data: {folder / NAME}")
        return folder / NAME
    from hdrmx.simulate.run import simulate

    say(f"no DATA given: simulating a demo data set, once, into {folder}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".demo-", dir=cache))
    except OSError as error:
        raise InputError(cache, f"can't be written ({error.strerror})", "set XDG_CACHE_HOME, or give DATA") from None
    try:
        with progress_bar("simulating frames", settings.frames) as show:
            simulate(settings, unfinished / NAME, threads=default_jobs(), progress=show)
        unfinished.chmod(0o755)
        _put(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder / NAME


def _put(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if (folder / NAME).is_file():  # somebody else was quicker
            return
        shutil.rmtree(folder, ignore_errors=True)  # a folder that lost its data
        unfinished.rename(folder)
