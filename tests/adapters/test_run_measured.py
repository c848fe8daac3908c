"""Commands measured with their process trees. Processor time is compared with what the programs know they took."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hdrmx.adapters import run as run_module
from hdrmx.adapters.group import Group
from hdrmx.adapters.run import Look, run_measured, thinned
from hdrmx.adapters.tree import descendants, read_process

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
PYTHON = f"{sys.executable} -S -E -c"
BURN = "import time\nwhile time.process_time() < 0.06: pass"


@pytest.fixture(params=["group", "no group"])
def with_or_without_group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kernel's sum over a control group where one can be made here, and without one."""
    if request.param == "no group":
        monkeypatch.setattr(run_module, "Group", lambda: Group(Path("/nowhere")))
    return request.param


def sh(text: str, **more: object):
    return run_measured(["sh", "-c", text], **more)  # type: ignore[arg-type]


def burning(folder: Path, n: int, ends: str) -> str:
    (folder / "burn.py").write_text(BURN)
    return f"for i in {' '.join(map(str, range(n)))}; do {sys.executable} -S -E {folder}/burn.py{ends} done"


def test_short_processes_are_counted_in_full(tmp_path: Path, with_or_without_group: str):
    ran = sh(burning(tmp_path, 4, ";"))
    assert ran.exit_code == 0
    assert ran.cost.cpu_ns >= 4 * 60_000_000
    assert ran.cost.wall_ns >= ran.cost.cpu_ns * 0.9 / len(os.sched_getaffinity(0))
    assert ran.cost.minor_faults > 0
    assert ran.cost.switches_voluntary > 0


@needs_proc
def test_orphans_are_counted(tmp_path: Path, with_or_without_group: str):
    """A process whose parent ended before it; the command waits for its file."""
    done = tmp_path / "done"
    (tmp_path / "late.py").write_text(f"{BURN}\nopen({str(done)!r}, 'w')")
    ran = sh(f"(setsid {sys.executable} -S -E {tmp_path}/late.py &); while [ ! -e {done} ]; do :; done")
    assert ran.cost.cpu_ns >= 60_000_000
    assert ran.exit_code == 0


@pytest.mark.parametrize(("text", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0), ("no-such-program", 127)])
def test_exit_codes_are_those_of_a_shell(text: str, code: int):
    assert sh(text, output=-3).exit_code == code


@needs_proc
def test_bytes_are_counted_exactly(tmp_path: Path):
    """The difference of two runs, since starting a program reads its libraries."""
    for name, size in (("none", 0), ("some", 100_000)):
        (tmp_path / name).write_bytes(bytes(size))
    costs = [sh(f"cat {tmp_path / name} > {tmp_path}/copy").cost for name in ("none", "some")]
    assert costs[1].read_bytes - costs[0].read_bytes == 100_000
    assert costs[1].write_bytes - costs[0].write_bytes == 100_000


@needs_proc
def test_memory_is_that_of_all_processes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two processes hold 60 MB each, and end when a look has seen both."""
    go = tmp_path / "go"
    (tmp_path / "hold.py").write_text(
        f"import os\nheld = b'x' * 60_000_000\nwhile not os.path.exists({str(go)!r}): pass"
    )
    look = run_module._Watch._look

    def look_and_tell(watch: run_module._Watch) -> None:
        look(watch)
        if watch.looks[-1].rss_bytes > 120_000_000:
            go.touch()

    monkeypatch.setattr(run_module._Watch, "_look", look_and_tell)
    start = f"{sys.executable} -S -E {tmp_path}/hold.py &"
    ran = sh(f"{start} {start} wait")
    assert ran.peak_bytes > 120_000_000
    assert max(look.processes for look in ran.looks) >= 3
    assert any(look.pss_bytes for look in ran.looks)
    assert [look.cpu_ns for look in ran.looks] == sorted(look.cpu_ns for look in ran.looks)


@needs_proc
def test_what_is_left_behind_is_left_alone_and_named(tmp_path: Path):
    ran = sh(f"sleep 100 & echo $! > {tmp_path}/pid")
    pid = int((tmp_path / "pid").read_text())
    try:
        assert [d.kind for d in ran.doubts] == ["left_behind"]
        assert read_process(pid) is not None
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)  # it came to us


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@needs_proc
def test_ctrl_c_ends_the_command_and_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command interrupts us; one of its processes ignores SIGINT and one has gone into a session of its own."""
    monkeypatch.setattr(run_module, "GRACE_S", 1.0)
    text = f"""(trap '' INT; exec sleep 100) & echo $! > {tmp_path}/deaf
setsid sh -c 'echo $$ > {tmp_path}/far; exec sleep 100' &
while [ ! -s {tmp_path}/far ]; do :; done
kill -INT $PPID; wait"""
    ran = sh(text)
    assert ran.interrupted
    assert ran.exit_code != 0
    for name in ("deaf", "far"):
        assert ended(int((tmp_path / name).read_text()))


def test_without_proc_the_kernel_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_module, "Group", lambda: Group(tmp_path))
    (tmp_path / "proc").mkdir()
    ran = sh(burning(tmp_path, 2, ";"), proc=tmp_path / "proc")
    assert ran.cost.cpu_ns >= 2 * 60_000_000
    assert ran.cost.read_bytes is None
    assert "no_io_counters" in [d.kind for d in ran.doubts]


def test_other_children_of_ours_are_not_the_commands(tmp_path: Path):
    import subprocess

    ours = subprocess.Popen(["sleep", "100"])
    try:
        ran = sh("true")
        assert not ran.doubts
        assert ours.poll() is None
    finally:
        ours.kill()
        ours.wait()


@needs_proc
def test_a_tree_has_parents_before_children():
    found = [p.pid for p in descendants(os.getpid())]
    assert found[0] == os.getpid()
    assert len(set(found)) == len(found)


def test_thinning_keeps_peaks_and_the_last_totals():
    looks = [Look(i, rss_bytes=(i * 7) % 50, pss_bytes=None, cpu_ns=i, processes=1, threads=1) for i in range(103)]
    kept = thinned(looks, 10)
    assert len(kept) <= 10
    assert max(look.rss_bytes for look in kept) == max(look.rss_bytes for look in looks)
    assert (kept[-1].at_ns, kept[-1].cpu_ns) == (102, 102)
    assert thinned([], 10) == []
