"""Defects of work done again: the exponent is right, the amount per unit isn't. Each beside its cure."""

from __future__ import annotations

import copy
import functools
import zlib


def scan_folder() -> dict[str, int]:
    return {f"format_{i}": i for i in range(20)}


def a6_slow(n: int) -> int:
    """The registry of plug-ins scanned again for each model."""
    return sum(a6_model(i) for i in range(n))


def a6_model(i: int) -> int:
    return scan_folder()[f"format_{i % 20}"]


def a6_fast(n: int) -> int:
    known = scan_folder()
    return sum(known[f"format_{i % 20}"] for i in range(n))


PANELS = 8


def decode(chunk: bytes) -> bytes:
    return zlib.decompress(chunk)


def chunks(n: int) -> list[bytes]:
    return [zlib.compress(bytes([i % 251]) * 512) for i in range(n)]


setup_a7_slow = setup_a7_fast = setup_a14_slow = setup_a14_fast = chunks
setup_b4_slow = setup_b4_fast = setup_d5_slow = setup_d5_fast = chunks


def a7_slow(frames: list[bytes]) -> int:
    """The whole frame decoded once for each panel."""
    return sum(a7_panels(frame) for frame in frames)


def a7_panels(frame: bytes) -> int:
    return sum(sum(decode(frame)[p * 64 : (p + 1) * 64]) for p in range(PANELS))


def a7_fast(frames: list[bytes]) -> int:
    total = 0
    for frame in frames:
        pixels = decode(frame)
        total += sum(sum(pixels[p * 64 : (p + 1) * 64]) for p in range(PANELS))
    return total


def a14_slow(frames: list[bytes]) -> int:
    """Image 0 read for a property of each image."""
    return sum(len(decode(frames[0])) * sum(decode(frame)) for frame in frames)


def a14_fast(frames: list[bytes]) -> int:
    size = len(decode(frames[0]))
    return sum(size * sum(decode(frame)) for frame in frames)


def b4_slow(frames: list[bytes]) -> int:
    """All frames read beforehand for a range that is constant."""
    largest = max(255 if decode(frame) else 0 for frame in frames)
    return sum(min(sum(decode(frame)), largest * 512) for frame in frames)


def b4_fast(frames: list[bytes]) -> int:
    return sum(min(sum(decode(frame)), 255 * 512) for frame in frames)


def resolution_map(n_pixels: int) -> list[float]:
    return [1.0 / (1 + p) for p in range(n_pixels)]


def b5_slow(n: int) -> int:
    """A map of the geometry alone computed for each frame."""
    return sum(b5_mask(i) for i in range(n))


def b5_mask(i: int) -> int:
    return sum(1 for d in resolution_map(30) if d > 1.0 / (2 + i % 5))


def b5_fast(n: int) -> int:
    known = resolution_map(30)
    return sum(sum(1 for d in known if d > 1.0 / (2 + i % 5)) for i in range(n))


def make_buffer(n_pixels: int) -> bytearray:
    return bytearray(n_pixels)


def b10_slow(n: int) -> int:
    """Work arrays made for each frame."""
    return sum(b10_threshold(make_buffer(4096), i) for i in range(n))


def b10_threshold(buffer: bytearray, i: int) -> int:
    buffer[0] = i % 200
    return buffer[0]


def b10_fast(n: int) -> int:
    buffer = make_buffer(4096)
    return sum(b10_threshold(buffer, i) for i in range(n))


class Model:
    def __init__(self) -> None:
        self.beam = [0.0, 0.0, 1.0]


def c1_slow(n: int) -> float:
    """The experiment copied for each position tried."""
    return sum(c1_score(Model(), i) for i in range(n))


def c1_score(model: Model, i: int) -> float:
    tried = copy.deepcopy(model)
    tried.beam[0] = float(i)
    return tried.beam[0] + tried.beam[2]


def c1_fast(n: int) -> float:
    model = Model()
    return sum(float(i) + model.beam[2] for i in range(n))


def parse_symbol(symbol: str) -> tuple[str, ...]:
    return tuple(symbol.split())


def c4_slow(n: int) -> int:
    """The symbol "P 1" parsed for each candidate cell."""
    return sum(c4_candidate(i) for i in range(n))


def c4_candidate(i: int) -> int:
    return len(parse_symbol("P 1")) + i


def c4_fast(n: int) -> int:
    size = len(parse_symbol("P 1"))
    return sum(size + i for i in range(n))


def reject_outliers(values: list[int]) -> list[int]:
    return [v for v in values if v % 10]


def c7_slow(n: int) -> list[int]:
    """The same rejection in each of n candidate settings."""
    return [sum(reject_outliers(list(range(50)))) + setting for setting in range(n)]


def c7_fast(n: int) -> list[int]:
    total = sum(reject_outliers(list(range(50))))
    return [total + setting for setting in range(n)]


def d5_slow(frames: list[bytes]) -> int:
    """Blocks of frames that overlap by half: each is read twice."""
    total = 0
    for first in range(0, len(frames), 4):
        total += d5_block(frames, first)
    return total


def d5_block(frames: list[bytes], first: int) -> int:
    read = [decode(frame) for frame in frames[max(first - 2, 0) : first + 6]]
    skipped = min(first, 2)
    return sum(sum(pixels) for pixels in read[skipped : skipped + 4])


def d5_fast(frames: list[bytes]) -> int:
    return sum(sum(decode(frame)) for frame in frames)


def correlate(a: int, b: int) -> int:
    return (a * b) % 7


GROUP = 8


def e1_slow(n: int) -> bool:
    """All pairs in groups whose size grows with the repeats of the scan, for a decision that one turn settles."""
    return e1_decide(n)


def e1_decide(n: int) -> bool:
    repeats = max(n // GROUP, 2)
    return sum(correlate(a, b) for _ in range(GROUP) for a in range(repeats) for b in range(a)) >= 0


def e1_fast(n: int) -> bool:
    repeats = min(max(n // GROUP, 2), 4)
    return sum(correlate(a, b) for _ in range(GROUP) for a in range(repeats) for b in range(a)) >= 0


def angle_between(i: int) -> float | None:
    return None if i % 2 else i / 2.0


def e3_slow(n: int) -> float:
    """A memo that keeps no failures: those are worked out again each time."""
    known: dict[int, float] = {}
    return sum(e3_look_up(known, i % 10) for i in range(n))


def e3_look_up(known: dict[int, float], i: int) -> float:
    if i not in known:
        found = angle_between(i)
        if found is None:
            return 0.0
        known[i] = found
    return known[i]


def e3_fast(n: int) -> float:
    known = functools.cache(angle_between)
    return sum(known(i % 10) or 0.0 for i in range(n))


def e12_slow(n: int) -> float:
    """A long list built in each of n evaluations, for two numbers."""
    return sum(e12_evaluate(i) for i in range(n))


def build_list() -> list[float]:
    return [k * 0.5 for k in range(60)]


def e12_evaluate(i: int) -> float:
    values = build_list()
    return min(values) + max(values) + i


def e12_fast(n: int) -> float:
    values = build_list()
    low, high = min(values), max(values)
    return sum(low + high + i for i in range(n))


def build_model(i: int) -> list[int]:
    return [i] * 10


def a3_slow(n: int) -> int:
    """Models built for every frame though one is used."""
    models = [build_model(i) for i in range(n)]
    return models[0][0]


def a3_fast(n: int) -> int:
    return build_model(0)[0]


def describe(i: int) -> str:
    return " ".join(f"{(i * k) % 97:05d}" for k in range(8))


def debug(text: str, enabled: bool = False) -> None:
    if enabled:
        print(text)


def d9_slow(n: int) -> int:
    """Text for debugging built while nobody debugs."""
    return sum(d9_profile(i) for i in range(n))


def d9_profile(i: int) -> int:
    debug(describe(i))
    return i


def d9_fast(n: int) -> int:
    return sum(range(n))


class Outside(Exception):
    """No intersection."""


def intersect(i: int) -> int:
    if i % 2:
        miss()
    return i


def miss() -> None:
    raise Outside


def d3_slow(n: int) -> int:
    """An exception as the ordinary "no" of every second ray."""
    total = 0
    for i in range(n):
        try:
            total += intersect(i)
        except Outside:
            continue
    return total


def d3_fast(n: int) -> int:
    return sum(i for i in range(n) if i % 2 == 0)


def b8_slow(n: int) -> int:
    """Fixed chunks of uneven work: the busiest worker has far more than its share (counter `busiest`)."""
    return b8_run(n, chunk=max(n // 5, 1))


def b8_fast(n: int) -> int:
    return b8_run(n, chunk=1)


def b8_run(n: int, chunk: int) -> int:
    """Units of work of the busiest of 4 workers, each taking the next chunk when it is free; returns their sum."""
    from hdrmx.complexity.counters import count

    loads = [0] * 4
    for first in range(0, n, chunk):
        at = loads.index(min(loads))
        loads[at] += sum(1 + i % 3 for i in range(first, min(first + chunk, n)))
    count(busiest=max(loads))
    return sum(loads)
