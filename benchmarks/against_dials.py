"""Side by side with DIALS: the same frames, whole commands, in turn, on the same processors.

    python benchmarks/against_dials.py data.nxs --rounds 3 --stages find_spots,index,refine --json speed.json

Each round runs DIALS's program for each stage (`nproc=1`), `hdrmx process --jobs 1` over the same stages, as a user
would, and `hdrmx profile` for the time of each stage alone. Medians over the rounds are printed with their range,
beside what the machine allows at best for the frames: reading their memory once, and decoding them only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Run:
    """One finished process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def timed(command: list[str], cwd: Path, cpus: set[int] | None) -> Run:
    """Run a command to its end on the given processors; raises when it fails."""
    pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus and hasattr(os, "sched_setaffinity") else None
    with (cwd / "log.txt").open("wb") as log:
        begin = time.perf_counter()
        child = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, preexec_fn=pin)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {child.returncode}\n{(cwd / 'log.txt').read_text()[-2000:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def stage_seconds(folder: Path) -> dict[str, float]:
    """Wall time of each stage, compilation taken off, in the record that `hdrmx profile` left in `folder`."""
    from hdrmx.io.records import read_record
    from hdrmx.record import net_ns, stages

    return {stage.name: net_ns(stage) * 1e-9 for stage in stages(read_record(folder).run)}


def limits(data: str, images: str | None) -> dict[str, float]:
    """Milliseconds a frame, medians: reading the pixels once from memory, dense decode, event decode."""
    from hdrmx.cli.options import parse_images
    from hdrmx.io.open import open_source
    from hdrmx.kernels.decode import Events, Workspace, can_decode_events, decode_dense, decode_events, pack_valid

    source = open_source(data, parse_images(images))
    frames = list(source.frames())[:20]
    out, work = np.empty(source.shape, source.dtype), Workspace(source.shape, source.dtype)
    events, valid = Events(source.shape), pack_valid(source.mask)
    jobs = {
        "memory_read_ms": lambda f: out.view(np.uint8).max(),
        "decode_dense_ms": lambda f: decode_dense(f, out, work),
    }
    if can_decode_events(frames[0]):
        jobs["decode_events_ms"] = lambda f: decode_events(f, valid, events, work)
    found: dict[str, float] = {}
    for name, job in jobs.items():
        job(frames[0])
        samples = []
        for frame in frames:
            begin = time.perf_counter_ns()
            job(frame)
            samples.append((time.perf_counter_ns() - begin) * 1e-6)
        found[name] = statistics.median(samples)
    source.close()
    return found


DIALS = {
    "find_spots": ["dials.find_spots", "imported.expt"],
    "index": ["dials.index", "imported.expt", "strong.refl"],
    "refine": ["dials.refine", "indexed.expt", "indexed.refl"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stages", default="find_spots", help="first stages of the pipeline, with commas between")
    parser.add_argument("--images", help="image numbers A-B, for both programs")
    parser.add_argument("--no-dials", action="store_true", help="time hdrmx alone")
    parser.add_argument("--threads", type=int, default=1, help="threads for hdrmx, processes for DIALS")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    stages = args.stages.split(",")
    if not args.no_dials and not shutil.which("dials.find_spots"):
        raise SystemExit("dials.find_spots is not on the path; install DIALS or give --no-dials")
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(args, stages, Path(scratch))
    report["data"], report["threads"] = Path(args.data).name, args.threads
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    for key, value in report.items():
        print(f"{key:34s} {value:.4g}" if isinstance(value, float) else f"{key:34s} {value}")


def compare(args: argparse.Namespace, stages: list[str], folder: Path) -> dict:
    """Run the rounds and sum them up."""
    data, cpus = str(Path(args.data).resolve()), set(range(args.threads))
    with_images = ["--images", args.images] if args.images else []
    common = [data, "--jobs", str(args.threads), "--stages", args.stages, *with_images]
    ours = [sys.executable, "-m", "hdrmx", "process", "-o", "out", *common]
    profile = [sys.executable, "-m", "hdrmx", "profile", "-o", "profile", "--no-sampling", *common]
    theirs = {} if args.no_dials else {stage: [*DIALS[stage], f"nproc={args.threads}"] for stage in stages}
    if theirs:
        subset = [f"image_range={args.images.replace('-', ',')}"] if args.images else []
        timed(["dials.import", data, *subset], folder, cpus)
    timed(ours, folder, cpus)  # warm-up: kernels, page cache
    runs: dict[str, list[Run]] = {name: [] for name in ("hdrmx", *(f"dials_{stage}" for stage in theirs))}
    alone: dict[str, list[float]] = {stage: [] for stage in stages}
    for _ in range(args.rounds):
        for stage, command in theirs.items():
            runs[f"dials_{stage}"].append(timed(command, folder, cpus))
        runs["hdrmx"].append(timed(ours, folder, cpus))
        timed(profile, folder, cpus)
        seconds = stage_seconds(folder / "profile")
        for stage in stages:
            alone[stage].append(seconds[stage])
    summary = json.loads((folder / "out" / "summary.json").read_text())
    return summarise(runs, alone, summary) | limits(data, args.images)


def summarise(runs: dict[str, list[Run]], alone: dict[str, list[float]], summary: dict) -> dict:
    """Medians with ranges, per pixel for the frames, and ratios."""
    frames = summary["find_spots"]["frames"]
    pixels = frames * summary["shape"][0] * summary["shape"][1]
    report: dict = {"frames": frames, "shape": summary["shape"], "spots": summary["find_spots"]["spots"]}
    for name, done in runs.items():
        walls = [r.wall_s for r in done]
        report[f"{name}_command_s"] = statistics.median(walls)
        report[f"{name}_command_range_s"] = f"{min(walls):.2f} - {max(walls):.2f}"
        report[f"{name}_command_peak_MiB"] = statistics.median(r.peak_bytes for r in done) / 2**20
    dials = [key for key in runs if key != "hdrmx"]
    if dials:
        report["ratio_of_all_commands"] = sum(report[f"{name}_command_s"] for name in dials) / report["hdrmx_command_s"]
    for stage, seconds in alone.items():
        report[f"hdrmx_{stage}_s"] = statistics.median(seconds)
        report[f"hdrmx_{stage}_range_s"] = f"{min(seconds):.3f} - {max(seconds):.3f}"
        if f"dials_{stage}" in runs:
            report[f"ratio_{stage}"] = report[f"dials_{stage}_command_s"] / report[f"hdrmx_{stage}_s"]
    report["hdrmx_find_spots_ms_per_frame"] = report["hdrmx_find_spots_s"] / frames * 1e3
    report["hdrmx_find_spots_ns_per_pixel"] = report["hdrmx_find_spots_s"] / pixels * 1e9
    if "dials_find_spots" in runs:
        report["dials_find_spots_ns_per_pixel"] = report["dials_find_spots_command_s"] / pixels * 1e9
    return report


if __name__ == "__main__":
    main()
