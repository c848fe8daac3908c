"""Findings in the forms that other programs read: JUnit XML and SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from hdrmx import __version__


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at.

    Attributes
    ----------
    group, name : what it was, such as a stage and a counter
    message : the finding in words; empty where there is none
    file, line : the function to blame, where it is known
    commit : that brought it, where it is known
    """

    group: str
    name: str
    message: str = ""
    file: str | None = None
    line: int | None = None
    commit: str | None = None


def junit(suite: str, checked: Sequence[Checked]) -> str:
    """One test case a thing looked at; findings are failures."""
    failures = sum(bool(c.message) for c in checked)
    root = ElementTree.Element("testsuites")
    whole = ElementTree.SubElement(root, "testsuite", name=suite, tests=str(len(checked)), failures=str(failures))
    for c in checked:
        case = ElementTree.SubElement(whole, "testcase", classname=f"{suite}.{c.group}", name=c.name)
        if c.message:
            ElementTree.SubElement(case, "failure", message=c.message).text = c.message
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def sarif(rule: str, described: str, checked: Sequence[Checked]) -> dict[str, Any]:
    """A SARIF log of one run with a result for each finding; places only where a file is known."""
    results = []
    for c in checked:
        if not c.message:
            continue
        result: dict[str, Any] = {
            "ruleId": rule,
            "level": "warning",
            "message": {"text": c.message},
            "partialFingerprints": {"what/v1": f"{c.group}/{c.name}"},
        }
        if c.file is not None:
            place: dict[str, Any] = {"artifactLocation": {"uri": c.file}}
            if c.line is not None:
                place["region"] = {"startLine": c.line}
            result["locations"] = [{"physicalLocation": place}]
        results.append(result)
    rules = [{"id": rule, "shortDescription": {"text": described}}]
    tool = {"driver": {"name": "hdrmx", "version": __version__, "rules": rules}}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": tool, "results": results}],
    }
