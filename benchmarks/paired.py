"""Two ways of doing the same thing, compared on a machine that others use.

A block holds each way twice, in the order A B B A or B A A B, so that a steady drift cancels. A block counts when none
of its four runs was disturbed, which is told without regard to how long they took: either other processes (and the
hypervisor) took little of the processors meanwhile, by /proc/stat, or, for work in a single thread, the run had
a processor all the time. Where /proc/stat isn't there every block counts.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST_FOREIGN = 0.04  # of the processors' time, in a run that counts; /proc/stat counts in ticks of 10 ms
_TICK_S = 1.0 / (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)


@dataclass(frozen=True)
class Run:
    """What one run took, s; and the share of the processors that others had meanwhile."""

    wall: float
    cpu: float
    foreign: float | None

    def is_undisturbed(self, threads: int) -> bool:
        alone = self.foreign is None or self.foreign <= MOST_FOREIGN
        return alone or (threads == 1 and self.cpu >= (1.0 - MOST_FOREIGN / 2) * self.wall)


@dataclass(frozen=True)
class Block:
    """Two runs of each way, by name."""

    runs: Mapping[str, tuple[Run, Run]]

    def is_undisturbed(self, threads: int) -> bool:
        return all(run.is_undisturbed(threads) for pair in self.runs.values() for run in pair)

    def ratio(self, way: str, to: str, what: str) -> float:
        """Of the sums of both runs; `what` is wall or cpu."""
        return self._mean(way, what) / self._mean(to, what)

    def difference(self, way: str, to: str, what: str) -> float:
        """Of the means of both runs, s."""
        return self._mean(way, what) - self._mean(to, what)

    def _mean(self, way: str, what: str) -> float:
        return sum(getattr(run, what) for run in self.runs[way]) / 2


def timed(action: Callable[[], object], *, children: bool = False) -> Run:
    """Run it; `children`: its work is done in child processes that end with it."""
    busy, cpu, wall = _busy_s(), _own_s(children), time.perf_counter()
    action()
    wall, cpu = time.perf_counter() - wall, _own_s(children) - cpu
    after = _busy_s()
    if busy is None or after is None:
        return Run(wall, cpu, None)
    return Run(wall, cpu, max(0.0, after - busy - cpu) / wall / (os.cpu_count() or 1))


def blocks(ways: Mapping[str, Callable[[], object]], *, seed: int = 1) -> Iterator[Block]:
    """Blocks without end, of two ways."""
    first, second = ways
    chance = random.Random(seed)
    while True:
        a, b = (first, second) if chance.random() < 0.5 else (second, first)
        runs = [(name, timed(ways[name])) for name in (a, b, b, a)]
        pairs = {name: [run for other, run in runs if other == name] for name in ways}
        yield Block({name: (one, two) for name, (one, two) in pairs.items()})


def interval(values: list[float], seed: int = 1) -> tuple[float, float, float]:
    """The median and its 99 % interval (bootstrap), which stands being looked at several times."""
    chosen = np.random.default_rng(seed).choice(values, (4000, len(values)))
    low, high = np.percentile(np.median(chosen, axis=1), [0.5, 99.5])
    return float(np.median(values)), float(low), float(high)


def _busy_s() -> float | None:
    """Time that all processors have been in use, with what the hypervisor took."""
    try:
        fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) * _TICK_S


def _own_s(children: bool) -> float:
    ended = os.times()
    return time.process_time() + (ended.children_user + ended.children_system if children else 0.0)
