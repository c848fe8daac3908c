"""The team's page: what changed over history, every history behind it, the ledger, and whether we keep up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from hdrmx.analysis.causes import Group
from hdrmx.analysis.history import (
    ANSWER,
    COUNT,
    EXPONENT,
    INSTRUCTIONS,
    MEMORY,
    NOT_A_STAGE,
    OTHER,
    RATE,
    STAGES,
    TIME,
    Series,
)
from hdrmx.analysis.ledger import DETECTORS, Ledger, is_of_frames, keeping_up, ledger
from hdrmx.analysis.regress import Regressed
from hdrmx.io.whole import write_whole
from hdrmx.report import regress_text as words
from hdrmx.report.figures import json_script
from hdrmx.report.page import Section, Verdict, page, table
from hdrmx.report.trend_data import chosen, packed

PAGE_NAME = "report.html"
EXTRA = ("trend_page.css", "trend_page.js")
OPEN = 12  # histories of a stage shown at once; the others are a click away
MOST_GROUPS = 60
KINDS = (  # anchor, heading, kinds, note
    ("exponents", "Exponents over time", (EXPONENT,), "b of cost = a·n^b. One that creeps up is a blow-up to come."),
    (
        "counters",
        "Work per unit",
        (COUNT, INSTRUCTIONS),
        "Exact amounts: a jump is a change of the program, on any machine.",
    ),
    ("memory", "Memory", (MEMORY,), "Peak of resident memory, or what the benchmark tracks."),
    ("results", "Scientific results", (ANSWER,), "Faster with a changed result is no gain."),
    ("others", "Everything else that is tracked", (OTHER,), ""),
)


def trend_page(result: Regressed, *, since: str | None = None) -> str:
    """The page of a history.

    Parameters
    ----------
    since : hash, or its beginning, of the release from which the ledger counts; None: from the first commit

    Returns
    -------
    One HTML document that holds all it needs. The same arguments give the same text.
    """
    history = result.history
    drawn = chosen(result)
    book = ledger(result, since)
    told = [
        changes_section(result, set(drawn)),
        keep_up_section(result, drawn),
        ledger_section(result, book),
        _tools(result, drawn),
        *_by_stage(result, drawn),
        *_by_kind(result, drawn),
        events_section(result, drawn),
    ]
    name = history.project or Path(history.source).resolve().name
    first, last = (words.day(history, n) for n in (0, len(history.commits) - 1))
    subtitle = f"{len(history.commits):,} commits, {first} to {last} · {len(history.series):,} series"
    sections = [s for s in told if s is not None]
    return page(f"{name}: performance over time", subtitle, verdict(result, book), sections, extra=EXTRA)


def write_trend_page(result: Regressed, path: str | Path, since: str | None = None) -> Path:
    return write_whole(path, trend_page(result, since=since).encode("utf-8"))


def verdict(result: Regressed, book: Ledger) -> Verdict:
    alarms = result.alarms
    sentences = [words.summary(result)]
    if alarms:
        history = result.history
        sentences.append(f"First: {words.title(history, alarms[0])}; {words.place(history, alarms[0])}.")
    better = [g for g in result.groups if not g.worse]
    facts = [
        ("worse, standing", str(len(alarms)), "commits and causes"),
        ("better", str(len(better)), "commits and causes"),
        ("whole suite", f"{book.product:.3f} ×", f"its time now, of what it was at {_commit(result, book.since)}"),
        ("gains alone", f"{book.gains:.3f} ×", "product of all improvements"),
        ("losses alone", f"{book.losses:.3f} ×", "product of all losses"),
    ]
    return Verdict("look" if alarms else "good", sentences, (), facts)


def _commit(result: Regressed, number: int) -> str:
    return words.commit_text(result.history, number)


def changes_section(result: Regressed, drawn: set[int]) -> Section:
    """What changed, ranked, in words; each with its histories a click away."""
    body = ""
    for heading, groups in words.sections(result):
        if not groups:
            continue
        items = "".join(_item(result, group, drawn) for group in groups[:MOST_GROUPS])
        more = (
            f"<p class=note>and {len(groups) - MOST_GROUPS} more, smaller ones</p>" if len(groups) > MOST_GROUPS else ""
        )
        listed = f'<ol class="told">{items}</ol>{more}'
        many = heading != "Worse, and standing"
        title = f"{heading} ({len(groups)})"
        shut = f'<details class="more"><summary>{escape(title)}</summary>{listed}</details>'
        body += shut if many else f"<h3>{escape(title)}</h3>{listed}"
    return Section("changes", "What changed", body or "<p>Nothing changed.</p>")


def _item(result: Regressed, group: Group, drawn: set[int]) -> str:
    history = result.history
    way = "worse" if group.worse else "better"
    sign = "▲ worse" if group.worse else "▼ better"
    url = history.commit_url
    commit = history.commits[group.at].hash
    where = escape(words.place(history, group))
    if url:
        where += f' <a href="{escape(url + commit)}">open</a>'
    links = history.links.get(commit, {})
    where += "".join(f', <a href="{escape(href)}">{escape(name)}</a>' for name, href in links.items())
    cause = f"<p>Cause: {escape(group.cause)}</p>" if group.cause else ""
    said = f"<p>{escape(words.confirmation(group))}</p>" if group.confirmed is not None or group.confirmation else ""
    lines = words.lines(history, group)
    shown = []
    for line, f in zip(lines[: words.SHOWN], group.findings):
        link = f' <a href="#s{f.series}" data-to="{f.series}">history</a>' if f.series in drawn else ""
        shown.append(f"<li>{escape(line)}{link}</li>")
    shown += [f"<li>{escape(line)}</li>" for line in lines[len(shown) :]]
    return (
        f'<li class="{way}"><p class="say"><b class="way">{sign}</b> {escape(words.title(history, group))}</p>'
        f"<p>{where}</p>{cause}{said}<ul>{''.join(shown)}</ul></li>"
    )


def keep_up_section(result: Regressed, drawn: Sequence[int]) -> Section | None:
    """Measured rates against the detectors' rates, now and over time."""
    history = result.history
    held = keeping_up(history)
    if not held:
        return None
    rows = []
    for k in held:
        unit = "Gpixel/s" if "pixel" in k.unit else "frames/s"
        scale = 1e9 if "pixel" in k.unit else 1.0
        cores = f"{k.cores:.1f}" if k.cores is not None else "–"
        says = "keeps up" if k.share >= 1 else f"{1 / k.share:.1f} times too slow"
        label = history.series[k.series].label
        rates = (f"{k.measured / scale:,.4g} {unit}", f"{k.needed / scale:,.4g} {unit}")
        rows.append((label, k.detector, says, f"{k.share:.1%}", *rates, cores))
    head = ("benchmark", "detector", "verdict", "share", "measured", "detector's rate", "cores that would")
    series = [i for i in drawn if history.series[i].kind == RATE and is_of_frames(history.series[i])]
    charts = _charts(result, series, lines=True)
    note = (
        "<p class=note>Measured: median of the newest ten. A rate in pixels/s is held against the detector's pixels, "
        "one in frames/s against its frames, whatever size the benchmark's are. Cores: of the run, scaled, as if more "
        "cores helped fully.</p>"
    )
    return Section("keep-up", "Do we keep up?", table(head, rows, text=(0, 1, 2)) + note + charts)


def ledger_section(result: Regressed, book: Ledger) -> Section:
    """Every improvement and loss with its size, and their product."""
    history = result.history
    rows = []
    for e in reversed(book.entries):
        rows.append(
            (
                words.day(history, e.group.at),
                _commit(result, e.group.at),
                _what(result, e.group),
                "loss" if e.effect > 1 else "gain",
                str(e.series),
                f"{100 * (e.typical - 1):+.1f} %",
                f"{100 * (e.effect - 1):+.2f} %",
                f"{e.product:.3f}",
            )
        )  # fmt: skip
    head = ("date", "commit", "what", "", "series", "typical", "whole suite", "product")
    said = (
        f"<p>Since {escape(_commit(result, book.since))} the {book.series:,} series of time together take "
        f"<strong>{book.product:.3f}</strong> times what they took: gains alone {book.gains:.3f}, "
        f"losses alone {book.losses:.3f}.</p>"
        "<p class=note>Ratio = new / old, below 1 is a gain. Typical: of the series that moved. Whole suite: what it "
        "does to the geometric mean over all series of time, those that did not move included, so that the effects "
        "multiply to the product. Changes across a change of machine or libraries are not counted.</p>"
    )
    return Section("ledger", "The Kaizen ledger", said + (table(head, rows, text=(0, 1, 2, 3)) if rows else ""))


def _what(result: Regressed, group: Group) -> str:
    subject = result.history.commits[group.at].subject
    return group.what + (f" “{subject[:60]}”" if subject else "")


def _tools(result: Regressed, drawn: Sequence[int]) -> Section:
    left = len(result.history.series) - len(drawn)
    note = (
        f"<p class=note>{left:,} series are left out, those without a change first, to keep the page small.</p>"
        if left
        else ""
    )
    options = "".join(
        f"<option value={n}>newest {n}</option>" for n in (50, 200, 500) if n < len(result.history.commits)
    )
    body = (
        '<div class="tools sticky"><label>Find <input type="search" id="find" placeholder="name of a benchmark" '
        'aria-label="Find histories by name"></label><output id="found"></output>'
        f'<label>Commits <select id="last"><option value="all">all</option>{options}</select></label>'
        '<label><input type="checkbox" id="log"> logarithmic</label></div>'
        '<p class="keyline"><span>dots: measured</span><span>line: level</span>'
        "<span>band: two spreads of a point</span>"
        '<span class="up">▲▼ worse; hollow: better; hover tells how much</span>'
        '<span class="ev">◆ machine or libraries changed</span>'
        "<span>drag: zoom, double click or Esc: back, click or Enter: the commit</span></p>"
        f"{note}{json_script(packed(result, list(drawn)), 'trend-data')}"
        '<aside id="commit" hidden aria-live="polite" aria-label="Commit"></aside>'
    )
    return Section("histories", "Histories", body)


def _by_stage(result: Regressed, drawn: Sequence[int]) -> Iterable[Section]:
    """Time and rates of each stage; of other projects, of each module of benchmarks."""
    history = result.history
    chapters: dict[str, list[int]] = {}
    for i in drawn:
        series = history.series[i]
        if series.kind in (TIME, RATE) and not (series.kind == RATE and is_of_frames(series)):
            chapters.setdefault(_chapter(series), []).append(i)
    place = {name: n for n, name in enumerate(("pipeline", *STAGES))}
    for name in sorted(chapters, key=lambda c: (place.get(c, 99), c)):
        yield Section(f"stage-{_anchor(name)}", name.replace("_", " "), _charts(result, chapters[name]))


def _chapter(series: Series) -> str:
    stage = series.stage
    return stage if stage != NOT_A_STAGE else series.name.split(".")[0]


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _by_kind(result: Regressed, drawn: Sequence[int]) -> Iterable[Section]:
    for anchor, heading, kinds, note in KINDS:
        of_kind = [i for i in drawn if result.history.series[i].kind in kinds]
        if of_kind:
            said = f"<p class=note>{escape(note)}</p>" if note else ""
            yield Section(anchor, heading, said + _charts(result, of_kind))


def _charts(result: Regressed, which: Sequence[int], lines: bool = False) -> str:
    """Places for histories, those with changes first; the page's script draws each when it comes into view."""
    history = result.history
    rank = {f.series: n for n, f in reversed(list(enumerate(f for g in result.groups for f in g.findings)))}
    ordered = sorted(which, key=lambda i: (rank.get(i, 1 << 40), i))
    boxes = [_box(i, history.series[i], lines) for i in ordered]
    out = f'<div class="histories">{"".join(boxes[:OPEN])}</div>'
    if len(boxes) > OPEN:
        rest = "".join(boxes[OPEN:])
        grid = f'<div class="histories">{rest}</div>'
        out += f'<details class="more"><summary>{len(boxes) - OPEN} more</summary>{grid}</details>'
    return out


def _box(i: int, series: Series, lines: bool) -> str:
    label = escape(series.label)
    needed = ""
    if lines:
        pixels = "pixel" in series.unit
        held = [[name, hertz * (px if pixels else 1)] for name, hertz, px in DETECTORS]
        needed = f' data-lines="{escape(json.dumps(held))}"'
    return (
        f'<figure class="history" id="s{i}" data-s="{i}" data-name="{label.lower()}"{needed}>'
        f"<h4>{label} <small>{escape(series.machine)}</small></h4>"
        f'<svg viewBox="0 0 560 190" tabindex="0" role="img" aria-label="{label} over the commits. Arrow keys read '
        'out values, Enter tells of the commit"></svg><output aria-live="polite"></output>'
        "<details><summary>Levels</summary></details></figure>"
    )


def events_section(result: Regressed, drawn: Sequence[int]) -> Section:
    history = result.history
    machines = sorted({history.series[i].machine for i in drawn})
    events = [(words.day(history, e.at), _commit(result, e.at), e.machine, e.text) for e in history.events]
    listed = (
        table(("date", "commit", "machine", "what changed"), events, text=(0, 1, 2, 3))
        if events
        else "<p>None changed.</p>"
    )
    rules = result.rules
    said = (
        f"<p class=note>Rules: a series without a change is given one with probability {rules.alarm_rate:g}; of all "
        f"that is told at most {rules.false_rate:.0%} is expected to be chance; noisy series are told from "
        f"{rules.least:.1%} on. "
        f"docs/regress.md has the method. Spread of a series at present, in the middle: {_spread(result)}.</p>"
    )
    return Section("machines", "Machines and libraries", f"<p>{escape(', '.join(machines))}</p>{listed}{said}")


def _spread(result: Regressed) -> str:
    spreads = [f[-1].spread for f in result.found if f and f[-1].kind == "noisy" and f[-1].relative]
    return f"{np.median(spreads):.1%}" if spreads else "not known"
