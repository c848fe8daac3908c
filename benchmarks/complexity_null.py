"""Clean functions must never be said to exceed: so many studies of functions that keep to what they declare.

    python benchmarks/complexity_null.py [--runs 1000] [--budget 1.5] [--load 0]

Each study is made in fresh processes; functions, sizes and the seed of the sizes change from one to the next. `--load`
starts so many processes that keep the machine busy meanwhile.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import time
from collections import Counter
from pathlib import Path

from hdrmx.complexity.growth import parse_growth
from hdrmx.complexity.measuring import Plan
from hdrmx.complexity.run import complexity
from hdrmx.complexity.study import COUNTS, MEMORY, TIME, Study

FUNCTIONS = Path(__file__).with_name("complexity_null_functions.py")
DECLARED = {
    "total": "n", "squares": "n", "strings": "n", "dictionary": "n", "members": "n", "sort": "n",
    "sort_keys": "n log n",
    "heap": "n log n", "bisect": "n log n", "halves": "n", "merge_sort": "n log n", "numpy_sum": "n", "numpy_sort": "n",
    "numpy_unique": "n log n", "numpy_where": "n", "generator": "n", "queue": "n", "json_dump": "n", "compress": "n",
    "pairs": "n^2", "matrix": "n^3", "nothing": "1",
}  # fmt: skip
SMALL = {"pairs": 8, "matrix": 4}  # smallest size, where it isn't 64


def busy() -> None:
    while True:
        sum(range(10_000))


def study(name: str, rng: random.Random, budget_s: float) -> Study:
    factor = rng.uniform(1.4, 1.9 if name in SMALL else 2.2)
    first = SMALL.get(name, 64) * rng.uniform(1.0, 2.0)
    sizes = tuple(sorted({round(first * factor**k * rng.uniform(0.95, 1.05)) for k in range(rng.randint(6, 8))}))
    plan = Plan(sizes, parse_growth(DECLARED[name]), measures=(COUNTS, TIME, MEMORY), budget_s=budget_s)
    return complexity(f"{FUNCTIONS}:{name}", plan)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--budget", type=float, default=1.5)
    parser.add_argument("--load", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(arguments.load)]
    for process in others:
        process.start()
    rng, verdicts = random.Random(arguments.seed), Counter[str]()
    start = time.perf_counter()
    for i in range(arguments.runs):
        name = list(DECLARED)[i % len(DECLARED)]
        found = study(name, rng, arguments.budget)
        verdicts[found.verdict] += 1
        if i % 20 == 19:
            print(f"{i + 1} runs: {dict(verdicts)}", flush=True)
        if found.verdict == "exceeds":
            over = [m for m, v in found.measures.items() if v.verdict == "exceeds"]
            print(f"run {i}: {name} exceeds: {over} {[g.function for g in found.guilty]} at {found.sizes}", flush=True)
    for process in others:
        process.terminate()
    print(f"{arguments.runs} runs in {time.perf_counter() - start:.0f} s: {dict(verdicts)}")
    return 1 if verdicts["exceeds"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
