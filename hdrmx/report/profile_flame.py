"""The flame graph of a profile's page, and the functions in it by their own time, from folded stacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from hdrmx.measure.sample_files import read_folded
from hdrmx.measure.sampling import IDLE
from hdrmx.record import Record
from hdrmx.report.figures import json_script
from hdrmx.report.page import Section, table

MOST_NODES = 9000
DEEPEST = 60
MOST_FUNCTIONS = 30
LONGEST = 76
KINDS = {
    "kernel": "compiled kernel",
    "own": "hdrmx",
    "library": "library",
    "stage": "stage, thread",
    "idle": "waiting",
}
NONE = (
    "<p class=note>There are no samples: the run was made with --no-sampling, was too short, or profile.folded is not "
    "beside the record.</p>"
)


@dataclass
class _Node:
    us: int = 0  # with all within
    inner: dict[str, _Node] = field(default_factory=dict)


def flame_section(record: Record, folded: str) -> Section:
    """Where Python's threads were, for the whole run or one stage, with search and zoom."""
    stacks = read_folded(folded)
    if not stacks:
        return Section("flame", "Flame graph", NONE)
    root = _tree(stacks)
    order = {span.name: i for i, span in reversed(list(enumerate(record.run.children)))}
    root.inner = dict(sorted(root.inner.items(), key=lambda item: order.get(item[0], len(order))))
    chosen = "".join(f'<option value="{i}">{escape(name)}</option>' for i, name in enumerate(root.inner))
    how = ""
    if record.sampling is not None and record.sampling.samples:
        how = f"{record.sampling.samples:,} samples, one of each thread in {record.sampling.interval_ns / 1e6:.0f} ms. "
    tools = (
        f'<label>Show <select class="stage"><option value="">the whole run</option>{chosen}</select></label>'
        '<label>Search <input type="search" class="find" placeholder="function, file or kernel" spellcheck="false">'
        '</label><label><input type="checkbox" class="idle"> with waiting</label>'
        '<button type="button" class="out">Zoom out</button><output class="found" aria-live="polite"></output>'
    )
    keys = "".join(f'<li><i class="key f-{kind}"></i>{said}</li>' for kind, said in KINDS.items())
    said = "Flame graph. Arrow keys move, Enter zooms in, Escape zooms out. The table below has the largest functions."
    body = (
        f'<div class="flame"><div class="tools">{tools}</div><ul class="legend">{keys}</ul>'
        f'<svg class="graph" tabindex="0" role="application" aria-label="{said}"></svg>'
        f'<p class="read" aria-live="polite">&nbsp;</p>{json_script(_compact(root))}</div>'
        f'<p class="note">{how}Width is time on a processor; a kernel is named by the call that a thread was in. '
        f"Click or Enter zooms in, Escape out, arrows move. The same as files: {escape(_files(record))}.</p>"
        "<noscript><p class=note>The picture needs JavaScript; the table below doesn't.</p></noscript>"
    )
    return Section("flame", "Flame graph", body)


def _files(record: Record) -> str:
    """What lies beside the record of the samples."""
    kinds = ("folded", "speedscope", "pyinstrument")
    names = [name for kind, name in record.files.items() if kind.partition(" ")[0] in kinds]
    return ", ".join(dict.fromkeys(name.partition("/")[0] + "/" if "/" in name else name for name in names)) or "none"


def _tree(stacks: dict[tuple[str, ...], int]) -> _Node:
    root = _Node()
    for stack, us in stacks.items():
        node = root
        node.us += us
        levels = stack if len(stack) <= DEEPEST else (*stack[: DEEPEST - 1], stack[-1])
        for name in levels:
            node = node.inner.setdefault(name, _Node())
            node.us += us
    return root


def _compact(root: _Node) -> dict[str, object]:
    """Names, and nodes in preorder as (name, level, microseconds); the smallest are left out when there are many."""
    sizes: list[int] = []

    def collect(node: _Node) -> None:
        for child in node.inner.values():
            sizes.append(child.us)
            collect(child)

    collect(root)
    least = sorted(sizes, reverse=True)[MOST_NODES - 1] if len(sizes) > MOST_NODES else 0
    names: dict[str, int] = {}
    columns: dict[str, list[int]] = {"name": [], "level": [], "us": []}

    def put(node: _Node, level: int) -> None:
        for name, child in sorted(node.inner.items(), key=lambda item: item[0]) if level else node.inner.items():
            if child.us > least or least == 0:
                columns["name"].append(names.setdefault(name, len(names)))
                columns["level"].append(level)
                columns["us"].append(child.us)
                put(child, level + 1)

    put(root, 0)
    return {"names": list(names), "idle": list(IDLE), **columns}


def functions_section(folded: str) -> Section | None:
    """The functions and kernels by the time in themselves: the flame graph as a table."""
    own: dict[str, int] = {}
    within: dict[str, int] = {}
    stages: dict[str, dict[str, int]] = {}
    total = 0
    for stack, us in read_folded(folded).items():
        if stack[-1] in IDLE or len(stack) < 3:
            continue
        total += us
        own[stack[-1]] = own.get(stack[-1], 0) + us
        of = stages.setdefault(stack[-1], {})
        of[stack[0]] = of.get(stack[0], 0) + us
        for name in set(stack[2:]):
            within[name] = within.get(name, 0) + us
    if not total:
        return None
    rows = [
        (
            name if len(name) <= LONGEST else name[: LONGEST - 1] + "…",
            f"{us / 1e6:.3f}",
            f"{100 * us / total:.1f} %",
            f"{within[name] / 1e6:.3f}",
            ", ".join(sorted(stages[name], key=lambda s: -stages[name][s])[:3]),
        )
        for name, us in sorted(own.items(), key=lambda item: -item[1])[:MOST_FUNCTIONS]
    ]
    head = ("function or kernel", "own s", "share", "with calls s", "in")
    note = f"<p class=note>Of {total / 1e6:.2f} s that Python's threads were seen on a processor.</p>"
    return Section("functions", "Functions by their own time", table(head, rows, text=(0, 4)) + note)
