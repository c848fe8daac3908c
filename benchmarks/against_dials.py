"""Spot finding side by side with DIALS: the same frames, whole commands, in turn, on one processor.

    python benchmarks/against_dials.py data.nxs --rounds 3 --json speed.json

Each round runs `dials.find_spots nproc=1` and `hdrmx process --jobs 1`, as a user would, and
`hdrmx profile` for the time of the stage alone; medians over the rounds are printed with their range,
beside what the machine allows at best: reading the frames' memory once, and decoding them only.
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
from dataclasses import asdict, dataclass
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


def stage_seconds(folder: Path, name: str) -> float:
    """Wall time of one stage in the record that `hdrmx profile` left in `folder`."""
    from hdrmx.io.records import read_record
    from hdrmx.record import net_ns

    for span in read_record(folder).run.walk():
        if span.name == name:
            return net_ns(span) * 1e-9
    raise SystemExit(f"{folder}: the record has no stage {name}")


def limits(data: str, images: str | None) -> dict[str, float]:
    """Milliseconds a frame, medians: reading the pixels once from memory, dense decode, event decode."""
    from hdrmx.cli.options import parse_images
    from hdrmx.io.open import open_source
    from hdrmx.kernels.decode import Events, Workspace, can_decode_events, decode_dense, decode_events, pack_valid

    source = open_source(data, parse_images(images))
    frames = list(source.frames())[:20]
    out, work = np.empty(source.shape, source.dtype), Workspace(source.shape, source.dtype)
    events, valid = Events(source.shape), pack_valid(source.mask, source.dtype)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", help="image numbers A-B, for both programs")
    parser.add_argument("--no-dials", action="store_true", help="time hdrmx alone")
    parser.add_argument("--threads", type=int, default=1, help="threads for hdrmx, processes for DIALS")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not args.no_dials and not shutil.which("dials.find_spots"):
        raise SystemExit("dials.find_spots is not on the path; install DIALS or give --no-dials")
    data = str(Path(args.data).resolve())
    cpus = set(range(args.threads))
    hdrmx = [sys.executable, "-m", "hdrmx"]
    images = ["--images", args.images] if args.images else []
    runs: dict[str, list[Run]] = {"dials": [], "hdrmx": []}
    stage: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not args.no_dials:
            subset = [f"image_range={args.images.replace('-', ',')}"] if args.images else []
            timed(["dials.import", data, *subset], folder, cpus)
        ours = [*hdrmx, "process", data, "-o", "out", "--jobs", str(args.threads), *images]
        profile = [*hdrmx, "profile", data, "-o", "profile", "--jobs", str(args.threads), "--no-sampling", *images]
        timed(ours, folder, cpus)  # warm-up: kernels, page cache
        for _ in range(args.rounds):
            if not args.no_dials:
                command = ["dials.find_spots", "imported.expt", f"nproc={args.threads}"]
                runs["dials"].append(timed(command, folder, cpus))
            runs["hdrmx"].append(timed(ours, folder, cpus))
            timed(profile, folder, cpus)
            stage.append(stage_seconds(folder / "profile", "find_spots"))
        summary = json.loads((folder / "out" / "summary.json").read_text())
    report = summarise(runs, stage, summary, limits(data, args.images))
    report["data"], report["threads"] = Path(data).name, args.threads
    if args.json:
        args.json.write_text(
            json.dumps({**report, "runs": {k: [asdict(r) for r in v] for k, v in runs.items()}}, indent=1)
        )
    for key, value in report.items():
        print(f"{key:28s} {value:.4g}" if isinstance(value, float) else f"{key:28s} {value}")


def summarise(runs: dict, stage: list[float], summary: dict, limit: dict[str, float]) -> dict:
    """Medians, per frame and per pixel, and ratios."""
    frames = summary["find_spots"]["frames"]
    pixels = frames * summary["shape"][0] * summary["shape"][1]
    report: dict = {"frames": frames, "shape": summary["shape"], "spots": summary["find_spots"]["spots"]}
    for name, done in runs.items():
        if done:
            walls = [r.wall_s for r in done]
            wall = statistics.median(walls)
            report[f"{name}_command_s"] = wall
            report[f"{name}_command_range_s"] = f"{min(walls):.2f} - {max(walls):.2f}"
            report[f"{name}_ns_per_pixel"] = wall / pixels * 1e9
            report[f"{name}_peak_MiB"] = statistics.median(r.peak_bytes for r in done) / 2**20
    report["hdrmx_stage_s"] = statistics.median(stage)
    report["hdrmx_stage_ms_per_frame"] = report["hdrmx_stage_s"] / frames * 1e3
    report["hdrmx_stage_ns_per_pixel"] = report["hdrmx_stage_s"] / pixels * 1e9
    if runs["dials"]:
        report["ratio_commands"] = report["dials_command_s"] / report["hdrmx_command_s"]
        report["ratio_dials_command_to_hdrmx_stage"] = report["dials_command_s"] / report["hdrmx_stage_s"]
    for name, value in limit.items():
        report[name] = value
    return report


if __name__ == "__main__":
    main()
