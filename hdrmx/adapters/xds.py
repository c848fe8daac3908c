"""XDS as a pipeline: an XDS.INP is run job by job, each a stage; where XDS has worked already its logs are read."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from hdrmx.adapters.foreign import Facts, ForeignRun
from hdrmx.adapters.from_logs import record_from, xds_data, xds_spans
from hdrmx.adapters.xds_logs import JOBS, JobLog, read_jobs, version
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.whole import prepare_folder
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.record import Record
from hdrmx.report.profile_files import write_profile

OPTION = "--pipeline xds"
PROGRAMS = ("xds_par", "xds")  # the first that is there
_PATHS = ("NAME_TEMPLATE_OF_DATA_FRAMES", "REFERENCE_DATA_SET", "LIB", "X-GEO_CORR", "Y-GEO_CORR")
_WANTED = "give an XDS.INP to run, or a folder with .LP files to read"


def profile_xds(data: Path, folder: Path, jobs: int | None = None, say: Callable[[str], None] = print) -> Record:
    """Run XDS on an XDS.INP, or read what it left in a folder, and write the record into another folder.

    Parameters
    ----------
    data : an XDS.INP; or a folder with .LP files, or else with an XDS.INP
    folder : where XDS works and the record goes
    jobs : processors that it may use; None: as the XDS.INP says

    Raises
    ------
    InputError : neither is there, or XDS isn't installed
    NotMeasured : a job failed; the record has what was measured until then
    KeyboardInterrupt : after the running job was ended and the record written
    """
    logs = read_jobs(data) if data.is_dir() else []
    if logs:
        prepare_folder(folder)
        return write_profile(folder, record_from("xds", data, logs, xds_spans(logs)))
    settings = data / "XDS.INP" if data.is_dir() else data
    if not settings.is_file() or settings.suffix.upper() != ".INP":
        raise InputError(data, "no XDS.INP and no .LP file there", _WANTED)
    program = find_xds()
    prepare_folder(folder)
    return _Run(settings, folder, jobs, say).all_jobs(program)


def find_xds() -> str:
    """Raises InputError where XDS isn't on PATH."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise InputError(OPTION, "XDS is not on PATH", f"install it (xds.mr.mpg.de), or {_WANTED.partition(', or ')[2]}")


class _Run:
    def __init__(self, settings: Path, folder: Path, jobs: int | None, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.keywords = _keywords(settings, folder, jobs)
        self.run = ForeignRun("xds", threads=jobs)
        self.run.params = {"settings": settings.name}

    def all_jobs(self, program: str) -> Record:
        status, reason = "complete", ""
        with terminate_as_interrupt():
            for job in JOBS:
                self.say(job.lower())
                status, reason = self._job(program, job)
                if status != "complete":
                    break
        self.run.data = xds_data(read_jobs(self.folder))
        record = write_profile(self.folder, self.run.record(status))
        note = f"what was measured until then: hdrmx profile --show {self.folder}"
        if status == "interrupted":
            stopped = KeyboardInterrupt()
            stopped.add_note(note)
            raise stopped
        if status == "failed":
            error = NotMeasured(f"XDS failed in {job}: {reason}")
            error.add_note(note)
            raise error
        return record

    def _job(self, program: str, job: str) -> tuple[str, str]:
        log = self.folder / f"{job}.LP"
        log.unlink(missing_ok=True)
        (self.folder / "XDS.INP").write_text(f"JOB= {job}\n{self.keywords}")

        def facts() -> Facts:
            text = log.read_text(errors="replace") if log.is_file() else ""
            if release := version(text):
                self.run.packages["xds"] = release
            return JobLog(job, text).facts

        with (self.folder / "xds.out").open("ab") as output:
            ran = self.run.stage(job.lower(), [program], cwd=self.folder, output=output, facts=facts)
        if ran.interrupted:
            return "interrupted", ""
        error = JobLog(job, log.read_text(errors="replace")).error if log.is_file() else f"it wrote no {log.name}"
        if error is not None and job == "IDXREF" and (self.folder / "XPARM.XDS").is_file():
            error = None  # too few spots indexed, by its own measure; what it found serves to go on
        if ran.exit_code and error is None:
            error = f"exit code {ran.exit_code}"
        if error is not None:
            self.run.fail(error)
            return "failed", error
        return "complete", ""


def _keywords(settings: Path, folder: Path, jobs: int | None) -> str:
    """The XDS.INP without its jobs, its paths as seen from the new folder (XDS wants them short, so not absolute)."""
    lines = []
    for line in settings.read_text(errors="replace").splitlines():
        code, mark, comment = line.partition("!")
        code = re.sub(r"\bJOB\s*=[^=]*$", "", code)
        if jobs is not None:
            code = re.sub(r"\bMAXIMUM_NUMBER_OF_PROCESSORS\s*=\s*\S+", "", code)
        for key in _PATHS:
            found = re.match(rf"(\s*{re.escape(key)}\s*=\s*)(\S+)(.*)$", code)
            if found and not os.path.isabs(found[2]):
                seen = os.path.relpath(settings.parent.absolute() / found[2], folder.absolute())
                code = f"{found[1]}{seen}{found[3]}"
        lines.append(code + mark + comment)
    if jobs is not None:
        lines.append(f"MAXIMUM_NUMBER_OF_PROCESSORS= {jobs}")
    return "\n".join(lines) + "\n"
