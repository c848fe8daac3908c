"""Spot finding on one thread and on several, in turn, beside what the machine gives to processes that share nothing.

    python -m benchmarks.two_threads data.nxs --images 1-100 --minutes 3

Blocks of four runs as in `benchmarks.paired`. Printed: the ratio of the wall times with its 99 % interval over the
undisturbed blocks, how much more processor time the threads took in all, and the share of the work that would have to
be serial to give that ratio (Amdahl). The ceiling: as many processes as threads, each doing all frames at once.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable

from benchmarks.paired import Block, blocks, interval, timed
from hdrmx.cli.options import parse_images
from hdrmx.frames import FrameSource
from hdrmx.io.open import open_source
from hdrmx.kernels.warm import warm_up
from hdrmx.params import FindSpots
from hdrmx.stages.find_spots import find_spots

FEWEST, ENOUGH = 5, 15  # blocks


def run(source: FrameSource, threads: int) -> None:
    find_spots(source.frames(), source.mask, source.geometry, FindSpots(), threads=threads)


def process_times(data: str, images: range | None, barrier: object, out: object, rounds: int) -> None:
    """In a process of its own: wall times of runs on one thread that begin together with the others'."""
    source = open_source(data, images)
    warm_up(source.dtype)
    run(source, 1)
    for _ in range(rounds):
        barrier.wait()  # type: ignore[attr-defined]
        begin = time.perf_counter()
        run(source, 1)
        out.put(time.perf_counter() - begin)  # type: ignore[attr-defined]
    source.close()


def ceiling(data: str, images: range | None, n: int, alone: float, rounds: int = 7) -> float:
    """Throughput of n processes over that of one, in the best of the rounds, which a neighbour disturbs least."""
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(n), context.Queue()
    workers = [context.Process(target=process_times, args=(data, images, barrier, out, rounds)) for _ in range(n)]
    for worker in workers:
        worker.start()
    times = sorted(out.get(timeout=600) for _ in range(n * rounds))
    for worker in workers:
        worker.join()
    return n * alone / statistics.mean(times[:n])


def measured(ways: dict[str, Callable[[], object]], minutes: float) -> tuple[list[Block], list[Block]]:
    """All blocks, and the undisturbed ones."""
    every: list[Block] = []
    end = time.perf_counter() + 60.0 * minutes
    for block in blocks(ways):
        every.append(block)
        calm = [b for b in every if b.is_undisturbed(2)]
        if len(calm) >= ENOUGH or time.perf_counter() > end:
            return every, calm
    raise AssertionError("blocks don't end")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=5.0, help="most time, without the ceiling")
    parser.add_argument("--no-ceiling", action="store_true")
    arguments = parser.parse_args()
    images, n = parse_images(arguments.images), arguments.threads
    with contextlib.closing(open_source(arguments.data, images)) as source:
        warm_up(source.dtype)
        ways: dict[str, Callable[[], object]] = {"one": lambda: run(source, 1), "several": lambda: run(source, n)}
        for way in ways.values():
            timed(way)
        every, calm = measured(ways, arguments.minutes)
        frames = len(source.indices)
    print(f"{arguments.data}: {frames} frames, {len(calm)} of {len(every)} blocks were undisturbed")
    taken = calm if len(calm) >= FEWEST else every
    if taken is every:
        print("too few: all are taken, and the ratio is that of a busy machine")
    for way in ways:
        runs = [r for block in taken for r in block.runs[way]]
        wall, cpu = (statistics.median(getattr(r, what) for r in runs) for what in ("wall", "cpu"))
        best = min(r.wall for r in runs)
        print(f"{way:<8} {wall:.3f} s (best {best:.3f}), processor {cpu:.3f} s, {1e3 * wall / frames:.2f} ms a frame")
    ratio, low, high = interval([block.ratio("one", "several", "wall") for block in taken])
    more, *_ = interval([block.ratio("several", "one", "cpu") for block in taken])
    serial = (n / ratio - 1.0) / (n - 1.0)
    print(f"ratio {ratio:.3f} ({low:.3f} to {high:.3f}); processor time x{more:.3f}; serial part {100 * serial:.1f} %")
    if not arguments.no_ceiling:
        alone = min(r.wall for block in taken for r in block.runs["one"])
        print(f"ceiling, {n} processes: {ceiling(arguments.data, images, n, alone):.3f}")


if __name__ == "__main__":
    main()
