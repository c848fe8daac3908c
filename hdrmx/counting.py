"""Exact costs of each stage, from runs of their own: Python calls, instructions, memory held.

Each kind has its own child process with everything pinned that would change a count: hash seed, threads, and the
processor that kernels and libraries are compiled for or choose. Two such runs agree exactly in calls, and to about a
thousandth in instructions, on a busy machine as on a quiet one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hdrmx import measure
from hdrmx.errors import NotMeasured
from hdrmx.measure.instructions import PerfCounter, read_callgrind
from hdrmx.measure.recorder import plain
from hdrmx.params import Params
from hdrmx.profiling import Options
from hdrmx.record import Counted, Doubt, Record
from hdrmx.report.profile_files import write_profile

MOST_FUNCTIONS = 60  # kept by stage
PINNED = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
# A level that valgrind knows, for all kinds alike, so that counts of different machines can be compared.
DISPATCH = {
    "x86_64": {
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2",
        "OPENBLAS_CORETYPE": "Haswell",
    }
}
Say = Callable[[str], object]


@dataclass(frozen=True)
class _Job:
    spec: Path
    folder: Path
    environment: dict[str, str]


def count_into(record: Record, folder: Path, data: str, params: Params, options: Options, say: Say) -> Record:
    """Count, and write the record and its page again with the counts; what can't be counted is a doubt."""
    counted, doubts = count(data, params, options, say)
    record = replace(record, counted=counted, doubts=(*record.doubts, *doubts))
    return write_profile(folder, record)


def count(data: str, params: Params, options: Options, say: Say = lambda text: None) -> tuple[Counted, list[Doubt]]:
    """Exact costs of the pipeline on a data set.

    Parameters
    ----------
    data, params, options : as for `profiling.profile`; threads are always one
    say : is told what is going on

    Raises
    ------
    NotMeasured : the pipeline doesn't get through in a process of its own
    """
    environment = {**os.environ, **PINNED, **DISPATCH.get(platform.machine(), {})}
    with tempfile.TemporaryDirectory(prefix="hdrmx-count-") as name:
        folder = Path(name)
        images = None if options.images is None else [options.images.start, options.images.stop, options.images.step]
        spec = folder / "spec.json"
        content = {
            "data": str(Path(data).absolute()) if Path(data).exists() else data,
            "images": images,
            "params": plain(params),
            "mask": options.mask and str(Path(options.mask).absolute()),
            "until": options.until,
            "skip_bad_frames": options.skip_bad_frames,
        }
        spec.write_text(json.dumps(content), encoding="utf-8")
        job = _Job(spec, folder, environment)
        say("counting: compiling kernels for the processor pinned")
        _, error = _run(job, "nothing")
        if error:
            raise NotMeasured(f"the run that counts failed ({error})")
        return _collect(job, say)


def _collect(job: _Job, say: Say) -> tuple[Counted, list[Doubt]]:
    doubts: list[Doubt] = []
    seconds: dict[str, float] = {}

    def run(kind: str, *before: str) -> dict[str, Any]:
        say(f"counting: {kind}")
        begin = time.perf_counter()
        answer, error = _run(job, kind, *before)
        seconds[kind] = round(time.perf_counter() - begin, 2)
        if error:
            doubts.append(Doubt(kind="not_counted", numbers={"what": kind, "reason": error}))
        return answer

    calls = run("calls")
    held = run("allocations")
    allocated: dict[str, Any] = {}
    library, why = _allocation_counter(job.folder)
    if library is None:
        doubts.append(Doubt(kind="not_counted", numbers={"what": "allocated bytes", "reason": why}))
    else:
        allocated = run("allocated", "env", f"LD_PRELOAD={library}", "PYTHONMALLOC=malloc")
    tool, objects, instructions = "", {}, {}
    if _has_counters():
        tool, instructions = "perf_event, user space", run("perf").get("instructions", {})
    elif shutil.which("valgrind"):
        tool = _version("valgrind")
        options = ("--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={job.folder / 'callgrind'}")
        run("callgrind", "valgrind", "--quiet", *options)
        objects = read_callgrind(job.folder, "callgrind")
        instructions = {stage: sum(parts.values()) for stage, parts in objects.items()}
    else:
        doubts.append(Doubt(kind="no_instruction_counts"))
    functions = calls.get("functions", {})
    settings = {name: job.environment[name] for name in (*PINNED, *DISPATCH.get(platform.machine(), {}))}
    counted = Counted(
        settings={**settings, "threads": "1", "instructions by": tool} if tool else {**settings, "threads": "1"},
        frames=calls.get("frames") or held.get("frames"),
        calls={stage: sum(n.values()) for stage, n in functions.items()},
        functions={stage: dict(list(n.items())[:MOST_FUNCTIONS]) for stage, n in functions.items()},
        instructions=instructions,
        objects={stage: _short_objects(parts) for stage, parts in objects.items()},
        allocated_bytes=allocated.get("bytes", {}),
        allocations=allocated.get("calls", {}),
        allocated_peak_bytes=held.get("peak", {}),
        kept_bytes=held.get("kept", {}),
        seconds=seconds,
    )
    return counted, doubts


def _run(job: _Job, kind: str, *before: str) -> tuple[dict[str, Any], str]:
    """The child's answer, and what went wrong."""
    answer = job.folder / f"{kind}.json"
    command = [*before, sys.executable, "-m", "hdrmx.counting_child", kind, str(job.spec), str(answer)]
    path = os.pathsep.join(p for p in (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(
        command, env={**job.environment, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    try:
        return json.loads(answer.read_text(encoding="utf-8")), ""
    except (OSError, ValueError):
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        return {}, last[-1][:300]


def _allocation_counter(folder: Path) -> tuple[Path | None, str]:
    """The library that counts what malloc is asked for, built now; or why it couldn't be."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or platform.system() != "Linux":
        return None, "there is no C compiler" if compiler is None else "it needs Linux"
    out = folder / "allocated.so"
    source = Path(measure.__file__).with_name("allocated.c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (
        (out, "") if done.returncode == 0 else (None, (done.stderr.strip() or "the compiler failed").splitlines()[-1])
    )


def _has_counters() -> bool:
    try:
        counter = PerfCounter()
    except OSError:
        return False
    counter.start()
    n = counter.stop()
    counter.close()
    return n > 0


def _short_objects(parts: dict[str, int]) -> dict[str, int]:
    """By file name; what belongs to no file is code made while running: our kernels."""
    named: dict[str, int] = {}
    for path, n in parts.items():
        name = "compiled kernels" if path == "???" else Path(path).name
        named[name] = named.get(name, 0) + n
    return dict(sorted(named.items(), key=lambda item: -item[1])[:20])


def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return program
    return done.stdout.strip() or program
