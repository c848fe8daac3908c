"""Looking into the Python of other programs, and the folded stacks that come of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from hdrmx.adapters import inside
from hdrmx.adapters.folded import below, by_function, format_folded, parse_folded, read_folded, speedscope
from hdrmx.adapters.inside import NONE, PY_SPY, PYINSTRUMENT, Inside, available, is_call, may_attach, short
from hdrmx.adapters.run import run_measured
from hdrmx.errors import InputError

STACKS = {("main (a.py:1)", "f (a.py:2)"): 30, ("main (a.py:1)", "f (a.py:2)", "f (a.py:2)"): 20, ("main (a.py:1)",): 5}


def test_own_and_whole_weights_by_function():
    assert by_function(STACKS) == {"main (a.py:1)": (5, 55), "f (a.py:2)": (50, 50)}
    assert by_function({}) == {}


def test_folded_text_and_back(tmp_path: Path):
    path = tmp_path / "x.folded"
    path.write_text(format_folded(below("stage", STACKS)))
    assert read_folded(path) == below("stage", STACKS)
    assert parse_folded(["a;b 2", "", "a;b 1"], unit=10) == {("a", "b"): 30}
    with pytest.raises(InputError, match="line 1 doesn't end in a number"):
        parse_folded(["a;b"])
    with pytest.raises(InputError, match="sample again"):
        read_folded(tmp_path / "none")


def test_speedscope_has_a_profile_for_each_stage():
    document = json.loads(speedscope({"one": STACKS, "two": {}}, "test"))
    names = [frame["name"] for frame in document["shared"]["frames"]]
    assert names == ["main (a.py:1)", "f (a.py:2)"]
    first = document["profiles"][0]
    assert first["endValue"] == sum(first["weights"]) == 55
    assert [len(s) for s in first["samples"]] == [1, 2, 3]


def test_files_are_named_from_their_package_on():
    assert short("f (/usr/lib/python3/dist-packages/dials/util/options.py:978)") == "f (dials/util/options.py:978)"
    assert short("f (/srv/group/code/a.py:3)") == "f (code/a.py:3)"
    assert short("f (a.py:3)") == "f (a.py:3)"
    assert short("no place") == "no place"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("f (a.py:3)", True),
        ("<module> (dials.index:1)", True),
        ('process 12:"python (x)"', False),
        ("_find_and_load (<frozen importlib._bootstrap>:1167)", False),
        (" shift", False),
    ],
)
def test_what_is_a_call(level: str, expected: bool):
    assert is_call(level) is expected


def test_the_sampler_is_the_best_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scope = tmp_path / "ptrace_scope"
    scope.write_text("1\n")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(inside, "py_spy", lambda: "/bin/py-spy")
    assert not may_attach(scope)
    assert available(None, scope) == (PYINSTRUMENT, "")
    assert available(PY_SPY, scope)[0] == NONE
    assert "may not look at other processes" in available(PY_SPY, scope)[1]
    scope.write_text("0\n")
    assert available(None, scope) == (PY_SPY, "")
    monkeypatch.setattr(inside, "py_spy", lambda: None)
    assert available(PY_SPY, scope)[1] == "py-spy is not installed (pip install py-spy)"
    monkeypatch.setattr(inside, "_package", lambda name: None)
    assert "pip install pyinstrument" in available(None, scope)[1]
    assert available(NONE) == (NONE, "")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Burns half a second in a function, and tells which sitecustomize of its own it saw."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.seen = 'own sitecustomize'\n")
    path = tmp_path / "program.py"
    loop = "    while time.process_time() < end: sum(range(500))"
    path.write_text(
        f"import sys, time\ndef burning():\n    end = time.process_time() + 0.5\n{loop}\n"
        "burning()\nopen('seen', 'w').write(getattr(sys, 'seen', ''))\n"
    )
    return path


@pytest.mark.parametrize("sampler", [PY_SPY, PYINSTRUMENT])
def test_a_function_of_another_program_is_seen(program: Path, tmp_path: Path, sampler: str):
    kind, why = available(sampler)
    if kind == NONE:
        pytest.skip(why)
    look = Inside(kind, tmp_path)
    env = look.environment({**os.environ, "PYTHONPATH": str(tmp_path / "own")})
    ran = run_measured([sys.executable, str(program)], cwd=tmp_path, env=env, begun=look.begun)
    sampled = look.stacks(ran.cost.cpu_ns)
    assert (ran.exit_code, sampled.why) == (0, "")
    assert sampled.n > 5
    functions = by_function(sampled.stacks)
    (burning,) = [name for name in functions if name.startswith("burning (")]
    assert functions[burning][1] > 0.1 * 1e6
    if kind == PY_SPY:  # its samples are brought to the processor time
        assert sum(sampled.stacks.values()) == pytest.approx(ran.cost.cpu_ns / 1000, rel=0.01)
    assert (tmp_path / "seen").read_text() == "own sitecustomize"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own", "program.py", "seen"]


def test_a_program_that_is_no_python_gives_a_reason(tmp_path: Path):
    for sampler in (PY_SPY, PYINSTRUMENT):
        if available(sampler)[0] == NONE:
            continue
        look = Inside(sampler, tmp_path)
        run_measured(["true"], env=look.environment(os.environ), begun=look.begun)
        sampled = look.stacks()
        assert sampled.stacks == {}
        assert sampled.why
