"""Records a stretch of this process, whoever's program it is."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hdrmx.io.whole import prepare_folder
from hdrmx.measure import spans
from hdrmx.measure.machine import machine, software
from hdrmx.measure.process import ProcessMeter
from hdrmx.measure.recorder import Recorder, plain
from hdrmx.measure.sampling import Sampler
from hdrmx.measure.surroundings import doubts_between, surroundings
from hdrmx.record import DataSet, Record
from hdrmx.report.profile_files import write_profile


class Recording:
    """One recording; begins when it is made, `finish` writes it. `recording` is the usual way in."""

    def __init__(self, folder: Path, pipeline: str, *, sampling: bool, params: Mapping[str, Any], data: str) -> None:
        self.folder, self.pipeline = prepare_folder(folder), pipeline
        self._params, self._data = params, data
        self._sampler: Sampler | None = None
        self._before = surroundings()
        self._origin_ns = time.perf_counter_ns()
        self.recorder = Recorder(ProcessMeter())
        self._outer = spans.use(self.recorder)
        self._record: Record | None = None
        if sampling:
            self.sample()

    def sample(self) -> None:
        """Begin to sample the call stacks of all threads."""
        self._sampler = Sampler()
        self._sampler.__enter__()

    def abandon(self) -> None:
        """Watch no more, and write nothing; does nothing once it is finished."""
        if self._record is None:
            self._stop()

    def _stop(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
        spans.use(self._outer)

    def finish(self, error: BaseException | None = None) -> Record:
        """End it and write it; `error` is what ended the program, if anything did. May be called again."""
        if self._record is not None:
            return self._record
        self._stop()
        tree, after, here = self.recorder.finish(), surroundings(), machine()
        self._record = Record(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            status="complete" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
            command=(Path(sys.argv[0]).name, *sys.argv[1:]),
            machine=replace(here, peak_memory=self.recorder.meter.peak_memory),
            software=software(),
            data=DataSet(name=self._data) if self._data else None,
            params=plain(dict(self._params)),
            before=self._before,
            after=after,
            run=tree,
            doubts=(
                *self.recorder.doubts(),
                *doubts_between(self._before, after, tree.cost, here.cores_usable),
            ),
            pipeline=self.pipeline,
        )
        self._record = write_profile(self.folder, self._record, self._sampler, self._origin_ns)
        return self._record


@contextlib.contextmanager
def recording(
    folder: str | Path,
    pipeline: str = "own",
    *,
    sampling: bool = False,
    params: Mapping[str, Any] | None = None,
    data: str = "",
) -> Iterator[Recorder]:
    """Measure what runs inside and write `record.json` into a folder, whatever becomes of it.

    Parameters
    ----------
    folder : made where it isn't there; `hdrmx-profile --attach FOLDER` reads it
    pipeline : what the program calls itself, for tables that have several side by side
    sampling : sample the call stacks of all threads as well
    params, data : settings and name of the data, kept in the record as they are

    Raises
    ------
    InputError : the folder can't be written
    """
    run = Recording(Path(folder), pipeline, sampling=sampling, params=params or {}, data=data)
    try:
        yield run.recorder
    except BaseException as error:
        run.finish(error)
        raise
    run.finish()


def record_until_exit(folder: Path) -> Recording:
    """Record this process from now to its end, into a folder of its own below `folder`."""
    name = Path(sys.argv[0]).stem or "python"
    run = Recording(folder / f"{name}-{os.getpid()}", name, sampling=False, params={}, data="")
    usual, error = sys.excepthook, None

    def note(kind: type[BaseException], value: BaseException, trace: Any) -> None:
        nonlocal error
        error = value
        usual(kind, value, trace)

    sys.excepthook = note
    atexit.register(lambda: run.finish(error))
    return run
