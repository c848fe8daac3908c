"""What a record says, in words: doubts about the measurement, and findings, the worst first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hdrmx.analysis.roof import roofs
from hdrmx.record import Doubt, Record, Span, net_ns, pipeline_ns, stages

# kind of doubt: (what it means, with its numbers; what to try)
DOUBTS: dict[str, tuple[str, str]] = {
    "no_io_counters": ("bytes read and written were not counted", "run on Linux, where /proc/self/io tells them"),
    "no_resource_usage": ("processor time and page faults were not counted", "run on Linux or macOS"),
    "no_pressure": (
        "whether neighbours disturbed the run is not known",
        "use a kernel with /proc/pressure (PSI), or compare two runs",
    ),
    "peak_since_start": (
        "peaks of memory are lower bounds but for the stage that set the highest",
        "run on Linux where /proc/self/clear_refs can be written",
    ),
    "under_pressure": (
        "tasks waited for {of} during {share:.0%} of the run",
        "stop what else runs here, then measure again",
    ),
    "stolen_time": (
        "the hypervisor gave {share:.1%} of the processors' time to others",
        "measure on a machine of your own",
    ),
    "throttled": ("the control group's quota held the run back for {share:.0%} of its time", "raise the quota"),
    "sampling_failed": ("the call stack was not sampled ({reason})", "run with --no-sampling to be rid of this line"),
    "left_behind": (
        "{n} processes went on when the command had ended ({names}); they are counted until then",
        "have the command wait for them",
    ),
    "orphans_not_counted": (
        "processes whose parent had ended were counted only as far as they were seen",
        "run on Linux",
    ),
    "times_from_log": (
        "times are those that the logs of {program} tell, processor time in one piece",
        "let hdrmx-profile run it, where it is installed",
    ),
    "inside_not_sampled": ("the Python inside {program} was not sampled ({reason})", "see docs/measure_programs.md"),
    "limits_unknown": (
        "what this machine could do at best is not known",
        "run `hdrmx machine` once, then `hdrmx report`",
    ),
    "limits_unsteady": (
        "limits differed between rounds by up to {spread:.0%} ({of})",
        "stop what else runs here, then `hdrmx machine --again`",
    ),
    "limit_failed": ("the limit of {of} could not be measured ({reason})", "see `hdrmx machine --again`"),
    "not_counted": ("{what} were not counted ({reason})", "see docs/exact_costs.md"),
    "no_instruction_counts": (
        "instructions were not counted: this machine has neither counters nor valgrind",
        "install valgrind",
    ),
    "report_failed": ("report.html is missing ({reason})", "run `hdrmx report` on the folder"),
    "no_thread_times": (
        "how long threads ran is told by the look of their stacks alone",
        "run on Linux, where /proc/self/task/*/schedstat tells it",
    ),
    "page_failed": ("the page of the results is missing ({reason})", "run `hdrmx report` on the folder"),
    "compiled_in_stage": (
        "{stage} waited {seconds:.2f} s for the kernel compiler ({compiled} compiled, taken off its time)",
        "have `kernels.warm` prepare them",
    ),
}
LARGE = 0.15  # share of the pipeline's time from which it is told what binds a stage
NEGLIGIBLE = 0.02  # a finding that is worth less than this share of the pipeline's time isn't told
INVALIDATING = ("under_pressure", "stolen_time", "throttled")


def doubt_text(doubt: Doubt) -> str:
    """One sentence that ends with what to try; a kind from a later version is shown as it is."""
    if doubt.kind not in DOUBTS:
        return " ".join([doubt.kind, *(f"{name}={value}" for name, value in doubt.numbers.items())])
    meaning, remedy = DOUBTS[doubt.kind]
    try:
        meaning = meaning.format(**doubt.numbers)
    except (KeyError, ValueError, TypeError):
        meaning = f"{meaning} {doubt.numbers}"
    return f"{meaning}: {remedy}"


@dataclass(frozen=True)
class Finding:
    """One sentence, and the seconds of wall time at stake by which findings are ordered (inf: before all)."""

    text: str
    seconds: float


def findings(record: Record) -> list[Finding]:
    """All that is worth saying of a run, the worst first; at least where the time went."""
    found = [*_stopped(record), *_doubted(record), *_waiting(record)]
    for stage in stages(record.run):
        found += [*_repeated_decoding(stage), *_system_time(stage)]
    found = [f for f in found if f.seconds > NEGLIGIBLE * pipeline_ns(record.run) / 1e9]
    found.sort(key=lambda f: -f.seconds)
    return found + _largest(record) + _bound(record)


def _stopped(record: Record) -> Iterator[Finding]:
    if record.status == "complete":
        return
    at = [s for s in record.run.walk() if s is not record.run and (s.error or not s.finished)]
    where = f" in {at[-1].name}" if at else ""
    after = f" after {record.run.cost.wall_ns / 1e9:.2f} s"
    error = next((s.error for s in reversed(at) if s.error), None)
    what = "was interrupted" if record.status == "interrupted" else "failed"
    tail = f": {error}" if error and record.status != "interrupted" else ""
    yield Finding(f"The run {what}{where}{after}{tail}. What was measured until then is below.", float("inf"))


def _doubted(record: Record) -> Iterator[Finding]:
    for doubt in record.doubts:
        if doubt.kind in INVALIDATING:
            yield Finding(f"Timings are open to doubt: {doubt_text(doubt)}.", 1e9)


def _repeated_decoding(stage: Span) -> Iterator[Finding]:
    frames, decodes = stage.count("frames"), stage.count("decodes")
    if frames and decodes and decodes > 1.01 * frames:
        each = decodes / frames
        lost = net_ns(stage) / 1e9 * (1 - 1 / each)
        yield Finding(f"{stage.name} decodes each frame {each:.2f} times; once would do.", lost)


def _waiting(record: Record) -> Iterator[Finding]:
    """Stages whose threads stood still, and what ran on one thread of several; neighbours' doing is left out."""
    seen, threads = roofs(record), record.threads or 1
    for roof in seen:
        untold = roof.sentence and not roof.bound  # neighbours blur it
        if roof.wall_s >= 0.05 and not untold and roof.idle is not None and roof.idle > 0.25 and roof.cpu_s is not None:
            span = next(s for s in stages(record.run) if s.name == roof.stage)
            disk = span.cost.disk_read_bytes or 0
            why = f"; {disk / 1e6:.0f} MB came from disk" if disk > 1e6 else ""
            keeps = f"{roof.threads} threads keep" if roof.threads > 1 else "one thread keeps"
            busy = roof.cpu_s / max(roof.own_s, 1e-9)
            yield Finding(f"{roof.stage} waits: {keeps} {busy:.2f} processors busy{why}.", roof.idle * roof.own_s)
    alone = sorted((roof for roof in seen if roof.threads < threads), key=lambda roof: -roof.own_s)
    seconds = sum(roof.own_s for roof in alone)
    if alone and threads > 1:
        names = ", ".join(roof.stage for roof in alone[:3])
        text = f"{seconds:.2f} s run on one thread of {threads}, most of it in {names}."
        yield Finding(text, seconds * (1 - 1 / threads))


def _system_time(stage: Span) -> Iterator[Finding]:
    system, cpu, faults = stage.cost.system_ns, stage.cost.cpu_ns, stage.cost.minor_faults
    if system is None or not cpu or stage.cost.wall_ns < 50_000_000 or system < 0.25 * cpu:
        return
    why = f", with {faults:,} page faults" if faults else ""
    yield Finding(f"{stage.name} spends {system / cpu:.0%} of its processor time in the kernel{why}.", system / 1e9)


def _largest(record: Record) -> list[Finding]:
    ordered = sorted(stages(record.run), key=net_ns, reverse=True)
    whole = pipeline_ns(record.run)
    if not ordered or whole <= 0:
        return []
    top = ordered[0]
    seconds, share = net_ns(top) / 1e9, net_ns(top) / whole
    frames, pixels = top.count("frames"), top.count("pixels")
    rate = ""
    if frames and seconds > 0:
        rate = f", {frames / seconds:.3g} frames/s"
        if pixels:
            rate += f" or {net_ns(top) / pixels:.3g} ns a pixel"
    return [Finding(f"{top.name} takes {share:.0%} of the pipeline's {whole / 1e9:.2f} s{rate}.", seconds)]


def _bound(record: Record) -> list[Finding]:
    """What the two largest stages are bound by, where the limits are known."""
    if record.limits is None:
        return []
    seen = sorted((roof for roof in roofs(record) if roof.sentence), key=lambda roof: -roof.wall_s)
    whole = pipeline_ns(record.run) / 1e9
    return [Finding(roof.sentence, roof.wall_s) for roof in seen[:2] if roof.wall_s > LARGE * whole]
