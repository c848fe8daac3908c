"""Reads a results folder of asv (airspeed velocity), of any project: `<folder>/<machine>/<hash8>-<env>.json`.

Version 2 of the files, whose `result_columns` name the columns; and version 1, where each result is a mapping or a
plain number. A null is a benchmark that failed, NaN one that was skipped: both are missing values here.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hdrmx.analysis.history import Commit, Event, History, Series, gathered, kind_of, ordered
from hdrmx.errors import InputError

Point = tuple[int, float, float, float, int]
NOT_RESULTS = ("machine.json", "benchmarks.json")


def is_asv_folder(folder: str | Path) -> bool:
    """Whether a folder, or `results` within it, has folders of machines."""
    folder = Path(folder)
    return any(folder.glob("*/machine.json")) or any((folder / "results").glob("*/machine.json"))


def read_asv(folder: str | Path, repo: str | Path | None = None) -> History:
    """The history in a results folder.

    Parameters
    ----------
    folder : the `results_dir` of asv, or the folder that holds it as `results`
    repo : checkout of the measured project: gives the order of its commits, their subjects and files. Without it
        commits go by date.

    Raises
    ------
    InputError : there are no results, or a file of them can't be read
    """
    folder = Path(folder)
    if not any(folder.glob("*/machine.json")) and any((folder / "results").glob("*/machine.json")):
        folder = folder / "results"
    files = sorted(path for path in folder.glob("*/*.json") if path.name not in NOT_RESULTS)
    if not files:
        raise InputError(folder, "has no results of asv", "give its results_dir, with a folder for each machine")
    runs = [(path.parent.name, _read(path)) for path in files]
    dates = {run["commit_hash"]: int(run.get("date") or 0) for _, run in runs}
    known = repository_commits(repo) if repo is not None else ()
    commits = ordered([Commit(name, date) for name, date in sorted(dates.items())], known)
    number = {commit.hash: i for i, commit in enumerate(commits)}
    described = _benchmarks(folder)
    series: list[Series] = []
    events: list[Event] = []
    for machine in dict.fromkeys(name for name, _ in runs):
        of_machine = sorted((run for name, run in runs if name == machine), key=lambda run: number[run["commit_hash"]])
        found, changed = _of_machine(machine, of_machine, number, described)
        series += found
        events += changed
    return History(str(folder), commits, tuple(series), tuple(events), project=_project(folder))


def repository_commits(repo: str | Path) -> tuple[Commit, ...]:
    """All commits, oldest first, in an order that respects parents; with subjects and changed files."""
    layout = ["log", "--all", "--topo-order", "--reverse", "--name-only", "--format=%x01%H%x02%ct%x02%s"]
    try:
        done = subprocess.run(
            ["git", "-C", str(repo), *layout], capture_output=True, text=True, check=True, timeout=300
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise InputError(repo, f"its history can't be read ({said.strip()})", "give a checkout of git") from None
    commits = []
    for block in done.stdout.split("\x01")[1:]:
        head, _, names = block.partition("\n")
        name, date, subject = head.split("\x02", 2)
        commits.append(Commit(name, int(date) * 1000, subject, tuple(line for line in names.split("\n") if line)))
    return tuple(commits)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"can't be read as a result of asv ({error})", "was it cut off? remove it") from None
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict) or "commit_hash" not in content:
        raise InputError(path, "is no result of asv", "remove it from the folder of the machine")
    return content


def _benchmarks(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "benchmarks.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError):
        return {}  # only units and names of axes come from it
    return {name: value for name, value in content.items() if isinstance(value, dict)}


def _project(folder: Path) -> str:
    for path in (folder.parent / "asv.conf.json", folder.parent.parent / "asv.conf.json"):
        if path.exists():
            try:
                return str(json.loads(path.read_text(encoding="utf-8")).get("project", ""))
            except ValueError:
                return ""  # asv allows comments in it
    return ""


def _of_machine(
    machine: str, runs: list[dict[str, Any]], number: dict[str, int], described: dict[str, dict[str, Any]]
) -> tuple[list[Series], list[Event]]:
    seen = [(run["commit_hash"], _environment(run)) for run in runs]
    together = len({commit for commit, _ in seen}) < len(set(seen))  # a matrix of environments: each has its series
    eras: dict[tuple[str, str], int] = {}
    last: dict[str, dict[str, str]] = {}
    events: list[Event] = []
    points: dict[tuple[str, tuple[str, ...], str], list[Point]] = {}
    versions: dict[str, str] = {}
    for run in runs:
        environment = _environment(run)
        key = environment if together else ""
        surroundings = _surroundings(run)
        if key in last and last[key] != surroundings:
            text = _difference(last[key], surroundings)
            events.append(Event(number[run["commit_hash"]], machine, text))
            eras[key, ""] = eras.get((key, ""), 0) + 1
        last[key] = surroundings
        for name, params, value, low, high, version in _results(run):
            if versions.get(name, version) != version:
                eras[key, name] = eras.get((key, name), 0) + 1
            versions[name] = version
            era = 1000 * eras.get((key, ""), 0) + eras.get((key, name), 0)
            at = number[run["commit_hash"]]
            points.setdefault((name, params, key), []).append((at, value, low, high, era))
    series = []
    for (name, params, key), rows in points.items():
        if not any(math.isfinite(row[1]) for row in rows):
            continue
        unit = str(described.get(name, {}).get("unit") or _unit(name))
        on = f"{machine}, {key}" if key else machine
        series.append(Series(name, params, unit, kind_of(name, unit, params), on, *gathered(rows)))
    return series, events


def _environment(run: dict[str, Any]) -> str:
    return str(run.get("env_name") or run.get("python") or "")


def _surroundings(run: dict[str, Any]) -> dict[str, str]:
    """What must be the same for two results to be compared: machine, interpreter, libraries, variables."""
    found = {str(k): str(v) for k, v in (run.get("params") or {}).items() if k != "machine"}
    found |= {str(k): str(v) for k, v in (run.get("requirements") or {}).items()}
    return found | {f"${k}": str(v) for k, v in (run.get("env_vars") or {}).items()}


def _difference(old: dict[str, str], new: dict[str, str]) -> str:
    changed = [
        f"{k}: {old.get(k, 'none')} → {new.get(k, 'none')}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)
    ]
    return "; ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")


def _unit(name: str) -> str:
    last = name.rpartition(".")[2]
    return "seconds" if last.startswith("time") else "bytes" if last.startswith(("mem", "peakmem")) else ""


def _results(run: dict[str, Any]) -> Iterator[tuple[str, tuple[str, ...], float, float, float, str]]:
    columns = run.get("result_columns")
    for name, packed in run["results"].items():
        if columns and isinstance(packed, list):
            row = dict(zip(columns, packed))
        elif isinstance(packed, dict):
            row = packed
        else:
            row = {"result": packed}
        values = row.get("result")
        version = str(row.get("version") or (run.get("benchmark_version") or {}).get(name, ""))
        if values is None:
            continue
        axes = row.get("params") or []
        combinations = list(itertools.product(*axes)) if axes else [()]
        values = values if isinstance(values, list) else [values]
        lows, highs = (_column(row, kind, len(values)) for kind in ("stats_q_25", "stats_q_75"))
        for params, value, low, high in zip(combinations, values, lows, highs):
            yield name, tuple(str(p) for p in params), _number(value), _number(low), _number(high), version


def _column(row: dict[str, Any], name: str, n: int) -> list[Any]:
    found = row.get(name)
    return found if isinstance(found, list) and len(found) == n else [None] * n


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan
