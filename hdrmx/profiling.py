"""Runs the pipeline under the recorder and keeps the record, whatever becomes of the run."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hdrmx.errors import HdrmxError
from hdrmx.frames import FrameSource
from hdrmx.io.identity import identify
from hdrmx.measure.compilation import Compilation, doubts_of
from hdrmx.measure.machine import machine, software
from hdrmx.measure.process import ProcessMeter
from hdrmx.measure.recorder import Recorder, plain
from hdrmx.measure.sampling import Sampler
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.measure.surroundings import doubts_between, surroundings
from hdrmx.params import Params
from hdrmx.record import COMPILE, SETUP, DataSet, Doubt, Record, Surroundings
from hdrmx.report.profile_files import write_profile

ProgressBar = Callable[[Sequence[FrameSource]], AbstractContextManager[tuple[FrameSource, ...]]]


def no_progress(sources: Sequence[FrameSource]) -> AbstractContextManager[tuple[FrameSource, ...]]:
    """The default of `profile`."""
    return contextlib.nullcontext(tuple(sources))


@dataclass(frozen=True)
class Options:
    """How to run; what the science does stands in `Params`."""

    images: range | None = None
    threads: int = 1
    mask: str | None = None
    skip_bad_frames: bool = False
    sampling: bool = True
    until: str = "merge"  # last stage, of `pipeline.STAGES`


def profile(
    data: str | Path,
    folder: str | Path,
    params: Params,
    options: Options,
    progress: ProgressBar = no_progress,
) -> Record:
    """Process a data set, measured, and write record, samples, trace and results into a folder.

    Parameters
    ----------
    data : what `io.open.open_source` takes
    folder : made where it isn't there; files of the same names are replaced, others left alone
    progress : gives, for the time of the run, the source to read from; may tell the user how far it is

    Raises
    ------
    InputError, BadFrame, KeyboardInterrupt : as the pipeline does. Once the data set is open and the folder made,
        a record of what was measured until then is written before.
    """
    run = _Run(options)
    stopped: BaseException | None = None
    try:
        with contextlib.closing(run.open(data)) as source:
            try:
                run.process(source, Path(folder), params, progress)
            except BaseException as error:
                stopped = error
            record = run.record(source, params, stopped)
    finally:
        run.close()
    if run.folder is not None:
        record = _with_page(run.folder, record) if run.wrote else record
        record = write_profile(run.folder, record, run.sampler, run.origin_ns)
    if stopped is not None:
        if run.folder is not None:
            stopped.add_note(f"what was measured until then: hdrmx profile --show {run.folder}")
        raise stopped
    return record


class _Run:
    """One measured run; the order of the calls is that in `profile`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.before: Surroundings = surroundings()
        self.compilation = Compilation()
        self.origin_ns = time.perf_counter_ns()
        self.recorder = Recorder(ProcessMeter(compilation=self.compilation))
        self.sampler = Sampler() if options.sampling else None
        if self.sampler is not None:
            self.sampler.__enter__()
        self.folder: Path | None = None
        self.wrote = False  # results of a stage, at least

    def open(self, data: str | Path) -> FrameSource:
        with self.recorder("import", SETUP):
            self.compilation.start()
            for name in ("hdrmx.io.results", "hdrmx.kernels.warm", "hdrmx.io.nexus", "hdrmx.io.cbf"):
                importlib.import_module(name)
            from hdrmx.io.open import open_source
            from hdrmx.pipeline import STAGES

            for stage in STAGES[: STAGES.index(self.options.until) + 1]:
                importlib.import_module(f"hdrmx.stages.{stage}")
        with self.recorder("open"):
            return open_source(data, self.options.images)

    def process(self, source: FrameSource, folder: Path, params: Params, progress: ProgressBar) -> None:
        from hdrmx.io.open import read_mask
        from hdrmx.io.results import ResultWriter
        from hdrmx.io.whole import prepare_folder
        from hdrmx.kernels.warm import warm_up
        from hdrmx.pipeline import STAGES, Results, process

        options = self.options
        mask = read_mask(options.mask, source.shape) if options.mask else None
        self.folder = prepare_folder(folder)
        write = ResultWriter(folder, source, params)

        def keep(stage: str, results: Results) -> None:
            with self.recorder("write"):
                write(stage, results)

        with self.recorder(COMPILE, SETUP):
            warm_up(source.dtype, keep_pixels=params.find_spots.keep_pixels)
            if STAGES.index(options.until) >= STAGES.index("integrate"):
                from hdrmx.integration.warm import warm_up as warm_up_integration

                warm_up_integration(source.dtype)
        with terminate_as_interrupt(), progress([source]) as watched:
            try:
                process(
                    watched,
                    params,
                    self.recorder,
                    threads=options.threads,
                    skip_bad_frames=options.skip_bad_frames,
                    mask=mask,
                    until=options.until,
                    keep=keep,
                )
            except BaseException as error:
                write.stopped(error)
                raise
            finally:
                self.wrote = bool(write.files)

    def record(self, source: FrameSource, params: Params, stopped: BaseException | None) -> Record:
        tree = self.recorder.finish()
        if self.sampler is not None:
            self.sampler.stop()
        after, here = surroundings(), machine()
        doubts: list[Doubt] = [
            *self.recorder.doubts(),
            *doubts_of(tree),
            *doubts_between(self.before, after, tree.cost, here.cores_usable),
        ]
        status = "complete"
        if stopped is not None:
            status = "interrupted" if isinstance(stopped, KeyboardInterrupt) else "failed"
        return Record(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            status=status,
            command=(Path(sys.argv[0]).name, *sys.argv[1:]),
            threads=self.options.threads,
            machine=replace(here, peak_memory=self.recorder.meter.peak_memory),
            software=software(),
            data=_identity(source),
            params=plain(params),
            before=self.before,
            after=after,
            run=tree,
            doubts=tuple(doubts),
        )

    def close(self) -> None:
        self.recorder.finish()
        if self.sampler is not None:
            self.sampler.stop()
        self.compilation.stop()


def _identity(source: FrameSource) -> DataSet:
    """A source that has just failed may fail here again; then its name must do."""
    try:
        return identify(source)
    except (HdrmxError, OSError):
        return DataSet(name=source.name)


def _with_page(folder: Path, record: Record) -> Record:
    """Draw the page of the results, after all measuring; if that fails, the record says so."""
    from hdrmx.report.process_page import FILE_NAME, try_process_page

    failure = try_process_page(folder)
    if failure:
        return replace(record, doubts=(*record.doubts, Doubt(kind="page_failed", numbers={"reason": failure})))
    return replace(record, files={**record.files, "page": FILE_NAME})
