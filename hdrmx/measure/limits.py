"""What this machine can do at best: the limits that stages are held against. Kept in the user's cache by fingerprint.

Each figure is the best of several rounds, since a limit is what can be reached; how far the median was from it is kept
too. The whole takes some 10 s, and some more where kernels have to be compiled.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from hdrmx.io.cache import cache_folder
from hdrmx.io.whole import write_whole
from hdrmx.measure.machine import machine
from hdrmx.record import Doubt, Limits, Machine

ROUNDS, FEW_ROUNDS = 5, 2
ROUND_S = 0.05  # of one round, about
HURRY_S = 12.0  # after which there are few rounds: on a crowded machine, too, it shall be over soon
DISK_BYTES = 64 << 20
FAULT_BYTES = 64 << 20
USUAL_CACHES = {"L1d": 32 << 10, "L2": 512 << 10, "L3": 16 << 20}
MOST_DRAM_BYTES = 256 << 20
UNSTEADY = 0.15  # spread from which a limit is doubtful
Clock = Callable[[], int]  # nanoseconds
SCHEMA = 1  # of the cached file: a higher number measures again


@dataclass
class _Found:
    best: dict[str, float] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    begin: float = field(default_factory=time.perf_counter)

    def rate(self, name: str, amount: float, work: Callable[[int], object], clock: Clock = time.thread_time_ns) -> None:
        """Amount per second of `work(times)`, whose `amount` is of one time; `times` is chosen for short rounds.

        By the thread's processor time, unless work goes on elsewhere: neighbours then disturb less.
        """
        _timed(work, 1, clock)  # compiles
        times, seconds = 1, _timed(work, 1, clock)
        while seconds < ROUND_S / 3 and times < 1 << 40:
            times *= max(2, min(64, round(ROUND_S / max(seconds, 1e-7) / 2)))
            seconds = _timed(work, times, clock)
        rounds = ROUNDS if time.perf_counter() - self.begin < HURRY_S else FEW_ROUNDS
        rates = [amount * times / _timed(work, times, clock) for _ in range(rounds)]
        self.best[name], self.spread[name] = max(rates), 1 - statistics.median(rates) / max(rates)


def _timed(work: Callable[[int], object], times: int = 1, clock: Clock = time.perf_counter_ns) -> float:
    begin = clock()
    work(times)
    return max(clock() - begin, 1) / 1e9


def cached_limits(fingerprint: str) -> Limits | None:
    """What was measured before on a machine of this fingerprint; None where nothing was, or it can't be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(_path(fingerprint).read_bytes(), type=Limits)
    return None


def limits(again: bool = False, say: Callable[[str], object] = lambda text: None) -> Limits:
    """This machine's limits, from the cache or measured now.

    Parameters
    ----------
    again : measure although they are known
    say : is told what is going on
    """
    here = machine()
    known = None if again else cached_limits(here.fingerprint)
    if known is not None:
        return known
    found = measure_limits(here, say)
    with contextlib.suppress(Exception):  # a cache that can't be written costs no more than the time to measure again
        path = _path(here.fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return found


def _path(fingerprint: str) -> Path:
    return cache_folder() / "machine" / f"limits-{SCHEMA}-{fingerprint}.json"


def measure_limits(
    here: Machine, say: Callable[[str], object] = lambda text: None, scratch: Path | None = None
) -> Limits:
    """Measure all of them. What fails is left out, and a doubt says so.

    Parameters
    ----------
    scratch : folder for the file that is read for the disk's rate; the cache's by default
    """
    found, doubts = _Found(), []
    sets = working_sets(here)
    parts: list[tuple[str, Callable[[], object]]] = [
        ("memory", lambda: _memory(found, sets, here.cores_usable or 1)),
        ("arithmetic", lambda: _arithmetic(found)),
        ("decoding", lambda: _decoding(found)),
        ("disk", lambda: _disk(found, scratch)),
        ("page faults", lambda: _faults(found)),
    ]
    for name, part in parts:
        say(f"measuring {name}")
        try:
            part()
        except Exception as error:  # one that fails must not cost the others
            reason = f"{type(error).__name__}: {error}"
            doubts.append(Doubt(kind="limit_failed", numbers={"of": name, "reason": reason}))
    unsteady = sorted(name for name, spread in found.spread.items() if spread > UNSTEADY and name != "disk")
    if unsteady:
        worst = max(found.spread[name] for name in unsteady)
        doubts.append(Doubt(kind="limits_unsteady", numbers={"of": ", ".join(unsteady), "spread": round(worst, 3)}))
    best = found.best
    return Limits(
        machine=here.fingerprint,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - found.begin, 2),
        cores=here.cores_usable,
        working_set_bytes=sets,
        read_bytes_s=_named(best, "read "),
        copy_bytes_s=_named(best, "copy "),
        int_ops_s=best.get("int"),
        float_ops_s=best.get("float"),
        decode_px_s=_named(best, "decode "),
        decode_bits_px=_named(best, "bits "),
        decode_layout_px_s=best.get("layout"),
        disk_read_bytes_s=best.get("disk"),
        cached_read_bytes_s=best.get("cached"),
        fault_ns=1e9 / best["faults"] if best.get("faults") else None,
        spread={name: round(value, 4) for name, value in found.spread.items()},
        doubts=tuple(doubts),
    )


def _named(values: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def working_sets(here: Machine) -> dict[str, int]:
    """Bytes that lie well within each cache, and some that lie in none; by name, smallest first."""
    sizes = {**USUAL_CACHES, **{name: size for name, size in here.caches_bytes.items() if name in USUAL_CACHES}}
    level3 = min(sizes["L3"], 64 << 20)
    return {
        "L1": sizes["L1d"] * 3 // 4,
        "L2": sizes["L2"] // 2,
        "L3": max(level3 // 4, 2 * sizes["L2"]),
        "DRAM": min(max(4 * level3, 64 << 20), MOST_DRAM_BYTES),
    }


def _memory(found: _Found, sets: dict[str, int], cores: int) -> None:
    from hdrmx.measure.limit_kernels import copy_words, read_words

    words = np.ones(max(sets.values()) // 8, np.uint64)
    out = np.ones(words.size // 2, np.uint64)
    for name, size in sets.items():
        part, half = words[: size // 8], size // 16
        found.rate(f"read {name}", part.nbytes, partial(read_words, part))
        a, b = words[:half], out[:half]  # both together are the working set; counted once
        found.rate(f"copy {name}", a.nbytes, partial(copy_words, a, b))
    if cores > 1:
        parts = np.array_split(words, cores)
        with ThreadPoolExecutor(cores) as pool:

            def together(times: int) -> None:
                list(pool.map(lambda part: read_words(part, times), parts))

            found.rate("read DRAM, all cores", words.nbytes, together, time.perf_counter_ns)


def _arithmetic(found: _Found) -> None:
    from hdrmx.measure.limit_kernels import OPS, float_ops, int_ops

    integers, floats = np.arange(2048, dtype=np.int32), np.ones(1024)
    found.rate("int", OPS * integers.size, lambda times: int_ops(integers, times))
    found.rate("float", OPS * floats.size, lambda times: float_ops(floats, times))


def _decoding(found: _Found) -> None:
    """Our decoders on made-up frames of Poisson counts, and on one that LZ4 packs into next to no sequences.

    What the first take beyond the last is the parse of sequences, one after another, whose branches can't be foreseen.
    """
    from hdrmx.frames import Codec, Frame
    from hdrmx.kernels.decode import Events, Workspace, decode_dense, decode_events, pack_valid
    from hdrmx.kernels.encode import encode_bslz4

    shape, dtype = (1024, 1024), np.dtype(np.uint16)
    work, events, rng = Workspace(shape, dtype), Events(shape), np.random.default_rng(1)
    valid = pack_valid(np.ones(shape, bool))
    n = shape[0] * shape[1]

    def packed(pixels: np.ndarray) -> Frame:
        chunk = np.frombuffer(encode_bslz4(pixels.astype(dtype)), np.uint8)
        return Frame(0, shape, dtype, Codec.BSLZ4, lambda: chunk, "limits")

    def dense(frame: Frame, times: int) -> None:
        for _ in range(times):
            decode_dense(frame, work.dense, work)

    for mean in (0.02, 1.0):
        frame = packed(rng.poisson(mean, n))
        found.rate(f"decode frame, {mean:g} counts/px", n, partial(dense, frame))
        found.best[f"bits {mean:g} counts/px"] = 8 * frame.load().size / n
        if mean < 0.1:

            def pick(times: int, frame: Frame = frame) -> None:
                for _ in range(times):
                    decode_events(frame, valid, events, work)

            found.rate(f"decode events, {mean:g} counts/px", n, pick)
    found.rate("layout", n, partial(dense, packed(np.arange(n) % 64 == 0)))


def _disk(found: _Found, scratch: Path | None) -> None:
    """A file just written, read after the system was asked to forget it, then from its cache."""
    folder = scratch or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    buffer = bytearray(4 << 20)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".hdrmx-disk-") as file:
        block = np.random.default_rng(1).integers(0, 256, len(buffer), dtype=np.uint8).tobytes()
        for _ in range(DISK_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        rates = []
        for _ in range(2):
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                rates.append(DISK_BYTES / _timed(partial(_read_all, file.name, buffer)))
        if rates:
            found.best["disk"], found.spread["disk"] = max(rates), 1 - min(rates) / max(rates)
        found.rate("cached", DISK_BYTES, partial(_read_all, file.name, buffer))


def _read_all(path: str, buffer: bytearray, times: int) -> None:
    for _ in range(times):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _faults(found: _Found) -> None:
    """Fresh memory written to for the first time: page faults per second of processor time."""
    import mmap
    import resource

    rates = []
    for _ in range(ROUNDS):
        with mmap.mmap(-1, FAULT_BYTES) as fresh:
            pages = np.frombuffer(fresh, np.uint8)[::4096]
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            seconds = _timed(partial(_touch, pages), 1, time.thread_time_ns)
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            del pages
        if faults:
            rates.append(faults / seconds)
    if rates:
        found.best["faults"], found.spread["faults"] = max(rates), 1 - statistics.median(rates) / max(rates)


def _touch(pages: np.ndarray, times: int) -> None:
    pages[:] = times
