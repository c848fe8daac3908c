"""Symmetry, scaling, export and merging side by side with DIALS: the same integrated reflections, in turn, on one core.

    hdrmx process data.nxs -o results --stages find_spots,index,refine,integrate
    python -m benchmarks.scale_against_dials results --rounds 3 --json scale.json

Each round runs `dials.symmetry`, `dials.scale`, `dials.export` and `dials.merge` as whole commands, each on what the
one before it wrote, then hdrmx's stages in one fresh process that reads the same two files. Medians over the rounds
are printed with their ranges, of wall and processor time; ours are those of a stage alone, with the file it writes for
export and merging, and of the whole process with starting up, reading and writing. Statistics of both stand beside.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.against_dials import Run, timed

STAGES = ("symmetry", "scale", "export", "merge")
DIALS = {
    "symmetry": ["dials.symmetry", "integrated.expt", "integrated.refl"],
    "scale": ["dials.scale", "symmetrized.expt", "symmetrized.refl"],
    "export": ["dials.export", "scaled.expt", "scaled.refl"],
    "merge": ["dials.merge", "scaled.expt", "scaled.refl"],
}


def stages(folder: Path, out: Path) -> dict:
    """Run our stages once; seconds (wall, processor) of each, and what came out."""
    from hdrmx.io.dials_intensities import read_integrated
    from hdrmx.io.dials_models import read_expt
    from hdrmx.io.mtz import write_merged, write_unmerged
    from hdrmx.io.mtz_batches import Sweep as Batches
    from hdrmx.params import Params
    from hdrmx.scaling.observations import Sweep
    from hdrmx.stages.common_symmetry import common_symmetry
    from hdrmx.stages.merge import merge
    from hdrmx.stages.scale import scale

    experiment, params = read_expt(folder / "integrated.expt")[0], Params()
    sweep = Sweep(read_integrated(folder / "integrated.refl"), experiment.geometry, experiment.crystal)
    marks = [(time.perf_counter(), time.process_time())]

    def mark() -> None:
        marks.append((time.perf_counter(), time.process_time()))

    found, brought = common_symmetry([sweep], [0], params.symmetry)
    sweep = brought[0]
    mark()
    scaled = scale([sweep], found.space_group, params.scale)
    mark()
    batches = [Batches(sweep.geometry, sweep.crystal)]
    write_unmerged(out / "unmerged.mtz", scaled.observations, batches, found.space_group, sweep.crystal.cell)
    mark()
    merged = merge(scaled.observations, found.space_group, sweep.crystal.cell, params.merge)
    write_merged(out / "merged.mtz", merged, sweep.geometry.beam.wavelength_A)
    mark()
    overall = merged.overall.iloc[0]
    return {
        "seconds": {
            name: [round(b - a, 4) for a, b in zip(one, two)] for name, one, two in zip(STAGES, marks[:-1], marks[1:])
        },
        "space_group": found.space_group,
        "observations": int(overall["n_observations"]),
        "unique": int(overall["n_unique"]),
        "counts": scaled.counts,
        **{name: round(float(overall[name]), 4) for name in ("completeness", "r_merge", "r_meas", "r_pim", "cc_half")},
        "i_over_sigma": round(float(overall["i_over_sigma"]), 2),
    }


def statistics_of_dials(log: str) -> dict[str, str]:
    """The lines of the summary that `dials.scale` prints last."""
    wanted = ("Completeness", "Rmerge(I)", "Rmeas(I)", "Rpim(I)", "CC half", "I/sigma", "Total observations")
    lines = [re.split(r"\s{2,}", line.strip()) for line in log.splitlines()]
    return {f"dials_{line[0]}": line[1] for line in lines if len(line) > 1 and line[0] in wanted}


def compare(folder: Path, rounds: int, with_dials: bool) -> dict:
    runs: dict[str, list[Run]] = {stage: [] for stage in STAGES}
    whole: list[Run] = []
    alone: dict[str, list[list[float]]] = {stage: [] for stage in STAGES}
    report: dict = {}
    ours = [sys.executable, "-m", "benchmarks.scale_against_dials", str(folder), "--child"]
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("integrated.expt", "integrated.refl"):
            (place / name).symlink_to(folder / name)
        timed(ours, place, {0})  # warm-up: kernels, page cache
        for _ in range(rounds):
            for stage, command in DIALS.items() if with_dials else ():
                runs[stage].append(timed(command, place, {0}))
                if stage == "scale":
                    report |= statistics_of_dials((place / "dials.scale.log").read_text())
            whole.append(timed(ours, place, {0}))
            answer = json.loads((place / "ours.json").read_text())
            for stage, seconds in answer.pop("seconds").items():
                alone[stage].append(seconds)
    report |= {f"hdrmx_{name}": value for name, value in answer.items()}
    return report | _summary(runs, whole, alone)


def _summary(runs: dict[str, list[Run]], whole: list[Run], alone: dict[str, list[list[float]]]) -> dict:
    report: dict = {}
    for stage in STAGES:
        for place, kind in enumerate(("wall", "cpu")):
            mine = [seconds[place] for seconds in alone[stage]]
            report[f"hdrmx_{stage}_{kind}_s"] = statistics.median(mine)
            report[f"hdrmx_{stage}_{kind}_range_s"] = f"{min(mine):.3f} - {max(mine):.3f}"
            theirs = [(run.wall_s, run.cpu_s)[place] for run in runs[stage]]
            if theirs:
                report[f"dials_{stage}_{kind}_s"] = statistics.median(theirs)
                report[f"dials_{stage}_{kind}_range_s"] = f"{min(theirs):.2f} - {max(theirs):.2f}"
                report[f"ratio_{stage}_{kind}"] = statistics.median(theirs) / statistics.median(mine)
    report["hdrmx_command_wall_s"] = statistics.median(run.wall_s for run in whole)
    report["hdrmx_command_peak_MiB"] = statistics.median(run.peak_bytes for run in whole) / 2**20
    if runs["scale"]:
        total = sum(report[f"dials_{stage}_wall_s"] for stage in STAGES)
        report["dials_commands_wall_s"] = total
        report["ratio_of_all_commands"] = total / report["hdrmx_command_wall_s"]
        report["dials_scale_peak_MiB"] = statistics.median(run.peak_bytes for run in runs["scale"]) / 2**20
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="with integrated.expt and integrated.refl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-dials", action="store_true", help="time hdrmx alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = args.folder.resolve()
    if args.child:
        Path("ours.json").write_text(json.dumps(stages(folder, Path())))
        return
    if not args.no_dials and not shutil.which("dials.scale"):
        raise SystemExit("dials.scale is not on the path; install DIALS or give --no-dials")
    report = compare(folder, args.rounds, not args.no_dials)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    for key, value in report.items():
        print(f"{key:34s} {value:.4g}" if isinstance(value, float) else f"{key:34s} {value}")


if __name__ == "__main__":
    main()
