"""What the logs of DIALS's programs tell: counts of work, answers, and the timings that they print themselves.

Written against DIALS 3.12. What a log doesn't hold is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdrmx.adapters.foreign import Facts

_NUMBER = r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
_CELL = re.compile(r"^\s*Unit cell: (.+)$", re.MULTILINE)


def version(log: str) -> str | None:
    """Of DIALS, as each log begins with."""
    found = re.search(r"^DIALS (\d\S*)", log, re.MULTILINE)
    return found[1] if found else None


def facts(stage: str, log: str) -> Facts:
    """Counts and answers of one program's log; names as in our own stages where they mean the same."""
    reader = _READERS.get(stage)
    return reader(log) if reader is not None else ({}, {})


def read_log(path: Path) -> str:
    """Empty where there is none: a program may fail before it writes one."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _import(log: str) -> Facts:
    answers: dict[str, Any] = {}
    if found := re.search(r"num images: (\d+)", log):
        answers["images"] = int(found[1])
    return {}, answers


def _find_spots(log: str) -> Facts:
    strong = [int(n) for n in re.findall(r"^Found (\d+) strong pixels on image", log, re.MULTILINE)]
    counts: dict[str, int] = {}
    answers: dict[str, Any] = {}
    if strong:
        counts = {"frames": len(strong), "strong_pixels": sum(strong)}
    spots = _last_int(r"^Saved (\d+) reflections to", log)
    if spots is not None:
        counts["spots"] = answers["spots"] = spots
    return counts, answers


def _index(log: str) -> Facts:
    answers: dict[str, Any] = {}
    rows = re.findall(r"^\|\s*\d+ \|\s*(\d+) \|\s*(\d+) \|\s*[\d.]+% *\|", log, re.MULTILINE)
    counts = {}
    if rows:
        n_imagesets = len(set(re.findall(r"^\|\s*(\d+) \|\s*\d+ \|\s*\d+ \|\s*[\d.]+% *\|", log, re.MULTILINE)))
        last = [(int(a), int(b)) for a, b in rows[-n_imagesets:]]
        indexed, all_spots = sum(a for a, _ in last), sum(a + b for a, b in last)
        counts = {"indexed": indexed}
        answers["indexed"] = round(indexed / all_spots, 4) if all_spots else None
    counts["refinement_steps"] = _steps(log)
    return counts, {**answers, **_model(log)}


def _refine(log: str) -> Facts:
    answers = _model(log)
    counts = {"refinement_steps": _steps(log)}
    found = re.findall(r"There are (\d+) parameters to refine against (\d+) reflections", log)
    if found:
        counts["parameters"], counts["reflections"] = int(found[-1][0]), int(found[-1][1])
    return counts, answers


def _steps(log: str) -> int:
    """Rows of all tables of refinement steps, but for the first of each, where nothing has moved yet."""
    n = 0
    for table in log.split("Refinement steps:\n")[1:]:
        rows = re.findall(r"^\|\s*(\d+) \|", table.partition("\n\n")[0], re.MULTILINE)
        n += sum(int(row) > 0 for row in rows)
    return n


def _model(log: str) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    cells = _CELL.findall(log)
    if cells:
        answers["cells"] = [_cell(cells[-1])]
    groups = re.findall(r"^\s*Space group: (.+)$", log, re.MULTILINE)
    if groups:
        answers["space_group"] = groups[-1].strip()
    last = log.rpartition("RMSDs by experiment:\n")[2].partition("\n\n")[0] if "RMSDs by experiment:\n" in log else ""
    row = re.findall(r"^\|\s*\d+" + rf" \|\s*{_NUMBER}" * 4 + r" \|$", last, re.MULTILINE)
    if row:
        answers["rmsd_px_px_frames"] = [float(x) for x in row[0][1:]]
    return answers


def _cell(text: str) -> list[float]:
    """Without the uncertainties in brackets."""
    return [float(x) for x in re.findall(r"\d+(?:\.\d+)?", re.sub(r"\(\d+\)", "", text))][:6]


def _integrate(log: str) -> Facts:
    counts: dict[str, int] = {}
    answers: dict[str, Any] = {}
    saved = _last_int(r"^Saving (\d+) reflections to", log)
    if saved is not None:
        counts["integrated"] = answers["integrated"] = saved
    if (n := _last_int(r"^Removing \d+ unintegrated reflections of (\d+) total", log)) is not None:
        counts["predicted"] = n
    frames = _last_int(r"number of images:\s+(\d+)", log)
    if frames is not None:
        counts["frames"] = frames
    for i, title in enumerate(("reference profile formation", "integration")):
        table = log.partition(f"Timing information for {title}")[2][:900]
        for name, seconds in re.findall(rf"^\| (\S+) time\s+\| {_NUMBER} seconds", table, re.MULTILINE)[:6]:
            answers[f"log_{'profiles_' if i == 0 else ''}{name.lower().replace('-', '_')}_s"] = float(seconds)
    return counts, answers


def _symmetry(log: str) -> Facts:
    answers: dict[str, Any] = {}
    for key, pattern in (
        ("patterson_group", r"^Best solution: (.+)$"),
        ("space_group", r"^Recommended space group: (.+)$"),
    ):
        if found := re.findall(pattern, log, re.MULTILINE):
            answers[key] = found[-1].strip()
    if found := re.findall(rf"^Laue group probability: {_NUMBER}", log, re.MULTILINE):
        answers["probability"] = float(found[-1])
    return {}, answers


def _scale(log: str) -> Facts:
    answers = _merging(log)
    rounds = [float(s) for s in re.findall(rf"^Time taken for refinement {_NUMBER}", log, re.MULTILINE)]
    counts = {"minimisations": len(rounds)} if rounds else {}
    if rounds:
        answers["log_minimisation_s"] = round(sum(rounds), 2)
    if found := re.findall(rf"^Total time taken: {_NUMBER}", log, re.MULTILINE):
        answers["log_total_s"] = float(found[-1])
    if found := re.findall(rf"Parameters: a = {_NUMBER}, b = {_NUMBER}", log):
        answers["error_model"] = [float(x) for x in found[-1]]
    if "n_observations" in answers:
        counts["observations"] = answers["n_observations"]
    return counts, answers


_MERGING = {
    "Completeness": ("completeness", 0.01),
    "Multiplicity": ("multiplicity", 1),
    "I/sigma": ("i_over_sigma", 1),
    "Rmerge(I)": ("r_merge", 1),
    "Rmeas(I)": ("r_meas", 1),
    "Rpim(I)": ("r_pim", 1),
    "CC half": ("cc_half", 1),
    "High resolution limit": ("d_min", 1),
    "Total observations": ("n_observations", None),
    "Total unique": ("n_unique", None),
}


def _merging(log: str) -> dict[str, Any]:
    """Of the last `Summary of merging statistics`; the overall column is the first or the last of three or four."""
    summary = log.rpartition("Summary of merging statistics")[2]
    shell = "(?:Suggested|Overall|Low|High)"
    header = re.search(rf"^ +({shell}(?: +{shell})*)$", summary, re.MULTILINE)
    if header is None or summary == log:
        return {}
    names = header[1].split()
    answers: dict[str, Any] = {}
    for line in summary.splitlines():
        for title, (name, factor) in _MERGING.items():
            if line.startswith(title + " "):
                values = line[len(title) :].split()
                if len(values) == len(names):
                    value = float(values[names.index("Overall")])
                    answers[name] = int(value) if factor is None else round(value * factor, 6)
    return answers


def _export(log: str) -> Facts:
    counts = {}
    for name, pattern in (
        ("reflections", r"^Saving (\d+) (?:\w+ )?reflections to"),
        ("batches", r"^Number of batches: (\d+)"),
    ):
        if (n := _last_int(pattern, log)) is not None:
            counts[name] = n
    return counts, {}


def _merge(log: str) -> Facts:
    answers = _merging(log)
    counts = {"observations": answers["n_observations"]} if "n_observations" in answers else {}
    if found := re.findall(rf"^Wilson B factor\s+{_NUMBER}", log, re.MULTILINE):
        answers["wilson_b"] = float(found[-1])
    return counts, answers


def _last_int(pattern: str, log: str) -> int | None:
    found = re.findall(pattern, log, re.MULTILINE)
    return int(found[-1]) if found else None


_READERS: dict[str, Callable[[str], Facts]] = {
    "import": _import,
    "find_spots": _find_spots,
    "index": _index,
    "refine": _refine,
    "integrate": _integrate,
    "symmetry": _symmetry,
    "scale": _scale,
    "export": _export,
    "merge": _merge,
}
