"""Folded stacks: one line a stack, calls from the outermost in, separated by semicolons, then its weight.

Weights are whole microseconds. Flame-graph programs and speedscope read such files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hdrmx.errors import InputError

Stacks = dict[tuple[str, ...], int]  # outermost call first: weight


def read_folded(path: Path) -> Stacks:
    """Raises InputError where the file can't be read or a line has no weight."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise InputError(path, error.strerror or "can't be read", "sample again") from None
    return parse_folded(lines, path)


def parse_folded(lines: Iterable[str], where: str | Path = "stacks", unit: int = 1) -> Stacks:
    """`unit`: what a weight of one stands for, in microseconds."""
    found: Stacks = {}
    for number, line in enumerate(lines, 1):
        calls, _, weight = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if not weight.isdigit():
            raise InputError(where, f"line {number} doesn't end in a number", "is it a file of folded stacks?")
        key = tuple(calls.split(";"))
        found[key] = found.get(key, 0) + int(weight) * unit
    return found


def format_folded(stacks: Mapping[tuple[str, ...], int]) -> str:
    """Sorted, so that the same samples give the same text."""
    return "".join(f"{';'.join(calls)} {weight}\n" for calls, weight in sorted(stacks.items()))


def below(root: str, stacks: Mapping[tuple[str, ...], int]) -> Stacks:
    """The same stacks under one more call."""
    return {(root, *calls): weight for calls, weight in stacks.items()}


def by_function(stacks: Mapping[tuple[str, ...], int]) -> dict[str, tuple[int, int]]:
    """Each call's own weight and that with all it called (once a stack, where it calls itself)."""
    found: dict[str, tuple[int, int]] = {}
    for calls, weight in stacks.items():
        for call in set(calls):
            own, whole = found.get(call, (0, 0))
            found[call] = own, whole + weight
        if calls:
            own, whole = found[calls[-1]]
            found[calls[-1]] = own + weight, whole
    return found


def speedscope(profiles: Mapping[str, Mapping[tuple[str, ...], int]], exporter: str) -> str:
    """One profile of each name, in the format of speedscope."""
    numbers: dict[str, int] = {}
    documents = []
    for name, stacks in profiles.items():
        samples = [[numbers.setdefault(call, len(numbers)) for call in calls] for calls in sorted(stacks)]
        weights = [stacks[calls] for calls in sorted(stacks)]
        documents.append(
            {
                "type": "sampled",
                "name": name,
                "unit": "microseconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        )
    document = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": exporter,
        "shared": {"frames": [{"name": name} for name in numbers]},
        "profiles": documents,
    }
    return json.dumps(document, separators=(",", ":")) + "\n"
