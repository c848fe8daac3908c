"""A meter whose clocks tests turn by hand."""

from __future__ import annotations

from hdrmx.measure.process import WITHIN_SPAN, Reading
from hdrmx.record import Doubt


class FakeMeter:
    """Time passes only when `work` is called; counts how often it was asked."""

    def __init__(self, peak_memory: str = WITHIN_SPAN, **missing: None) -> None:
        self.peak_memory = peak_memory
        self.missing = missing
        self.wall = self.user = self.system = self.compile = self.faults = self.bytes = 0
        self.rss = self.peak = 100
        self.reads = self.clocks = self.resets = 0
        self.is_closed = False

    def work(self, wall: int, user: int | None = None, grow: int = 0, keep: int = 0, compile_: int = 0) -> None:
        """Let `wall` ns pass, `grow` bytes be taken on the way and `keep` of them be kept."""
        self.wall += wall
        self.user += wall if user is None else user
        self.compile += compile_
        self.peak = max(self.peak, self.rss + grow)
        self.rss += keep
        self.peak = max(self.peak, self.rss)

    def now_ns(self) -> int:
        self.clocks += 1
        return self.wall

    def read(self) -> Reading:
        self.reads += 1
        values = {
            "user_ns": self.user,
            "system_ns": self.system,
            "thread_ns": self.user,
            "children_ns": 0,
            "compile_ns": self.compile,
            "kernels_compiled": 0,
            "minor_faults": self.faults,
            "read_bytes": self.bytes,
            "rss_bytes": self.rss,
            "peak_bytes": self.peak,
        }
        return Reading(wall_ns=self.wall, **{**values, **self.missing})

    def reset_peak(self) -> None:
        self.resets += 1
        if self.peak_memory == WITHIN_SPAN:
            self.peak = self.rss

    def doubts(self) -> list[Doubt]:
        return []

    def close(self) -> None:
        self.is_closed = True
