"""Two processings of the same frames, stage by stage: how far do they agree?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hdrmx.analysis.agree_checks import Agreement, Check, Demands, Stage
from hdrmx.analysis.agree_intensities import (
    compare_integrated,
    compare_merged,
    compare_scaled,
    compare_symmetry,
    compare_unmerged,
    join_reflections,
)
from hdrmx.analysis.agree_lattice import Change, compare_indexed, compare_models
from hdrmx.analysis.agree_spots import compare_spots
from hdrmx.io.compared import Processing

DEFAULT = Demands()


def compare(ours: Processing, theirs: Processing, demands: Demands = DEFAULT) -> Agreement:
    """Compare what both folders hold; stages that either lacks are said, and are no disagreement.

    Spots are paired as mutual nearest neighbours; lattices by their spots; indices after the change of basis that most
    pairs obey; integrated reflections by index and frame; merged data in shells that both have.
    """

    def stage(name: str, field: str, how: Callable[[Any, Any], Stage]) -> Stage:
        a, b = getattr(ours, field), getattr(theirs, field)
        if a is None or b is None:
            who = "either" if a is None and b is None else "ours" if a is None else "theirs"
            return Stage(name, skipped="absent on both sides" if who == "either" else f"absent from {who}")
        return how(a, b)

    change = _change(ours, theirs)
    stages = (
        stage("find_spots", "spots", lambda a, b: _spots(a, b, demands)),
        stage("index", "indexed", lambda a, b: compare_indexed(a, b, demands)),
        stage("refine", "refined", lambda a, b: compare_models(a, b, demands)),
        stage("integrate", "integrated", lambda a, b: compare_integrated(a, b, demands)),
        stage("symmetry", "symmetry", compare_symmetry),
        stage("scale", "scaled", lambda a, b: compare_scaled(a, b, demands)),
        stage("merge", "merged", lambda a, b: compare_merged(a, b, change)),
        stage("export", "unmerged", compare_unmerged),
    )
    return Agreement(str(ours.folder), str(theirs.folder), stages, demands)


def _change(ours: Processing, theirs: Processing) -> Change | None:
    """Between the final settings of the two."""
    if ours.scaled is None or theirs.scaled is None:
        return None
    return next(iter(join_reflections(ours.scaled.table, theirs.scaled.table).changes.values()), None)


def _spots(ours: Any, theirs: Any, demands: Demands) -> Stage:
    found = compare_spots(ours, theirs)
    s = found.summary()
    checks = (
        Check("spots", found.n_ours, found.n_theirs),
        Check("in one of them only", len(found.only_ours), len(found.only_theirs)),
        Check("equal, of the larger number", None, None, s["fraction_equal"], demands.spots_equal, at_least=True),
        Check("distance, px (99 %)", None, None, s["apart_px_0.99"]),
        Check("distance, images (99 %)", None, None, s["apart_frames_0.99"]),
        Check("of equal intensity", None, None, s["same_intensity"]),
        Check("mean depth, images", s["mean_depth_ours"], s["mean_depth_theirs"]),
    )
    return Stage("find_spots", checks)
