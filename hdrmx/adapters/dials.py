"""DIALS as a pipeline: its programs one after the other, each a stage."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hdrmx.adapters import dials_logs
from hdrmx.adapters.folded import Stacks
from hdrmx.adapters.foreign import Facts, ForeignRun
from hdrmx.adapters.inside import NONE, Inside, available
from hdrmx.adapters.source import identity_of
from hdrmx.errors import InputError, NotMeasured
from hdrmx.io.whole import prepare_folder
from hdrmx.measure.stopping import terminate_as_interrupt
from hdrmx.record import Record
from hdrmx.report.profile_files import write_profile

STAGES = ("import", "find_spots", "index", "refine", "integrate", "symmetry", "scale", "export", "merge")
SAY = Callable[[str], None]


@dataclass(frozen=True)
class DialsOptions:
    """How to run DIALS. `arguments`: more of them for a stage, as (stage, argument)."""

    nproc: int = 1
    images: range | None = None
    space_group: str | None = None
    cell: str | None = None
    d_min: float | None = None
    d_max: float | None = None
    until: str = STAGES[-1]
    arguments: tuple[tuple[str, str], ...] = ()
    sampler: str | None = None  # of `inside`; None: the best there is


def profile_dials(data: Sequence[str], folder: Path, options: DialsOptions, say: SAY = lambda text: None) -> Record:
    """Run DIALS on data sets, from dials.import to dials.merge, and write record, logs and samples into a folder.

    Parameters
    ----------
    data : image files, templates (`x_####.cbf`), globs or folders
    folder : made where it isn't there; DIALS works in it and leaves its files there
    say : told the name of each stage as it begins

    Raises
    ------
    InputError : DIALS isn't there, or no data
    NotMeasured : a program failed; the record has what was measured until then
    KeyboardInterrupt : after the running program was ended and the record written
    """
    check_installed()
    names = [name for one in data for name in image_arguments(one)]
    for stage, argument in options.arguments:
        if stage not in STAGES:
            raise InputError(
                "--pass", f"'{stage}:{argument}' names no stage of DIALS", f"use one of {', '.join(STAGES)}"
            )
    prepare_folder(folder)
    return _Run(folder, options, say).all_stages(data, names)


def check_installed() -> None:
    """Raises InputError where DIALS's programs aren't on PATH."""
    missing = [f"dials.{stage}" for stage in STAGES if shutil.which(f"dials.{stage}") is None]
    if missing:
        what = "DIALS is not on PATH" if len(missing) == len(STAGES) else f"{', '.join(missing)} not on PATH"
        raise InputError("--pipeline dials", what, "install it (dials.github.io) or source its `dials` script first")


def image_arguments(data: str) -> list[str]:
    """What dials.import is given for one data set. Raises InputError where nothing is there."""
    path = Path(data)
    if re.search("#+", path.name):
        if not list(path.parent.glob(re.sub("#+", "*", path.name))):
            raise InputError(data, "no file fits this template", "check the path")
        return [f"template={path.absolute()}"]
    if path.is_file():
        return [str(path.absolute())]
    found = sorted(path.glob("*.cbf*")) if path.is_dir() else sorted(path.parent.glob(path.name))
    if not found:
        raise InputError(data, "no such file", "check the path")
    return [str(one.absolute()) for one in found]


class _Run:
    def __init__(self, folder: Path, options: DialsOptions, say: SAY) -> None:
        self.folder, self.options, self.say = folder, options, say
        self.run = ForeignRun("dials", threads=options.nproc)
        self.sampler, why = available(options.sampler)
        self.samples: dict[str, Stacks] = {}
        if why:
            self.run.doubt("inside_not_sampled", program="DIALS", reason=why)

    def all_stages(self, data: Sequence[str], names: list[str]) -> Record:
        run, options = self.run, self.options
        run.data = identity_of(data[0], options.images)
        run.params = {
            "nproc": options.nproc,
            "sampler": self.sampler,
            **{f"{stage}:{argument}": True for stage, argument in options.arguments},
        }
        status, failed = "complete", None
        with terminate_as_interrupt():
            for stage, program, arguments in self._programs(names):
                self.say(stage)
                status = self._stage(stage, program, arguments)
                if status != "complete":
                    failed = program
                    break
        run.keep_samples(self.folder, self.samples)
        record = write_profile(self.folder, run.record(status))
        note = f"what was measured until then: hdrmx profile --show {self.folder}"
        if status == "interrupted":
            stopped = KeyboardInterrupt()
            stopped.add_note(note)
            raise stopped
        if failed is not None:
            error = NotMeasured(f"{failed} failed: {_last_words(self.folder / f'{failed}.out')}")
            error.add_note(note)
            raise error
        return record

    def _programs(self, names: list[str]) -> list[tuple[str, str, list[str]]]:
        """Stage, program, arguments."""
        options = self.options
        imported = "imported.expt"
        programs = [("import", "dials.import", [*names, "output.experiments=imported.expt"])]
        if options.images is not None:
            first, last = options.images[0] + 1, options.images[-1] + 1
            slicing = [imported, f"image_range={first},{last}", "output.experiments_filename=sliced.expt"]
            programs.append(("slice", "dials.slice_sequence", slicing))
            imported = "sliced.expt"
        find = [f"spotfinder.filter.d_{end}={d}" for end, d in (("min", options.d_min), ("max", options.d_max)) if d]
        known = []
        if options.space_group:
            known.append(f"indexing.known_symmetry.space_group={options.space_group}")
        if options.cell:
            known.append(f"indexing.known_symmetry.unit_cell={options.cell}")
        n = options.nproc
        programs += [
            ("find_spots", "dials.find_spots", [imported, f"spotfinder.mp.nproc={n}", *find]),
            ("index", "dials.index", [imported, "strong.refl", f"indexing.nproc={n}", *known]),
            ("refine", "dials.refine", ["indexed.expt", "indexed.refl"]),
            ("integrate", "dials.integrate", ["refined.expt", "refined.refl", f"integration.mp.nproc={n}"]),
            ("symmetry", "dials.symmetry", ["integrated.expt", "integrated.refl"]),
            ("scale", "dials.scale", ["symmetrized.expt", "symmetrized.refl"]),
            ("export", "dials.export", ["scaled.expt", "scaled.refl"]),
            ("merge", "dials.merge", ["scaled.expt", "scaled.refl"]),
        ]
        last_one = [stage for stage, _, _ in programs].index(options.until)
        return [
            (stage, program, [*arguments, *(a for s, a in options.arguments if s == stage)])
            for stage, program, arguments in programs[: last_one + 1]
        ]

    def _stage(self, stage: str, program: str, arguments: list[str]) -> str:
        (self.folder / f"{program}.log").unlink(missing_ok=True)  # an earlier run's mustn't be read for this one's
        inside = Inside(self.sampler, self.folder)

        def facts() -> Facts:
            log = dials_logs.read_log(self.folder / f"{program}.log")
            if version := dials_logs.version(log):
                self.run.packages["dials"] = version
            return dials_logs.facts(stage, log)

        with (self.folder / f"{program}.out").open("wb") as output:
            ran = self.run.stage(
                stage,
                [shutil.which(program) or program, *arguments],
                cwd=self.folder,
                env=inside.environment(os.environ),
                output=output,
                begun=inside.begun,
                facts=facts,
            )
        sampled = inside.stacks(ran.cost.cpu_ns)
        if sampled.stacks:
            self.samples[stage] = sampled.stacks
            self.run.sampled(sampled.n)
        elif self.sampler != NONE:
            self.run.doubt("inside_not_sampled", program=program, reason=sampled.why)
        if ran.interrupted:
            return "interrupted"
        return "failed" if ran.exit_code else "complete"


def _last_words(path: Path) -> str:
    """The last line that a program printed: where DIALS says what was wrong."""
    lines = [line.strip() for line in dials_logs.read_log(path).splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
