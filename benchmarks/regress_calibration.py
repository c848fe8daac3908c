"""How `hdrmx regress` fares on real histories, beside asv's steps, Otava's change points and a t-test.

    python -m pip install --no-deps --target otava apache-otava     # asks for versions that hdrmx can't have
    python -m benchmarks.regress_calibration RESULTS --tcpd FOLDER --otava otava -o table.md

RESULTS is a results folder of asv with a long history; --tcpd the Turing Change Point Dataset
(https://github.com/alan-turing-institute/TCPD), --published the `regressions.json` and `index.json` of `asv publish`.

Unchanged series: the longest stretch of each real series in which asv's detector, left at its default, sees no step,
drawn anew in blocks of 10 commits on the average (stationary bootstrap). Many of those stretches still flip or wander,
which a block of 10 turns into true, if short, levels; so they are shown twice: those that stay level (the running
median of 7 commits spans less than 3 spreads of differences), and all.
Planted steps: twice the standard deviation of such a series, 20 commits from its end. Annotated series: F1 as its
authors define it, margin 5, index 0 counted as a change point, the mean over annotators for recall and their union
for precision.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from asv import step_detect
from scipy import stats

from hdrmx.analysis.causes import at_commits
from hdrmx.analysis.changes import find_steps, passed
from hdrmx.io.asv_results import read_asv

Detector = Callable[[np.ndarray], list[int]]
POINTS, BLOCK, AFTER, MARGIN, STRETCH = 200, 10, 20, 2, 60
WINDOW, LEVEL = 20, 0.001


def ours(y: np.ndarray) -> list[int]:
    return [step.at for step in find_steps(y).steps if not step.provisional]


def asv_steps(y: np.ndarray) -> list[int]:
    """Every step of asv's detector, as its graphs show them."""
    return [int(step[0]) for step in step_detect.detect_steps(y.tolist())[1:]]


def asv_regressions(y: np.ndarray) -> list[int]:
    """What `asv publish` calls a regression, at its default of 5 %."""
    found = step_detect.detect_regressions(step_detect.detect_steps(y.tolist()), threshold=0.05)[2]
    return [int(position[1]) for position in found or []]


def t_test(y: np.ndarray) -> list[int]:
    """Welch's test of the WINDOW points on both sides of each, at LEVEL; the smallest p of each run of them."""
    n = len(y)
    places = np.arange(3, n - 2)
    x = y - y.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (x, x * x))
    sides = []
    for a, b in ((np.maximum(places - WINDOW, 0), places), (places, np.minimum(places + WINDOW, n))):
        size = b - a
        mean = (sums[b] - sums[a]) / size
        spread = np.sqrt(np.maximum((squares[b] - squares[a]) / size - mean**2, 0) * size / (size - 1))
        sides += [mean, spread, size]
    p = np.nan_to_num(stats.ttest_ind_from_stats(*sides, equal_var=False).pvalue, nan=1.0)
    found = []
    while p.min(initial=1.0) < LEVEL:
        best = int(p.argmin())
        found.append(int(places[best]))
        p[np.abs(places - places[best]) < WINDOW // 2] = 1.0
    return sorted(found)


def otava_from(folder: str | None) -> Detector | None:
    """Apache Otava at its defaults (window 50, p 0.001), where it can be imported."""
    if folder:
        sys.path.insert(0, folder)
    try:
        from otava.analysis import compute_change_points
    except ImportError:
        return None
    return lambda y: [int(c.index) for c in compute_change_points(y.tolist())[0]]


def unchanged(y: np.ndarray) -> np.ndarray | None:
    """The longest stretch without a step, None where it is short."""
    y = y[np.isfinite(y)]
    if len(y) < STRETCH:
        return None
    parts = [(step[0], step[1]) for step in step_detect.detect_steps(y.tolist())]
    a, b = max(parts, key=lambda part: part[1] - part[0])
    return y[a:b] if b - a >= STRETCH and np.ptp(y[a:b]) > 0 else None


def stays_level(y: np.ndarray) -> bool:
    """The running median of 7 spans less than 3 spreads of one point, by differences: nothing flips or wanders."""
    middle = np.median(np.lib.stride_tricks.sliding_window_view(y, 7), axis=1)
    spread = float(np.median(np.abs(np.diff(y)))) / (0.6745 * np.sqrt(2))
    return bool(np.ptp(middle) < 3 * spread)


def resampled(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """POINTS values in blocks of geometric length, mean BLOCK."""
    fresh = rng.random(POINTS) < 1 / BLOCK
    at = np.zeros(POINTS, int)
    for i in range(POINTS):
        at[i] = rng.integers(len(y)) if i == 0 or fresh[i] else (at[i - 1] + 1) % len(y)
    return y[at]


def f1(found: Sequence[int], annotated: Sequence[Sequence[int]], margin: int = 5) -> float:
    """Van den Burg and Williams (2020) arXiv:2003.06222, section 3.2."""
    places = sorted({0, *found})
    truths = [sorted({0, *a}) for a in annotated]
    union = sorted({t for truth in truths for t in truth})
    precision = _matched(union, places, margin) / len(places)
    recall = float(np.mean([_matched(truth, places, margin) / len(truth) for truth in truths]))
    return 2 * precision * recall / (precision + recall)


def _matched(truth: Sequence[int], found: Sequence[int], margin: int) -> int:
    left = list(found)
    n = 0
    for t in truth:
        near = [x for x in left if abs(x - t) <= margin]
        if near:
            left.remove(min(near, key=lambda x: abs(x - t)))
            n += 1
    return n


def false_alarms(stretches: list[np.ndarray], detectors: dict[str, Detector], few: int, many: int) -> list[str]:
    """Rows of a table: how many series without a step are given one."""
    rows = []
    for name, detect in detectors.items():
        rng = np.random.default_rng(1)
        n = many if detect is ours else few
        begun = time.perf_counter()
        p, alarms = [], 0
        for i in range(n):
            y = resampled(stretches[i % len(stretches)], rng)
            if detect is ours:
                found = find_steps(y)
                p.append(found.p)
                alarms += any(not step.provisional for step in found.steps)
            else:
                alarms += bool(detect(y))
        each = (time.perf_counter() - begun) / n
        rows.append(f"| {name} | {n} | {alarms} | {alarms / n:.2%} | {1e3 * each:.0f} |")
        if p:
            told = int(passed(p, 0.01).sum())
            rows.append(f"| hdrmx, all series together (false-discovery rate 1 %) | {n} | {told} | {told / n:.2%} | |")
    return rows


def planted(stretches: list[np.ndarray], detectors: dict[str, Detector], few: int) -> list[str]:
    """Rows of a table: steps of twice the noise, 20 commits from the end, up or down."""
    rows = []
    for name, detect in detectors.items():
        rng = np.random.default_rng(2)
        hit = near = extra = 0
        for i in range(few):
            y = resampled(stretches[i % len(stretches)], rng)
            cut = POINTS - AFTER
            y = y + np.where(np.arange(POINTS) >= cut, 2 * y.std(ddof=1), 0.0)
            found = detect(y)
            hit += any(abs(x - cut) <= AFTER // 2 for x in found)
            near += any(abs(x - cut) <= MARGIN for x in found)
            extra += any(abs(x - cut) > AFTER // 2 for x in found)
        rows.append(f"| {name} | {few} | {hit / few:.1%} | {near / few:.1%} | {extra / few:.1%} |")
    return rows


def annotated(folder: Path, detectors: dict[str, Detector]) -> list[str]:
    """Rows of a table: F1 on the annotated series that the data set carries itself."""
    truths = json.loads((folder / "annotations.json").read_text())
    series = {}
    for path in sorted(folder.glob("datasets/*/*.json")):
        content = json.loads(path.read_text())
        if content["n_dim"] == 1 and path.stem in truths:
            series[path.stem] = np.array([np.nan if v is None else v for v in content["series"][0]["raw"]], float)
    rows = ["| series | annotated | " + " | ".join(detectors) + " | none |", "|---" * (len(detectors) + 3) + "|"]
    scores: dict[str, list[float]] = {name: [] for name in [*detectors, "none"]}
    for name, y in series.items():
        marks = list(truths[name].values())
        cells = []
        for detector, detect in [*detectors.items(), ("none", lambda y: [])]:
            with contextlib.suppress(ValueError):
                scores[detector].append(f1(detect(y), marks))
                cells.append(f"{scores[detector][-1]:.3f}")
        rows.append(f"| {name} | {', '.join(str(len(m)) for m in marks)} | " + " | ".join(cells) + " |")
    means = " | ".join(f"**{np.mean(v):.3f}**" for v in scores.values())
    return [*rows, f"| mean of {len(series)} | | {means} |"]


def published(folder: Path) -> list[str]:
    """What a published list of regressions comes to, when it is grouped by commit and module."""
    content = json.loads((folder / "regressions.json").read_text())["regressions"]
    index = json.loads((folder / "index.json").read_text())
    jumps = [(row[0], *jump) for row in content for jump in row[6]]
    numbers = sorted(int(n) for n in index["revision_to_hash"])
    place = {n: i for i, n in enumerate(numbers)}
    places = []
    for _, before, after, _, _ in jumps:
        last = place.get(after, 0)
        places.append((min(place.get(before, last - 1) + 1, last) if before is not None else last, last, last))
    groups = []
    for at, members in at_commits(places):
        modules: dict[str, list[int]] = {}
        for i in members:
            modules.setdefault(jumps[i][0].split(".")[0], []).append(i)
        groups.append((at, members, modules))
    shares = np.cumsum([len(members) for _, members, _ in groups]) / len(jumps)
    out = [
        f"{len(jumps)} jumps of {len(content)} series fall to {len(groups)} commits; "
        f"the first 12 hold {shares[min(11, len(shares) - 1)]:.0%}.",
        "",
    ]
    out += ["| commit | date | jumps | modules | typical | largest |", "|---|---|---|---|---|---|"]
    for at, members, modules in groups[:15]:
        ratios = sorted(jumps[i][4] / jumps[i][3] for i in members if jumps[i][3])
        top = max(members, key=lambda i: jumps[i][4] / jumps[i][3] if jumps[i][3] else 0)
        number = str(numbers[at])
        when = time.strftime("%Y-%m-%d", time.gmtime(index["revision_to_date"][number] / 1000))
        names = ", ".join(f"{m} {len(v)}" for m, v in sorted(modules.items(), key=lambda kv: -len(kv[1]))[:4])
        more = f" and {len(modules) - 4} more" if len(modules) > 4 else ""
        largest = f"{jumps[top][0][:60]} {ratios[-1]:.2f}"
        cells = [index["revision_to_hash"][number][:8], when, str(len(members)), names + more]
        cells += [f"{ratios[len(ratios) // 2]:.2f}", largest.replace("\n", " ")]
        out.append("| " + " | ".join(cells) + " |")
    return out


def stretches_of(folder: str, cache: Path | None) -> list[np.ndarray]:
    if cache is not None and cache.exists():
        return pickle.loads(cache.read_bytes())
    found = []
    for series in read_asv(folder).series:
        newest = series.era == series.era.max()
        stretch = unchanged(series.values[newest])
        if stretch is not None:
            found.append(stretch)
    if cache is not None:
        cache.write_bytes(pickle.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results")
    parser.add_argument("--tcpd", type=Path)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--otava", help="folder that apache-otava was installed into")
    parser.add_argument("--few", type=int, default=500, help="series for each detector")
    parser.add_argument("--many", type=int, default=4000, help="series without a step for hdrmx")
    parser.add_argument("--cache", type=Path, help="keeps the unchanged stretches")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    detectors: dict[str, Detector] = {"hdrmx": ours, "asv, steps": asv_steps, "asv, regressions": asv_regressions}
    otava = otava_from(given.otava)
    if otava is not None:
        detectors["Otava"] = otava
    detectors[f"t-test, {WINDOW} points"] = t_test
    out: list[str] = []

    def say(*lines: str) -> None:
        out.extend(lines)
        print("\n".join(lines), flush=True)
        if given.output:
            given.output.write_text("\n".join(out) + "\n")

    if given.tcpd:
        say("", "## Annotated series: F1, margin 5", "", *annotated(given.tcpd, detectors))
    if given.published:
        say("", "## A published list, grouped", "", *published(given.published))
    stretches = stretches_of(given.results, given.cache)
    lengths = np.array([len(s) for s in stretches])
    order = np.random.default_rng(0).permutation(len(stretches))
    stretches = [stretches[i] for i in order]
    say(
        "",
        f"{len(stretches)} real series have a stretch of {STRETCH} commits or more without a step, "
        f"{np.median(lengths):.0f} in the middle.",
    )
    level = [s for s in stretches if stays_level(s)]
    for name, drawn, many in (
        (f"{len(level)} that stay level", level, given.many),
        (f"all {len(stretches)}", stretches, given.few),
    ):
        head = ["| detector | series | found | within 2 commits | another one as well |", "|---|---|---|---|---|"]
        title = f"## Steps of twice the noise, {AFTER} commits from the end: stretches, {name}"
        say("", title, "", *head, *planted(drawn, detectors, given.few))
        head = ["| detector | series | with an alarm | share | ms a series |", "|---|---|---|---|---|"]
        title = f"## Unchanged series of {POINTS} commits: stretches, {name}"
        say("", title, "", *head, *false_alarms(drawn, detectors, given.few, many))
    if otava is None:
        say("", "Otava was not there: see the head of the script.")


if __name__ == "__main__":
    main()
