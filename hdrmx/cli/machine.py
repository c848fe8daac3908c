"""`hdrmx machine`: what this machine is, as far as it decides whether timings can be compared."""

from __future__ import annotations

import click

from hdrmx.record import Machine, Software
from hdrmx.report.machine_words import lines


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
