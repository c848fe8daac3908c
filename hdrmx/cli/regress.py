"""`hdrmx regress`: what changed over a history of results, with commit and cause."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hdrmx.errors import EXIT_FINDING, EXIT_GOOD, EXIT_NOT_MEASURED, InputError, NotMeasured

if TYPE_CHECKING:
    from hdrmx.analysis.causes import Group
    from hdrmx.analysis.regress import Regressed

TIMEOUT_S = 7200
FILE = click.Path(path_type=Path)


@click.command(epilog="Example: hdrmx regress .asv/results --repo . --since v0.1 --markdown changes.md")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--repo", type=FILE, help="Checkout of the measured project: order and subjects of commits.")
@click.option("--since", metavar="COMMIT", help="Only changes from this commit on raise the alarm [default: all].")
@click.option(
    "--baseline", metavar="COMMIT", help="Fixed commit that slow drift is measured from [default: the first]."
)
@click.option(
    "--alarm-rate",
    type=click.FloatRange(1e-6, 0.1),
    default=0.001,
    show_default=True,
    help="Probability of a step in a series without one.",
)
@click.option(
    "--false-rate",
    type=click.FloatRange(1e-6, 0.5),
    default=0.01,
    show_default=True,
    help="Expected share of chance among all that is told.",
)
@click.option(
    "--least",
    type=click.FloatRange(0),
    default=0.005,
    show_default=True,
    help="Smallest relative change of a noisy series that is told.",
)
@click.option(
    "--confirm",
    metavar="COMMAND",
    help="Run before the alarm, once for each cause; {old}, {new}, {benchmark} are put in. Exit 1: seen again; 0: not.",
)
@click.option("--json", "json_file", type=FILE, help="Write everything as JSON; - prints it.")
@click.option("--markdown", type=FILE, help="Write markdown, for a pull request or an issue.")
@click.option("--junit", type=FILE, help="Write JUnit XML.")
@click.option("--sarif", type=FILE, help="Write SARIF 2.1.0.")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Groups shown under a heading.")
def command(
    results: Path,
    repo: Path | None,
    since: str | None,
    baseline: str | None,
    alarm_rate: float,
    false_rate: float,
    least: float,
    confirm: str | None,
    json_file: Path | None,
    markdown: Path | None,
    junit: Path | None,
    sarif: Path | None,
    most: int,
) -> int:
    """Find what changed over history in RESULTS: a results folder of asv, of any project, or a folder of records.

    Each series is judged against its own noise, all of them together; what is told is grouped by commit and
    cause. See docs/regress.md.

    Exit codes: 0 nothing got worse and stands, 1 something did, 2 nothing could be judged, 3 bad input.
    """
    from hdrmx.analysis.regress import Rules, regress
    from hdrmx.cli.progress import progress_bar
    from hdrmx.io.histories import read_history
    from hdrmx.io.whole import finite, write_whole
    from hdrmx.report import regress_text
    from hdrmx.report.regress_files import junit as as_junit
    from hdrmx.report.regress_files import sarif_text

    history = read_history(results, repo)
    rules = Rules(alarm_rate, false_rate, least, baseline, since)
    with progress_bar("series", len(history.series)) as show:
        result = regress(history, rules, show)
    if result.looked_at == 0:
        raise NotMeasured(f"{results}: no series has values enough to be judged; measure more commits")
    if confirm is not None:
        result = confirmed(result, confirm)
    document = finite(regress_text.document(result))
    if json_file is not None and str(json_file) == "-":
        print(json.dumps(document, indent=1))
    else:
        print(regress_text.text(result, most), end="")
    texts = {
        json_file: lambda: json.dumps(document, indent=1) + "\n",
        markdown: lambda: regress_text.markdown(result, most),
        junit: lambda: as_junit(result),
        sarif: lambda: sarif_text(result),
    }
    for path, make in texts.items():
        if path is not None and str(path) != "-":
            write_whole(path, make().encode("utf-8"))
    return EXIT_FINDING if result.alarms else EXIT_GOOD


def confirmed(result: Regressed, command_line: str) -> Regressed:
    """Each alarm, and what is too new for one, looked at again by a command; only what it sees again raises one.

    The command's exit code tells: 1 the change was seen again, 0 it was not, anything else that it could not measure;
    then the alarm stays and says so.
    """
    asked = [group.alarm or group.provisional for group in result.groups]
    groups = [_confirmed(result, g, command_line) if ask else g for g, ask in zip(result.groups, asked)]
    groups.sort(key=lambda g: (not g.alarm, -g.rank, g.at, g.what))
    return replace(result, groups=tuple(groups))


def _confirmed(result: Regressed, group: Group, command_line: str) -> Group:
    history = result.history
    series = history.series[group.findings[0].series]
    values: dict[str, Any] = {
        "old": history.commits[group.before].hash,
        "new": history.commits[group.at].hash,
        "benchmark": series.name,
        "machine": series.machine,
    }
    try:
        words = [word.format(**values) for word in shlex.split(command_line)]
    except (KeyError, IndexError, ValueError) as error:
        what = f"'{command_line}' can't be filled in ({error})"
        raise InputError("--confirm", what, "use {old}, {new}, {benchmark}") from None
    environment = os.environ | {f"HDRMX_{name.upper()}": str(value) for name, value in values.items()}
    try:
        done = subprocess.run(words, env=environment, timeout=TIMEOUT_S, capture_output=True, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return replace(group, confirmation=f"the command could not be run ({error})")
    if done.returncode == EXIT_GOOD:
        return replace(group, confirmed=False, alarm=False, provisional=False)
    if done.returncode == EXIT_FINDING:
        return replace(group, confirmed=True, alarm=True, provisional=False)
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it said nothing"]
    what = "could not measure" if done.returncode == EXIT_NOT_MEASURED else f"ended with {done.returncode}"
    return replace(group, confirmation=f"the command {what}: {last[0][:200]}")
