"""The page of `hdrmx complexity`, from its JSON document alone: one file that needs no network.

Plots, flame graph and slider are drawn in the browser by `complexity_page.js` from the document inside the page; the
tables stand in the page itself, for readers without scripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from hdrmx import __version__
from hdrmx.report.complexity_text import guilty_text, quantity
from hdrmx.report.page import POLICY

_WORDS = {
    "within": ("good", "Within what is declared"),
    "exceeds": ("stopped", "Exceeds what is declared"),
    "not identifiable": ("look", "Can't be told at these sizes"),
}


def render_page(study: Mapping[str, Any]) -> str:
    """The whole document. Same study, same text."""
    study = _without_folders(study)
    state, words = _WORDS[study["verdict"]]
    title = escape(f"Complexity of {study['target']}")
    style = _resource("page.css") + _resource("complexity_page.css")
    body = "".join(_study(study, "s"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>
<p>n counts {escape(study["driver"])}; declared {escape(study["declared"])}; hdrmx {__version__}</p>
<p class="verdict {state}"><strong>{words}</strong></p></header>
<main>
{body}
</main>
<script type="application/json" id="study">{_safe(study)}</script>
<script>{_resource("complexity_page.js")}</script>
</body>
</html>
"""


def _study(study: Mapping[str, Any], name: str) -> Iterator[str]:
    if study["guilty"]:
        items = "".join(f"<li>{escape(guilty_text(g))}</li>" for g in study["guilty"][:12])
        yield f"<section><h2>To blame</h2><ol>{items}</ol></section>"
    if study["breaches"]:
        items = "".join(f"<li>{escape(_breach(b))}</li>" for b in study["breaches"])
        yield f"<section><h2>Beside the exponents</h2><ul>{items}</ul></section>"
    if study["measures"]:
        yield (
            f'<section class="study" data-study="{name}"><h2>By measure</h2>{_measures(study)}'
            '<div class="slider"></div><div class="plots"></div></section>'
        )
    if study["functions"]:
        yield (
            f"<section><h2>By function</h2><p>Width: time at the size chosen above; colour: exponent of the function's "
            f'own work at that size.</p><div class="flame" data-flame="{name}"></div>{_functions(study)}</section>'
        )
    for note in study["notes"]:
        yield f"<p>{escape(note)}</p>"
    for i, (part_name, part) in enumerate(study["parts"].items()):
        yield f"<h2>{escape(part_name)}: {escape(part['verdict'])} (declared {escape(part['declared'])})</h2>"
        yield from _study(part, f"{name}.{i}")


def _measures(study: Mapping[str, Any]) -> str:
    head = ("measure", "verdict", "class", "exponent", "local exponent", "top term is half from", "forecast error")
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _measure_row(name, m)) + "</tr>"
        for name, m in study["measures"].items()
    )
    titles = "".join(f'<th scope="col">{escape(h)}</th>' for h in head)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'


def _measure_row(name: str, m: Mapping[str, Any]) -> Iterator[str]:
    below = m.get("not_identifiable_below")
    yield name
    yield f"{m['verdict']} below n = {below:.3g}" if m["verdict"] == "not identifiable" and below else m["verdict"]
    yield m["class"] or " or ".join(m.get("plausible") or []) or "–"
    e = m["exponent"]
    yield "–" if e is None else f"{e['value']:.3f} ({e['low']:.3f} to {e['high']:.3f})"
    yield "–" if m["local_exponent"] is None else f"{m['local_exponent']:.2f}"
    yield "–" if m["crossover"] is None else f"n = {m['crossover']:.3g}"
    yield "–" if m["forecast_error"] is None else f"{100 * m['forecast_error']:+.1f} %"


def _functions(study: Mapping[str, Any]) -> str:
    titles = "".join(
        f'<th scope="col">{h}</th>' for h in ("function", "file", "share", "own work", "calls made", "inherited calls")
    )
    rows = "".join(_function_row(f) for f in study["functions"][:40])
    table = f"<table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<details><summary>Table</summary><div class="wide">{table}</div></details>'


def _function_row(f: Mapping[str, Any]) -> str:
    def grown(part: Mapping[str, Any] | None) -> str:
        return "–" if part is None else f"n^{part['exponent']:.2f}"

    last = max(f["own_s"], key=int)
    share = f"{100 * f['share_at_largest']:.1f} %, {quantity(f['own_s'][last], 's')}"
    where = f"{Path(f['file']).name}:{f['line']}"
    cells = (f["function"], where, share, grown(f["own"]), grown(f["made"]), grown(f["inherited"]))
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _breach(b: Mapping[str, Any]) -> str:
    if b["kind"] == "answer":
        return "The answer isn't that of the baseline; speed says nothing then."
    if b["kind"] == "baseline":
        return f"{b['name']}: {b['value']:.2f} times the baseline, allowed {b['limit']:g}"
    return f"{b['name']}: {b['value']:.3g} per unit of n, allowed {b['limit']:g}"


def _safe(study: Mapping[str, Any]) -> str:
    """JSON that can't end the script element it stands in."""
    return json.dumps(study, separators=(",", ":")).replace("<", "\\u003c")


def _without_folders(value: Any) -> Any:
    """The same with files by their names alone: a page is passed on."""
    if isinstance(value, dict):
        return {k: _name(k, v) if k in ("file", "target") else _without_folders(v) for k, v in value.items()}
    return [_without_folders(v) for v in value] if isinstance(value, list) else value


def _name(key: str, value: str) -> str:
    return Path(value).name if key == "file" or ".py:" in value else value


def _resource(name: str) -> str:
    return resources.files("hdrmx.report").joinpath(name).read_text(encoding="utf-8")
