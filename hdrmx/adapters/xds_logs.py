"""What the .LP files of XDS tell: times, counts of work, answers.

Written against XDS of June 2024. What a file doesn't hold is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdrmx.adapters.foreign import Facts

JOBS = ("XYCORR", "INIT", "COLSPOT", "IDXREF", "DEFPIX", "INTEGRATE", "CORRECT")
_NUMBER = r"(-?\d*\.?\d+(?:[eE][-+]?\d+)?)"


@dataclass(frozen=True)
class JobLog:
    """One .LP file."""

    job: str
    text: str

    @property
    def wall_s(self) -> float | None:
        """Elapsed time, of all tasks together where there were several."""
        whole = _last_float(rf"total elapsed wall-clock time for {self.job}\s+{_NUMBER} sec", self.text)
        return whole if whole is not None else _last_float(rf"elapsed wall-clock time\s+{_NUMBER} sec", self.text)

    @property
    def cpu_s(self) -> float | None:
        """Processor time of all tasks."""
        table = self.text.rpartition("TASK     cpu time (sec)")[2] if "TASK     cpu time (sec)" in self.text else ""
        rows = re.findall(rf"^\s*\d+\s+{_NUMBER}\s+{_NUMBER}\s*$", table, re.MULTILINE)
        if rows:
            return round(sum(float(cpu) for cpu, _ in rows), 3)
        return _last_float(rf"cpu time used\s+{_NUMBER} sec", self.text)

    @property
    def error(self) -> str | None:
        """What stopped the job, in its own words."""
        found = re.findall(r"^\s*!!! ERROR !*\s*(.*)$", self.text, re.MULTILINE)
        return " ".join(found[-1].replace("!!!", "").split()) if found else None

    @property
    def processors(self) -> int | None:
        """The most it used."""
        found = [int(n) for n in re.findall(r"USING\s+(\d+) OUT OF\s+\d+ PROCESSORS", self.text)]
        return max(found, default=None)

    @property
    def facts(self) -> Facts:
        """Counts and answers, named as in our own stages where they mean the same."""
        reader = _READERS.get(self.job)
        return reader(self.text) if reader is not None else ({}, {})


def read_jobs(folder: Path) -> list[JobLog]:
    """The .LP files of a folder, in the order of the jobs."""
    found = []
    for job in JOBS:
        path = folder / f"{job}.LP"
        if path.is_file():
            found.append(JobLog(job, path.read_text(errors="replace")))
    return found


def version(text: str) -> str | None:
    """As `Jun 30, 2024 (20241002)`."""
    found = re.search(r"\(VERSION (.+?)(?:\s+BUILT=(\d+))?\)", text)
    if found is None:
        return None
    return found[1].strip() + (f" ({found[2]})" if found[2] else "")


def frames(text: str) -> tuple[int, int] | None:
    """First and last image, from 1."""
    found = re.search(r"DATA_RANGE=\s*(\d+)\s+(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def template(text: str) -> str | None:
    found = re.search(r"NAME(?:_TEMPLATE_OF_DATA_FRAMES)?=\s*(\S+)", text)
    return found[1] if found else None


def shape(text: str) -> tuple[int, int] | None:
    """(slow, fast)."""
    found = re.search(r"NX=\s*(\d+)\s+NY=\s*(\d+)", text)
    return (int(found[2]), int(found[1])) if found else None


def _colspot(text: str) -> Facts:
    counts: dict[str, int] = {}
    rows = re.findall(r"^\s+\d+\s+\d+\s+\d+\s+-?\d+\s*$", text.partition("I/O-FLAG\n")[2], re.MULTILINE)
    if rows:
        counts["frames"] = len(rows)
    for name, title in (
        ("strong_pixels", "NUMBER OF STRONG PIXELS EXTRACTED FROM IMAGES"),
        ("spots", r"NUMBER OF DIFFRACTION SPOTS SAVED \(SPOT.XDS\)"),
    ):
        if (n := _last_int(rf"{title}\s+(\d+)", text)) is not None:
            counts[name] = n
    return counts, {"spots": counts["spots"]} if "spots" in counts else {}


def _idxref(text: str) -> Facts:
    answers: dict[str, Any] = {}
    counts: dict[str, int] = {}
    if found := re.findall(r"(\d+) OUT OF\s+(\d+) SPOTS INDEXED", text):
        indexed, spots = int(found[-1][0]), int(found[-1][1])
        counts["indexed"], answers["indexed"] = indexed, round(indexed / spots, 4) if spots else None
    if found := re.findall(r"UNIT CELL PARAMETERS((?:\s+[\d.]+){6})", text):
        answers["cells"] = [[float(x) for x in found[-1].split()]]
    if (n := _last_int(r"SPACE GROUP NUMBER\s+(\d+)", text)) is not None:
        answers["space_group"] = _group_name(n)
    if (rmsd := _last_float(rf"STANDARD DEVIATION OF SPOT\s+POSITION \(PIXELS\)\s+{_NUMBER}", text)) is not None:
        answers["rmsd_px"] = rmsd
    return counts, answers


def _integrate(text: str) -> Facts:
    counts: dict[str, int] = {}
    rows = re.findall(
        r"^\s+\d+\s+-?\d+\s+\d+\.\d+\s+\d+\s+\d+\s+\d+\s+\d+\s+\d+\s+\d+\.\d+\s+\d+\.\d+\s*$", text, re.MULTILINE
    )
    if rows:
        counts["frames"] = len(rows)
    if (n := _last_int(r'(\d+) REFLECTIONS SAVED ON FILE "INTEGRATE.HKL"', text)) is not None:
        counts["integrated"] = n
    return counts, {"integrated": counts["integrated"]} if "integrated" in counts else {}


def _correct(text: str) -> Facts:
    answers: dict[str, Any] = {}
    final = text.rpartition("STATISTICS OF SAVED DATA SET")[2]
    total = re.findall(r"^\s+total\s+(\d.*)$", final, re.MULTILINE)
    if total:
        words = [word.rstrip("%*") for word in total[0].split()]
        names = ("n_observations", "n_unique", None, "completeness", "r_merge", None, None, "i_over_sigma")
        for name, word in zip((*names, "r_meas", "cc_half"), words):
            if name is not None:
                percent = name in ("completeness", "r_merge", "r_meas", "cc_half")
                value = float(word) / (100 if percent else 1)
                answers[name] = int(value) if name.startswith("n_") else round(value, 6)
    if answers.get("n_unique"):
        answers["multiplicity"] = round(answers["n_observations"] / answers["n_unique"], 3)
    if found := re.findall(r"^ UNIT CELL PARAMETERS((?:\s+[\d.]+){6})\s*$", text, re.MULTILINE):
        answers["cells"] = [[float(x) for x in found[-1].split()]]
    if (n := _last_int(r"^ SPACE_GROUP_NUMBER=\s*(\d+)", text)) is not None:
        answers["space_group"] = _group_name(n)
    if isa := re.findall(rf"a\s+b\s+ISa\n\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}", text):
        answers["isa"] = float(isa[-1][2])
    counts = {"observations": answers["n_observations"]} if "n_observations" in answers else {}
    return counts, answers


def _group_name(number: int) -> str:
    import gemmi

    group = gemmi.find_spacegroup_by_number(number)
    return group.xhm() if group is not None else str(number)


def _last_int(pattern: str, text: str) -> int | None:
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else None


def _last_float(pattern: str, text: str) -> float | None:
    found = re.findall(pattern, text)
    return float(found[-1]) if found else None


_READERS: dict[str, Callable[[str], Facts]] = {
    "COLSPOT": _colspot,
    "IDXREF": _idxref,
    "INTEGRATE": _integrate,
    "CORRECT": _correct,
}
