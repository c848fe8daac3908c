"""A control group of its own for a command: the kernel then adds up every process in it, whoever waits for whom."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from itertools import count
from pathlib import Path

_numbers = count()


class Group:
    """A control group (version 2) below this process's own; `path` is None where none can be made.

    Limits of the groups above go on holding. It needs the right to write there: root, or a group handed over by
    systemd (`systemd-run --user --scope`).
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.path: Path | None = None
        above = _own(root)
        if above is None:
            return
        path = above / f"hdrmx-{os.getpid()}-{next(_numbers)}"
        try:
            path.mkdir()
        except OSError:
            return
        self.path = path
        if not (os.access(path / "cgroup.procs", os.W_OK) and (path / "cpu.stat").is_file() and shutil.which("sh")):
            self.close()

    def enter(self, argv: list[str]) -> list[str]:
        """The command that joins the group, then becomes `argv`; where it can't join it runs all the same."""
        if self.path is None:
            return argv
        join = 'p="$1"; shift; { echo $$ > "$p"; } 2>/dev/null; exec "$@"'
        return ["sh", "-c", join, "sh", str(self.path / "cgroup.procs"), *argv]

    def cpu_ns(self) -> tuple[int, int] | None:
        """User and system time of all that ran in the group, ns; None where nobody joined it."""
        if self.path is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError):
            entries = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
            times = int(entries["user_usec"]) * 1000, int(entries["system_usec"]) * 1000
            return times if sum(times) else None
        return None

    def close(self) -> None:
        """Remove it; what was left behind in it goes to the group above."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                for pid in (self.path / "cgroup.procs").read_text().split():
                    (self.path.parent / "cgroup.procs").write_text(pid)
            for _ in range(20):  # the kernel lets an ended process go a moment after its parent heard of it
                with contextlib.suppress(OSError):
                    self.path.rmdir()
                    break
                time.sleep(0.001)
            self.path = None


def _own(root: Path) -> Path | None:
    """The folder of this process's own group in the hierarchy of version 2."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, names, path = line.split(":", 2)
            if number == "0" and not names:
                for mount in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
                    if (mount / "cgroup.controllers").is_file():
                        return mount / path.lstrip("/")
    return None
