"""Section of symmetry: what the intensities say of rotations, groups and screw axes."""

from __future__ import annotations

from html import escape
from typing import Any

from hdrmx.report.page import MISSING, Section, number, table
from hdrmx.report.processed import Processed

MOST_GROUPS = 25


def symmetry_section(run: Processed) -> Section | None:
    told = run.later.symmetry
    if told is None:
        return None
    given = run.told.get("params", {}).get("symmetry", {}).get("space_group")
    body = f"<p>{escape(_said(told, given))}</p>"
    body += '<div class="pair">' + _elements(told) + _groups(told) + "</div>" + _absences(told)
    return Section("symmetry", "Symmetry", body)


def _said(told: dict[str, Any], given: str | None) -> str:
    cell = " ".join(f"{v:.2f}" for v in told["cell"])
    counts = told["counts"]
    basis = (
        f" It was told from {counts.get('observations', 0):,} observations of {counts.get('unique', 0):,} unique "
        f"reflections (of P 1) to {number(told['d_min'], 2)} Å."
    )
    if given:
        return f"Space group {told['space_group']} was given; its setting has the cell {cell} (Å, °).{basis}"
    how = "and no doubt about it was raised" if told["is_sure"] else "with the doubts named above"
    return (
        f"Space group {told['space_group']}, cell {cell} (Å, °). The point group has a probability of "
        f"{number(told['probability'], 3)}, {how}.{basis}"
    )


def _elements(told: dict[str, Any]) -> str:
    rows = [
        (
            f"{e['order']}-fold",
            "[" + " ".join(str(v) for v in e["axis"]) + "]",
            number(e["cc"], 3),
            f"{e['pairs']:,}",
            number(e["likelihood"], 3),
            _word(e),
        )
        for e in told["elements"]
    ]
    note = (
        "CC of the intensities of reflections that a rotation brings onto one another; "
        f"{number(told['cc_expected'], 2)} is expected of a symmetry, {number(told['cc_unrelated'], 2)} of pairs that "
        "nothing relates. Axes in the setting that was chosen."
    )
    head = ("rotation", "axis", "CC", "pairs", "likelihood", "")
    body = table(head, rows, text=(0, 1, 5))
    return f"<div><h3>Rotations of the lattice</h3>{body}<p class=note>{escape(note)}</p></div>"


def _word(element: dict[str, Any]) -> str:
    if element["cc"] is None:
        return "too few pairs"
    return "present" if element["likelihood"] > 0.8 else "absent" if element["likelihood"] < 0.2 else "unclear"


def _groups(told: dict[str, Any]) -> str:
    groups = told["groups"][:MOST_GROUPS]
    rows = [
        (
            g["laue"],
            g["space_group"] + (" (chosen)" if g["chosen"] else ""),
            number(g["probability"], 3),
            f"{number(g['cc_in'], 3)} / {number(g['cc_out'], 3)}",
            number(g["misfit_deg"], 2),
        )
        for g in groups
    ]
    head = ("Laue class", "group", "probability", "CC in / out", "misfit, °")
    marked = [i for i, g in enumerate(groups) if g["chosen"]]
    rest = len(told["groups"]) - len(groups)
    more = f" The {rest} least likely are not shown." if rest else ""
    note = (
        "CC in: of the rotations of the group; out: of those of the lattice that are not in it. The misfit is "
        f"the largest angle by which the lattice misses an axis of the group.{more}"
    )
    body = table(head, rows, text=(0, 1), marked=marked)
    return f"<div><h3>Laue groups</h3>{body}<p class=note>{escape(note)}</p></div>"


def _absences(told: dict[str, Any]) -> str:
    absences = told["absences"]
    if absences is None:
        return ""
    if not absences["n_telling"]:
        note = "No reflection was measured that could tell the point group's space groups apart."
        return f"<h3>Screw axes</h3><p class=note>{note}</p>"
    rows = [
        (
            "chosen" if i == 0 else "",
            ", ".join(c["space_groups"]),
            number(c["probability"], 3),
            str(c["n_absent"]),
            number(c["i_over_sigma_absent"], 2) if c["n_absent"] else MISSING,
            "" if c["is_measured"] else "not all told apart",
        )
        for i, c in enumerate(absences["candidates"])
    ]
    head = ("", "space groups", "probability", "absent reflections", "their mean I/σ", "")
    note = (
        f"{absences['n_telling']} unique reflections on axes were measured that are absent in some of these groups and "
        "present in others. Groups in one row extinguish the same of them; the first is taken."
    )
    return f"<h3>Screw axes</h3>{table(head, rows, text=(0, 1, 5), marked=(0,))}<p class=note>{escape(note)}</p>"
