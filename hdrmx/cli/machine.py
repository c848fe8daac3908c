"""`hdrmx machine`: what this machine is, as far as it decides whether timings can be compared, and what it can do."""

from __future__ import annotations

import click

from hdrmx.errors import EXIT_FINDING, EXIT_GOOD, InputError
from hdrmx.record import Machine, Software
from hdrmx.report.machine_words import limit_lines, lines


@click.command(
    epilog="Example: hdrmx machine --check && hdrmx machine --pin -- asv run",
)
@click.argument("command_line", metavar="[COMMAND]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--check", is_flag=True, help="Say whether timings taken now are worth keeping; ends with 1 if not.")
@click.option(
    "--pin", is_flag=True, help="Run COMMAND (after --) on one processor with all else set that timings need."
)
@click.option("--on", metavar="N,N,...", help="Processors for --pin [default: the last one].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--again", is_flag=True, help="Measure the limits although they are known.")
@click.option("--no-limits", is_flag=True, help="Leave the limits out: nothing is measured.")
def command(
    command_line: tuple[str, ...], check: bool, pin: bool, on: str | None, as_json: bool, again: bool, no_limits: bool
) -> int:
    """Show the fingerprint of this machine and its software, and measure its limits.

    Two timings can be compared only where both fingerprints are the same. The limits (memory bandwidth by
    working set, arithmetic of one core, decoding, disk, page faults) are what profiles hold stages against. They
    take some 10 s, once; they are kept in the user's cache by the machine's fingerprint.
    """
    if pin:
        return _pinned(command_line, on)
    if command_line:
        raise InputError(command_line[0], "is given without --pin", "leave it out, or give --pin before it")
    here, installed = examine()
    if check:
        return _check(here, installed, as_json)
    found = None
    if not no_limits:
        from hdrmx.measure.limits import limits

        found = limits(again, lambda text: click.echo(text, err=True))
    if as_json:
        import msgspec

        text = msgspec.json.encode({"machine": here, "software": installed, "limits": found})
        print(msgspec.json.format(text, indent=1).decode())
        return 0
    for part in (here, installed):
        for line in lines(part):
            print(line)
        print()
    if found is not None:
        for line in limit_lines(found):
            print(line)
    return 0


def _check(here: Machine, installed: Software, as_json: bool) -> int:
    from hdrmx.measure.conditions import conditions, is_valid

    found = conditions(here, installed)
    valid = is_valid(found)
    if as_json:
        import msgspec

        told = {"valid": valid, "machine": here.fingerprint, "conditions": found}
        print(msgspec.json.format(msgspec.json.encode(told), indent=1).decode())
    else:
        print("Timings taken now are worth keeping." if valid else "Timings taken now should not be kept.")
        for c in found:
            print(f"  {c.state:<8} {c.name:<20} {c.found}" + (f"; {c.remedy}" if c.remedy else ""))
    return EXIT_GOOD if valid else EXIT_FINDING


def _pinned(command_line: tuple[str, ...], on: str | None) -> int:
    from hdrmx.measure.conditions import run_pinned

    if not command_line:
        raise InputError("--pin", "has no command", "give it after --: hdrmx machine --pin -- asv run")
    try:
        processors = [int(n) for n in on.split(",")] if on else None
    except ValueError:
        raise InputError("--on", f"'{on}' is no list of processors", "give numbers: --on 2,3") from None
    return run_pinned(command_line, processors)


def examine() -> tuple[Machine, Software]:
    """Both fingerprints as a run would record them."""
    from dataclasses import replace

    from hdrmx.measure.machine import machine, software
    from hdrmx.measure.process import ProcessMeter

    meter = ProcessMeter()
    meter.close()
    return replace(machine(), peak_memory=meter.peak_memory), software()
