"""fast_dp as a pipeline: run and measured as one program, or read from a folder that it has worked in.

fast_dp runs XDS, pointless and aimless; the times of its steps are those of the logs that XDS leaves beside its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hdrmx.adapters.foreign import Facts, ForeignRun
from hdrmx.adapters.from_logs import record_from, xds_data, xds_spans
from hdrmx.adapters.inside import NONE, Inside, available
from hdrmx.adapters.source import identity_of
from hdrmx.adapters.xds_logs import read_jobs
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.whole import prepare_folder
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.record import Record, Span
from hdrmx.report.profile_files import write_profile

OPTION = "--pipeline fast_dp"
LOG, RESULTS = "fast_dp.log", "fast_dp.json"
_STATISTICS = {  # in its JSON: our name
    "completeness": "completeness",
    "multiplicity": "multiplicity",
    "mean_i_sig_i": "i_over_sigma",
    "r_merge": "r_merge",
    "r_meas_all_iplusi_minus": "r_meas",
    "cc_half": "cc_half",
    "n_tot_obs": "n_observations",
    "n_tot_unique_obs": "n_unique",
    "res_lim_high": "d_min",
}


def profile_fast_dp(
    data: Path,
    folder: Path,
    jobs: int = 1,
    arguments: tuple[tuple[str, str], ...] = (),
    sampler: str | None = None,
    say: Callable[[str], None] = print,
) -> Record:
    """Run fast_dp on an image, or read what it left in a folder, and write the record into another folder.

    Parameters
    ----------
    data : first image, or master file; or a folder with its log
    jobs : cores that each of its jobs may use (its option -k)
    arguments : more of them, as ("fast_dp", argument)

    Raises
    ------
    InputError : the data aren't there, or fast_dp isn't installed
    NotMeasured : it failed; the record has what was measured until then
    KeyboardInterrupt : after it was ended and the record written
    """
    if data.is_dir():
        if not (data / LOG).is_file():
            raise InputError(data, f"holds no {LOG}", "give a folder that fast_dp has worked in, or an image")
        prepare_folder(folder)
        return write_profile(folder, _read(data))
    if not data.is_file():
        raise InputError(data, "no such file", "check the path")
    program = shutil.which("fast_dp")
    if program is None:
        raise InputError(OPTION, "fast_dp is not on PATH", "install it (pip install fast_dp; it needs XDS and CCP4)")
    prepare_folder(folder)
    return _run(
        [program, "-k", str(jobs), *(a for _, a in arguments), str(data.absolute())], data, folder, jobs, sampler, say
    )


def facts_of(folder: Path) -> Facts:
    """Counts and answers of its log and JSON."""
    log = _text(folder / LOG)
    counts: dict[str, int] = {}
    answers: dict[str, Any] = {}
    if found := re.search(r"^Processing images: (\d+) -> (\d+)", log, re.MULTILINE):
        counts["frames"] = int(found[2]) - int(found[1]) + 1
    if found := re.search(r"^Processing took .*?\((\d+) s\) \[(\d+) reflections\]", log, re.MULTILINE):
        answers["log_total_s"], counts["reflections"] = float(found[1]), int(found[2])
    if found := re.search(r"^Merging point group: (.+)$", log, re.MULTILINE):
        answers["space_group"] = found[1].strip()
    if found := re.search(r"^Unit cell:((?:\s+[\d.]+){6})", log, re.MULTILINE):
        answers["cells"] = [[float(x) for x in found[1].split()]]
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        overall = json.loads((folder / RESULTS).read_text())["scaling_statistics"]["overall"]
        for theirs, ours in _STATISTICS.items():
            if theirs in overall:
                value = overall[theirs]
                answers[ours] = round(value / 100, 6) if ours == "completeness" else value
    return counts, answers


def _read(folder: Path) -> Record:
    jobs = read_jobs(folder)
    spans = xds_spans(jobs)
    counts, answers = facts_of(folder)
    whole = answers.get("log_total_s")
    failed = re.findall(r"^(?:Fast_DP error: .*|\w[\w ]* failed)$", _text(folder / LOG), re.MULTILINE)
    log = _text(folder / LOG)
    if whole is None and not failed:
        failed = ["its log ends early"]
    record = record_from("fast_dp", folder, jobs, spans, None if whole is None else round(whole * 1e9))
    version = re.search(r"^Fast_DP version (\S+)", log, re.MULTILINE)
    packages = {**record.software.packages, **({"fast_dp": version[1]} if version else {})}
    return replace(
        record,
        status="failed" if failed else record.status,
        software=replace(record.software, packages=packages),
        run=replace(record.run, counts=counts, answers=answers, error=failed[-1] if failed else None),
    )


def _run(
    argv: list[str], data: Path, folder: Path, jobs: int, sampler: str | None, say: Callable[[str], None]
) -> Record:
    run = ForeignRun("fast_dp", threads=jobs)
    kind, _ = available(sampler)
    for name in (LOG, RESULTS, *(p.name for p in folder.glob("*.LP"))):
        (folder / name).unlink(missing_ok=True)
    inside = Inside(kind, folder)
    say("fast_dp")
    with terminate_as_interrupt(), (folder / "fast_dp.out").open("wb") as output:
        ran = run.stage(
            "fast_dp",
            argv,
            cwd=folder,
            env=inside.environment(os.environ),
            output=output,
            begun=inside.begun,
            facts=lambda: facts_of(folder),
        )
    sampled = inside.stacks(ran.cost.cpu_ns)
    run.keep_samples(folder, {"fast_dp": sampled.stacks} if sampled.stacks else {})
    run.sampled(sampled.n)
    if kind != NONE and not sampled.stacks:
        run.doubt("inside_not_sampled", program="fast_dp", reason=sampled.why)
    logs = read_jobs(folder)
    run.spans[-1] = _with_jobs(run.spans[-1], xds_spans(logs))
    if logs:
        run.doubt("times_from_log", program="XDS within fast_dp")
    seen = identity_of(str(data))
    run.data = seen if seen.n_frames is not None else xds_data(logs) or seen
    if version := re.search(r"^Fast_DP version (\S+)", _text(folder / LOG), re.MULTILINE):
        run.packages["fast_dp"] = version[1]
    status = "interrupted" if ran.interrupted else "failed" if ran.exit_code else "complete"
    record = write_profile(folder, run.record(status))
    note = f"what was measured until then: hdrmx profile --show {folder}"
    if status == "complete":
        return record
    error = KeyboardInterrupt() if ran.interrupted else NotMeasured(f"fast_dp failed: {_last_line(folder)}")
    error.add_note(note)
    raise error


def _with_jobs(whole: Span, jobs: tuple[Span, ...]) -> Span:
    """XDS's jobs inside of the program that ran them, where there is room for their times."""
    placed = tuple(replace(job, start_ns=job.start_ns + whole.start_ns) for job in jobs)
    return replace(whole, children=placed) if sum(j.cost.wall_ns for j in jobs) <= whole.cost.wall_ns else whole


def _last_line(folder: Path) -> str:
    lines = [line.strip() for line in _text(folder / "fast_dp.out").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
