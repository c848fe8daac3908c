"""The record of a run that others made: times and counts as the programs' own logs tell them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hdrmx import __version__
from hdrmx.adapters.xds_logs import JobLog, frames, shape, template, version
from hdrmx.record import Cost, DataSet, Doubt, Record, Software, Span, total


def xds_spans(jobs: list[JobLog], start_ns: int = 0) -> tuple[Span, ...]:
    """One a job, as if they had followed each other; a job whose log ends early has an error and no time."""
    spans = []
    for log in jobs:
        wall, cpu = log.wall_s, log.cpu_s
        counts, answers = log.facts
        error = log.error or (None if wall is not None else "its log ends before the time that it took")
        cost = Cost(
            wall_ns=round((wall or 0) * 1e9),
            user_ns=None if cpu is None else round(cpu * 1e9),
            system_ns=None if cpu is None else 0,
            children_ns=None if cpu is None else 0,
        )
        spans.append(
            Span(
                name=log.job.lower(),
                start_ns=start_ns,
                finished=wall is not None,
                error=error,
                cost=cost,
                counts=counts,
                answers=answers,
            )
        )
        start_ns += cost.wall_ns
    return tuple(spans)


def xds_data(jobs: list[JobLog]) -> DataSet | None:
    """What the logs say of the frames; the identity of data that we don't see isn't known."""
    texts = "\n".join(log.text[:20_000] for log in jobs)
    name = template(texts)
    if name is None:
        return None
    images = frames(texts)
    return DataSet(
        name=Path(name).name,
        n_frames=None if images is None else images[1] - images[0] + 1,
        first_frame=None if images is None else images[0] - 1,
        shape=shape(texts),
    )


def record_from(
    pipeline: str, folder: Path, jobs: list[JobLog], spans: tuple[Span, ...], wall_ns: int | None = None
) -> Record:
    """Of logs alone. The machine isn't known, so that its timings are never compared as if they were ours."""
    cost = total([s.cost for s in spans])
    whole = max(wall_ns or 0, sum(s.cost.wall_ns for s in spans))
    release = next((found for log in jobs if (found := version(log.text))), None)
    return Record(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="failed" if any(s.error for s in spans) else "complete",
        threads=max((n for log in jobs if (n := log.processors) is not None), default=None),
        software=Software(hdrmx=__version__, packages={"xds": release} if release else {}),
        data=xds_data(jobs),
        params={"read_from": folder.name},
        run=Span(name="run", cost=replace(cost, wall_ns=whole), children=spans),
        doubts=(Doubt(kind="times_from_log", numbers={"program": pipeline}),),
        pipeline=pipeline,
    )
