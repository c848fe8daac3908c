"""The frame of every page: one HTML file that holds all it needs and asks no network for anything."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from hdrmx import __version__

MISSING = "–"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Section:
    """One chapter of a page; `body` is HTML."""

    name: str  # of the anchor
    title: str
    body: str


@dataclass(frozen=True)
class Verdict:
    """What a reader needs to know if this is all that is read.

    Attributes
    ----------
    state : "good", "look" (something asks for a closer look), "spots" (no further stage was asked for) or "stopped";
        shown as a word, too
    sentences : two or three, plain text
    doubts : plain text, each ends with what to try
    facts : (label, value, small print), the few figures to compare runs by
    """

    state: str
    sentences: Sequence[str]
    doubts: Sequence[str] = ()
    facts: Sequence[tuple[str, str, str]] = ()


STATES = {"good": "Sound", "spots": "Spots only", "look": "Have a look", "stopped": "Stopped"}


def page(title: str, subtitle: str, verdict: Verdict, sections: Iterable[Section], *, extra: Sequence[str] = ()) -> str:
    """The whole document. Same arguments, same text. `extra`: names of styles and scripts beside those of all pages."""
    sections = list(sections)
    links = "".join(f'<li><a href="#{s.name}">{escape(s.title)}</a></li>' for s in sections)
    chapters = "".join(
        f'<section id="{s.name}" aria-labelledby="{s.name}-title"><h2 id="{s.name}-title">{escape(s.title)}</h2>'
        f"{s.body}</section>\n"
        for s in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="hdrmx {__version__}">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_parts("page.css", extra)}</style>
</head>
<body>
<a class="skip" href="#verdict">Skip to the verdict</a>
<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>
<main>
{_verdict(verdict)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
{chapters}</main>
<footer>Drawn by hdrmx {__version__} from the files of the results folder; nothing was loaded from a network.</footer>
<noscript><p class="note">Rotatable pictures need JavaScript; the rest of this page does without.</p></noscript>
<script>
{_parts("page.js", extra)}</script>
</body>
</html>
"""


def _parts(first: str, extra: Sequence[str]) -> str:
    kind = first.rpartition(".")[2]
    names = [first, *(name for name in extra if name.endswith(f".{kind}"))]
    return "".join(resources.files("hdrmx.report").joinpath(name).read_text(encoding="utf-8") for name in names)


def _verdict(verdict: Verdict) -> str:
    said = " ".join(escape(s) for s in verdict.sentences)
    doubts = "".join(f"<li>{_with_options(d)}</li>" for d in verdict.doubts)
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(small)}</small></dd></div>"
        for label, value, small in verdict.facts
    )
    return (
        f'<section id="verdict" class="verdict {verdict.state}" aria-label="Verdict">'
        f'<p class="say"><strong class="state">{STATES[verdict.state]}</strong> {said}</p>'
        + (f'<h2>To bear in mind</h2><ul class="doubts">{doubts}</ul>' if doubts else "")
        + "</section>"
        + (f'<dl class="facts">{facts}</dl>' if facts else "")
    )


def _with_options(text: str) -> str:
    """What is to be typed as code, so that no line breaks within it."""
    return re.sub(r"--set \S+?(?=[,.;)]*(\s|$))|--[a-z]+(-[a-z]+)*( [\d.]*\d)?", r"<code>\g<0></code>", escape(text))


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    text: Sequence[int] = (0,),
    marked: Sequence[int] = (),
) -> str:
    """An HTML table of plain text. Columns `text` are set left, the others are numbers; rows `marked` are bold."""
    top = "".join(f'<th scope="col"{_left(i, text)}>{escape(h)}</th>' for i, h in enumerate(head))
    body = "".join(
        f"<tr{' class=marked' if n in marked else ''}>"
        + "".join(f"<td{_left(i, text)}>{escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for n, row in enumerate(rows)
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{named}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _left(column: int, text: Sequence[int]) -> str:
    return " class=t" if column in text else ""


def figure(picture: str, caption: str, numbers: str = "") -> str:
    """A picture (HTML) with its caption (plain text), and its numbers as a table (HTML) that can be opened."""
    more = f"<details><summary>The numbers</summary>{numbers}</details>" if numbers else ""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption>{more}</figure>"


def number(value: float | None, digits: int = 3) -> str:
    """With so many decimals; a dash where there is none."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(part: float | None) -> str:
    return MISSING if part is None or not math.isfinite(part) else f"{100 * part:.1f} %"


def with_sd(value: float, sd: float | None, most_digits: int = 4) -> str:
    """`54.707(4)`: the uncertainty in units of the last digit shown; two digits of it where it begins with 1."""
    if sd is None or not math.isfinite(sd) or sd <= 0:
        return number(value, min(3, most_digits))
    digits = -math.floor(math.log10(sd))
    digits += round(sd * 10**digits) < 2
    digits = min(max(digits, 0), most_digits + 2)
    return f"{value:.{digits}f}({max(round(sd * 10**digits), 1)})"
