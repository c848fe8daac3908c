"""Where DIALS 3.12 spends its time: takes measured runs into this folder, and draws README.md from what lies here.

    hdrmx-profile DATA --pipeline dials -j 1 -o RUN              # measure; once for each set
    python reports/dials_3_12/draw.py --take RUN sim_dense       # keep record and samples of it, pruned, without paths
    python reports/dials_3_12/draw.py                            # draw README.md and each report.html again

py-spy sees a process a hundred times a second whether it has a processor or not, so that on a busy machine its samples
tell shares and no times. The processor time of a function is its share of the stage's samples times the processor
time of the stage, which the kernel counted.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hdrmx.adapters.folded import Stacks, by_function, format_folded, read_folded
from hdrmx.adapters.inside import is_call
from hdrmx.io.records import FILE_NAME, read_record, write_record
from hdrmx.record import DataSet, Record, stages
from hdrmx.report.profile_page import PAGE_NAME, profile_page

HERE = Path(__file__).parent
SMALL, LARGE, OTHER = "set_a_225", "set_a_900", "sim_dense"
IMPORTS = "[imports]"
FUNCTIONS = "functions.csv"
PRUNED = 0.01  # of a stage's time: smaller branches are counted for the call above them
SAMPLE_US = 10_000


@dataclass(frozen=True)
class Function:
    """A function of one stage, at the small and the large size."""

    stage: str
    name: str
    small_s: float  # processor time, of its own and of the C++ that it called
    large_s: float
    small_samples: float
    large_samples: float

    @property
    def exponent(self) -> float:
        """b in t = a n^b between the two sizes."""
        return math.log(self.large_s / self.small_s) / math.log(n_frames(LARGE) / n_frames(SMALL))

    @property
    def uncertainty(self) -> float:
        """Two standard deviations, of counting samples alone."""
        relative = math.sqrt(1 / self.small_samples + 1 / self.large_samples)
        return 2 * relative / math.log(n_frames(LARGE) / n_frames(SMALL))


def take(run: Path, name: str) -> None:
    """Keep a run's record and samples here."""
    record, folder = read_record(run), HERE / name
    folder.mkdir(exist_ok=True)
    stacks = in_processor_time(without_imports(read_folded(run / record.files["folded"])), record)
    (folder / "profile.folded").write_text(format_folded(pruned(stacks)))
    with (folder / FUNCTIONS).open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("stage", "function", "own_us", "whole_us"))
        for stage in stages(record.run):
            mine = {calls[1:]: us for calls, us in stacks.items() if calls[0] == stage.name}
            rows = sorted(by_function(mine).items())
            table.writerows((stage.name, name, *times) for name, times in rows if times[0])
    data = record.data or DataSet()
    kept = replace(
        record,
        command=tuple(Path(word).name if "/" in word else word for word in record.command),
        machine=replace(record.machine, hostname=None),
        data=replace(data, name=Path(data.name).name),
        files={"folded": "profile.folded"},
        series={},
    )
    write_record(folder / FILE_NAME, kept)


def without_imports(stacks: Stacks) -> Stacks:
    """Calls alone, and all that goes on while a module is imported in one."""
    found: Stacks = {}
    for calls, us in stacks.items():
        head = [call for call in calls[:2] if not is_call(call)][:2]
        body = [call for call in calls[len(head) :] if is_call(call)]
        within = next((i for i, call in enumerate(body) if i and call.startswith("<module> (")), None)
        if within is not None:
            body = [*body[:within], IMPORTS]
        key = (*head, *body)
        found[key] = found.get(key, 0) + us
    return found


def in_processor_time(stacks: Stacks, record: Record) -> Stacks:
    """Each stage's samples brought to its processor time; older versions of hdrmx left them as they were seen."""
    whole: dict[str, int] = {}
    for calls, us in stacks.items():
        whole[calls[0]] = whole.get(calls[0], 0) + us
    cpu_us = {stage.name: (stage.cost.cpu_ns or 0) / 1e3 for stage in stages(record.run)}
    return {calls: round(us * cpu_us[calls[0]] / whole[calls[0]]) for calls, us in stacks.items()}


def pruned(stacks: Stacks) -> Stacks:
    """Without branches that hold less than `PRUNED` of their stage; their time goes to the call above."""
    whole: dict[str, int] = {}
    within: Stacks = {}
    for calls, us in stacks.items():
        whole[calls[0]] = whole.get(calls[0], 0) + us
        for depth in range(1, len(calls) + 1):
            within[calls[:depth]] = within.get(calls[:depth], 0) + us
    found: Stacks = {}
    for calls, us in stacks.items():
        depth = len(calls)
        while depth > 2 and within[calls[:depth]] < PRUNED * whole[calls[0]]:
            depth -= 1
        found[calls[:depth]] = found.get(calls[:depth], 0) + us
    return found


def record_of(name: str) -> Record:
    return read_record(HERE / name)


def n_frames(name: str) -> int:
    data = record_of(name).data
    assert data is not None
    assert data.n_frames is not None
    return data.n_frames


def own_seconds(name: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Processor time and independent samples of each function's own, by stage and function.

    Of a process that waits for a processor the same moment is seen again and again; no more samples are independent
    than there are sampling intervals in its processor time.
    """
    with (HERE / name / FUNCTIONS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    cpu_s = {stage.name: (stage.cost.cpu_ns or 0) / 1e9 for stage in stages(record_of(name).run)}
    whole: dict[str, int] = {}
    for row in rows:
        whole[row["stage"]] = whole.get(row["stage"], 0) + int(row["own_us"])
    n = {stage.name: stage.sampled.get("samples") for stage in stages(record_of(name).run)}
    found = {}
    for row in rows:
        stage = row["stage"]
        share = int(row["own_us"]) / whole[stage]
        taken = min(n[stage] or whole[stage] / SAMPLE_US, cpu_s[stage] * 1e6 / SAMPLE_US)
        found[stage, row["function"]] = share * cpu_s[stage], share * taken
    return found


def functions() -> list[Function]:
    """Those seen at both sizes, the dearest at the large one first."""
    small, large = own_seconds(SMALL), own_seconds(LARGE)
    found = [
        Function(*key, small[key][0], large[key][0], small[key][1], large[key][1]) for key in large if key in small
    ]
    return sorted(found, key=lambda f: -f.large_s)


def stage_rows() -> Iterator[str]:
    columns = (OTHER, SMALL, LARGE)
    of = {name: {s.name: s for s in stages(record_of(name).run)} for name in columns}
    ratio = math.log(n_frames(LARGE) / n_frames(SMALL))
    yield (
        "| stage | "
        + " | ".join(f"{n_frames(name)} frames, CPU s" for name in columns)
        + " | share at 900 | exponent |"
    )
    yield "|---|---|---|---|---|---|"
    totals = {name: sum(s.cost.cpu_ns or 0 for s in of[name].values() if s.name != "slice") for name in columns}
    for stage in of[OTHER]:
        cpu = {name: of[name][stage].cost.cpu_ns or 0 for name in columns}
        exponent = math.log(cpu[LARGE] / cpu[SMALL]) / ratio
        cells = " | ".join(f"{cpu[name] / 1e9:.1f}" for name in columns)
        yield f"| {stage} | {cells} | {cpu[LARGE] / totals[LARGE]:.1%} | {exponent:.2f} |"
    cells = " | ".join(f"{totals[name] / 1e9:.1f}" for name in columns)
    yield f"| all | {cells} | | {math.log(totals[LARGE] / totals[SMALL]) / ratio:.2f} |"


def function_rows(found: list[Function], whole_s: float) -> Iterator[str]:
    yield "| stage | function | 225, CPU s | 900, CPU s | share of the run | exponent |"
    yield "|---|---|---|---|---|---|"
    for f in found:
        yield (
            f"| {f.stage} | `{f.name}` | {f.small_s:.2f} | {f.large_s:.2f} | {f.large_s / whole_s:.1%} | "
            f"{f.exponent:.2f} ± {f.uncertainty:.2f} |"
        )


def imports_row(name: str) -> str:
    found = [s for (_, function), (s, _) in own_seconds(name).items() if function == IMPORTS]
    whole = sum((s.cost.cpu_ns or 0) / 1e9 for s in stages(record_of(name).run))
    return f"{sum(found):.1f} s of {whole:.1f} s ({sum(found) / whole:.0%})"


def answers(name: str) -> str:
    record = record_of(name)
    found = {key: value for s in stages(record.run) for key, value in s.answers.items()}
    n = {key: value for s in stages(record.run) for key, value in s.counts.items()}
    cells = (
        record.data.name if record.data else "",
        str(n_frames(name)),
        f"{n['spots']:,}",
        f"{found['indexed']:.1%}",
        f"{n['integrated']:,}",
        found["space_group"],
        f"{found['completeness']:.1%}",
        f"{found['r_meas']:.3f}",
        f"{found['cc_half']:.3f}",
    )
    return f"| {' | '.join(cells)} |"


def draw() -> None:
    large = record_of(LARGE)
    whole_s = sum((s.cost.cpu_ns or 0) / 1e9 for s in stages(large.run))
    every = functions()
    seen = [f for f in every if f.large_s > 0.005 * whole_s]
    steep = [f for f in every if f.large_s > 0.002 * whole_s and f.exponent - f.uncertainty > 1.05]
    steep.sort(key=lambda f: -f.large_s)
    text = (HERE / "template.md").read_text()
    for key, value in {
        "READING": (HERE / "reading.md").read_text().strip(),
        "DIALS": large.software.packages["dials"],
        "MACHINE": f"{large.machine.cpu}, {large.machine.cores_usable} cores",
        "STAGES": "\n".join(stage_rows()),
        "FUNCTIONS": "\n".join(function_rows(seen, whole_s)),
        "STEEP": "\n".join(function_rows(steep, whole_s)),
        "ANSWERS": "\n".join(answers(name) for name in (OTHER, SMALL, LARGE)),
        "IMPORTS": "; ".join(f"{n_frames(name)} frames: {imports_row(name)}" for name in (OTHER, SMALL, LARGE)),
    }.items():
        text = text.replace(f"@{key}@", value)
    (HERE / "README.md").write_text(text)
    folded = (HERE / LARGE / "profile.folded").read_text()
    (HERE / LARGE / PAGE_NAME).write_text(profile_page(large, folded, f"reports/{HERE.name}/{LARGE}"))


def main() -> None:
    parser = argparse.ArgumentParser(description="The study of where DIALS spends its time.")
    parser.add_argument("--take", nargs=2, metavar=("RUN", "NAME"), help="keep a measured run in this folder")
    options = parser.parse_args()
    if options.take:
        take(Path(options.take[0]), options.take[1])
    else:
        draw()


if __name__ == "__main__":
    main()
