"""What a run came to, in words: the verdict that its page begins with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hdrmx.report.merged_verdict import merged_doubts, merged_facts, merged_words
from hdrmx.report.page import Verdict, number, percent, with_sd
from hdrmx.report.processed import Processed
from hdrmx.report.spot_statistics import by_image

# From here on something is said. They are what a crystallographer looks at twice, not limits of the method.
LOW_FRACTION = 0.7
LOW_PART = 0.5  # fraction indexed of a run of images, relative to the whole scan's
INNERMOST = 0.02  # part of the indexed spots that lie nearest to the direct beam
FEW_INDEXED = 100
FEW_SPOTS = 20  # in such a run
PARTS = 20
LARGE_RMSD_PX = 1.0
CELL_DRIFT, SIGNIFICANT = 0.005, 4.0  # relative, and in standard uncertainties
TURN_DRIFT_DEG = 0.5


def verdict(run: Processed) -> Verdict:
    told = run.told
    doubts = [*_derived_doubts(run), *_unique(told.get("notes", ()))]
    sentences = [*merged_words(run), *_found(run), *_indexed(run), *_refined(run)]
    stopped = told.get("stopped")
    if stopped:
        sentences.append(f"The run ended after {stopped.get('after')}: {stopped.get('reason')}.")
    if not doubts and not stopped:
        sentences.append("Nothing here asks for a closer look.")
    state = "good" if "index" in told else "spots"
    state = "stopped" if stopped else "look" if list(_derived_doubts(run)) else state
    return Verdict(state, sentences, doubts, _facts(run))


def _unique(notes: Sequence[str]) -> Iterator[str]:
    """The notes; of those that differ only in their numbers, the last."""
    kept: dict[str, str] = {}
    for note in notes:
        kept["".join(c for c in note if not c.isdigit() and c != ".")] = note
    yield from kept.values()


def _found(run: Processed) -> Iterator[str]:
    told = run.told["find_spots"]
    n = told.get("frames", len(run.frames))
    each = len(run.spots) / max(n, 1)
    if "index" not in run.told:
        kind = "stills" if run.is_still else "images"
        reach = f", to {_d_min(run):.2f} Å" if len(run.spots) else ""
        yield f"{len(run.spots):,} spots on {n} {kind}, {each:.3g} each{reach}."


def _d_min(run: Processed) -> float:
    """Resolution that 99 of 100 spots stay within."""
    return 1.0 / float(np.quantile(np.linalg.norm(run.r, axis=1), 0.99))


def _indexed(run: Processed) -> Iterator[str]:
    index = run.told.get("index")
    if index is None:
        return
    n, images = len(run.spots), run.told["find_spots"].get("frames", len(run.frames))
    count = len(index["lattices"])
    on = "one lattice" if count == 1 else f"{count} lattices"
    sweeps = [s for s in run.told.get("sweeps", ()) if "index" in s and "find_spots" in s]
    if len(sweeps) > 1:
        total = {name: sum(s["find_spots"].get(name, 0) for s in sweeps) for name in ("spots", "frames")}
        indexed = sum(s["index"]["indexed"] for s in sweeps)
        share = percent(indexed / max(total["spots"], 1))
        where = f"{total['frames']} images of {len(sweeps)} sweeps"
        yield f"{indexed:,} of {total['spots']:,} spots ({share}) on {where} are indexed."
        return
    yield f"{index['indexed']:,} of {n:,} spots ({percent(index['fraction'])}) on {images} images belong to {on}."
    best = next((row for row in index.get("bravais") or () if row.get("best")), None)
    given = run.told.get("params", {}).get("index", {}).get("space_group")
    if best is not None and given is None and run.later.symmetry is None:
        cell = " ".join(f"{v:.2f}" for v in best["cell"])
        yield (
            f"Its symmetry is probably that of {best['space_group']}, cell {cell} (Å, °), by metric and intensities."
            if count == 1
            else (f"The symmetry of the first is probably that of {best['space_group']}, cell {cell} (Å, °).")
        )


def _refined(run: Processed) -> Iterator[str]:
    told = run.told.get("refine")
    if told is not None:
        of = " of the first sweep" if len(run.told.get("sweeps", ())) > 1 else ""
        yield (
            f"Refined predictions meet the spots{of} within {number(told['rmsd_fast_px'], 2)} px (fast), "
            f"{number(told['rmsd_slow_px'], 2)} px (slow) and {number(told['rmsd_frame'], 2)} images, r.m.s."
        )


def _facts(run: Processed) -> list[tuple[str, str, str]]:
    told = run.told
    facts = list(merged_facts(run))
    facts.append(("spots", f"{len(run.spots):,}", f"{told['find_spots'].get('strong_pixels', 0):,} strong pixels"))
    if len(run.spots) and run.later.merging is None:
        facts.append(("99 % of spots within", f"{_d_min(run):.2f} Å", ""))
    if "index" in told:
        facts.append(("indexed", percent(told["index"]["fraction"]), f"{told['index']['indexed']:,} spots"))
    stage = told.get("refine") or told.get("index")
    if stage:
        for i, lattice in enumerate(stage["lattices"][:3]):
            facts.append((_cell_label(i, len(stage["lattices"])), *_cell(lattice)))
        rmsd = f"{number(stage['rmsd_fast_px'], 2)}, {number(stage['rmsd_slow_px'], 2)} px"
        facts.append(("r.m.s.d.", rmsd, f"{number(stage['rmsd_frame'], 2)} images along the scan"))
    return facts


def _cell_label(i: int, n: int) -> str:
    return "cell, Å and °" if n == 1 else f"cell of lattice {i + 1}, Å and °"


def _cell(lattice: dict[str, Any]) -> tuple[str, str]:
    sds = lattice.get("cell_sd") or (None,) * 6
    words = [with_sd(v, sd, 3) if sd else f"{v:.2f}" for v, sd in zip(lattice["cell"], sds)]
    return " ".join(words[:3]), " ".join(words[3:]) + f"; refined in {lattice['space_group']}"


def _derived_doubts(run: Processed) -> Iterator[str]:
    if run.told.get("bad_frames"):
        n = len(run.told["bad_frames"])
        what = "image that could not be read was" if n == 1 else "images that could not be read were"
        yield f"{n} {what} left out: see the list below."
    index, refine = run.told.get("index"), run.told.get("refine")
    if index is None:
        return
    if index["fraction"] < LOW_FRACTION:
        yield (
            f"{percent(1 - index['fraction'])} of the spots belong to no lattice that was found: look at those alone "
            f"in reciprocal space, and try {_remedy(run)}."
        )
    if index["indexed"] < FEW_INDEXED:
        yield (
            f"Only {index['indexed']} spots are indexed: cell and symmetry may turn out otherwise with more images, or "
            "with weaker spots (--set find_spots.sigma_strong=2.5)."
        )
    yield from _poor_parts(run, index["fraction"])
    if refine and max(refine["rmsd_fast_px"] or 0, refine["rmsd_slow_px"] or 0) > LARGE_RMSD_PX:
        yield (
            f"The r.m.s.d. on the detector is above {LARGE_RMSD_PX:g} px: look at the residuals; try the right "
            "symmetry (--space-group), or more lattices (--set index.max_lattices=2)."
        )
    yield from _drifts(run)
    yield from merged_doubts(run)


def _remedy(run: Processed) -> str:
    """What may help against spots that are not indexed, by where they are."""
    inverse = np.linalg.norm(run.r, axis=1)
    innermost = float(np.quantile(inverse[run.is_indexed], INNERMOST)) if run.is_indexed.any() else 0.0
    rest = inverse[~run.is_indexed]
    if innermost > 0 and np.mean(rest < innermost) > 0.5:
        return f"--d-max {1 / innermost:.1f}, as most of them lie round the direct beam, inside of the lattice's spots"
    return "--set index.max_lattices=2, or --set find_spots.ice_rings=yes"


def _poor_parts(run: Processed, fraction: float) -> Iterator[str]:
    counts = by_image(run, PARTS)
    with np.errstate(invalid="ignore"):
        poor = (counts.fraction < LOW_PART * fraction) & (counts.spots >= FEW_SPOTS)
    names = [name for name, is_poor in zip(counts.axis.names, poor) if is_poor]
    if names:
        some = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
        yield (
            f"Far fewer spots than elsewhere are indexed on {some}: the crystal may have slipped or left the "
            "beam there; compare with --images."
        )


def _drifts(run: Processed) -> Iterator[str]:
    if run.drift is None:
        return
    for lattice, rows in run.drift.groupby("lattice"):
        of = f" of lattice {int(str(lattice)) + 1}" if run.drift["lattice"].nunique() > 1 else ""
        for name in ("a", "b", "c"):
            change, sd = float(np.ptp(rows[name])), float(rows[f"{name}_sd"].median())
            if change > CELL_DRIFT * float(rows[name].mean()) and change > SIGNIFICANT * sd:
                yield (
                    f"Axis {name}{of} changes by {100 * change / rows[name].mean():.2f} % along the scan, as "
                    "radiation damage, or a crystal off the spindle, would make it: look at the drift, and try fewer "
                    "images (--images)."
                )
        turned = max(float(np.ptp(rows[f"rotation{k}_deg"])) for k in (1, 2, 3))
        if turned > TURN_DRIFT_DEG:
            yield f"The crystal{of} turns by {turned:.2f}° beside the scan: look at the drift for a slip (--images)."
