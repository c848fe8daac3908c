"""Parameters held because there are too few reflections for them, or because the data don't determine them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from hdrmx.refinement.engine import Evaluation, evaluate
from hdrmx.refinement.parameters import Free, Parametrisation, parametrise
from hdrmx.refinement.problem import Data, rebound
from hdrmx.refinement.uncertainty import uncertainties

FEWEST_PER_PARAMETER = 5
# A detector's distance or tilt that the data determine no better than this (fraction; rad) is held: the sphere is so
# flat, or the scan so narrow, that cell and orientation take up any change of it.
LOOSE_DISTANCE, LOOSE_TILT = 0.003, 0.01
LOOSE_PARTS = (("distance", ("distance",)), ("tilts", ("tau2", "tau3")), ("turn about its normal", ("tau1",)))
# What is held, in turn, when the reflections are too few for all.
HOLD_ORDER = (
    ("detector tilts", {"tau2", "tau3"}),
    ("detector distance", {"distance"}),
    ("detector and beam", {"tau1", "shift1", "shift2", "in_plane", "out_of_plane", "wavelength"}),
    ("cell", {"cell"}),
)


@dataclass(frozen=True)
class Start:
    """Where a minimisation begins: the reflections chosen, what is free, their sums at these models, what was held."""

    chosen: Data
    model: Parametrisation
    evaluation: Evaluation
    notes: tuple[str, ...]


def hold_what_is_loose(chosen: Data, model: Parametrisation, n_used: int) -> Start:
    """Hold parameters until what is left is well determined.

    A crystal that varies along the scan is only checked for its number of reflections: it comes after a static cycle.
    """
    model, notes = _enough_reflections(model, n_used)
    chosen = rebound(chosen, model)
    at = evaluate(chosen, model, model.start)
    for name, parts in LOOSE_PARTS if model.smoother.n_intervals == 0 else ():
        asked = [p for p in parts if p in model.free.detector]
        if not asked or not (model.free.cell or model.free.orientation):
            continue
        if name != "distance" and "out_of_plane" in model.free.beam:  # the beam turns with them: see `Free`
            continue
        sd = uncertainties(model, at, n_used).border
        size, limit = 1.0, LOOSE_TILT
        if name == "distance":
            size, limit = model.geometry.detector.panels[0].distance_mm, LOOSE_DISTANCE
        loose = max(sd[p] for p in asked) / size
        if loose > limit:
            unit = "of itself" if name == "distance" else "rad"
            notes += (f"detector {name} held: determined only to {loose:.2g} {unit}",)
            detector = tuple(p for p in model.free.detector if p not in parts)
            model = _with(model, dataclasses.replace(model.free, detector=detector))
            chosen = rebound(chosen, model)
            at = evaluate(chosen, model, model.start)
    return Start(chosen, model, at, notes)


def _enough_reflections(model: Parametrisation, n_used: int) -> tuple[Parametrisation, tuple[str, ...]]:
    """The parametrisation with as many parameters held as the number of reflections demands."""
    notes: list[str] = []
    for name, parts in HOLD_ORDER:
        if n_used >= FEWEST_PER_PARAMETER * model.n_parameters:
            break
        free = dataclasses.replace(
            model.free,
            cell=model.free.cell and "cell" not in parts,
            detector=tuple(p for p in model.free.detector if p not in parts),
            beam=tuple(p for p in model.free.beam if p not in parts),
        )
        if free != model.free:
            notes.append(f"{name} held: {n_used} reflections for {model.n_parameters} parameters")
            model = _with(model, free)
    return model, tuple(notes)


def _with(model: Parametrisation, free: Free) -> Parametrisation:
    return parametrise(model.crystals, model.geometry, free, model.smoother.n_intervals, model.slips, model.course)
