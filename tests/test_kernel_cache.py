"""Compiled kernels go when any kernel source changes, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdrmx.kernel_cache import discard_stale


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two kernel files, of which one calls the other, their compiled results, and a file without kernels."""
    kernels = tmp_path / "kernels"
    (kernels / "__pycache__").mkdir(parents=True)
    (kernels / "inner.py").write_text("@njit\ndef inner(x): return x")
    (kernels / "outer.py").write_text("@njit\ndef outer(x): return inner(x)")
    (kernels / "plain.py").write_text("def plain(x): return x")
    (kernels / "__pycache__" / "plain.cpython.pyc").write_text("python's own")
    discard_stale(tmp_path)
    compile_all(tmp_path)
    return tmp_path


def compile_all(package: Path) -> None:
    for name in ("inner", "outer"):
        for suffix in (".nbi", ".1.nbc"):
            (package / "kernels" / "__pycache__" / f"{name}{suffix}").write_text("machine code")


def test_nothing_goes_while_sources_stay(package: Path) -> None:
    assert discard_stale(package) == 0
    (package / "kernels" / "plain.py").write_text("def plain(x): return 2 * x")
    assert discard_stale(package) == 0


def test_a_changed_callee_takes_its_callers_with_it(package: Path) -> None:
    (package / "kernels" / "inner.py").write_text("@njit\ndef inner(x): return 2 * x")
    assert discard_stale(package) == 4
    assert [p.name for p in (package / "kernels" / "__pycache__").iterdir()] == ["plain.cpython.pyc"]
    compile_all(package)
    assert discard_stale(package) == 0


def test_a_package_seen_for_the_first_time_starts_clean(package: Path) -> None:
    (package / "__pycache__" / "kernels.sha256").unlink()
    assert discard_stale(package) == 4
