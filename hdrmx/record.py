"""What is kept of a run: the record, and the sums that can be taken from it.

A record is one JSON document (`io.records` reads and writes it; `docs/record.md` describes every field).
Reports are drawn from records alone. What was not measured is None, never 0. Times are integers of
nanoseconds, sizes of bytes, so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

SCHEMA = "hdrmx-record/1"
STAGE, SETUP = "stage", "setup"  # kinds of span: the pipeline's own work; what comes before it
PART = "part"  # kind of span: the sum over work that came by many times, of which only wall time is known
COMPILE = "compile kernels"  # the set-up span in which kernels are compiled or loaded


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a span took, of the whole process unless stated: readings at its end less those at its start."""

    wall_ns: int = 0
    user_ns: int | None = None
    system_ns: int | None = None
    thread_ns: int | None = None  # processor time of the span's own thread
    children_ns: int | None = None  # processor time of child processes, to 10 ms while they run
    compile_ns: int | None = None  # wall time in the kernel compiler, or loading from its cache
    compile_cpu_ns: int | None = None  # processor time of the threads that did so
    kernels_compiled: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None
    switches_voluntary: int | None = None
    switches_involuntary: int | None = None
    read_bytes: int | None = None  # asked of read calls, cached or not; mapped files are not seen
    write_bytes: int | None = None
    read_calls: int | None = None
    write_calls: int | None = None
    disk_read_bytes: int | None = None  # that reached the block layer
    disk_write_bytes: int | None = None

    @property
    def cpu_ns(self) -> int | None:
        """User and system time, with that of ended child processes."""
        if self.user_ns is None or self.system_ns is None:
            return None
        return self.user_ns + self.system_ns + (self.children_ns or 0)


@dataclass(frozen=True, kw_only=True)
class Span:
    """One bracket of a run, with those inside it in the order in which they began."""

    name: str
    kind: str = STAGE
    thread: int = 0  # 0: the thread that made the recorder; others in order of appearance
    start_ns: int = 0  # since the run began
    finished: bool = True  # False: cut off, the readings are those of the moment
    error: str | None = None  # what ended it early, as `Type: message`
    cost: Cost = field(default_factory=Cost)
    rss_start_bytes: int | None = None
    rss_end_bytes: int | None = None
    peak_bytes: int | None = None  # highest resident memory within the span; see Machine.peak_memory
    counts: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    sampled: dict[str, int] = field(default_factory=dict)  # time by what its threads were at; see docs/record.md
    children: tuple[Span, ...] = ()

    @property
    def exclusive_ns(self) -> int:
        """Wall time outside the spans within it; over the spans of one thread these add up to the whole."""
        return self.cost.wall_ns - sum(c.cost.wall_ns for c in self.children if c.thread == self.thread)

    def walk(self) -> Iterator[Span]:
        """This span and all within it, as they began."""
        yield self
        for child in self.children:
            yield from child.walk()

    def count(self, name: str) -> int | None:
        """A counter of this span: its own where it has one, else the sum of those within it."""
        if name in self.counts:
            return self.counts[name]
        within = [n for n in (c.count(name) for c in self.children) if n is not None]
        return sum(within) if within else None


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Something that weakens a measurement: its kind and numbers. The wording is in `report.words`."""

    kind: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What else went on in the machine, at one moment. All but the load are totals since the machine started."""

    load_1min: float | None = None
    pressure_us: dict[str, int] = field(default_factory=dict)  # e.g. "cpu some", of /proc/pressure
    steal_ns: int | None = None  # taken by the hypervisor, over all processors
    throttled_us: int | None = None  # held back by the control group's quota


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine as far as it decides whether two timings can be compared."""

    fingerprint: str = ""  # over all fields below but those in measure.machine.NOT_COMPARED
    hostname: str | None = None
    system: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    cpu: str | None = None
    cpu_flags: tuple[str, ...] = ()  # the vector extensions that kernels may use
    cpu_target: str | None = None  # what the kernel compiler compiles for
    cores_physical: int | None = None
    cores_logical: int | None = None
    cores_usable: int | None = None  # by affinity
    cpu_quota: float | None = None  # processors, by control group
    caches_bytes: dict[str, int] = field(default_factory=dict)
    numa_nodes: int | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None  # by control group
    virtual: bool | None = None
    governor: str | None = None
    turbo: bool | None = None
    smt: bool | None = None
    huge_pages: str | None = None  # transparent huge pages: always, madvise, never
    peak_memory: str | None = None  # "within span" or "since start": what peak_bytes can mean here


@dataclass(frozen=True, kw_only=True)
class Software:
    """Versions and settings that decide whether two timings can be compared."""

    fingerprint: str = ""
    hdrmx: str = ""
    commit: str | None = None  # of the checkout, where it is one
    modified: bool | None = None  # the checkout has changes that are not committed
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    blas: tuple[str, ...] = ()  # library, version and threads of each that is loaded
    environment: dict[str, str] = field(default_factory=dict)  # variables that change speed, where set


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Which data; two runs with the same identity read the same frames."""

    name: str = ""
    identity: str = ""  # digest of shape, type, frames, angles and the first payloads
    file_bytes: int | None = None  # of the file named; None for templates and folders
    n_frames: int | None = None
    first_frame: int | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None


@dataclass(frozen=True, kw_only=True)
class ThreadLine:
    """One thread, or several of one name, over the steps of a timeline."""

    name: str
    busy_ns: tuple[int, ...] = ()  # time on a processor in each step


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Memory and processor time over the run, in steps."""

    edges_ns: tuple[int, ...] = ()  # of the steps, since the run began; one more than there are steps
    rss_bytes: tuple[int | None, ...] = ()  # highest seen in each step
    cpu_ns: tuple[int, ...] = ()  # of all threads in each step
    threads: tuple[ThreadLine, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the call stack was sampled."""

    interval_ns: int = 0  # between two looks, at the end of the run
    samples: int = 0
    watcher_cpu_ns: int | None = None  # what the sampling thread took itself


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a machine can do at best, measured by `hdrmx machine`; one core unless stated."""

    machine: str = ""  # fingerprint
    measured: str = ""  # ISO 8601, UTC
    seconds: float | None = None  # that the measuring took
    cores: int | None = None  # usable
    working_set_bytes: dict[str, int] = field(default_factory=dict)  # "L1", "L2", "L3", "DRAM"
    read_bytes_s: dict[str, float] = field(default_factory=dict)  # by working set, and "DRAM, all cores"
    copy_bytes_s: dict[str, float] = field(default_factory=dict)  # bytes counted once
    int_ops_s: float | None = None  # multiplications and additions of 32-bit integers
    float_ops_s: float | None = None  # of 64-bit floats
    decode_px_s: dict[str, float] = field(default_factory=dict)  # bitshuffle-LZ4, uint16, e.g. "frame, 1 counts/px"
    decode_bits_px: dict[str, float] = field(default_factory=dict)  # of those frames, e.g. "1 counts/px"
    decode_layout_px_s: float | None = None  # of a frame with next to no LZ4 sequences: the rest of the work
    disk_read_bytes_s: float | None = None
    cached_read_bytes_s: float | None = None
    fault_ns: float | None = None  # of a page written to for the first time
    spread: dict[str, float] = field(default_factory=dict)  # 1 - median / best of the rounds
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Exact costs by stage, from runs of their own; see docs/exact_costs.md. What was not counted is left out."""

    settings: dict[str, str] = field(default_factory=dict)  # hash seed, threads, processor dispatch, images, tools
    frames: int | None = None  # that these runs read
    calls: dict[str, int] = field(default_factory=dict)  # of Python functions
    functions: dict[str, dict[str, int]] = field(default_factory=dict)  # calls by function, the most called ones
    instructions: dict[str, int] = field(default_factory=dict)
    objects: dict[str, dict[str, int]] = field(default_factory=dict)  # instructions by shared library
    allocated_bytes: dict[str, int] = field(default_factory=dict)  # asked of malloc in all, freed again or not
    allocations: dict[str, int] = field(default_factory=dict)  # how often
    allocated_peak_bytes: dict[str, int] = field(default_factory=dict)  # held at once, above that at the beginning
    kept_bytes: dict[str, int] = field(default_factory=dict)  # held at the end, above that at the beginning
    seconds: dict[str, float] = field(default_factory=dict)  # that each kind of run took


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run: what ran, on what, where; what it cost; what came out."""

    schema: str = SCHEMA
    created: str = ""  # ISO 8601, UTC
    status: str = "complete"  # or "failed", "interrupted"
    command: tuple[str, ...] = ()
    threads: int | None = None
    machine: Machine = field(default_factory=Machine)
    software: Software = field(default_factory=Software)
    data: DataSet | None = None
    params: dict[str, Any] = field(default_factory=dict)
    before: Surroundings = field(default_factory=Surroundings)
    after: Surroundings = field(default_factory=Surroundings)
    run: Span = field(default_factory=lambda: Span(name="run"))
    timeline: Timeline | None = None
    sampling: Sampling | None = None
    limits: Limits | None = None  # of the machine, where they were known
    counted: Counted | None = None  # exact costs, where they were asked for
    doubts: tuple[Doubt, ...] = ()
    files: dict[str, str] = field(default_factory=dict)  # what lies beside the record, by kind
    pipeline: str = "hdrmx"  # or "dials", "xds", "fast_dp", "command", "function", or what the caller named it
    series: dict[str, tuple[int | None, ...]] = field(default_factory=dict)  # measured now and then, at `at_ns`


def stages(run: Span) -> list[Span]:
    """The pipeline's own stages, in order, those of one name joined."""
    return [span for span, _ in joined(run.children, run.thread) if span.kind != SETUP]


def net_ns(span: Span) -> int:
    """Wall time less what went into compiling kernels, which is never counted in a stage."""
    if span.name == COMPILE:
        return span.cost.wall_ns
    return max(span.cost.wall_ns - (span.cost.compile_ns or 0), 0)


def net_cpu_ns(span: Span) -> int | None:
    """Processor time less what went into compiling kernels."""
    cpu = span.cost.cpu_ns
    if cpu is None or span.name == COMPILE:
        return cpu
    return max(cpu - (span.cost.compile_cpu_ns or 0), 0)


def pipeline_ns(run: Span) -> int:
    """Of all stages together: without imports and compilation."""
    return sum(net_ns(span) for span in stages(run))


def compilation_ns(run: Span) -> int:
    """The span that warms kernels up, and compilation wherever else it happened."""
    spans = joined(run.children, run.thread)
    return sum(s.cost.wall_ns if s.name == COMPILE else (s.cost.compile_ns or 0) for s, _ in spans)


def compilation_cpu_ns(run: Span) -> int | None:
    """Processor time of the same."""
    parts = [s.cost.cpu_ns if s.name == COMPILE else (s.cost.compile_cpu_ns or 0) for s in run.children]
    return None if None in parts else sum(n for n in parts if n is not None)


def joined(spans: tuple[Span, ...], thread: int) -> list[tuple[Span, int]]:
    """Spans of one name, kind and thread-ness joined into one, with how many they were.

    Costs and counters are added, the highest peak is kept; order of first appearance.
    """
    groups: dict[tuple[str, str, bool], list[Span]] = {}
    for span in spans:
        groups.setdefault((span.name, span.kind, span.thread == thread), []).append(span)
    return [(_join(group), len(group)) for group in groups.values()]


def _join(group: list[Span]) -> Span:
    first, last = group[0], group[-1]
    if len(group) == 1:
        return first
    counts: dict[str, int] = {}
    for span in group:
        for name, n in span.counts.items():
            counts[name] = counts.get(name, 0) + n
    peaks = [s.peak_bytes for s in group if s.peak_bytes is not None]
    return Span(
        name=first.name,
        kind=first.kind,
        thread=first.thread,
        start_ns=first.start_ns,
        finished=all(s.finished for s in group),
        error=next((s.error for s in group if s.error), None),
        cost=total([s.cost for s in group]),
        rss_start_bytes=first.rss_start_bytes,
        rss_end_bytes=last.rss_end_bytes,
        peak_bytes=max(peaks, default=None),
        counts=counts,
        answers={name: value for s in group for name, value in s.answers.items()},
        sampled={name: sum(s.sampled.get(name, 0) for s in group) for s in group for name in s.sampled},
        children=tuple(c for s in group for c in s.children),
    )


def total(costs: list[Cost]) -> Cost:
    """The sum, field by field; None where any is missing."""
    sums: dict[str, int | None] = {}
    for f in fields(Cost):
        values = [getattr(c, f.name) for c in costs]
        sums[f.name] = None if None in values else sum(values)
    return Cost(**{name: value for name, value in sums.items() if value is not None})
