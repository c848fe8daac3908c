"""Everything that a measured run leaves in its folder: the record, samples, the trace and the page."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from hdrmx.errors import HdrmxError
from hdrmx.io.records import FILE_NAME, write_record
from hdrmx.io.whole import write_whole
from hdrmx.measure.sample_files import write_samples
from hdrmx.measure.sampling import Sampler
from hdrmx.record import Doubt, Record, Sampling
from hdrmx.report.profile_page import PAGE_NAME, with_limits, write_profile_page
from hdrmx.report.trace import trace

TRACE_NAME = "trace.json"


def write_profile(folder: Path, record: Record, sampler: Sampler | None = None, origin_ns: int = 0) -> Record:
    """Write what belongs to a record into a folder that is there, the record last; returns it as written.

    What else fails must not cost the record: a doubt says what is missing and why.

    Parameters
    ----------
    sampler : stopped; None where the stack was not sampled
    origin_ns : perf_counter_ns at the beginning of `record.run`
    """
    record = with_limits(record)
    if sampler is not None:
        with _doubt("sampling_failed") as failed:
            record = _with_samples(folder, record, sampler, origin_ns)
        record = replace(record, doubts=(*record.doubts, *failed))
    _save(folder / TRACE_NAME, trace(record))
    record = replace(record, files={**record.files, "trace": TRACE_NAME, "report": PAGE_NAME})
    write_record(folder / FILE_NAME, record)
    with _doubt("report_failed") as failed:
        write_profile_page(folder)
    if failed:
        files = {kind: name for kind, name in record.files.items() if kind != "report"}
        record = replace(record, doubts=(*record.doubts, *failed), files=files)
        write_record(folder / FILE_NAME, record)
    return record


def _with_samples(folder: Path, record: Record, sampler: Sampler, origin_ns: int) -> Record:
    pieces = list(sampler.pieces(record.run, origin_ns))
    files = write_samples(folder, pieces, _save, record.data.name if record.data else "hdrmx")
    return replace(
        record,
        run=sampler.summed(record.run, origin_ns),
        timeline=sampler.timeline(origin_ns),
        sampling=Sampling(
            interval_ns=sampler.interval_ns(), samples=sampler.n_samples, watcher_cpu_ns=sampler.overhead_ns()
        ),
        doubts=(*record.doubts, *sampler.doubts()),
        files={**record.files, **files},
    )


@contextlib.contextmanager
def _doubt(kind: str):  # type: ignore[no-untyped-def]
    """Gives a list that is empty if all went well."""
    doubts: list[Doubt] = []
    try:
        yield doubts
    except HdrmxError:
        raise
    except Exception as error:
        doubts.append(Doubt(kind=kind, numbers={"reason": f"{type(error).__name__}: {error}"}))


def _save(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_whole(path, write)
