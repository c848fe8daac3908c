"""`hdrmx machine`: what this machine is, as far as it decides whether timings can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click

from hdrmx.record import Machine, Software


@click.command(epilog="Example: hdrmx machine --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show the fingerprint of this machine and its software.

    Two timings can be compared only where both fingerprints are the same.
    """
    here, installed = examine()
    if as_json:
        import msgspec

        text = msgspec.json.encode({"machine": here, "software": installed})
        print(msgspec.json.format(text, indent=1).decode())
        return
    for part in (here, installed):
        for line in lines(part):
            print(line)
        print()


def examine() -> tuple[Machine, Software]:
    """Both fingerprints as a run would record them."""
    from dataclasses import replace

    from hdrmx.measure.machine import machine, software
    from hdrmx.measure.process import ProcessMeter

    meter = ProcessMeter()
    meter.close()
    return replace(machine(), peak_memory=meter.peak_memory), software()


def lines(found: Machine | Software) -> Iterator[str]:
    """One line a field; `unknown` where the system doesn't tell."""
    yield f"{type(found).__name__.lower()} {found.fingerprint}"
    for f in fields(found):
        if f.name != "fingerprint":
            yield f"  {f.name.replace('_', ' '):<20} {_text(f.name, getattr(found, f.name))}"


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
