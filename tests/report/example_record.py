"""A made-up record with everything that a report can meet."""

from __future__ import annotations

from dataclasses import replace

from hdrmx.record import COMPILE, SETUP, Cost, DataSet, Doubt, Machine, Record, Software, Span


def cost(wall_ms: float, user_ms: float, system_ms: float = 0.0, **more: int) -> Cost:
    wall, user, system = (round(ms * 1e6) for ms in (wall_ms, user_ms, system_ms))
    return Cost(wall_ns=wall, user_ns=user, system_ns=system, children_ns=0, compile_ns=0, **more)


def example() -> Record:
    """320 frames, two stages of which the first reads within, compilation of its own and in a stage."""
    decode = Span(
        name="decode", start_ns=1_700_000_000, cost=cost(600, 590), peak_bytes=250_000_000, rss_start_bytes=240_000_000
    )
    find = Span(
        name="find_spots",
        start_ns=1_650_000_000,
        cost=replace(
            cost(2550, 2600, 40, minor_faults=12_000),
            compile_ns=50_000_000,
            compile_cpu_ns=40_000_000,
            kernels_compiled=2,
        ),
        peak_bytes=310_500_000,
        counts={
            "frames": 320,
            "decodes": 480,
            "pixels": 320 * 512 * 1028,
            "bytes_in": 31_000_000,
            "strong_pixels": 61_234,
            "spots": 6_570,
        },
        answers={"spots": 6570},
        children=(decode, replace(decode, start_ns=2_300_000_000)),
    )
    write = Span(
        name="write",
        start_ns=4_200_000_000,
        cost=replace(cost(200, 20, 30, disk_read_bytes=0), write_bytes=2_000_000),
        peak_bytes=290_000_000,
    )
    run = Span(
        name="run",
        cost=cost(4400, 4200, 100),
        peak_bytes=310_500_000,
        children=(
            Span(name="import", kind=SETUP, cost=cost(450, 440), peak_bytes=150_000_000),
            Span(name=COMPILE, kind=SETUP, cost=cost(1190, 1180), peak_bytes=230_000_000),
            find,
            write,
        ),
    )
    return Record(
        created="2025-11-22T12:00:00+00:00",
        command=("hdrmx-profile", "thaumatin_master.h5"),
        threads=1,
        machine=Machine(cpu="Example CPU 9000", cores_usable=2, virtual=True),
        software=Software(hdrmx="0.1.0", commit="0123456789abcdef"),
        data=DataSet(name="thaumatin_master.h5", n_frames=320, shape=(512, 1028), dtype="uint16"),
        run=run,
        doubts=(
            Doubt(kind="no_io_counters"),
            Doubt(kind="compiled_in_stage", numbers={"stage": "find_spots", "seconds": 0.05, "compiled": 2}),
            Doubt(kind="something_new", numbers={"share": 0.5}),
        ),
        files={"pyinstrument": "pyinstrument.html", "trace": "trace.json"},
    )
