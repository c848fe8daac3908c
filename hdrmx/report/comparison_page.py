"""The page of a comparison: findings, times with intervals, and the differential flame graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from hdrmx.analysis.compare import EQUAL, Comparison
from hdrmx.measure.sample_files import read_folded
from hdrmx.measure.sampling import IDLE
from hdrmx.report.comparison import sentence, verdict
from hdrmx.report.page import Section, Verdict, page, table

WIDE, HIGH, DEEPEST = 1000, 17, 45
NARROWEST = 0.8  # px
MOST_FUNCTIONS = 40


@dataclass
class _Node:
    old: float = 0.0
    new: float = 0.0
    inner: dict[str, _Node] = field(default_factory=dict)

    @property
    def width(self) -> float:
        return max(self.old, self.new)


def comparison_page(comparison: Comparison, old: str, new: str, old_folded: str, new_folded: str) -> str:
    """One HTML document; `*_folded` are folded stacks of a run of either side, empty where there are none."""
    findings = [sentence(d) for d in comparison.findings]
    head = Verdict(
        "look" if findings or not comparison.is_comparable else "good",
        (verdict(comparison),),
        (*findings[:8], *comparison.doubts),
    )
    sections = [_figures(comparison)]
    if old_folded and new_folded:
        sections += [_flame(old_folded, new_folded), _functions(old_folded, new_folded)]
    return page(f"{old} and {new} compared", f"old: {old}; new: {new}", head, sections)


def _figures(comparison: Comparison) -> Section:
    rows = []
    for d in comparison.differences:
        if d.verdict != EQUAL:
            s = d.shift
            span = "" if s is None else f"{100 * (s.low - 1):+.1f} to {100 * (s.high - 1):+.1f} %"
            seen = "" if s is None else f"{100 * s.detectable:.1f} %"
            rows.append((d.stage, f"{d.kind} {d.name}", _text(d.old), _text(d.new), d.verdict, span, seen))
    equal = sum(d.verdict == EQUAL for d in comparison.differences)
    head = ("stage", "figure", "old", "new", "verdict", "interval 95 %", "could have seen")
    body = table(head, rows, text=(0, 1, 4)) if rows else ""
    return Section("figures", "What differs", f"{body}<p class=note>{equal} figures are equal on both sides.</p>")


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _merged(old: str, new: str) -> _Node:
    """Both sides' stacks in one tree, without waiting, each as part of its own total."""
    root = _Node()
    for name, text in (("old", old), ("new", new)):
        stacks = {s: us for s, us in read_folded(text).items() if s[-1] not in IDLE}
        for stack, us in stacks.items():
            node = root
            for level in ((), *stack[:DEEPEST]):
                node = root if level == () else node.inner.setdefault(str(level), _Node())
                setattr(node, name, getattr(node, name) + us / 1e6)
    return root


def _flame(old: str, new: str) -> Section:
    root = _merged(old, new)
    shapes: list[str] = []
    deepest = _draw(root, 0.0, 0, WIDE / max(root.width, 1e-9), shapes)
    high = (deepest + 1) * HIGH
    said = "Differential flame graph; the table below has the same functions."
    picture = (
        f'<svg class="diff" viewBox="0 0 {WIDE} {high}" width="100%" role="img" aria-label="{said}" '
        f'font-family="sans-serif" font-size="11">{"".join(shapes)}</svg>'
    )
    note = (
        f"Seconds on a processor: old {root.old:.2f}, new {root.new:.2f}. A box is as wide as the larger of the two; "
        "orange: it takes longer than before, blue: less, grey: within a tenth. Hover for the figures."
    )
    return Section("flame", "Differential flame graph", f"{picture}<p class=note>{note}</p>")


def _draw(node: _Node, x: float, level: int, scale: float, shapes: list[str]) -> int:
    deepest = level
    for name, child in sorted(node.inner.items(), key=lambda item: -item[1].width):
        wide = child.width * scale
        if wide < NARROWEST:
            continue
        y = level * HIGH
        title = f"{name}: {child.old:.3f} s before, {child.new:.3f} s now"
        shapes.append(
            f'<g><title>{escape(title)}</title><rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{HIGH - 1}" '
            f'fill="{_colour(child)}"/>'
        )
        if wide > 40:
            text = name if len(name) * 6 < wide else name[: int(wide / 6) - 1] + "…"
            shapes.append(f'<text x="{x + 3:.1f}" y="{y + 12}" fill="#111">{escape(text)}</text>')
        shapes.append("</g>")
        inner = child.width / max(sum(c.width for c in child.inner.values()), child.width, 1e-12)
        deepest = max(deepest, _draw(child, x, level + 1, scale * inner, shapes))
        x += wide
    return deepest


def _colour(node: _Node) -> str:
    larger = max(node.old, node.new)
    change = (node.new - node.old) / larger if larger else 0.0
    if abs(change) < 0.1:
        return "#c9c9c9"
    strength = min(abs(change), 1.0)
    light = round(88 - 30 * strength)
    return f"hsl({25 if change > 0 else 212} 85% {light}%)"


def _functions(old: str, new: str) -> Section:
    own: dict[str, list[float]] = {}
    for side, text in enumerate((old, new)):
        for stack, us in read_folded(text).items():
            if stack[-1] not in IDLE:
                own.setdefault(stack[-1], [0.0, 0.0])[side] += us / 1e6
    ranked = sorted(own.items(), key=lambda item: -abs(item[1][1] - item[1][0]))[:MOST_FUNCTIONS]
    rows = [(name, f"{a:.3f}", f"{b:.3f}", f"{b - a:+.3f}") for name, (a, b) in ranked]
    head = ("function or kernel", "old, s", "new, s", "difference, s")
    note = "Own time, sampled in one run of either side: differences of a few samples mean nothing."
    return Section("functions", "Functions by change", table(head, rows, text=(0,)) + f"<p class=note>{note}</p>")
