"""What each stage may cost, declared once: its drivers, and the class of growth over each.

`hdrmx complexity pipeline --gate` holds the stages to it. A class is allowed one logarithm more, and memory may grow
as the class of time does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """`growth` in the words of `complexity.growth.parse_growth`; `sizes` are those that the gate runs at."""

    stage: str
    driver: str
    growth: str
    sizes: tuple[int, ...]


_FRAMES = (40, 53, 75, 100, 130, 170, 225, 300)
_ROWS = (500, 720, 1030, 1500, 2100, 2900, 4200, 6000)
COSTS = (
    Cost("find_spots", "frames", "n", (4, 7, 10, 15, 22, 32, 47, 64)),
    Cost("find_spots", "pixels", "n", (20_000, 32_000, 48_000, 70_000, 100_000, 150_000, 220_000, 320_000)),
    Cost("find_spots", "photons", "n", (2_000, 3_500, 6_000, 10_000, 17_000, 28_000, 45_000, 70_000)),
    Cost("index", "spots", "n", _ROWS),
    Cost("refine", "spots", "n", _ROWS),
    Cost("integrate", "frames", "n", _FRAMES),
    Cost("symmetry", "reflections", "n", (3_000, 4_000, 5_500, 7_500, 10_000, 14_000, 19_000, 25_000)),
    Cost("scale", "reflections", "n", (3_000, 4_000, 5_500, 7_500, 10_000, 14_000, 19_000, 25_000)),
    Cost("merge", "reflections", "n", (1_500, 2_200, 3_300, 5_000, 7_500, 11_000, 16_000, 24_000)),
    Cost("export", "batches", "n", (100, 150, 230, 350, 520, 800, 1200, 1800)),
)


def declared(stage: str, driver: str | None = None) -> Cost | None:
    """What a stage declares for a driver, or for its first one."""
    return next((c for c in COSTS if c.stage == stage and driver in (None, c.driver)), None)
