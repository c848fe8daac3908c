"""Section of merging: figures overall and by resolution, Wilson's plot, tests for twinning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hdrmx.report.along import in_pairs, rows_of, s2_axis, shell_axis
from hdrmx.report.figures import Axis, Floats, Series, chart
from hdrmx.report.page import MISSING, Section, figure, number, percent, table
from hdrmx.report.processed import Processed
from hdrmx.report.stage_results import MergingResult


def merge_section(run: Processed) -> Section | None:
    done = run.later.merging
    if done is None:
        return None
    limit = float(run.told.get("params", {}).get("merge", {}).get("cc_half", 0.3))
    body = _overall(done, limit) + in_pairs(_by_resolution(done, limit)) + _shells(done)
    return Section("merging", "Merged data", body)


def statistics_section(run: Processed) -> Section | None:
    """Wilson's plot and tests for twinning."""
    done = run.later.merging
    if done is None:
        return None
    twinning = done.told["twinning"]
    drawn = in_pairs([_wilson(done.told["wilson"]), _l_test(twinning), _moments(twinning), _twin_table(twinning)])
    return Section("distribution", "Distribution of intensities", drawn)


FEWEST_PAIRS = 25  # whose correlation of anomalous differences is drawn
FIGURES: tuple[tuple[str, str, int], ...] = (
    ("completeness", "completeness", -1),
    ("multiplicity", "multiplicity", 2),
    ("mean I/σ", "i_over_sigma", 2),
    ("Rmerge", "r_merge", 3),
    ("Rmeas", "r_meas", 3),
    ("Rpim", "r_pim", 3),
    ("CC1/2", "cc_half", 4),
    ("CC of anomalous differences", "cc_anom", 3),
    ("anomalous completeness", "completeness_anom", -1),
    ("anomalous multiplicity", "multiplicity_anom", 2),
    ("Rmeas within I(+) and I(−)", "r_meas_anom", 3),
)


def _overall(done: MergingResult, limit: float) -> str:
    columns: list[dict[Any, Any]] = [done.told["overall"]]
    head = ["", "overall"]
    if len(done.shells) > 1:
        columns += [done.shells.iloc[0].to_dict(), done.shells.iloc[-1].to_dict()]
        head += ["inner shell", "outer shell"]
    rows = [
        ("resolution, Å", *(f"{c['d_max']:.2f}–{c['d_min']:.2f}" for c in columns)),
        ("observations", *(f"{int(c['n_observations']):,}" for c in columns)),
        ("unique reflections", *(f"{int(c['n_unique']):,}" for c in columns)),
    ]
    for word, name, digits in FIGURES:
        rows.append((word, *(percent(c[name]) if digits < 0 else number(c[name], digits) for c in columns)))
    counts = done.told["counts"]
    left_out = ", ".join(
        f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n and name not in ("given", "used")
    )
    cell = " ".join(f"{v:.3f}" for v in done.told["cell"][:3]), " ".join(f"{v:.2f}" for v in done.told["cell"][3:])
    said = [
        ("space group", done.told["space_group"]),
        ("cell, Å", cell[0]),
        ("angles, °", cell[1]),
        (f"resolution by CC1/2 of {limit:g}", resolution_words(done)),
        ("Wilson B, Å²", _with(done.told["wilson"], "b_A2", "b_sd_A2", 1)),
        ("I/σ at most (ISa), as scaled", isa_words(done)),
        ("observations", f"{counts['used']:,} of {counts['given']:,}"),
        ("left out", left_out or "none"),
    ]
    return f'<div class="pair"><div>{table(head, rows)}</div><div>{table(("", ""), said, text=(0, 1))}</div></div>'


def resolution_words(done: MergingResult) -> str:
    """The limit by CC1/2, in words."""
    resolution = done.told["resolution"]
    if resolution["d_min"] is None:
        return "can't be told"
    edge = "; the data end there" if resolution["reaches_edge"] else ""
    return f"{resolution['d_min']:.2f} Å{edge}"


def isa_words(done: MergingResult) -> str:
    scatter = done.told["scatter"]
    if scatter["isa"] is None:
        return "can't be told" if scatter["a"] is None else "no limit seen"
    return number(scatter["isa"], 1)


def _with(told: dict[str, Any], value: str, sd: str, digits: int) -> str:
    if told[value] is None:
        return MISSING
    return number(told[value], digits) + (f" ± {told[sd]:.{digits}f}" if told[sd] is not None else "")


def _by_resolution(done: MergingResult, limit: float) -> list[str]:
    shells = done.shells
    if len(shells) < 2:
        return []
    axis = shell_axis(shells)
    value = {name: shells[name].to_numpy(float) for name in shells}
    anomalous = np.where(done.sums["anom_n"].to_numpy() >= FEWEST_PAIRS, value["cc_anom"], np.nan)
    fit = _fitted(done.told["resolution"], axis.at)
    correlation = [
        Series("CC1/2", value["cc_half"], "c0"),
        Series("CC of anomalous differences", anomalous, "c2"),
        Series(f"limit {limit:g}", np.full(len(axis.at), limit), "plain"),
    ]
    if fit is not None:
        correlation.insert(1, Series("curve fitted", fit, "off"))
    low = float(min(0.0, np.nanmin(np.append(anomalous, 0.0))))
    specs: tuple[tuple[str, list[Series], str, tuple[float | None, float | None], str], ...] = (
        (
            "CC1/2 by resolution",
            correlation,
            "correlation",
            (np.floor(low * 5) / 5, 1.0),
            f"Correlation of random halves of the data. The curve falls to {limit:g} at {resolution_words(done)}.",
        ),
        (
            "R values by resolution",
            [
                Series("Rmeas", value["r_meas"], "c0"),
                Series("Rmerge", value["r_merge"], "c1"),
                Series("Rpim", value["r_pim"], "c2"),
            ],
            "R",
            (0, _r_top(value["r_meas"])),
            "R values. They grow without limit where intensities are weak; CC1/2 tells better where to cut.",
        ),
        (
            "I/σ by resolution",
            [
                Series("merged", value["i_over_sigma"], "c0"),
                Series("observations", value["i_over_sigma_unmerged"], "c1"),
            ],
            "mean I/σ",
            (0, None),
            "Mean I/σ of merged reflections and of single observations.",
        ),
        (
            "Completeness by resolution",
            [
                Series("completeness", 100 * value["completeness"], "c0"),
                Series("anomalous", 100 * value["completeness_anom"], "c2"),
            ],
            "%",
            (0, 100),
            "Part of the reflections that there are; anomalous: with both mates.",
        ),
        (
            "Multiplicity by resolution",
            [
                Series("multiplicity", value["multiplicity"], "c0"),
                Series("mates apart", value["multiplicity_anom"], "c2"),
            ],
            "observations",
            (0, None),
            "Observations of each unique reflection.",
        ),
    )
    out = []
    for title, series, label, y_range, caption in specs:
        drawn = chart(title, axis, series, y_label=label, y_range=y_range, width=520)
        out.append(figure(drawn, caption, rows_of(axis, [(s.name, s.y, 3) for s in series], "shell")))
    return out


def _r_top(r: Floats) -> float | None:
    """R values of the noisiest shells must not flatten all others."""
    known = r[np.isfinite(r)]
    return 2.0 if len(known) and known.max() > 2.0 else None


def _fitted(resolution: dict[str, Any], s2: Floats) -> Floats | None:
    s0, r = resolution["s0"], resolution["r"]
    return None if s0 is None or r is None else 0.5 * (1 - np.tanh((s2 - s0) / r))


def _shells(done: MergingResult) -> str:
    head = ("d, Å", "observations", "unique", "compl., %", "mult.", "I/σ", "Rmerge", "Rmeas", "Rpim", "CC1/2", "CCanom")
    rows = [_row(f"{r['d_max']:.2f}–{r['d_min']:.2f}", r) for r in done.shells.to_dict("records")]
    rows.append(_row("overall", done.told["overall"]))
    note = "* CC1/2 that comes about by chance in less than one case in a thousand."
    body = table(head, rows, marked=(len(rows) - 1,))
    return f"<h3>By shell</h3>{body}<p class=note>{note}</p>"


def _row(name: str, r: dict[Any, Any]) -> tuple[str, ...]:
    p = r["cc_half_p"]
    star = "*" if p is not None and np.isfinite(p) and p < 1e-3 else ""
    return (
        name,
        f"{int(r['n_observations']):,}",
        f"{int(r['n_unique']):,}",
        number(100 * r["completeness"] if r["completeness"] is not None else None, 1),
        number(r["multiplicity"], 2),
        number(r["i_over_sigma"], 2),
        *(number(r[k], 3) for k in ("r_merge", "r_meas", "r_pim")),
        number(r["cc_half"], 4) + star,
        number(r["cc_anom"], 3),
    )


def _wilson(wilson: dict[str, Any]) -> str:
    curve = {k: np.array(v, float) for k, v in wilson["curve"].items()}
    if not len(curve["s2"]) or not np.isfinite(curve["log_ratio"]).any():
        return ""
    axis = s2_axis(curve["s2"])
    series = [Series("measured", curve["log_ratio"], "c0"), Series("line fitted", curve["fitted"], "off")]
    drawn = chart("Wilson plot", axis, series, y_label="ln (mean I / Σf²)", width=520)
    found = wilson["b_A2"] is not None
    said = (
        f" The line from {wilson['d_max']:.2f} to {wilson['d_min']:.2f} Å gives B = {wilson['b_A2']:.1f} Å²."
        if found
        else ""
    )
    caption = (
        f"Wilson plot of merged intensities over what a protein's atoms would give at rest.{said} Peaks are often "
        "rings of ice (3.90, 3.67, 3.44, 2.67, 2.25 Å); a rise at the end means that weak intensities are too high."
    )
    numbers = rows_of(axis, [("n", curve["n"], 0), ("ln ratio", curve["log_ratio"], 3)], "resolution")
    return figure(drawn, caption, numbers)


def _l_test(twinning: dict[str, Any]) -> str:
    curve = {k: np.array(v, float) for k, v in twinning["l_test"].items()}
    if not len(curve.get("abs_l", ())):
        return ""
    at = curve["abs_l"]
    axis = Axis("|L|", at, [f"|L| = {v:.2f}" for v in at])
    series = [
        Series("untwinned", curve["untwinned"], "plain"),
        Series("perfect twin", curve["twinned"], "c3"),
        Series("measured", curve["measured"], "c0"),
    ]
    drawn = chart("L-test", axis, series, y_label="part below", y_range=(0, 1), width=520)
    caption = (
        "L-test: how much neighbouring intensities differ, as a cumulative distribution. On the straight line the "
        "crystal is not twinned; below it, look for pseudo-translation."
    )
    return figure(drawn, caption, rows_of(axis, [("measured", curve["measured"], 3)], "|L|"))


def _moments(twinning: dict[str, Any]) -> str:
    curve = pd.DataFrame({k: np.array(v, float) for k, v in twinning["moments"].items()})
    if np.isfinite(curve["acentric"]).sum() < 2:
        return ""
    axis = s2_axis(curve["s2"].to_numpy())
    flat = np.ones(len(curve))
    series = [
        Series("acentric", curve["acentric"].to_numpy(), "c0"),
        Series("centric", curve["centric"].to_numpy(), "c2"),
        Series("untwinned, acentric", 2 * flat, "plain"),
        Series("untwinned, centric", 3 * flat, "c3"),
    ]
    drawn = chart("Second moments", axis, series, y_label="⟨I²⟩ / ⟨I⟩²", y_range=(0, 5), width=520)
    caption = (
        "Second moments of intensities in shells, the measurement's own variance taken off: 2 for acentric and 3 for "
        "centric reflections without twinning, 1.5 and 2 for a perfect twin. Where σs are wrong, weak shells drift off."
    )
    columns = [("acentric", curve["acentric"].to_numpy(), 2), ("centric", curve["centric"].to_numpy(), 2)]
    return figure(drawn, caption, rows_of(axis, columns, "resolution"))


def _twin_table(t: dict[str, Any]) -> str:
    rows = [
        ("second moment, acentric", number(t["moment_acentric"], 2), "2", "1.5", f"{t['n_acentric']:,} reflections"),
        ("second moment, centric", number(t["moment_centric"], 2), "3", "2", f"{t['n_centric']:,} reflections"),
        ("mean |L|", number(t["mean_abs_l"], 3), "0.5", "0.375", f"{t['n_pairs']:,} pairs"),
        ("mean L²", number(t["mean_l_squared"], 3), "0.333", "0.2", ""),
        ("twin fraction by |L|", number(t["twin_fraction"], 2), "0", "0.5", ""),
    ]
    body = table(("", "measured", "untwinned", "perfect twin", ""), rows, text=(0, 4))
    note = f"To {number(t['d_min'], 2)} Å, where I/σ is 3 or more on average."
    return f"<div>{body}<p class=note>{note}</p></div>"
