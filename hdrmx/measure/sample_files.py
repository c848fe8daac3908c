"""What is written of samples: folded stacks, speedscope's JSON, and a session for pyinstrument for each stage.

Each format has the stages apart, so that one can be opened on its own. Stages and threads stand at the root.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hdrmx.measure.sampling import IDLE, Piece

FOLDED, SPEEDSCOPE, SESSIONS = "profile.folded", "profile.speedscope.json", "pyinstrument"
MOST_SAMPLES = 50_000  # of a page of pyinstrument's; one with more is slow to open in a browser
_WEB_FONT = re.compile(r"https://fonts\.googleapis\.com/[^\"']*")

Save = Callable[[Path, str], object]


def folded(pieces: Iterable[Piece]) -> str:
    """One line a stack, `stage;thread;outermost;...;innermost microseconds`, sorted; those at rest end with `IDLE`."""
    sums: dict[str, int] = {}
    for piece in pieces:
        levels = [piece.stage, piece.thread, *(call.text for call in piece.calls)]
        if piece.at in IDLE:
            levels.append(piece.at)
        key = ";".join(level.replace(";", ",") for level in levels)
        sums[key] = sums.get(key, 0) + piece.ns
    return "".join(f"{stack} {round(ns / 1e3)}\n" for stack, ns in sorted(sums.items()) if ns >= 500)


def read_folded(text: str) -> dict[tuple[str, ...], int]:
    """The inverse: microseconds by stack. Lines that are none are passed over."""
    found: dict[tuple[str, ...], int] = {}
    for line in text.splitlines():
        stack, _, number = line.rpartition(" ")
        if stack and number.isdigit():
            key = tuple(stack.split(";"))
            found[key] = found.get(key, 0) + int(number)
    return found


def speedscope(pieces: Iterable[Piece], name: str) -> str:
    """A file for https://www.speedscope.app: a profile for each stage and thread, in order of time, without waiting."""
    numbers: dict[tuple[str, str, int], int] = {}
    profiles: dict[tuple[str, str], dict[str, Any]] = {}
    for piece in pieces:
        if piece.at in IDLE:
            continue
        key = piece.stage, piece.thread
        profile = profiles.setdefault(
            key,
            {
                "type": "sampled",
                "name": f"{piece.stage}, {piece.thread}",
                "unit": "microseconds",
                "startValue": 0,
                "endValue": 0,
                "samples": [],
                "weights": [],
            },
        )
        stack = [numbers.setdefault((c.name, c.file, c.line), len(numbers)) for c in piece.calls]
        us = round(piece.ns / 1e3)
        if profile["samples"] and profile["samples"][-1] == stack:
            profile["weights"][-1] += us
        else:
            profile["samples"].append(stack)
            profile["weights"].append(us)
        profile["endValue"] += us
    frames = [{"name": n, **({"file": f, "line": line} if f else {})} for n, f, line in numbers]
    content = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": name,
        "exporter": "hdrmx",
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": list(profiles.values()),
    }
    return json.dumps(content, separators=(",", ":")) + "\n"


def write_samples(folder: Path, pieces: list[Piece], save: Save, name: str) -> dict[str, str]:
    """Write everything into a folder, with `save(path, text)`; the names by kind. Nothing when nothing was sampled."""
    if not any(piece.at not in IDLE for piece in pieces):
        return {}
    save(folder / FOLDED, folded(pieces))
    save(folder / SPEEDSCOPE, speedscope(pieces, name))
    files = {"folded": FOLDED, "speedscope": SPEEDSCOPE}
    (folder / SESSIONS).mkdir(exist_ok=True)
    for stage in dict.fromkeys(piece.stage for piece in pieces):
        own = [piece for piece in pieces if piece.stage == stage]
        if any(piece.at not in IDLE for piece in own):
            file = f"{SESSIONS}/{re.sub(r'[^A-Za-z0-9_.-]+', '_', stage)}.html"
            save(folder / file, pyinstrument_page(own))
            files[f"pyinstrument {stage}"] = file
    return files


def pyinstrument_page(pieces: list[Piece]) -> str:
    """Pyinstrument's own page of one stage, which opens without a network. Threads stand one after another."""
    from pyinstrument.renderers import HTMLRenderer

    session = _session(sorted(pieces, key=lambda p: p.thread != "main"))
    if session.sample_count > MOST_SAMPLES:
        session = session.resample(interval=session.duration / MOST_SAMPLES)
    return _WEB_FONT.sub("data:text/css,", HTMLRenderer().render(session))


def _session(pieces: list[Piece]) -> Any:
    import sys

    from pyinstrument.session import Session

    running = [piece for piece in pieces if piece.at not in IDLE]
    records = []
    for piece in running:
        levels = [f"{piece.thread}\x00<thread>\x000"]
        levels += [f"{c.name}\x00{c.file or '<native>'}\x00{c.line}\x01l{c.line}" for c in piece.calls]
        records.append((levels, piece.ns / 1e9))
    seconds = sum(p.ns for p in running) / 1e9
    each = seconds / max(len(running), 1)
    return Session(
        frame_records=records,
        start_time=0.0,
        duration=seconds,
        min_interval=each,
        max_interval=each,
        sample_count=len(records),
        start_call_stack=["\x00\x000"],  # nothing in common that could be left out
        target_description=pieces[0].stage if pieces else "",
        cpu_time=seconds,
        sys_path=sys.path,
        sys_prefixes=Session.current_sys_prefixes(),
    )
