"""The findings of `hdrmx regress` for other programs: JUnit XML for a CI, SARIF 2.1.0 for a code host."""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from hdrmx import __version__
from hdrmx.analysis.causes import Group
from hdrmx.analysis.history import History
from hdrmx.analysis.regress import Regressed
from hdrmx.report.regress_text import lines, place, summary, title

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LISTED = 50  # findings of a group


def junit(result: Regressed) -> str:
    """One test case for each series of a standing regression, failed; one that passes for all the others."""
    history = result.history
    cases = []
    failed = 0
    for group in result.alarms:
        said = "\n".join([title(history, group), place(history, group), group.cause, *lines(history, group, LISTED)])
        failed += 1
        cases.append(
            f"  <testcase classname={quoteattr('history.' + group.what)} name={quoteattr(title(history, group))}>\n"
            f"    <failure message={quoteattr(title(history, group))}>{escape(said)}</failure>\n  </testcase>"
        )
    rest = result.looked_at - len({f.series for g in result.alarms for f in g.findings})
    cases.append(f'  <testcase classname="history" name="{rest} series without a standing change for the worse"/>')
    head = f'<testsuite name="hdrmx regress" tests="{len(cases)}" failures="{failed}" errors="0" skipped="0">'
    body = "\n".join(cases)
    out = f"<system-out>{escape(summary(result))}</system-out>"
    suite = f"{head}\n{body}\n  {out}\n</testsuite>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n{suite}\n</testsuites>\n'


def sarif(result: Regressed) -> dict[str, Any]:
    """A result for each group that stands; located at a file that the commit changed, where a repository told."""
    rules = [
        {"id": "slower-over-history", "shortDescription": {"text": "A lasting change for the worse"}},
        {"id": "better-over-history", "shortDescription": {"text": "A lasting change for the better"}},
    ]
    shown = [g for g in result.groups if g.alarm or not g.worse]
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "hdrmx regress", "version": __version__, "rules": rules}},
                "results": [_result(result.history, group) for group in shown],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }


def _result(history: History, group: Group) -> dict[str, Any]:
    said = [title(history, group), place(history, group), group.cause, *lines(history, group)]
    top = group.findings[0]
    commit = history.commits[group.at]
    files = [name for name in commit.files if name.endswith((".py", ".c", ".cpp", ".pyx", ".h"))] or list(commit.files)
    places = [
        {"physicalLocation": {"artifactLocation": {"uri": name}, "region": {"startLine": 1}}} for name in files[:5]
    ]
    logical = [{"fullyQualifiedName": history.series[top.series].label, "kind": "function"}]
    return {
        "ruleId": "slower-over-history" if group.worse else "better-over-history",
        "level": "error" if group.alarm else "note",
        "message": {"text": ". ".join(part for part in said if part)},
        "locations": places or [{"logicalLocations": logical}],
        "partialFingerprints": {"commitAndCause/v1": f"{commit.hash}:{group.what}:{int(group.worse)}"},
        "properties": {"ratio": top.ratio if top.ratio == top.ratio else None, "commit": commit.hash},
    }


def sarif_text(result: Regressed) -> str:
    return json.dumps(sarif(result), indent=1, allow_nan=False) + "\n"
