"""Compilation is heard of and can be told from work."""

from __future__ import annotations

import numba

from hdrmx.measure.compilation import Compilation, doubts_of
from hdrmx.record import COMPILE, SETUP, Cost, Span, compilation_ns, net_ns, pipeline_ns, stages


def test_hears_each_kernel_once():
    compilation = Compilation().start()

    @numba.njit
    def inner(x: int) -> int:
        return x + 1

    @numba.njit
    def outer(x: int) -> int:
        return inner(x) * 2

    try:
        assert outer(1) == 4
        first = compilation.total_ns
        assert outer(2) == 6
        assert compilation.compiled == 2
        assert first > 0
        assert compilation.total_ns == first  # a compiled kernel costs no compilation
    finally:
        compilation.stop()

    @numba.njit
    def unheard(x: int) -> int:
        return x

    unheard(1)
    assert compilation.compiled == 2


def a_run() -> Span:
    warm = Span(name=COMPILE, kind=SETUP, cost=Cost(wall_ns=1000, compile_ns=990))
    find = Span(name="find_spots", cost=Cost(wall_ns=100_000_000, compile_ns=30_000_000, kernels_compiled=2))
    write = Span(name="write", cost=Cost(wall_ns=500, compile_ns=0))
    return Span(name="run", cost=Cost(wall_ns=100_002_000), children=(warm, find, write))


def test_compilation_is_its_own_line_and_in_no_stage():
    run = a_run()
    assert [s.name for s in stages(run)] == ["find_spots", "write"]
    assert [net_ns(s) for s in stages(run)] == [70_000_000, 500]
    assert pipeline_ns(run) == 70_000_500
    assert compilation_ns(run) == 30_001_000


def test_a_stage_that_compiled_is_named():
    (doubt,) = doubts_of(a_run())
    assert (doubt.kind, doubt.numbers) == (
        "compiled_in_stage",
        {"stage": "find_spots", "seconds": 0.03, "compiled": 2},
    )
