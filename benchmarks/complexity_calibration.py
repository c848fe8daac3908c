"""How often the fit of `hdrmx complexity` is right, on simulated costs; the same table for three other rules.

    python benchmarks/complexity_calibration.py [--runs 1000] [--json FILE]

Costs are c0 + c1 n + c2 top(n) at 8 sizes from 64 by factors of 2. The top term's share at the largest size is drawn
from 0.5-1 ("dominant") or 0.1-0.5 ("hidden"), the rest split at random between constant and linear term. Counts are
whole numbers between 1e5 and 1e9; times have 2 % of normal noise a sample, with as many samples a size as stated.

The other rules, from their documentation, in code of our own:
- Google Benchmark, "oAuto": one term without a constant, least squares on the means, the class of least RMS error;
- big_O: a constant and one term, least squares on the means, the class of least residuals;
- slope: a straight line through log cost over log n, the nearest class by exponent (n log n counts as 1.1).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hdrmx.complexity.classify import fit
from hdrmx.complexity.fit import make_series
from hdrmx.complexity.growth import CONSTANT, LINEAR, LOG, Growth

TRUTHS = (LINEAR, Growth(1, 1), Growth(1.5), Growth(2), Growth(3))
CLASSES = (CONSTANT, LOG, *TRUTHS)
SIZES = 64.0 * 2.0 ** np.arange(8)
NOISE = 0.02
SHARES = {"dominant": (0.5, 1.0), "hidden": (0.1, 0.5)}
Samples = dict[float, list[float]]


@dataclass
class Row:
    rule: str
    values: str
    share: str
    truth: str
    runs: int
    right: float
    wrong: float
    untold: float
    covered: float | None = None  # of the intervals, where the rule gives them
    worst_error: float | None = None  # of the exponent
    median_error: float | None = None


def draw(rng: np.random.Generator, truth: Growth, share: str, samples: int) -> Samples:
    """Values by size; `samples` 0: exact counts."""
    top = rng.uniform(*SHARES[share])
    split = rng.uniform()
    linear = SIZES / SIZES[-1]
    y = (1 - top) * (split + (1 - split) * linear) + top * truth.at(SIZES) / float(truth.at(SIZES[-1]))
    if samples == 0:
        scale = 10 ** rng.uniform(5, 9)
        return {n: [float(round(v * scale))] for n, v in zip(SIZES, y)}
    return {n: list(v * (1 + NOISE * rng.standard_normal(samples))) for n, v in zip(SIZES, y)}


def true_exponent(truth: Growth) -> float:
    """The slope of the top term at the largest size."""
    return truth.exponent_at(SIZES[-1])


def hdrmx_rule(data: Samples, is_exact: bool, prior: Growth | None) -> tuple[Growth | None, tuple[float, float, float]]:
    series = make_series(data, is_exact)
    assert series is not None
    found = fit(series, prior)
    e = found.exponent
    return found.growth, (e.value, e.low, e.high)


def google_benchmark(data: Samples) -> Growth:
    n, y = np.array(list(data)), np.array([np.mean(v) for v in data.values()])

    def error(growth: Growth) -> float:
        g = growth.at(n)
        return float(np.sqrt(np.mean((y - (y @ g) / (g @ g) * g) ** 2)) / y.mean())

    return min(CLASSES, key=error)


def big_o(data: Samples) -> Growth:
    n, y = np.array(list(data)), np.array([np.mean(v) for v in data.values()])

    def residuals(growth: Growth) -> float:
        columns = np.ones((len(n), 1)) if growth == CONSTANT else np.column_stack([np.ones(len(n)), growth.at(n)])
        coefficients = np.linalg.lstsq(columns, y, rcond=None)[0]
        return float(((y - columns @ coefficients) ** 2).sum())

    return min(CLASSES, key=residuals)


def slope(data: Samples) -> Growth:
    n, y = np.array(list(data)), np.array([np.mean(v) for v in data.values()])
    exponent = np.polyfit(np.log(n), np.log(y), 1)[0]
    return min(CLASSES, key=lambda g: abs(exponent - (g.power + 0.1 * g.logs)))


def other_row(rule: str, name: Callable[[Samples], Growth], truth: Growth, share: str, samples: int, runs: int) -> Row:
    rng = np.random.default_rng(_seed(truth, share, samples))
    found = [name(draw(rng, truth, share, samples)) for _ in range(runs)]
    right = sum(g == truth for g in found) / runs
    return Row(rule, _label(samples), share, str(truth), runs, right, 1 - right, 0.0)


def hdrmx_row(truth: Growth, share: str, samples: int, runs: int, with_prior: bool = False) -> Row:
    rng = np.random.default_rng(_seed(truth, share, samples))
    right = wrong = covered = 0
    errors = []
    for _ in range(runs):
        data = draw(rng, truth, share, samples)
        growth, (value, low, high) = hdrmx_rule(data, samples == 0, truth if with_prior else None)
        right += growth == truth
        wrong += growth not in (truth, None)
        covered += low <= true_exponent(truth) + 1e-9 and high >= true_exponent(truth) - 1e-9
        errors.append(abs(value - true_exponent(truth)))
    rule = "hdrmx, class of counts known" if with_prior else "hdrmx"
    untold = 1 - (right + wrong) / runs
    row = Row(rule, _label(samples), share, str(truth), runs, right / runs, wrong / runs, untold)
    if share == "dominant":
        row.covered, row.worst_error = covered / runs, float(max(errors))
        row.median_error = float(np.median(errors))
    return row


def table(runs: int) -> list[Row]:
    rows = []
    for samples in (0, 1, 5, 25):
        for share in SHARES:
            for truth in TRUTHS:
                rows.append(hdrmx_row(truth, share, samples, runs))
                if samples == 5 and share == "dominant":
                    rows.append(hdrmx_row(truth, share, samples, runs, with_prior=True))
                if share == "dominant":
                    for rule, name in (("Google Benchmark", google_benchmark), ("big_O", big_o), ("slope", slope)):
                        rows.append(other_row(rule, name, truth, share, samples, runs))
    return rows


def _seed(truth: Growth, share: str, samples: int) -> int:
    return int(truth.power * 100 + truth.logs * 7 + samples * 10_000 + (share == "hidden") * 1_000_000)


def _label(samples: int) -> str:
    return "counts" if samples == 0 else f"times, {samples} a size"


def text(rows: list[Row]) -> str:
    lines = [
        "| rule | values | share of the top term | truth | right | wrong | untold | interval covers | error, worst |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for r in sorted(rows, key=lambda r: (r.share, r.values, r.rule)):
        covered = "" if r.covered is None else f"{100 * r.covered:.1f} %"
        worst = "" if r.worst_error is None else f"{r.worst_error:.3f}"
        figures = f"{100 * r.right:.1f} % | {100 * r.wrong:.1f} % | {100 * r.untold:.1f} % | {covered} | {worst}"
        lines.append(f"| {r.rule} | {r.values} | {r.share} | {r.truth} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = table(arguments.runs)
    print(text(rows))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(r) for r in rows], indent=1))


if __name__ == "__main__":
    main()
