"""`hdrmx machine`: what this machine is, as far as it decides whether timings can be compared, and what it can do."""

from __future__ import annotations

import click

from hdrmx.record import Machine, Software
from hdrmx.report.machine_words import limit_lines, lines


@click.command(epilog="Example: hdrmx machine --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--again", is_flag=True, help="Measure the limits although they are known.")
@click.option("--no-limits", is_flag=True, help="Leave the limits out: nothing is measured.")
def command(as_json: bool, again: bool, no_limits: bool) -> None:
    """Show the fingerprint of this machine and its software, and measure its limits.

    Two timings can be compared only where both fingerprints are the same. The limits (memory bandwidth by
    working set, arithmetic of one core, decoding, disk, page faults) are what profiles hold stages against. They
    take some 10 s, once; they are kept in the user's cache by the machine's fingerprint.
    """
    here, installed = examine()
    found = None
    if not no_limits:
        from hdrmx.measure.limits import limits

        found = limits(again, lambda text: click.echo(text, err=True))
    if as_json:
        import msgspec

        text = msgspec.json.encode({"machine": here, "software": installed, "limits": found})
        print(msgspec.json.format(text, indent=1).decode())
        return
    for part in (here, installed):
        for line in lines(part):
            print(line)
        print()
    if found is not None:
        for line in limit_lines(found):
            print(line)


def examine() -> tuple[Machine, Software]:
    """Both fingerprints as a run would record them."""
    from dataclasses import replace

    from hdrmx.measure.machine import machine, software
    from hdrmx.measure.process import ProcessMeter

    meter = ProcessMeter()
    meter.close()
    return replace(machine(), peak_memory=meter.peak_memory), software()
