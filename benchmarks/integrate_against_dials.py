"""Prediction and integration beside `dials.integrate nproc=1`, on one refined model, in turn, on the same processor.

    hdrmx process set.nxs -o out --stages find_spots,index,refine --shoeboxes
    python benchmarks/integrate_against_dials.py set.nxs out --rounds 3 --json speed.json

`out` holds refined.expt and refined.refl; `--images` must be those they were made from. Both programs do the same work:
profile model, prediction, integration by summation and profile fitting. Ours runs in a process of its own (`--ours`),
which is warmed up before it is timed and says what each part took; DIALS's time is that of the command. Medians, with
the range; wall and processor time. With `--no-dials` only ours is timed, so with `--threads 2`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PARTS = ("profile_model", "predict", "integrate")


def ours(data: str, folder: Path, images: str | None, threads: int, n_frames: int | None) -> dict:
    """Seconds of each part, with counts and the peak of memory, of this process."""
    from hdrmx.cli.options import parse_images
    from hdrmx.integration.profile_model import fit_profile_model
    from hdrmx.integration.warm import warm_up
    from hdrmx.io.dials import read_refl
    from hdrmx.io.dials_models import read_expt
    from hdrmx.io.open import open_source
    from hdrmx.kernels.warm import warm_up as warm_up_decoding
    from hdrmx.params import Integrate, Predict
    from hdrmx.stages.integrate import integrate
    from hdrmx.stages.predict import predict

    source = open_source(data, parse_images(images))
    model, spots = read_expt(folder / "refined.expt")[0], read_refl(folder / "refined.refl")
    warm_up_decoding(source.dtype)
    warm_up(source.dtype)
    clock = [(time.perf_counter(), time.process_time())]
    profile = fit_profile_model(spots.table, model.geometry)
    clock.append((time.perf_counter(), time.process_time()))
    predicted = predict([model.crystal], model.geometry, profile, Predict())
    clock.append((time.perf_counter(), time.process_time()))
    frames = source.frames() if n_frames is None else list(source.frames())[:n_frames]
    done = integrate(predicted.table, frames, source.mask, model.geometry, profile, Integrate(), threads=threads)
    clock.append((time.perf_counter(), time.process_time()))
    result: dict = {"peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "counts": done.counts}
    for name, (wall, cpu), (wall_end, cpu_end) in zip(PARTS, clock, clock[1:]):
        result |= {f"{name}_wall_s": wall_end - wall, f"{name}_cpu_s": cpu_end - cpu}
    return result | {"wall_s": clock[-1][0] - clock[0][0], "cpu_s": clock[-1][1] - clock[0][1]}


def in_own_process(args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, args.data, str(args.folder), "--ours", "--threads", str(args.threads)]
    command += ["--images", args.images] if args.images else []
    text = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=_pinned(args.threads)).stdout
    return json.loads(text.splitlines()[-1])


def theirs(folder: Path) -> dict:
    """Wall and processor time of `dials.integrate`, its peak, and how many reflections it integrated."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["dials.integrate", str(folder / "refined.expt"), str(folder / "refined.refl"), "nproc=1"]
        begin = time.perf_counter()
        with (Path(scratch) / "log").open("wb") as log:
            child = subprocess.Popen(command, cwd=scratch, stdout=log, stderr=log, preexec_fn=_pinned(1))
            _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit((Path(scratch) / "log").read_text()[-2000:])
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_MiB": usage.ru_maxrss / 1024}


def _pinned(n: int):
    return (lambda: os.sched_setaffinity(0, set(range(n)))) if hasattr(os, "sched_setaffinity") else None


def decode_limit(data: str, images: str | None) -> float:
    """Milliseconds to decode a frame of the set and do nothing with it, median of 20."""
    from hdrmx.cli.options import parse_images
    from hdrmx.io.open import open_source
    from hdrmx.kernels.decode import Workspace, decode_dense

    source = open_source(data, parse_images(images))
    work, samples = Workspace(source.shape, source.dtype), []
    for frame, _ in zip(source.frames(), range(21)):
        begin = time.perf_counter_ns()
        decode_dense(frame, work.dense, work)
        samples.append((time.perf_counter_ns() - begin) * 1e-6)
    return statistics.median(samples[1:])


def said(name: str, values: list[float], unit: str = "s") -> None:
    print(f"{name:28s} {statistics.median(values):9.3f} {unit}  ({min(values):.3f} - {max(values):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("folder", type=Path, help="with refined.expt and refined.refl")
    parser.add_argument("--images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-dials", action="store_true")
    parser.add_argument("--ours", action="store_true", help="time ours in this process and print it as JSON")
    parser.add_argument("--frames", type=int, help="with --ours: only the first frames")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.folder = args.folder.resolve()
    if args.ours:
        print(json.dumps(ours(args.data, args.folder, args.images, args.threads, args.frames)))
        return
    with_dials = not args.no_dials
    if with_dials and not shutil.which("dials.integrate"):
        raise SystemExit("dials.integrate is not on the path; install DIALS or give --no-dials")
    runs: dict[str, list[dict]] = {"hdrmx": [], "dials": []}
    for _ in range(args.rounds):
        runs["hdrmx"].append(in_own_process(args))
        if with_dials:
            runs["dials"].append(theirs(args.folder))
    report(runs, decode_limit(args.data, args.images))
    if args.json:
        args.json.write_text(json.dumps(runs, indent=1))


def report(runs: dict[str, list[dict]], decode_ms: float) -> None:
    """Print medians with their range, ratios, and the distance from decoding alone."""
    for program, done in runs.items():
        for key in [k for k in (done[0] if done else {}) if k.endswith("_s")]:
            said(f"{program} {key}", [run[key] for run in done])
        if done:
            said(f"{program} peak", [run["peak_MiB"] for run in done], "MiB")
    if runs["dials"]:
        for key in ("wall_s", "cpu_s"):
            said(f"ratio {key}", [d[key] / h[key] for h, d in zip(runs["hdrmx"], runs["dials"])], "")
    counts, frames = runs["hdrmx"][0]["counts"], runs["hdrmx"][0]["counts"]["frames"]
    per_frame = statistics.median(run["integrate_wall_s"] for run in runs["hdrmx"]) / frames * 1e3
    print(f"a frame {per_frame:.3f} ms, decoding alone {decode_ms:.3f} ms: {per_frame / decode_ms:.2f} times")
    print(counts)


if __name__ == "__main__":
    main()
