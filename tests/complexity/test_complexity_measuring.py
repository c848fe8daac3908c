"""Measuring in child processes: exact calls, who is to blame, what is counted and held."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdrmx.complexity.by_function import is_ours
from hdrmx.complexity.child import function_at
from hdrmx.complexity.command import run_command, study_command
from hdrmx.complexity.growth import CONSTANT, LINEAR, Growth
from hdrmx.complexity.limits import hold_to_baseline
from hdrmx.complexity.measuring import Plan
from hdrmx.complexity.run import complexity
from hdrmx.complexity.samples import FunctionTarget, has_valgrind, read_callgrind, run
from hdrmx.complexity.study import COUNTS, INSTRUCTIONS, MEMORY, TIME, as_json
from hdrmx.errors import InputError

CASES = Path(__file__).with_name("complexity_cases.py")
SIZES = (8, 11, 16, 22, 32, 45, 64)


def plan(*measures: str, budget_s: float = 1.0) -> Plan:
    return Plan(SIZES, measures=measures or (COUNTS,), budget_s=budget_s)


def test_calls_are_exact_and_the_origin_is_blamed() -> None:
    study = complexity(f"{CASES}:pairs", plan())
    by_name = {f.key[2]: f for f in study.functions}
    assert {n: by_name["compare"].calls[n] for n in SIZES} == {n: n * (n - 1) // 2 for n in SIZES}
    assert study.verdict == "exceeds"
    assert study.measures[COUNTS].fitted.growth == Growth(2)
    assert [(g.function, g.line) for g in study.guilty] == [("pairs", 12)]
    assert study.guilty[0].exponent == pytest.approx(2.0, abs=0.1)
    inherited = by_name["compare"].inherited
    assert inherited is not None
    assert inherited.growth == Growth(2)


def test_setup_is_not_measured_and_counters_are_kept() -> None:
    study = complexity(f"{CASES}:lookup", plan())
    assert study.verdict == "within"
    assert study.counters["items"] == {n: n for n in SIZES}
    assert "setup_lookup" not in {f.key[2] for f in study.functions}
    limits = complexity(f"{CASES}:lookup", plan(), limits={"step": 0.5})
    assert limits.verdict == "exceeds"
    assert limits.guilty[0].function == "lookup"
    assert complexity(f"{CASES}:lookup", plan(), limits={"step": 1, "items": 1}).verdict == "within"


def test_memory_is_blamed_on_who_holds_it() -> None:
    study = complexity(f"{CASES}:hold", Plan((64, 91, 128, 181, 256, 362), CONSTANT, measures=(MEMORY,), budget_s=1.0))
    assert study.measures[MEMORY].verdict == "exceeds"
    assert study.guilty[0].function == "hold"
    assert study.measures[MEMORY].fitted.growth == LINEAR


def test_the_same_run_again_is_the_baseline_of_itself() -> None:
    study = complexity(f"{CASES}:lookup", plan())
    old = as_json(study)
    assert hold_to_baseline(study, old).verdict == "within"
    changed = dict(old, answers={str(n): "another" for n in SIZES})
    assert [b.kind for b in hold_to_baseline(study, changed).breaches] == ["answer"]
    cheaper = as_json(complexity(f"{CASES}:plain", plan()))
    assert "baseline" in {b.kind for b in hold_to_baseline(study, cheaper).breaches}


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere.py:f", "no such file"),
        (f"{CASES}:nothing", "nothing"),
        (f"{CASES}:broken", "no such luck"),
        ("no_such_module:f", "no_such_module"),
        ("what", "is neither"),
        ("stage:nothing", "is no stage"),
    ],
)
def test_bad_targets_are_told_in_a_line(target: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        complexity(target, plan())


def test_a_command() -> None:
    study = study_command("echo {n} > /dev/null", Plan((1, 2, 3, 4), measures=(TIME,), budget_s=0.5))
    assert sorted(study.measures[TIME].values) == [1, 2, 3, 4]
    assert run_command("exit 0").peak_bytes > 0
    with pytest.raises(InputError, match="status 7"):
        run_command("exit 7")


@pytest.mark.skipif(not has_valgrind(), reason="valgrind is not installed")
@pytest.mark.slow
def test_instructions_of_a_region_are_linear_without_the_start() -> None:
    request = {"sizes": [1000, 2000, 4000], "repeats": 1, "patience_s": 120.0}
    samples = run(FunctionTarget(f"{CASES}:plain"), INSTRUCTIONS, request, 60.0)
    counts = {s["n"]: s["instructions"] for s in samples}
    per_item = (counts[4000] - counts[2000]) / 2000
    assert 5 < per_item < 200
    assert counts[2000] - counts[1000] == pytest.approx(1000 * per_item, rel=0.02)


def test_reading_callgrind(tmp_path: Path) -> None:
    path = tmp_path / "callgrind.out.1"
    path.write_text("events: Ir\n\nfn=walk\n10 500\ncfn=add\ncalls=3 20\n10 900\n+1 5\n\nfn=add\n20 300\n")
    assert read_callgrind(path) == {"walk": 505, "add": 300}


def test_whose_code_and_where() -> None:
    assert is_ours(str(CASES), None)
    assert not is_ours(pytest.__file__, None)
    assert is_ours(pytest.__file__, Path(pytest.__file__).parent)
    assert function_at(str(CASES), 14)[1:] == (12, "pairs")
