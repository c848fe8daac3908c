"""Defects planted in our own pipeline: call one of these before a run, and that process has it.

hdrmx complexity pipeline --gate --before tests/defects/pipeline_defects.py:index_all_pairs
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any


def _wrap(module: str, name: str, more: Callable[..., None]) -> None:
    """Have a function of the pipeline do `more`, with the same arguments, before its own work."""
    owner = importlib.import_module(module)
    good = getattr(owner, name)

    @functools.wraps(good)
    def planted(*arguments: Any, **named: Any) -> Any:
        more(*arguments, **named)
        return good(*arguments, **named)

    setattr(owner, name, planted)


class Header:
    __slots__ = ("next", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.next: Header | None = None


def walk_to_end(head: Header) -> Header:
    at = head
    while at.next is not None:
        at = at.next
    return at


def add_headers(mtz: Any, sweep: Any, *_: Any) -> None:
    """F1: the list of headers is walked for its end whenever one is added."""
    head = Header(0)
    for number in range(1, sweep.scan.n_frames):
        walk_to_end(head).next = Header(number)


def add_headers_cubed(mtz: Any, sweep: Any, *_: Any) -> None:
    """Each added header compares every pair of those there are; seldom enough to cost little at first."""
    numbers = list(range(sweep.scan.n_frames))
    for n in range(16, len(numbers), 16):
        count_pairs(numbers[: n // 4])


def count_pairs(numbers: list[int]) -> int:
    equal = 0
    for a in numbers:
        equal += numbers.count(a)
    return equal


def batches_quadratic() -> None:
    _wrap("hdrmx.io.mtz", "append_batches", add_headers)


def batches_cubic() -> None:
    _wrap("hdrmx.io.mtz", "append_batches", add_headers_cubed)


def all_pairs(spots: Any, *_: Any, **__: Any) -> None:
    """C9: each spot compared with all others."""
    places = spots["fast"].tolist()
    for place in places:
        places.count(place)


def index_all_pairs() -> None:
    _wrap("hdrmx.stages.index", "index", all_pairs)


def find_each(indexed: Any, *_: Any, **__: Any) -> None:
    """A1: the place of each reflection found by searching the list of all."""
    rows = list(range(len(indexed)))
    for row in rows:
        rows.index(row)


def refine_find_each() -> None:
    _wrap("hdrmx.stages.refine", "refine", find_each)


def select_by_batch(scaled: Any, *_: Any, **__: Any) -> None:
    """E13: all observations looked through for each of n / 50 batches."""
    frames = scaled["frame"].astype(int).tolist()
    for batch in range(len(frames) // 50):
        frames.count(batch)


def merge_by_batch() -> None:
    _wrap("hdrmx.stages.merge", "merge", select_by_batch)


def match_identifiers(sweeps: Any, *_: Any, **__: Any) -> None:
    """F2: two lists of identifiers intersected by a double loop."""
    names = [f"r{i}" for i in range(len(sweeps[0].observations) // 4)]
    for i in range(len(names)):
        names.count(f"r{i}x")


def scale_match_identifiers() -> None:
    _wrap("hdrmx.stages.scale", "scale", match_identifiers)


def copy_history(frames: Any, *_: Any, **__: Any) -> None:
    """A5: a list joined anew for each frame."""
    history: list[int] = []
    for frame in frames:
        history = history + [frame.index] * 2000


def find_spots_copy_history() -> None:
    _wrap("hdrmx.stages.find_spots", "find_spots", copy_history)


PLANTED = {  # defect: (stage, driver, guilty)
    "batches_quadratic": ("export", "batches", "walk_to_end"),
    "batches_cubic": ("export", "batches", "count_pairs"),
    "index_all_pairs": ("index", "spots", "all_pairs"),
    "refine_find_each": ("refine", "spots", "find_each"),
    "merge_by_batch": ("merge", "reflections", "select_by_batch"),
    "scale_match_identifiers": ("scale", "reflections", "match_identifiers"),
    "find_spots_copy_history": ("find_spots", "frames", "copy_history"),
}
