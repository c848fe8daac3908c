"""Fingerprints: stable, complete where they can be, and never an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hdrmx.measure import machine as under_test
from hdrmx.measure.cgroup import cpu_quota, memory_limit
from hdrmx.measure.machine import digest, machine, software
from hdrmx.measure.surroundings import doubts_between, surroundings
from hdrmx.record import Cost, Surroundings

CPUINFO = "processor\t: 0\nmodel name\t: Example CPU\nflags\t\t: fpu avx2 avx512f hypervisor\n\nprocessor\t: 1\n"


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_same_machine_has_the_same_fingerprint():
    assert machine() == machine()
    assert software() == software()
    assert len(machine().fingerprint) == 12


def test_reads_proc_and_sys(tmp_path: Path):
    write(tmp_path, proc__cpuinfo=CPUINFO)
    cpu = tmp_path / "sys/devices/system/cpu"
    for name, text in {
        "cpu0/cache/index0/level": "1\n",
        "cpu0/cache/index0/type": "Data\n",
        "cpu0/cache/index0/size": "48K\n",
        "cpu0/cache/index3/level": "3",
        "cpu0/cache/index3/type": "Unified",
        "cpu0/cache/index3/size": "32M",
        "cpu0/cpufreq/scaling_governor": "performance\n",
        "cpufreq/boost": "1\n",
        "smt/active": "0\n",
    }.items():
        (cpu / name).parent.mkdir(parents=True, exist_ok=True)
        (cpu / name).write_text(text)
    found = machine(tmp_path)
    assert (found.cpu, found.cpu_flags, found.virtual) == ("Example CPU", ("avx2", "avx512f"), True)
    assert found.caches_bytes == {"L1d": 48 * 1024, "L3": 32 * 1024**2}
    assert (found.governor, found.turbo, found.smt) == ("performance", True, False)
    (cpu / "cpufreq/boost").write_text("0")
    assert machine(tmp_path).turbo is False
    assert machine(tmp_path).fingerprint != found.fingerprint


def test_an_empty_system_gives_a_fingerprint_all_the_same(tmp_path: Path):
    found = machine(tmp_path)
    assert (found.virtual, found.governor, found.huge_pages, found.caches_bytes) == (None, None, None, {})
    assert found.fingerprint


def test_the_host_name_is_not_compared(monkeypatch: pytest.MonkeyPatch):
    here = machine()
    monkeypatch.setattr(under_test.platform, "node", lambda: "elsewhere")
    there = machine()
    assert there.hostname == "elsewhere"
    assert replace(there, hostname=here.hostname) == here


def test_settings_that_change_speed_change_the_fingerprint(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    here, with_ours = machine(), software()
    monkeypatch.setenv("NUMBA_CPU_NAME", "x86-64-v2")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert machine().cpu_target == "x86-64-v2"
    assert machine().fingerprint != here.fingerprint
    assert software().environment["OMP_NUM_THREADS"] == "7"
    assert software().fingerprint != with_ours.fingerprint


def test_digest_forgets_the_order_of_keys():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_limits_of_control_groups_version_2(tmp_path: Path):
    write(
        tmp_path,
        proc__self__cgroup="0::/user/job\n",
        **{
            "sys__fs__cgroup__user__job__cpu.max": "150000 100000\n",
            "sys__fs__cgroup__user__cpu.max": "max 100000\n",
            "sys__fs__cgroup__user__job__memory.max": "max\n",
            "sys__fs__cgroup__user__memory.max": "1073741824\n",
        },
    )
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (1.5, 2**30)


def test_limits_of_control_groups_version_1(tmp_path: Path):
    write(
        tmp_path,
        proc__self__cgroup="4:memory:/job\n2:cpu,cpuacct:/\n",
        **{
            "sys__fs__cgroup__cpu,cpuacct__cpu.cfs_quota_us": "-1\n",
            "sys__fs__cgroup__cpu,cpuacct__cpu.cfs_period_us": "100000\n",
            "sys__fs__cgroup__memory__job__memory.limit_in_bytes": "9223372036854771712\n",
            "sys__fs__cgroup__memory__memory.limit_in_bytes": "2147483648\n",
        },
    )
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, 2**31)


def test_surroundings_are_read(tmp_path: Path):
    write(
        tmp_path,
        proc__pressure__cpu="some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0 avg60=0 avg300=0 total=3\n",
        proc__stat="cpu  1 2 3 4 5 6 7 100 0 0\ncpu0 1\n",
        proc__self__cgroup="0::/\n",
        **{"sys__fs__cgroup__cpu.stat": "usage_usec 5\nthrottled_usec 40\n"},
    )
    found = surroundings(tmp_path)
    assert found.pressure_us == {"cpu some": 12, "cpu full": 3}
    assert found.steal_ns > 0
    assert found.throttled_us == 40
    empty = surroundings(tmp_path / "none")
    assert (empty.pressure_us, empty.steal_ns, empty.throttled_us) == ({}, None, None)


def test_disturbances_are_doubts_with_numbers():
    cost = Cost(wall_ns=1_000_000_000)
    quiet = Surroundings(pressure_us={"cpu some": 0, "io full": 0}, steal_ns=0, throttled_us=0)
    assert doubts_between(quiet, quiet, cost, cores=2) == []
    loud = Surroundings(pressure_us={"cpu some": 250_000, "io full": 10}, steal_ns=100_000_000, throttled_us=20_000)
    found = {d.kind: d.numbers for d in doubts_between(quiet, loud, cost, cores=2)}
    assert found == {
        "under_pressure": {"of": "cpu", "share": 0.25},
        "stolen_time": {"share": 0.05},
        "throttled": {"share": 0.02},
    }
    assert [d.kind for d in doubts_between(Surroundings(), Surroundings(), cost, cores=2)] == ["no_pressure"]
