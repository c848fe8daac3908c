"""What scaling makes of planted truth: errors, false outliers and anomalous differences of both forms of error model.

    python -m benchmarks.scaling_truth

Observations of a known a = 1.3 and b (0 or 0.03), without outliers or anomalous signal, in groups of 2 to 8 over both
Friedel mates, are scaled with the form of DIALS and with the exact one. Printed for each: a and b found; the spread of
(merged intensity - truth) / sigma, which is 1 where sigmas are right; the same of I(+) - I(-), the anomalous slope; and
observations rejected.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "scaling"))

from scaling_case import Plan, Planted, intensities, plant

from hdrmx.params import Merge, Scale
from hdrmx.stages.merge import merge
from hdrmx.stages.scale import Scaled, scale

OBSERVATIONS = 48_000


def main() -> None:
    print("  n    b planted  form     a      b       spread  anomalous slope  rejected")
    for multiplicity in (2, 3, 4, 8):
        for b in (0.0, 0.03):
            plan = Plan(n_unique=OBSERVATIONS // multiplicity, multiplicity=multiplicity, a=1.3, b=b, mean=1000.0)
            planted = plant(plan)
            for form in ("dials", "exact"):
                found = scale([planted.sweep], "P 21 21 21", Scale(error_model=form, min_expected=1.0))
                values = figures(found, planted, plan)
                model = found.error_model
                print(
                    f"{multiplicity:3d}    {b:.2f}       {form:6s} {model.a:6.3f} {model.b:6.4f}  "
                    f"{values[0]:6.3f}  {values[1]:6.3f}           {found.counts['outliers']}"
                )


def figures(found: Scaled, planted: Planted, plan: Plan) -> tuple[float, float]:
    """Robust spreads (half of the central 68 %) of merged intensities about the truth and of mates about each other."""
    merged = merge(found.observations, "P 21 21 21", planted.sweep.crystal.cell, Merge(shells=1)).table
    true = intensities(merged[["h", "k", "l"]].to_numpy(np.int32), plan)
    weight = merged["sigma"].to_numpy() ** -2.0
    factor = float((weight * merged["intensity"] * true).sum() / (weight * true**2).sum())
    pull = (merged["intensity"] - factor * true) / merged["sigma"]
    both = merged[(merged["n_plus"] > 0) & (merged["n_minus"] > 0)]
    difference = both["intensity_plus"] - both["intensity_minus"]
    return _spread(pull), _spread(difference / np.hypot(both["sigma_plus"], both["sigma_minus"]))


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, [15.87, 84.13])
    return float(high - low) / 2


if __name__ == "__main__":
    main()
