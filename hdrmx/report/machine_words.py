"""What a machine and its software are, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from hdrmx.record import Machine, Software


def lines(found: Machine | Software) -> Iterator[str]:
    """One line a field; `unknown` where the system doesn't tell."""
    yield f"{type(found).__name__.lower()} {found.fingerprint}"
    for name, text in fields_in_words(found):
        if name != "fingerprint":
            yield f"  {name:<20} {text}"


def fields_in_words(found: Machine | Software) -> list[tuple[str, str]]:
    """Every field, the fingerprint first."""
    return [(f.name.replace("_", " "), _text(f.name, getattr(found, f.name))) for f in fields(found)]


def _text(name: str, value: Any) -> str:
    if value is None:
        return "no limit" if name in ("cpu_quota", "memory_limit_bytes") else "unknown"
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)
