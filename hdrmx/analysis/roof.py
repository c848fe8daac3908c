"""How far each stage is from the limits of the machine, and which of them binds it.

A stage's time is compared with what its work would take at each of the measured limits (`measure.limits`), and with how
its threads spent it (samples). What binds it is what explains most; if nothing does, it is the instructions that one
core gets through. Time in which its threads were ready but neighbours had the processors is not the stage's own: it is
told, and taken off before anything is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hdrmx.analysis.work_done import Work, work_of
from hdrmx.record import Limits, Record, Span, net_cpu_ns, net_ns, stages

MEMORY, ARITHMETIC, DECODING = "memory bandwidth", "one core's arithmetic", "decoding"
PARSING = "branch misses in decoding"
DISK, INTERPRETER, WAITING, FAULTS = "I/O", "the interpreter", "waiting", "page faults"
BINDS = 0.5  # a limit that explains this share of the time binds
IDLE = 0.35  # share of a stage's time without a processor, from which it waits
SHORT_NS = 20_000_000  # what is shorter isn't judged
UNTELLABLE = 0.5  # the same, from which standing still may be the neighbours' doing, too: locks held by who can't run
DISTURBED = 0.1  # share of its threads' time without a processor, from which a sentence says so


@dataclass(frozen=True)
class Roof:
    """One stage against the limits.

    Attributes
    ----------
    own_s : wall time less what neighbours took of it
    shares : seconds that the work would take at each limit over those that it took; "memory bandwidth" and "I/O" over
        `own_s`, the others over processor time
    idle : share of its own time in which its threads didn't run
    crowded : ready but without a processor, over that and running; None where nothing was sampled
    spent : shares of the processor time by what threads were at; empty where nothing was sampled
    bound : what binds the stage, one of the names above; empty for short ones
    sentence : the same in words, with the numbers
    """

    stage: str
    wall_s: float
    own_s: float
    cpu_s: float | None
    threads: int
    work: Work
    shares: dict[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    idle: float | None = None
    crowded: float | None = None
    bound: str = ""
    sentence: str = ""


def roofs(record: Record) -> list[Roof]:
    """Of all stages, in their order."""
    dtype = record.data.dtype if record.data else None
    return [_roof(stage, record, dtype) for stage in stages(record.run)]


def _roof(stage: Span, record: Record, dtype: str | None) -> Roof:
    wall, cpu, limits = net_ns(stage) / 1e9, net_cpu_ns(stage), record.limits
    threads = _threads(stage, record.threads or 1)
    work = work_of(stage, dtype, record.counted)
    cpu_s = None if cpu is None else cpu / 1e9
    own = max(wall - stage.sampled.get("crowded_ns", 0) / 1e9 / threads, (cpu_s or 0.0) / threads)
    own = min(own, wall)
    shares = _shares(stage, work, own, cpu_s, threads, limits)
    spent, crowded = _spent(stage)
    idle = None if cpu_s is None or own <= 0 else max(1 - cpu_s / (own * threads), 0.0)
    roof = Roof(stage.name, wall, own, cpu_s, threads, work, shares, spent, idle, crowded)
    if net_ns(stage) < SHORT_NS:
        return roof
    if idle is not None and idle > IDLE and crowded is not None and crowded > UNTELLABLE:
        said = f"neighbours had the processors for {crowded:.0%} of its threads' time"
        said = f"What binds {stage.name} can't be told: {said}."
        return Roof(**{**vars(roof), "sentence": said})
    bound, why = _binding(roof, stage, limits)
    return Roof(**{**vars(roof), "bound": bound, "sentence": _sentence(roof, bound, why)})


def _threads(stage: Span, asked: int) -> int:
    """Threads that the stage spreads its work over: those asked for if others than the first did any of it."""
    cpu = net_cpu_ns(stage)
    parallel = stage.sampled.get("workers_ns", 0) > 0 or (cpu is not None and cpu > 1.2 * net_ns(stage))
    return asked if parallel else 1


def _shares(
    stage: Span, work: Work, own: float, cpu: float | None, threads: int, limits: Limits | None
) -> dict[str, float]:
    if limits is None or own <= 0 or not cpu:
        return {}
    shares = {}
    bandwidth = memory_rate(limits, threads)
    if bandwidth and work.bytes_moved is not None:
        shares[MEMORY] = work.bytes_moved / bandwidth / own
    if limits.int_ops_s and work.operations is not None and not work.counted:
        shares[ARITHMETIC] = work.operations / limits.int_ops_s / cpu
    if (seconds := decoding_s(stage, limits)) is not None:
        shares[DECODING] = seconds / cpu
    if limits.disk_read_bytes_s and stage.cost.disk_read_bytes is not None:
        shares[DISK] = stage.cost.disk_read_bytes / limits.disk_read_bytes_s / own
    if limits.fault_ns and stage.cost.minor_faults is not None:
        shares[FAULTS] = stage.cost.minor_faults * limits.fault_ns / 1e9 / cpu
    return shares


def memory_rate(limits: Limits, threads: int) -> float | None:
    """Bytes a second from DRAM for so many threads."""
    one, together = limits.read_bytes_s.get("DRAM"), limits.read_bytes_s.get("DRAM, all cores")
    return max(one, together) if threads > 1 and one and together else one


def decoding_s(stage: Span, limits: Limits) -> float | None:
    """Processor time for the frames decoded, at the best rate measured for frames as dense as these."""
    pixels, frames, decodes, stored = (stage.count(name) for name in ("pixels", "frames", "decodes", "bytes_in"))
    if not pixels or not frames or not decodes or not limits.decode_px_s:
        return None
    bits = 8 * stored / pixels if stored else 1.0
    sparse = (stage.count("sparse_frames") or 0) > (stage.count("dense_frames") or 0)
    way = "events" if sparse else "frame"
    rates = {
        limits.decode_bits_px[name.partition(", ")[2]]: rate
        for name, rate in limits.decode_px_s.items()
        if name.startswith(way) and name.partition(", ")[2] in limits.decode_bits_px
    }
    if not rates:
        return None
    nearest = min(rates, key=lambda measured: abs(measured - bits))
    return pixels * (decodes / frames) / rates[nearest]


def parse_share(limits: Limits) -> float | None:
    """Of the decoding of a dense frame, the share of LZ4's parse, whose branches can't be foreseen."""
    rates = [rate for name, rate in limits.decode_px_s.items() if name.startswith("frame")]
    if not rates or not limits.decode_layout_px_s:
        return None
    return max(1 - min(rates) / limits.decode_layout_px_s, 0.0)


def _spent(stage: Span) -> tuple[dict[str, float], float | None]:
    """Shares of the processor time, and ready-but-not-running over that and running."""
    running = {name: stage.sampled.get(f"{name}_ns", 0) for name in ("kernels", "libraries", "python", "unclear")}
    total, crowded = sum(running.values()), stage.sampled.get("crowded_ns", 0)
    if total <= 0:
        return {}, None
    return {name: ns / total for name, ns in running.items()}, crowded / (crowded + total)


def _binding(roof: Roof, stage: Span, limits: Limits | None) -> tuple[str, str]:
    """What binds, and the reason."""
    if roof.idle is not None and roof.idle > IDLE:
        return _of_idle(roof, stage)
    known = {name: share for name, share in roof.shares.items() if name in (MEMORY, DECODING, FAULTS)}
    if known:
        most = max(known, key=lambda name: known[name])
        if known[most] >= BINDS:
            parse = parse_share(limits) if limits and most == DECODING else None
            why = f"its work would take {known[most]:.0%} of its time at that limit"
            if parse is not None:
                why += f", {parse:.0%} of it for the parse of LZ4's sequences, whose branches can't be foreseen"
            return PARSING if parse is not None and parse >= BINDS else most, why
    python, unclear = roof.spent.get("python", 0.0), roof.spent.get("unclear", 0.0)
    compiled = roof.spent.get("kernels", 0.0) + roof.spent.get("libraries", 0.0)
    if roof.spent and python + unclear / 2 > compiled:
        return INTERPRETER, f"Python's own code takes {python:.0%} to {python + unclear:.0%} of the processor time"
    if roof.spent:
        kernels, libraries = roof.spent["kernels"], roof.spent["libraries"]
        return ARITHMETIC, f"kernels take {kernels:.0%} of the processor time, libraries {libraries:.0%}"
    return ARITHMETIC, "no other limit explains its time"


def _of_idle(roof: Roof, stage: Span) -> tuple[str, str]:
    idle = roof.idle or 0.0
    disk, children = stage.cost.disk_read_bytes or 0, stage.cost.children_ns or 0
    if roof.shares.get(DISK, 0.0) > idle / 2:
        return DISK, f"{disk / 1e6:.0f} MB from disk explain {roof.shares[DISK]:.0%} of its time"
    whose = "its thread" if roof.threads == 1 else f"its {roof.threads} threads"
    why = f"{whose} stood still for {idle:.0%} of the time"
    if children:
        why += f" ({children / 1e9:.2f} s of processor time went to child processes)"
    elif disk > 1e6:
        why += f" ({disk / 1e6:.0f} MB came from disk)"
    return WAITING, why


def _sentence(roof: Roof, bound: str, why: str) -> str:
    said = f"{roof.stage} is bound by {bound}: {why}"
    ordered = sorted(roof.shares.items(), key=lambda item: -item[1])
    others = [f"{name} {share:.1%}" for name, share in ordered if name != bound and share >= 0.001]
    if others:
        said += f"; at the limits measured here its work would take, of its time, {', '.join(others)}"
    if roof.crowded is not None and roof.crowded > DISTURBED:
        said += f" (neighbours had the processors for {roof.crowded:.0%} of its threads' time; that is taken off)"
    return said + "."


def answer_memory(roof: Roof) -> str | None:
    """Whether a frame stage is limited by memory bandwidth, in a sentence with the number."""
    share = roof.shares.get(MEMORY)
    if share is None or not roof.work.frame_bytes:
        return None
    answer = "Yes" if share >= BINDS else "No"
    gb = (roof.work.bytes_moved or 0) / 1e9
    return (
        f"Is {roof.stage} limited by memory bandwidth? {answer}: the {gb:.2f} GB that it must move at the least would "
        f"take {share:.1%} of its time at the bandwidth measured here."
    )


def answer_clock(roof: Roof) -> str | None:
    """Whether a faster clock would help, in a sentence with the number."""
    if roof.idle is None or not roof.bound:
        return None
    memory = min(roof.shares.get(MEMORY, 0.0), 1.0)
    gains = max((1 - roof.idle) * (1 - memory), 0.0)
    answer = "Yes" if gains >= BINDS else "Not much"
    return (
        f"Does {roof.stage} want a faster clock? {answer}: for {gains:.0%} of its own time processors were at work on "
        "what memory doesn't explain."
    )
