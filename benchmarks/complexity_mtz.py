"""The defect of the MTZ batch headers, planted in our own writer: is it told before it can be felt?

    python benchmarks/complexity_mtz.py [--budget 60] [--check 2000]

As it was, O(n^2) (the list of headers is walked for its end whenever one is added), and as an O(n^3). The stage
"export" is measured at up to 208 batches with the defect; the cost of the planted functions at 36,000 batches is
forecast from their fits, and so is that at a size that can be run, where it is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from hdrmx.complexity.classify import fit, predict
from hdrmx.complexity.fit import make_series, typical
from hdrmx.complexity.measuring import Plan
from hdrmx.complexity.run import complexity
from hdrmx.complexity.study import COUNTS, TIME

DEFECTS = Path(__file__).parents[1] / "tests" / "defects" / "pipeline_defects.py"
SIZES = {  # so small that the planted work is under a tenth of the stage
    "batches_quadratic": (32, 40, 52, 64, 80, 100, 128, 160),
    "batches_cubic": (64, 80, 96, 112, 136, 160, 184, 208),
}
WHOLE = 36_000
REPEATS = 15


def planted(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipeline_defects", DEFECTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds(module: ModuleType, function: str, n: int, repeats: int) -> list[float]:
    """Of the planted work alone, for a sweep of n frames."""
    sweep = SimpleNamespace(scan=SimpleNamespace(n_frames=n))
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        getattr(module, function)(None, sweep)
        taken.append(time.process_time() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--check", type=int, default=2000, help="a size at which the planted work can be run")
    arguments = parser.parse_args()
    module = planted("pipeline_defects")
    for defect, function in (("batches_quadratic", "add_headers"), ("batches_cubic", "add_headers_cubed")):
        start = time.perf_counter()
        sizes = SIZES[defect]
        plan = Plan(sizes, measures=(COUNTS, TIME), budget_s=arguments.budget / 2, driver="batches")
        study = complexity("stage:export", plan, before=f"{DEFECTS}:{defect}")
        took = time.perf_counter() - start
        first = study.guilty[0] if study.guilty else None
        share = sum(f.share for f in study.functions if f.key[0] == str(DEFECTS))
        print(f"{defect}: {study.verdict}, {took:.0f} s, first to blame {first and first.function}")
        print(f"  share of the profiled time at {sizes[-1]} batches: {100 * share:.1f} %")
        values: dict[int, list[float]] = {n: seconds(module, function, n, REPEATS) for n in sizes}
        whole = typical(study.measures[TIME].values[sizes[-1]])
        print(f"  share of the stage's time, without the profiler: {100 * typical(values[sizes[-1]]) / whole:.1f} %")
        series = make_series(values, exact=False)
        assert series is not None
        found = fit(replace(series, noise=np.maximum(series.noise, 1e-3)))
        value, low, high = predict(found, arguments.check)
        true = min(seconds(module, function, arguments.check, 3))
        print(f"  at {arguments.check}: forecast {value:.3f} s ({low:.3f} to {high:.3f}), run {true:.3f} s", end="")
        print(f", off by {100 * (value / true - 1):+.1f} %; class {found.growth}")
        value, low, high = predict(found, WHOLE)
        print(f"  at {WHOLE}: forecast {value:.1f} s ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
