"""The study of `hdrmx complexity` for a terminal, from its JSON document alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_GUILTY = 8
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def render(study: Mapping[str, Any]) -> str:
    """Verdict, a line a measure, the guilty functions, what else isn't as declared."""
    return "\n".join(_lines(study, "")) + "\n"


def _lines(study: Mapping[str, Any], indent: str) -> Iterator[str]:
    sizes = study["sizes"]
    ladder = f"{study['driver']} = {sizes[0]} ... {sizes[-1]} ({len(sizes)} sizes)" if sizes else "no sizes"
    yield f"{indent}{study['target']}: {study['verdict'].upper()} (declared {study['declared']}), {ladder}"
    if study["measures"]:
        yield f"{indent}  {'measure':<24}{'class':<24}{'exponent':<22}{'local':>6}  {'at largest':>12}  verdict"
    for name, m in study["measures"].items():
        if not any(any(v) for v in m["values"].values()) and m["verdict"] == "within":
            continue  # nothing at any size
        yield f"{indent}  {name:<24}{_class(m):<24}{_exponent(m):<22}{_local(m):>6}  {_last(m):>12}  {_verdict(m)}"
    for b in study["breaches"]:
        yield f"{indent}  {b['kind']}: {b['name']} is {b['value']:.3g}, allowed {b['limit']:g}"
    if study["guilty"]:
        yield f"{indent}  to blame:"
    for i, g in enumerate(study["guilty"][:MOST_GUILTY], 1):
        yield f"{indent}  {i}. {guilty_text(g)}"
    for note in study.get("notes", ()):
        yield f"{indent}  {note}"
    for part in study["parts"].values():
        yield from _lines(part, indent + "  ")


def guilty_text(g: Mapping[str, Any]) -> str:
    name = g["function"] if g["file"] or g["function"].startswith("(") else g["function"].partition("(")[0]
    where = f" ({Path(g['file']).name}:{g['line']})" if g["file"] else ""
    inherited = f", called as n^{g['inherited_exponent']:.2f}" if g["inherited_exponent"] > 0.05 else ""
    share = f"{100 * g['share_at_largest']:.0f} % at the largest size"
    return f"{name}{where}: {g['measure']} n^{g['exponent']:.2f}{inherited}, {share}"


def _class(m: Mapping[str, Any]) -> str:
    if m["class"] is not None:
        return str(m["class"])
    plausible = m.get("plausible") or []
    return " or ".join(plausible[:3]) if plausible else "-"


def _exponent(m: Mapping[str, Any]) -> str:
    e = m["exponent"]
    return "-" if e is None else f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]"


def _local(m: Mapping[str, Any]) -> str:
    return "-" if m["local_exponent"] is None else f"{m['local_exponent']:.2f}"


def _last(m: Mapping[str, Any]) -> str:
    if not m["values"]:
        return "-"
    values = sorted(m["values"][max(m["values"], key=int)])
    return quantity(values[len(values) // 2], m["unit"])


def quantity(value: float, unit: str) -> str:
    """Three figures and a prefix; times below a second in ms or us."""
    if unit == "s":
        scale, name = next(((s, n) for s, n in ((1.0, "s"), (1e-3, "ms")) if value >= s), (1e-6, "us"))
        return f"{value / scale:.3g} {name}"
    scale, prefix = next(((s, p) for s, p in _PREFIXES if value >= s), (1.0, ""))
    return f"{value / scale:.3g} {prefix}{'B' if unit == 'bytes' else ''}".strip()


def _verdict(m: Mapping[str, Any]) -> str:
    below = m.get("not_identifiable_below")
    if m["verdict"] == "not identifiable" and below:
        return f"not identifiable below n = {below:.3g}"
    return str(m["verdict"])
