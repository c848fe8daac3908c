"""What measuring costs: the pipeline unobserved, with spans, and with spans and sampling, in turn.

    python benchmarks/observer_overhead.py data.nxs --rounds 15 --images 1-100

Each round runs all three, in random order, in one warmed-up process. Printed: the median ratio to unobserved with
its 95 % interval (bootstrap over rounds), and the price of one empty span.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import time

import numpy as np

from hdrmx.cli.options import parse_images
from hdrmx.frames import FrameSource
from hdrmx.io.open import open_source
from hdrmx.kernels.warm import warm_up
from hdrmx.measure import Recorder
from hdrmx.measure.compilation import Compilation
from hdrmx.measure.process import ProcessMeter
from hdrmx.measure.sampling import Sampler
from hdrmx.observe import unobserved
from hdrmx.params import Params
from hdrmx.pipeline import process

WAYS = ("unobserved", "spans", "spans and sampling")


def seconds(way: str, source: FrameSource, threads: int) -> tuple[float, float, int]:
    """Wall and processor time of one run, and how many spans it had."""
    begin, cpu = time.perf_counter_ns(), time.process_time_ns()
    if way == "unobserved":
        process(source, Params(), unobserved, threads=threads)
        spans = 0
    else:
        recorder = Recorder(ProcessMeter(compilation=Compilation()))
        with Sampler() if "sampling" in way else contextlib.nullcontext():
            process(source, Params(), recorder, threads=threads)
        spans = len(list(recorder.finish().walk()))
    return (time.perf_counter_ns() - begin) / 1e9, (time.process_time_ns() - cpu) / 1e9, spans


def span_price_us(n: int = 2000) -> float:
    """Median price of a span around nothing, in processor time."""
    recorder = Recorder()
    times = []
    for _ in range(n):
        begin = time.thread_time_ns()
        with recorder("nothing"):
            pass
        times.append(time.thread_time_ns() - begin)
    recorder.finish()
    return statistics.median(times) / 1e3


def interval(ratios: list[float], seed: int = 1) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    chosen = np.random.default_rng(seed).choice(ratios, (4000, len(ratios)))
    low, high = np.percentile(np.median(chosen, axis=1), [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--images")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-sampling", action="store_true")
    arguments = parser.parse_args()
    source = open_source(arguments.data, parse_images(arguments.images))
    warm_up(source.dtype)
    ways = WAYS[:2] if arguments.no_sampling else WAYS
    for way in ways:
        seconds(way, source, arguments.jobs)
    order, spans = random.Random(1), {}
    times: dict[str, dict[str, list[float]]] = {kind: {way: [] for way in ways} for kind in ("wall", "CPU")}
    for _ in range(arguments.rounds):
        for way in order.sample(ways, len(ways)):
            wall, cpu, spans[way] = seconds(way, source, arguments.jobs)
            times["wall"][way].append(wall)
            times["CPU"][way].append(cpu)
    source.close()
    print(f"one span around nothing: {span_price_us():.1f} us")
    for way in ways:
        print(f"{way}: {spans[way]} spans")
        for kind, taken in times.items():
            ratios = [a / b for a, b in zip(taken[way], taken["unobserved"])]
            low, high = interval(ratios)
            ratio = f"ratio {statistics.median(ratios):.4f} ({low:.4f} to {high:.4f}, {len(ratios)} rounds)"
            print(f"  {kind:<5} {statistics.median(taken[way]):.3f} s, {ratio}")


if __name__ == "__main__":
    main()
