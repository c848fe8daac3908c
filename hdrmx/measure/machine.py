"""Fingerprints of the machine and the software: what decides whether two timings may be compared."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import psutil

import hdrmx
from hdrmx.measure.cgroup import cpu_quota, memory_limit
from hdrmx.record import Machine, Software

NOT_COMPARED = ("fingerprint", "hostname", "peak_memory")  # fields that don't change speed
FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "bmi2",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512vbmi",
    "neon",
    "asimd",
    "sve",
)
PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "pandas", "h5py", "hdf5plugin", "gemmi", "pyinstrument")
VARIABLES = (
    "PYTHONHASHSEED",
    "NUMBA_NUM_THREADS",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_DISABLE_JIT",
    "NUMBA_BOUNDSCHECK",
    "NUMBA_OPT",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "MALLOC_ARENA_MAX",
    "LD_PRELOAD",
)


def machine(root: Path = Path("/")) -> Machine:
    """This machine. What can't be found out is None or left out, never an error.

    Parameters
    ----------
    root : where /proc and /sys are; a test gives another
    """
    cpuinfo = _cpuinfo(root / "proc/cpuinfo")
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    cpu_folder = root / "sys/devices/system/cpu"
    found = Machine(
        hostname=platform.node() or None,
        system=platform.system() or None,
        kernel=platform.release() or None,
        architecture=platform.machine() or None,
        cpu=cpuinfo.get("model name") or _sysctl("machdep.cpu.brand_string") or platform.processor() or None,
        cpu_flags=tuple(f for f in FLAGS if f in flags),
        cpu_target=_cpu_target(),
        cores_physical=psutil.cpu_count(logical=False),
        cores_logical=psutil.cpu_count(),
        cores_usable=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
        cpu_quota=cpu_quota(root),
        caches_bytes=_caches(cpu_folder / "cpu0/cache"),
        numa_nodes=len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        memory_bytes=psutil.virtual_memory().total,
        memory_limit_bytes=memory_limit(root),
        virtual="hypervisor" in flags if flags else None,
        governor=_text(cpu_folder / "cpu0/cpufreq/scaling_governor"),
        turbo=_turbo(cpu_folder),
        smt={"0": False, "1": True}.get(_text(cpu_folder / "smt/active") or ""),
        huge_pages=_chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
    )
    compared = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in NOT_COMPARED}
    compared["memory_bytes"] = round(psutil.virtual_memory().total / 2**30)  # differs by some pages from boot to boot
    return replace(found, fingerprint=digest(compared))


def software() -> Software:
    """Versions, loaded BLAS libraries and the environment variables that change speed."""
    commit, modified = _checkout(Path(hdrmx.__file__).resolve().parent)
    found = Software(
        hdrmx=hdrmx.__version__,
        commit=commit,
        modified=modified,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: version for name in PACKAGES if (version := _version(name)) is not None},
        blas=_blas(),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )
    compared = (found.python, found.packages, found.blas, found.environment)
    return replace(found, fingerprint=digest(compared))


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a value, whatever the order of its keys."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:12]


def _cpuinfo(path: Path) -> dict[str, str]:
    """Of the first processor."""
    with contextlib.suppress(OSError):
        first = path.read_text(errors="replace").split("\n\n")[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def _caches(folder: Path) -> dict[str, int]:
    units = {"K": 1024, "M": 1024**2, "G": 1024**3}
    found = {}
    for index in sorted(folder.glob("index[0-9]*")):
        level, kind, size = (_text(index / name) for name in ("level", "type", "size"))
        if level and size and size[-1] in units and size[:-1].isdigit():
            found[f"L{level}" + {"Data": "d", "Instruction": "i"}.get(kind or "", "")] = (
                int(size[:-1]) * units[size[-1]]
            )
    return found


def _turbo(folder: Path) -> bool | None:
    no_turbo = _text(folder / "intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == "0"
    boost = _text(folder / "cpufreq/boost")
    return None if boost is None else boost == "1"


def _cpu_target() -> str | None:
    """Processor that kernels are compiled for: NUMBA_CPU_NAME, else this host as LLVM names it."""
    if os.environ.get("NUMBA_CPU_NAME"):
        return os.environ["NUMBA_CPU_NAME"]
    try:
        from llvmlite import binding

        return str(binding.get_host_cpu_name())
    except Exception:  # an LLVM that can't say is no reason to stop
        return None


def _blas() -> tuple[str, ...]:
    import scipy.linalg  # noqa: F401  (brings its own library; which of them a run had loaded must not matter)
    import threadpoolctl

    libraries = (lib for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "blas")
    return tuple(
        sorted(
            {
                f"{lib['internal_api']} {lib['version']} {lib.get('architecture', '')}, {lib['num_threads']} threads"
                for lib in libraries
            }
        )
    )


def _checkout(package: Path) -> tuple[str | None, bool | None]:
    """Commit of the git checkout that this package is part of, and whether its files differ from it."""
    git = shutil.which("git")
    if git is None or not (package.parent / ".git").exists():
        return None, None

    def ask(*words: str) -> str | None:
        command = [git, "-C", str(package), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if ask("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    changes = ask("status", "--porcelain", "--untracked-files=no", "--", ".")
    return ask("rev-parse", "HEAD"), None if changes is None else bool(changes)


def _sysctl(name: str) -> str | None:
    if sys.platform != "darwin":
        return None
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _chosen(text: str | None) -> str | None:
    """The word in brackets, as in `always [madvise] never`."""
    if text is None or "[" not in text:
        return text
    return text.partition("[")[2].partition("]")[0]
