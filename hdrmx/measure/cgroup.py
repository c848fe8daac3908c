"""Limits that a control group (container, batch job, systemd slice) puts on this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 1 << 60  # version 1 writes a huge number where there is no limit


def folders(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of this process's control group for a controller, innermost first, up to the top."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            mount = root / "sys/fs/cgroup"
            if controller in names.split(","):
                mount = mount / names if (mount / names).is_dir() else mount / controller
            elif names:
                continue
            inner = Path(path.lstrip("/"))
            for part in (inner, *inner.parents):
                yield mount / part


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors that may be used on average; None without a limit."""
    limits = []
    for folder in folders("cpu", root):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            limits.append(int(quota) / int(period))
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota_us = int((folder / "cpu.cfs_quota_us").read_text())
            if quota_us > 0:
                limits.append(quota_us / int((folder / "cpu.cfs_period_us").read_text()))
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes; None without a limit."""
    limits = []
    for folder in folders("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)
