"""`hdrmx params`: every setting, from the one place where it is declared."""

from __future__ import annotations

import json
from dataclasses import fields

import click

from hdrmx.params import Params, Settings


def rows() -> list[dict[str, object]]:
    """One row a setting: key, default, unit, limits, meaning."""
    params = Params()
    found: list[dict[str, object]] = []
    for stage in fields(params):
        settings: Settings = getattr(params, stage.name)
        for f in fields(settings):
            limits = ", ".join(f.metadata["choices"]) or _limits(f.metadata["low"], f.metadata["high"])
            found.append(
                {
                    "setting": f"{stage.name}.{f.name}",
                    "default": getattr(settings, f.name),
                    "unit": f.metadata["unit"],
                    "limits": limits,
                    "meaning": f.metadata["meaning"],
                }
            )
    return found


def _limits(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f">= {low:g}"
    return f"<= {high:g}" if low is None else f"{low:g} to {high:g}"


def markdown() -> str:
    """The table of `docs/parameters.md`."""
    lines = ["| setting | default | unit | limits | meaning |", "|---|---|---|---|---|"]
    lines += [
        "| " + " | ".join(f"`{v}`" if k == "setting" else str(v) for k, v in row.items()) + " |" for row in rows()
    ]
    return "\n".join(lines) + "\n"


@click.command(epilog="Example: hdrmx params --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table of the documentation.")
def command(as_json: bool, as_markdown: bool) -> None:
    """List every setting with its default, unit, limits and meaning."""
    if as_json:
        print(json.dumps(rows(), indent=1))
    elif as_markdown:
        print(markdown(), end="")
    else:
        for row in rows():
            notes = ", ".join(str(row[k]) for k in ("unit", "limits") if row[k])
            print(
                f"{row['setting']} = {row['default']}" + (f"  [{notes}]" if notes else "") + f"\n    {row['meaning']}"
            )
