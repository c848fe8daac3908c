"""`hdrmx complexity`: how the cost of something grows with its size, and which function is to blame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hdrmx.errors import InputError

_EXITS = {"within": 0, "exceeds": 1, "not identifiable": 2}


@click.command(epilog='Example: hdrmx complexity mymodule.py:join --sizes 64,128,256,512,1024 --declare "n log n"')
@click.argument("target")
@click.option("--sizes", metavar="N,N,...", help="Sizes to run at, 4 or more [default: found within the budget].")
@click.option("--driver", metavar="NAME", help="What n counts, such as frames, spots, reflections, batches.")
@click.option(
    "--declare",
    "declared",
    multiple=True,
    metavar="[NAME=]CLASS",
    help="Class of growth that is allowed, times log n [default: n, or what the stage declares]; "
    "for one measure as memory=1, for the calls of a function as calls:NAME=1.",
)
@click.option("--measure", metavar="LIST", help="Of counts,instructions,time,memory,io [default: all that fit].")
@click.option("--budget", default="60s", show_default=True, metavar="TIME", help="Time to spend, as 60s or 5m.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="Largest amount per n: of a counter, of "
              "calls of a function, of memory (bytes).")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path), help="JSON of an earlier study to compare with.")
@click.option("--before", metavar="FILE.py:FUNCTION", help="Call this first in the measured process.")
@click.option("--python", metavar="PATH", help="Interpreter for the function, where it isn't this one.")
@click.option("--data", metavar="DATA", help="Data set for the pipeline and its stages [default: simulated].")
@click.option("--gate", is_flag=True, help="With pipeline: hold every stage to its declared driver and class.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the study as JSON; - prints it.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write the page [default: beside JSON].")
def command(
    target: str,
    sizes: str | None,
    driver: str | None,
    declared: tuple[str, ...],
    measure: str | None,
    budget: str,
    limits: tuple[str, ...],
    baseline: Path | None,
    before: str | None,
    python: str | None,
    data: str | None,
    gate: bool,
    json_file: Path | None,
    html_file: Path | None,
) -> int:
    """Measure how the cost of TARGET grows with n, and name the function to blame.

    TARGET is `pipeline`, a stage (`stage:find_spots`), a Python function (`file.py:function` or `module:function`,
    called as function(n), or with the result of the module's setup_function(n)), or a shell command with {n}.

    Exit codes: 0 within the declared class, 1 it exceeds, 2 it can't be told, 3 bad input.
    """
    from hdrmx.complexity.run import complexity
    from hdrmx.complexity.study import as_json
    from hdrmx.report.complexity_text import render

    plan = _plan(target, sizes, driver, declared, measure, budget, data, gate)
    study = complexity(
        target,
        plan,
        before=before,
        python=python,
        limits=dict(_assigned("--limit", text) for text in limits),
        baseline=None if baseline is None else _read(baseline),
    )
    document = as_json(study)
    if json_file is not None and str(json_file) == "-":
        print(json.dumps(document, indent=1))
    else:
        print(render(document), end="")
    _write(document, json_file, html_file)
    return _EXITS[document["verdict"]]


def _plan(
    target: str,
    sizes: str | None,
    driver: str | None,
    declared: tuple[str, ...],
    measure: str | None,
    budget: str,
    data: str | None,
    gate: bool,
) -> Any:
    from hdrmx.complexity.growth import parse_growth
    from hdrmx.complexity.measuring import Plan
    from hdrmx.complexity.study import MEASURES

    if (gate or data is not None) and target != "pipeline" and not target.startswith("stage:"):
        raise InputError("--gate and --data", f"don't go with {target}", "use them with pipeline or stage:NAME")
    one, each = None, {}
    for text in declared:
        name, equals, growth = text.rpartition("=")
        if equals:
            each[name] = parse_growth(growth)
        else:
            one = parse_growth(text)
    measures = MEASURES if measure is None else tuple(m.strip() for m in measure.split(","))
    if unknown := set(measures) - set(MEASURES):
        raise InputError("--measure", f"has '{sorted(unknown)[0]}'", f"choose among {','.join(MEASURES)}")
    return Plan(
        sizes=None if sizes is None else _sizes(sizes),
        declared=one,
        declared_for=each,
        measures=measures,
        budget_s=_seconds(budget),
        driver=driver,
        data=data,
        gate=gate,
    )


def _sizes(text: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise InputError("--sizes", f"'{text}' isn't a list of whole numbers", "give them as 64,128,256,512") from None
    if len(found) < 4 or found[0] < 1:
        raise InputError("--sizes", f"'{text}' has too few", "give 4 or more different sizes from 1 up; 8 are better")
    return found


def _seconds(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        raise InputError("--budget", f"'{text}' is no time", "give it as 60s or 5m") from None
    if not 0.5 <= seconds <= 1e6:
        raise InputError("--budget", f"'{text}' can't be used", "give between 0.5s and a few hours")
    return seconds


def _assigned(option: str, text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return (name, float(value)) if name else _bad(option, text)
    except ValueError:
        return _bad(option, text)


def _bad(option: str, text: str) -> tuple[str, float]:
    raise InputError(option, f"'{text}' can't be read", "give it as NAME=NUMBER")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"can't be read as JSON: {error}", "give a file of --json") from None
    if not isinstance(found, dict) or not str(found.get("schema", "")).startswith("hdrmx-complexity/"):
        raise InputError(str(path), "isn't a study of hdrmx complexity", "give a file of --json")
    return found


def _write(document: dict[str, Any], json_file: Path | None, html_file: Path | None) -> None:
    from hdrmx.io.whole import write_whole

    texts = {}
    if json_file is not None and str(json_file) != "-":
        texts[json_file] = json.dumps(document, indent=1)
        html_file = html_file or json_file.with_suffix(".html")
    if html_file is not None:
        from hdrmx.report.complexity_page import render_page

        texts[html_file] = render_page(document)
    for path, text in texts.items():
        write_whole(path, text.encode("utf-8"))
