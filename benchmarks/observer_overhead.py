"""What measuring costs: the pipeline unobserved and under the recorder, in turn, until it is below 1 % or not.

    python -m benchmarks.observer_overhead data.nxs --images 1-100 --until refine --minutes 3

Both ways run in one warmed-up process, in blocks of four (`benchmarks.paired`). Printed: the median ratio to unobserved
with its 99 % interval, of wall and of processor time, over the undisturbed blocks; a verdict on the wall time, `yes`
where the interval lies below 1.01, `no` where it lies above; and, without any noise, the time that the recorder itself
took, from its own thread's clock. `--sampling` compares with spans and samples together.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

from benchmarks.paired import Block, blocks, interval, timed
from hdrmx.cli.options import parse_images
from hdrmx.frames import FrameSource
from hdrmx.io.open import open_source
from hdrmx.kernels.warm import warm_up
from hdrmx.measure import Recorder
from hdrmx.measure.compilation import Compilation
from hdrmx.measure.process import ProcessMeter
from hdrmx.measure.recorder import OpenSpan
from hdrmx.measure.sampling import Sampler
from hdrmx.observe import unobserved
from hdrmx.params import Params
from hdrmx.pipeline import STAGES, process
from hdrmx.record import PART, Span

LIMIT = 1.01
FEWEST = 12  # blocks before a verdict


class TimedRecorder(Recorder):
    """Adds up the processor time of its own thread that goes into brackets."""

    spent_ns = 0

    def begin(self, span: OpenSpan) -> None:
        since = time.thread_time_ns()
        super().begin(span)
        self.spent_ns += time.thread_time_ns() - since

    def end(self, span: OpenSpan) -> None:
        since = time.thread_time_ns()
        super().end(span)
        self.spent_ns += time.thread_time_ns() - since


def observed(run: Callable[..., object], compilation: Compilation, *, sampling: bool) -> tuple[TimedRecorder, Span]:
    """One run under the recorder, and its tree."""
    recorder = TimedRecorder(ProcessMeter(compilation=compilation))
    with Sampler() if sampling else contextlib.nullcontext():
        run(recorder)
    return recorder, recorder.finish()


def part_price_ns(n: int = 20000) -> float:
    """Price of a part around nothing, with the loop round it."""
    recorder = Recorder()
    with recorder("price") as span:
        begin = time.thread_time_ns()
        for _ in range(n):
            with span.part("nothing"):
                pass
        spent = time.thread_time_ns() - begin
    recorder.finish()
    return spent / n


def told(taken: list[Block], what: str) -> tuple[str, str]:
    """Ratio and verdict in words."""
    ratio, low, high = interval([block.ratio("observed", "unobserved", what) for block in taken])
    verdict = "yes" if high < LIMIT else "no" if low > LIMIT else "cannot tell"
    return f"ratio {ratio:.4f} ({low:.4f} to {high:.4f})", verdict


def compare(ways: dict[str, Callable[[], object]], threads: int, minutes: float) -> tuple[list[Block], int]:
    """Undisturbed blocks, as many as a verdict takes, and how many there were in all."""
    taken: list[Block] = []
    end = time.perf_counter() + 60.0 * minutes
    for n, block in enumerate(blocks(ways), 1):
        if block.is_undisturbed(threads):
            taken.append(block)
        clear = len(taken) >= FEWEST and len(taken) % 4 == 0 and told(taken, "wall")[1] != "cannot tell"
        if clear or time.perf_counter() > end:
            return taken, n
    raise AssertionError("blocks don't end")


def report(source: FrameSource, arguments: argparse.Namespace) -> None:
    compilation = Compilation().start()

    def run(around: Callable) -> object:
        return process(source, Params(), around, threads=arguments.jobs, until=arguments.until)

    def watch() -> tuple[TimedRecorder, Span]:
        return observed(run, compilation, sampling=arguments.sampling)

    ways: dict[str, Callable[[], object]] = {"unobserved": lambda: run(unobserved), "observed": watch}
    for way in ways.values():
        timed(way)
    recorder, tree = watch()
    spans = list(tree.walk())
    parts_n = sum(span.counts["times"] for span in spans if span.kind == PART)
    parts_ns, price_ns = parts_n * part_price_ns(), recorder.spent_ns
    taken, n = compare(ways, arguments.jobs, arguments.minutes)
    compilation.stop()
    print(f"{len(source.indices)} frames, until {arguments.until}, {arguments.jobs} threads")
    n_spans = sum(span.kind != PART for span in spans)
    print(f"{n_spans} spans: {price_ns / 1e6:.2f} ms; {parts_n} parts: {parts_ns / 1e6:.2f} ms")
    print(f"together {100 * (price_ns + parts_ns) / tree.cost.wall_ns:.3f} % of {tree.cost.wall_ns / 1e9:.2f} s")
    print(f"{len(taken)} of {n} blocks were undisturbed")
    if len(taken) < 2:
        print("below 1 %: cannot tell")
        return
    for what in ("wall", "cpu"):
        seconds = [getattr(run, what) for block in taken for run in block.runs["unobserved"]]
        more, low, high = interval([1e3 * block.difference("observed", "unobserved", what) for block in taken])
        print(f"{what:<4} {statistics.median(seconds):.3f} s unobserved, {told(taken, what)[0]}", end="")
        print(f", {more:+.1f} ms ({low:+.1f} to {high:+.1f})")
    print(f"below 1 %: {told(taken, 'wall')[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--images")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--minutes", type=float, default=5.0, help="most time")
    parser.add_argument("--sampling", action="store_true")
    arguments = parser.parse_args()
    with contextlib.closing(open_source(arguments.data, parse_images(arguments.images))) as source:
        warm_up(source.dtype)
        report(source, arguments)


if __name__ == "__main__":
    main()
