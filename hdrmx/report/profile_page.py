"""`report.html`: the page of a profile, drawn from the record, and the folded stacks beside it, alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

from hdrmx.io.records import FILE_NAME, read_record
from hdrmx.io.whole import write_whole
from hdrmx.measure.limits import cached_limits
from hdrmx.record import Doubt, Record, pipeline_ns, stages
from hdrmx.report.machine_words import fields_in_words
from hdrmx.report.page import Section, Verdict, page, table
from hdrmx.report.profile_counts import count_section
from hdrmx.report.profile_flame import flame_section, functions_section
from hdrmx.report.profile_limits import roof_section, what_if_section
from hdrmx.report.profile_stages import counter_section, stage_section
from hdrmx.report.profile_timeline import memory_section, timeline_section
from hdrmx.report.terminal import described, value_text
from hdrmx.report.words import INVALIDATING, doubt_text, findings

PAGE_NAME = "report.html"
EXTRA = ("profile_page.css", "profile_flame.js")


def profile_page(record: Record, folded: str = "", where: str = "") -> str:
    """The page of a profile.

    Parameters
    ----------
    folded : `profile.folded` of the same run; without it the page has no flame graph
    where : the folder, for the commands that draw and run it again

    Returns
    -------
    One HTML document that holds all it needs. The same arguments give the same text.
    """
    name = Path(record.data.name).name if record.data else record.pipeline
    drawn = [
        stage_section(record),
        timeline_section(record),
        memory_section(record),
        flame_section(record, folded),
        functions_section(folded),
        roof_section(record),
        what_if_section(record),
        counter_section(record),
        count_section(record),
        results_section(record),
        machine_section(record),
        again_section(record, where),
    ]
    subtitle = " · ".join(
        part for part in (f"{record.data.name}{described(record.data)}" if record.data else "", record.created) if part
    )
    return page(f"{name}: profile", subtitle, verdict(record), [s for s in drawn if s is not None], extra=EXTRA)


def write_profile_page(where: str | Path, path: str | Path | None = None) -> Path:
    """Draw the page from a folder, or a record, and write it beside the record, or to `path`.

    Raises
    ------
    InputError : there is no record, it is damaged, or the page can't be written
    """
    where = Path(where)
    record, folder = with_limits(read_record(where)), where if where.is_dir() else where.parent
    folded = ""
    if name := record.files.get("folded"):
        try:
            folded = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            folded = ""  # the page says that it isn't there
    text = profile_page(record, folded, str(folder))
    return write_whole(folder / PAGE_NAME if path is None else path, text.encode())


def with_limits(record: Record) -> Record:
    """With the limits of its machine, where they became known here after the run."""
    known = record.limits or cached_limits(record.machine.fingerprint)
    others = tuple(doubt for doubt in record.doubts if doubt.kind != "limits_unknown")
    return replace(record, limits=known, doubts=others if known else (*others, Doubt(kind="limits_unknown")))


def verdict(record: Record) -> Verdict:
    """Three sentences at most; what stands for it in figures; and what weakens it."""
    said = findings(record)
    whole, frames = pipeline_ns(record.run), max((s.count("frames") or 0 for s in stages(record.run)), default=0)
    state = "stopped" if record.status != "complete" else "look" if _is_doubtful(record) else "good"
    facts = [("pipeline", f"{whole / 1e9:.2f} s", "without imports and compilation")]
    if frames and whole:
        facts.append(("rate", f"{frames / (whole / 1e9):,.1f} frames/s", f"{frames:,} frames"))
    facts.append(("whole run", f"{record.run.cost.wall_ns / 1e9:.2f} s", "with everything"))
    if record.run.cost.cpu_ns is not None:
        busy = record.run.cost.cpu_ns / max(record.run.cost.wall_ns, 1)
        facts.append(("processor time", f"{record.run.cost.cpu_ns / 1e9:.2f} s", f"{busy:.2f} processors busy"))
    if record.run.peak_bytes is not None:
        facts.append(("peak memory", f"{record.run.peak_bytes / 1e6:,.0f} MB", "resident"))
    doubts = [doubt_text(doubt) for doubt in record.doubts if doubt.kind not in INVALIDATING]
    return Verdict(state, [f.text for f in said[:3]], doubts, facts)


def _is_doubtful(record: Record) -> bool:
    return any(doubt.kind in INVALIDATING for doubt in record.doubts)


def results_section(record: Record) -> Section:
    """What came out, so that speed is never read without it."""
    rows = []
    for span in record.run.walk():
        where = "run" if span is record.run else span.name
        rows += [(where, name.replace("_", " "), value_text(value)) for name, value in span.answers.items()]
    body = table(("stage", "result", "value"), rows, text=(0, 1, 2)) if rows else "<p class=note>The run gave none.</p>"
    if "page" in record.files:
        body += f'<p>The pictures stand on <a href="{escape(record.files["page"])}">the page of the results</a>.</p>'
    return Section("results", "What came out", body)


def machine_section(record: Record) -> Section:
    """What timings can be compared with."""
    parts = [
        table((title, ""), fields_in_words(found), text=(0, 1))
        for title, found in (("machine", record.machine), ("software", record.software))
    ]
    surrounded = list(_surroundings(record))
    note = "<p class=note>Two timings can be compared only where both fingerprints are the same.</p>"
    around = table(("during the run", "before", "after"), surrounded) if surrounded else ""
    return Section(
        "machine", "Machine and versions", f'<div class="pair">{parts[0]}<div>{parts[1]}{around}</div></div>{note}'
    )


def _surroundings(record: Record) -> Iterator[tuple[str, str, str]]:
    before, after = record.before, record.after
    if before.load_1min is not None and after.load_1min is not None:
        yield "load (1 min)", f"{before.load_1min:.2f}", f"{after.load_1min:.2f}"
    wall_us = max(record.run.cost.wall_ns / 1e3, 1)
    for name in before.pressure_us:
        if name in after.pressure_us:
            share = (after.pressure_us[name] - before.pressure_us[name]) / wall_us
            yield f"waited for {name.replace(' ', ', ')}", "", f"{share:.1%} of the time"
    if before.steal_ns is not None and after.steal_ns is not None and record.machine.cores_usable:
        share = (after.steal_ns - before.steal_ns) / (record.run.cost.wall_ns * record.machine.cores_usable or 1)
        yield "taken by the hypervisor", "", f"{share:.1%} of the processors' time"


def again_section(record: Record, where: str) -> Section:
    """The commands, and the files that lie beside the record."""
    commands = []
    if record.command:
        commands.append(("Run it again", shlex.join(record.command)))
    commands.append(("Draw this page again, from the record", f"hdrmx report {shlex.quote(where or '.')}"))
    commands.append(("Print the table", f"hdrmx profile --show {shlex.quote(where or '.')}"))
    body = "".join(f"<h3>{escape(t)}</h3><pre><code>{escape(c)}</code></pre>" for t, c in commands)
    rows = [("record", FILE_NAME), *record.files.items()]
    body += "<h3>Files</h3>" + table(("kind", "file"), rows, text=(0, 1))
    body += f"<p class=note>Schema of the record: {escape(record.schema)}.</p>"
    return Section("again", "How to reproduce", body)
