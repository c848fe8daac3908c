"""The team's page for those who only get mail: what changed, the stages over time, and the product of gains."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from hdrmx.analysis.history import EXPONENT, TIME, Series
from hdrmx.analysis.ledger import ledger
from hdrmx.analysis.regress import Regressed, eras_of
from hdrmx.io.whole import write_whole
from hdrmx.report import regress_text as words

COLOURS = ("#0067b1", "#00866a", "#a3457f", "#9a6700", "#4b5bd1", "#cf4a00", "#5b6470", "#2e9bd6", "#b3261e", "#777777")
MOST = 8  # groups in words, and lines in a panel


def write_trend_png(result: Regressed, path: str | Path, since: str | None = None) -> Path:
    """Draw and write it: 1400 x 1000 pixels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(14, 10), dpi=100, layout="constrained")
    told, stages, gained, exponents = axes.ravel()
    _in_words(told, result)
    _lines(stages, result, TIME, "time of a stage, of its first (geometric mean)")
    book = ledger(result, since)
    at = [book.since, *(e.group.at for e in book.entries), len(result.history.commits) - 1]
    product = [1.0, *(e.product for e in book.entries)]
    gained.step(at, [*product, product[-1]], where="post", color=COLOURS[0])
    gained.set(
        title=f"whole suite: {book.product:.3f} of its time at the start",
        xlabel="commit",
        ylabel="product of all gains and losses",
    )
    gained.axhline(1.0, color="#999999", lw=0.8)
    _lines(exponents, result, EXPONENT, "exponents")
    name = result.history.project or Path(result.history.source).resolve().name
    figure.suptitle(f"{name}: performance over time", fontsize=15)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return write_whole(path, buffer.getvalue())


def _in_words(axes: object, result: Regressed) -> None:
    axes.axis("off")  # type: ignore[attr-defined]
    lines = [_wrapped(words.summary(result)), ""]
    for group in [g for g in result.groups if g.alarm or not g.worse][:MOST]:
        sign = "▲" if group.worse else "▼"
        lines.append(_wrapped(f"{sign} {words.title(result.history, group)}"))
        lines.append(_wrapped(f"    {words.place(result.history, group)}"))
    axes.text(0, 1, "\n".join(lines), va="top", fontsize=9, family="DejaVu Sans")  # type: ignore[attr-defined]


def _wrapped(text: str, width: int = 95) -> str:
    import textwrap

    return "\n    ".join(textwrap.wrap(text, width))


def _lines(axes: object, result: Regressed, kind: str, title: str) -> None:
    """Levels: of time as the geometric mean of a stage's series relative to their first, of exponents as they are."""
    history = result.history
    n = len(history.commits)
    lines: dict[str, list[np.ndarray]] = {}
    for i, series in enumerate(history.series):
        if series.kind == kind and kind == EXPONENT:
            lines.setdefault(series.label, []).append(_level(result, i, n))
        elif series.kind == kind:
            level = _level(result, i, n)
            first = level[np.isfinite(level)][:1]
            if len(first) and first[0] > 0:
                lines.setdefault(_name(series), []).append(np.log(level / first[0]))
    largest = sorted(lines, key=lambda name: (-len(lines[name]), name))[: len(COLOURS)]
    for name, colour in zip(largest, COLOURS):
        stack = np.array(lines[name])
        known = np.isfinite(stack)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, stack, 0).sum(axis=0) / known.sum(axis=0)
        drawn = mean if kind == EXPONENT else np.exp(mean)
        axes.plot(np.arange(n), drawn, color=colour, lw=1.6, label=name[-40:])  # type: ignore[attr-defined]
    for event in history.events:
        axes.axvline(event.at - 0.5, color="#9a6700", ls=":", lw=1)  # type: ignore[attr-defined]
    axes.set(title=title, xlabel="commit")  # type: ignore[attr-defined]
    if largest:
        axes.legend(fontsize=8, frameon=False)  # type: ignore[attr-defined]


def _name(series: Series) -> str:
    stage = series.stage
    return stage if stage != "everything else" else series.name.split(".")[0]


def _level(result: Regressed, i: int, n: int) -> np.ndarray:
    series = result.history.series[i]
    out = np.full(n, np.nan)
    for rows, found in zip(eras_of(series), result.found[i]):
        out[series.at[rows]] = found.level
    places = np.flatnonzero(np.isfinite(out))
    if len(places):
        filled = places[np.maximum(np.searchsorted(places, np.arange(n), side="right") - 1, 0)]
        out = np.where((np.arange(n) >= places[0]) & (np.arange(n) <= series.at[-1]), out[filled], np.nan)
    return out
