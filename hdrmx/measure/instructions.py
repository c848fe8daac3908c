"""Instructions of stretches of this process: by the processor's counters, or under valgrind's callgrind.

Under callgrind the program tells it what to count through client requests: a sequence of instructions that does nothing
on a real processor. It is put into a page of executable memory, so that no compiler is needed.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import re
import struct
from collections.abc import Iterator
from pathlib import Path

# rol rdi by 3, 13, 61, 51 and xchg rbx, rbx: valgrind's preamble; the request lies at rax, the default answer in rdx
_STUB = {
    "x86_64": bytes.fromhex(
        "53 48 89 f8 48 31 d2 48 c1 c7 03 48 c1 c7 0d 48 c1 c7 3d 48 c1 c7 33 48 87 db 48 89 d0 5b c3"
    )
}
_RUNNING_ON_VALGRIND = 0x1001
_CALLGRIND = ord("C") << 24 | ord("T") << 16
_DUMP_AT, _START, _STOP = _CALLGRIND + 3, _CALLGRIND + 4, _CALLGRIND + 5
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
HARDWARE, SOFTWARE, INSTRUCTIONS, TASK_CLOCK = 0, 1, 1, 1
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403


class Valgrind:
    """Requests to the valgrind that this process runs under. Raises RuntimeError on processors not known."""

    def __init__(self) -> None:
        stub = _STUB.get(platform.machine())
        if stub is None:
            raise RuntimeError(f"client requests aren't known for {platform.machine()}")
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(stub)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(address)

    def _ask(self, request: int, argument: int = 0) -> int:
        words = (ctypes.c_size_t * 6)(request, argument, 0, 0, 0, 0)
        return int(self._call(ctypes.addressof(words)))

    @property
    def is_here(self) -> bool:
        """Whether this process runs under valgrind."""
        return self._ask(_RUNNING_ON_VALGRIND) > 0

    def start(self) -> None:
        """Begin to count."""
        self._ask(_START)

    def stop(self, name: str) -> None:
        """Write what was counted under a name, start again from zero, and count no more."""
        text = ctypes.create_string_buffer(name.encode())
        self._ask(_DUMP_AT, ctypes.addressof(text))
        self._ask(_STOP)


class PerfCounter:
    """One event of this process and the threads it starts, in user space alone, by perf_event_open(2).

    Raises OSError where the machine has no such counter (virtual ones often don't) or doesn't allow it.
    """

    def __init__(self, kind: int = HARDWARE, event: int = INSTRUCTIONS) -> None:
        number = _PERF_EVENT_OPEN.get(platform.machine())
        if number is None or platform.system() != "Linux":
            raise OSError(f"perf events aren't known for {platform.system()} {platform.machine()}")
        size = 112
        disabled, inherit, no_kernel, no_hypervisor = 1, 2, 1 << 5, 1 << 6
        flags = disabled | inherit | no_kernel | no_hypervisor
        attributes = struct.pack("IIQQQQQ", kind, size, event, 0, 0, 0, flags).ljust(size, b"\0")
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.syscall(number, attributes, 0, -1, -1, 0)
        if self._handle < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def start(self) -> None:
        fcntl.ioctl(self._handle, _RESET, 0)
        fcntl.ioctl(self._handle, _ENABLE, 0)

    def stop(self) -> int:
        """The events since `start`."""
        fcntl.ioctl(self._handle, _DISABLE, 0)
        return int(struct.unpack("Q", os.read(self._handle, 8))[0])

    def close(self) -> None:
        os.close(self._handle)


_COST = re.compile(r"[+*-]?\d*(?: [+*-]?\d+)? ?(\d+)?$")


def read_callgrind(folder: Path, stem: str) -> dict[str, dict[str, int]]:
    """Instructions by shared library of each named dump, `stem.1`, `stem.2`, ...; those of one name are added."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob(f"{stem}*"), key=lambda p: (len(p.name), p.name)):
        text = path.read_text(errors="replace")
        named = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
        if named is None:
            continue
        objects = found.setdefault(named[1].strip(), {})
        for name, n in _costs(text):
            objects[name] = objects.get(name, 0) + n
    return found


def _costs(text: str) -> Iterator[tuple[str, int]]:
    """Self cost lines with their object; the line after `calls=` is that of the callee, and left out."""
    names: dict[str, str] = {}
    current, skip = "???", False
    for line in text.splitlines():
        if line.startswith("ob="):
            number, _, name = line[3:].partition(" ")
            if name:
                names[number] = name
            current = names.get(number, number)
        elif line.startswith(("cob=", "fl=", "fi=", "fe=", "fn=", "cfn=", "cfi=", "cfl=")):
            if line.startswith("cob="):
                number, _, name = line[4:].partition(" ")
                if name:
                    names[number] = name
        elif line.startswith("calls="):
            skip = True
        elif line[:1] in "+-*0123456789" and " " in line:
            if skip:
                skip = False
                continue
            yield current, int(line.split()[-1])
