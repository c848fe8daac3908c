"""XDS as a pipeline: it is run job by job, each a stage; where it has worked already its logs are read."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hdrmx.adapters.foreign import Facts, ForeignRun
from hdrmx.adapters.from_logs import record_from, xds_data, xds_spans
from hdrmx.adapters.xds_inp import xds_inp
from hdrmx.adapters.xds_logs import JOBS, JobLog, read_jobs, version
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.identity import identify
from hdrmx.io.open import open_source
from hdrmx.io.whole import prepare_folder
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.record import Record
from hdrmx.report.profile_files import write_profile

OPTION = "--pipeline xds"
PROGRAMS = ("xds_par", "xds")  # the first that is there
_PATHS = ("NAME_TEMPLATE_OF_DATA_FRAMES", "REFERENCE_DATA_SET", "LIB", "X-GEO_CORR", "Y-GEO_CORR")
_WANTED = "give an XDS.INP or a data set to run, or a folder with .LP files to read"


@dataclass(frozen=True)
class XdsOptions:
    """How to run XDS. All but `jobs` count only where an XDS.INP has to be written; `lines` are more of its lines."""

    jobs: int | None = None
    images: range | None = None
    space_group: str | None = None
    cell: str | None = None
    lines: tuple[str, ...] = ()


def profile_xds(
    data: str | Path, folder: Path, options: XdsOptions = XdsOptions(), say: Callable[[str], None] = print
) -> Record:
    """Run XDS, or read what it left in a folder, and write the record into another folder.

    Parameters
    ----------
    data : an XDS.INP; a folder with .LP files, or else with an XDS.INP; or a data set that we can read
    folder : where XDS works and the record goes
    options : `jobs`: processors that it may use; None: as the XDS.INP says

    Raises
    ------
    InputError : neither is there, or XDS isn't installed
    NotMeasured : a job failed; the record has what was measured until then
    KeyboardInterrupt : after the running job was ended and the record written
    """
    path = Path(data)
    logs = read_jobs(path) if path.is_dir() else []
    if logs:
        prepare_folder(folder)
        return write_profile(folder, record_from("xds", path, logs, xds_spans(logs)))
    settings = path / "XDS.INP" if path.is_dir() else path
    has_settings = settings.is_file() and settings.suffix.upper() == ".INP"
    if path.is_dir() and not has_settings and not list(path.glob("*.cbf*")):
        raise InputError(data, "no XDS.INP, no .LP file and no image there", _WANTED)
    program = find_xds()
    if has_settings:
        run = _Run(folder, options.jobs, say, settings.name)
        prepare_folder(folder)
        run.keywords = _keywords(settings, folder, options.jobs)
        return run.all_jobs(program)
    with contextlib.closing(open_source(data, options.images)) as source:
        run = _Run(folder, options.jobs, say, "written by hdrmx")
        run.run.data = identify(source)
        text = xds_inp(
            source,
            folder,
            images=options.images,
            space_group=options.space_group,
            cell=options.cell,
            extra=options.lines,
        )
    written = prepare_folder(folder) / "XDS.INP"
    written.write_text(text)
    run.keywords = _keywords(written, folder, options.jobs)
    return run.all_jobs(program)


def find_xds() -> str:
    """Raises InputError where XDS isn't on PATH."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise InputError(OPTION, "XDS is not on PATH", f"install it (xds.mr.mpg.de), or {_WANTED.partition(', or ')[2]}")


class _Run:
    def __init__(self, folder: Path, jobs: int | None, say: Callable[[str], None], settings: str) -> None:
        self.folder, self.say, self.keywords = folder, say, ""
        self.run = ForeignRun("xds", threads=jobs)
        self.run.params = {"settings": settings}

    def all_jobs(self, program: str) -> Record:
        status, reason = "complete", ""
        with terminate_as_interrupt():
            for job in JOBS:
                self.say(job.lower())
                status, reason = self._job(program, job)
                if status != "complete":
                    break
        self.run.data = self.run.data or xds_data(read_jobs(self.folder))
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
